//! Only who has a password is shown anything.

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::support::{Client, Response, Root, Server, Signal, docroot, eventually, said, summary};

/// htpasswd -nbB -C 5 alice 'correct horse'
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
/// openssl passwd -6 -salt saltsalt pässword
const BOB: &str = "bob:$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";
/// openssl passwd -5 -salt xyz five
const CAROL: &str = "carol:$5$xyz$GZTwEiuzbn0b8JBxEjbZY0ruQB9CvEuuXuHdblBmlW8";
/// htpasswd -nbB -C 12 dora slow
const DORA: &str = "dora:$2y$12$vp9y..6YswWBmF/Bmk2reO6VIjmdn9Rrc2p.UfnZJBtA2oOBNnHxu";
/// The same, for another.
const EVE: &str = "eve:$2y$12$TuaTLrdniPO3tEv/LfaPTOy/6j95C.MBJmobYFmFgdm37Y26.qZyC";
/// The digits of BOB, after as many rounds as there may be.
const ENDLESS: &str = "eve:$6$rounds=5000000$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.";

/// Base64 of alice:correct horse, bob:pässword, carol:five, dora:slow, eve:slow; of alice:wrong.
const FOR_ALICE: &str = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
const FOR_BOB: &str = "Ym9iOnDDpHNzd29yZA==";
const FOR_CAROL: &str = "Y2Fyb2w6Zml2ZQ==";
const FOR_DORA: &str = "ZG9yYTpzbG93";
const FOR_EVE: &str = "ZXZlOnNsb3c=";
const WRONG: &str = "YWxpY2U6d3Jvbmc=";

const CHALLENGE: &str = "Basic realm=\"docroot\", charset=\"UTF-8\"";

fn site() -> Root {
    Root::of(&[("index.html", "<p>hello"), ("a.txt", "a")])
}

fn guarded(root: &Root) -> Server {
    Server::with(
        root.path(),
        &["-a", ALICE, "-a", BOB, "-a", CAROL, "-a", DORA],
    )
}

fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn with(credentials: &str) -> String {
    request(
        "GET",
        "/a.txt",
        &format!("Authorization: Basic {credentials}\r\n"),
    )
}

/// "eve:AAA?" and so on, another one for each number: four characters of base64 are three of the password. It is a long
/// one, so that no round is quick.
fn guess(number: usize) -> String {
    with(&format!("ZXZlOkFB{number:04}{}", "QUFB".repeat(160)))
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
fn nothing_is_told_of_the_site_without_a_password() {
    let root = site();
    root.write("folder/index.html", "in it");
    let server = guarded(&root);
    let mut client = server.connect();
    let index = client.get("/");
    check_challenge(&index);
    for target in ["/a.txt", "/absent", "/folder", "/folder/", "/.hidden"] {
        let mut other = client.get(target);
        // Their dates may differ.
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
fn a_head_is_asked_for_a_password_without_content() {
    let root = site();
    let server = guarded(&root);
    let mut client = server.connect();
    client.send(request("HEAD", "/a.txt", ""));
    let head = client.response_to_head();
    check_challenge(&head);
    assert!(head.promised() > 0);
    client.send(request(
        "HEAD",
        "/a.txt",
        &format!("Authorization: Basic {WRONG}\r\n"),
    ));
    check_challenge(&client.response_to_head());
    client.send(request(
        "HEAD",
        "/a.txt",
        &format!("Authorization: Basic {FOR_ALICE}\r\n"),
    ));
    assert_eq!(client.response_to_head().status(), "200 OK");
}

#[test]
fn each_kind_of_hash_lets_its_password_in_and_no_other() {
    let root = site();
    let server = guarded(&root);
    for good in [FOR_ALICE, FOR_BOB, FOR_CAROL, FOR_DORA] {
        let mut client = server.connect();
        // The first is verified, the second remembered.
        for _ in 0..2 {
            let response = client.ask(with(good));
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
        WRONG,
        "YWxpY2U6Zml2ZQ==",
        "QWxpY2U6Y29ycmVjdCBob3JzZQ==",
        "bm9ib2R5OmZpdmU=",
        "Og==",
    ] {
        let mut client = server.connect();
        for _ in 0..2 {
            check_challenge(&client.ask(with(bad)));
        }
        assert_eq!(
            client.ask(with(FOR_ALICE)).status(),
            "200 OK",
            "after {bad}"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let root = site();
    let server = Server::with(root.path(), &["-a", ALICE, "-a", DORA, "--workers", "1"]);
    let mut client = server.connect();
    let post = format!("Authorization: Basic {FOR_ALICE}\r\nContent-Length: 3\r\n");
    let all = [
        with(WRONG),
        with(FOR_DORA),
        request("GET", "/", ""),
        with(FOR_ALICE),
        // Its content is counted away before its password is verified.
        request("GET", "/a.txt", &post) + "abc",
        with(FOR_DORA),
        request(
            "GET",
            "/absent",
            &format!("Authorization: Basic {FOR_ALICE}\r\n"),
        ),
    ];
    client.send(all.concat());
    client.finish();
    let found: Vec<_> = all.iter().map(|_| client.response()).collect();
    let found: Vec<_> = found
        .iter()
        .map(|response| &response.status()[..3])
        .collect();
    assert_eq!(found, ["401", "200", "401", "200", "200", "200", "404"]);
    assert!(client.rest().is_empty());
}

#[test]
fn a_request_that_comes_byte_by_byte_is_verified_like_others() {
    let root = site();
    let server = guarded(&root);
    let mut client = server.connect();
    let fields = format!("Authorization: Basic {FOR_CAROL}\r\nTransfer-Encoding: chunked\r\n");
    let request = request("GET", "/a.txt", &fields) + "3\r\nabc\r\n0\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().status(), "200 OK");
}

#[test]
fn content_is_not_asked_for_without_credentials() {
    let root = site();
    let server = guarded(&root);
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
        "Content-Length: 3\r\nExpect: 100-continue\r\nAuthorization: Basic {FOR_ALICE}\r\n"
    );
    client.send(request("GET", "/", &fields));
    assert_eq!(client.response_to_head().status(), "100 Continue");
    client.send("abc");
    assert_eq!(client.response().status(), "200 OK");
}

#[test]
fn what_is_no_request_is_refused_as_ever() {
    let root = site();
    let server = guarded(&root);
    let twice = format!("Authorization: Basic {FOR_ALICE}\r\n").repeat(2);
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
fn fields_by_path_are_for_who_has_a_password() {
    let root = site();
    root.write("_headers", "/internal/*\n  X-Backend: ten\n");
    let server = guarded(&root);
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    let asked = format!("Authorization: Basic {FOR_ALICE}\r\n");
    let large = format!("Authorization: Basic {WRONG}\r\nContent-Length: 99999999\r\n");
    for (method, fields, status, is_told) in [
        ("GET", "", "401", false),
        ("POST", "", "405", false),
        ("BREW", "", "501", false),
        ("GET", "Expect: much\r\n", "417", false),
        ("GET", &large, "413", false),
        ("OPTIONS", preflight, "204", false),
        ("GET", &asked, "404", true),
    ] {
        let response = server.connect().ask(request(method, "/internal/a", fields));
        assert!(response.status().starts_with(status), "{response:?}");
        let told = response.field("X-Backend").is_some();
        assert_eq!(told, is_told, "{method} {fields}");
    }
}

#[test]
fn a_preflight_has_no_password_and_needs_none() {
    let root = site();
    let server = guarded(&root);
    let fields = "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n";
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("OPTIONS", "/a.txt", fields)).status(),
        "204 No Content"
    );
    check_challenge(&client.ask(request("GET", "/a.txt", fields)));
}

/// One loop serves both, so it did not wait for the verification.
#[test]
fn others_are_served_while_a_password_is_verified() {
    let root = site();
    let server = Server::with(root.path(), &["-a", ENDLESS, "--workers", "1"]);
    let mut slow = server.connect();
    slow.send(guess(0));
    // It has been read, and is being verified: its bytes came before those of all others.
    let mut quick = server.connect();
    for _ in 0..6 {
        check_challenge(&quick.get("/"));
    }
    assert!(slow.hears_nothing(), "nobody has waited for it");
}

#[test]
fn what_is_verified_is_known_from_then_on() {
    let root = site();
    let server = Server::with(root.path(), &["-a", EVE, "--workers", "1"]);
    let [mut one, mut other] = [server.connect(), server.connect()];
    for client in [&mut one, &mut other] {
        assert_eq!(client.ask(with(FOR_EVE)).status(), "200 OK");
        assert_eq!(client.ask(with(FOR_EVE)).status(), "200 OK");
    }
}

#[test]
fn a_stop_waits_for_who_is_being_verified() {
    let root = site();
    // (It takes a quarter of a second: where the machine held us up as long, the stop came too late.)
    eventually("it stops while it verifies", || {
        let mut server = Server::with(root.path(), &["-a", EVE, "--workers", "1"]);
        let mut client = server.connect();
        client.send(with(FOR_EVE));
        check_challenge(&server.get("/"));
        server.signal(Signal::TERM);
        let response = client.response();
        assert_eq!(response.status(), "200 OK");
        assert!(client.rest().is_empty());
        assert!(server.ended().success());
        (response.field("Connection") == Some("close")).then_some(())
    });
}

#[test]
fn who_hangs_up_meanwhile_holds_up_nobody() {
    let root = site();
    let server = Server::with(root.path(), &["-a", DORA, "--workers", "2"]);
    for _ in 0..8 {
        let mut client = server.connect();
        client.send(with(FOR_DORA));
        drop(client);
    }
    assert_eq!(server.connect().ask(with(FOR_DORA)).status(), "200 OK");
}

/// More guesses than may wait, each for seconds: some are told to come again, and nobody else suffers.
#[test]
fn a_flood_of_guesses_is_bounded() {
    let root = site();
    let server = Server::with(root.path(), &["-a", ENDLESS, "--workers", "1"]);
    let mut guessing: Vec<Client> = Vec::new();
    for number in 0..140 {
        let mut client = server.connect();
        client.send(guess(number));
        guessing.push(client);
    }
    let busy = guessing.last_mut().expect("the last").response();
    assert_eq!(busy.status(), "503 Service Unavailable");
    assert_eq!(busy.field("Retry-After"), Some("5"));
    assert_eq!(busy.field("Cache-Control"), Some("no-store"));
    check_challenge(&server.get("/"));
    assert!(guessing[100].hears_nothing());
}

#[test]
fn the_log_says_401_and_never_who() {
    let root = site();
    let server = guarded(&root);
    let mut client = server.connect();
    client.get("/secret");
    client.ask(with(WRONG));
    client.ask(with(FOR_ALICE));
    let lines: Vec<String> = (0..3).map(|_| server.line()).collect();
    for (line, expected) in lines.iter().zip([
        ("GET /secret 401", "The request has no credentials."),
        ("GET /a.txt 401", "The credentials are not good."),
        ("GET /a.txt 200 1", "-"),
    ]) {
        assert!(summary(line).starts_with(expected.0), "{line}");
        assert_eq!(said(line, "reason"), expected.1);
        for secret in ["alice", "wrong", "correct", WRONG, FOR_ALICE] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn a_file_lists_users_beside_those_of_the_command_line() {
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
    for good in [FOR_ALICE, FOR_BOB, FOR_CAROL] {
        assert_eq!(server.connect().ask(with(good)).status(), "200 OK");
    }
    check_challenge(&server.connect().ask(with(FOR_DORA)));
    assert_eq!(
        server.complaints(),
        Vec::<String>::new(),
        "127.0.0.1 is nobody else's"
    );
}

#[test]
fn passwords_on_their_way_to_other_machines_are_warned_of() {
    let root = site();
    let mut command = docroot();
    command
        .args(["--bind", "0.0.0.0", "--port", "0", "-a", ALICE])
        .arg(root.path());
    let server = Server::spawn(command);
    let warning = server.complaint();
    assert!(warning.contains("plain HTTP"), "{warning}");
}

/// What the command ends with that is given these arguments.
fn refused(arguments: &[&str], root: &Root) -> String {
    let output = docroot()
        .args(arguments)
        .arg(root.path())
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn what_is_no_list_of_users_is_refused_at_the_start() {
    let (root, elsewhere) = (site(), Root::new());
    elsewhere.write(
        "users",
        format!("{ALICE}\nbob:$apr1$s9QlJ42P$ZbiwFr95767Iey7g6nZ.7.\n{ALICE}\n"),
    );
    elsewhere.write("empty", "# nobody\n");
    let path = |name| elsewhere.join(name).to_str().expect("ASCII").to_owned();
    for (arguments, expected) in [
        (["--auth", "ann:secret"], "--auth: ann: this is no hash"),
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
        (["--auth-file", &path("empty")], "empty: nobody is listed"),
        (
            ["--auth-file", &path("absent")],
            "name a file that can be read",
        ),
    ] {
        let said = refused(&arguments, &root);
        assert!(said.contains(expected), "{said}");
        assert!(
            !said.contains("secret") && !said.contains("ZbiwFr"),
            "{said}"
        );
    }
    let said = refused(&["-a", ALICE, "-a", ALICE], &root);
    assert!(said.contains("--auth: alice is listed twice"), "{said}");
}

#[test]
fn a_list_of_users_is_not_served() {
    let root = site();
    root.write("users", ALICE);
    root.write(".users", ALICE);
    let path = |name| root.join(name).to_str().expect("ASCII").to_owned();
    let said = refused(&["--auth-file", &path("users")], &root);
    assert!(said.contains("would be served"), "{said}");
    let said = refused(&["--hidden", "--auth-file", &path(".users")], &root);
    assert!(said.contains("would be served"), "{said}");
    let server = Server::with(root.path(), &["--auth-file", &path(".users")]);
    let fields = format!("Authorization: Basic {FOR_ALICE}\r\n");
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("GET", "/.users", &fields)).status(),
        "404 Not Found"
    );
}

/// `docroot hash`, told this on its standard input.
fn hash(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = docroot();
    command.arg("hash").args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("docroot starts");
    // It may have ended before, with a complaint.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_hash_of_ours_lets_in() {
    let output = hash(&["erin"], b"five words make a password\n");
    assert!(output.status.success(), "{output:?}");
    let line = String::from_utf8(output.stdout).expect("text");
    assert!(
        line.starts_with("erin:$2y$10$") && line.ends_with('\n'),
        "{line}"
    );
    let root = site();
    let server = Server::with(root.path(), &["-a", line.trim_end()]);
    let good = with("ZXJpbjpmaXZlIHdvcmRzIG1ha2UgYSBwYXNzd29yZA==");
    assert_eq!(server.connect().ask(good).status(), "200 OK");
    let output = hash(&[], b"five\r\nignored");
    assert!(
        output.stdout.starts_with(b"$2y$10$") && output.stdout.len() == 61,
        "{output:?}"
    );
}

#[test]
fn what_cannot_be_a_password_has_no_hash() {
    let long = [b'x'; 72];
    let checks: [(&str, &[u8], &str, i32); 6] = [
        ("a:b", b"x", "expected a name without colons", 2),
        ("", b"x", "expected a name", 2),
        ("a", b"", "an empty password", 1),
        ("a", b"a\tb\n", "control characters", 1),
        ("a", b"\xff\n", "not UTF-8", 1),
        ("a", &long, "72 bytes", 1),
    ];
    for (user, input, expected, code) in checks {
        let output = hash(&[user], input);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains(expected), "{said}");
    }
}
