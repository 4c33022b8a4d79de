//! Several workers serve as one would.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use crate::support::{
    Client, GET, Server, Signal, docroot, eventually, filling, said, site, summary, upon,
};
use rustix::net::sockopt::set_socket_reuseport;

/// So many that one worker has none of them once in 2^60 times.
const MANY: usize = 60;

/// What the poll of each worker watches, in the order in which they were made: its waker, its listeners,
/// its connections (proc_pid_fdinfo(5)). What tells it of changes is left out, and what that watches.
fn watched(server: &Server) -> Vec<usize> {
    let process = format!("/proc/{}", server.pid());
    let is = |descriptor: u32, kind: &str| {
        let link = fs::read_link(format!("{process}/fd/{descriptor}"));
        link.is_ok_and(|link| link.as_os_str() == kind)
    };
    let is_poll = |descriptor| is(descriptor, "anon_inode:[eventpoll]");
    let folder = fs::read_dir(format!("{process}/fd")).expect("proc");
    let mut polls: Vec<u32> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter(|&descriptor| is_poll(descriptor))
        .collect();
    polls.sort_unstable();
    let watches = |poll| -> Vec<u32> {
        let info = fs::read_to_string(format!("{process}/fdinfo/{poll}")).expect("proc");
        info.lines()
            .filter_map(|line| {
                line.strip_prefix("tfd:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .collect()
    };
    let tells = |watched: &Vec<u32>| watched.iter().any(|&it| is(it, "anon_inode:inotify"));
    let count = |watched: Vec<u32>| watched.into_iter().filter(|&it| !is_poll(it)).count();
    let watched = polls.into_iter().map(watches);
    watched.filter(|it| !tells(it)).map(count).collect()
}

/// How many connections each worker has, once they have so many together.
fn held(server: &Server, connections: usize) -> Vec<usize> {
    eventually("all connections are held", || {
        // A waker and the listener of the one address.
        let held: Vec<usize> = watched(server).iter().map(|count| count - 2).collect();
        (held.iter().sum::<usize>() == connections).then_some(held)
    })
}

/// The names of the server's threads.
fn threads(server: &Server) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let mut names: Vec<String> = folder
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort();
    names
}

fn answered(server: &Server) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask(GET).text(), "<p>hello");
    client
}

#[test]
fn all_workers_serve() {
    let root = site();
    for workers in [2, 3] {
        let server = Server::with(root.path(), &["--workers", &workers.to_string()]);
        let mut clients: Vec<Client> = (0..MANY).map(|_| answered(&server)).collect();
        let held = held(&server, MANY);
        assert_eq!(held.len(), workers);
        assert!(held.iter().all(|&count| count > 0), "{held:?}");
        let named = |names: &[String]| names.iter().filter(|it| it.starts_with("worker-")).count();
        let names = threads(&server);
        assert_eq!(
            named(&names),
            workers - 1,
            "and the first thread: {names:?}"
        );
        for client in &mut clients {
            assert_eq!(client.ask(GET).text(), "<p>hello");
        }
    }
}

#[test]
fn one_worker_is_one_thread() {
    let root = site();
    let server = Server::with(root.path(), &["-w", "1"]);
    let _clients: Vec<Client> = (0..MANY).map(|_| answered(&server)).collect();
    assert_eq!(held(&server, MANY), [MANY]);
    // They name themselves as they begin.
    eventually("nobody else is there", || {
        let names = ["docroot", "journal", "journal", "signals"];
        (threads(&server) == names).then_some(())
    });
}

#[test]
fn as_many_work_as_there_are_processors_to_use() {
    let root = site();
    let count = thread::available_parallelism().expect("a number");
    let server = Server::start(root.path());
    assert_eq!(watched(&server).len(), count.get());
    let said = format!("\"workers\":{count},");
    assert!(
        server.announcement.contains(&said),
        "{}",
        server.announcement
    );

    let tried = Command::new("taskset").args(["-c", "0", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: taskset(1) cannot confine a command here");
        return;
    }
    let server = Server::upon(&["taskset", "-c", "0"], root.path(), &[]);
    assert!(
        server.announcement.contains("\"workers\":1,"),
        "{}",
        server.announcement
    );
}

#[test]
fn who_comes_at_once_is_served() {
    let root = site();
    for _ in 0..10 {
        let server = Server::with(root.path(), &["--workers", "4"]);
        let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(GET).text(), "<p>hello");
        }
    }
}

/// That nobody else serves on this address, however many workers they would have.
fn check_busy(address: SocketAddr) {
    let root = site();
    for workers in ["1", "2"] {
        let mut command = docroot();
        command.args(["--bind", &address.to_string(), "--workers", workers]);
        let output = command.arg(root.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains(&format!("cannot listen on {address}")),
            "{said}"
        );
    }
}

#[test]
fn a_port_is_shared_with_no_other_server() {
    let root = site();
    for workers in ["1", "2"] {
        let server = Server::with(root.path(), &["--workers", workers]);
        check_busy(server.address);
        for _ in 0..20 {
            assert_eq!(server.get("/").text(), "<p>hello");
        }
    }
}

#[test]
fn a_port_is_not_taken_from_who_would_share_it() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    set_socket_reuseport(&socket, true).expect("an option");
    socket.set_reuse_address(true).expect("an option");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    socket.listen(1).expect("it listens");
    let listener = TcpListener::from(socket);
    check_busy(listener.local_addr().expect("it is bound"));
}

#[test]
fn of_servers_that_start_at_once_one_gets_the_port() {
    let root = site();
    for _ in 0..10 {
        // An address that is free by now.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let start = |_| {
            let mut command = docroot();
            command.args(["--quiet", "--workers", "2", "--bind", &address]);
            let null = std::process::Stdio::null;
            command.arg(root.path()).stdout(null()).stderr(null());
            command.spawn().expect("it starts")
        };
        let mut all: Vec<_> = (0..4).map(start).collect();
        let mut serving = eventually("all but one have ended", || {
            all.retain_mut(|child| match child.try_wait().expect("our child") {
                Some(status) => {
                    assert_eq!(status.code(), Some(3));
                    false
                }
                None => true,
            });
            (all.len() <= 1).then(|| all.pop())
        })
        .expect("one has the port");
        serving.kill().expect("it is still there");
        serving.wait().expect("our child");
    }
}

#[test]
fn every_address_is_shared_by_all_workers() {
    let root = site();
    let mut command = docroot();
    command.args(["--port", "0", "--bind", "127.0.0.1,127.0.0.2"]);
    command.args(["--workers", "2"]).arg(root.path());
    let server = Server::spawn(command);
    let other = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let mut clients = Vec::new();
    for number in 0..2 * MANY {
        let mut client = Client::connect([server.address, other][number % 2]);
        assert_eq!(client.ask(GET).text(), "<p>hello");
        clients.push(client);
    }
    eventually("all connections are held", || {
        (watched(&server).iter().sum::<usize>() == 2 * (MANY + 3)).then_some(())
    });
    assert!(watched(&server).iter().all(|&count| count > 3));
}

#[test]
fn all_workers_finish_what_they_have_begun() {
    // More than the kernel keeps for who does not read, and no more than all of them can have on a busy machine before
    // their grace is over.
    const LEN: usize = 2 * 1024 * 1024;
    let root = site();
    let content = filling(LEN);
    root.write("large", &content);
    let mut server = Server::with(root.path(), &["--workers", "2"]);
    let mut downloads: Vec<Client> = (0..8).map(|_| server.download("/large")).collect();
    let idle: Vec<Client> = (0..MANY).map(|_| answered(&server)).collect();
    let held = held(&server, downloads.len() + MANY);
    assert!(held.iter().all(|&count| count > 0), "{held:?}");
    server.signal(Signal::TERM);
    for mut client in idle {
        assert_eq!(client.rest(), b"", "who waits for nothing gets nothing");
    }
    assert!(!server.has_ended(), "the downloads are not finished");
    for download in &mut downloads {
        download.hurry();
        assert!(download.bytes(LEN) == content);
        assert_eq!(download.rest(), b"");
    }
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn lines_of_all_workers_are_whole() {
    const REQUESTS: usize = 50;
    let root = site();
    let server = Server::with(root.path(), &["--workers", "3"]);
    thread::scope(|scope| {
        for number in 0..24 {
            let mut client = server.connect();
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    client.get(&format!("/?{number}.{request}"));
                }
            });
        }
    });
    let mut lines: Vec<String> = (0..24 * REQUESTS).map(|_| server.line()).collect();
    for line in &mut lines {
        assert!(
            line.starts_with("{\"time\":") && line.ends_with('}'),
            "{line}"
        );
        assert!(summary(line).ends_with(" 200 8"), "{line}");
        *line = said(line, "target");
    }
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 24 * REQUESTS, "each is there once");
}

#[test]
fn the_connections_of_an_address_are_counted_over_all_workers() {
    let root = site();
    let options = ["--workers", "2", "--max-connections-per-ip", "10"];
    let server = Server::with(root.path(), &options);
    let mut clients: Vec<Client> = (0..10).map(|_| answered(&server)).collect();
    for _ in 0..MANY {
        assert!(server.connect().attempt(GET).is_none());
    }
    assert_eq!(clients[0].ask(GET).text(), "<p>hello");
    clients.pop();
    clients.push(eventually("there is a place again", || {
        let mut client = server.connect();
        client.attempt(GET).map(|_| client)
    }));
    assert!(server.connect().attempt(GET).is_none(), "for one");
}

#[test]
fn connections_are_limited_over_all_workers() {
    let root = site();
    let options = ["--workers", "2", "--max-connections", "8"];
    let server = Server::with(root.path(), &options);
    let before = server.descriptors();
    let _clients: Vec<Client> = (0..MANY).map(|_| answered(&server)).collect();
    // Each worker has its half, and has displaced who had waited longest.
    server.holds(before + 8);
    assert_eq!(held(&server, 8), [4, 4]);
    let complaint = server.complaint();
    assert!(complaint.contains("limited to 4 per worker"), "{complaint}");
}

#[test]
fn a_worker_that_fails_ends_all() {
    let root = site();
    // Where accept fails like this, the listener itself is unusable. With -D it is docroot that is our child.
    let strace = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=accept4 -e inject=accept4:error=EINVAL";
    let strace: Vec<&str> = strace.split(' ').collect();
    let tried = Command::new(strace[0])
        .args(&strace[1..])
        .arg("true")
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: strace(1) cannot let accept fail here");
        return;
    }
    for _ in 0..4 {
        let mut server = Server::spawn(upon(&strace, root.path(), &["--workers", "3"]));
        let _client = server.connect();
        assert_eq!(server.ended().code(), Some(1));
        let complaint = server.complaint();
        assert!(complaint.contains("a worker has failed"), "{complaint}");
        // The others fail as well, where they look who else has come.
        eventually("the last line says why", || {
            let complaint = server.complaint();
            complaint
                .starts_with("docroot: Invalid argument")
                .then_some(())
        });
    }
}
