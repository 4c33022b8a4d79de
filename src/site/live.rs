//! What tells pages that the site has changed.
//!
//! One thread beside the loops hears what happens below the root ([`tree`]), and gathers what comes together
//! ([`burst`]). It counts what comes of that, keeps the last few, and rings each loop's bell. A page listens by a
//! script of ours, which every page of the site is sent with ([`inject`]): on a stream of events it is told where it
//! begins to hear, and then of each change. The number of that says what a page has missed that was away for a while,
//! whichever loop it comes back to; it begins with one that this process has drawn, as nobody knows what has changed
//! from one process to the next.

mod burst;
mod inject;
mod tree;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::{debug, warn};

use self::burst::{Burst, Changes};
use self::inject::Left;
use self::tree::{Told, Tree};
use super::disk::Disk;
use crate::http::{Fields, PATH, encode};

/// Where pages hear of changes, and their script: below the root, in a folder that nobody has.
const EVENTS: &[u8] = b".docroot/live";
pub(super) const SCRIPT: &[u8] = b".docroot/live.js";

/// What a page does about a change.
pub(super) const SCRIPT_CONTENT: &[u8] = include_bytes!("live/script.js");

/// How long a page may hear nothing at all: then it is told so much, or it would not be noticed that it has gone.
const PULSE: Duration = Duration::from_secs(15);

/// How soon a page comes back that has lost its stream, in milliseconds.
const RETRY: u64 = 500;

/// How often the root is looked for where its name leads nowhere.
const LOOK: Duration = Duration::from_millis(100);

/// Changes that are kept for who comes back, or is slow.
const RECENT: usize = 16;

/// Paths that are named of one change. Of more, everything has changed.
const NAMED: usize = 100;

/// Tells pages of changes, once it [watches](Self::watch).
#[derive(Clone, Debug)]
pub struct Live {
    shared: Arc<Shared>,
    living: Arc<Living>,
}

#[derive(Debug)]
struct Shared {
    /// What all addresses have in front: with a slash at either end.
    prefix: String,
    /// Drawn by this process.
    process: u64,
    /// How often something has changed.
    count: AtomicU64,
    state: Mutex<State>,
    has_warned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether all changes from now on will be heard.
    is_ready: bool,
    /// When the last thing happened that was counted.
    last: Option<Instant>,
    /// The last changes, as they are told.
    recent: VecDeque<Arc<str>>,
    /// One for each loop.
    bells: Vec<OwnedFd>,
}

/// Ends the thread when nobody can listen any more.
#[derive(Debug, Default)]
struct Living(OnceLock<OwnedFd>);

/// What one page is told, as it happens.
#[derive(Debug)]
pub struct Events {
    live: Live,
    /// How many changes it has been told of; `None` before it has been told anything.
    told: Option<u64>,
    /// When it is to be told something, if nothing has changed.
    due: Option<Instant>,
}

/// One of our own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Events,
    Script,
}

impl Live {
    /// For a site whose addresses have this in front, without a slash at either end. Nothing is watched yet.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let mut address = String::from("/");
        encode(prefix.as_bytes(), PATH, &mut address);
        if !prefix.is_empty() {
            address.push('/');
        }
        Self {
            shared: Arc::new(Shared {
                prefix: address,
                process: RandomState::new().hash_one(()),
                count: AtomicU64::new(0),
                state: Mutex::default(),
                has_warned: AtomicBool::new(false),
            }),
            living: Arc::default(),
        }
    }

    /// A bell for one loop: it is readable again whenever there is something to tell.
    ///
    /// # Errors
    /// When the kernel gives no eventfd descriptor.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        self.shared.state().bells.push(bell.try_clone()?);
        Ok(bell)
    }

    /// Watches over all that is below a root from now on, on a thread of its own; names that begin with a dot are
    /// `hidden` or not.
    ///
    /// # Errors
    /// When there is no inotify to be had, or no thread.
    pub fn watch(&self, disk: Disk, hidden: bool) -> io::Result<()> {
        let tree = Tree::new(disk, hidden).map_err(|error| {
            let why = "live reload needs inotify, which is not to be had here";
            let hint = "see fs.inotify.max_user_instances";
            io::Error::new(error.kind(), format!("{why}: {error}; {hint}"))
        })?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        let heard = end.try_clone()?;
        let shared = self.shared.clone();
        thread::Builder::new()
            .name("live".into())
            .spawn(move || shared.work(tree, &heard))?;
        // Whoever watches twice has the first thread for as long as the process lives.
        let _ = self.living.0.set(end);
        Ok(())
    }

    /// Which of our own addresses this is, without the prefix.
    pub(super) fn own(path: &[u8]) -> Option<Own> {
        match path {
            EVENTS => Some(Own::Events),
            SCRIPT => Some(Own::Script),
            _ => None,
        }
    }

    /// What a page begins to hear now.
    pub(super) fn events(&self) -> Events {
        Events {
            live: self.clone(),
            told: None,
            due: None,
        }
    }

    /// A page with the script in it; `None` for what is none, or is to be left alone. `name` is said where it cannot be
    /// heard.
    pub(super) fn injected(&self, html: &[u8], fields: &Fields, name: &[u8]) -> Option<Vec<u8>> {
        let prefix = &self.shared.prefix;
        let element = format!("<script src=\"{prefix}.docroot/live.js\" defer></script>");
        match inject::injected(html, fields, element.as_bytes()) {
            Ok(injected) => {
                self.warn_of_policy(fields, name);
                Some(injected)
            }
            Err(Left::NoPage) => None,
            Err(Left::Coded) => {
                debug!(
                    "/{} is not reloaded: its bytes are coded",
                    name.escape_ascii()
                );
                None
            }
        }
    }

    /// Bytes of a page at the most. Larger ones are left alone, which is said.
    pub(super) fn has_room(&self, len: u64, name: &[u8]) -> bool {
        let has_room = len <= inject::MOST;
        if !has_room {
            debug!("/{} is not reloaded: it is too large", name.escape_ascii());
        }
        has_room
    }

    /// Says once that a page may not do what it is to do.
    fn warn_of_policy(&self, fields: &Fields, name: &[u8]) {
        let refused = inject::refused(fields);
        if !refused.is_empty() && !self.shared.has_warned.swap(true, Ordering::Relaxed) {
            warn!(
                "the Content-Security-Policy of /{} keeps its page from being reloaded: add 'self' to its {}",
                name.escape_ascii(),
                refused.join(" and "),
            );
        }
    }
}

impl Events {
    /// Appends what there is to tell; until when that is all, unless the bell rings.
    pub(super) fn tell(&mut self, into: &mut Vec<u8>, now: Instant) -> Instant {
        let before = into.len();
        let shared = &self.live.shared;
        let count = shared.count.load(Ordering::Acquire);
        if self.told != Some(count) {
            shared.tell(&mut self.told, into, now);
        }
        match self.due {
            Some(due) if into.len() == before && now < due => return due,
            Some(_) if into.len() == before => into.extend_from_slice(b":\n\n"),
            _ => {}
        }
        let due = now + PULSE;
        self.due = Some(due);
        due
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears what happens, until the end is readable.
    fn work(&self, mut tree: Tree, end: &OwnedFd) {
        tree.begin();
        let mut burst = Burst::default();
        self.publish(|state| state.is_ready = true);
        loop {
            let left = burst
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            let look = tree.is_lost().then_some(LOOK);
            let left = left.into_iter().chain(look).min();
            // What is too long for the kernel is not, here.
            let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
            let mut told = [
                PollFd::new(tree.source(), PollFlags::IN),
                PollFd::new(tree.way(), PollFlags::IN),
                PollFd::new(end, PollFlags::IN),
            ];
            // A signal is no reason to stop, and there is none to fail.
            let _ = poll(&mut told, left.as_ref());
            let [_, is_on_the_way, is_over] = told.map(|told| !told.revents().is_empty());
            if is_over {
                return;
            }
            let now = Instant::now();
            tree.listen(|told| match told {
                Told::Path(path, seen) => burst.hear(path, seen, now),
                Told::Anything => burst.lose_track(now),
            });
            if (is_on_the_way || tree.is_lost()) && tree.follow_root() {
                burst.lose_track(now);
            }
            if burst.due().is_some_and(|due| due <= now) {
                let last = burst.last();
                if let Some(changes) = burst.take() {
                    self.change(&changes, last);
                }
            }
        }
    }

    /// Counts a change, and tells all who listen.
    fn change(&self, changes: &Changes, last: Option<Instant>) {
        let data = self.data(changes);
        self.publish(|state| {
            let count = self.count.fetch_add(1, Ordering::Release) + 1;
            let event = self.event(count, "change", &data);
            state.last = last;
            state.recent.truncate(RECENT - 1);
            state.recent.push_front(event.into());
        });
    }

    /// Does something to the state, and rings all bells.
    fn publish(&self, act: impl FnOnce(&mut State)) {
        let state = &mut *self.state();
        act(state);
        for bell in &state.bells {
            // Each time is an edge. Only a count that nobody has read 2^64 times could not be raised (eventfd(2)).
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    /// Appends where a page begins to hear, or what has changed since.
    fn tell(&self, told: &mut Option<u64>, into: &mut Vec<u8>, now: Instant) {
        let state = self.state();
        let count = self.count.load(Ordering::Acquire);
        match *told {
            _ if !state.is_ready => return,
            None => {
                let quiet = state.last.map(|last| now.saturating_duration_since(last));
                let quiet = quiet.map_or("null".into(), |quiet| quiet.as_millis().to_string());
                let event = self.event(count, "hello", &format!("{{\"quiet\":{quiet}}}"));
                into.extend_from_slice(format!("retry: {RETRY}\n{event}").as_bytes());
            }
            Some(told) => {
                let missed = usize::try_from(count - told).unwrap_or(usize::MAX);
                if missed > state.recent.len() {
                    let event = self.event(count, "change", &self.data(&Changes::Everything));
                    into.extend_from_slice(event.as_bytes());
                } else {
                    let missed = state.recent.iter().take(missed).rev();
                    missed.for_each(|event| into.extend_from_slice(event.as_bytes()));
                }
            }
        }
        *told = Some(count);
    }

    /// One event of a stream (HTML, section 9.2).
    fn event(&self, count: u64, name: &str, data: &str) -> String {
        let process = self.process;
        format!("id: {process:x}-{count}\nevent: {name}\ndata: {data}\n\n")
    }

    /// The addresses of what has changed, in JSON; of everything, `null`.
    fn data(&self, changes: &Changes) -> String {
        let paths = match changes {
            Changes::Paths(paths) if paths.len() <= NAMED => paths,
            _ => return "{\"paths\":null}".into(),
        };
        let mut data = String::from("{\"paths\":[");
        for (number, path) in paths.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            // What is left of a path when it is encoded means nothing in JSON.
            let _ = write!(data, "{comma}\"{}", self.prefix);
            encode(path, PATH, &mut data);
            data.push('"');
        }
        data + "]}"
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if let Some(end) = self.0.get() {
            let _ = rustix::io::write(end, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &mut Events, now: Instant) -> String {
        let mut text = Vec::new();
        events.tell(&mut text, now);
        let process = format!("{:x}-", events.live.shared.process);
        String::from_utf8(text).unwrap().replace(&process, "")
    }

    fn change(live: &Live, paths: &[&str], now: Instant) {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec());
        let changes = Changes::Paths(paths.collect());
        live.shared.change(&changes, Some(now));
    }

    #[test]
    fn a_page_hears_of_each_change_once_and_of_nothing_now_and_then() {
        let live = Live::new("a b");
        let now = Instant::now();
        let mut events = live.events();
        assert_eq!(told(&mut events, now), "", "nothing is heard yet");
        live.shared.publish(|state| state.is_ready = true);
        let hello = "retry: 500\nid: 0\nevent: hello\ndata: {\"quiet\":null}\n\n";
        assert_eq!(told(&mut events, now), hello);
        assert_eq!(told(&mut events, now), "");
        change(&live, &["a.css", "\"\\\n"], now);
        let first =
            "id: 1\nevent: change\ndata: {\"paths\":[\"/a%20b/a.css\",\"/a%20b/%22%5C%0A\"]}\n\n";
        assert_eq!(told(&mut events, now), first);
        for (seconds, expected) in [(14, ""), (15, ":\n\n"), (29, ""), (30, ":\n\n")] {
            let then = now + Duration::from_secs(seconds);
            assert_eq!(told(&mut events, then), expected, "{seconds}");
        }
        let mut late = live.events();
        let hello = "retry: 500\nid: 1\nevent: hello\ndata: {\"quiet\":7000}\n\n";
        assert_eq!(told(&mut late, now + Duration::from_secs(7)), hello);
    }

    #[test]
    fn who_misses_too_much_hears_that_everything_has_changed() {
        let live = Live::new("");
        let now = Instant::now();
        live.shared.publish(|state| state.is_ready = true);
        let mut slow = live.events();
        let mut slower = live.events();
        told(&mut slower, now);
        change(&live, &["0"], now);
        told(&mut slow, now);
        for number in 1..=RECENT {
            change(&live, &[&number.to_string()], now);
        }
        let heard = told(&mut slow, now);
        let ids: Vec<_> = heard
            .lines()
            .filter(|line| line.starts_with("id"))
            .collect();
        assert_eq!((ids[0], ids[15], ids.len()), ("id: 2", "id: 17", 16));
        let all = "id: 17\nevent: change\ndata: {\"paths\":null}\n\n";
        assert_eq!(told(&mut slower, now), all);
        let many: Vec<String> = (0..=NAMED).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(|path| &**path).collect();
        change(&live, &many, now);
        let all = "id: 18\nevent: change\ndata: {\"paths\":null}\n\n";
        assert_eq!(told(&mut slower, now), all);
    }
}
