//! Waker of an event loop or of a thread: an eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Waker of an event loop or of a thread. Clones wake the same one, and are equal.
///
/// The descriptor becomes readable (edge-triggered) with each wake-up and need not be read.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Creates a waker.
    ///
    /// # Errors
    /// If the kernel provides no descriptor.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(eventfd)))
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // Every write is an edge. Only a counter at its maximum could not be increased, after 2^64 unread writes
        // (eventfd(2)).
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Returns another descriptor of this waker, for an event loop that registers it.
    ///
    /// # Errors
    /// If the kernel provides no descriptor.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Waits for a wake-up, for at most `timeout`. Returns the number of wake-ups since the last call.
    ///
    /// # Errors
    /// Errors of poll(2).
    pub fn wait(&self, timeout: Duration) -> io::Result<u64> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))?;
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(_) => Ok(0),
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PartialEq for Waker {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_counted_until_the_wait() {
        let waker = Waker::new().unwrap();
        assert_eq!(waker.wait(Duration::ZERO).unwrap(), 0);
        waker.wake();
        let clone = waker.clone();
        clone.wake();
        assert_eq!(waker.wait(Duration::from_secs(10)).unwrap(), 2);
        assert_eq!(waker.wait(Duration::ZERO).unwrap(), 0);
        assert!(waker == clone && waker != Waker::new().unwrap());
    }
}
