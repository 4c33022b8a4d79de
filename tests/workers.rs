//! Workers: several event loops share the addresses, the limits and the log.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use crate::support::{
    Client, GET, Server, Signal, command_under, docroot, eventually, json_field,
    pseudorandom_bytes, site, summary,
};
use rustix::net::sockopt::set_socket_reuseport;

/// Connections to open: so many that the probability of a worker without any is 2^-60.
const CONNECTIONS: usize = 60;

/// Returns the number of descriptors in each worker's epoll instance, in order of creation: its waker, its listeners
/// and its connections (proc_pid_fdinfo(5)). The epoll instance of inotify descriptors is left out.
fn polled_descriptors(server: &Server) -> Vec<usize> {
    let process = format!("/proc/{}", server.pid());
    let is = |descriptor: u32, kind: &str| {
        let link = fs::read_link(format!("{process}/fd/{descriptor}"));
        link.is_ok_and(|link| link.as_os_str() == kind)
    };
    let is_poll = |descriptor| is(descriptor, "anon_inode:[eventpoll]");
    let directory = fs::read_dir(format!("{process}/fd")).expect("proc");
    let mut polls: Vec<u32> = directory
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter(|&descriptor| is_poll(descriptor))
        .collect();
    polls.sort_unstable();
    let descriptors = |poll| -> Vec<u32> {
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
    let has_inotify = |polled: &Vec<u32>| polled.iter().any(|&it| is(it, "anon_inode:inotify"));
    let count = |polled: Vec<u32>| polled.into_iter().filter(|&it| !is_poll(it)).count();
    let polled = polls.into_iter().map(descriptors);
    polled.filter(|it| !has_inotify(it)).map(count).collect()
}

/// Waits until the workers have so many connections in total, and returns the number of each.
fn connections_per_worker(server: &Server, connections: usize) -> Vec<usize> {
    eventually("all connections are open", || {
        // A waker and the listener of the one address.
        let connections_per_worker: Vec<usize> = polled_descriptors(server)
            .iter()
            .map(|count| count - 2)
            .collect();
        (connections_per_worker.iter().sum::<usize>() == connections)
            .then_some(connections_per_worker)
    })
}

/// Returns the names of the server's threads, sorted.
fn thread_names(server: &Server) -> Vec<String> {
    let directory = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let mut names: Vec<String> = directory
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort();
    names
}

fn connect_and_get(server: &Server) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask(GET).text(), "<p>hello");
    client
}

#[test]
fn all_workers_accept_connections() {
    let root = site();
    for workers in [2, 3] {
        let server = Server::with(root.path(), &["--workers", &workers.to_string()]);
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| connect_and_get(&server)).collect();
        let connections_per_worker = connections_per_worker(&server, CONNECTIONS);
        assert_eq!(connections_per_worker.len(), workers);
        assert!(
            connections_per_worker.iter().all(|&count| count > 0),
            "{connections_per_worker:?}"
        );
        let named = |names: &[String]| names.iter().filter(|it| it.starts_with("worker-")).count();
        let names = thread_names(&server);
        assert_eq!(
            named(&names),
            workers - 1,
            "one worker runs on the main thread: {names:?}"
        );
        for client in &mut clients {
            assert_eq!(client.ask(GET).text(), "<p>hello");
        }
    }
}

#[test]
fn one_worker_runs_on_main_thread() {
    let root = site();
    let server = Server::with(root.path(), &["-w", "1"]);
    let _clients: Vec<Client> = (0..CONNECTIONS).map(|_| connect_and_get(&server)).collect();
    assert_eq!(connections_per_worker(&server, CONNECTIONS), [CONNECTIONS]);
    // Threads set their names after they start.
    eventually("there is no other thread", || {
        let names = ["docroot", "log-writer", "log-writer", "sidecars", "signals"];
        (thread_names(&server) == names).then_some(())
    });
}

#[test]
fn default_worker_count_is_available_parallelism() {
    let root = site();
    let count = thread::available_parallelism().expect("a number");
    let server = || {
        let mut command = docroot();
        command.args(["--bind", "127.0.0.1", "--port", "0"]);
        command.arg(root.path());
        command
    };
    let plain = server();
    let server = Server::spawn(server());
    assert_eq!(polled_descriptors(&server).len(), count.get());
    let expected = format!("\"workers\":{count},");
    assert!(
        server.announcement.contains(&expected),
        "{}",
        server.announcement
    );

    let tried = Command::new("taskset").args(["-c", "0", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: taskset(1) cannot confine a command here");
        return;
    }
    let mut confined = Command::new("taskset");
    confined.args(["-c", "0"]).arg(plain.get_program());
    confined.args(plain.get_args());
    for (name, _) in plain.get_envs() {
        confined.env_remove(name);
    }
    let server = Server::spawn(confined);
    assert!(
        server.announcement.contains("\"workers\":1,"),
        "{}",
        server.announcement
    );
}

#[test]
fn connections_right_after_start_are_served() {
    let root = site();
    for _ in 0..10 {
        let server = Server::with(root.path(), &["--workers", "4"]);
        let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(GET).text(), "<p>hello");
        }
    }
}

/// Checks that a server cannot listen on this address, with one worker or several.
fn check_address_in_use(address: SocketAddr) {
    let root = site();
    for workers in ["1", "2"] {
        let mut command = docroot();
        command.args(["--bind", &address.to_string(), "--workers", workers]);
        let output = command.arg(root.path()).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.contains(&format!("cannot listen on {address}")),
            "{stderr}"
        );
    }
}

#[test]
fn second_server_cannot_share_port() {
    let root = site();
    for workers in ["1", "2"] {
        let server = Server::with(root.path(), &["--workers", workers]);
        check_address_in_use(server.address);
        for _ in 0..20 {
            assert_eq!(server.get("/").text(), "<p>hello");
        }
    }
}

#[test]
fn port_of_foreign_reuseport_socket_is_not_shared() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    set_socket_reuseport(&socket, true).expect("an option");
    socket.set_reuse_address(true).expect("an option");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    socket.listen(1).expect("it listens");
    let listener = TcpListener::from(socket);
    check_address_in_use(listener.local_addr().expect("it is bound"));
}

#[test]
fn only_one_of_simultaneous_servers_gets_port() {
    let root = site();
    for _ in 0..10 {
        // An address that has just become free.
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
        let mut serving = eventually("all servers but one have exited", || {
            all.retain_mut(|child| match child.try_wait().expect("our child") {
                Some(status) => {
                    assert_eq!(status.code(), Some(3));
                    false
                }
                None => true,
            });
            (all.len() <= 1).then(|| all.pop())
        })
        .expect("one server has the port");
        serving.kill().expect("it still runs");
        serving.wait().expect("our child");
    }
}

#[test]
fn all_workers_listen_on_every_address() {
    let root = site();
    let mut command = docroot();
    command.args(["--port", "0", "--bind", "127.0.0.1,127.0.0.2"]);
    command.args(["--workers", "2"]).arg(root.path());
    let server = Server::spawn(command);
    let other = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let mut clients = Vec::new();
    for number in 0..2 * CONNECTIONS {
        let mut client = Client::connect([server.address, other][number % 2]);
        assert_eq!(client.ask(GET).text(), "<p>hello");
        clients.push(client);
    }
    eventually("all connections are open", || {
        (polled_descriptors(&server).iter().sum::<usize>() == 2 * (CONNECTIONS + 3)).then_some(())
    });
    assert!(polled_descriptors(&server).iter().all(|&count| count > 3));
}

#[test]
fn all_workers_complete_responses_on_shutdown() {
    // More than the socket buffers hold, and few enough bytes that even a busy machine sends them within the grace
    // period.
    const LEN: usize = 2 * 1024 * 1024;
    let root = site();
    let content = pseudorandom_bytes(LEN);
    root.write("large", &content);
    let mut server = Server::with(root.path(), &["--workers", "2"]);
    let mut downloads: Vec<Client> = (0..8).map(|_| server.download("/large")).collect();
    let idle: Vec<Client> = (0..CONNECTIONS).map(|_| connect_and_get(&server)).collect();
    let connections_per_worker = connections_per_worker(&server, downloads.len() + CONNECTIONS);
    assert!(
        connections_per_worker.iter().all(|&count| count > 0),
        "{connections_per_worker:?}"
    );
    server.signal(Signal::TERM);
    for mut client in idle {
        assert_eq!(client.rest(), b"", "idle connections are closed");
    }
    assert!(!server.has_exited(), "the downloads are in progress");
    for download in &mut downloads {
        download.enlarge_receive_buffer();
        assert!(download.bytes(LEN) == content);
        assert_eq!(download.rest(), b"");
    }
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn access_log_lines_of_workers_are_not_interleaved() {
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
    let mut lines: Vec<String> = (0..24 * REQUESTS).map(|_| server.stdout_line()).collect();
    for line in &mut lines {
        assert!(
            line.starts_with("{\"time\":") && line.ends_with('}'),
            "{line}"
        );
        assert!(summary(line).ends_with(" 200 8"), "{line}");
        *line = json_field(line, "target");
    }
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 24 * REQUESTS, "each line occurs once");
}

#[test]
fn per_ip_limit_counts_connections_of_all_workers() {
    let root = site();
    let options = ["--workers", "2", "--max-connections-per-ip", "10"];
    let server = Server::with(root.path(), &options);
    let mut clients: Vec<Client> = (0..10).map(|_| connect_and_get(&server)).collect();
    for _ in 0..CONNECTIONS {
        assert!(server.connect().try_request(GET).is_none());
    }
    assert_eq!(clients[0].ask(GET).text(), "<p>hello");
    clients.pop();
    clients.push(eventually("a closed connection frees a place", || {
        let mut client = server.connect();
        client.try_request(GET).map(|_| client)
    }));
    assert!(
        server.connect().try_request(GET).is_none(),
        "one place was free"
    );
}

#[test]
fn max_connections_is_divided_among_workers() {
    let root = site();
    let options = ["--workers", "2", "--max-connections", "8"];
    let server = Server::with(root.path(), &options);
    let before = server.descriptors();
    let _clients: Vec<Client> = (0..CONNECTIONS).map(|_| connect_and_get(&server)).collect();
    // Each worker has half of the limit, and has evicted its longest waiting connections.
    server.wait_for_descriptors(before + 8);
    assert_eq!(connections_per_worker(&server, 8), [4, 4]);
    let warning = server.stderr_line();
    assert!(warning.contains("limited to 4 per worker"), "{warning}");
}

#[test]
fn failed_worker_ends_process() {
    let root = site();
    // EINVAL from accept4 means that the listener is unusable. With -D docroot is the child, and strace a grandchild.
    let strace = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=accept4 -e inject=accept4:error=EINVAL";
    let strace: Vec<&str> = strace.split(' ').collect();
    let tried = Command::new(strace[0])
        .args(&strace[1..])
        .arg("true")
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: strace(1) cannot inject an error into accept4 here");
        return;
    }
    for _ in 0..4 {
        let mut server = Server::spawn(command_under(&strace, root.path(), &["--workers", "3"]));
        let _client = server.connect();
        assert_eq!(server.wait_for_exit().code(), Some(1));
        let warning = server.stderr_line();
        assert!(warning.contains("a worker thread failed"), "{warning}");
        // The other workers may fail as well, when they accept.
        eventually("the last line has the cause", || {
            let warning = server.stderr_line();
            warning
                .starts_with("docroot: Invalid argument")
                .then_some(())
        });
    }
}
