//! `LiveReload`: a stream of server-sent events that tells open pages which files have changed.
//!
//! One background thread watches all directories below the root (`tree_watcher.rs`) and merges bursts of changes
//! (`debouncer.rs`). It numbers the merged changes, keeps the last few, and wakes each worker. A script that is injected
//! into every HTML page (`represent/inject.rs`) reads the event stream: first a `hello` with the current number, then
//! each change. By its last number, a page that reconnects to any worker gets the changes that it missed. The event id
//! begins with a random number of this process, as changes between two processes are unknown.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::debouncer::{Changes, Debouncer};
use super::tree_watcher::{TreeEvent, TreeWatcher};
use crate::files::root::Root;
use crate::http::{PATH_CHARACTERS, percent_encode};
use crate::sync::{Waker, lock};

/// Interval of comments on an idle event stream. Without them, a client that has gone would not be noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Delay in milliseconds after which a page that has lost its stream reconnects.
const RETRY_MS: u64 = 500;

/// Interval at which the root path is resolved again while it is missing or cannot be watched.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of changes that are kept for pages that reconnect or are slow.
const MAX_RECENT_EVENTS: usize = 16;

/// Maximum number of paths in a change event. With more, the event says that everything has changed.
const MAX_NAMED_PATHS: usize = 100;

/// Notifier of pages about changes below the root, once [`watch`](Self::watch) was called. Clones share their state.
#[derive(Clone, Debug)]
pub struct LiveReload {
    shared: Arc<LiveShared>,
    stop_on_drop: Arc<StopOnDrop>,
}

#[derive(Debug)]
struct LiveShared {
    /// Path prefix of all URLs, encoded, with a leading and a trailing slash.
    url_prefix: String,
    /// Random number of this process.
    instance_id: u64,
    /// Number of changes so far.
    change_count: AtomicU64,
    state: Mutex<LiveState>,
}

#[derive(Debug, Default)]
struct LiveState {
    /// Whether the directories are watched, so that no further change is missed.
    is_watching: bool,
    /// Time of the last file event of the last change.
    last_change: Option<Instant>,
    /// Event texts of the last changes, the latest first.
    recent_events: VecDeque<Arc<str>>,
    /// Waker of each worker.
    wakers: Vec<Waker>,
}

/// Guard that stops the thread when the last [`LiveReload`] is dropped.
#[derive(Debug, Default)]
struct StopOnDrop(OnceLock<Waker>);

/// Event stream of one page.
#[derive(Debug)]
pub struct EventStream {
    live: LiveReload,
    /// Number of the last change that was sent; `None` before the `hello` event.
    reported: Option<u64>,
    /// Time of the next comment, if nothing changes before.
    next_heartbeat: Option<Instant>,
}

impl LiveReload {
    /// Creates a notifier for a site with this path prefix, without leading and trailing slash. Nothing is watched yet.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let mut url_prefix = String::from("/");
        percent_encode(prefix.as_bytes(), PATH_CHARACTERS, &mut url_prefix);
        if !prefix.is_empty() {
            url_prefix.push('/');
        }
        Self {
            shared: Arc::new(LiveShared {
                url_prefix,
                instance_id: RandomState::new().hash_one(()),
                change_count: AtomicU64::new(0),
                state: Mutex::default(),
            }),
            stop_on_drop: Arc::default(),
        }
    }

    /// Returns the descriptor of a waker for one worker, which is woken at each change.
    ///
    /// # Errors
    /// Fails if the kernel provides no descriptor.
    pub fn new_waker(&self) -> io::Result<OwnedFd> {
        let waker = Waker::new()?;
        let descriptor = waker.descriptor()?;
        self.shared.state().wakers.push(waker);
        Ok(descriptor)
    }

    /// Starts a background thread that watches all directories below a root. With `hidden`, names that begin with a
    /// dot are included.
    ///
    /// # Errors
    /// Fails if the kernel gives no inotify instance or no thread.
    pub fn watch(&self, root: Root, hidden: bool) -> io::Result<()> {
        let tree = TreeWatcher::new(root, hidden).map_err(|error| {
            let why = "cannot start inotify for live reload";
            let hint = "see fs.inotify.max_user_instances";
            io::Error::new(error.kind(), format!("{why}: {error}; {hint}"))
        })?;
        let stop = Waker::new()?;
        let stopped = stop.clone();
        let shared = self.shared.clone();
        thread::Builder::new()
            .name("live".into())
            .spawn(move || shared.run(tree, &stopped))?;
        // After a second call, only the first thread is stopped on drop; the second one runs until the process ends.
        let _ = self.stop_on_drop.0.set(stop);
        Ok(())
    }

    /// Returns the URL of the script.
    pub(super) fn script_url(&self) -> String {
        format!("{}.docroot/live.js", self.shared.url_prefix)
    }

    /// Creates an event stream for a page.
    pub(super) fn event_stream(&self) -> EventStream {
        EventStream {
            live: self.clone(),
            reported: None,
            next_heartbeat: None,
        }
    }
}

impl EventStream {
    /// Appends new events. Returns the time at which to call this again, unless the worker is woken before.
    pub(super) fn write_events(&mut self, into: &mut Vec<u8>, now: Instant) -> Instant {
        let before = into.len();
        let shared = &self.live.shared;
        let count = shared.change_count.load(Ordering::Acquire);
        if self.reported != Some(count) {
            shared.write_missed(&mut self.reported, into, now);
        }
        match self.next_heartbeat {
            Some(deadline) if into.len() == before && now < deadline => return deadline,
            Some(_) if into.len() == before => into.extend_from_slice(b":\n\n"),
            _ => {}
        }
        let deadline = now + HEARTBEAT;
        self.next_heartbeat = Some(deadline);
        deadline
    }
}

impl LiveShared {
    fn state(&self) -> MutexGuard<'_, LiveState> {
        lock(&self.state)
    }

    /// Publishes changes until `stop` is woken.
    fn run(&self, mut tree: TreeWatcher, stop: &Waker) {
        tree.start();
        let mut debouncer = Debouncer::default();
        self.update(|state| state.is_watching = true);
        loop {
            let timeout = debouncer
                .deadline()
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let poll_interval = tree.needs_polling().then_some(POLL_INTERVAL);
            let timeout = timeout.into_iter().chain(poll_interval).min();
            // No timeout here is too long for a timespec.
            let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or_default());
            let mut poll_fds = [
                PollFd::new(tree.inotify(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            // EINTR is harmless: the loop polls again. No other error can happen.
            let _ = poll(&mut poll_fds, timeout.as_ref());
            let [_, is_stopped] = poll_fds.map(|poll_fds| !poll_fds.revents().is_empty());
            if is_stopped {
                return;
            }
            let now = Instant::now();
            let mut has_root_changed = tree.needs_polling();
            tree.read_events(|event| match event {
                TreeEvent::Path(path, change) => debouncer.record(path, change, now),
                TreeEvent::RootPath => has_root_changed = true,
                TreeEvent::Unknown => {
                    debouncer.record_unknown(now);
                    has_root_changed = true;
                }
            });
            if has_root_changed && tree.reopen_root_if_changed() {
                debouncer.record_unknown(now);
            }
            if debouncer.deadline().is_some_and(|deadline| deadline <= now) {
                let last = debouncer.last_change();
                if let Some(changes) = debouncer.take() {
                    self.publish_change(&changes, last);
                }
            }
        }
    }

    /// Numbers a change, and wakes all workers.
    fn publish_change(&self, changes: &Changes, last: Option<Instant>) {
        let data = self.format_paths(changes);
        self.update(|state| {
            let count = self.change_count.fetch_add(1, Ordering::Release) + 1;
            let event = self.format_event(count, "change", &data);
            state.last_change = last;
            state.recent_events.truncate(MAX_RECENT_EVENTS - 1);
            state.recent_events.push_front(event.into());
        });
    }

    /// Changes the state, and wakes all workers.
    fn update(&self, act: impl FnOnce(&mut LiveState)) {
        let state = &mut *self.state();
        act(state);
        state.wakers.iter().for_each(Waker::wake);
    }

    /// Appends the `hello` event, or the changes after the last one that was sent.
    fn write_missed(&self, reported: &mut Option<u64>, into: &mut Vec<u8>, now: Instant) {
        let state = self.state();
        let count = self.change_count.load(Ordering::Acquire);
        match *reported {
            _ if !state.is_watching => return,
            None => {
                let quiet_ms = state
                    .last_change
                    .map(|last| now.saturating_duration_since(last));
                let quiet_ms =
                    quiet_ms.map_or("null".into(), |quiet_ms| quiet_ms.as_millis().to_string());
                let event = self.format_event(count, "hello", &format!("{{\"quiet\":{quiet_ms}}}"));
                into.extend_from_slice(format!("retry: {RETRY_MS}\n{event}").as_bytes());
            }
            Some(reported) => {
                let missed = usize::try_from(count - reported).unwrap_or(usize::MAX);
                if missed > state.recent_events.len() {
                    let event = self.format_event(
                        count,
                        "change",
                        &self.format_paths(&Changes::Everything),
                    );
                    into.extend_from_slice(event.as_bytes());
                } else {
                    let missed = state.recent_events.iter().take(missed).rev();
                    missed.for_each(|event| into.extend_from_slice(event.as_bytes()));
                }
            }
        }
        *reported = Some(count);
    }

    /// Formats an event (HTML, section 9.2).
    fn format_event(&self, count: u64, name: &str, data: &str) -> String {
        let process = self.instance_id;
        format!("id: {process:x}-{count}\nevent: {name}\ndata: {data}\n\n")
    }

    /// Formats the URL paths of changed files as JSON: `null` if everything has changed.
    fn format_paths(&self, changes: &Changes) -> String {
        let paths = match changes {
            Changes::Paths(paths) if paths.len() <= MAX_NAMED_PATHS => paths,
            _ => return "{\"paths\":null}".into(),
        };
        let mut data = String::from("{\"paths\":[");
        for (number, path) in paths.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            // A percent-encoded path has no characters that are special in JSON.
            let _ = write!(data, "{comma}\"{}", self.url_prefix);
            percent_encode(path, PATH_CHARACTERS, &mut data);
            data.push('"');
        }
        data + "]}"
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = self.0.get() {
            stop.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_events(events: &mut EventStream, now: Instant) -> String {
        let mut text = Vec::new();
        events.write_events(&mut text, now);
        let process = format!("{:x}-", events.live.shared.instance_id);
        String::from_utf8(text).unwrap().replace(&process, "")
    }

    fn change(live: &LiveReload, paths: &[&str], now: Instant) {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec());
        let changes = Changes::Paths(paths.collect());
        live.shared.publish_change(&changes, Some(now));
    }

    #[test]
    fn each_change_is_sent_once_with_heartbeats_between() {
        let live = LiveReload::new("a b");
        let now = Instant::now();
        let mut events = live.event_stream();
        assert_eq!(next_events(&mut events, now), "", "not watching yet");
        live.shared.update(|state| state.is_watching = true);
        let hello = "retry: 500\nid: 0\nevent: hello\ndata: {\"quiet\":null}\n\n";
        assert_eq!(next_events(&mut events, now), hello);
        assert_eq!(next_events(&mut events, now), "");
        change(&live, &["a.css", "\"\\\n"], now);
        let first =
            "id: 1\nevent: change\ndata: {\"paths\":[\"/a%20b/a.css\",\"/a%20b/%22%5C%0A\"]}\n\n";
        assert_eq!(next_events(&mut events, now), first);
        for (seconds, expected) in [(14, ""), (15, ":\n\n"), (29, ""), (30, ":\n\n")] {
            let then = now + Duration::from_secs(seconds);
            assert_eq!(next_events(&mut events, then), expected, "{seconds}");
        }
        let mut late = live.event_stream();
        let hello = "retry: 500\nid: 1\nevent: hello\ndata: {\"quiet\":7000}\n\n";
        assert_eq!(next_events(&mut late, now + Duration::from_secs(7)), hello);
    }

    #[test]
    fn client_that_missed_too_much_is_sent_everything_changed() {
        let live = LiveReload::new("");
        let now = Instant::now();
        live.shared.update(|state| state.is_watching = true);
        let mut slow = live.event_stream();
        let mut slower = live.event_stream();
        next_events(&mut slower, now);
        change(&live, &["0"], now);
        next_events(&mut slow, now);
        for number in 1..=MAX_RECENT_EVENTS {
            change(&live, &[&number.to_string()], now);
        }
        let text = next_events(&mut slow, now);
        let ids: Vec<_> = text.lines().filter(|line| line.starts_with("id")).collect();
        assert_eq!((ids[0], ids[15], ids.len()), ("id: 2", "id: 17", 16));
        let all = "id: 17\nevent: change\ndata: {\"paths\":null}\n\n";
        assert_eq!(next_events(&mut slower, now), all);
        let many: Vec<String> = (0..=MAX_NAMED_PATHS)
            .map(|number| number.to_string())
            .collect();
        let many: Vec<&str> = many.iter().map(|path| &**path).collect();
        change(&live, &many, now);
        let all = "id: 18\nevent: change\ndata: {\"paths\":null}\n\n";
        assert_eq!(next_events(&mut slower, now), all);
    }
}
