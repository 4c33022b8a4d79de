//! `docroot explain`: the response to a request, and the files and rules that it comes from.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::support::encoding::encoded_to;
use crate::support::{Root, Server, docroot};

/// Output of `htpasswd -nbB -C 5 alice 'correct horse'`, and the field with these credentials.
const USER: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
const CREDENTIALS: &str = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";

const GZIP: &str = "Accept-Encoding: gzip";
const NAVIGATION: &str = "Accept: text/html";
const IMAGE: &str = "Accept: image/png";

/// Returns a site with every kind of file and path rule.
fn site() -> Root {
    let script = "all the same ".repeat(400);
    let root = Root::of(&[
        ("index.html", "home"),
        ("404.html", "lost"),
        ("about.html", "about"),
        ("docs/index.html", "docs"),
        ("bare/a.txt", "a"),
        ("assets/app-BsYhmk3H.js", &script),
        ("old.js", &script),
        ("foreign.css", &script),
        ("foreign.css.zst", "no zstd"),
        ("plain.js", &script),
        (".secret", "secret"),
        ("a b.txt", "spaced"),
        ("large.bin", &"x".repeat(100_000)),
        (
            "_headers",
            "/about\n  X-About: this\n/docs/*\n  Cache-Control: max-age=5\n  ! Referrer-Policy\n",
        ),
        (
            "_redirects",
            "/before /about 302\n/about /index.html\n/app/* /index.html 200\n/gone/* /about.html 404\n",
        ),
    ]);
    let sidecar = |coding, len| encoded_to(coding, script.as_bytes(), len);
    root.write("assets/app-BsYhmk3H.js.br", sidecar("br", 70));
    root.write("assets/app-BsYhmk3H.js.gz", sidecar("gzip", 80));
    root.write("old.js.gz", sidecar("gzip", 80));
    root.write("wrong.js", &script);
    root.write(
        "wrong.js.br",
        encoded_to("br", script.replacen("a", "A", 1).as_bytes(), 70),
    );
    root.backdate();
    let old = fs::File::options().write(true).open(root.join("old.js"));
    old.and_then(|old| old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9)))
        .expect("a writable file");
    symlink("/etc/passwd", root.join("out")).expect("a link");
    symlink("about.html", root.join("alias.html")).expect("a link");
    root
}

fn explain(root: &Root, arguments: &[&str]) -> Command {
    let (path, options) = arguments.split_first().expect("a path");
    let mut command = docroot();
    command
        .args(["explain", path])
        .arg(root.path())
        .args(options);
    command
}

/// Runs a command, which must succeed, and returns its standard output.
fn stdout_of(command: &mut Command) -> String {
    let output = command.output().expect("docroot runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the response head in a JSON object, of which it is the last member, without its Date.
fn head(object: &str) -> Vec<String> {
    let (_, lines) = object.rsplit_once("\"head\":[\"").expect("a head");
    let lines = lines.strip_suffix("\"]}\n").expect("the end of an object");
    let plain = |line: &str| line.replace("\\\"", "\"").replace("\\\\", "\\");
    lines
        .split("\",\"")
        .map(plain)
        .filter(|line| !line.starts_with("Date: "))
        .collect()
}

/// Explains a request and checks that the JSON object has all these parts.
fn check(root: &Root, arguments: &[&str], expected: &[&str]) {
    let object = stdout_of(explain(root, arguments).arg("--json"));
    for expected in expected {
        assert!(
            object.contains(expected),
            "{arguments:?}: no {expected} in {object}"
        );
    }
}

#[test]
fn file_is_reported_with_reason() {
    let root = site();
    let check = |arguments: &[&str], expected: &[&str]| check(&root, arguments, expected);
    check(
        &["/plain.js"],
        &[
            r#""target":"/plain.js","status":200,"outcome":"file","file":{"path":"/plain.js","bytes":5200,"links":[]}"#,
            r#""type":{"value":"text/javascript; charset=utf-8","why":"by its extension"}"#,
            r#"{"path":"/plain.js.br","found":"nothing"}"#,
        ],
    );
    check(
        &["/"],
        &[
            r#""file":{"path":"/index.html""#,
            "is the directory's index file",
        ],
    );
    check(
        &["about", "--hidden"],
        &[
            r#""target":"/about","status":200"#,
            r#""looked":[{"path":"/about","found":"nothing"},{"path":"/about.html","found":"a file"}"#,
            "/about.html is served for this path (clean URLs)",
            "_redirects:2 does not apply (301 /index.html): a file exists at this path",
            r#""rules":[{"field":"X-About","value":"this","from":"_headers:2"}]"#,
        ],
    );
    check(
        &["/about", "--no-clean-urls"],
        &[
            r#""status":301,"outcome":"redirect","file":null,"why":["_redirects:2 applies: 301 /index.html"]"#,
        ],
    );
    check(
        &["/docs"],
        &[
            r#""status":301,"outcome":"folder","#,
            "it is a directory: redirected to the path with a slash",
            r#""Location: /docs/""#,
        ],
    );
    check(
        &["/docs/"],
        &[
            r#"{"field":"Cache-Control","value":"max-age=5","from":"_headers:4"}"#,
            r#"{"field":"Referrer-Policy","value":null,"from":"_headers:5"}"#,
            r#""cache":{"value":"max-age=5","why":"by _headers:4"}"#,
        ],
    );
    check(&["/a b.txt"], &[r#""target":"/a%20b.txt","status":200"#]);
    check(
        &["/alias.html"],
        &[r#""links":[{"path":"/alias.html","target":"about.html"}]"#],
    );
    check(
        &["/sub/plain.js", "--path-prefix", "/sub"],
        &[r#""status":200,"outcome":"file","file":{"path":"/plain.js""#],
    );
    check(
        &["/plain.js", "--path-prefix", "/sub"],
        &[
            r#""status":404"#,
            "the path does not begin with --path-prefix",
        ],
    );
    check(
        &[
            "/plain.js",
            "--mime-types",
            ".js=text/x-mine",
            "--cache",
            "60",
        ],
        &[
            r#""type":{"value":"text/x-mine; charset=utf-8","why":"by --mime-types"}"#,
            r#""cache":{"value":"public, max-age=60","why":"--cache 60: "#,
        ],
    );
    check(
        &["/plain.js", "--header", "X-All: yes"],
        &[r#"{"field":"X-All","value":"yes","from":"the command line"}"#],
    );
}

#[test]
fn content_coding_is_reported_with_reason() {
    let root = site();
    let check = |arguments: &[&str], expected: &[&str]| check(&root, arguments, expected);
    let fingerprinted = "/assets/app-BsYhmk3H.js";
    check(
        &[fingerprinted, "-H", GZIP],
        &[
            r#"{"coding":"identity","bytes":5200,"sent":false,"why":"less preferred by Accept-Encoding"}"#,
            r#"{"coding":"br","bytes":70,"sent":false,"why":"not listed in Accept-Encoding"}"#,
            r#""coding":"gzip","bytes":80,"sent":true,"why":"chosen"}"#,
            "\"Content-Encoding: gzip\"",
            r#""cache":{"value":"public, max-age=31536000, immutable","why":"the name is fingerprinted: BsYhmk3H"}"#,
        ],
    );
    check(
        &[fingerprinted],
        &[
            r#""coding":"br","bytes":70,"sent":false,"why":"not requested: there is no Accept-Encoding"}"#,
        ],
    );
    check(
        &[fingerprinted, "-H", GZIP, "--no-precompressed"],
        &[r#""codings":[{"coding":"identity","bytes":5200,"sent":true,"#],
    );
    check(
        &["/old.js", "-H", GZIP],
        &[
            r#"{"coding":"gzip","bytes":null,"sent":false,"why":"/old.js.gz is not used: it is older than "#,
        ],
    );
    check(
        &["/foreign.css", "-H", "Accept-Encoding: zstd"],
        &["/foreign.css.zst is not used: its content is not in the coding"],
    );
    check(
        &["/wrong.js", "-H", "Accept-Encoding: br"],
        &["/wrong.js.br is not used: it does not decode to the content of its file"],
    );
    check(
        &["/plain.js", "-H", GZIP, "--compress"],
        &[
            r#"{"coding":"gzip","bytes":null,"sent":false,"why":"compressed in the background for later responses"#,
            "\"Vary: Accept-Encoding\"",
        ],
    );
}

#[test]
fn error_and_fallback_responses_are_reported_with_reason() {
    let root = site();
    let check = |arguments: &[&str], expected: &[&str]| check(&root, arguments, expected);
    check(
        &["/nothing"],
        &[
            r#""status":404,"outcome":"absent","file":{"path":"/404.html""#,
            "nothing is served at this path; /404.html is sent",
            r#"{"path":"/nothing","found":"nothing"},{"path":"/nothing.html","found":"nothing"}"#,
        ],
    );
    check(
        &["/.secret"],
        &["/.secret is not served: a name in it begins with a dot; --hidden serves such files"],
    );
    check(
        &["/_headers"],
        &["/_headers is not served: it holds path rules"],
    );
    check(
        &["/out"],
        &[
            r#""status":403,"outcome":"forbidden"#,
            "the symbolic link /out -> /etc/passwd leads outside the root",
        ],
    );
    check(
        &["/deep/link", "--spa", "-H", NAVIGATION],
        &[
            r#""status":200,"outcome":"shell","file":{"path":"/index.html""#,
            "the request is a navigation, so the SPA fallback page is sent",
        ],
    );
    check(
        &["/deep/link", "--spa", "-H", IMAGE],
        &[
            r#""status":404,"outcome":"absent","#,
            "the SPA fallback page is not sent: the request is not a navigation",
        ],
    );
    check(
        &["/chunk.js", "--spa"],
        &[
            r#""status":404"#,
            "its name has an extension, so it is a file",
        ],
    );
    check(
        &["/gone/a"],
        &[
            r#""status":404,"outcome":"absent","file":{"path":"/about.html""#,
            "_redirects:4 applies: 404 /about.html",
        ],
    );
    check(
        &["/bare/", "--listing"],
        &[r#""status":200,"outcome":"listing","#, "so it is listed"],
    );
    check(
        &["/", "--auth", USER],
        &[
            r#""status":401,"outcome":"refused","file":null"#,
            r#""looked":[]"#,
        ],
    );
    check(
        &["/", "--auth", USER, "-H", CREDENTIALS],
        &[r#""status":200"#],
    );
    check(
        &["/plain.js", "-H", "If-Match: \"no\""],
        &[
            r#""status":412,"outcome":"file","file":{"path":"/plain.js""#,
            r#""type":{"value":"text/html; charset=utf-8","why":"a page of docroot's own"}"#,
            "A precondition of the request",
        ],
    );
    check(
        &["/%"],
        &[
            r#""status":400,"outcome":"refused""#,
            "a percent sign that encodes nothing",
        ],
    );
    check(
        &["/", "-X", "POST"],
        &[r#""method":"POST","target":"/","status":405"#],
    );
}

#[test]
fn text_output_reports_file_type_and_coding() {
    let root = site();
    let text = stdout_of(&mut explain(
        &root,
        &["/assets/app-BsYhmk3H.js", "-H", GZIP],
    ));
    for line in [
        "GET /assets/app-BsYhmk3H.js",
        "status   200 OK",
        "file     /assets/app-BsYhmk3H.js, 5200 bytes",
        "type     text/javascript; charset=utf-8 (by its extension)",
        "coding   gzip, 80 bytes: sent; chosen",
        "HTTP/1.1 200 OK",
        "Content-Length: 80",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    }
}

#[test]
fn explained_head_equals_head_of_server() {
    let root = site();
    let tag = Server::start(root.path()).get("/plain.js");
    let tag = format!("If-None-Match: {}", tag.field("ETag").expect("a tag"));
    let others: &[&str] = &[
        "--listing",
        "--spa",
        "--cors",
        "--isolate",
        "--header",
        "X-A: b",
        "--hidden",
    ];
    let all: &[(&str, &str, &[&str])] = &[
        ("GET", "/", &[]),
        ("HEAD", "/", &[]),
        ("GET", "/about", &[]),
        ("GET", "/about.html?query", &[]),
        ("GET", "/docs", &[]),
        ("GET", "/docs/?a=b", &[]),
        ("GET", "/bare/", &[]),
        ("GET", "/bare/", &["Accept: application/json"]),
        ("HEAD", "/bare/", &[]),
        ("GET", "/nothing", &[]),
        ("GET", "/nothing.png", &[IMAGE]),
        ("GET", "/deep/link", &[NAVIGATION]),
        ("GET", "/deep/link", &[IMAGE]),
        ("GET", "/before?x", &[]),
        ("GET", "/app/deep", &[]),
        ("GET", "/gone/a", &[]),
        ("GET", "/.secret", &[]),
        ("GET", "/_headers", &[]),
        ("GET", "/out", &[]),
        ("GET", "/alias.html", &[]),
        ("GET", "/assets/app-BsYhmk3H.js", &[]),
        (
            "GET",
            "/assets/app-BsYhmk3H.js",
            &["Accept-Encoding: gzip, br"],
        ),
        (
            "HEAD",
            "/assets/app-BsYhmk3H.js",
            &["Accept-Encoding: br;q=0.5, *;q=0.1"],
        ),
        ("GET", "/assets/app-BsYhmk3H.js.gz", &[]),
        ("GET", "/old.js", &["Accept-Encoding: gzip"]),
        ("GET", "/plain.js", &[&tag]),
        ("GET", "/plain.js", &["If-Match: \"no\""]),
        ("GET", "/plain.js", &["Range: bytes=1-9"]),
        ("GET", "/plain.js", &["Range: bytes=9999-"]),
        ("GET", "/large.bin", &["Range: bytes=-5"]),
        ("GET", "/large.bin", &["Connection: close"]),
        ("GET", "/%", &[]),
        ("GET", "/../a", &[]),
        ("GET", "http://other/about", &[]),
        ("GET", "/", &["Expect: what"]),
        ("POST", "/", &[]),
        ("BREW", "/", &[]),
        ("OPTIONS", "/", &[]),
        ("OPTIONS", "*", &[]),
        (
            "OPTIONS",
            "/",
            &["Origin: http://a", "Access-Control-Request-Method: GET"],
        ),
        ("GET", "/", &[CREDENTIALS]),
        ("GET", "/", &["Authorization: Basic YTpi"]),
    ];
    let few: &[(&str, &str, &[&str])] =
        &[("GET", "/plain.js", &[GZIP]), ("GET", "/foreign.css", &[])];
    for (options, rows) in [
        (&[][..], all),
        (others, all),
        (&["--auth", USER], all),
        (&["--path-prefix", "/docs", "--404", "about.html"], all),
        (&["--compress"], few),
    ] {
        let server = Server::with(root.path(), options);
        for (method, target, fields) in rows {
            let mut lines = String::new();
            let mut arguments = vec![*target, "--json", "--method", method];
            for field in *fields {
                lines.push_str(field);
                lines.push_str("\r\n");
                arguments.extend(["-H", field]);
            }
            arguments.extend(options);
            let mut client = server.connect();
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
            ));
            let sent = client.response_to_head();
            let sent: Vec<&str> = sent
                .head
                .lines()
                .filter(|line| !line.starts_with("Date: "))
                .collect();
            let object = stdout_of(&mut explain(&root, &arguments));
            assert_eq!(
                head(&object),
                sent,
                "{method} {target} {fields:?} {options:?}"
            );
            let status = sent[0].split(' ').nth(1).expect("a status");
            assert!(
                object.contains(&format!("\"status\":{status},")),
                "{object}"
            );
        }
    }
}

#[test]
fn exit_code_depends_on_arguments_and_not_on_status() {
    let root = site();
    let check = |arguments: &[&str], code: i32, text: &str| {
        let mut command = docroot();
        command
            .arg("explain")
            .args(arguments)
            .current_dir(root.path());
        let Output { status, stderr, .. } = command.output().expect("docroot runs");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    };
    check(&["/nothing"], 0, "");
    check(&[], 2, "PATH");
    check(&["/", "-H", "nonsense"], 2, "nonsense");
    check(&["/", "-H", "Content-Length: 5"], 2, "content");
    check(&["/", "--cache", "perhaps"], 2, "perhaps");
    check(&["/", ".", "--root", "."], 2, "twice");
    check(&["/", "--404", "none.html"], 2, "none.html");
    check(&["/", "no-such-folder"], 4, "no-such-folder");
}

#[test]
fn environment_variables_apply_as_for_server() {
    let root = site();
    let mut command = explain(&root, &["/.secret", "--json"]);
    let object = stdout_of(command.env("DOCROOT_HIDDEN", "1").env("DOCROOT_CACHE", ""));
    assert!(object.contains("\"status\":200"), "{object}");
}
