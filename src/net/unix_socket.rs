//! A Unix socket in the file system, from its bind to its removal.

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

/// How often a turn is asked for, and how long it is waited between.
const MAX_LOCK_TRIES: usize = 250;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The file of a listening socket. It is removed when this is dropped, unless it is another one by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Has a socket listen at this path, with this backlog. One that nobody listens to any more is replaced.
///
/// # Errors
/// What bind(2) and listen(2) say. Where somebody listens, or something else is at that path, it is
/// [`ErrorKind::AddrInUse`].
pub(super) fn bind_and_listen(
    socket: &Socket,
    path: &Path,
    backlog: i32,
) -> io::Result<SocketFile> {
    let address = SockAddr::unix(path)?;
    // Who has bound and does not listen yet looks like somebody who has left.
    let _turn = lock_folder(path);
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

/// Waits for a turn among all who begin to listen in the folder of this path. It is over when this is dropped. `None`
/// is as good as one where the folder cannot be locked, or is by somebody who has it for longer than that takes.
fn lock_folder(path: &Path) -> Option<OwnedFd> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder.unwrap_or(Path::new(".")), flags, Mode::empty()).ok()?;
    for _ in 0..MAX_LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_RETRY_INTERVAL),
            Err(_) => return None,
        }
    }
    None
}

/// Whether this is a socket that somebody has left behind.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who listens and has a full backlog is not waited for.
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
            // What cannot be removed is stale, and is replaced by who comes next.
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = socket();
        let _file = bind_and_listen(&first, &path, 1).unwrap();
        let busy = bind_and_listen(&socket(), &path, 1).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        drop(first);
        bind_and_listen(&socket(), &path, 1).unwrap();

        let other = folder.path().join("file");
        fs::write(&other, "precious").unwrap();
        let busy = bind_and_listen(&socket(), &other, 1).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn one_of_concurrent_binds_succeeds() {
        const MANY: usize = 4;
        let folder = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = folder.path().join(round.to_string());
            // What is left behind.
            socket().bind(&SockAddr::unix(&path).unwrap()).unwrap();
            let start = Barrier::new(MANY);
            let begin = || {
                let socket = socket();
                start.wait();
                // Those who look whether it is left behind stay in its backlog.
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
    fn locked_folder_does_not_prevent_listening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let lock = lock_folder(&path);
        assert!(lock.is_some());
        bind_and_listen(&socket(), &path, 1).unwrap();
    }

    #[test]
    fn replaced_socket_file_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let file = bind_and_listen(&socket(), &path, 1).unwrap();
        drop(file);
        assert!(!path.exists());
        let file = bind_and_listen(&socket(), &path, 1).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
