//! A Unix socket in the file system, from its bind to its removal.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a listening socket. It is removed when this is dropped, unless it is another one by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Binds a socket to this path. One that nobody listens to any more is replaced.
///
/// # Errors
/// What bind(2) says. Where somebody listens, or something else is at that path, it is
/// [`ErrorKind::AddrInUse`].
pub(super) fn bind(socket: &Socket, path: &Path) -> io::Result<SocketFile> {
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path, &address)? => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let identity = identity(&fs::symlink_metadata(path)?);
    Ok(SocketFile {
        path: path.into(),
        identity,
    })
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
    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()
    }

    #[test]
    fn what_is_left_behind_is_replaced_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = socket();
        let _file = bind(&first, &path).unwrap();
        first.listen(1).unwrap();
        let busy = bind(&socket(), &path).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        drop(first);
        bind(&socket(), &path).unwrap();

        let other = folder.path().join("file");
        fs::write(&other, "precious").unwrap();
        let busy = bind(&socket(), &other).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn only_what_is_still_ours_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let file = bind(&socket(), &path).unwrap();
        drop(file);
        assert!(!path.exists());
        let file = bind(&socket(), &path).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
