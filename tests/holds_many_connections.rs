//! An idle connection costs less than a kibibyte of memory.

use crate::support::{Client, Root, Server, eventually, raise_the_limit};
use rustix::process::{Resource, getrlimit};

/// What is to be held at once.
const MANY: usize = 5000;

/// How many clients it can be.
fn clients() -> usize {
    // For the harness, and the other tests, which are of the same process.
    const KEPT: u64 = 1000;
    raise_the_limit();
    // The server has the same limit, and keeps a second descriptor for each of its connections: the
    // file that is being sent.
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(open.saturating_sub(KEPT) / 2).unwrap_or(MANY);
    if possible < MANY {
        eprintln!("only {possible} connections: no more files may be open here (ulimit -Hn)");
    }
    MANY.min(possible)
}

#[test]
fn thousands_of_idle_connections_are_held() {
    let count = clients();
    let root = Root::of(&[("index.html", "<p>hello")]);
    // Nobody is late here, however slow the machine, and there is room for all of them: of several
    // workers, each has its share of it, and the kernel does not divide so evenly.
    let options = ["--idle-timeout", "10m", "--workers", "1"];
    let server = Server::with(root.path(), &options);
    let descriptors = server.descriptors();
    // What the first request costs once, no connection has to pay for.
    assert_eq!(server.get("/").text(), "<p>hello");
    let resident = server.resident();

    let mut clients: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.get("/").text(), "<p>hello");
            client
        })
        .collect();

    eventually("only these are open", || {
        (server.descriptors() == descriptors + count).then_some(())
    });
    let grown = server.resident().saturating_sub(resident);
    assert!(grown < count, "{grown} KiB for {count} connections");
    assert_eq!(server.get("/").text(), "<p>hello");
    for place in [0, count / 2, count - 1] {
        assert_eq!(clients[place].get("/").text(), "<p>hello");
    }

    drop(clients);
    eventually("all descriptors are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_eq!(server.get("/").text(), "<p>hello");
    assert_eq!(server.complaints(), [""; 0], "nothing was worth a word");
}
