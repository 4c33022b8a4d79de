//! Peers come from wherever it was said that they would: TCP, Unix sockets, and sockets that are handed over.

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
    self, Client, GET, PATIENCE, Server, Signal, docroot, eventually, large, said, site,
    site_with_large, succeeds,
};

const LAST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// Everything that is answered to these bytes until the connection ends.
fn ask(mut stream: UnixStream, request: &str) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("an orderly end");
    said
}

fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).expect("somebody listens")
}

fn is_page(said: &[u8]) -> bool {
    said.starts_with(b"HTTP/1.1 200 OK\r\n") && said.ends_with(b"\r\n\r\n<p>hello")
}

/// The command, which is given this socket as its standard input, and finds it as its third descriptor, as systemd
/// has it.
fn activated(socket: impl Into<OwnedFd>, options: &[&str], root: &Path) -> Command {
    let server = docroot();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(server.get_program())
        .args(["--bind", "systemd"])
        .args(options)
        .arg(root)
        .stdin(Stdio::from(socket.into()));
    for (name, _) in server.get_envs() {
        command.env_remove(name);
    }
    command
}

/// That a command does not listen, by its exit code, and says this in one line.
fn refuses(command: &mut Command, expected: &[&str]) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let lines = support::lines(child.stderr.take().expect("a pipe"));
    let Ok(said) = lines.recv_timeout(PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it listens, or says nothing");
    };
    let status = child.wait().expect("it is our child");
    assert_eq!(status.code(), Some(3), "{said}");
    assert_eq!(lines.iter().next(), None, "after {said}");
    for part in expected {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_unix_socket_is_served_like_any_other() {
    for workers in ["1", "2"] {
        let root = site_with_large();
        let path = root.join("../").canonicalize().expect("a folder");
        let path = path.join(format!("docroot-{}-{workers}.sock", std::process::id()));
        let bind = format!("unix:{}", path.display());
        let options = ["--bind", &bind, "--workers", workers];
        let mut server = Server::with(root.path(), &options);
        assert!(
            server.announcement.contains(&format!(",\"{bind}\"]")),
            "{}",
            server.announcement
        );
        assert!(is_page(&ask(connect(&path), LAST)));
        let line = server.line();
        assert!(
            line.contains(r#""peer":"unix:","method":"GET","target":"/""#),
            "{line}"
        );

        let pipelined = format!("{}{LAST}", GET.repeat(99));
        let said = ask(connect(&path), &pipelined);
        assert_eq!(said.windows(8).filter(|it| it == b"<p>hello").count(), 100);
        let request = LAST.replace("/ ", "/large ");
        let said = ask(connect(&path), &request);
        assert!(said.ends_with(large()), "the file arrives as it is");
        // Many at once, among all workers, are all served.
        let mut peers: Vec<UnixStream> = (0..50).map(|_| connect(&path)).collect();
        for peer in &mut peers {
            peer.write_all(LAST.as_bytes()).expect("it reads");
        }
        for peer in peers {
            assert!(is_page(&ask(peer, "")));
        }
        assert_eq!(server.get("/").status(), "200 OK", "by TCP, too");

        server.signal(Signal::TERM);
        assert_eq!(server.ended().code(), Some(0));
        assert!(!path.exists(), "its file is removed");
    }
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let root = site();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let first = UnixListener::bind(&path).expect("a socket");
    let mut command = docroot();
    command.args(["--bind", &bind]).arg(root.path());
    refuses(&mut command, &[&bind, "another program", "name another"]);
    assert!(path.exists());

    drop(first);
    let server = Server::with(root.path(), &["--bind", &bind]);
    assert!(is_page(&ask(connect(&path), LAST)));
    refuses(&mut command, &[&bind]);
    assert!(is_page(&ask(connect(&path), LAST)), "it is left alone");

    // What is killed leaves it behind.
    server.signal(Signal::KILL);
    drop(server);
    assert!(path.exists());
    let mut server = Server::with(root.path(), &["--bind", &bind]);
    assert!(is_page(&ask(connect(&path), LAST)));

    // Somebody else's is not removed.
    fs::remove_file(&path).expect("a file");
    let _other = UnixListener::bind(&path).expect("a socket");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn of_several_that_start_at_once_at_one_path_one_listens() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).expect("a socket"));
    let mut command = docroot();
    command
        .args(["--bind", &format!("unix:{}", path.display())])
        .args(["--workers", "1"])
        .arg(root.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let start = |_| command.spawn().expect("docroot starts");
    let mut all: Vec<_> = (0..4).map(start).collect();
    // Each says one line, or ends without a word.
    let listens = all.iter_mut().map(|child| {
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let count = stdout.read_line(&mut line).expect("text");
        (count > 0).then_some(stdout)
    });
    let listening: Vec<_> = listens.collect();
    let said = UnixStream::connect(&path).map(|stream| ask(stream, LAST));
    for child in &mut all {
        child.kill().expect("it is ours");
    }
    let codes = all.iter_mut().map(|child| child.wait().expect("it ends"));
    let codes: Vec<_> = codes.map(|status| status.code()).collect();
    assert_eq!(listening.iter().flatten().count(), 1, "{codes:?}");
    assert_eq!(codes.iter().flatten().collect::<Vec<_>>(), [&3; 3]);
    assert!(is_page(&said.expect("somebody listens")));
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("file");
    fs::write(&path, "precious").expect("a file");
    let mut command = docroot();
    let bind = format!("unix:{}", path.display());
    refuses(
        command.args(["--bind", &bind]).arg(root.path()),
        &[&bind, "no socket"],
    );
    assert_eq!(fs::read(&path).expect("it is there"), b"precious");
    for (path, hint) in [("none/socket", "folder"), (&*"x".repeat(120), "shorter")] {
        let bind = format!("unix:{}", folder.path().join(path).display());
        refuses(docroot().args(["--bind", &bind]).arg(root.path()), &[hint]);
    }
}

#[test]
fn a_socket_has_the_permissions_that_the_umask_leaves() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let stage = ["sh", "-c", "umask 0117; exec \"$@\"", "sh"];
    let _server = Server::upon(&stage, root.path(), &["--bind", &bind]);
    let metadata = fs::metadata(&path).expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn an_abstract_socket_is_served() {
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
    let stream = UnixStream::connect_addr(&address).expect("somebody listens");
    assert!(is_page(&ask(stream, LAST)));
    refuses(
        docroot().args(["--bind", &bind]).arg(root.path()),
        &[&bind, "another program"],
    );
}

#[test]
fn unix_peers_are_not_counted_by_their_address() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let options = ["--bind", &bind, "--max-connections-per-ip", "1"];
    let server = Server::with(root.path(), &options);
    let held: Vec<UnixStream> = (0..3).map(|_| connect(&path)).collect();
    for peer in held {
        assert!(is_page(&ask(peer, LAST)));
    }
    let mut first = server.connect();
    assert_eq!(first.get("/").status(), "200 OK");
    assert_eq!(server.connect().attempt(GET), None, "one more by TCP");
}

#[test]
fn several_places_of_all_kinds_are_listened_to() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let handed = theirs.local_addr().expect("an address");
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
    let server = Server::spawn(activated(theirs, &options, root.path()));
    for path in &paths {
        assert!(is_page(&ask(connect(path), LAST)));
    }
    let second = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    for address in [server.address, second, handed] {
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
    for place in [&a, &b, &format!("http://{handed}/")] {
        let place = format!("\"{place}\"");
        assert!(
            server.announcement.contains(&place),
            "{}",
            server.announcement
        );
    }
}

#[test]
fn an_interface_is_named_or_numbered() {
    let root = site();
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: there is no IPv6 here");
        return;
    }
    for bind in ["[::1%lo]:0", "[::1%1]:0", "::1%lo"] {
        let mut command = docroot();
        command
            .args(["--port", "0", "--bind", bind])
            .arg(root.path());
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let line = support::lines(child.stdout.take().expect("a pipe"));
        let line = line.recv_timeout(PATIENCE).expect("it listens");
        assert!(line.contains("http://[::1"), "{line}");
        child.kill().expect("it is our child");
        child.wait().expect("it ends");
    }
    let mut command = docroot();
    command.args(["--bind", "[fe80::1%nowhere0]:8080"]);
    refuses(
        command.arg(root.path()),
        &["fe80::1%nowhere0", "no interface", "ip link"],
    );
}

#[test]
fn sockets_that_are_handed_over_are_served_and_left() {
    let root = site();
    let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = theirs.local_addr().expect("an address");
    let command = activated(theirs.try_clone().expect("a copy"), &[], root.path());
    let mut server = Server::spawn(command);
    assert_eq!(server.address, address);
    assert_eq!(server.get("/").text(), "<p>hello");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let theirs = UnixListener::bind(&path).expect("a socket");
    let command = activated(
        theirs.try_clone().expect("a copy"),
        &["--bind", "127.0.0.1", "--port", "0", "--workers", "2"],
        root.path(),
    );
    let mut server = Server::spawn(command);
    assert!(is_page(&ask(connect(&path), LAST)));
    // Who comes while it stops is answered by it, or by the next one.
    let mut late = Vec::new();
    server.asleep(|| {
        server.signal(Signal::TERM);
        late.extend((0..20).map(|_| connect(&path)));
        for peer in &mut late {
            peer.write_all(LAST.as_bytes()).expect("it waits");
        }
    });
    assert_eq!(server.ended().code(), Some(0));
    assert!(path.exists(), "it is not ours");
    let options = ["--bind", "127.0.0.1", "--port", "0"];
    let _next = Server::spawn(activated(theirs, &options, root.path()));
    for peer in late {
        assert!(is_page(&ask(peer, "")));
    }
}

#[test]
fn what_was_not_handed_over_is_said() {
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "systemd"]).arg(root.path());
    let expected = ["LISTEN_FDS", ".socket unit", "--bind"];
    refuses(&mut command, &expected);
    refuses(
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1"),
        &expected,
    );

    let check = |socket: OwnedFd, expected| {
        let mut command = activated(socket, &[], root.path());
        refuses(
            &mut command,
            &["descriptor 3 (web)", expected, "ListenStream="],
        );
    };
    let here = (Ipv4Addr::LOCALHOST, 0);
    check(UdpSocket::bind(here).expect("a socket").into(), "no stream");
    let file = fs::File::open("/dev/null").expect("a file");
    check(file.into(), "no stream");
    let (one, _other) = UnixStream::pair().expect("two sockets");
    check(one.into(), "does not listen");
    let listener = TcpListener::bind(here).expect("a port");
    let address = listener.local_addr().expect("an address");
    let stream = TcpStream::connect(address).expect("it listens");
    check(stream.into(), "does not listen");
}

#[test]
fn systemd_activates_it() {
    let arguments = ["-E", "A=b", "-l", "127.0.0.1:0", "--version"];
    if !succeeds("systemd-socket-activate", &arguments) {
        eprintln!("SKIPPED: there is no systemd-socket-activate here");
        return;
    }
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let server = docroot();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&path).arg(server.get_program());
    command.args(["--bind", "systemd", "--bind", "127.0.0.1:0"]);
    command.arg(root.path()).stdin(Stdio::null());
    // It starts docroot when somebody comes.
    let come = path;
    let peer = thread::spawn(move || {
        let stream = eventually("it listens", || UnixStream::connect(&come).ok());
        ask(stream, LAST)
    });
    let _server = Server::spawn(command);
    assert!(is_page(&peer.join().expect("it was answered")));
}

/// Asks once, on a connection of its own, and reads everything.
fn once(address: SocketAddr) -> Result<(), String> {
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(failed("connect"))?;
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let sent = stream.write_all(LAST.as_bytes()).map_err(failed("send"));
    // Who says nothing for a second may be hung up on by one that stops, also where it is the machine that holds it up.
    let was_silent = begun.elapsed() > Duration::from_millis(900);
    let mut said = Vec::new();
    let came = sent.and_then(|()| stream.read_to_end(&mut said).map_err(failed("receive")));
    match came {
        Ok(_) if is_page(&said) => Ok(()),
        _ if was_silent => Ok(()),
        Ok(_) => Err(said.escape_ascii().to_string()),
        Err(error) => Err(error),
    }
}

#[test]
fn a_restart_behind_a_socket_that_somebody_keeps_fails_nobody() {
    let root = site();
    let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = theirs.local_addr().expect("an address");
    let start = || {
        let socket = theirs.try_clone().expect("a copy");
        let options = ["--workers", "2", "--quiet", "--bind", "127.0.0.1:0"];
        let mut command = activated(socket, &options, root.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it starts")
    };
    let stop = |mut child: std::process::Child| {
        support::send(Signal::TERM, &child);
        let code = child.wait().expect("it is our child").code();
        assert!(matches!(code, Some(0)), "{code:?}");
    };
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = thread::scope(|scope| {
        let load = || {
            let mut failures = Vec::new();
            while !over.load(Ordering::Relaxed) {
                failures.extend(once(address).err());
                count.fetch_add(1, Ordering::Relaxed);
            }
            failures
        };
        let peers = [(); 4].map(|()| scope.spawn(load));
        let served = |more: usize| {
            let goal = count.load(Ordering::Relaxed) + more;
            eventually("so many are served", || {
                (count.load(Ordering::Relaxed) >= goal).then_some(())
            });
        };
        let mut old = start();
        for round in 0..6 {
            served(50);
            if round % 2 == 0 {
                // The next one is there before the last one goes, or after.
                let new = start();
                stop(std::mem::replace(&mut old, new));
            } else {
                stop(old);
                old = start();
            }
        }
        served(50);
        over.store(true, Ordering::Relaxed);
        let failures = peers.map(|peer| peer.join().expect("it does not panic"));
        stop(old);
        failures.concat()
    });
    let count = count.into_inner();
    eprintln!("6 restarts, {count} requests, {} failures", failures.len());
    assert_eq!(failures, [""; 0], "of {count} requests");
}

#[test]
fn the_service_manager_is_told() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("an option");
    let heard = || {
        let mut said = [0; 256];
        let count = manager.recv(&mut said).expect("something is said");
        String::from_utf8_lossy(&said[..count]).into_owned()
    };
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", &path);
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let mut server = Server::spawn(command);
    assert_eq!(heard(), "READY=1\n");
    assert_eq!(server.get("/").status(), "200 OK");
    server.signal(Signal::HUP);
    let reloading = heard();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(heard(), "READY=1\n");
    let mut download = server.connect();
    assert_eq!(download.get("/").status(), "200 OK");
    server.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1\n");
    assert_eq!(server.ended().code(), Some(0));

    // One that is gone keeps nobody from serving.
    drop(manager);
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", &path);
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let server = Server::spawn(command);
    assert!(server.complaint().contains("service manager"));
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn a_service_manager_is_told_that_has_no_path() {
    let root = site();
    let name = format!("docroot-test-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut command = docroot();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    command.args(["--bind", "127.0.0.1:0"]).arg(root.path());
    let server = Server::spawn(command);
    let heard = |expected: &[u8]| {
        let mut said = [0; 256];
        let count = manager.recv(&mut said).expect("something is said");
        assert_eq!(&said[..count], expected);
    };
    heard(b"READY=1\n");
    // Confined it can still be told.
    server.signal(Signal::TERM);
    heard(b"STOPPING=1\n");
}

#[test]
fn who_comes_by_ipv4_has_an_address_of_that_where_ipv6_is_listened_on() {
    if TcpListener::bind("[::]:0").is_err() {
        eprintln!("SKIPPED: there is no IPv6 here");
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
        let ours = client.stream().local_addr().expect("an address");
        let line = server.line();
        match format {
            "json" => assert_eq!(said(&line, "peer"), ours.to_string()),
            _ => assert!(line.starts_with("127.0.0.1 - - ["), "{line}"),
        }
        assert_eq!(Client::connect(address).attempt(GET), None);
        let complaint = server.complaint();
        assert!(
            complaint.contains("127.0.0.1 holds 1 ") && !complaint.contains("ffff"),
            "{complaint}"
        );
    }
}

#[test]
fn who_has_finished_sending_over_a_unix_socket_is_answered() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let _server = Server::with(root.path(), &["--bind", &bind]);
    let mut stream = connect(&path);
    stream.write_all(GET.as_bytes()).expect("it reads");
    stream.shutdown(Shutdown::Write).expect("a shutdown");
    assert!(is_page(&ask(stream, "")));
    // One who leaves in the middle is not missed.
    let mut stream = connect(&path);
    stream.write_all(b"GET / HT").expect("it reads");
    drop(stream);
    let mut stream = connect(&path);
    stream.write_all(b"nonsense\r\n\r\n").expect("it reads");
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(
        said.starts_with(b"HTTP/1.1 400 "),
        "{}",
        said.escape_ascii()
    );
}
