//! Whoever comes finds room, or waits for it at no cost to anybody.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, GET, LARGE, Root, Server, docroot, eventually, filling, large, site,
    site_with_large,
};

/// A server of one worker, as each has its own room, that may open so many files.
fn limited(files: u32, root: &Root, options: &[&str]) -> Server {
    let script = format!("ulimit -Sn {files}; ulimit -Hn {files}; exec \"$@\"");
    let options = [ONE_WORKER, options].concat();
    Server::upon(&["sh", "-c", &script, "sh"], root.path(), &options)
}

const ONE_WORKER: &[&str] = &["--workers", "1"];

const WAITS: &str = "waits until one closes";

/// More peers than the server can hold, who are all being answered: the others wait at no cost, and get in
/// as these leave.
fn check_crowd(server: &Server, reason: &str, inside: usize) {
    let before = server.descriptors();
    let mut downloads: Vec<Client> = (0..inside).map(|_| server.download("/large")).collect();
    let mut others: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let warning = server.complaint();
    assert!(
        warning.contains(WAITS) && warning.contains(reason),
        "{warning}"
    );
    for client in &mut others {
        client.send(GET);
    }
    server.rests();
    assert_eq!(server.complaints(), [""; 0], "it was said once");
    assert!(others.iter().all(Client::hears_nothing), "they wait");

    // One has all that it came for, the others leave in the middle.
    let mut first = downloads.remove(0);
    assert!(first.bytes(LARGE) == large(), "it was not disturbed");
    drop((first, downloads));
    for mut client in others {
        assert_eq!(client.response().text(), "<p>hello");
    }
    server.holds(before);
    let complaints = server.complaints();
    let repeated = complaints.iter().any(|line| line.contains(WAITS));
    assert!(!repeated, "it was said once: {complaints:?}");
}

#[test]
fn a_crowd_waits_for_the_limit_that_was_given() {
    let root = site_with_large();
    let options = [ONE_WORKER, &["--max-connections", "5"]].concat();
    let server = Server::with(root.path(), &options);
    check_crowd(&server, "limited to 5", 5);
}

#[test]
fn a_crowd_waits_for_the_limit_that_leaves_descriptors_for_files() {
    let root = site_with_large();
    let server = limited(40, &root, &[]);
    check_crowd(&server, "limited to 5", 5);
}

#[test]
fn a_crowd_makes_room_when_there_are_no_descriptors() {
    let root = site();
    let options = ["--max-connections", "39", "--header-timeout", "60s"];
    let server = limited(40, &root, &options);
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..200).map(|_| InHead.begin(&server)).collect();
    let warning = server.complaint();
    assert!(
        warning.contains("makes room") && warning.contains("os error 24"),
        "{warning}"
    );
    server.rests();
    assert_eq!(server.complaints(), [""; 0], "it was said once");
    assert_eq!(clients[0].rest_until_cut(), b"", "it has made room");

    // Linux says that there is none before it says that nobody waits (accept(2)), so that one is left.
    let mut last = clients.pop().expect("one came last");
    assert_eq!(last.ask("st\r\n\r\n").status(), "200 OK");
    drop(clients);
    server.holds(before + 1);
    assert_eq!(last.ask(GET).status(), "200 OK");
    drop(last);
    server.holds(before);
}

/// What a peer does that holds a connection without being owed anything.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// It says nothing at all.
    Silent,
    /// It says a part of a head, and then nothing.
    InHead,
    /// It has been answered.
    Idle,
    /// It has been answered, and says a part of another head.
    InNextHead,
}

use Wait::{Idle, InHead, InNextHead, Silent};

impl Wait {
    const PART: &str = "GET / HTTP/1.1\r\nHost: te";

    fn begin(self, server: &Server) -> Client {
        let before = server.descriptors();
        let mut client = server.connect();
        if matches!(self, Silent) {
            // Who says nothing stays with the kernel for a second.
            server.holds(before + 1);
        }
        if matches!(self, Idle | InNextHead) {
            assert_eq!(client.ask(GET).status(), "200 OK");
        }
        if matches!(self, InHead | InNextHead) {
            client.send(Self::PART);
        }
        client
    }
}

/// Waits until the server has heard what was said before. One loop serves all: those it knows, in the
/// order in which they became ready, and then whoever comes. So the first answer may come before somebody
/// is let in, and the second not before the next turn, in which another time is counted.
fn settle(witness: &mut Client) {
    for _ in 0..2 {
        assert_eq!(witness.ask(GET).status(), "200 OK");
    }
}

/// Who was closed to make room: it hears of that nothing but the end, or that it was too slow.
fn was_closed(client: &mut Client) {
    let rest = client.rest_until_cut();
    let rest = String::from_utf8_lossy(&rest);
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408 "),
        "{rest}"
    );
}

/// A server of one worker that holds so many connections, and waits for them longer than any test does.
fn patient(root: &Root, connections: usize) -> Server {
    let connections = connections.to_string();
    let options = ["--header-timeout", "60s", "--idle-timeout", "60s"];
    let limit = ["--max-connections", &connections, "--min-rate", "0"];
    Server::with(root.path(), &[ONE_WORKER, &options, &limit].concat())
}

#[test]
fn who_has_waited_longest_makes_room() {
    let root = site();
    for order in [
        vec![Silent, InHead, Idle, InNextHead],
        vec![Idle, Silent, InNextHead, InHead],
        vec![InHead, Idle, Silent, InNextHead],
        vec![InNextHead, InHead, Silent, Idle],
        vec![Silent; 4],
        [vec![Silent], [InHead, Idle, InNextHead].repeat(20)].concat(),
    ] {
        let server = patient(&root, order.len() + 1);
        let before = server.descriptors();
        let mut witness = server.connect();
        settle(&mut witness);
        let mut waiting = Vec::new();
        for wait in &order {
            waiting.push(wait.begin(&server));
            settle(&mut witness);
        }
        let mut newcomers = Vec::new();
        for (number, wait) in order.iter().enumerate().take(8) {
            let mut newcomer = server.connect();
            assert_eq!(newcomer.ask(GET).status(), "200 OK", "{order:?}");
            newcomers.push(newcomer);
            let who = eventually("somebody makes room", || {
                let closed = |place: &usize| !waiting[*place].hears_nothing();
                let who: Vec<usize> = (0..order.len()).filter(closed).collect();
                (who.len() > number).then_some(who)
            });
            let expected: Vec<usize> = (0..=number).collect();
            assert_eq!(who, expected, "of {} the {wait:?} was to go", order.len());
            was_closed(&mut waiting[number]);
            settle(&mut witness);
        }
        assert!(newcomers.iter().all(Client::hears_nothing), "{order:?}");
        drop((waiting, newcomers, witness));
        server.holds(before);
    }
}

#[test]
fn a_request_begins_the_wait_anew_and_a_trickle_does_not() {
    let root = site();
    let server = patient(&root, 4);
    let mut witness = server.connect();
    let mut active = Idle.begin(&server);
    settle(&mut witness);
    let mut trickling = InHead.begin(&server);
    settle(&mut witness);
    let mut silent = Silent.begin(&server);
    settle(&mut witness);
    assert_eq!(active.ask(GET).status(), "200 OK");
    trickling.send("s");
    settle(&mut witness);
    let mut newcomers = Vec::new();
    for closed in [&mut trickling, &mut silent] {
        newcomers.push(Idle.begin(&server));
        was_closed(closed);
        settle(&mut witness);
        assert!(active.hears_nothing(), "it was not its turn");
    }
    assert_eq!(active.ask(GET).status(), "200 OK");
}

#[test]
fn who_is_answered_keeps_its_place() {
    let root = site_with_large();
    let server = patient(&root, 3);
    let before = server.descriptors();
    let mut downloads: Vec<Client> = (0..3).map(|_| server.download("/large")).collect();
    let mut newcomers: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for newcomer in &mut newcomers {
        newcomer.send(GET);
    }
    server.rests();
    assert!(
        newcomers.iter().all(Client::hears_nothing),
        "no place for them"
    );

    // Who has been answered waits for its next head, and so makes room.
    let mut first = downloads.remove(0);
    assert!(first.bytes(LARGE) == large());
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.response().text(), "<p>hello");
    }
    assert_eq!(first.rest_until_cut(), b"", "it makes room");
    for download in &mut downloads {
        assert!(download.bytes(LARGE) == large(), "it was not disturbed");
    }
    drop((downloads, first, newcomers));
    server.holds(before);
}

#[test]
fn who_owes_content_makes_room() {
    let root = site_with_large();
    for content in [
        "Content-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let server = patient(&root, 2);
        let mut download = server.download("/large");
        let mut owing = server.connect();
        owing.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{content}"));
        assert_eq!(server.get("/").text(), "<p>hello", "{content:?}");
        let said = owing.rest_until_cut();
        assert!([&b""[..], b"HTTP/1.1 100 Continue\r\n\r\n"].contains(&&*said));
        assert!(download.bytes(LARGE) == large(), "it was not disturbed");
    }
}

#[test]
fn a_flood_that_asks_for_nothing_keeps_nobody_from_being_served() {
    let root = site();
    let server = patient(&root, 50);
    let before = server.descriptors();
    let mut neighbour = server.connect();
    let mut flood = Vec::new();
    for _ in 0..20 {
        // Half of the places at once, before anybody else comes.
        flood.extend((0..25).map(|_| server.connect()));
        // Who says nothing at all stays with the kernel for a second: one of each round, so that even when all of them
        // come at once, there are others who came before the neighbour last asked.
        flood
            .iter_mut()
            .rev()
            .take(24)
            .for_each(|client| client.send("G"));
        assert_eq!(server.get("/").text(), "<p>hello");
        assert_eq!(neighbour.ask(GET).text(), "<p>hello");
    }
    server.rests();
    let held = server.descriptors() - before;
    assert!(held <= 50, "{held} of 50");
    let complaints = server.complaints();
    assert!(complaints.len() < 10, "a flood of lines: {complaints:?}");
    drop(flood);
    drop(neighbour);
    server.holds(before);
}

/// Somebody who has connected from this address, and was answered; `None` if not so much as that.
fn welcomed(ip: &str, address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect_from(ip.parse().expect("an address"), address);
    client.attempt(GET).map(|response| {
        assert_eq!(response.text(), "<p>hello");
        client
    })
}

const PER_IP: &str = "--max-connections-per-ip";

/// That each of these peers may hold two connections, whoever else does.
fn check_per_ip(server: &Server, address: SocketAddr, peers: &[&[&str]]) {
    let before = server.descriptors();
    let mut held = Vec::new();
    for ips in peers {
        let own = ips.iter().cycle().take(2).map(|ip| welcomed(ip, address));
        held.push(own.collect::<Option<Vec<_>>>().expect("two are served"));
        for ip in *ips {
            // Closed at once, without an answer, and without a question.
            let mut silent = Client::connect_from(ip.parse().expect("an address"), address);
            assert_eq!(silent.rest_until_cut(), b"", "{ip}");
            assert!(welcomed(ip, address).is_none(), "{ip}");
        }
    }
    let complaint = server.complaint();
    assert!(complaint.contains(peers[0][0]), "{complaint}");
    // Those who were there before are there still.
    for client in held.iter_mut().flatten() {
        assert_eq!(client.ask(GET).text(), "<p>hello");
    }
    for (ips, own) in peers.iter().zip(&mut held) {
        own.pop();
        let next = eventually("there is a place again", || welcomed(ips[0], address));
        assert!(welcomed(ips[0], address).is_none(), "for one");
        own.push(next);
    }
    drop(held);
    server.holds(before);
}

#[test]
fn an_address_holds_so_many_connections_and_no_more() {
    let root = site();
    let server = Server::with(root.path(), &[PER_IP, "2"]);
    let peers: [&[&str]; 3] = [&["127.0.0.1"], &["127.0.0.2"], &["127.1.2.3"]];
    check_per_ip(&server, server.address, &peers);
    let complaints = server.complaints();
    assert!(complaints.len() < 10, "a flood of lines: {complaints:?}");
}

#[test]
fn a_refused_address_is_named_once() {
    let root = site();
    let mut command = support::upon(&["env"], root.path(), &[]);
    command.env("DOCROOT_MAX_CONNECTIONS_PER_IP", "1");
    let server = Server::spawn(command);
    let _held = welcomed("127.0.0.5", server.address).expect("one is served");
    let start = Instant::now();
    for _ in 0..200 {
        assert!(welcomed("127.0.0.5", server.address).is_none());
    }
    let complaint = server.complaint();
    assert!(
        complaint.contains("127.0.0.5") && complaint.contains("holds 1"),
        "{complaint}"
    );
    let more = server.complaints();
    assert!(more.len() as u64 <= start.elapsed().as_secs(), "{more:?}");
}

#[test]
fn addresses_of_version_4_are_counted_each_where_version_6_is_listened_on() {
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "::", "--port", "0", PER_IP, "2"]);
    command.arg(root.path());
    if std::net::TcpListener::bind("[::]:0").is_err() {
        eprintln!("SKIPPED: there is no IPv6 here");
        return;
    }
    let server = Server::spawn(command);
    // They come as ::ffff:127.0.0.1, and are all in one /64 (RFC 4291 section 2.5.5.2).
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    check_per_ip(&server, address, &[&["127.0.0.1"], &["127.0.0.2"]]);
}

#[test]
fn addresses_of_version_6_are_counted_by_the_network() {
    const NAME: &str = "makes_room::addresses_of_version_6_are_counted_by_the_network";
    const INSIDE: &str = "IN_A_NETWORK_OF_ITS_OWN";
    if std::env::var_os(INSIDE).is_none() {
        // This test again, where there are addresses to choose from (network_namespaces(7)).
        let script = "set -e; ip link set lo up
            for net in 1 2; do for host in 1 2; do ip address add 2001:db8:0:$net::$host/64 dev lo nodad; done; done
            exec \"$@\"";
        let mut stage = vec!["--net", "sh", "-c", script, "sh"];
        if !rustix::process::geteuid().is_root() {
            stage.insert(0, "--map-root-user");
        }
        let tried = Command::new("unshare").args(&stage).arg("true").output();
        if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
            eprintln!("SKIPPED: no network can be made here: {tried:?}");
            return;
        }
        let test = std::env::current_exe().expect("a path");
        let mut again = Command::new("unshare");
        again
            .args(&stage)
            .arg(test)
            .args(["--exact", NAME, "--nocapture"]);
        let output = again.env(INSIDE, "1").output().expect("it was tried");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(" 1 passed"), "it was not run: {told}");
        return;
    }
    let root = site();
    let mut command = docroot();
    command.args(["--bind", "2001:db8:0:1::1", "--port", "0", PER_IP, "2"]);
    command.arg(root.path());
    let server = Server::spawn(command);
    // Whoever has one address has all of its /64 (RFC 4291 section 2.5.1).
    let peers: [&[&str]; 2] = [
        &["2001:db8:0:1::1", "2001:db8:0:1::2"],
        &["2001:db8:0:2::1", "2001:db8:0:2::2"],
    ];
    check_per_ip(&server, server.address, &peers);
}

#[test]
fn who_holds_enough_takes_nobody_elses_place() {
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
    let mut longest = welcomed("127.0.0.1", server.address).expect("it is served");
    let greedy = "127.0.0.2";
    let mut held: Vec<Client> = (0..2)
        .map(|_| welcomed(greedy, server.address).expect("it is served"))
        .collect();
    for _ in 0..20 {
        assert!(welcomed(greedy, server.address).is_none());
    }
    assert!(longest.hears_nothing(), "it has its place");
    assert_eq!(longest.ask(GET).status(), "200 OK");
    for client in &mut held {
        assert_eq!(client.ask(GET).status(), "200 OK");
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// That a server which may open few files serves whoever comes, one way or another, rests when it is full,
/// and is as it was when they have left.
fn check_starved(options: &[&str], statuses: &[&str]) {
    const SPAN: Duration = Duration::from_millis(700);
    let root = site_with_large();
    root.write("medium", filling(300_000));
    let options = [options, &["--cache-memory", "0"]].concat();
    let server = limited(64, &root, &options);
    let before = server.descriptors();
    let medium = filling(300_000);
    thread::scope(|scope| {
        for number in 0..24 {
            let (address, medium) = (server.address, &medium);
            scope.spawn(move || {
                let start = Instant::now();
                let mut served = 0;
                let mut client = Client::connect(address);
                // Until it has been served, and for a while; who is cut comes again.
                while served == 0 || start.elapsed() < SPAN {
                    assert!(
                        start.elapsed() < support::PATIENCE,
                        "{number} waits in vain"
                    );
                    let target = ["/", "/medium"][number % 2];
                    match client.attempt(get(target)) {
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
                    // Some keep their connections, some do not.
                    if number % 3 == 0 {
                        client = Client::connect(address);
                    }
                }
            });
        }
        // And some say nothing.
        let _silent: Vec<Client> = (0..40).map(|_| server.connect()).collect();
        thread::sleep(SPAN);
    });
    server.holds(before);

    let full: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = server.connect();
            client.send(get("/large"));
            client
        })
        .collect();
    eventually("it is full", || (server.descriptors() > 32).then_some(()));
    server.rests();
    let mut complaints = Vec::new();
    eventually("whoever runs it can tell", || {
        complaints.extend(server.complaints());
        let said = complaints.iter().any(|line| line.contains("is full"));
        said.then_some(())
    });
    assert!(complaints.len() < 20, "a flood of lines: {complaints:?}");
    drop(full);
    server.holds(before);
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(client.ask(GET).text(), "<p>hello");
        assert_eq!(server.get("/").text(), "<p>hello");
    }
}

#[test]
fn a_server_of_few_descriptors_under_load_is_slow_and_well() {
    check_starved(&["--min-rate", "0"], &[]);
}

#[test]
fn a_server_that_spends_its_last_descriptors_recovers() {
    let options = ["--min-rate", "0", "--max-connections", "63"];
    check_starved(&options, &["503 Service Unavailable"]);
}
