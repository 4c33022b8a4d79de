//! What is no well-formed request is refused, in words.

mod support;

use support::{Client, Response, Root, Server};

/// What must never be answered behind a refusal.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

/// The largest head, unless `--max-header` says otherwise.
const MOST: usize = 32 * 1024;

fn site() -> Root {
    Root::of(&[
        ("index.html", "home"),
        ("smuggled", "smuggled"),
        ("a/b", "b"),
    ])
}

/// A request for `/` with these field lines.
fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

/// A request for `/` with this content in the chunked coding.
fn chunked(content: &str) -> String {
    with("Transfer-Encoding: chunked\r\n") + content
}

/// A request for this target.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The one response there is to `bytes` and to all that follows them.
fn refused(server: &Server, bytes: &[u8], status: &str) -> Response {
    let shown = bytes[..bytes.len().min(200)].escape_ascii();
    let mut client = server.connect();
    client.send([bytes, SMUGGLED.as_bytes(), SMUGGLED.as_bytes()].concat());
    let response = client.response();
    assert_eq!(response.status(), status, "{shown}");
    assert_page(&response, status);
    let connection = response.field("Connection");
    assert_eq!(connection, Some("close"), "{shown}");
    // The end comes while the client still keeps its side open.
    assert_eq!(client.rest().escape_ascii().to_string(), "", "{shown}");
    response
}

/// Our own page, which says the status in words.
fn assert_page(response: &Response, status: &str) {
    let media_type = response.field("Content-Type");
    assert_eq!(media_type, Some("text/html; charset=utf-8"), "{response:?}");
    let sniff = response.field("X-Content-Type-Options");
    assert_eq!(sniff, Some("nosniff"), "{response:?}");
    assert!(response.field("Date").is_some(), "{response:?}");
    assert!(response.text().contains(status), "{response:?}");
}

/// That each of these is refused with this status, and is the last of its connection.
fn check<T: AsRef<[u8]>>(status: &str, rows: impl IntoIterator<Item = T>) {
    let root = site();
    let server = Server::start(root.path());
    for bytes in rows {
        refused(&server, bytes.as_ref(), status);
    }
    assert_eq!(server.get("/").text(), "home");
}

const BAD_REQUEST: &str = "400 Bad Request";

#[test]
fn a_request_line_has_three_parts_and_two_spaces() {
    check(
        BAD_REQUEST,
        [
            // HTTP/0.9.
            &b"GET /\r\n"[..],
            b"GET /\n",
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
            b"\0",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"\n\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
            // Other protocols: TLS, SSH, SOCKS, Redis.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"\x05\x01\x00",
            b"*1\r\n$4\r\nPING\r\n",
        ],
    );
}

#[test]
fn other_versions_are_not_spoken() {
    check(
        "505 HTTP Version Not Supported",
        [
            // What an HTTP/2 client says first (RFC 9113 section 3.4).
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: test\r\n\r\n",
            "GET / HTTP/3.0\r\nHost: test\r\n\r\n",
            "GET / HTTP/0.9\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: test\r\n\r\n",
        ],
    );
}

#[test]
fn host_comes_once_and_is_one() {
    // RFC 9112 section 3.2 demands 400 of each.
    let hosts = |hosts: &str| format!("GET / HTTP/1.1\r\n{hosts}\r\n");
    check(
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
            // An absolute form does not make up for it.
            "GET http://test/ HTTP/1.1\r\n\r\n".into(),
            "GET http://test/ HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            "GET / HTTP/1.0\r\nHost: a b\r\n\r\n".into(),
            "OPTIONS * HTTP/1.1\r\n\r\n".into(),
        ],
    );
}

#[test]
fn hosts_of_every_form_are_hosts() {
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
        "xn--kln-sna.example",
        "a_b.example.",
        "a%20b",
    ] {
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.text(), "home", "{host}");
    }
}

#[test]
fn a_field_line_is_a_name_a_colon_and_a_value() {
    let raw = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: test\r\n", line, b"\r\n\r\n"].concat();
    check(
        BAD_REQUEST,
        [
            // White space before the colon has been read in two ways (RFC 9112 section 5.1).
            raw(b"A : b"),
            raw(b"A\t: b"),
            raw(b"Content-Length : 5"),
            raw(b"Transfer-Encoding : chunked"),
            // Obsolete folding (RFC 9112 section 5.2), behind a field and before any.
            raw(b"A: b\r\n c"),
            raw(b"A: b\r\n\tc"),
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
            b"GET / HTTP/1.1\rHost: test\r\n\r\n".to_vec(),
            b"GET /\r HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: test\r\n\rA: b\r\n\r\n".to_vec(),
            // NUL and other control characters (RFC 9110 section 5.5).
            raw(b"A: b\0c"),
            raw(b"A\0: b"),
            raw(b"A: \x01"),
            raw(b"A: b\x08c"),
            raw(b"A: b\x0bc"),
            raw(b"A: \x1b[31m"),
            raw(b"A: b\x7f"),
            b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET /\x01 HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            // Names are tokens (RFC 9110 section 5.1).
            raw(b": b"),
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
fn values_are_any_visible_bytes() {
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
fn a_length_is_one_number() {
    check(
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
        ]
        .map(|length| with(&format!("Content-Length: {length}\r\n")) + "hello"),
    );
    check(
        BAD_REQUEST,
        [
            with("Content-Length: 5\r\nContent-Length: 6\r\n"),
            with("Content-Length: 0\r\nContent-Length: 5\r\n"),
            with("Content-Length: 5\r\nContent-Length: 5, 6\r\n"),
            with("Content-Length: 5\r\nA: b\r\ncontent-length: 4\r\n"),
            with("Content-Length: 5\r\nContent-Length:\r\n"),
        ],
    );
}

#[test]
fn framing_is_said_in_one_way() {
    // Two readers that believe different fields see different requests (RFC 9112 section 11.2).
    check(
        BAD_REQUEST,
        [
            with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding:\r\n"),
            with("Transfer-Encoding: ,\r\n"),
            // Known, and not the last: where the content ends cannot be known (section 6.3).
            with("Transfer-Encoding: chunked, gzip\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: gzip\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: identity\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunkedx\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: \"chunked\"\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunked;q=1\r\n") + "0\r\n\r\n",
            with("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n",
            // HTTP/1.0 has no transfer codings: its framing is faulty (section 6.1).
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
                .into(),
            "GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n".into(),
        ],
    );
}

#[test]
fn unknown_transfer_codings_are_not_implemented() {
    // RFC 9112 section 6.1.
    check(
        "501 Not Implemented",
        ["tea, chunked", "gzip, chunked", "identity, chunked"]
            .map(|coding| with(&format!("Transfer-Encoding: {coding}\r\n")) + "0\r\n\r\n"),
    );
}

#[test]
fn chunks_are_sizes_and_data() {
    check(
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
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\rc\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
        ]
        .map(chunked),
    );
}

#[test]
fn content_of_chunks_is_bounded_with_its_framing() {
    let long = "a".repeat(MOST);
    check(
        "413 Content Too Large",
        [
            chunked("100001\r\n"),
            chunked("fffffffffffffff\r\n"),
            chunked(&format!("1;{long}\r\na\r\n")),
            chunked(&format!("0\r\nA: {long}\r\n\r\n")),
            chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(10_000))),
            chunked(&"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nb\r\n".repeat(10_000)),
        ],
    );
}

/// A head of this many bytes, with all the weight in a target or in a field.
fn heavy(bytes: usize, in_target: bool) -> String {
    let light = get("/");
    let weight = "a".repeat(bytes - light.len());
    if in_target {
        get(&format!("/{weight}"))
    } else {
        let fields = "A: \r\n".len();
        with(&format!("A: {}\r\n", &weight[fields..]))
    }
}

#[test]
fn a_head_of_the_largest_size_is_read() {
    let root = site();
    for (option, most) in [
        (None, MOST),
        (Some("1KiB"), 1024),
        (Some("100000"), 100_000),
    ] {
        let options: Vec<&str> = option
            .into_iter()
            .flat_map(|size| ["--max-header", size])
            .collect();
        let server = Server::with(root.path(), &options);
        let mut client = server.connect();
        let request = heavy(most, false);
        assert_eq!(request.len(), most);
        // Twice: what came before does not count.
        for _ in 0..2 {
            assert_eq!(client.ask(&request).text(), "home", "{most}");
        }
        let response = client.ask(heavy(most, true));
        assert_eq!(response.status(), "404 Not Found", "{most}");

        let too_large = "431 Request Header Fields Too Large";
        refused(&server, heavy(most + 1, false).as_bytes(), too_large);
        refused(&server, heavy(2 * most, false).as_bytes(), too_large);
        refused(&server, heavy(most + 1, true).as_bytes(), too_large);
        // Not even the request line fits.
        let too_long = "414 URI Too Long";
        refused(&server, heavy(most + 100, true).as_bytes(), too_long);
        refused(&server, heavy(4 * most, true).as_bytes(), too_long);
    }
}

#[test]
fn a_head_that_never_ends_is_refused() {
    check(
        "431 Request Header Fields Too Large",
        [
            format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(10_000)),
            format!("GET / HTTP/1.1\r\nHost: test\r\nA: {}", "b".repeat(100_000)),
            format!("GET / HTTP/1.1\r\n{}", "b".repeat(100_000)),
        ],
    );
    check(
        "414 URI Too Long",
        [format!("GET /{}", "a".repeat(100_000))],
    );
}

#[test]
fn a_head_has_a_hundred_lines_at_the_most() {
    let lines = |count: usize| with(&"A: b\r\n".repeat(count - 1));
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    assert_eq!(client.ask(lines(100)).text(), "home");
    check(
        "431 Request Header Fields Too Large",
        [lines(101), lines(1000)],
    );
}

#[test]
fn the_answer_to_head_has_no_content_even_if_it_refuses() {
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

/// That the answer to this request has this status, and that the next request is answered too.
fn check_persists(client: &mut Client, request: &str, status: &str) {
    client.send(format!("{request}{SMUGGLED}"));
    let response = client.response();
    assert_eq!(response.status(), status, "{request}");
    assert_page(&response, status);
    assert_eq!(response.field("Connection"), None, "{request}");
    assert_eq!(client.response().text(), "smuggled", "{request}");
}

#[test]
fn a_target_has_a_meaning_inside_the_root() {
    let targets = [
        // Asterisk and authority forms are for OPTIONS and CONNECT (RFC 9112 section 3.2).
        "*",
        "**",
        "test",
        "test:80",
        "a/b",
        "?",
        "./a/b",
        // Absolute forms are http, with an authority that is one.
        "http:",
        "http:/",
        "http:a",
        "http://",
        "http:///a",
        "http://:80/",
        "http://user:password@test/",
        "http://[::1/",
        "http://a:b/",
        "ftp://test/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        // A fragment is no part of a target.
        "/#",
        "/a#b",
        "/?a#b",
        // A percent sign encodes a byte, by two hexadecimal digits.
        "/%",
        "/%2",
        "/%2/",
        "/a%",
        "/%zz",
        "/%-1",
        "/%%41",
        "/%u0041",
        "/%g0",
        // NUL and other control characters, which no name of ours has.
        "/%00",
        "/index.html%00",
        "/index.html%00.txt",
        "/a%0ab",
        "/a%0d%0aSet-Cookie:%20a=b",
        "/%1b",
        "/%7f",
        // A slash that was encoded is not one.
        "/a%2fb",
        "/a%2Fb",
        "/%2f",
        "/%2f/",
        // Out of the root.
        "/..",
        "/../",
        "/%2e%2e/",
        "/%2E%2e",
        "/.%2e/etc/passwd",
        "/a/../../b",
        "http://test/..",
    ];
    check(BAD_REQUEST, targets.map(get));
}

#[test]
fn a_method_that_is_not_served_does_not_end_the_connection() {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (line, status) in [
        ("POST /", "405 Method Not Allowed"),
        ("DELETE /nothing", "405 Method Not Allowed"),
        ("CONNECT test:80", "405 Method Not Allowed"),
        ("TRACE /", "405 Method Not Allowed"),
        ("BREW /", "501 Not Implemented"),
        ("get /", "501 Not Implemented"),
        ("GET /nothing", "404 Not Found"),
        ("GET /a/b/c", "404 Not Found"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n");
        check_persists(&mut client, &request, status);
    }
}

#[test]
fn lines_may_end_in_lf_alone() {
    // RFC 9112 section 2.2 lets a recipient take it for a line end; people type such requests.
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for request in [
        "GET / HTTP/1.1\nHost: test\n\n",
        "GET / HTTP/1.1\r\nHost: test\n\r\n",
        "GET / HTTP/1.1\nHost: test\r\n\n",
    ] {
        assert_eq!(client.ask(request).text(), "home", "{request}");
    }
}
