//! Limits on connections: `--max-connections`, `--max-connections-per-ip`, descriptors, and eviction of waiting ones.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, GET, LARGE_LEN, Root, Server, docroot, eventually, large, pseudorandom_bytes,
    site, site_with_large,
};

/// Starts a server with one worker, as each worker has its own limit, and with this `RLIMIT_NOFILE`.
fn server_with_nofile_limit(files: u32, root: &Root, options: &[&str]) -> Server {
    let script = format!("ulimit -Sn {files}; ulimit -Hn {files}; exec \"$@\"");
    let options = [ONE_WORKER, options].concat();
    Server::start_under(&["sh", "-c", &script, "sh"], root.path(), &options)
}

const ONE_WORKER: &[&str] = &["--workers", "1"];

const LIMIT_WARNING: &str = "wait until a connection closes";

/// Checks that while all `inside` connections have a response in progress, further ones wait without CPU time,
/// and are accepted as the first ones close.
fn check_excess_connections_wait(server: &Server, reason: &str, inside: usize) {
    let before = server.descriptors();
    let mut downloads: Vec<Client> = (0..inside).map(|_| server.download("/large")).collect();
    let mut others: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let warning = server.stderr_line();
    assert!(
        warning.contains(LIMIT_WARNING) && warning.contains(reason),
        "{warning}"
    );
    for client in &mut others {
        client.send(GET);
    }
    server.wait_until_idle();
    assert_eq!(server.stderr_lines(), [""; 0], "the warning is logged once");
    assert!(
        others.iter().all(Client::has_received_nothing),
        "the others wait"
    );

    // One download completes, the others are closed halfway.
    let mut first = downloads.remove(0);
    assert!(first.bytes(LARGE_LEN) == large(), "the download is intact");
    drop((first, downloads));
    for mut client in others {
        assert_eq!(client.response().text(), "<p>hello");
    }
    server.wait_for_descriptors(before);
    let lines = server.stderr_lines();
    let repeated = lines.iter().any(|line| line.contains(LIMIT_WARNING));
    assert!(!repeated, "the warning was repeated: {lines:?}");
}

#[test]
fn connections_above_max_connections_wait() {
    let root = site_with_large();
    let options = [ONE_WORKER, &["--max-connections", "5"]].concat();
    let server = Server::with(root.path(), &options);
    check_excess_connections_wait(&server, "limited to 5", 5);
}

#[test]
fn default_limit_leaves_descriptors_for_files() {
    let root = site_with_large();
    let server = server_with_nofile_limit(40, &root, &[]);
    check_excess_connections_wait(&server, "limited to 5", 5);
}

#[test]
fn longest_waiting_connection_is_evicted_when_descriptors_run_out() {
    let root = site();
    let options = ["--max-connections", "39", "--header-timeout", "60s"];
    let server = server_with_nofile_limit(40, &root, &options);
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..200).map(|_| InHead.open(&server)).collect();
    let warning = server.stderr_line();
    assert!(
        warning.contains("the one that is idle longest is closed")
            && warning.contains("os error 24"),
        "{warning}"
    );
    server.wait_until_idle();
    assert_eq!(server.stderr_lines(), [""; 0], "the warning is logged once");
    assert_eq!(
        clients[0].rest_even_if_reset(),
        b"",
        "the oldest connection is closed"
    );

    // accept4(2) fails with EMFILE before it looks whether a connection is queued: one more is evicted and leaves a
    // free place.
    let mut last = clients.pop().expect("200 clients");
    assert_eq!(last.ask("st\r\n\r\n").status(), "200 OK");
    drop(clients);
    server.wait_for_descriptors(before + 1);
    assert_eq!(last.ask(GET).status(), "200 OK");
    drop(last);
    server.wait_for_descriptors(before);
}

/// State of a connection that has no response in progress.
#[derive(Clone, Copy, Debug)]
enum WaitingState {
    /// Nothing has been sent.
    Silent,
    /// Part of a head has been sent.
    InHead,
    /// One request has been answered.
    Idle,
    /// One request has been answered, and part of the next head has been sent.
    InNextHead,
}

use WaitingState::{Idle, InHead, InNextHead, Silent};

impl WaitingState {
    const PARTIAL_HEAD: &str = "GET / HTTP/1.1\r\nHost: te";

    fn open(self, server: &Server) -> Client {
        let before = server.descriptors();
        let mut client = server.connect();
        if matches!(self, Silent) {
            // TCP_DEFER_ACCEPT: the kernel keeps a silent connection for a second.
            server.wait_for_descriptors(before + 1);
        }
        if matches!(self, Idle | InNextHead) {
            assert_eq!(client.ask(GET).status(), "200 OK");
        }
        if matches!(self, InHead | InNextHead) {
            client.send(Self::PARTIAL_HEAD);
        }
        client
    }
}

/// Waits until the server has read all that was sent before. One event loop serves its connections in the order in
/// which they became ready, and then accepts. So the first response may precede an accept; the second comes in
/// the next turn at the earliest, which has a later timestamp.
fn synchronize(probe: &mut Client) {
    for _ in 0..2 {
        assert_eq!(probe.ask(GET).status(), "200 OK");
    }
}

/// Asserts that an evicted connection ends without a response, or with 408.
fn assert_evicted(client: &mut Client) {
    let rest = client.rest_even_if_reset();
    let rest = String::from_utf8_lossy(&rest);
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408 "),
        "{rest}"
    );
}

/// Starts a server with one worker, this connection limit, and time-outs longer than any test.
fn server_with_long_timeouts(root: &Root, connections: usize) -> Server {
    let connections = connections.to_string();
    let options = ["--header-timeout", "60s", "--idle-timeout", "60s"];
    let limit = ["--max-connections", &connections, "--min-rate", "0"];
    Server::with(root.path(), &[ONE_WORKER, &options, &limit].concat())
}

#[test]
fn longest_waiting_connection_is_evicted_first() {
    let root = site();
    for order in [
        vec![Silent, InHead, Idle, InNextHead],
        vec![Idle, Silent, InNextHead, InHead],
        vec![InHead, Idle, Silent, InNextHead],
        vec![InNextHead, InHead, Silent, Idle],
        vec![Silent; 4],
        [vec![Silent], [InHead, Idle, InNextHead].repeat(20)].concat(),
    ] {
        let server = server_with_long_timeouts(&root, order.len() + 1);
        let before = server.descriptors();
        let mut probe = server.connect();
        synchronize(&mut probe);
        let mut waiting = Vec::new();
        for wait in &order {
            waiting.push(wait.open(&server));
            synchronize(&mut probe);
        }
        let mut newcomers = Vec::new();
        for (number, wait) in order.iter().enumerate().take(8) {
            let mut newcomer = server.connect();
            assert_eq!(newcomer.ask(GET).status(), "200 OK", "{order:?}");
            newcomers.push(newcomer);
            let evicted = eventually("a connection is evicted", || {
                let closed = |place: &usize| !waiting[*place].has_received_nothing();
                let evicted: Vec<usize> = (0..order.len()).filter(closed).collect();
                (evicted.len() > number).then_some(evicted)
            });
            let expected: Vec<usize> = (0..=number).collect();
            assert_eq!(evicted, expected, "of {}, {wait:?} is next", order.len());
            assert_evicted(&mut waiting[number]);
            synchronize(&mut probe);
        }
        assert!(
            newcomers.iter().all(Client::has_received_nothing),
            "{order:?}"
        );
        drop((waiting, newcomers, probe));
        server.wait_for_descriptors(before);
    }
}

#[test]
fn request_restarts_waiting_time_but_single_bytes_do_not() {
    let root = site();
    let server = server_with_long_timeouts(&root, 4);
    let mut probe = server.connect();
    let mut active = Idle.open(&server);
    synchronize(&mut probe);
    let mut trickling = InHead.open(&server);
    synchronize(&mut probe);
    let mut silent = Silent.open(&server);
    synchronize(&mut probe);
    assert_eq!(active.ask(GET).status(), "200 OK");
    trickling.send("s");
    synchronize(&mut probe);
    let mut newcomers = Vec::new();
    for closed in [&mut trickling, &mut silent] {
        newcomers.push(Idle.open(&server));
        assert_evicted(closed);
        synchronize(&mut probe);
        assert!(
            active.has_received_nothing(),
            "the active one is not evicted"
        );
    }
    assert_eq!(active.ask(GET).status(), "200 OK");
}

#[test]
fn connection_with_response_in_progress_is_not_evicted() {
    let root = site_with_large();
    let server = server_with_long_timeouts(&root, 3);
    let before = server.descriptors();
    let mut downloads: Vec<Client> = (0..3).map(|_| server.download("/large")).collect();
    let mut newcomers: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for newcomer in &mut newcomers {
        newcomer.send(GET);
    }
    server.wait_until_idle();
    assert!(
        newcomers.iter().all(Client::has_received_nothing),
        "the limit is reached"
    );

    // After its response a connection waits for the next request, and can be evicted.
    let mut first = downloads.remove(0);
    assert!(first.bytes(LARGE_LEN) == large());
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.response().text(), "<p>hello");
    }
    assert_eq!(
        first.rest_even_if_reset(),
        b"",
        "the idle connection is evicted"
    );
    for download in &mut downloads {
        assert!(
            download.bytes(LARGE_LEN) == large(),
            "the download is intact"
        );
    }
    drop((downloads, first, newcomers));
    server.wait_for_descriptors(before);
}

#[test]
fn connection_awaiting_request_content_is_evicted() {
    let root = site_with_large();
    for content in [
        "Content-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let server = server_with_long_timeouts(&root, 2);
        let mut download = server.download("/large");
        let mut incomplete = server.connect();
        incomplete.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{content}"));
        assert_eq!(server.get("/").text(), "<p>hello", "{content:?}");
        let received = incomplete.rest_even_if_reset();
        assert!([&b""[..], b"HTTP/1.1 100 Continue\r\n\r\n"].contains(&&*received));
        assert!(
            download.bytes(LARGE_LEN) == large(),
            "the download is intact"
        );
    }
}

#[test]
fn connections_without_requests_do_not_block_other_clients() {
    let root = site();
    let server = server_with_long_timeouts(&root, 50);
    let before = server.descriptors();
    let mut neighbour = server.connect();
    let mut flood = Vec::new();
    for _ in 0..20 {
        // Half of the limit at once, before any other client connects.
        flood.extend((0..25).map(|_| server.connect()));
        // TCP_DEFER_ACCEPT: the kernel keeps a silent connection for a second. One of each round, so that even when all
        // are accepted at once, others were accepted before the neighbour's last request.
        flood
            .iter_mut()
            .rev()
            .take(24)
            .for_each(|client| client.send("G"));
        assert_eq!(server.get("/").text(), "<p>hello");
        assert_eq!(neighbour.ask(GET).text(), "<p>hello");
    }
    server.wait_until_idle();
    let held = server.descriptors() - before;
    assert!(held <= 50, "{held} of 50");
    let lines = server.stderr_lines();
    assert!(lines.len() < 10, "too many log lines: {lines:?}");
    drop(flood);
    drop(neighbour);
    server.wait_for_descriptors(before);
}

/// Connects from this address and sends a GET; `None` if no response arrives.
fn connect_and_get(ip: &str, address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect_from(ip.parse().expect("an address"), address);
    client.try_request(GET).map(|response| {
        assert_eq!(response.text(), "<p>hello");
        client
    })
}

const PER_IP: &str = "--max-connections-per-ip";

/// Checks that each of these clients, given as its addresses, may hold two connections, independently of the others.
fn check_per_ip(server: &Server, address: SocketAddr, clients: &[&[&str]]) {
    let before = server.descriptors();
    let mut held = Vec::new();
    for ips in clients {
        let own = ips
            .iter()
            .cycle()
            .take(2)
            .map(|ip| connect_and_get(ip, address));
        held.push(own.collect::<Option<Vec<_>>>().expect("two are served"));
        for ip in *ips {
            // Closed at once without a response, even if no request was sent.
            let mut silent = Client::connect_from(ip.parse().expect("an address"), address);
            assert_eq!(silent.rest_even_if_reset(), b"", "{ip}");
            assert!(connect_and_get(ip, address).is_none(), "{ip}");
        }
    }
    let warning = server.stderr_line();
    assert!(warning.contains(clients[0][0]), "{warning}");
    // Earlier connections are still open.
    for client in held.iter_mut().flatten() {
        assert_eq!(client.ask(GET).text(), "<p>hello");
    }
    for (ips, own) in clients.iter().zip(&mut held) {
        own.pop();
        let next = eventually("a closed connection frees a place", || {
            connect_and_get(ips[0], address)
        });
        assert!(
            connect_and_get(ips[0], address).is_none(),
            "one place was free"
        );
        own.push(next);
    }
    drop(held);
    server.wait_for_descriptors(before);
}

#[test]
fn connections_above_per_ip_limit_are_closed() {
    let root = site();
    let server = Server::with(root.path(), &[PER_IP, "2"]);
    let clients: [&[&str]; 3] = [&["127.0.0.1"], &["127.0.0.2"], &["127.1.2.3"]];
    check_per_ip(&server, server.address, &clients);
    let lines = server.stderr_lines();
    assert!(lines.len() < 10, "too many log lines: {lines:?}");
}

#[test]
fn per_ip_limit_warning_is_throttled() {
    let root = site();
    let mut command = support::command_under(&["env"], root.path(), &[]);
    command.env("DOCROOT_MAX_CONNECTIONS_PER_IP", "1");
    let server = Server::spawn(command);
    let _held = connect_and_get("127.0.0.5", server.address).expect("one is served");
    let start = Instant::now();
    for _ in 0..200 {
        assert!(connect_and_get("127.0.0.5", server.address).is_none());
    }
    let warning = server.stderr_line();
    assert!(
        warning.contains("127.0.0.5") && warning.contains("has 1 "),
        "{warning}"
    );
    let more = server.stderr_lines();
    assert!(more.len() as u64 <= start.elapsed().as_secs(), "{more:?}");
}

#[test]
fn ipv4_mapped_addresses_are_counted_separately() {
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "::", "--port", "0", PER_IP, "2"]);
    command.arg(root.path());
    if std::net::TcpListener::bind("[::]:0").is_err() {
        eprintln!("SKIPPED: there is no IPv6 here");
        return;
    }
    let server = Server::spawn(command);
    // Their addresses are ::ffff:127.0.0.1 and so on, all in one /64 (RFC 4291 section 2.5.5.2).
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    check_per_ip(&server, address, &[&["127.0.0.1"], &["127.0.0.2"]]);
}

#[test]
fn ipv6_addresses_are_counted_per_64_bit_prefix() {
    const NAME: &str = "connection_limits::ipv6_addresses_are_counted_per_64_bit_prefix";
    const INSIDE: &str = "IN_NETWORK_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        // Runs this test again in a network namespace with several addresses (network_namespaces(7)).
        let script = "set -e; ip link set lo up
            for net in 1 2; do for host in 1 2; do ip address add 2001:db8:0:$net::$host/64 dev lo nodad; done; done
            exec \"$@\"";
        let mut wrapper = vec!["--net", "sh", "-c", script, "sh"];
        if !rustix::process::geteuid().is_root() {
            wrapper.insert(0, "--map-root-user");
        }
        let tried = Command::new("unshare").args(&wrapper).arg("true").output();
        if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
            eprintln!("SKIPPED: cannot create a network namespace: {tried:?}");
            return;
        }
        let test = std::env::current_exe().expect("a path");
        let mut again = Command::new("unshare");
        again
            .args(&wrapper)
            .arg(test)
            .args(["--exact", NAME, "--nocapture"]);
        let output = again.env(INSIDE, "1").output().expect("unshare runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            stdout.contains(" 1 passed"),
            "the test did not run: {stdout}"
        );
        return;
    }
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "2001:db8:0:1::1", "--port", "0", PER_IP, "2"]);
    command.arg(root.path());
    let server = Server::spawn(command);
    // One host can use all addresses of its /64 (RFC 4291 section 2.5.1).
    let clients: [&[&str]; 2] = [
        &["2001:db8:0:1::1", "2001:db8:0:1::2"],
        &["2001:db8:0:2::1", "2001:db8:0:2::2"],
    ];
    check_per_ip(&server, server.address, &clients);
}

#[test]
fn connection_above_per_ip_limit_does_not_evict_others() {
    let root = site();
    let options = [
        "--max-connections",
        "3",
        PER_IP,
        "2",
        "--idle-timeout",
        "60s",
    ];
    let server = Server::with(root.path(), &[ONE_WORKER, &options].concat());
    let mut longest_waiting = connect_and_get("127.0.0.1", server.address).expect("it is served");
    let at_limit = "127.0.0.2";
    let mut held: Vec<Client> = (0..2)
        .map(|_| connect_and_get(at_limit, server.address).expect("it is served"))
        .collect();
    for _ in 0..20 {
        assert!(connect_and_get(at_limit, server.address).is_none());
    }
    assert!(longest_waiting.has_received_nothing(), "it is not evicted");
    assert_eq!(longest_waiting.ask(GET).status(), "200 OK");
    for client in &mut held {
        assert_eq!(client.ask(GET).status(), "200 OK");
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Checks that a server with few descriptors serves every client in the end, uses no CPU time while it is full, and
/// has released all descriptors when the clients have left.
fn check_descriptor_shortage(options: &[&str], statuses: &[&str]) {
    const SPAN: Duration = Duration::from_millis(700);
    let root = site_with_large();
    root.write("medium", pseudorandom_bytes(300_000));
    let options = [options, &["--cache-memory", "0"]].concat();
    let server = server_with_nofile_limit(64, &root, &options);
    let before = server.descriptors();
    let medium = pseudorandom_bytes(300_000);
    thread::scope(|scope| {
        for number in 0..24 {
            let (address, medium) = (server.address, &medium);
            scope.spawn(move || {
                let start = Instant::now();
                let mut served = 0;
                let mut client = Client::connect(address);
                // Repeats until one response and this time; reconnects when the connection is closed.
                while served == 0 || start.elapsed() < SPAN {
                    assert!(
                        start.elapsed() < support::TIMEOUT,
                        "client {number} got no response"
                    );
                    let target = ["/", "/medium"][number % 2];
                    match client.try_request(get(target)) {
                        Some(response) if response.status() == "200 OK" => {
                            let expected = [b"<p>hello", &medium[..]][number % 2];
                            assert!(response.content == expected, "{target}");
                            served += 1;
                        }
                        Some(response) => {
                            assert!(statuses.contains(&response.status()), "{response:?}");
                        }
                        None => client = Client::connect(address),
                    }
                    // A third of the clients use a new connection for each request.
                    if number % 3 == 0 {
                        client = Client::connect(address);
                    }
                }
            });
        }
        // Some send nothing.
        let _silent: Vec<Client> = (0..40).map(|_| server.connect()).collect();
        thread::sleep(SPAN);
    });
    server.wait_for_descriptors(before);

    let full: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = server.connect();
            client.send(get("/large"));
            client
        })
        .collect();
    eventually("most descriptors are open", || {
        (server.descriptors() > 32).then_some(())
    });
    server.wait_until_idle();
    let mut lines = Vec::new();
    eventually("a warning is logged", || {
        lines.extend(server.stderr_lines());
        let is_logged = lines.iter().any(|line| line.contains("is full"));
        is_logged.then_some(())
    });
    assert!(lines.len() < 20, "too many log lines: {lines:?}");
    drop(full);
    server.wait_for_descriptors(before);
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(client.ask(GET).text(), "<p>hello");
        assert_eq!(server.get("/").text(), "<p>hello");
    }
}

#[test]
fn server_with_few_descriptors_serves_all_clients_under_load() {
    check_descriptor_shortage(&["--min-rate", "0"], &[]);
}

#[test]
fn server_recovers_after_descriptor_exhaustion() {
    let options = ["--min-rate", "0", "--max-connections", "63"];
    check_descriptor_shortage(&options, &["503 Service Unavailable"]);
}
