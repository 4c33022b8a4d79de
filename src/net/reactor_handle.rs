//! Handle that stops a reactor from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::Waker;

/// Handle that stops a reactor from another thread.
#[derive(Clone, Debug)]
pub struct ReactorHandle {
    waker: Waker,
    stopping: Arc<AtomicBool>,
    /// Connections are closed without waiting for them to finish.
    aborting: Arc<AtomicBool>,
}

impl ReactorHandle {
    /// Creates the handle of a reactor, which registers its waker.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            waker: Waker::new()?,
            stopping: Arc::default(),
            aborting: Arc::default(),
        })
    }

    /// Makes the reactor stop accepting, let connections finish, and return from [`Reactor::run`](super::Reactor::run).
    /// May be called from any thread, any number of times.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Makes the reactor close all connections without letting them finish. May be called after [`stop`](Self::stop).
    pub fn abort(&self) {
        self.aborting.store(true, Ordering::Release);
        self.stop();
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }
}
