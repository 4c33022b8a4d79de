//! Basic authentication: `--auth`, `--auth-file` and `docroot hash`.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Client, Response, Root, Server, Signal, docroot, eventually, json_field, summary,
};

/// htpasswd -nbB -C 5 alice 'correct horse'
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
/// openssl passwd -6 -salt saltsalt pässword
const BOB: &str = "bob:$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";
/// openssl passwd -5 -salt xyz five
const CAROL: &str = "carol:$5$xyz$GZTwEiuzbn0b8JBxEjbZY0ruQB9CvEuuXuHdblBmlW8";
/// htpasswd -nbB -C 12 dora slow
const DORA: &str = "dora:$2y$12$vp9y..6YswWBmF/Bmk2reO6VIjmdn9Rrc2p.UfnZJBtA2oOBNnHxu";
/// htpasswd -nbB -C 12 eve slow
const EVE: &str = "eve:$2y$12$TuaTLrdniPO3tEv/LfaPTOy/6j95C.MBJmobYFmFgdm37Y26.qZyC";
/// Hash with the digits of BOB and the largest accepted number of rounds: verifying a password takes seconds.
const SLOW_EVE: &str = "eve:$6$rounds=5000000$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";

/// Base64 of alice:correct horse, bob:pässword, carol:five, dora:slow, eve:slow; of alice:wrong.
const ALICE_CREDENTIALS: &str = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
const BOB_CREDENTIALS: &str = "Ym9iOnDDpHNzd29yZA==";
const CAROL_CREDENTIALS: &str = "Y2Fyb2w6Zml2ZQ==";
const DORA_CREDENTIALS: &str = "ZG9yYTpzbG93";
const EVE_CREDENTIALS: &str = "ZXZlOnNsb3c=";
const WRONG_CREDENTIALS: &str = "YWxpY2U6d3Jvbmc=";

const CHALLENGE: &str = "Basic realm=\"docroot\", charset=\"UTF-8\"";

fn site() -> Root {
    Root::of(&[("index.html", "<p>hello"), ("a.txt", "a")])
}

fn protected_server(root: &Root) -> Server {
    Server::with(
        root.path(),
        &["-a", ALICE, "-a", BOB, "-a", CAROL, "-a", DORA],
    )
}

fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn request_with(credentials: &str) -> String {
    request(
        "GET",
        "/a.txt",
        &format!("Authorization: Basic {credentials}\r\n"),
    )
}

/// Returns a request with a wrong password, different for each number ("eve:AAA?" and so on): four characters of base64
/// are three of the password. The password is long, so that each round takes time.
fn guess(number: usize) -> String {
    request_with(&format!("ZXZlOkFB{number:04}{}", "QUFB".repeat(160)))
}

fn check_challenge(response: &Response) {
    assert_eq!(response.status(), "401 Unauthorized");
    assert_eq!(response.field("WWW-Authenticate"), Some(CHALLENGE));
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    for absent in ["ETag", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(response.field(absent), None);
    }
}

#[test]
fn unauthenticated_request_is_401_for_every_target() {
    let root = site();
    root.write("folder/index.html", "in it");
    let server = protected_server(&root);
    let mut client = server.connect();
    let index = client.get("/");
    check_challenge(&index);
    for target in ["/a.txt", "/absent", "/folder", "/folder/", "/.hidden"] {
        let mut other = client.get(target);
        // Date may differ.
        let without_date = |response: &Response| {
            let lines = response
                .head
                .lines()
                .filter(|line| !line.starts_with("Date"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&other), without_date(&index), "{target}");
        other.head.clone_from(&index.head);
        assert_eq!(other, index, "{target}");
    }
    for fields in [
        "Range: bytes=0-0\r\n",
        "If-None-Match: *\r\n",
        "Authorization: Bearer abc\r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic !\r\n",
        "Authorization: Basic YWxpY2U=\r\n",
    ] {
        check_challenge(&client.ask(request("GET", "/a.txt", fields)));
    }
    check_challenge(&client.ask(request("OPTIONS", "/a.txt", "")));
    check_challenge(&client.ask(request("OPTIONS", "*", "Origin: https://a\r\n")));
}

#[test]
fn unauthenticated_head_is_401_without_content() {
    let root = site();
    let server = protected_server(&root);
    let mut client = server.connect();
    client.send(request("HEAD", "/a.txt", ""));
    let head = client.response_to_head();
    check_challenge(&head);
    assert!(head.content_length() > 0);
    client.send(request(
        "HEAD",
        "/a.txt",
        &format!("Authorization: Basic {WRONG_CREDENTIALS}\r\n"),
    ));
    check_challenge(&client.response_to_head());
    client.send(request(
        "HEAD",
        "/a.txt",
        &format!("Authorization: Basic {ALICE_CREDENTIALS}\r\n"),
    ));
    assert_eq!(client.response_to_head().status(), "200 OK");
}

#[test]
fn every_hash_scheme_accepts_only_its_password() {
    let root = site();
    let server = protected_server(&root);
    for good in [
        ALICE_CREDENTIALS,
        BOB_CREDENTIALS,
        CAROL_CREDENTIALS,
        DORA_CREDENTIALS,
    ] {
        let mut client = server.connect();
        // The first verdict is computed, the second cached.
        for _ in 0..2 {
            let response = client.ask(request_with(good));
            assert_eq!(
                (response.status(), response.text()),
                ("200 OK", "a"),
                "{good}"
            );
        }
        check_challenge(&client.get("/a.txt"));
    }
    // alice:wrong, alice:five, Alice:correct horse, nobody:five, :
    for bad in [
        WRONG_CREDENTIALS,
        "YWxpY2U6Zml2ZQ==",
        "QWxpY2U6Y29ycmVjdCBob3JzZQ==",
        "bm9ib2R5OmZpdmU=",
        "Og==",
    ] {
        let mut client = server.connect();
        for _ in 0..2 {
            check_challenge(&client.ask(request_with(bad)));
        }
        assert_eq!(
            client.ask(request_with(ALICE_CREDENTIALS)).status(),
            "200 OK",
            "after {bad}"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let root = site();
    let server = Server::with(root.path(), &["-a", ALICE, "-a", DORA, "--workers", "1"]);
    let mut client = server.connect();
    let post = format!("Authorization: Basic {ALICE_CREDENTIALS}\r\nContent-Length: 3\r\n");
    let all = [
        request_with(WRONG_CREDENTIALS),
        request_with(DORA_CREDENTIALS),
        request("GET", "/", ""),
        request_with(ALICE_CREDENTIALS),
        // Its content is discarded before its password is verified.
        request("GET", "/a.txt", &post) + "abc",
        request_with(DORA_CREDENTIALS),
        request(
            "GET",
            "/absent",
            &format!("Authorization: Basic {ALICE_CREDENTIALS}\r\n"),
        ),
    ];
    client.send(all.concat());
    client.shutdown_write();
    let found: Vec<_> = all.iter().map(|_| client.response()).collect();
    let found: Vec<_> = found.iter().map(|response| response.code()).collect();
    assert_eq!(found, ["401", "200", "401", "200", "200", "200", "404"]);
    assert!(client.rest().is_empty());
}

#[test]
fn request_sent_byte_by_byte_is_verified() {
    let root = site();
    let server = protected_server(&root);
    let mut client = server.connect();
    let fields =
        format!("Authorization: Basic {CAROL_CREDENTIALS}\r\nTransfer-Encoding: chunked\r\n");
    let request = request("GET", "/a.txt", &fields) + "3\r\nabc\r\n0\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().status(), "200 OK");
}

#[test]
fn unauthenticated_expect_continue_is_401() {
    let root = site();
    let server = protected_server(&root);
    let mut client = server.connect();
    client.send(request(
        "GET",
        "/",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
    ));
    check_challenge(&client.response());
    assert!(client.rest().is_empty());
    let mut client = server.connect();
    let fields = format!(
        "Content-Length: 3\r\nExpect: 100-continue\r\nAuthorization: Basic {ALICE_CREDENTIALS}\r\n"
    );
    client.send(request("GET", "/", &fields));
    assert_eq!(client.response_to_head().status(), "100 Continue");
    client.send("abc");
    assert_eq!(client.response().status(), "200 OK");
}

#[test]
fn malformed_request_is_rejected_before_authentication() {
    let root = site();
    let server = protected_server(&root);
    let twice = format!("Authorization: Basic {ALICE_CREDENTIALS}\r\n").repeat(2);
    for (request, expected) in [
        (request("GET", "/", &twice), "400 Bad Request"),
        (request("GET", "/", "Host: again\r\n"), "400 Bad Request"),
        (
            request("POST", "/", "Content-Length: 0\r\n"),
            "405 Method Not Allowed",
        ),
    ] {
        assert_eq!(
            server.connect().ask(&request).status(),
            expected,
            "{request}"
        );
    }
}

#[test]
fn path_rule_fields_need_credentials() {
    let root = site();
    root.write("_headers", "/internal/*\n  X-Backend: ten\n");
    let server = protected_server(&root);
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    let authorized = format!("Authorization: Basic {ALICE_CREDENTIALS}\r\n");
    let large = format!("Authorization: Basic {WRONG_CREDENTIALS}\r\nContent-Length: 99999999\r\n");
    for (method, fields, status, has_field) in [
        ("GET", "", "401", false),
        ("POST", "", "405", false),
        ("BREW", "", "501", false),
        ("GET", "Expect: much\r\n", "417", false),
        ("GET", &large, "413", false),
        ("OPTIONS", preflight, "204", false),
        ("OPTIONS", &authorized, "204", true),
        ("GET", &authorized, "404", true),
    ] {
        let response = server.connect().ask(request(method, "/internal/a", fields));
        assert!(response.status().starts_with(status), "{response:?}");
        let found = response.field("X-Backend").is_some();
        assert_eq!(found, has_field, "{method} {fields}");
    }
}

#[test]
fn preflight_needs_no_credentials() {
    let root = site();
    let server = protected_server(&root);
    let fields = "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n";
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("OPTIONS", "/a.txt", fields)).status(),
        "204 No Content"
    );
    check_challenge(&client.ask(request("GET", "/a.txt", fields)));
}

/// One worker serves both clients, so it does not wait for the verification.
#[test]
fn verification_blocks_no_other_client() {
    let root = site();
    let server = Server::with(root.path(), &["-a", SLOW_EVE, "--workers", "1"]);
    let mut slow = server.connect();
    slow.send(guess(0));
    // The worker has read it, as its bytes arrived before those of the other client, and it is being verified.
    let mut quick = server.connect();
    for _ in 0..6 {
        check_challenge(&quick.get("/"));
    }
    assert!(
        slow.has_received_nothing(),
        "the verification is still pending"
    );
}

#[test]
fn verdict_is_shared_by_all_connections() {
    let root = site();
    let server = Server::with(root.path(), &["-a", EVE, "--workers", "1"]);
    let [mut one, mut other] = [server.connect(), server.connect()];
    for client in [&mut one, &mut other] {
        assert_eq!(client.ask(request_with(EVE_CREDENTIALS)).status(), "200 OK");
        assert_eq!(client.ask(request_with(EVE_CREDENTIALS)).status(), "200 OK");
    }
}

#[test]
fn shutdown_waits_for_pending_verification() {
    let root = site();
    // A verification takes a quarter of a second: on a busy machine the signal may come too late, so this is repeated.
    eventually("SIGTERM arrives during the verification", || {
        let mut server = Server::with(root.path(), &["-a", EVE, "--workers", "1"]);
        let mut client = server.connect();
        client.send(request_with(EVE_CREDENTIALS));
        check_challenge(&server.get("/"));
        server.signal(Signal::TERM);
        let response = client.response();
        assert_eq!(response.status(), "200 OK");
        assert!(client.rest().is_empty());
        assert!(server.wait_for_exit().success());
        (response.field("Connection") == Some("close")).then_some(())
    });
}

#[test]
fn disconnect_during_verification_blocks_no_other_client() {
    let root = site();
    let server = Server::with(root.path(), &["-a", DORA, "--workers", "2"]);
    for _ in 0..8 {
        let mut client = server.connect();
        client.send(request_with(DORA_CREDENTIALS));
        drop(client);
    }
    assert_eq!(
        server
            .connect()
            .ask(request_with(DORA_CREDENTIALS))
            .status(),
        "200 OK"
    );
}

/// More guesses than may be queued, each taking seconds: some get 503 with Retry-After, and other clients are served.
#[test]
fn pending_verifications_are_limited() {
    let root = site();
    let server = Server::with(root.path(), &["-a", SLOW_EVE, "--workers", "1"]);
    let start = Instant::now();
    let mut guessers: Vec<Client> = Vec::new();
    for number in 0..140 {
        let mut client = server.connect();
        client.send(guess(number));
        guessers.push(client);
    }
    let busy = guessers.last_mut().expect("a client").response();
    assert_eq!(busy.status(), "503 Service Unavailable");
    assert_eq!(busy.field("Retry-After"), Some("5"));
    assert_eq!(busy.field("Cache-Control"), Some("no-store"));
    check_challenge(&server.get("/"));
    // Queued requests wait for ten seconds; a busy machine may take longer to get here.
    let is_waiting = guessers[100].has_received_nothing();
    assert!(is_waiting || start.elapsed() > Duration::from_secs(10));
}

#[test]
fn access_log_has_401_and_no_credentials() {
    let root = site();
    let server = protected_server(&root);
    let mut client = server.connect();
    client.get("/secret");
    client.ask(request_with(WRONG_CREDENTIALS));
    client.ask(request_with(ALICE_CREDENTIALS));
    let lines: Vec<String> = (0..3).map(|_| server.stdout_line()).collect();
    for (line, expected) in lines.iter().zip([
        ("GET /secret 401", "The request has no credentials."),
        ("GET /a.txt 401", "The credentials are invalid."),
        ("GET /a.txt 200 1", "-"),
    ]) {
        assert!(summary(line).starts_with(expected.0), "{line}");
        assert_eq!(json_field(line, "reason"), expected.1);
        for secret in [
            "alice",
            "wrong",
            "correct",
            WRONG_CREDENTIALS,
            ALICE_CREDENTIALS,
        ] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn auth_file_adds_to_users_of_auth_option() {
    let (root, elsewhere) = (site(), Root::new());
    elsewhere.write("users", format!("# all\n{ALICE}\r\n\n{BOB}\n"));
    let file = elsewhere.join("users");
    let file = file.to_str().expect("a name in ASCII");
    let server = Server::with(root.path(), &["--auth-file", file, "--auth", CAROL]);
    assert!(
        server.announcement.contains("\"auth\":true,"),
        "{}",
        server.announcement
    );
    for good in [ALICE_CREDENTIALS, BOB_CREDENTIALS, CAROL_CREDENTIALS] {
        assert_eq!(server.connect().ask(request_with(good)).status(), "200 OK");
    }
    check_challenge(&server.connect().ask(request_with(DORA_CREDENTIALS)));
    assert_eq!(
        server.stderr_lines(),
        Vec::<String>::new(),
        "no warning about plain HTTP on a loopback address"
    );
}

#[test]
fn credentials_that_are_not_utf_8_are_read_as_latin_1() {
    let (root, elsewhere) = (site(), Root::new());
    let hash = BOB.split_once(':').expect("a name").1;
    elsewhere.write("users", format!("{BOB}\nb\u{f6}b:{hash}\n"));
    let file = elsewhere.join("users");
    let file = file.to_str().expect("a name in ASCII");
    let server = Server::with(
        root.path(),
        &["--auth-file", file, "--log-format", "combined"],
    );
    // bob:p\xe4ssword and b\xf6b:p\xe4ssword; bob and b\u{f6}b in UTF-8; bob:p\xe5ssword.
    for good in [
        "Ym9iOnDkc3N3b3Jk",
        "YvZiOnDkc3N3b3Jk",
        BOB_CREDENTIALS,
        "YsO2Yjpww6Rzc3dvcmQ=",
    ] {
        assert_eq!(server.connect().ask(request_with(good)).status(), "200 OK");
    }
    check_challenge(&server.connect().ask(request_with("Ym9iOnDlc3N3b3Jk")));
    let names = [0; 4].map(|_| server.stdout_line());
    let names = names.each_ref().map(|line| line.split(' ').nth(2));
    // The access log has one name for one user.
    assert_eq!(names[1], names[3]);
    assert_eq!(names[0], names[2]);
}

#[test]
fn auth_file_is_read_as_other_servers_and_editors_write_it() {
    let (root, elsewhere) = (site(), Root::new());
    let text = format!(
        "\u{feff}# who may\r\n{ALICE}:Alice Example:alice@mail.test  \r\n\t{BOB} \n {CAROL}:"
    );
    elsewhere.write("users", text);
    let text = format!("\u{feff}{ALICE}\r\n");
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    elsewhere.write("utf-16", &utf_16);
    let path = |name| elsewhere.join(name).to_str().expect("ASCII").to_owned();
    let server = Server::with(root.path(), &["--auth-file", &path("users")]);
    for good in [ALICE_CREDENTIALS, BOB_CREDENTIALS, CAROL_CREDENTIALS] {
        assert_eq!(server.connect().ask(request_with(good)).status(), "200 OK");
    }
    let stderr = rejected(&["--auth-file", &path("utf-16")], &root);
    assert!(
        stderr.contains("utf-16: the file is UTF-16: save it as UTF-8"),
        "{stderr}"
    );
}

#[test]
fn passwords_over_plain_http_are_warned_about() {
    let root = site();
    let mut command = docroot();
    command
        .args(["--bind", "0.0.0.0", "--port", "0", "-a", ALICE])
        .arg(root.path());
    let server = Server::spawn(command);
    let warning = server.stderr_line();
    assert!(warning.contains("plain HTTP"), "{warning}");
}

/// Returns the standard error of a start with these arguments, which must fail with exit code 2.
fn rejected(arguments: &[&str], root: &Root) -> String {
    let output = docroot()
        .args(arguments)
        .arg(root.path())
        .output()
        .expect("it exits");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn malformed_user_list_fails_start() {
    let (root, elsewhere) = (site(), Root::new());
    elsewhere.write(
        "users",
        format!("{ALICE}\nbob:$apr1$s9QlJ42P$ZbiwFr95767Iey7g6nZ.7.\n{ALICE}\n"),
    );
    elsewhere.write("empty", "# no users\n");
    let path = |name| elsewhere.join(name).to_str().expect("ASCII").to_owned();
    for (arguments, expected) in [
        (["--auth", "ann:secret"], "--auth: ann: not a hash"),
        (["--auth", "ann"], "--auth: expected USER:HASH"),
        (["--auth", ":$5$"], "--auth: there is no name"),
        (
            ["--auth-file", &path("users")],
            "users:2: bob: a hash made with MD5",
        ),
        (
            ["--auth-file", &path("users")],
            "users:3: alice is listed twice",
        ),
        (
            ["--auth-file", &path("empty")],
            "empty: no users are listed",
        ),
        (
            ["--auth-file", &path("absent")],
            "name a file that this user can read",
        ),
    ] {
        let stderr = rejected(&arguments, &root);
        assert!(stderr.contains(expected), "{stderr}");
        assert!(
            !stderr.contains("secret") && !stderr.contains("ZbiwFr"),
            "{stderr}"
        );
    }
    let stderr = rejected(&["-a", ALICE, "-a", ALICE], &root);
    assert!(stderr.contains("--auth: alice is listed twice"), "{stderr}");
}

#[test]
fn auth_file_is_not_served() {
    let root = site();
    root.write("users", ALICE);
    root.write(".users", ALICE);
    let path = |name| root.join(name).to_str().expect("ASCII").to_owned();
    let stderr = rejected(&["--auth-file", &path("users")], &root);
    assert!(stderr.contains("would be served"), "{stderr}");
    let stderr = rejected(&["--hidden", "--auth-file", &path(".users")], &root);
    assert!(stderr.contains("would be served"), "{stderr}");
    let server = Server::with(root.path(), &["--auth-file", &path(".users")]);
    let fields = format!("Authorization: Basic {ALICE_CREDENTIALS}\r\n");
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("GET", "/.users", &fields)).status(),
        "404 Not Found"
    );
}

/// Runs `docroot hash` with this standard input.
fn hash(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = docroot();
    command.arg("hash").args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("docroot starts");
    // It may have exited already, with an error.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it exits")
}

#[test]
fn hash_command_output_is_accepted() {
    let output = hash(&["erin"], b"five words make a password\n");
    assert!(output.status.success(), "{output:?}");
    let line = String::from_utf8(output.stdout).expect("text");
    assert!(
        line.starts_with("erin:$2y$10$") && line.ends_with('\n'),
        "{line}"
    );
    let root = site();
    let server = Server::with(root.path(), &["-a", line.trim_end()]);
    let good = request_with("ZXJpbjpmaXZlIHdvcmRzIG1ha2UgYSBwYXNzd29yZA==");
    assert_eq!(server.connect().ask(good).status(), "200 OK");
    // As PowerShell and editors write it.
    let output = hash(&["carol"], b"\xef\xbb\xbffive\r\n");
    let line = String::from_utf8(output.stdout).expect("text");
    let server = Server::with(root.path(), &["-a", line.trim_end()]);
    let good = request_with(CAROL_CREDENTIALS);
    assert_eq!(server.connect().ask(good).status(), "200 OK");
    let output = hash(&[], b"five\r\nignored");
    assert!(
        output.stdout.starts_with(b"$2y$10$") && output.stdout.len() == 61,
        "{output:?}"
    );
}

#[test]
fn hash_command_rejects_invalid_input() {
    let long = [b'x'; 72];
    let checks: [(&str, &[u8], &str, i32); 8] = [
        ("a:b", b"x", "expected a name without colons", 2),
        ("", b"x", "expected a name", 2),
        ("a", b"", "an empty password", 1),
        ("a", b"a\tb\n", "control characters", 1),
        ("a", b"\xff\n", "not UTF-8", 1),
        ("a", b"\xff\xfea\0\r\0\n\0", "the password is UTF-16", 1),
        ("a", b"a\0b\0\n\0", "the password is UTF-16", 1),
        ("a", &long, "72 bytes", 1),
    ];
    for (user, input, expected, code) in checks {
        let output = hash(&[user], input);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
