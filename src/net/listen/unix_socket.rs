//! File of a Unix socket: bound, replaced when stale, removed.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

/// Attempts to lock the directory of a socket, and the pause between two.
const MAX_LOCK_TRIES: usize = 250;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// File of a listening Unix socket. Dropping this removes the file, unless another one has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Binds a socket to this path and listens with this backlog. A stale socket file, on which no process listens, is
/// replaced.
///
/// # Errors
/// The error of bind(2) or listen(2). If another process listens at that path, or another kind of file is there,
/// [`ErrorKind::AddrInUse`].
pub(super) fn bind_and_listen(
    socket: &Socket,
    path: &Path,
    backlog: i32,
) -> io::Result<SocketFile> {
    let address = SockAddr::unix(path)?;
    // A socket that is bound and does not listen yet looks like a stale one.
    let _lock = lock_directory(path);
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path, &address)? => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile {
        path: path.into(),
        identity: identity(&fs::symlink_metadata(path)?),
    };
    socket.listen(backlog)?;
    Ok(file)
}

/// Locks the directory of this path against other processes that start to listen in it. Dropping the descriptor unlocks
/// it. `None`, with which the caller goes on, if it cannot be locked, or if another process holds the lock for longer
/// than half a second.
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory.unwrap_or(Path::new(".")), flags, Mode::empty()).ok()?;
    for _ in 0..MAX_LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_RETRY_INTERVAL),
            Err(_) => return None,
        }
    }
    None
}

/// Whether the path is a Unix socket on which no process listens.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Non-blocking: connecting to a listener with a full backlog would wait.
    socket.set_nonblocking(true)?;
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    Ok(socket.connect(address).is_err_and(refused))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |metadata| identity(&metadata) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // A file that cannot be removed is stale, and the next process replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()
    }

    #[test]
    fn stale_socket_is_replaced_and_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let first = socket();
        let _file = bind_and_listen(&first, &path, 1).unwrap();
        let busy = bind_and_listen(&socket(), &path, 1).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        drop(first);
        bind_and_listen(&socket(), &path, 1).unwrap();

        let other = directory.path().join("file");
        fs::write(&other, "precious").unwrap();
        let busy = bind_and_listen(&socket(), &other, 1).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn one_of_concurrent_binds_succeeds() {
        const MANY: usize = 4;
        let directory = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = directory.path().join(round.to_string());
            // A stale socket file.
            socket().bind(&SockAddr::unix(&path).unwrap()).unwrap();
            let start = Barrier::new(MANY);
            let begin = || {
                let socket = socket();
                start.wait();
                // The other threads' probes of `is_stale` stay in its backlog.
                bind_and_listen(&socket, &path, 16).map(|file| (socket, file))
            };
            let all: Vec<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..MANY).map(|_| scope.spawn(begin)).collect();
                all.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert_eq!(all.iter().flatten().count(), 1, "{all:?}");
            let busy = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
            assert!(all.iter().filter_map(|it| it.as_ref().err()).all(busy));
            let peer = socket();
            peer.connect(&SockAddr::unix(&path).unwrap()).unwrap();
        }
    }

    #[test]
    fn locked_directory_does_not_prevent_listening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let lock = lock_directory(&path);
        assert!(lock.is_some());
        bind_and_listen(&socket(), &path, 1).unwrap();
    }

    #[test]
    fn replaced_socket_file_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let file = bind_and_listen(&socket(), &path, 1).unwrap();
        drop(file);
        assert!(!path.exists());
        let file = bind_and_listen(&socket(), &path, 1).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        fs::write(&path, "another process's file").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
