//! Handle that stops a reactor from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};
use tracing::warn;

/// Handle that stops a reactor from another thread.
#[derive(Clone, Debug)]
pub struct ReactorHandle {
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
    /// Connections are closed without waiting for them to finish.
    aborting: Arc<AtomicBool>,
}

impl ReactorHandle {
    /// Creates the handle of a reactor, whose poll it wakes with this token.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self {
            waker: Arc::new(Waker::new(registry, token)?),
            stopping: Arc::default(),
            aborting: Arc::default(),
        })
    }

    /// Makes the reactor stop accepting, let connections finish, and return from [`Reactor::run`](super::Reactor::run).
    /// May be called from any thread, any number of times.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake a worker thread: {error}");
        }
    }

    /// Makes the reactor close all connections without letting them finish. May be called after [`stop`](Self::stop).
    pub fn abort(&self) {
        self.aborting.store(true, Ordering::Release);
        self.stop();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }
}
