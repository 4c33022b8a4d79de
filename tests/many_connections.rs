//! Memory of idle connections: less than a kibibyte each.

use crate::support::{Client, Root, Server, eventually, raise_open_file_limit};
use rustix::process::{Resource, getrlimit};

/// Number of connections that are to be open at once.
const MAX_CONNECTIONS: usize = 5000;

/// Returns the number of connections that the limit of open files allows, at most [`MAX_CONNECTIONS`].
fn connection_count() -> usize {
    // Descriptors for the harness and the other tests, which run in the same process.
    const RESERVED: u64 = 1000;
    raise_open_file_limit();
    // The server has the same limit, and reserves a second descriptor for each connection: the file that is being sent.
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(open.saturating_sub(RESERVED) / 2).unwrap_or(MAX_CONNECTIONS);
    if possible < MAX_CONNECTIONS {
        eprintln!(
            "only {possible} connections: the limit of open files allows no more (ulimit -Hn)"
        );
    }
    MAX_CONNECTIONS.min(possible)
}

#[test]
fn idle_connections_cost_less_than_1_kib_each() {
    let count = connection_count();
    let root = Root::of(&[("index.html", "<p>hello")]);
    // No connection times out, however slow the machine is, and one worker has room for all of them: of several
    // workers, each has an equal share of the connections, and the kernel does not distribute them so evenly.
    let options = ["--idle-timeout", "10m", "--workers", "1"];
    let server = Server::with(root.path(), &options);
    let descriptors = server.descriptors();
    // The first request allocates memory once, which is not counted.
    assert_eq!(server.get("/").text(), "<p>hello");
    let resident = server.resident_kib();

    let mut clients: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.get("/").text(), "<p>hello");
            client
        })
        .collect();

    eventually("only these connections are open", || {
        (server.descriptors() == descriptors + count).then_some(())
    });
    let growth = server.resident_kib().saturating_sub(resident);
    assert!(growth < count, "{growth} KiB for {count} connections");
    assert_eq!(server.get("/").text(), "<p>hello");
    for place in [0, count / 2, count - 1] {
        assert_eq!(clients[place].get("/").text(), "<p>hello");
    }

    drop(clients);
    eventually("all descriptors are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(server.get("/").text(), "<p>hello");
    assert_eq!(server.stderr_lines(), [""; 0], "nothing is logged");
}
