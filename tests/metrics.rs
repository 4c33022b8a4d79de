//! Metrics: their listener, their format, which is that of Prometheus, and their values.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, GET, Response, Root, Server, docroot, eventually, json_field, site_with_large,
};

/// Returns the address of the metrics listener.
fn metrics_address(server: &Server) -> SocketAddr {
    let (_, rest) = server
        .announcement
        .split_once("\"metrics\":\"http://")
        .expect("metrics are announced");
    let (address, _) = rest.split_once("/metrics\"").expect("a path");
    address.parse().expect("an address")
}

/// Starts a server with metrics and these options.
fn start(root: &Root, options: &[&str]) -> Server {
    start_at("127.0.0.1:0", root, options)
}

/// Starts a server with metrics at this address and these options.
fn start_at(metrics: &str, root: &Root, options: &[&str]) -> Server {
    let all = [&["--metrics", metrics, "--workers", "2"], options].concat();
    Server::with(root.path(), &all)
}

/// Returns every sample by its name and labels, as they are written.
fn scrape(server: &Server) -> HashMap<String, f64> {
    let response = Client::connect(metrics_address(server)).get("/metrics");
    assert_eq!(response.status(), "200 OK");
    let text = response.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Waits until all samples have these values: a response is counted once it has been sent.
fn check(server: &Server, expected: &[(&str, f64)]) {
    let mismatch = || {
        let samples = scrape(server);
        let found = |&(name, _): &(&str, f64)| samples.get(name).copied();
        let wrong = expected.iter().find(|&it| found(it) != Some(it.1))?;
        Some(format!(
            "{} is {:?}, not {}",
            wrong.0,
            found(wrong),
            wrong.1
        ))
    };
    let start = Instant::now();
    while let Some(wrong) = mismatch() {
        assert!(start.elapsed() < support::TIMEOUT, "{wrong}");
        // Before the next scrape.
        thread::sleep(Duration::from_millis(5));
    }
}

const REQUESTS: &str = "docroot_http_requests_total";

fn requests(method: &str, code: &str) -> String {
    format!("{REQUESTS}{{method=\"{method}\",code=\"{code}\"}}")
}

/// `[::]` includes IPv4, as for `--bind`.
#[test]
fn wildcard_address_includes_ipv4() {
    let root = Root::of(&[]);
    let server = start_at("[::]:0", &root, &[]);
    let port = metrics_address(&server).port();
    let response = Client::connect(([127, 0, 0, 1], port).into()).get("/metrics");
    assert_eq!(response.status(), "200 OK");
}

#[test]
fn responses_are_counted() {
    let root = site_with_large();
    root.backdate();
    for log in ["json", "none"] {
        let server = start(&root, &["--log-format", log]);
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            for _ in 0..5 {
                assert_eq!(client.get("/").text(), "<p>hello");
            }
        }
        let one: Response = clients[0].request("HEAD", "/", "");
        assert_eq!(one.status(), "200 OK");
        clients[0].get("/none");
        clients[0].request("BREW", "/", "");
        assert_eq!(clients[1].get("/large").content.len(), support::LARGE_LEN);
        let mut malformed = server.connect();
        malformed.send("nonsense\r\n\r\n");
        malformed.shutdown_write();
        let refusal = String::from_utf8(malformed.rest()).expect("text");
        let (_, refusal) = refusal.split_once("\r\n\r\n").expect("content");
        let absent = server.connect().get("/none").content.len();
        let brewed = server.connect().request("BREW", "/", "").content.len();
        let content = 20 * 8 + support::LARGE_LEN + refusal.len() + 2 * absent + 2 * brewed;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let content = content as f64;
        check(
            &server,
            &[
                (&requests("GET", "200"), 21.0),
                (&requests("HEAD", "200"), 1.0),
                (&requests("GET", "404"), 2.0),
                (&requests("other", "501"), 2.0),
                (&requests("none", "400"), 1.0),
                ("docroot_http_content_sent_bytes_total", content),
                ("docroot_http_request_duration_seconds_count", 27.0),
                (
                    "docroot_http_request_duration_seconds_bucket{le=\"+Inf\"}",
                    27.0,
                ),
                ("docroot_connections_accepted_total", 7.0),
                ("docroot_connections_open", 4.0),
                ("docroot_workers", 2.0),
            ],
        );
        let samples = scrape(&server);
        let lookups = ["hit", "confirmed", "miss"].map(|outcome| {
            samples[&format!("docroot_cache_lookups_total{{outcome=\"{outcome}\"}}")]
        });
        assert!(
            (lookups.iter().sum::<f64>() - 24.0).abs() < 0.5,
            "{lookups:?}"
        );
        assert!(lookups[2] >= 3.0, "{lookups:?}");
        assert!(!samples.contains_key(&requests("GET", "503")));
        match log {
            "json" => check(&server, &[("docroot_log_lines_written_total", 27.0)]),
            _ => assert!(!samples.contains_key("docroot_log_lines_written_total")),
        }
        // A file that has just been changed is not cached.
        eventually("the file is cached", || {
            assert_eq!(clients[0].get("/").text(), "<p>hello");
            (scrape(&server)["docroot_cache_bytes"] > 8.0).then_some(())
        });
        drop(clients);
        check(&server, &[("docroot_connections_open", 0.0)]);
    }
}

#[test]
fn timeouts_are_counted_by_limit_and_awaited_part() {
    let root = site_with_large();
    let options = ["--header-timeout", "300ms", "--idle-timeout", "300ms"];
    let server = start(&root, &options);
    let mut head = server.connect();
    head.send("GET / HT");
    let mut contents = [server.connect(), server.connect()];
    for content in &mut contents {
        content.send("GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc");
    }
    let mut next = server.connect();
    next.ask(GET);
    let [one, other] = contents;
    for mut client in [head, one, other, next] {
        client.rest();
    }
    let expired = |limit: &str, awaited: &str| {
        format!("docroot_connections_expired_total{{limit=\"{limit}\",awaited=\"{awaited}\"}}")
    };
    check(
        &server,
        &[
            (&expired("header_timeout", "head"), 1.0),
            (&expired("idle_timeout", "content"), 2.0),
            (&expired("idle_timeout", "request"), 1.0),
            (&expired("min_rate", "reading"), 0.0),
            (&requests("GET", "408"), 2.0),
            (&requests("none", "408"), 1.0),
        ],
    );
}

#[test]
fn connections_without_valid_proxy_header_are_counted() {
    let root = site_with_large();
    let options = ["--proxy-protocol", "--header-timeout", "300ms"];
    let server = start(&root, &options);
    let sending = |bytes: &str| {
        let mut client = server.connect();
        client.send(bytes);
        client
    };
    let mut all = vec![
        sending("PROX"),
        sending("PROXY UNKNOWN\r\n"),
        sending("nonsense\r\n"),
        sending("PROXY"),
        server.connect(),
    ];
    for client in &mut all[3..] {
        client.shutdown_write();
    }
    for mut client in all {
        assert_eq!(client.rest_even_if_reset(), b"");
    }
    let expired = |awaited: &str| {
        format!(
            "docroot_connections_expired_total{{limit=\"header_timeout\",awaited=\"{awaited}\"}}"
        )
    };
    check(
        &server,
        &[
            (&expired("proxy_header"), 1.0),
            (&expired("head"), 1.0),
            (
                "docroot_connections_refused_total{reason=\"proxy_header\"}",
                2.0,
            ),
            ("docroot_connections_accepted_total", 5.0),
            ("docroot_connections_open", 0.0),
            ("docroot_http_request_duration_seconds_count", 0.0),
        ],
    );
}

#[test]
fn durations_include_time_that_blocks_the_event_loop() {
    let Some(trace) = support::Trace::new("openat2") else {
        return;
    };
    let trace = trace.with_expression("inject=openat2:delay_enter=200000");
    let root = Root::of(&[("index.html", "<p>hello")]);
    let options = ["--metrics", "127.0.0.1:0", "--cache-memory", "0"];
    let server = Server::spawn(trace.command(root.path(), &options));
    let start = Instant::now();
    assert_eq!(server.get("/").text(), "<p>hello");
    let logged = json_field(&server.stdout_line(), "duration_ms");
    let took = start.elapsed().as_secs_f64();
    let seconds = logged.parse::<f64>().expect("a number") / 1000.0;
    assert!((0.2..=took).contains(&seconds), "{seconds} of {took}");
    let name = "docroot_http_request_duration_seconds";
    check(
        &server,
        &[
            (&format!("{name}_count"), 1.0),
            (&format!("{name}_bucket{{le=\"0.1\"}}"), 0.0),
        ],
    );
    let sum = scrape(&server)[&format!("{name}_sum")];
    assert!((0.2..=took).contains(&sum), "{sum} of {took}");
}

#[test]
fn content_bytes_are_counted_as_they_are_sent() {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    const WHOLE: f64 = support::LARGE_LEN as f64;
    const PART: u32 = 1 << 20;
    let content = "docroot_http_content_sent_bytes_total";
    let root = site_with_large();
    let server = start(&root, &[]);
    let mut client = server.download("/large");
    client.bytes(PART as usize);
    let samples = eventually("sent bytes are counted", || {
        let samples = scrape(&server);
        (samples[content] >= f64::from(PART)).then_some(samples)
    });
    assert!(samples[content] < WHOLE, "{}", samples[content]);
    assert!(
        samples[&requests("GET", "200")] < 0.5,
        "the response is not complete"
    );
    client.bytes(support::LARGE_LEN - PART as usize);
    check(&server, &[(content, WHOLE), (&requests("GET", "200"), 1.0)]);
    assert_eq!(
        json_field(&server.stdout_line(), "bytes"),
        WHOLE.to_string()
    );
    // An aborted download is counted as it is logged.
    let mut client = server.download("/large");
    client.bytes(PART as usize);
    drop(client);
    let sent: f64 = json_field(&server.stdout_line(), "bytes")
        .parse()
        .expect("a number");
    assert!((f64::from(PART)..WHOLE).contains(&sent), "{sent}");
    check(&server, &[(content, WHOLE + sent)]);
}

#[test]
fn evicted_and_waiting_connections_are_counted() {
    let root = site_with_large();
    let options = ["--max-connections", "2", "--max-connections-per-ip", "3"];
    let all = [
        &["--workers", "1", "--metrics", "127.0.0.1:0"][..],
        &options,
    ]
    .concat();
    let server = Server::with(root.path(), &all);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect();
        client.ask(GET);
        clients.push(client);
    }
    check(&server, &[("docroot_connections_displaced_total", 2.0)]);
    clients.clear();
    check(&server, &[("docroot_connections_open", 0.0)]);
    // No connection awaits a request, so none is evicted, and another client has to wait.
    let busy: Vec<Client> = (0..2).map(|_| server.download("/large")).collect();
    let mut waiting = server.connect();
    waiting.send(GET);
    eventually("the listener pauses", || {
        (scrape(&server)["docroot_accept_rests_total"] >= 1.0).then_some(())
    });
    drop(busy);
    assert_eq!(waiting.response().text(), "<p>hello");
}

#[test]
fn lost_log_lines_are_counted() {
    let root = site_with_large();
    let server = start(&root, &["--log-file", "/dev/full"]);
    for _ in 0..3 {
        server.get("/");
    }
    check(
        &server,
        &[
            ("docroot_log_lines_lost_total", 3.0),
            ("docroot_log_lines_written_total", 0.0),
        ],
    );
}

#[test]
fn process_metrics_match_the_kernel() {
    let root = site_with_large();
    let server = start(&root, &[]);
    let samples = scrape(&server);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .expect("proc")
        .count() as f64;
    // The connection of the scrape may be open or closed.
    assert!((samples["process_open_fds"] - open).abs() <= 2.0, "{open}");
    let kib = samples["process_resident_memory_bytes"] / 1024.0;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let resident = server.resident_kib() as f64;
    assert!((kib / resident - 1.0).abs() < 0.5, "{kib} {resident}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("a time after 1970").as_secs_f64() - samples["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age), "{age}");
    assert!(samples["process_cpu_seconds_total"] >= 0.0);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("docroot_build_info{{version=\"{version}\"}}");
    assert!((samples[&build] - 1.0).abs() < 0.1);
}

#[test]
fn promtool_accepts_the_metrics() {
    let root = site_with_large();
    let hash = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
    let server = start(&root, &["--compress", "--auth", hash]);
    server.get("/");
    let response = Client::connect(metrics_address(&server)).get("/metrics");
    let expected = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(response.field("Content-Type"), expected);
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    for name in [
        "docroot_compressor_queue_length",
        "docroot_password_queue_length",
    ] {
        assert!(response.text().contains(&format!("\n{name} 0\n")), "{name}");
    }
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: there is no promtool (Debian: prometheus)");
        return;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&response.content).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("a child process");
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && printed.is_empty(),
        "{}",
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn metrics_are_served_on_their_listener_only() {
    let root = site_with_large();
    let server = start(&root, &[]);
    let address = metrics_address(&server);
    assert_eq!(server.get("/metrics").status(), "404 Not Found");
    for target in ["/", "/metrics/", "/index.html", "/large"] {
        let response = Client::connect(address).get(target);
        assert_eq!(response.status(), "404 Not Found", "{target}");
    }
    let mut client = Client::connect(address);
    assert_eq!(client.request("HEAD", "/metrics", "").status(), "200 OK");
    assert_eq!(
        client.request("POST", "/metrics", "").status(),
        "405 Method Not Allowed"
    );
    // Connections to the metrics listener are not counted.
    check(&server, &[("docroot_connections_accepted_total", 1.0)]);
    let plain = Server::start(root.path());
    assert!(!plain.announcement.contains("metrics"));
}

#[test]
fn metrics_are_served_during_graceful_shutdown() {
    let root = site_with_large();
    let mut server = start(&root, &[]);
    let mut client = server.download("/large");
    server.signal(support::Signal::TERM);
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(server.address).err()
    });
    assert_eq!(
        scrape(&server)["docroot_connections_open"].total_cmp(&1.0),
        std::cmp::Ordering::Equal
    );
    client.enlarge_receive_buffer();
    assert_eq!(client.bytes(support::LARGE_LEN).len(), support::LARGE_LEN);
    drop(client);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn unusable_metrics_address_is_named() {
    let root = site_with_large();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = listener.local_addr().expect("its address").to_string();
    for (address, code) in [(busy.as_str(), 3), ("127.0.0.1", 2), ("9090", 2)] {
        let mut command = docroot();
        command
            .args(["-b", "127.0.0.1", "-p", "0", "--metrics", address])
            .arg(root.path());
        let output = command.output().expect("docroot runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.contains(address) && stderr.contains("--metrics"),
            "{stderr}"
        );
    }
}
