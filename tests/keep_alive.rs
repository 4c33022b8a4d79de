//! Persistent connections: keep-alive, half-close, request content and Expect.

use crate::support::{Client, Response, Root, Server, eventually, large};

/// Largest content of a request, in bytes, that is read and discarded.
const MAX_CONTENT: usize = 1 << 20;

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";

fn site() -> Root {
    let root = Root::of(&[("file", "content"), ("next", "next"), ("dir/file", "a")]);
    root.write("large", large());
    root
}

/// Sends a request, whose method may be HEAD, and receives its response.
fn ask(client: &mut Client, request: &str) -> Response {
    client.send(request);
    receive(client, request)
}

/// Receives the response to `request`, whose method may be HEAD.
fn receive(client: &mut Client, request: &str) -> Response {
    if request.trim_start().starts_with("HEAD") {
        client.response_to_head()
    } else {
        client.response()
    }
}

/// Checks the Connection field of the response, and that the connection closes or persists accordingly.
fn check(server: &Server, request: &str, expected: Option<&str>) {
    let mut client = server.connect();
    let response = ask(&mut client, request);
    assert_eq!(response.field("Connection"), expected, "{request}");
    if expected == Some("close") {
        assert_eq!(client.rest(), b"", "{request}");
    } else {
        assert_eq!(ask(&mut client, NEXT).text(), "next", "{request}");
    }

    // A request after the last one is not processed (RFC 9112 section 9.6).
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
fn http_1_1_persists_unless_close() {
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
fn close_option_is_found_in_lists_and_repeated_lines() {
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
fn http_1_0_closes_unless_keep_alive() {
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
fn closed_connection_leaks_no_descriptors() {
    let root = site();
    let server = Server::without_cache(root.path());
    let mut other = server.connect();
    other.get("/file");
    let descriptors = server.descriptors();
    for _ in 0..5 {
        let mut client = server.connect();
        client.send("GET /large HTTP/1.0\r\n\r\n");
        assert!(client.response().content == large());
        assert_eq!(client.rest(), b"");
        drop(client);
        drop(server.connect());
    }
    eventually("all sockets are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(other.get("/file").text(), "content");
}

#[test]
fn half_closed_client_receives_response() {
    let root = site();
    let server = Server::start(root.path());
    for request in [
        "GET /large HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /large HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /large HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let mut client = server.connect();
        client.send(request);
        client.shutdown_write();
        assert!(client.response().content == large(), "{request}");
        assert_eq!(client.rest(), b"", "{request}");
    }
}

#[test]
fn half_close_together_with_last_request_is_detected() {
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
            // epoll reports both at once, and never again.
            server.while_stopped(|| {
                client.send(request);
                client.shutdown_write();
            });
            if !request.is_empty() {
                assert_eq!(client.response().status(), "200 OK", "{request}");
            }
            assert_eq!(client.rest(), b"", "{request}");
        }
    }
}

#[test]
fn pipelined_requests_before_half_close_are_answered() {
    let root = site();
    let server = Server::start(root.path());
    let targets = ["/file", "/large", "/next", "/large", "/nothing", "/file"];
    let requests: String = targets
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .concat();
    let mut client = server.connect();
    client.send(requests);
    client.shutdown_write();
    let expected = server.get("/nothing").content;
    for target in targets {
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
fn truncated_request_is_400() {
    let root = site();
    let server = Server::start(root.path());
    for truncated in [
        "G",
        "GET /next HTTP/1.1\r\nHost: test\r\n",
        "GET /next HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nab",
        "GET /next HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        let mut client = server.connect();
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        client.send(truncated);
        client.shutdown_write();
        assert_eq!(client.response().text(), "content", "{truncated}");
        let response = client.response();
        assert_eq!(response.status(), "400 Bad Request", "{truncated}");
        assert_eq!(response.field("Connection"), Some("close"), "{truncated}");
        assert_eq!(client.rest(), b"", "{truncated}");
    }
}

#[test]
fn one_empty_line_before_request_is_ignored() {
    let root = site();
    let server = Server::start(root.path());
    // Old clients sent one after a POST (RFC 9112 section 2.2).
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

/// Encodes content as one chunk.
fn chunk(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n", content.len())
}

#[test]
fn request_content_is_discarded() {
    const CHUNKED: &str = "Transfer-Encoding: chunked";
    let root = site();
    let server = Server::start(root.path());
    let max_content = "x".repeat(MAX_CONTENT);
    let mut client = server.connect();
    for (field, content) in [
        ("Content-Length: 0", ""),
        ("Content-Length: 3", "abc"),
        ("content-length: 0003", "abc"),
        (
            "Content-Length: 34",
            "GET /file HTTP/1.1\r\nHost: test\r\n\r\n",
        ),
        (&*format!("Content-Length: {MAX_CONTENT}"), &*max_content),
        (CHUNKED, "0\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\n\r\n"),
        ("transfer-encoding: CHUNKED", "3\r\nabc\r\n000\r\n\r\n"),
        (CHUNKED, "1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n"),
        (CHUNKED, "3;a\r\nabc\r\n0;b=c;d=\"e;\\\"f\"\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\nTrailer: a\r\nOther:\r\n\r\n"),
        // Chunk data that looks like chunks or requests.
        (CHUNKED, &(chunk("\r\n0\r\n\r\n") + "0\r\n\r\n")),
        (CHUNKED, &(chunk(NEXT) + "0\r\n\r\n")),
        (CHUNKED, &(chunk(&max_content) + "0\r\n\r\n")),
        (
            CHUNKED,
            &(chunk(&max_content[..1 << 10]).repeat(1 << 10) + "0\r\n\r\n"),
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
fn oversized_content_is_413_while_it_arrives() {
    let root = site();
    let server = Server::start(root.path());
    let mut other = server.connect();
    other.get("/file");
    let descriptors = server.descriptors();
    let length = format!("Content-Length: {}", 8 * MAX_CONTENT);
    let huge = format!("Content-Length: {}", u64::MAX);
    let chunked = "Transfer-Encoding: chunked";
    for (line, field, status) in [
        ("GET /file", &*length, "413 Content Too Large"),
        ("GET /file", &huge, "413 Content Too Large"),
        ("GET /file", chunked, "413 Content Too Large"),
        ("HEAD /file", &length, "413 Content Too Large"),
        // These are refused whatever the length.
        ("POST /file", &length, "405 Method Not Allowed"),
        ("BREW /file", &length, "501 Not Implemented"),
    ] {
        let mut client = server.connect();
        let head = format!("{line} HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n");
        client.send(&head);
        // If the server closed the connection without reading this, the response would be lost and sending would fail
        // (RFC 9112 section 9.6).
        let piece = "x".repeat(MAX_CONTENT / 16);
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
    eventually("all sockets are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(other.get("/file").text(), "content");
}

#[test]
fn content_one_byte_over_limit_is_413() {
    let root = site();
    let server = Server::start(root.path());
    let oversized = "x".repeat(MAX_CONTENT + 1);
    for framed in [
        format!("Content-Length: {}\r\n\r\n{oversized}", MAX_CONTENT + 1),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk(&oversized)
        ),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(&oversized[1..]),
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
fn expect_continue_gets_100() {
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
        ("OPTIONS /file", "Content-Length: 3", "abc"),
    ] {
        for expect in ["100-continue", "100-Continue"] {
            let head =
                format!("{line} HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\n{field}\r\n\r\n");
            client.send(&head);
            // The client sends the content after 100 only (RFC 9110 section 10.1.1).
            let interim = client.response_to_head();
            assert_eq!(interim.head, "HTTP/1.1 100 Continue\r\n", "{head}");
            client.send(content);
            let expected = match line {
                "OPTIONS /file" => "204 No Content",
                _ => "200 OK",
            };
            assert_eq!(receive(&mut client, &head).status(), expected, "{head}");
        }
    }
    assert_eq!(client.get("/next").text(), "next");
}

#[test]
fn expect_continue_of_refused_request_gets_final_status() {
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
        // The final status comes at once, without a 100 before it.
        let response = client.ask(&head);
        assert_eq!(response.status(), status, "{head}");
        // The server cannot know whether the client will still send the content.
        assert_eq!(response.field("Connection"), Some("close"), "{head}");
        client.send("abc");
        assert_eq!(client.rest(), b"", "{head}");
    }
}

#[test]
fn expect_is_ignored_without_content_and_in_http_1_0() {
    let root = site();
    let server = Server::start(root.path());
    for request in [
        "GET /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        // HTTP/1.0 has no interim responses (RFC 9110 section 10.1.1).
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
fn unknown_expectation_is_417() {
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
fn unknown_expectation_is_417_before_content() {
    let root = site();
    let server = Server::start(root.path());
    for expect in ["100-continue, tea", "tea"] {
        let mut client = server.connect();
        // A client that sends any expectation may wait for a response before it sends the content.
        let response = client.ask(format!(
            "GET /file HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\nContent-Length: 3\r\n\r\n"
        ));
        assert_eq!(response.status(), "417 Expectation Failed", "{expect}");
        assert_eq!(response.field("Connection"), Some("close"), "{expect}");
        assert_eq!(client.rest(), b"", "{expect}");
    }
}
