//! A connection lasts as long as both sides want it to.

use crate::support::{Client, Response, Root, Server, eventually, large};

/// Content of a request up to which it is counted away.
const MOST: usize = 1 << 20;

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";

fn site() -> Root {
    let root = Root::of(&[("file", "content"), ("next", "next"), ("dir/file", "a")]);
    root.write("large", large());
    root
}

/// The response to `request`, whose method may be HEAD.
fn ask(client: &mut Client, request: &str) -> Response {
    client.send(request);
    receive(client, request)
}

fn receive(client: &mut Client, request: &str) -> Response {
    if request.trim_start().starts_with("HEAD") {
        client.response_to_head()
    } else {
        client.response()
    }
}

/// What the Connection field of the response says, and that what it says is so.
fn check(server: &Server, request: &str, expected: Option<&str>) {
    let mut client = server.connect();
    let response = ask(&mut client, request);
    assert_eq!(response.field("Connection"), expected, "{request}");
    if expected == Some("close") {
        assert_eq!(client.rest(), b"", "{request}");
    } else {
        assert_eq!(ask(&mut client, NEXT).text(), "next", "{request}");
    }

    // What stands behind the last request was never asked (RFC 9112 section 9.6).
    let mut client = server.connect();
    client.send(format!("{request}{NEXT}"));
    receive(&mut client, request);
    if expected == Some("close") {
        assert_eq!(client.rest(), b"", "{request}");
    } else {
        assert_eq!(client.response().text(), "next", "{request}");
    }
}

#[test]
fn http_1_1_persists_unless_told_to_close() {
    let root = site();
    let server = Server::start(root.path());
    for line in [
        "GET /file",
        "GET /large",
        "GET /nothing",
        "GET /dir",
        "HEAD /file",
        "HEAD /nothing",
        "OPTIONS *",
        "POST /file",
        "BREW /file",
    ] {
        for (fields, expected) in [
            ("", None),
            ("Connection: close\r\n", Some("close")),
            ("connection:CLOSE\r\n", Some("close")),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
            check(&server, &request, expected);
        }
    }
}

#[test]
fn close_is_found_wherever_it_is_said() {
    let root = site();
    let server = Server::start(root.path());
    for (fields, expected) in [
        ("Connection: keep-alive\r\n", None),
        ("Connection:\r\n", None),
        ("Connection: closed\r\n", None),
        ("Connection: not-close\r\n", None),
        ("Proxy-Connection: close\r\n", None),
        ("Connection: Close\r\n", Some("close")),
        ("CONNECTION: close\r\n", Some("close")),
        ("Connection: keep-alive, close\r\n", Some("close")),
        ("Connection: close, keep-alive\r\n", Some("close")),
        ("Connection: ,\tupgrade ,,close\t,\r\n", Some("close")),
        (
            "Connection: keep-alive\r\nA: b\r\nConnection: close\r\n",
            Some("close"),
        ),
        (
            "Connection: close\r\nConnection: keep-alive\r\n",
            Some("close"),
        ),
    ] {
        let request = format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
        check(&server, &request, expected);
    }
}

#[test]
fn http_1_0_closes_unless_told_to_persist() {
    let root = site();
    let server = Server::start(root.path());
    for (fields, expected) in [
        ("", "close"),
        ("Host: test\r\n", "close"),
        ("Connection: upgrade\r\n", "close"),
        ("Connection: close\r\n", "close"),
        ("Connection: keep-alive, close\r\n", "close"),
        ("Connection: keep-alive\r\n", "keep-alive"),
        ("connection: Keep-Alive\r\n", "keep-alive"),
        ("Connection: upgrade, keep-alive\r\n", "keep-alive"),
        (
            "Connection: upgrade\r\nConnection: keep-alive\r\n",
            "keep-alive",
        ),
    ] {
        for line in ["GET /file", "GET /nothing", "HEAD /large", "OPTIONS *"] {
            let request = format!("{line} HTTP/1.0\r\n{fields}\r\n");
            check(&server, &request, Some(expected));
        }
    }
}

#[test]
fn a_closed_connection_leaves_nothing_behind() {
    let root = site();
    let server = Server::forgetful(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/file");
    let descriptors = server.descriptors();
    for _ in 0..5 {
        let mut client = server.connect();
        client.send("GET /large HTTP/1.0\r\n\r\n");
        assert!(client.response().content == large());
        assert_eq!(client.rest(), b"");
        drop(client);
        drop(server.connect());
    }
    eventually("every socket is closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(neighbour.get("/file").text(), "content");
}

#[test]
fn who_has_finished_sending_still_receives() {
    let root = site();
    let server = Server::start(root.path());
    for request in [
        "GET /large HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /large HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /large HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let mut client = server.connect();
        client.send(request);
        client.finish();
        assert!(client.response().content == large(), "{request}");
        assert_eq!(client.rest(), b"", "{request}");
    }
}

#[test]
fn an_end_that_comes_with_the_last_request_is_seen() {
    let root = site();
    let server = Server::start(root.path());
    for request in [
        NEXT,
        "GET /large HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
        "",
    ] {
        for warm in [false, true] {
            let mut client = server.connect();
            if warm {
                client.get("/file");
            }
            // The poll tells of both at once, and never again.
            server.asleep(|| {
                client.send(request);
                client.finish();
            });
            if !request.is_empty() {
                assert_eq!(client.response().status(), "200 OK", "{request}");
            }
            assert_eq!(client.rest(), b"", "{request}");
        }
    }
}

#[test]
fn all_that_was_asked_before_the_end_is_answered() {
    let root = site();
    let server = Server::start(root.path());
    let asked = ["/file", "/large", "/next", "/large", "/nothing", "/file"];
    let requests: String = asked
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .concat();
    let mut client = server.connect();
    client.send(requests);
    client.finish();
    let expected = server.get("/nothing").content;
    for target in asked {
        let content = client.response().content;
        let expected = match target {
            "/file" => content == b"content",
            "/next" => content == b"next",
            "/large" => content == large(),
            _ => content == expected,
        };
        assert!(expected, "{target}");
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn half_a_request_is_none() {
    let root = site();
    let server = Server::start(root.path());
    for half in [
        "G",
        "GET /next HTTP/1.1\r\nHost: test\r\n",
        "GET /next HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nab",
        "GET /next HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        let mut client = server.connect();
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        client.send(half);
        client.finish();
        assert_eq!(client.response().text(), "content", "{half}");
        let response = client.response();
        assert_eq!(response.status(), "400 Bad Request", "{half}");
        assert_eq!(response.field("Connection"), Some("close"), "{half}");
        assert_eq!(client.rest(), b"", "{half}");
    }
}

#[test]
fn an_empty_line_before_a_request_is_forgiven_once() {
    let root = site();
    let server = Server::start(root.path());
    // Old clients sent one behind a POST (RFC 9112 section 2.2).
    let mut client = server.connect();
    for request in [
        "\r\nGET /file HTTP/1.1\r\nHost: test\r\n\r\n",
        "\r\nPOST /file HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\n\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        let response = ask(&mut client, request);
        assert!(!response.status().starts_with("400"), "{request}");
    }
    let response = ask(
        &mut client,
        "\r\n\r\nGET /file HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(response.status(), "400 Bad Request");
    assert_eq!(client.rest(), b"");
}

/// Content in one chunk.
fn chunk(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n", content.len())
}

#[test]
fn content_of_requests_is_counted_away() {
    const CHUNKED: &str = "Transfer-Encoding: chunked";
    let root = site();
    let server = Server::start(root.path());
    let most = "x".repeat(MOST);
    let mut client = server.connect();
    for (field, content) in [
        ("Content-Length: 0", ""),
        ("Content-Length: 3", "abc"),
        ("content-length: 0003", "abc"),
        (
            "Content-Length: 34",
            "GET /file HTTP/1.1\r\nHost: test\r\n\r\n",
        ),
        (&*format!("Content-Length: {MOST}"), &*most),
        (CHUNKED, "0\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\n\r\n"),
        ("transfer-encoding: CHUNKED", "3\r\nabc\r\n000\r\n\r\n"),
        (CHUNKED, "1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n"),
        (CHUNKED, "3;a\r\nabc\r\n0;b=c;d=\"e;\\\"f\"\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\nTrailer: a\r\nOther:\r\n\r\n"),
        // Chunk data may look like anything.
        (CHUNKED, &(chunk("\r\n0\r\n\r\n") + "0\r\n\r\n")),
        (CHUNKED, &(chunk(NEXT) + "0\r\n\r\n")),
        (CHUNKED, &(chunk(&most) + "0\r\n\r\n")),
        (
            CHUNKED,
            &(chunk(&most[..1 << 10]).repeat(1 << 10) + "0\r\n\r\n"),
        ),
    ] {
        for (line, status) in [
            ("GET /file", "200 OK"),
            ("HEAD /file", "200 OK"),
            ("GET /nothing", "404 Not Found"),
            ("OPTIONS *", "204 No Content"),
            ("POST /file", "405 Method Not Allowed"),
            ("BREW /file", "501 Not Implemented"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n{content}");
            let shown = &request[..request.len().min(200)];
            client.send(format!("{request}{NEXT}"));
            let response = receive(&mut client, &request);
            assert_eq!(response.status(), status, "{shown}");
            assert_eq!(response.field("Connection"), None, "{shown}");
            assert_eq!(client.response().text(), "next", "{shown}");
        }
    }
}

#[test]
fn too_much_content_is_refused_while_it_is_sent() {
    let root = site();
    let server = Server::start(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/file");
    let descriptors = server.descriptors();
    let length = format!("Content-Length: {}", 8 * MOST);
    let huge = format!("Content-Length: {}", u64::MAX);
    let chunked = "Transfer-Encoding: chunked";
    for (line, field, status) in [
        ("GET /file", &*length, "413 Content Too Large"),
        ("GET /file", &huge, "413 Content Too Large"),
        ("GET /file", chunked, "413 Content Too Large"),
        ("HEAD /file", &length, "413 Content Too Large"),
        // Whatever the length: this is refused anyway.
        ("POST /file", &length, "405 Method Not Allowed"),
        ("BREW /file", &length, "501 Not Implemented"),
    ] {
        let mut client = server.connect();
        let head = format!("{line} HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n");
        client.send(&head);
        // Had the server hung up with all this unread, the answer would be lost, and sending
        // would fail (RFC 9112 section 9.6).
        let piece = "x".repeat(MOST / 16);
        for _ in 0..8 * 16 {
            if field == chunked {
                client.send(chunk(&piece));
            } else {
                client.send(&piece);
            }
        }
        let response = receive(&mut client, &head);
        assert_eq!(response.status(), status, "{head}");
        assert_eq!(response.field("Connection"), Some("close"), "{head}");
        if !line.starts_with("HEAD") {
            assert!(response.text().contains(status), "{head}");
        }
        assert_eq!(client.rest(), b"", "{head}");
    }
    eventually("every socket is closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(neighbour.get("/file").text(), "content");
}

#[test]
fn content_one_byte_over_the_bound_is_too_much() {
    let root = site();
    let server = Server::start(root.path());
    let over = "x".repeat(MOST + 1);
    for framed in [
        format!("Content-Length: {}\r\n\r\n{over}", MOST + 1),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk(&over)
        ),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(&over[1..]),
            chunk("x")
        ),
    ] {
        let mut client = server.connect();
        client.send(format!(
            "GET /file HTTP/1.1\r\nHost: test\r\n{framed}{NEXT}"
        ));
        assert_eq!(client.response().status(), "413 Content Too Large");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn content_that_is_expected_is_asked_for() {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (line, field, content) in [
        ("GET /file", "Content-Length: 3", "abc"),
        (
            "GET /file",
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        ("HEAD /file", "Content-Length: 3", "abc"),
        ("GET /large", "Content-Length: 3", "abc"),
    ] {
        for expect in ["100-continue", "100-Continue"] {
            let head =
                format!("{line} HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\n{field}\r\n\r\n");
            client.send(&head);
            // The content is not sent before this has come (RFC 9110 section 10.1.1).
            let interim = client.response_to_head();
            assert_eq!(interim.head, "HTTP/1.1 100 Continue\r\n", "{head}");
            client.send(content);
            assert_eq!(receive(&mut client, &head).status(), "200 OK", "{head}");
        }
    }
    assert_eq!(client.get("/next").text(), "next");
}

#[test]
fn content_that_is_not_wanted_is_not_asked_for() {
    let root = site();
    let server = Server::start(root.path());
    for (line, fields, status) in [
        ("POST /file", "Content-Length: 3", "405 Method Not Allowed"),
        (
            "POST /file",
            "Transfer-Encoding: chunked",
            "405 Method Not Allowed",
        ),
        (
            "POST /file",
            "Content-Length: 9999999",
            "405 Method Not Allowed",
        ),
        ("BREW /file", "Content-Length: 3", "501 Not Implemented"),
        ("GET /%", "Content-Length: 3", "400 Bad Request"),
        (
            "GET /file",
            "Content-Length: 9999999",
            "413 Content Too Large",
        ),
        ("GET /file", "Content-Length: 3, 4", "400 Bad Request"),
    ] {
        let mut client = server.connect();
        let head =
            format!("{line} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{fields}\r\n\r\n");
        // The final status comes at once, and first.
        let response = client.ask(&head);
        assert_eq!(response.status(), status, "{head}");
        // Whether the content will come now cannot be known.
        assert_eq!(response.field("Connection"), Some("close"), "{head}");
        client.send("abc");
        assert_eq!(client.rest(), b"", "{head}");
    }
}

#[test]
fn nothing_is_expected_of_no_content_and_of_http_1_0() {
    let root = site();
    let server = Server::start(root.path());
    for request in [
        "GET /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        // HTTP/1.0 knows no interim responses (RFC 9110 section 10.1.1).
        "GET /file HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "GET /file HTTP/1.0\r\nExpect: tea\r\n\r\n",
    ] {
        assert_eq!(
            server.connect().ask(request).status(),
            "200 OK",
            "{request}"
        );
    }
}

#[test]
fn other_expectations_fail() {
    let root = site();
    let server = Server::start(root.path());
    for (fields, content) in [
        ("Expect: tea\r\n", ""),
        ("Expect: 100\r\n", ""),
        ("Expect: 100-continue, tea\r\n", ""),
        ("Expect: 100-continue\r\nExpect: tea\r\n", ""),
        ("Expect: 100-continue=1\r\n", ""),
        ("Expect: tea\r\nContent-Length: 3\r\n", "abc"),
    ] {
        let mut client = server.connect();
        let head = format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
        client.send(format!("{head}{content}"));
        let response = client.response();
        assert_eq!(response.status(), "417 Expectation Failed", "{head}");
        assert!(response.text().contains("417 Expectation Failed"), "{head}");
    }
}

#[test]
fn an_expectation_that_fails_is_told_before_the_content_is_sent() {
    let root = site();
    let server = Server::start(root.path());
    for expect in ["100-continue, tea", "tea"] {
        let mut client = server.connect();
        // Who expects something, whatever it is, may wait for it with the content.
        let response = client.ask(format!(
            "GET /file HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\nContent-Length: 3\r\n\r\n"
        ));
        assert_eq!(response.status(), "417 Expectation Failed", "{expect}");
        assert_eq!(response.field("Connection"), Some("close"), "{expect}");
        assert_eq!(client.rest(), b"", "{expect}");
    }
}
