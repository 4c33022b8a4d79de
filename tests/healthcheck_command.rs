//! `docroot healthcheck`: checks a server from a container without a shell.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::support::{Root, Server, docroot, eventually, site};

/// Returns `docroot healthcheck` with these arguments and environment variables.
fn healthcheck(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = docroot();
    command.arg("healthcheck").args(arguments);
    command.envs(variables.iter().copied());
    command
}

/// Runs the command, again where the machine was too slow for its timeout of 3 seconds.
fn outcome_in_time(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    eventually("the server responds in time", || {
        let (code, stderr) = outcome(healthcheck(arguments, variables));
        let is_late = stderr.iter().any(|line| line.contains("no answer within"));
        (!is_late).then_some((code, stderr))
    })
}

/// Runs the command and returns its exit code and the lines of its standard error. Its standard output must be empty.
fn outcome(mut command: Command) -> (Option<i32>, Vec<String>) {
    let output = command.stdin(Stdio::null()).output().expect("docroot runs");
    assert_eq!(output.stdout, b"");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (
        output.status.code(),
        stderr.lines().map(Into::into).collect(),
    )
}

/// Checks that the command succeeds and prints nothing.
fn check_healthy(arguments: &[&str], variables: &[(&str, &str)]) {
    let (code, stderr) = outcome_in_time(arguments, variables);
    assert_eq!(
        (code, stderr.len()),
        (Some(0), 0),
        "{arguments:?} {variables:?}: {stderr:?}"
    );
}

/// Checks that the command fails, and that its one line of standard error has all of these words.
fn check_unhealthy(arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let (code, stderr) = outcome_in_time(arguments, variables);
    assert_eq!(
        (code, stderr.len()),
        (Some(1), 1),
        "{arguments:?} {variables:?}: {stderr:?}"
    );
    for word in words {
        assert!(stderr[0].contains(word), "{word} is not in {stderr:?}");
    }
}

/// Starts a server that answers every request with these bytes, and returns its URL.
fn fake_server(response: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(response);
        }
    });
    format!("http://{address}/")
}

#[test]
fn address_is_taken_from_environment_variables() {
    let root = site();
    let server = Server::start(root.path());
    let port = server.address.port().to_string();
    let bind = server.address.to_string();
    for variables in [
        &[("DOCROOT_BIND", "127.0.0.1"), ("DOCROOT_PORT", &*port)][..],
        &[
            ("DOCROOT_BIND", "[::]"),
            ("DOCROOT_PORT", &port),
            ("PORT", "1"),
        ],
        &[("DOCROOT_BIND", "0.0.0.0"), ("PORT", &port)],
        &[("DOCROOT_BIND", &bind), ("DOCROOT_PORT", ""), ("PORT", "1")],
        &[("DOCROOT_PORT", &port)],
        // Options of the server that do not concern the command.
        &[
            ("DOCROOT_PORT", &port),
            ("DOCROOT_ROOT", "/nowhere"),
            ("DOCROOT_CACHE", "?"),
        ],
    ] {
        check_healthy(&[], variables);
    }
    check_healthy(&[&format!("http://{bind}")], &[("DOCROOT_PORT", "1")]);
    check_healthy(&[&format!("http://localhost:{port}/")], &[]);
}

#[test]
fn service_address_in_port_variable_is_ignored_with_a_warning() {
    let root = site();
    let server = Server::start(root.path());
    let port = server.address.port().to_string();
    let link = ("DOCROOT_PORT", "tcp://10.43.161.118:80");
    let bind = server.address.to_string();
    for variables in [[link, ("PORT", &port)], [link, ("DOCROOT_BIND", &bind)]] {
        let (code, stderr) = outcome_in_time(&[], &variables);
        assert_eq!((code, stderr.len()), (Some(0), 1), "{stderr:?}");
        for word in [
            "DOCROOT_PORT=tcp://10.43.161.118:80 is ignored",
            "Kubernetes",
        ] {
            assert!(stderr[0].contains(word), "{stderr:?}");
        }
    }
    // A URL needs no variable.
    check_healthy(&[&format!("http://{bind}")], &[link]);
}

#[test]
fn blanks_around_variables_and_list_items_are_ignored() {
    let root = site();
    let server = Server::with(root.path(), &["--health"]);
    let port = format!(" {}\n", server.address.port());
    for variables in [
        &[("PORT", &*port), ("DOCROOT_HEALTH", "/healthz\n")][..],
        &[("DOCROOT_PORT", &port), ("DOCROOT_HEALTH", "true ")],
        &[
            ("DOCROOT_PORT", &port),
            ("DOCROOT_BIND", "127.0.0.1, [::1],"),
        ],
        &[("DOCROOT_PORT", " "), ("PORT", &port)],
        &[("PORT", &port), ("DOCROOT_PROXY_PROTOCOL", "off\n")],
    ] {
        check_healthy(&[], variables);
    }
}

#[test]
fn proxy_header_is_sent_where_server_expects_it() {
    let root = site();
    for trusted in ["", "127.0.0.1, unix,", "192.0.2.1"] {
        let proxies = [
            ("DOCROOT_PROXY_PROTOCOL", "true"),
            ("DOCROOT_TRUSTED_PROXY", trusted),
        ];
        let given = if trusted.is_empty() { 1 } else { 2 };
        let mut command = docroot();
        command.envs(proxies[..given].iter().copied());
        command.args(["-b", "127.0.0.1:0"]).arg(root.path());
        let server = Server::spawn(command);
        let bind = server.address.to_string();
        check_healthy(
            &[],
            &[&[("DOCROOT_BIND", &*bind)], &proxies[..given]].concat(),
        );
        check_healthy(&[&format!("http://{bind}")], &proxies[..given]);
    }
}

#[test]
fn explicit_url_and_health_path_must_not_be_404() {
    let root = Root::of(&[("there.html", "here")]);
    let server = Server::start(root.path());
    let port = server.address.port().to_string();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    // Without an index the server is healthy: its 404 shows that it responds.
    check_healthy(&[], &[("DOCROOT_PORT", &port)]);
    check_healthy(&[&at("/there")], &[]);
    check_unhealthy(&[&at("/")], &[], &[&at("/"), "404"]);
    check_healthy(
        &[],
        &[("DOCROOT_PORT", &port), ("DOCROOT_HEALTH", "/there")],
    );
    let health = [("DOCROOT_PORT", &*port), ("DOCROOT_HEALTH", "true")];
    check_unhealthy(&[], &health, &[&at("/healthz"), "404"]);
}

#[test]
fn password_protected_server_is_healthy() {
    let root = site();
    // Of "password", by openssl passwd -6.
    let user = "user:$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
    let server = Server::with(root.path(), &["--auth", user]);
    let port = server.address.port().to_string();
    check_healthy(&[], &[("DOCROOT_PORT", &port)]);
    check_unhealthy(&[&format!("http://127.0.0.1:{port}/")], &[], &["401"]);
}

#[test]
fn unix_socket_is_checked() {
    let root = Root::new();
    let path = root.join("socket");
    let place = format!("unix:{}", path.display());
    check_unhealthy(&[], &[("DOCROOT_BIND", &place)], &[&place, "No such file"]);
    let listener = UnixListener::bind(&path).expect("a socket");
    let served = thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a peer");
            let mut head = [0; 1024];
            let len = stream.read(&mut head).expect("a request");
            heads.push(String::from_utf8_lossy(&head[..len]).into_owned());
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .expect("the command reads it");
        }
        heads
    });
    check_healthy(&[], &[("DOCROOT_BIND", &place), ("DOCROOT_HEALTH", "/up")]);
    check_healthy(&[&place], &[]);
    let heads = served.join().expect("both requests arrived");
    assert!(
        heads[0].starts_with("GET /up HTTP/1.1\r\nHost: localhost\r\n"),
        "{heads:?}"
    );
    assert!(heads[1].starts_with("GET / HTTP/1.1\r\n"), "{heads:?}");
    assert!(
        heads[1].ends_with("\r\nConnection: close\r\n\r\n"),
        "{heads:?}"
    );
}

#[test]
fn failure_is_reported_in_one_line() {
    // A port that this process has bound and on which no socket listens.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    bound.bind(&loopback.into()).expect("a port");
    let address = bound.local_addr().expect("an address");
    let refusing = format!("http://{}/", address.as_socket().expect("an IPv4 address"));
    check_unhealthy(&[&refusing], &[], &[&refusing, "refused"]);
    for (response, reason) in [
        (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "503"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"", ""),
    ] {
        let url = fake_server(response);
        check_unhealthy(&[&url], &[], &[&url, reason]);
    }
    check_healthy(&[&fake_server(b"HTTP/1.0 301 Moved\r\n\r\n")], &[]);
    for wrong in ["https://127.0.0.1/", "example.com", "http://example.com/"] {
        check_unhealthy(&[wrong], &[], &[wrong, "http://127.0.0.1:8080/"]);
    }
    check_unhealthy(
        &[],
        &[("DOCROOT_PORT", "0")],
        &["port 0", "names no address"],
    );
    check_unhealthy(
        &[],
        &[("DOCROOT_PORT", "http")],
        &["DOCROOT_PORT=http", "65535"],
    );
    check_unhealthy(&[], &[("PORT", "http")], &["PORT=http", "65535"]);
}

#[test]
fn silent_server_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let (code, stderr) = outcome(healthcheck(&[&url], &[]));
    assert_eq!(code, Some(1));
    assert!(stderr[0].contains(&url) && stderr[0].contains("no response within 3 seconds"));
    let image = include_str!("../Dockerfile");
    assert!(
        image.contains("--timeout=5s"),
        "the image's timeout is longer"
    );
}
