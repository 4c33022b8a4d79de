//! Client addresses from the PROXY protocol and forwarding fields: accepted from trusted proxies only.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, GET, Root, Server, Signal, TIMEOUT, docroot, eventually, site, succeeds,
};

/// Request after which the server closes the connection.
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
/// PROXY protocol header, version 1.
const PROXY_V1: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n";

/// Returns [`PROXY_V1`] in version 2, with an extension (TLV) of an unknown type.
fn proxy_v2() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 4, 0, 0, 80];
    let rest = [&addresses[..], b"\xee\0\x03abc"].concat();
    let length = u8::try_from(rest.len()).expect("short");
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &[length][..], &rest].concat()
}

/// Returns the peer in the next line of the access log.
fn logged_peer(server: &Server) -> String {
    let line = server.stdout_line();
    let word = line.split_once("\"peer\":\"");
    let word = word.and_then(|(_, rest)| rest.split('"').next());
    word.unwrap_or_else(|| panic!("no access line: {line}"))
        .to_owned()
}

/// Connects from this local address.
fn connect_from(server: &Server, ip: [u8; 4]) -> Client {
    Client::connect_from(Ipv4Addr::from(ip).into(), server.address)
}

/// Sends these bytes and receives everything until the connection ends.
fn exchange(client: &mut Client, bytes: impl AsRef<[u8]>) -> String {
    client.send(bytes);
    String::from_utf8_lossy(&client.rest_even_if_reset()).into_owned()
}

fn is_page(response: &str) -> bool {
    response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n<p>hello")
}

fn serve(root: &Root, options: &[&str]) -> Server {
    Server::with(root.path(), options)
}

/// Serves a Unix socket whose peers are trusted and send the PROXY protocol.
fn serve_proxied_unix(root: &Root, bind: &str, options: &[&str]) -> Server {
    let trusted = [
        "--bind",
        bind,
        "--trusted-proxy",
        "unix",
        "--proxy-protocol",
    ];
    serve(root, &[&trusted, options].concat())
}

#[test]
fn proxy_header_sets_peer_address() {
    let root = site();
    let server = serve(&root, &["--proxy-protocol"]);
    let check = |header: &[u8], expected: &str| {
        let mut client = server.connect();
        client.send(header);
        assert_eq!(client.get("/").text(), "<p>hello");
        assert_eq!(client.get("/?again").status(), "200 OK");
        let local = client.stream().local_addr().expect("an address");
        let expected = expected.replace("local", &local.to_string());
        for _ in 0..2 {
            assert_eq!(logged_peer(&server), expected, "{}", header.escape_ascii());
        }
    };
    check(PROXY_V1.as_bytes(), "192.0.2.1:1024");
    check(&proxy_v2(), "192.0.2.1:1024");
    check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1");
    check(
        b"PROXY TCP6 ::ffff:203.0.113.8 ::1 1 2\r\n",
        "203.0.113.8:1",
    );
    check(b"PROXY UNKNOWN\r\n", "local");
    check(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "local");
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'x'; 216]].concat();
    check(&unix, "unix:");

    // Split at several offsets, and followed by a request.
    for header in [PROXY_V1.as_bytes().to_vec(), proxy_v2()] {
        let bytes = [&header[..], GET_AND_CLOSE.as_bytes()].concat();
        for split in [
            1,
            5,
            12,
            15,
            16,
            header.len() - 1,
            header.len(),
            header.len() + 9,
        ] {
            let mut client = server.connect();
            client.send(&bytes[..split]);
            client.stream().set_nodelay(true).expect("an option");
            thread::sleep(Duration::from_millis(5));
            assert!(is_page(&exchange(&mut client, &bytes[split..])), "{split}");
            assert_eq!(logged_peer(&server), "192.0.2.1:1024");
        }
    }
}

#[test]
fn connection_without_proxy_header_is_closed() {
    let root = site();
    let server = serve(&root, &["--proxy-protocol", "--header-timeout", "500ms"]);
    for bytes in [
        GET,
        "PROXY TCP4 nonsense\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\x7f\x7f",
    ] {
        assert_eq!(exchange(&mut server.connect(), bytes), "", "{bytes:?}");
    }
    let warning = server.stderr_line();
    for part in ["127.0.0.1:", "PROXY", "--proxy-protocol", "send-proxy"] {
        assert!(warning.contains(part), "{warning}");
    }
    // A header that never ends is closed after the timeout.
    let start = Instant::now();
    let mut slow = server.connect();
    assert_eq!(exchange(&mut slow, "PROXY TCP4"), "");
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "the timeout has passed"
    );
    // A connection that sends nothing is not warned about; the warning is logged at most once a minute.
    drop(server.connect());
    assert_eq!(server.stderr_lines(), [""; 0]);
}

#[test]
fn proxy_header_of_untrusted_peer_is_400() {
    let root = site();
    let options = [
        "--proxy-protocol",
        "--trusted-proxy",
        "127.0.0.2,10.0.0.0/8",
    ];
    let server = serve(&root, &options);
    let mut proxy = connect_from(&server, [127, 0, 0, 2]);
    assert!(is_page(&exchange(
        &mut proxy,
        format!("{PROXY_V1}{GET_AND_CLOSE}")
    )));
    assert_eq!(logged_peer(&server), "192.0.2.1:1024");
    // Other peers send no header.
    let mut other = connect_from(&server, [127, 0, 0, 3]);
    assert!(is_page(&exchange(&mut other, GET_AND_CLOSE)));
    assert!(logged_peer(&server).starts_with("127.0.0.3:"));
    let mut untrusted = connect_from(&server, [127, 0, 0, 3]);
    let refused = exchange(&mut untrusted, format!("{PROXY_V1}{GET_AND_CLOSE}"));
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(logged_peer(&server).starts_with("127.0.0.3:"));
}

#[test]
fn shutdown_finishes_requests_behind_proxy_headers() {
    let root = site();
    // One worker, so that all connections see the shutdown at once.
    let mut server = serve(&root, &["--proxy-protocol", "--workers", "1"]);
    let mut first = server.connect();
    first.send(PROXY_V1);
    assert_eq!(first.get("/").status(), "200 OK");
    let mut partial_request = server.connect();
    partial_request.send(format!("{PROXY_V1}{}", &GET[..8]));
    // Connections are accepted in order, so the response to the last one shows that all are accepted.
    let mut partial_header = server.connect();
    partial_header.send(&PROXY_V1[..8]);
    let mut last = server.connect();
    last.send(PROXY_V1);
    assert_eq!(last.get("/").status(), "200 OK");
    server.signal(Signal::TERM);
    assert_eq!(first.rest(), b"");
    let response = exchange(&mut partial_header, format!("{}{GET}", &PROXY_V1[8..]));
    assert!(
        is_page(&response) && response.contains("\r\nConnection: close\r\n"),
        "{response}"
    );
    assert!(is_page(&exchange(&mut partial_request, &GET[8..])));
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn forwarded_field_of_trusted_proxy_sets_peer_address() {
    let root = site();
    let server = serve(
        &root,
        &[
            "--trusted-proxy",
            "127.0.0.2",
            "--trusted-proxy",
            "10.0.0.0/8",
        ],
    );
    let mut proxy = connect_from(&server, [127, 0, 0, 2]);
    let local = proxy.stream().local_addr().expect("an address").to_string();
    let mut check = |fields: &str, expected: &str| {
        assert_eq!(proxy.request("GET", "/", fields).status(), "200 OK");
        assert_eq!(logged_peer(&server), expected, "{fields}");
    };
    check("", &local);
    check("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    check(
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.7\r\n",
        "192.0.2.1",
    );
    check(
        "X-Forwarded-For: [2001:db8::1]:80, 10.0.0.7\r\n",
        "[2001:db8::1]:80",
    );
    check("X-Forwarded-For: nonsense GET / 200\r\n", &local);
    check("Forwarded: for=\"[2001:db8::1]\"\r\n", "2001:db8::1");
    check(
        "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=6.6.6.6\r\n",
        "192.0.2.1",
    );

    // Each request on a connection has its own peer address, also when pipelined.
    let request = |ip: &str| GET.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {ip}\r\n\r\n"));
    proxy.send([request("192.0.2.1"), GET.into(), request("192.0.2.3")].concat());
    for expected in ["192.0.2.1", &local, "192.0.2.3"] {
        assert_eq!(proxy.response().status(), "200 OK");
        assert_eq!(logged_peer(&server), expected);
    }

    let mut other = connect_from(&server, [127, 0, 0, 3]);
    let response = other.request("GET", "/", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(response.status(), "200 OK");
    assert!(
        logged_peer(&server).starts_with("127.0.0.3:"),
        "the field is ignored"
    );
}

#[test]
fn forwarded_field_is_ignored_by_default() {
    let root = site();
    let server = serve(&root, &[]);
    let response = server.ask("GET", "/", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(response.status(), "200 OK");
    assert!(logged_peer(&server).starts_with("127.0.0.1:"));
}

#[test]
fn unix_peers_are_trusted_when_configured() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let ask = |bytes: &str| {
        let mut stream = UnixStream::connect(&path).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
        stream
            .write_all(bytes.as_bytes())
            .expect("the server reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("end of stream");
        assert!(is_page(&response), "{response}");
    };
    let request = GET_AND_CLOSE.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    let server = serve(&root, &["--bind", &bind, "--trusted-proxy", "unix"]);
    ask(&request);
    assert_eq!(logged_peer(&server), "192.0.2.1");
    drop(server);
    let server = serve(&root, &["--bind", &bind, "--trusted-proxy", "127.0.0.1"]);
    ask(&request);
    assert_eq!(logged_peer(&server), "unix:");
    drop(server);
    let server = serve_proxied_unix(&root, &bind, &[]);
    ask(&format!("{PROXY_V1}{GET_AND_CLOSE}"));
    assert_eq!(logged_peer(&server), "192.0.2.1:1024");
}

#[test]
fn shutdown_answers_unix_connections_accepted_just_before() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a directory"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let mut server = serve_proxied_unix(&root, &bind, &["--workers", "1"]);
    let send = |mut stream: &UnixStream, bytes: &str| {
        stream
            .write_all(bytes.as_bytes())
            .expect("the server reads");
    };
    let connect = |header: &str| {
        let stream = UnixStream::connect(&path).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
        send(&stream, header);
        stream
    };
    // The PROXY header may arrive before the shutdown, after it with the request, or after it alone.
    let (mut silent, early) = (connect(""), connect(PROXY_V1));
    let [together, apart] = [connect(""), connect("")];
    server.signal(Signal::TERM);
    eventually("the socket is removed", || (!path.exists()).then_some(()));
    send(&apart, PROXY_V1);
    send(&together, &format!("{PROXY_V1}{GET}"));
    send(&early, GET);
    send(&apart, GET);
    for mut stream in [together, early, apart] {
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("end of stream");
        assert!(
            is_page(&response) && response.contains("\r\nConnection: close\r\n"),
            "{response}"
        );
        assert_eq!(logged_peer(&server), "192.0.2.1:1024");
    }
    assert_eq!(silent.read(&mut [0]).expect("end of stream"), 0);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(server.stderr_line().contains("stopping"));
    assert_eq!(server.stderr_lines(), [""; 0], "no warning is logged");
}

#[test]
fn per_ip_limit_exempts_trusted_proxies() {
    let root = site();
    let options = [
        "--max-connections-per-ip",
        "1",
        "--trusted-proxy",
        "127.0.0.2",
    ];
    let server = serve(&root, &options);
    let mut open: Vec<Client> = (0..3)
        .map(|_| connect_from(&server, [127, 0, 0, 2]))
        .collect();
    for client in &mut open {
        assert_eq!(client.get("/").status(), "200 OK");
    }
    let mut one = connect_from(&server, [127, 0, 0, 3]);
    assert_eq!(one.get("/").status(), "200 OK");
    assert_eq!(connect_from(&server, [127, 0, 0, 3]).try_request(GET), None);
}

#[test]
fn invalid_options_are_reported() {
    let root = site();
    let check = |arguments: &[&str], words: &[&str]| {
        let output = docroot().args(arguments).arg(root.path()).output();
        let output = output.expect("docroot runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word} in {stderr}");
        }
    };
    check(
        &["--trusted-proxy", "10.0.0.0/33"],
        &["10.0.0.0/33", "--trusted-proxy", "10.0.0.0/8"],
    );
    let both = ["--proxy-protocol", "--max-connections-per-ip", "9"];
    check(&both, &["--max-connections-per-ip", "--trusted-proxy"]);
}

#[test]
fn haproxy_passes_peer_address() {
    if !succeeds("haproxy", &["-v"]) {
        eprintln!("SKIPPED: haproxy is not installed");
        return;
    }
    let root = site();
    let server = serve(&root, &["--proxy-protocol"]);
    let plain = serve(&root, &["--trusted-proxy", "127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a directory");
    let sockets = ["one", "two", "three"].map(|name| folder.path().join(name));
    let backends = [
        format!("server s {} send-proxy", server.address),
        format!(
            "server s {} send-proxy-v2 proxy-v2-options unique-id,crc32c",
            server.address
        ),
        format!("option forwardfor\n  server s {}", plain.address),
    ];
    let mut config =
        "defaults\n  timeout connect 9s\n  timeout client 9s\n  timeout server 9s\n".to_owned();
    for (number, (socket, backend)) in sockets.iter().zip(&backends).enumerate() {
        let mode = if number == 2 { "http" } else { "tcp" };
        // haproxy takes the peer address of its own socket from the PROXY protocol, too.
        config += &format!(
            "listen l{number}\n  mode {mode}\n  bind {} accept-proxy\n  {backend}\n",
            socket.display()
        );
    }
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config).expect("a file");
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
    let mut haproxy = haproxy.spawn().expect("haproxy starts");
    let outcome = std::panic::catch_unwind(|| {
        for (number, socket) in sockets.iter().enumerate() {
            let mut stream = eventually("haproxy listens", || UnixStream::connect(socket).ok());
            stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
            let bytes = format!("{PROXY_V1}{GET_AND_CLOSE}");
            stream
                .write_all(bytes.as_bytes())
                .expect("the server reads");
            let mut response = String::new();
            stream.read_to_string(&mut response).expect("end of stream");
            assert!(
                response.to_lowercase().starts_with("http/1.1 200 ok"),
                "{response}"
            );
            let (server, expected) = match number {
                2 => (&plain, "192.0.2.1"),
                _ => (&server, "192.0.2.1:1024"),
            };
            assert_eq!(logged_peer(server), expected, "{}", backends[number]);
        }
    });
    haproxy.kill().expect("a child process");
    haproxy.wait().expect("haproxy exits");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
