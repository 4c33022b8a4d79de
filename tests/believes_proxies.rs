//! Who is behind a proxy is known where the proxy is trusted to say so, and nowhere else.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, GET, PATIENCE, Root, Server, Signal, docroot, eventually, site, succeeds,
};

const LAST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n";

/// The same in version 2, with a type, length and value that nobody knows.
fn binary() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 4, 0, 0, 80];
    let rest = [&addresses[..], b"\xee\0\x03abc"].concat();
    let length = u8::try_from(rest.len()).expect("short");
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &[length][..], &rest].concat()
}

/// The peer, as the next line of the access log has it.
fn peer(server: &Server) -> String {
    let line = server.line();
    let word = line.split_once("\"peer\":\"");
    let word = word.and_then(|(_, rest)| rest.split('"').next());
    word.unwrap_or_else(|| panic!("no access line: {line}"))
        .to_owned()
}

/// A client at this address of ours.
fn from(server: &Server, ip: [u8; 4]) -> Client {
    Client::connect_from(Ipv4Addr::from(ip).into(), server.address)
}

/// What is answered to these bytes until the connection ends.
fn said(client: &mut Client, bytes: impl AsRef<[u8]>) -> String {
    client.send(bytes);
    String::from_utf8_lossy(&client.rest_until_cut()).into_owned()
}

fn is_page(said: &str) -> bool {
    said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n<p>hello")
}

fn serve(root: &Root, options: &[&str]) -> Server {
    Server::with(root.path(), options)
}

/// Where those who come by this socket say by the PROXY protocol for whom they speak, and are believed.
fn serve_by_unix(root: &Root, bind: &str, options: &[&str]) -> Server {
    let believed = [
        "--bind",
        bind,
        "--trusted-proxy",
        "unix",
        "--proxy-protocol",
    ];
    serve(root, &[&believed, options].concat())
}

#[test]
fn a_header_of_the_proxy_protocol_says_who_is_there() {
    let root = site();
    let server = serve(&root, &["--proxy-protocol"]);
    let check = |header: &[u8], expected: &str| {
        let mut client = server.connect();
        client.send(header);
        assert_eq!(client.get("/").text(), "<p>hello");
        assert_eq!(client.get("/?again").status(), "200 OK");
        let ours = client.stream().local_addr().expect("an address");
        let expected = expected.replace("ours", &ours.to_string());
        for _ in 0..2 {
            assert_eq!(peer(&server), expected, "{}", header.escape_ascii());
        }
    };
    check(LINE.as_bytes(), "192.0.2.1:1024");
    check(&binary(), "192.0.2.1:1024");
    check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1");
    check(
        b"PROXY TCP6 ::ffff:203.0.113.8 ::1 1 2\r\n",
        "203.0.113.8:1",
    );
    check(b"PROXY UNKNOWN\r\n", "ours");
    check(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "ours");
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'x'; 216]].concat();
    check(&unix, "unix:");

    // However it is cut, and with what comes behind.
    for header in [LINE.as_bytes().to_vec(), binary()] {
        let bytes = [&header[..], LAST.as_bytes()].concat();
        for cut in [
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
            client.send(&bytes[..cut]);
            client.stream().set_nodelay(true).expect("an option");
            thread::sleep(Duration::from_millis(5));
            assert!(is_page(&said(&mut client, &bytes[cut..])), "{cut}");
            assert_eq!(peer(&server), "192.0.2.1:1024");
        }
    }
}

#[test]
fn who_sends_no_header_is_hung_up_on() {
    let root = site();
    let server = serve(&root, &["--proxy-protocol", "--header-timeout", "500ms"]);
    for bytes in [
        GET,
        "PROXY TCP4 nonsense\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\x7f\x7f",
    ] {
        assert_eq!(said(&mut server.connect(), bytes), "", "{bytes:?}");
    }
    let complaint = server.complaint();
    for part in ["127.0.0.1:", "PROXY", "--proxy-protocol", "send-proxy"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    // One that never ends.
    let start = Instant::now();
    let mut slow = server.connect();
    assert_eq!(said(&mut slow, "PROXY TCP4"), "");
    assert!(start.elapsed() >= Duration::from_millis(400), "it had time");
    // One who only knocks is not worth a word; said once a minute.
    drop(server.connect());
    assert_eq!(server.complaints(), [""; 0]);
}

#[test]
fn only_trusted_proxies_are_believed() {
    let root = site();
    let options = [
        "--proxy-protocol",
        "--trusted-proxy",
        "127.0.0.2,10.0.0.0/8",
    ];
    let server = serve(&root, &options);
    let mut proxy = from(&server, [127, 0, 0, 2]);
    assert!(is_page(&said(&mut proxy, format!("{LINE}{LAST}"))));
    assert_eq!(peer(&server), "192.0.2.1:1024");
    // Others speak for themselves.
    let mut other = from(&server, [127, 0, 0, 3]);
    assert!(is_page(&said(&mut other, LAST)));
    assert!(peer(&server).starts_with("127.0.0.3:"));
    let mut liar = from(&server, [127, 0, 0, 3]);
    let refused = said(&mut liar, format!("{LINE}{LAST}"));
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(peer(&server).starts_with("127.0.0.3:"));
}

#[test]
fn what_is_begun_behind_a_header_is_finished() {
    let root = site();
    // One loop, so that it stops for all of them at once.
    let mut server = serve(&root, &["--proxy-protocol", "--workers", "1"]);
    let mut first = server.connect();
    first.send(LINE);
    assert_eq!(first.get("/").status(), "200 OK");
    let mut begun = server.connect();
    begun.send(format!("{LINE}{}", &GET[..8]));
    // Connections are accepted in their order.
    let mut header = server.connect();
    header.send(&LINE[..8]);
    let mut last = server.connect();
    last.send(LINE);
    assert_eq!(last.get("/").status(), "200 OK");
    server.signal(Signal::TERM);
    assert_eq!(first.rest(), b"");
    let answer = said(&mut header, format!("{}{GET}", &LINE[8..]));
    assert!(
        is_page(&answer) && answer.contains("\r\nConnection: close\r\n"),
        "{answer}"
    );
    assert!(is_page(&said(&mut begun, &GET[8..])));
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_field_of_a_trusted_proxy_says_who_is_there() {
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
    let mut proxy = from(&server, [127, 0, 0, 2]);
    let ours = proxy.stream().local_addr().expect("an address").to_string();
    let mut check = |fields: &str, expected: &str| {
        assert_eq!(proxy.request("GET", "/", fields).status(), "200 OK");
        assert_eq!(peer(&server), expected, "{fields}");
    };
    check("", &ours);
    check("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    check(
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.7\r\n",
        "192.0.2.1",
    );
    check(
        "X-Forwarded-For: [2001:db8::1]:80, 10.0.0.7\r\n",
        "[2001:db8::1]:80",
    );
    check("X-Forwarded-For: nonsense GET / 200\r\n", &ours);
    check("Forwarded: for=\"[2001:db8::1]\"\r\n", "2001:db8::1");
    check(
        "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=6.6.6.6\r\n",
        "192.0.2.1",
    );

    // Each request on a connection has its own, also where they are answered together.
    let request = |ip: &str| GET.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {ip}\r\n\r\n"));
    proxy.send([request("192.0.2.1"), GET.into(), request("192.0.2.3")].concat());
    for expected in ["192.0.2.1", &ours, "192.0.2.3"] {
        assert_eq!(proxy.response().status(), "200 OK");
        assert_eq!(peer(&server), expected);
    }

    let mut other = from(&server, [127, 0, 0, 3]);
    let answer = other.request("GET", "/", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(answer.status(), "200 OK");
    assert!(
        peer(&server).starts_with("127.0.0.3:"),
        "it is not believed"
    );
}

#[test]
fn nobody_is_believed_who_is_not_named() {
    let root = site();
    let server = serve(&root, &[]);
    let answer = server.ask("GET", "/", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(answer.status(), "200 OK");
    assert!(peer(&server).starts_with("127.0.0.1:"));
}

#[test]
fn unix_peers_are_believed_where_that_is_asked_for() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let ask = |bytes: &str| {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.write_all(bytes.as_bytes()).expect("it reads");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an orderly end");
        assert!(is_page(&said), "{said}");
    };
    let named = LAST.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    let server = serve(&root, &["--bind", &bind, "--trusted-proxy", "unix"]);
    ask(&named);
    assert_eq!(peer(&server), "192.0.2.1");
    drop(server);
    let server = serve(&root, &["--bind", &bind, "--trusted-proxy", "127.0.0.1"]);
    ask(&named);
    assert_eq!(peer(&server), "unix:");
    drop(server);
    let server = serve_by_unix(&root, &bind, &[]);
    ask(&format!("{LINE}{LAST}"));
    assert_eq!(peer(&server), "192.0.2.1:1024");
}

#[test]
fn a_unix_peer_who_has_just_come_may_be_about_to_ask_when_it_stops() {
    let (root, folder) = (site(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("socket");
    let bind = format!("unix:{}", path.display());
    let mut server = serve_by_unix(&root, &bind, &["--workers", "1"]);
    let send = |mut stream: &UnixStream, bytes: &str| {
        stream.write_all(bytes.as_bytes()).expect("it reads");
    };
    let connect = |header: &str| {
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        send(&stream, header);
        stream
    };
    // For whom it speaks may be said before the stop, after it, or by itself.
    let (mut silent, known) = (connect(""), connect(LINE));
    let [together, apart] = [connect(""), connect("")];
    server.signal(Signal::TERM);
    eventually("nobody else is let in", || (!path.exists()).then_some(()));
    send(&apart, LINE);
    send(&together, &format!("{LINE}{GET}"));
    send(&known, GET);
    send(&apart, GET);
    for mut stream in [together, known, apart] {
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an orderly end");
        assert!(
            is_page(&said) && said.contains("\r\nConnection: close\r\n"),
            "{said}"
        );
        assert_eq!(peer(&server), "192.0.2.1:1024");
    }
    assert_eq!(silent.read(&mut [0]).expect("an orderly end"), 0);
    assert_eq!(server.ended().code(), Some(0));
    assert!(server.complaint().contains("stopping"));
    assert_eq!(server.complaints(), [""; 0], "nobody has done wrong");
}

#[test]
fn a_proxy_holds_as_many_connections_as_it_likes() {
    let root = site();
    let options = [
        "--max-connections-per-ip",
        "1",
        "--trusted-proxy",
        "127.0.0.2",
    ];
    let server = serve(&root, &options);
    let mut held: Vec<Client> = (0..3).map(|_| from(&server, [127, 0, 0, 2])).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status(), "200 OK");
    }
    let mut one = from(&server, [127, 0, 0, 3]);
    assert_eq!(one.get("/").status(), "200 OK");
    assert_eq!(from(&server, [127, 0, 0, 3]).attempt(GET), None);
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    let root = site();
    let check = |arguments: &[&str], words: &[&str]| {
        let output = docroot().args(arguments).arg(root.path()).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for word in words {
            assert!(said.contains(word), "{word} in {said}");
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
fn haproxy_says_who_is_there() {
    if !succeeds("haproxy", &["-v"]) {
        eprintln!("SKIPPED: there is no haproxy here");
        return;
    }
    let root = site();
    let server = serve(&root, &["--proxy-protocol"]);
    let plain = serve(&root, &["--trusted-proxy", "127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
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
        // What comes to its socket is said to come from somewhere else, by the same protocol.
        config += &format!(
            "listen l{number}\n  mode {mode}\n  bind {} accept-proxy\n  {backend}\n",
            socket.display()
        );
    }
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config).expect("a file");
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
    let mut haproxy = haproxy.spawn().expect("it starts");
    let outcome = std::panic::catch_unwind(|| {
        for (number, socket) in sockets.iter().enumerate() {
            let mut stream = eventually("it listens", || UnixStream::connect(socket).ok());
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            let bytes = format!("{LINE}{LAST}");
            stream.write_all(bytes.as_bytes()).expect("it reads");
            let mut said = String::new();
            stream.read_to_string(&mut said).expect("an orderly end");
            assert!(said.to_lowercase().starts_with("http/1.1 200 ok"), "{said}");
            let (server, expected) = match number {
                2 => (&plain, "192.0.2.1"),
                _ => (&server, "192.0.2.1:1024"),
            };
            assert_eq!(peer(server), expected, "{}", backends[number]);
        }
    });
    haproxy.kill().expect("it is our child");
    haproxy.wait().expect("it ends");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
