//! `docroot healthcheck`: whether a server is well, for who has no shell to find out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::support::{Root, Server, docroot, eventually, site};

/// The command with these arguments and variables.
fn healthcheck(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = docroot();
    command.arg("healthcheck").args(arguments);
    command.envs(variables.iter().copied());
    command
}

/// The same, asked again where the machine was too slow for its patience of 3 seconds.
fn outcome_in_time(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    eventually("it is answered in time", || {
        let (code, said) = outcome(healthcheck(arguments, variables));
        let is_late = said.iter().any(|line| line.contains("no answer within"));
        (!is_late).then_some((code, said))
    })
}

/// The exit code, and the lines on standard error; on standard output there are none.
fn outcome(mut command: Command) -> (Option<i32>, Vec<String>) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), said.lines().map(Into::into).collect())
}

fn check_well(arguments: &[&str], variables: &[(&str, &str)]) {
    let (code, said) = outcome_in_time(arguments, variables);
    assert_eq!(
        (code, said.len()),
        (Some(0), 0),
        "{arguments:?} {variables:?}: {said:?}"
    );
}

/// It is not well, and one line names what was asked, and why.
fn check_sick(arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let (code, said) = outcome_in_time(arguments, variables);
    assert_eq!(
        (code, said.len()),
        (Some(1), 1),
        "{arguments:?} {variables:?}: {said:?}"
    );
    for word in words {
        assert!(said[0].contains(word), "{word} is not in {said:?}");
    }
}

/// Somebody who answers every request with this.
fn stranger(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        }
    });
    format!("http://{address}/")
}

#[test]
fn a_server_is_asked_where_the_variables_have_it_listen() {
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
        // Options of a server that are nothing to this.
        &[
            ("DOCROOT_PORT", &port),
            ("DOCROOT_ROOT", "/nowhere"),
            ("DOCROOT_CACHE", "?"),
        ],
    ] {
        check_well(&[], variables);
    }
    check_well(&[&format!("http://{bind}")], &[("DOCROOT_PORT", "1")]);
    check_well(&[&format!("http://localhost:{port}/")], &[]);
}

#[test]
fn a_server_that_expects_proxies_is_asked_as_by_one() {
    let root = site();
    for trusted in ["", "127.0.0.1,unix", "192.0.2.1"] {
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
        check_well(
            &[],
            &[&[("DOCROOT_BIND", &*bind)], &proxies[..given]].concat(),
        );
        check_well(&[&format!("http://{bind}")], &proxies[..given]);
    }
}

#[test]
fn what_is_named_must_be_there() {
    let root = Root::of(&[("there.html", "here")]);
    let server = Server::start(root.path());
    let port = server.address.port().to_string();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    // There is no index: the server is well, and says so by a 404.
    check_well(&[], &[("DOCROOT_PORT", &port)]);
    check_well(&[&at("/there")], &[]);
    check_sick(&[&at("/")], &[], &[&at("/"), "404"]);
    check_well(
        &[],
        &[("DOCROOT_PORT", &port), ("DOCROOT_HEALTH", "/there")],
    );
    let health = [("DOCROOT_PORT", &*port), ("DOCROOT_HEALTH", "true")];
    check_sick(&[], &health, &[&at("/healthz"), "404"]);
}

#[test]
fn who_wants_a_password_is_well() {
    let root = site();
    // Of "password", by openssl passwd -6.
    let user = "user:$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
    let server = Server::with(root.path(), &["--auth", user]);
    let port = server.address.port().to_string();
    check_well(&[], &[("DOCROOT_PORT", &port)]);
    check_sick(&[&format!("http://127.0.0.1:{port}/")], &[], &["401"]);
}

#[test]
fn a_socket_in_the_file_system_is_asked() {
    let root = Root::new();
    let path = root.join("socket");
    let place = format!("unix:{}", path.display());
    check_sick(&[], &[("DOCROOT_BIND", &place)], &[&place, "No such file"]);
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
                .expect("it is read");
        }
        heads
    });
    check_well(&[], &[("DOCROOT_BIND", &place), ("DOCROOT_HEALTH", "/up")]);
    check_well(&[&place], &[]);
    let heads = served.join().expect("both were asked");
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
fn one_line_says_why_it_is_not_well() {
    // A port that is ours, and that nobody listens on.
    let kept = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    kept.bind(&here.into()).expect("a port");
    let address = kept.local_addr().expect("an address");
    let nobody = format!("http://{}/", address.as_socket().expect("of IPv4"));
    check_sick(&[&nobody], &[], &[&nobody, "refused"]);
    for (answer, why) in [
        (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "503"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"", ""),
    ] {
        let url = stranger(answer);
        check_sick(&[&url], &[], &[&url, why]);
    }
    check_well(&[&stranger(b"HTTP/1.0 301 Moved\r\n\r\n")], &[]);
    for wrong in ["https://127.0.0.1/", "example.com", "http://example.com/"] {
        check_sick(&[wrong], &[], &[wrong, "http://127.0.0.1:8080/"]);
    }
    check_sick(
        &[],
        &[("DOCROOT_PORT", "0")],
        &["port 0", "does not say where"],
    );
    check_sick(
        &[],
        &[("DOCROOT_PORT", "http")],
        &["DOCROOT_PORT=http", "65535"],
    );
    check_sick(&[], &[("PORT", "http")], &["PORT=http", "65535"]);
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let (code, said) = outcome(healthcheck(&[&url], &[]));
    assert_eq!(code, Some(1));
    assert!(said[0].contains(&url) && said[0].contains("no answer within 3 seconds"));
    let image = include_str!("../Dockerfile");
    assert!(image.contains("--timeout=5s"), "the image waits longer");
}
