//! Thread that writes the log lines of all workers, and the queue of these lines.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::warn;

use super::sink::{LineSink, PartialLine, count_lines};
use crate::sync::{LogThrottle, lock, unpoisoned};

/// Maximum bytes of queued lines. Lines beyond it are dropped.
pub(super) const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of queued lines that are written at once, without waiting for more to gather.
pub(super) const MIN_IMMEDIATE_BYTES: usize = MAX_QUEUED_BYTES / 4;

/// Minimum interval between two warnings of lost lines.
const LOSS_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Queue of the lines of all workers, and the state of the thread that writes them.
#[derive(Debug)]
pub(super) struct LineQueue {
    /// Name of the sink in messages.
    pub(super) name: String,
    /// Whether the lines are those messages themselves. Then this thread must not log what it would have to write
    /// itself.
    pub(super) is_diagnostics: bool,
    state: Mutex<QueueState>,
    /// Notifies the thread of work.
    pub(super) work: Condvar,
    /// Notifies the threads in `WriterHandle::finish` of progress.
    pub(super) progress: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct QueueState {
    pub(super) queued: Vec<u8>,
    /// Total of lines written completely.
    pub(super) written: usize,
    /// Total of lost lines, and how many of them have been logged.
    pub(super) lost: usize,
    reported: usize,
    /// Throttle of the warning with their number.
    loss_throttle: LogThrottle,
    /// The sink must be reopened.
    pub(super) reopen_requested: bool,
    /// Lines that the thread has taken from the queue and is writing.
    pub(super) being_written: usize,
    /// Lines of which only the start is written: at most one.
    pub(super) partial: usize,
    /// Number of `LineWriter`s, which may hand over more lines.
    pub(super) writers: usize,
    /// The thread waits for the next line without a timeout.
    pub(super) is_asleep: bool,
    /// A thread waits in `WriterHandle::finish`: lines no longer gather.
    pub(super) flush_requested: bool,
    /// The thread has ended: nothing more will be written.
    pub(super) has_ended: bool,
}

impl QueueState {
    /// Returns the number of lines lost since the last warning, if a warning is due. The clock is read only after lines
    /// were lost.
    pub(super) fn take_unreported(&mut self) -> Option<usize> {
        let unreported = self.lost - self.reported;
        if unreported == 0 || !self.loss_throttle.should_log(Instant::now()) {
            return None;
        }
        self.reported = self.lost;
        Some(unreported)
    }

    /// Whether lines may still gather.
    fn may_gather(&self) -> bool {
        self.queued.len() < MIN_IMMEDIATE_BYTES
            && self.writers > 0
            && !self.flush_requested
            && !self.reopen_requested
    }

    /// Marks that the thread has ended.
    fn end(&mut self) {
        self.has_ended = true;
        self.lose_partial();
    }

    /// Counts a partly written line as lost.
    fn lose_partial(&mut self) {
        self.lost += std::mem::take(&mut self.partial);
    }
}

impl LineQueue {
    pub(super) fn new(name: &str, is_diagnostics: bool) -> Self {
        Self {
            name: name.to_owned(),
            is_diagnostics,
            state: Mutex::new(QueueState {
                loss_throttle: LogThrottle::new(LOSS_LOG_INTERVAL),
                ..QueueState::default()
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }

    /// Runs the writer thread.
    pub(super) fn run(&self, gather: Duration, mut out: impl LineSink) {
        let (mut batch, mut partial) = (Vec::new(), PartialLine::default());
        while let Some(is_reopening) = self.next_batch(&mut batch, gather) {
            // The start of the line was truncated away, so its rest is dropped.
            if !partial.remainder.is_empty() && out.is_truncated() {
                partial.remainder.clear();
                self.lock().lose_partial();
            }
            if is_reopening {
                self.reopen(&mut out, &mut partial);
            }
            let written = partial.write(&mut out, &batch);
            batch.clear();
            // Gives back memory that only a burst of lines needed.
            batch.shrink_to(MIN_IMMEDIATE_BYTES);

            // Warnings are logged before `finish` returns.
            self.record(&written, count_lines(&partial.remainder));
            let mut state = self.lock();
            state.being_written = 0;
            let is_over = matches!(&written, Err((_, error)) if is_broken_pipe(error));
            if is_over {
                state.end();
            }
            drop(state);
            self.progress.notify_all();
            if is_over {
                return;
            }
        }
        self.lock().end();
        self.progress.notify_all();
    }

    fn reopen(&self, out: &mut impl LineSink, partial: &mut PartialLine) {
        match out.reopened() {
            Ok(Some(successor)) => {
                // The line is completed in the old file, or lost.
                let is_ended = partial.end(out).is_ok();
                partial.remainder.clear();
                *out = successor;
                let mut state = self.lock();
                if is_ended {
                    state.written += std::mem::take(&mut state.partial);
                }
                state.lose_partial();
            }
            Ok(None) => {}
            Err(error) => {
                let name = &self.name;
                warn!("cannot reopen {name}: {error}; still writing to the open file");
            }
        }
    }

    /// Counts written and lost lines, and logs a warning if one is due. `partial_lines` is the number of partly written
    /// lines.
    fn record(&self, written: &Result<(), (usize, io::Error)>, partial_lines: usize) {
        let name = &self.name;
        let mut state = self.lock();
        let lost = written.as_ref().map_or_else(|(lost, _)| *lost, |()| 0);
        state.lost += lost;
        state.written += state.partial + state.being_written - lost - partial_lines;
        state.partial = partial_lines;
        // The message would go to the sink that failed.
        if self.is_diagnostics && written.is_err() {
            return;
        }
        let unreported = state.take_unreported();
        drop(state);
        match (written, unreported) {
            (Err((_, error)), _) if is_broken_pipe(error) => {
                warn!("cannot write {name}: {error}");
            }
            (Err((_, error)), Some(lost)) => {
                warn!("cannot write {name}: {error}; {lost} lines lost");
            }
            (Ok(()), Some(lost)) => warn!("{name} was read too slowly: {lost} lines dropped"),
            (_, None) => {}
        }
    }

    /// Waits for lines, lets more gather, and takes all; there may be none if the sink must be reopened, which the
    /// result says. `None`: no more lines will come.
    fn next_batch(&self, batch: &mut Vec<u8>, gather: Duration) -> Option<bool> {
        let mut state = self.lock();
        loop {
            if !gather.is_zero() {
                // Under load this is the only wait, so the thread wakes once per batch.
                let has_time = |state: &mut QueueState| state.may_gather();
                let waited = self.work.wait_timeout_while(state, gather, has_time);
                state = unpoisoned(waited).0;
            }
            let is_reopening = std::mem::take(&mut state.reopen_requested);
            if is_reopening || !state.queued.is_empty() {
                std::mem::swap(batch, &mut state.queued);
                state.being_written = count_lines(batch);
                return Some(is_reopening);
            }
            if state.writers == 0 {
                return None;
            }
            state.is_asleep = true;
            let idle = |state: &mut QueueState| {
                state.queued.is_empty() && state.writers > 0 && !state.reopen_requested
            };
            let waited = self.work.wait_while(state, idle);
            state = unpoisoned(waited);
            state.is_asleep = false;
        }
    }
}

/// Whether the pipe has no reader any more, so that another write is useless.
fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
