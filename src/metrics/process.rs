//! What the kernel says of this process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Dir;

/// Milliseconds in a tick, in which proc_pid_stat(5) counts, whatever the kernel's own is.
const CLOCK_TICK_MILLIS: u64 = 10;

/// What the kernel says of this process, by files that stay open: they can be read where nothing can be opened any
/// more.
#[derive(Debug)]
pub(super) struct ProcessStats {
    started: SystemTime,
    /// What cannot be opened is not told.
    status: Option<File>,
    stat: Option<File>,
    descriptors: Option<File>,
}

impl ProcessStats {
    /// This process, which has just been started.
    pub(super) fn open() -> Self {
        let open = |name| File::open(name).ok();
        Self {
            started: SystemTime::now(),
            status: open("/proc/self/status"),
            stat: open("/proc/self/stat"),
            descriptors: open("/proc/self/fd"),
        }
    }

    /// Seconds from 1970 to the start.
    pub(super) fn start_seconds(&self) -> f64 {
        let since = self.started.duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }

    /// Bytes of memory that are resident.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let status = read_text(self.status.as_ref()?)?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Seconds of CPU time that were used, by user and system.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        parse_cpu_seconds(&read_text(self.stat.as_ref()?)?)
    }

    /// Descriptors that are open.
    pub(super) fn open_descriptors(&self) -> Option<u64> {
        let mut folder = Dir::new(self.descriptors.as_ref()?.try_clone().ok()?).ok()?;
        folder.rewind();
        let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
        let names = folder.filter_map(Result::ok);
        let count = names.filter(|entry| is_number(entry.file_name().to_bytes()));
        // One is what they are counted with.
        (count.count() as u64).checked_sub(1)
    }
}

/// Seconds of CPU time that proc_pid_stat(5) says were used, by user and system.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is a name, in parentheses, with whatever it likes in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let millis = ticks()?
        .saturating_add(ticks()?)
        .saturating_mul(CLOCK_TICK_MILLIS);
    Some(Duration::from_millis(millis).as_secs_f64())
}

/// The text of a file of a few kilobytes, as it is now.
fn read_text(file: &File) -> Option<String> {
    let mut text = vec![0; 8192];
    let length = loop {
        match file.read_at(&mut text, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.ok()?,
        }
    };
    text.truncate(length);
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_stats_are_plausible() {
        let process = ProcessStats::open();
        let before = process.open_descriptors().unwrap();
        let more: Vec<File> = (0..10).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some of their own.
        assert!(process.open_descriptors().unwrap() + 200 > before);
        assert!(before > 2 && more.len() == 10);
        assert!(process.resident_bytes().unwrap() > 100_000);
        assert!(process.cpu_seconds().unwrap() >= 0.0);
        assert!(process.start_seconds() > 1.6e9);
    }
    #[test]
    fn cpu_seconds_are_parsed() {
        let check = |user: u64, system: u64, expected: f64| {
            let stat = format!("1 (a) (b) S 1 1 1 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 1");
            assert_eq!(parse_cpu_seconds(&stat), Some(expected), "{stat}");
        };
        check(0, 0, 0.0);
        check(150, 25, 1.75);
        // A year of 64 processors.
        check(4_294_967_296, 15_888_872_704, 201_838_400.0);
        assert_eq!(parse_cpu_seconds("1 (a) S 1"), None);
    }
}
