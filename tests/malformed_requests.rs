//! Malformed requests: each is rejected with an error page, and nothing after it is interpreted.

use crate::support::{Client, Response, Root, Server};

/// Request that must not be answered after a rejected one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

/// `Allow` of 405 and 501 (RFC 9110 section 10.2.1).
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// Default of `--max-header`, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

fn site() -> Root {
    Root::of(&[
        ("index.html", "home"),
        ("smuggled", "smuggled"),
        ("a/b", "b"),
    ])
}

/// Returns a GET of `/` with these field lines.
fn with_fields(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

/// Returns a GET of `/` with this chunked content.
fn chunked(content: &str) -> String {
    with_fields("Transfer-Encoding: chunked\r\n") + content
}

/// Returns a GET of this target.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Sends `bytes` and two valid requests, asserts that one error response ends the connection, and returns it.
fn assert_rejected(server: &Server, bytes: &[u8], status: &str) -> Response {
    let shown = bytes[..bytes.len().min(200)].escape_ascii();
    let mut client = server.connect();
    client.send([bytes, SMUGGLED.as_bytes(), SMUGGLED.as_bytes()].concat());
    let response = client.response();
    assert_eq!(response.status(), status, "{shown}");
    assert_error_page(&response, status);
    let connection = response.field("Connection");
    assert_eq!(connection, Some("close"), "{shown}");
    // The server closes although the client has not.
    assert_eq!(client.rest().escape_ascii().to_string(), "", "{shown}");
    response
}

/// Asserts that the response is the built-in error page for this status.
fn assert_error_page(response: &Response, status: &str) {
    let media_type = response.field("Content-Type");
    assert_eq!(media_type, Some("text/html; charset=utf-8"), "{response:?}");
    let sniff = response.field("X-Content-Type-Options");
    assert_eq!(sniff, Some("nosniff"), "{response:?}");
    assert!(response.field("Date").is_some(), "{response:?}");
    assert!(response.text().contains(status), "{response:?}");
}

/// Checks that each of these is rejected with this status and ends its connection.
fn check_rejected<T: AsRef<[u8]>>(status: &str, rows: impl IntoIterator<Item = T>) {
    let root = site();
    let server = Server::start(root.path());
    for bytes in rows {
        assert_rejected(&server, bytes.as_ref(), status);
    }
    assert_eq!(server.get("/").text(), "home");
}

const BAD_REQUEST: &str = "400 Bad Request";

#[test]
fn malformed_request_line_is_400() {
    // RFC 9112 section 3.
    check_rejected(
        BAD_REQUEST,
        [
            // HTTP/0.9, which had neither a version nor field lines.
            &b"GET /\r\n"[..],
            b"GET /\n",
            b"GET /index.html\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: test\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET / /b HTTP/1.1\r\nHost: test\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"G\xc3\x89T / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"(GET) / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"/ HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET / http/1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/11\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.10\r\nHost: test\r\n\r\n",
            b"GET / HTTP/01.1\r\nHost: test\r\n\r\n",
            b"GET / HTCPCP/1.0\r\nHost: test\r\n\r\n",
            b"GET / HTTP 1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.x\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.11\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.7 \r\nHost: test\r\n\r\n",
            b"GET / HTTP/-1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/10.1\r\nHost: test\r\n\r\n",
            b"GET / HTTPS/1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\tHost: test\r\n\r\n",
            b"GET /\x0bHTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET /\xa0HTTP/1.1\r\nHost: test\r\n\r\n",
            b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"\0",
            // Other protocols: TLS, SSH, SOCKS, Redis.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"\x05\x01\x00",
            b"*1\r\n$4\r\nPING\r\n",
        ],
    );
}

#[test]
fn other_major_versions_are_505() {
    check_rejected(
        "505 HTTP Version Not Supported",
        [
            // The HTTP/2 connection preface (RFC 9113 section 3.4), with and without its frames.
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"PRI * HTTP/2.0\r\n",
            // RFC 9110 section 15.6.6.
            b"GET / HTTP/2.0\r\nHost: test\r\n\r\n",
            b"GET / HTTP/2.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/3.0\r\nHost: test\r\n\r\n",
            b"GET / HTTP/0.9\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: test\r\n\r\n",
        ],
    );
}

#[test]
fn later_minor_versions_are_read_as_1_1() {
    // RFC 9110 section 2.5: a message of a higher minor version is processed as one of the version implemented.
    let root = site();
    let server = Server::start(root.path());
    for minor in 2..=9 {
        let get = format!("GET / HTTP/1.{minor}\r\n");
        let mut client = server.connect();
        // The connection persists, and the response has version 1.1.
        for _ in 0..2 {
            let response = client.ask(format!("{get}Host: test\r\n\r\n"));
            assert_eq!(response.text(), "home", "{minor}");
            assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"));
            assert_eq!(response.field("Connection"), None, "{minor}");
        }
        // Chunked content and Expect are supported (RFC 9112 section 7.1).
        let fields = "Host: test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
        client.send(format!("{get}{fields}\r\n"));
        let interim = client.response_to_head();
        assert_eq!(interim.status(), "100 Continue", "{minor}");
        assert_eq!(client.ask("1\r\na\r\n0\r\n\r\n").text(), "home", "{minor}");
        let response = client.ask(format!("{get}Host: test\r\nConnection: close\r\n\r\n"));
        assert_eq!(response.field("Connection"), Some("close"), "{minor}");
        assert_eq!(client.rest(), b"", "{minor}");
    }
    check_rejected(
        BAD_REQUEST,
        [
            // Host is required (RFC 9112 section 3.2), and lines are parsed as strictly.
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/1.7\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.9\r\nHost : test\r\n\r\n",
            "GET / HTTP/1.9\r\nHost: test\r\n A: b\r\n\r\n",
            "GET / HTTP/1.9\r\nHost: test\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.7\r\nHost: test\n\r\n",
            "GET / HTTP/1.7\nHost: test\r\n\r\n",
            "GET / HTTP/1.7\rHost: test\r\n\r\n",
            "GET / HTTP/1.7\r\r\nHost: test\r\n\r\n",
            "GET  / HTTP/1.7\r\nHost: test\r\n\r\n",
            "GET /a b HTTP/1.7\r\nHost: test\r\n\r\n",
        ],
    );
}

#[test]
fn one_empty_line_before_request_is_ignored() {
    // RFC 9112 section 2.2: at least one empty line (CRLF) should be ignored.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(format!("\r\n{}", get("/"))).text(), "home");
    }
    check_rejected(
        BAD_REQUEST,
        [
            format!("\r\n\r\n{}", get("/")),
            format!("\n{}", get("/")),
            format!("\n\n{}", get("/")),
            format!("\r\n\n{}", get("/")),
            format!("\n\r\n{}", get("/")),
            format!("\r{}", get("/")),
            format!("\r\r\n{}", get("/")),
            format!("\r\n\r{}", get("/")),
            format!("\r\n {}", get("/")),
            format!(" \r\n{}", get("/")),
            // Endless line ends.
            "\r\n".repeat(50_000),
            "\r".repeat(100_000),
            "\n".repeat(100_000),
        ],
    );
}

#[test]
fn missing_repeated_or_invalid_host_is_400() {
    // RFC 9112 section 3.2 demands 400 of each.
    let hosts = |hosts: &str| format!("GET / HTTP/1.1\r\n{hosts}\r\n");
    check_rejected(
        BAD_REQUEST,
        [
            hosts(""),
            hosts("Hosts: test\r\n"),
            hosts("Host: test\r\nHost: test\r\n"),
            hosts("Host: test\r\nA: b\r\nhost: other\r\n"),
            hosts("Host: a b\r\n"),
            hosts("Host: a,b\r\nHost: c\r\n"),
            hosts("Host: a/b\r\n"),
            hosts("Host: user@a\r\n"),
            hosts("Host: http://a\r\n"),
            hosts("Host: a?b\r\n"),
            hosts("Host: a#b\r\n"),
            hosts("Host: \"a\"\r\n"),
            hosts("Host: <a>\r\n"),
            hosts("Host: a\\b\r\n"),
            hosts("Host: a%\r\n"),
            hosts("Host: a%zz\r\n"),
            hosts("Host: a:b\r\n"),
            hosts("Host: a:80:80\r\n"),
            hosts("Host: a:-1\r\n"),
            hosts("Host: a:99999\r\n"),
            hosts("Host: [::1\r\n"),
            hosts("Host: ::1\r\n"),
            hosts("Host: [::g]\r\n"),
            hosts("Host: [127.0.0.1]\r\n"),
            hosts("Host: k\u{f6}ln\r\n"),
            hosts("Host:\r\nHost:\r\n"),
            hosts("Host: test\r\nHost:\r\n"),
            hosts("Host: a:b@c\r\n"),
            hosts("Host: @a\r\n"),
            hosts("Host: a\tb\r\n"),
            hosts("Host: a:65536\r\n"),
            hosts("Host: a:+80\r\n"),
            hosts("Host: a: 80\r\n"),
            hosts("Host: a:80a\r\n"),
            hosts("Host: a::80\r\n"),
            hosts("Host: a|b\r\n"),
            hosts("Host: a^b\r\n"),
            hosts("Host: {a}\r\n"),
            hosts("Host: a`b\r\n"),
            hosts("Host: a%8\r\n"),
            // Addresses in brackets (RFC 3986 section 3.2.2): complete, without zone, nothing after them but a port.
            hosts("Host: [fe80::1%25eth0]\r\n"),
            hosts("Host: [fe80::1%eth0]\r\n"),
            hosts("Host: []\r\n"),
            hosts("Host: [:]\r\n"),
            hosts("Host: [::1]]\r\n"),
            hosts("Host: [[::1]]\r\n"),
            hosts("Host: [::1]a\r\n"),
            hosts("Host: a[::1]\r\n"),
            hosts("Host: [::1]:port\r\n"),
            hosts("Host: [::1]80\r\n"),
            hosts("Host: [1::2::3]\r\n"),
            hosts("Host: [1:2:3:4:5:6:7:8:9]\r\n"),
            hosts("Host: [12345::]\r\n"),
            hosts("Host: [::127.0.0.256]\r\n"),
            hosts("Host: [ ::1]\r\n"),
            hosts("Host: [test]\r\n"),
            hosts("Host: [v.a]\r\n"),
            hosts("Host: [v1.]\r\n"),
            hosts("Host: [v1a]\r\n"),
            hosts("Host: [vg.a]\r\n"),
            hosts("Host: [v1.a@b]\r\n"),
            hosts("Host: [v1.a%20b]\r\n"),
            hosts("Host: v1.a:b\r\n"),
            // An absolute form does not replace Host (RFC 9112 section 3.2.2).
            "GET http://test/ HTTP/1.1\r\n\r\n".into(),
            "GET http://test/ HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
            "GET http://test/ HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n".into(),
            "GET http://test/ HTTP/1.1\r\nHost: user@test\r\n\r\n".into(),
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            "GET / HTTP/1.0\r\nHost: a b\r\n\r\n".into(),
            "OPTIONS * HTTP/1.1\r\n\r\n".into(),
        ],
    );
}

#[test]
fn valid_hosts_are_accepted() {
    // RFC 3986 section 3.2.2. Host is empty for a target without authority (RFC 9112 section 3.2).
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for host in [
        "",
        "test",
        "test:",
        "test:80",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:db8::1]:80",
        "test:65535",
        "test:0",
        "test:0080",
        "TEST",
        ":80",
        "[1:2:3:4:5:6:7:8]",
        "[::ffff:127.0.0.1]:",
        "[v1.a:b]",
        "[vF.~]:80",
        "xn--kln-sna.example",
        "a_b.example.",
        "a%20b",
        "k%C3%B6ln",
        "!$&'()*+,;=-._~",
    ] {
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.text(), "home", "{host}");
    }
}

#[test]
fn absolute_form_authority_overrides_host() {
    // RFC 9112 section 3.2.2: Host is ignored, but must be well-formed.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in [
        "http://test/",
        "http://test",
        "HTTP://TEST:80/",
        "http://[::1]:80/",
        "http://[v1.a:b]/",
        "http://other:/?a",
        "http://a%20b/index.html",
    ] {
        for host in ["test", "other:81", "", "[::1]"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(client.ask(request).text(), "home", "{target} at {host:?}");
        }
    }
    // RFC 9110 section 7.4: "a request for an https resource MUST be rejected unless it has been received
    // over a connection that has been secured".
    for target in ["https://test/", "HTTPS://test"] {
        let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(response.status(), "421 Misdirected Request", "{target}");
    }
}

#[test]
fn malformed_field_line_is_400() {
    let raw = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: test\r\n", line, b"\r\n\r\n"].concat();
    check_rejected(
        BAD_REQUEST,
        [
            // White space before the colon is read differently by different parsers (RFC 9112 section 5.1).
            raw(b"A : b"),
            raw(b"A\t: b"),
            raw(b"A\x0b: b"),
            raw(b"A\xa0: b"),
            raw(b"Host : other"),
            raw(b"Content-Length : 5"),
            raw(b"Transfer-Encoding : chunked"),
            // Obsolete line folding (RFC 9112 section 5.2), after a field and before the first.
            raw(b"A: b\r\n c"),
            raw(b"A: b\r\n\tc"),
            raw(b"A:\r\n b"),
            raw(b"A: b\r\n\t\r\nC: d"),
            raw(b"A: b\r\n: c"),
            raw(b"Transfer-Encoding:\r\n chunked"),
            raw(b"Content-Length: 1\r\n 0"),
            raw(b"A: b\r\n \r\nC: d"),
            raw(b"A: b\r\n Content-Length: 5"),
            b"GET / HTTP/1.1\r\n Host: test\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\n\tA: b\r\nHost: test\r\n\r\n".to_vec(),
            // Bare CR (RFC 9112 section 2.2).
            raw(b"A: b\rc"),
            raw(b"A: b\r"),
            raw(b"A\r: b"),
            raw(b"\rA: b"),
            raw(b"A: b\r\r\nC: d"),
            raw(b"A: b\r\rC: d"),
            raw(b"A: \r"),
            raw(b"A: b\rContent-Length: 5"),
            raw(b"A: b\r Transfer-Encoding: chunked"),
            b"GET / HTTP/1.1\rHost: test\r\n\r\n".to_vec(),
            b"GET /\r HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: test\r\n\rA: b\r\n\r\n".to_vec(),
            // NUL and other control characters (RFC 9110 section 5.5).
            raw(b"\0: b"),
            raw(b"A: \0"),
            raw(b"A: \x1b[31m"),
            b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET /\x01 HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            // Names are tokens (RFC 9110 section 5.1).
            raw(b": b"),
            raw(b":"),
            raw(b" : b"),
            raw(b"A@B: c"),
            raw(b"A/B: c"),
            raw(b"A,B: c"),
            raw(b"A;B: c"),
            raw(b"{A}: b"),
            raw(b"A\\: b"),
            raw(b"A"),
            raw(b"A B: c"),
            raw(b"A(B): c"),
            raw(b"A[B]: c"),
            raw(b"\"A\": b"),
            raw(b"\xc3\x84: b"),
            raw(b"A=b"),
        ],
    );
}

#[test]
fn control_character_in_field_is_400() {
    // RFC 9110 sections 5.1 and 5.5. Tab is white space in a value.
    let controls = (0..0x20).chain([0x7f]);
    let rows = controls.flat_map(|control: u8| {
        let in_name = [b"A", &[control][..], b"B: c"].concat();
        let in_value = [b"A: b", &[control][..], b"c"].concat();
        let at_end = [b"A: b", &[control][..]].concat();
        let rows = if control == b'\t' {
            vec![in_name]
        } else {
            vec![in_name, in_value, at_end]
        };
        rows.into_iter().map(|line| {
            let request = b"GET / HTTP/1.1\r\nHost: test\r\n";
            [request, &*line, b"\r\n\r\n"].concat()
        })
    });
    check_rejected(BAD_REQUEST, rows);
}

#[test]
fn bare_lf_is_400() {
    // RFC 9112 section 2.2 allows a recipient to accept it as a line end. Recipients that do and those that do not
    // would see different requests.
    check_rejected(
        BAD_REQUEST,
        [
            "GET / HTTP/1.1\nHost: test\n\n",
            "GET / HTTP/1.1\nHost: test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: test\n\r\n",
            "GET / HTTP/1.1\r\nHost: test\r\n\n",
            "GET / HTTP/1.1\r\nHost: test\n\n",
            "GET / HTTP/1.1\r\nHost: test\r\nA: b\nContent-Length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: test\r\nA:\n\r\n",
            "GET / HTTP/1.0\n\n",
            "GET / HTTP/1.0\r\n\n",
            "OPTIONS * HTTP/1.1\nHost: test\n\n",
        ],
    );
}

#[test]
fn whitespace_around_field_value_is_stripped() {
    // OWS is any number of spaces and tabs (RFC 9110 sections 5.5 and 5.6.3).
    let root = site();
    let server = Server::start(root.path());
    for space in ["", " ", "\t", "   ", "\t\t", " \t \t"] {
        let around = |value: &str| format!("{space}{value}{space}");
        let host = around("test");
        let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost:{host}\r\n{fields}\r\n");
        let mut client = server.connect();
        for request in [
            head(""),
            head(&format!("Content-Length:{}\r\n", around("5"))) + "hello",
            head(&format!("Transfer-Encoding:{}\r\n", around("chunked"))) + "0\r\n\r\n",
            head(&format!("A:{space}\r\n")),
        ] {
            assert_eq!(client.ask(&request).text(), "home", "{request:?}");
        }
        let close = around("x") + "," + &around("close");
        let response = client.ask(head(&format!("Connection:{close}\r\n")));
        assert_eq!(response.field("Connection"), Some("close"), "{close:?}");
        assert_eq!(client.rest(), b"", "{close:?}");
    }
}

#[test]
fn field_value_may_contain_any_visible_bytes() {
    // RFC 9110 section 5.5.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for value in [
        &b""[..],
        b"\t b\tc ",
        b"caf\xc3\xa9",
        b"caf\xe9",
        b"\"\\\x22\"",
        b"a:b",
    ] {
        let request = [b"GET / HTTP/1.1\r\nHost: test\r\nA:", value, b"\r\n\r\n"].concat();
        assert_eq!(client.ask(request).text(), "home", "{value:?}");
    }
}

#[test]
fn invalid_or_repeated_content_length_is_400() {
    // RFC 9110 section 8.6, RFC 9112 section 6.3.
    check_rejected(
        BAD_REQUEST,
        [
            "",
            "+5",
            "-5",
            "-0",
            "5 5",
            "5,5",
            "5, 5",
            "5,",
            ",5",
            "5;",
            "5.0",
            "5e0",
            "0x5",
            "5h",
            "\"5\"",
            "five",
            "\u{665}",
            "18446744073709551616",
            "99999999999999999999999999999999",
            "-18446744073709551611",
            "5\t5",
            "5\u{a0}",
            "1_0",
            "5;5",
            "0, 5",
            "5, 6",
            "NaN",
            "\u{ff15}",
        ]
        .map(|length| with_fields(&format!("Content-Length: {length}\r\n")) + "hello"),
    );
    check_rejected(
        BAD_REQUEST,
        [
            with_fields("Content-Length: 5\r\nContent-Length: 6\r\n"),
            with_fields("Content-Length: 0\r\nContent-Length: 5\r\n"),
            with_fields("Content-Length: 5\r\nContent-Length: 5, 6\r\n"),
            with_fields("Content-Length: 5\r\nA: b\r\ncontent-length: 4\r\n"),
            with_fields("Content-Length: 5\r\nContent-Length:\r\n"),
            with_fields("Content-Length: 5\r\nContent-Length: 5\r\n"),
            with_fields("Content-Length: 0\r\nContent-Length: 0\r\n"),
            with_fields("CONTENT-LENGTH: 5\r\ncontent-length: 05\r\n"),
            "GET / HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".into(),
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: +5\r\n\r\nhello".into(),
            "OPTIONS * HTTP/1.1\r\nHost: test\r\nContent-Length: 5, 5\r\n\r\nhello".into(),
        ],
    );
}

#[test]
fn ambiguous_framing_is_400() {
    // Two parsers that use different fields see different requests (RFC 9112 section 11.2).
    check_rejected(
        BAD_REQUEST,
        [
            with_fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")
                + "0\r\n\r\n",
            with_fields("Transfer-Encoding:\r\n"),
            with_fields("Transfer-Encoding: ,\r\n"),
            // A known coding, but the last is not chunked: the end of the content is unknown (section 6.3).
            with_fields("Transfer-Encoding: chunked, gzip\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: gzip\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: identity\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunkedx\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: \"chunked\"\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked;q=1\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")
                + "0\r\n\r\n",
            with_fields("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n")
                + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked\r\nContent-Length:\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n") + "hello",
            with_fields("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked, gzip, chunked\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked chunked\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: chunked;\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: 'chunked'\r\n") + "0\r\n\r\n",
            with_fields("Transfer-Encoding: cow\r\n"),
            with_fields("Transfer-Encoding: chunked\u{a0}\r\n") + "0\r\n\r\n",
            // HTTP/1.0 has no transfer codings: the framing is faulty (section 6.1).
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
                .into(),
            "GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n".into(),
        ],
    );
}

#[test]
fn unknown_transfer_coding_is_501() {
    // RFC 9112 section 6.1.
    check_rejected(
        "501 Not Implemented",
        [
            "tea, chunked",
            "gzip, chunked",
            "identity, chunked",
            "gzip,,chunked",
            "GZIP\t,\tChunked",
            "\"chunked\", chunked",
            "gzip;q=\"a,b\", chunked",
        ]
        .map(|coding| with_fields(&format!("Transfer-Encoding: {coding}\r\n")) + "0\r\n\r\n"),
    );
}

#[test]
fn malformed_chunks_are_400() {
    // RFC 9112 section 7.1.
    check_rejected(
        BAD_REQUEST,
        [
            "\r\n",
            "g\r\n",
            "x\r\n",
            "-1\r\na\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            "1_0\r\n",
            "1 1\r\n",
            " 1\r\na\r\n",
            "1 \r\na\r\n",
            "\t1\r\na\r\n",
            "1\na\n0\n\n",
            "1\ra\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na0\r\n\r\n",
            "2\r\na\r\n0\r\n\r\n",
            ";a=b\r\n",
            "1;\0\r\na\r\n",
            "1;a\nb\r\n",
            "1;a\rb\r\n",
            "10000000000000000\r\n",
            "ffffffffffffffffffff\r\n",
            "1",
            "10000000000000000000000000000001\r\n",
            "1,1\r\na\r\n",
            "1:a\r\na\r\n",
            "1\r\r\na\r\n",
            "1\n\na\r\n",
            "\n1\r\na\r\n",
            "\r\n1\r\na\r\n",
            "1\r\na\r\n\r\n0\r\n\r\n",
            "1\r\na\r0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "\u{661}\r\na\r\n",
            // Extensions (section 7.1.1) end with their line.
            "1;a\x7f\r\na\r\n",
            "1;a=\"b\nc\"\r\na\r\n",
            "1;a=\"b\rc\"\r\na\r\n",
            "1;a\x0b\r\na\r\n",
            "1;\n0\r\n\r\n",
            "0;a\n\r\n",
            // The last chunk and its trailers (section 7.1.2).
            "0\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
            "0\r\n : b\r\n\r\n",
            "0\r\nA: b\r\n c\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\nA\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\rc\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
            "0\r\nA: \x7f\r\n\r\n",
        ]
        .map(chunked),
    );
}

#[test]
fn oversized_chunked_content_or_framing_is_413() {
    // RFC 9112 sections 7.1 and 7.1.1: sizes that overflow, and the total of extensions, are limited.
    let long = "a".repeat(MAX_HEADER_BYTES);
    check_rejected(
        "413 Content Too Large",
        [
            chunked("100001\r\n"),
            chunked("fffffffffffffff\r\n"),
            chunked("ffffffffffffffff\r\n"),
            chunked("7fffffffffffffff\r\n"),
            // The total overflows 64 bits.
            chunked("1\r\na\r\nffffffffffffffff\r\n"),
            chunked(&format!("{:0>32768}\r\na\r\n", 1)),
            chunked(&format!("1{}\r\n", " ".repeat(MAX_HEADER_BYTES))),
            chunked(&format!("0;{long}\r\n\r\n")),
            chunked(&format!("1;{long}\r\na\r\n")),
            chunked(&format!("0\r\nA: {long}\r\n\r\n")),
            chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(10_000))),
            chunked(&"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nb\r\n".repeat(10_000)),
        ],
    );
}

/// Returns a head of this many bytes, padded in its target or in a field.
fn head_of_length(bytes: usize, in_target: bool) -> String {
    let shortest = get("/");
    let padding = "a".repeat(bytes - shortest.len());
    if in_target {
        get(&format!("/{padding}"))
    } else {
        let fields = "A: \r\n".len();
        with_fields(&format!("A: {}\r\n", &padding[fields..]))
    }
}

#[test]
fn head_up_to_max_header_is_accepted() {
    // RFC 9112 section 3 for the request line, RFC 6585 section 5 for the fields.
    let root = site();
    for (option, max) in [
        (None, MAX_HEADER_BYTES),
        (Some("1KiB"), 1024),
        (Some("100000"), 100_000),
    ] {
        let options: Vec<&str> = option
            .into_iter()
            .flat_map(|size| ["--max-header", size])
            .collect();
        let server = Server::with(root.path(), &options);
        let mut client = server.connect();
        let request = head_of_length(max, false);
        assert_eq!(request.len(), max);
        // Twice: the limit is per request.
        for _ in 0..2 {
            assert_eq!(client.ask(&request).text(), "home", "{max}");
        }
        let response = client.ask(head_of_length(max, true));
        assert_eq!(response.status(), "404 Not Found", "{max}");

        let too_large = "431 Request Header Fields Too Large";
        assert_rejected(
            &server,
            head_of_length(max + 1, false).as_bytes(),
            too_large,
        );
        assert_rejected(
            &server,
            head_of_length(2 * max, false).as_bytes(),
            too_large,
        );
        assert_rejected(&server, head_of_length(max + 1, true).as_bytes(), too_large);
        // The request line alone exceeds the limit.
        let too_long = "414 URI Too Long";
        assert_rejected(
            &server,
            head_of_length(max + 100, true).as_bytes(),
            too_long,
        );
        assert_rejected(&server, head_of_length(4 * max, true).as_bytes(), too_long);
    }
}

#[test]
fn endless_head_is_431_or_414() {
    // RFC 9110 section 15.5.15, RFC 6585 section 5.
    check_rejected(
        "431 Request Header Fields Too Large",
        [
            format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(10_000)),
            format!("GET / HTTP/1.1\r\nHost: test\r\nA: {}", "b".repeat(100_000)),
            format!("GET / HTTP/1.1\r\n{}", "b".repeat(100_000)),
        ],
    );
    check_rejected(
        "414 URI Too Long",
        [format!("GET /{}", "a".repeat(100_000))],
    );
}

#[test]
fn more_than_100_field_lines_are_431() {
    // RFC 9110 section 5.4.
    let lines = |count: usize| with_fields(&"A: b\r\n".repeat(count - 1));
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    assert_eq!(client.ask(lines(100)).text(), "home");
    check_rejected(
        "431 Request Header Fields Too Large",
        [lines(101), lines(1000)],
    );
}

#[test]
fn error_response_to_head_has_no_content() {
    // RFC 9110 section 9.3.2.
    let root = site();
    let server = Server::start(root.path());
    for (target, fields) in [
        (
            "/",
            "Host: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        ),
        ("/", "Host: test\r\nTransfer-Encoding: tea, chunked\r\n"),
        ("/", "Host: test\r\nContent-Length: 9999999\r\n"),
        ("/", "Host: a\r\nHost: b\r\n"),
        ("/", "Host: test\r\nExpect: tea\r\nContent-Length: 1\r\n"),
        ("/", "Host: test\n"),
        ("/", "Host : test\r\n"),
        ("/%", "Host: test\r\n"),
    ] {
        let mut client = server.connect();
        client.send(format!("HEAD {target} HTTP/1.1\r\n{fields}\r\n"));
        let response = client.response_to_head();
        assert!(response.status().starts_with(['4', '5']), "{response:?}");
        assert_eq!(response.field("Connection"), Some("close"), "{fields}");
        assert_eq!(client.rest(), b"", "{fields}");
    }
}

/// Checks that the response to this request has this status, and that the next request is answered.
fn check_persists(client: &mut Client, request: &str, status: &str) -> Response {
    client.send(format!("{request}{SMUGGLED}"));
    let response = client.response();
    assert_eq!(response.status(), status, "{request}");
    assert_error_page(&response, status);
    assert_eq!(response.field("Connection"), None, "{request}");
    assert_eq!(client.response().text(), "smuggled", "{request}");
    response
}

#[test]
fn invalid_target_is_400() {
    let targets = [
        // Asterisk and authority forms are for OPTIONS and CONNECT (RFC 9112 section 3.2).
        "*",
        "**",
        "*/",
        "/*#",
        "test",
        "test:80",
        "a/b",
        "?",
        "./a/b",
        // Absolute forms have the scheme http and a valid authority.
        "http:",
        "http:/",
        "http:a",
        "http://",
        "http:///a",
        "http://:80/",
        "http://user:password@test/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[v1]/",
        "http://user@test/",
        "http://@test/",
        "http://user:@[::1]/",
        "http://test:80:80/",
        "http://test:99999/",
        "http://test:-1/",
        "http://te%zzst/",
        "http://test\\@other/",
        "http://k\u{f6}ln/",
        "http://?a",
        "//test/../..",
        "https:/test",
        "://test/",
        "/http://test/%",
        "ws://test/",
        "http//test/",
        "http://a:b/",
        "ftp://test/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        // A target has no fragment.
        "/#",
        "/a#b",
        "/?a#b",
        // A percent sign is followed by two hexadecimal digits.
        "/%",
        "/%2",
        "/%2/",
        "/a%",
        "/%zz",
        "/%-1",
        "/%%41",
        "/%u0041",
        "/%g0",
        // NUL and other control characters.
        "/%00",
        "/index.html%00",
        "/index.html%00.txt",
        "/a%0ab",
        "/a%0d%0aSet-Cookie:%20a=b",
        "/%1b",
        "/%7f",
        // An encoded slash is not a path separator.
        "/a%2fb",
        "/a%2Fb",
        "/%2f",
        "/%2f/",
        // Outside the root.
        "/..",
        "/../",
        "/%2e%2e/",
        "/%2E%2e",
        "/.%2e/etc/passwd",
        "/a/../../b",
        "http://test/..",
    ];
    check_rejected(BAD_REQUEST, targets.map(get));
}

#[test]
fn asterisk_form_is_for_options_and_authority_form_for_connect() {
    // RFC 9112 sections 3.2.3 and 3.2.4. The method is checked first.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (line, status) in [
        ("OPTIONS *", "204 No Content"),
        ("OPTIONS /", "204 No Content"),
        ("OPTIONS http://test", "204 No Content"),
        ("POST *", "405 Method Not Allowed"),
        ("TRACE *", "405 Method Not Allowed"),
        ("CONNECT test:80", "405 Method Not Allowed"),
        ("CONNECT [::1]:80", "405 Method Not Allowed"),
        ("CONNECT *", "405 Method Not Allowed"),
        ("CONNECT /", "405 Method Not Allowed"),
        ("CONNECT http://test/", "405 Method Not Allowed"),
        ("PUT test:80", "405 Method Not Allowed"),
        ("PRI *", "501 Not Implemented"),
        ("BREW *", "501 Not Implemented"),
    ] {
        let response = client.ask(format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(response.status(), status, "{line}");
        assert_eq!(response.field("Allow"), Some(ALLOW), "{line}");
        assert_eq!(response.field("Connection"), None, "{line}");
    }
    // CONNECT was not accepted, so the bytes after it are the next request.
    client.send(format!(
        "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n{SMUGGLED}"
    ));
    assert_eq!(client.response().status(), "405 Method Not Allowed");
    assert_eq!(client.response().text(), "smuggled");

    let options = |target: &str| get(target).replacen("GET", "OPTIONS", 1);
    check_rejected(
        BAD_REQUEST,
        [
            "**", "*/", "*?a", "test:80", "test", "a/b", "http://", "/%", "/..",
        ]
        .map(options),
    );
}

#[test]
fn unsupported_method_keeps_connection_open() {
    // RFC 9110 sections 9.1, 15.5.6 and 15.6.2.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (line, status) in [
        ("POST /", "405 Method Not Allowed"),
        ("PUT /", "405 Method Not Allowed"),
        ("PATCH /", "405 Method Not Allowed"),
        ("DELETE /nothing", "405 Method Not Allowed"),
        ("CONNECT test:80", "405 Method Not Allowed"),
        ("TRACE /", "405 Method Not Allowed"),
        ("BREW /", "501 Not Implemented"),
        ("get /", "501 Not Implemented"),
        ("GETS /", "501 Not Implemented"),
        ("GE /", "501 Not Implemented"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = check_persists(&mut client, &request, status);
        // Required with 405 (section 15.5.6).
        assert_eq!(response.field("Allow"), Some(ALLOW), "{line}");
    }
    for target in ["/nothing", "/a/b/c"] {
        let response = check_persists(&mut client, &get(target), "404 Not Found");
        assert_eq!(response.field("Allow"), None, "{target}");
    }
}

#[test]
fn trace_does_not_echo_request() {
    // RFC 9110 section 9.3.8: an echo would reveal fields that a proxy has added.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    let fields = "Host: test\r\nCookie: secret\r\nMax-Forwards: 0\r\n";
    let response = client.ask(format!("TRACE /traced HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(response.status(), "405 Method Not Allowed");
    let shown = format!("{response:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("traced"),
        "{shown}"
    );
    assert_eq!(client.get("/").text(), "home");
}

#[test]
fn upgrade_is_ignored() {
    // RFC 9110 section 7.8: a server may ignore Upgrade and stay with the current protocol.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for fields in [
        // RFC 7540 section 3.2.
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        // RFC 6455 section 1.3.
        "Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        // RFC 2817 section 3.1.
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: HTTP/2.0, h2c\r\n",
        "Upgrade:\r\n",
    ] {
        // The next request is HTTP/1.1 as well.
        client.send(with_fields(fields) + SMUGGLED);
        let response = client.response();
        assert_eq!(response.text(), "home", "{fields}");
        assert_eq!(response.field("Upgrade"), None, "{fields}");
        assert_eq!(response.field("Connection"), None, "{fields}");
        assert_eq!(client.response().text(), "smuggled", "{fields}");
    }
    // The content of the request is consumed (section 7.8), even if it looks like an HTTP/2 preface.
    client.send(with_fields(
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 24\r\n",
    ));
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().text(), "home");
    assert_eq!(client.get("/").text(), "home");
}

#[test]
fn expect_continue_of_rejected_request_gets_no_100() {
    // RFC 9110 section 10.1.1: 100 would ask for content that is not read.
    let head = |line: &str, fields: &str| {
        format!("{line} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{fields}\r\n")
    };
    check_rejected(
        BAD_REQUEST,
        [
            head("GET /", "Content-Length: 1\r\nContent-Length: 2\r\n"),
            head(
                "GET /",
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            ),
            head("GET /", "Transfer-Encoding: gzip\r\n"),
            head("GET /%", "Content-Length: 5\r\n"),
            head("GET *", "Content-Length: 5\r\n"),
            head("GET /..", "Transfer-Encoding: chunked\r\n"),
            head("GET /", "Host: test\r\nContent-Length: 5\r\n"),
        ],
    );
    let failed = "417 Expectation Failed";
    check_rejected(
        "501 Not Implemented",
        [head("GET /", "Transfer-Encoding: tea, chunked\r\n")],
    );
    check_rejected(
        "413 Content Too Large",
        [head("GET /", "Content-Length: 9999999\r\n")],
    );
    check_rejected(
        failed,
        [
            head("GET /", "Expect: tea\r\nContent-Length: 5\r\n"),
            head("GET /", "Expect: tea\r\nContent-Length: 9999999\r\n"),
            // 417 takes precedence, for every method (section 10.1.1).
            head(
                "POST /",
                "Expect: \"100-continue\"\r\nContent-Length: 5\r\n",
            ),
        ],
    );
    let root = site();
    let server = Server::start(root.path());
    for (line, status) in [
        ("POST /", "405 Method Not Allowed"),
        ("TRACE /", "405 Method Not Allowed"),
        ("CONNECT test:80", "405 Method Not Allowed"),
        ("BREW /", "501 Not Implemented"),
    ] {
        for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let request = head(line, &format!("{framing}\r\n"));
            let response = assert_rejected(&server, request.as_bytes(), status);
            assert_eq!(response.field("Allow"), Some(ALLOW), "{request}");
        }
    }
    // Without content there is no 100.
    let mut client = server.connect();
    for (fields, content) in [
        ("Content-Length: 0\r\n", ""),
        ("", ""),
        ("Content-Length: 000\r\n", ""),
    ] {
        let response = client.ask(head("GET /", fields) + content);
        assert_eq!(response.text(), "home", "{fields}");
    }
}
