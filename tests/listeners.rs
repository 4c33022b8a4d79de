//! Listeners: TCP, Unix sockets, sockets inherited by socket activation, and notifications to the service manager.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{self, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, GET, Server, Signal, TIMEOUT, docroot, eventually, json_field, large, site,
    site_with_large, succeeds, two_workers,
};

/// Request after which the server closes the connection.
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// Sends these bytes and receives everything until the connection ends.
fn exchange(mut stream: UnixStream, request: &str) -> Vec<u8> {
    stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("end of stream");
    received
}

fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).expect("the server listens")
}

fn is_page(response: &[u8]) -> bool {
    response.starts_with(b"HTTP/1.1 200 OK\r\n") && response.ends_with(b"\r\n\r\n<p>hello")
}

/// Returns the command with this listening socket as descriptor 3 and the variables of socket activation, as systemd
/// passes them. (The shell moves the socket from standard input.)
fn socket_activated(socket: impl Into<OwnedFd>, options: &[&str], root: &Path) -> Command {
    let server = docroot();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(server.get_program())
        .args(["--bind", "systemd"])
        .args(two_workers(options))
        .args(options)
        .arg(root)
        .stdin(Stdio::from(socket.into()));
    for (name, _) in server.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Checks that a command exits with code 3 and one line on standard error that has all these parts.
fn check_bind_error(command: &mut Command, expected: &[&str]) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docroot runs");
    let lines = support::lines(child.stderr.take().expect("a pipe"));
    let Ok(stderr) = lines.recv_timeout(TIMEOUT) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it listens, or prints no error");
    };
    let status = child.wait().expect("a child process");
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert_eq!(lines.iter().next(), None, "after {stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
}

#[test]
fn unix_socket_is_served() {
    for workers in ["1", "2"] {
        let root = site_with_large();
        let path = root.join("../").canonicalize().expect("a directory");
        let path = path.join(format!("docroot-{}-{workers}.sock", std::process::id()));
        let bind = format!("unix:{}", path.display());
        let options = ["--bind", &bind, "--workers", workers];
        let mut server = Server::with(root.path(), &options);
        assert!(
            server.announcement.contains(&format!(",\"{bind}\"]")),
            "{}",
            server.announcement
        );
        assert!(is_page(&exchange(connect(&path), GET_AND_CLOSE)));
        let line = server.stdout_line();
        assert!(
            line.contains(r#""peer":"unix:","method":"GET","target":"/""#),
            "{line}"
        );

        let pipelined = format!("{}{GET_AND_CLOSE}", GET.repeat(99));
        let received = exchange(connect(&path), &pipelined);
        assert_eq!(
            received.windows(8).filter(|it| it == b"<p>hello").count(),
            100
        );
        let request = GET_AND_CLOSE.replace("/ ", "/large ");
        let received = exchange(connect(&path), &request);
        assert!(received.ends_with(large()), "the file arrives unchanged");
        // Many clients at once are all served, by all workers.
        let mut clients: Vec<UnixStream> = (0..50).map(|_| connect(&path)).collect();
        for client in &mut clients {
            client
                .write_all(GET_AND_CLOSE.as_bytes())
                .expect("the server reads");
        }
        for client in clients {
            assert!(is_page(&exchange(client, "")));
        }
        assert_eq!(server.get("/").status(), "200 OK", "TCP is served, too");

        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert!(!path.exists(), "the socket file is removed");
    }
}

/// Waits until no process listens on the socket that this test has closed: a child process of another test has it open,
/// too, from fork(2) to execve(2).
fn wait_until_stale(path: &Path) {
    eventually("connecting is refused", || {
        UnixStream::connect(path).is_err().then_some(())
    });
}

#[test]
fn stale_unix_socket_is_replaced_and_one_in_use_is_not() {
    let root = site();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let first = UnixListener::bind(&path).expect("a socket");
    let mut command = docroot();
    command.args(["--bind", &bind]).arg(root.path());
    check_bind_error(&mut command, &[&bind, "another program", "name another"]);
    assert!(path.exists());

    drop(first);
    wait_until_stale(&path);
    let server = Server::with(root.path(), &["--bind", &bind]);
    assert!(is_page(&exchange(connect(&path), GET_AND_CLOSE)));
    check_bind_error(&mut command, &[&bind]);
    assert!(
        is_page(&exchange(connect(&path), GET_AND_CLOSE)),
        "the socket in use is kept"
    );

    // A killed server leaves its socket behind.
    server.signal(Signal::KILL);
    drop(server);
    assert!(path.exists());
    let mut server = Server::with(root.path(), &["--bind", &bind]);
    assert!(is_page(&exchange(connect(&path), GET_AND_CLOSE)));

    // A socket of another program is not removed.
    fs::remove_file(&path).expect("a file");
    let _other = UnixListener::bind(&path).expect("a socket");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn only_one_of_concurrent_starts_binds_socket_path() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).expect("a socket"));
    wait_until_stale(&path);
    let mut command = docroot();
    command
        .args(["--bind", &format!("unix:{}", path.display())])
        .args(["--workers", "1"])
        .arg(root.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let start = |_| command.spawn().expect("docroot starts");
    let mut servers: Vec<_> = (0..4).map(start).collect();
    // Each prints one line, or exits without output.
    let outputs = servers.iter_mut().map(|child| {
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let count = stdout.read_line(&mut line).expect("text");
        (count > 0).then_some(stdout)
    });
    let listening: Vec<_> = outputs.collect();
    let received = UnixStream::connect(&path).map(|stream| exchange(stream, GET_AND_CLOSE));
    for child in &mut servers {
        child.kill().expect("the test owns it");
    }
    let codes = servers
        .iter_mut()
        .map(|child| child.wait().expect("it exits"));
    let codes: Vec<_> = codes.map(|status| status.code()).collect();
    assert_eq!(listening.iter().flatten().count(), 1, "{codes:?}");
    assert_eq!(codes.iter().flatten().collect::<Vec<_>>(), [&3; 3]);
    assert!(is_page(&received.expect("the server listens")));
}

#[test]
fn file_at_socket_path_is_not_replaced() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("file");
    fs::write(&path, "precious").expect("a file");
    let mut command = docroot();
    let bind = format!("unix:{}", path.display());
    check_bind_error(
        command.args(["--bind", &bind]).arg(root.path()),
        &[&bind, "not a socket"],
    );
    assert_eq!(fs::read(&path).expect("it exists"), b"precious");
    for (path, hint) in [("none/socket", "directory"), (&*"x".repeat(120), "shorter")] {
        let bind = format!("unix:{}", folder.path().join(path).display());
        check_bind_error(docroot().args(["--bind", &bind]).arg(root.path()), &[hint]);
    }
}

#[test]
fn unix_socket_mode_follows_umask() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let wrapper = ["sh", "-c", "umask 0117; exec \"$@\"", "sh"];
    let _server = Server::start_under(&wrapper, root.path(), &["--bind", &bind]);
    let metadata = fs::metadata(&path).expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn abstract_socket_is_served() {
    let root = site();
    let name = format!("docroot-{}", std::process::id());
    let bind = format!("unix:@{name}");
    let server = Server::with(root.path(), &["--bind", &bind]);
    assert!(
        server.announcement.contains(&format!("\"{bind}\"")),
        "{}",
        server.announcement
    );
    let address = net::SocketAddr::from_abstract_name(&name).expect("a name");
    let stream = UnixStream::connect_addr(&address).expect("the server listens");
    assert!(is_page(&exchange(stream, GET_AND_CLOSE)));
    check_bind_error(
        docroot().args(["--bind", &bind]).arg(root.path()),
        &[&bind, "another program"],
    );
}

#[test]
fn per_ip_limit_ignores_unix_peers() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let options = ["--bind", &bind, "--max-connections-per-ip", "1"];
    let server = Server::with(root.path(), &options);
    let open: Vec<UnixStream> = (0..3).map(|_| connect(&path)).collect();
    for client in open {
        assert!(is_page(&exchange(client, GET_AND_CLOSE)));
    }
    let mut first = server.connect();
    assert_eq!(first.get("/").status(), "200 OK");
    assert_eq!(
        server.connect().try_request(GET),
        None,
        "a second TCP connection"
    );
}

#[test]
fn listeners_of_all_kinds_serve_at_once() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    let inherited = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let inherited_address = inherited.local_addr().expect("an address");
    let [a, b] = paths
        .each_ref()
        .map(|path| format!("unix:{}", path.display()));
    let binds = format!("127.0.0.1,127.0.0.2,{a}");
    let options = [
        "--port",
        "0",
        "--bind",
        &binds,
        "--bind",
        &b,
        "--workers",
        "2",
    ];
    let server = Server::spawn(socket_activated(inherited, &options, root.path()));
    for path in &paths {
        assert!(is_page(&exchange(connect(path), GET_AND_CLOSE)));
    }
    let second = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    for address in [server.address, second, inherited_address] {
        assert_eq!(Client::connect(address).get("/").status(), "200 OK");
    }
    let urls = format!(
        "\"urls\":[\"http://{}/\",\"http://{second}/\",",
        server.address
    );
    assert!(
        server.announcement.contains(&urls),
        "{}",
        server.announcement
    );
    for url in [&a, &b, &format!("http://{inherited_address}/")] {
        let url = format!("\"{url}\"");
        assert!(
            server.announcement.contains(&url),
            "{}",
            server.announcement
        );
    }
}

#[test]
fn ipv6_zone_is_interface_name_or_index() {
    let root = site();
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: no IPv6 here");
        return;
    }
    for bind in ["[::1%lo]:0", "[::1%1]:0", "::1%lo"] {
        let mut command = docroot();
        command
            .args(["--port", "0", "--bind", bind])
            .arg(root.path());
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("docroot starts");
        let line = support::lines(child.stdout.take().expect("a pipe"));
        let line = line.recv_timeout(TIMEOUT).expect("the server listens");
        assert!(line.contains("http://[::1"), "{line}");
        child.kill().expect("a child process");
        child.wait().expect("it exits");
    }
    let mut command = docroot();
    command.args(["--bind", "[fe80::1%nowhere0]:8080"]);
    check_bind_error(
        command.arg(root.path()),
        &["fe80::1%nowhere0", "no interface", "ip link"],
    );
}

#[test]
fn inherited_sockets_are_served_and_not_removed() {
    let root = site();
    let inherited = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = inherited.local_addr().expect("an address");
    let command = socket_activated(inherited.try_clone().expect("a copy"), &[], root.path());
    let mut server = Server::spawn(command);
    assert_eq!(server.address, address);
    assert_eq!(server.get("/").text(), "<p>hello");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));

    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("socket");
    let inherited = UnixListener::bind(&path).expect("a socket");
    let command = socket_activated(
        inherited.try_clone().expect("a copy"),
        &["--bind", "127.0.0.1", "--port", "0", "--workers", "2"],
        root.path(),
    );
    let mut server = Server::spawn(command);
    assert!(is_page(&exchange(connect(&path), GET_AND_CLOSE)));
    // Connections made during the shutdown are served by this server or by the next one.
    let mut late = Vec::new();
    server.while_stopped(|| {
        server.signal(Signal::TERM);
        late.extend((0..20).map(|_| connect(&path)));
        for client in &mut late {
            client
                .write_all(GET_AND_CLOSE.as_bytes())
                .expect("the socket buffers it");
        }
    });
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(path.exists(), "an inherited socket is not removed");
    let options = ["--bind", "127.0.0.1", "--port", "0"];
    let _next = Server::spawn(socket_activated(inherited, &options, root.path()));
    for client in late {
        assert!(is_page(&exchange(client, "")));
    }
}

#[test]
fn missing_or_unusable_inherited_socket_is_reported() {
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "systemd"]).arg(root.path());
    let expected = ["LISTEN_FDS", ".socket unit", "--bind"];
    check_bind_error(&mut command, &expected);
    check_bind_error(
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1"),
        &expected,
    );

    let check = |socket: OwnedFd, expected| {
        let mut command = socket_activated(socket, &[], root.path());
        check_bind_error(
            &mut command,
            &["descriptor 3 (web)", expected, "ListenStream="],
        );
    };
    let loopback = (Ipv4Addr::LOCALHOST, 0);
    check(
        UdpSocket::bind(loopback).expect("a socket").into(),
        "not a stream",
    );
    let file = fs::File::open("/dev/null").expect("a file");
    check(file.into(), "not a stream");
    let (one, _other) = UnixStream::pair().expect("two sockets");
    check(one.into(), "not listening");
    let listener = TcpListener::bind(loopback).expect("a port");
    let address = listener.local_addr().expect("an address");
    let stream = TcpStream::connect(address).expect("the listener accepts");
    check(stream.into(), "not listening");
}

#[test]
fn systemd_socket_activate_starts_server() {
    let arguments = ["-E", "A=b", "-l", "127.0.0.1:0", "--version"];
    if !succeeds("systemd-socket-activate", &arguments) {
        eprintln!("SKIPPED: systemd-socket-activate is not installed");
        return;
    }
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let server = docroot();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&path).arg(server.get_program());
    command.args(["--bind", "systemd", "--bind", "127.0.0.1:0"]);
    command.arg(root.path()).stdin(Stdio::null());
    // It starts docroot at the first connection.
    let client = thread::spawn(move || {
        let stream = eventually("systemd-socket-activate listens", || {
            UnixStream::connect(&path).ok()
        });
        exchange(stream, GET_AND_CLOSE)
    });
    let _server = Server::spawn(command);
    assert!(is_page(&client.join().expect("a response")));
}

/// Sends one request on a new connection and checks the response.
fn request_once(address: SocketAddr) -> Result<(), String> {
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(failed("connect"))?;
    stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
    let sent = stream
        .write_all(GET_AND_CLOSE.as_bytes())
        .map_err(failed("send"));
    // A server that shuts down may close a connection that has sent nothing for a second, also where a busy machine
    // delayed the client.
    let was_silent = start.elapsed() > Duration::from_millis(900);
    let mut response = Vec::new();
    let received = sent.and_then(|()| stream.read_to_end(&mut response).map_err(failed("receive")));
    match received {
        Ok(_) if is_page(&response) => Ok(()),
        _ if was_silent => Ok(()),
        Ok(_) => Err(response.escape_ascii().to_string()),
        Err(error) => Err(error),
    }
}

#[test]
fn restart_behind_inherited_socket_loses_no_request() {
    let root = site();
    let inherited = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = inherited.local_addr().expect("an address");
    let start = || {
        let socket = inherited.try_clone().expect("a copy");
        let options = ["--workers", "2", "--quiet", "--bind", "127.0.0.1:0"];
        let mut command = socket_activated(socket, &options, root.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("docroot starts")
    };
    let stop = |mut child: std::process::Child| {
        support::send_signal(Signal::TERM, &child);
        let code = child.wait().expect("a child process").code();
        assert!(matches!(code, Some(0)), "{code:?}");
    };
    let (is_done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = thread::scope(|scope| {
        let load = || {
            let mut failures = Vec::new();
            while !is_done.load(Ordering::Relaxed) {
                failures.extend(request_once(address).err());
                count.fetch_add(1, Ordering::Relaxed);
            }
            failures
        };
        let clients = [(); 4].map(|()| scope.spawn(load));
        let wait_for_requests = |more: usize| {
            let goal = count.load(Ordering::Relaxed) + more;
            eventually("more requests are served", || {
                (count.load(Ordering::Relaxed) >= goal).then_some(())
            });
        };
        let mut old = start();
        for round in 0..6 {
            wait_for_requests(50);
            if round % 2 == 0 {
                // The next server starts before the previous one stops, or after.
                let new = start();
                stop(std::mem::replace(&mut old, new));
            } else {
                stop(old);
                old = start();
            }
        }
        wait_for_requests(50);
        is_done.store(true, Ordering::Relaxed);
        let failures = clients.map(|client| client.join().expect("the thread does not panic"));
        stop(old);
        failures.concat()
    });
    let count = count.into_inner();
    eprintln!("6 restarts, {count} requests, {} failures", failures.len());
    assert_eq!(failures, [""; 0], "of {count} requests");
}

#[test]
fn service_manager_is_notified() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(TIMEOUT)).expect("an option");
    let notification = || {
        let mut message = [0; 256];
        let count = manager.recv(&mut message).expect("a notification");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", &path);
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let mut server = Server::spawn(command);
    assert_eq!(notification(), "READY=1\n");
    assert_eq!(server.get("/").status(), "200 OK");
    server.signal(Signal::HUP);
    let reloading = notification();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(notification(), "READY=1\n");
    let mut download = server.connect();
    assert_eq!(download.get("/").status(), "200 OK");
    server.signal(Signal::TERM);
    assert_eq!(notification(), "STOPPING=1\n");
    assert_eq!(server.wait_for_exit().code(), Some(0));

    // A service manager that has exited does not keep the server from serving.
    drop(manager);
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", &path);
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let server = Server::spawn(command);
    assert!(server.stderr_line().contains("service manager"));
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn service_manager_on_abstract_socket_is_notified() {
    let root = site();
    let name = format!("docroot-test-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(TIMEOUT)).expect("an option");
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let server = Server::spawn(command);
    let expect_notification = |expected: &[u8]| {
        let mut message = [0; 256];
        let count = manager.recv(&mut message).expect("a notification");
        assert_eq!(&message[..count], expected);
    };
    expect_notification(b"READY=1\n");
    // The sandbox does not block the notification.
    server.signal(Signal::TERM);
    expect_notification(b"STOPPING=1\n");
}

#[test]
fn ipv4_mapped_address_is_shown_as_ipv4() {
    if TcpListener::bind("[::]:0").is_err() {
        eprintln!("SKIPPED: no IPv6 here");
        return;
    }
    let root = site();
    for format in ["json", "combined"] {
        let mut command = docroot();
        command.args(["--bind", "::", "--port", "0", "--log-format", format]);
        command.args(["--max-connections-per-ip", "1"]);
        command.arg(root.path());
        let server = Server::spawn(command);
        let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
        let mut client = Client::connect(address);
        assert_eq!(client.get("/").text(), "<p>hello");
        let local = client.stream().local_addr().expect("an address");
        let line = server.stdout_line();
        match format {
            "json" => assert_eq!(json_field(&line, "peer"), local.to_string()),
            _ => assert!(line.starts_with("127.0.0.1 - - ["), "{line}"),
        }
        assert_eq!(Client::connect(address).try_request(GET), None);
        let warning = server.stderr_line();
        assert!(
            warning.contains("127.0.0.1 has 1 ") && !warning.contains("ffff"),
            "{warning}"
        );
    }
}

#[test]
fn half_closed_unix_client_receives_response() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let _server = Server::with(root.path(), &["--bind", &bind]);
    let mut stream = connect(&path);
    stream.write_all(GET.as_bytes()).expect("the server reads");
    stream.shutdown(Shutdown::Write).expect("a shutdown");
    assert!(is_page(&exchange(stream, "")));
    // A client that closes in the middle of a request does no harm.
    let mut stream = connect(&path);
    stream.write_all(b"GET / HT").expect("the server reads");
    drop(stream);
    let mut stream = connect(&path);
    stream
        .write_all(b"nonsense\r\n\r\n")
        .expect("the server reads");
    let mut response = Vec::new();
    if let Err(error) = stream.read_to_end(&mut response) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(
        response.starts_with(b"HTTP/1.1 400 "),
        "{}",
        response.escape_ascii()
    );
}
