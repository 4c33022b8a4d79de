//! Statistics of this process from procfs (proc(5)).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Dir;

/// Milliseconds of a clock tick, the unit of times in proc_pid_stat(5), whatever tick the kernel uses itself.
const CLOCK_TICK_MILLIS: u64 = 10;

/// Statistics of this process, read from procfs files that stay open, so that they can be read in the sandbox, too.
#[derive(Debug)]
pub(super) struct ProcessStats {
    started: SystemTime,
    /// `None`, here and below, if the file cannot be opened: its metrics are left out.
    status: Option<File>,
    stat: Option<File>,
    descriptors: Option<File>,
}

impl ProcessStats {
    /// Opens the files. Must be called when the process has just started, as it records the time.
    pub(super) fn open() -> Self {
        let open = |name| File::open(name).ok();
        Self {
            started: SystemTime::now(),
            status: open("/proc/self/status"),
            stat: open("/proc/self/stat"),
            descriptors: open("/proc/self/fd"),
        }
    }

    /// Returns the start time in seconds since 1970.
    pub(super) fn start_seconds(&self) -> f64 {
        let since = self.started.duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }

    /// Returns the resident memory in bytes.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let status = read_text(self.status.as_ref()?)?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Returns the used CPU time in seconds, user and system.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        parse_cpu_seconds(&read_text(self.stat.as_ref()?)?)
    }

    /// Returns the number of open descriptors.
    pub(super) fn open_descriptors(&self) -> Option<u64> {
        let mut dir = Dir::new(self.descriptors.as_ref()?.try_clone().ok()?).ok()?;
        dir.rewind();
        let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
        let names = dir.filter_map(Result::ok);
        let count = names.filter(|entry| is_number(entry.file_name().to_bytes()));
        // The descriptor of this listing is not counted.
        (count.count() as u64).checked_sub(1)
    }
}

/// Parses the used CPU time, user and system, of proc_pid_stat(5), in seconds.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the command name in parentheses, which may contain any characters.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let millis = ticks()?
        .saturating_add(ticks()?)
        .saturating_mul(CLOCK_TICK_MILLIS);
    Some(Duration::from_millis(millis).as_secs_f64())
}

/// Reads the current text of a file of at most 8 KiB.
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
        // More ticks than fit into 32 bits: 6.4 years of one processor.
        check(4_294_967_296, 15_888_872_704, 201_838_400.0);
        assert_eq!(parse_cpu_seconds("1 (a) S 1"), None);
    }
}
