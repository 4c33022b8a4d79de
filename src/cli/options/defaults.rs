//! Defaults that follow from this machine: the number of threads, and the size of the cache.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

/// Mount point of cgroups of either version.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Size in bytes of the cache, without a limit: enough for most sites.
const DEFAULT_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// The cache uses at most the container's limit divided by this, as connections and their kernel buffers count towards
/// the limit, too.
const LIMIT_DIVISOR: u64 = 4;

/// Returns the number of threads that can run at once: the CPUs in this process's affinity mask (sched_getaffinity(2),
/// which reflects cpusets), but no more than the CPU quota of its cgroup, v1 or v2, rounded down. The standard
/// library considers all of these. The number is too large only if a sandbox hides the cgroup file system.
pub(super) fn default_workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Returns the default of `--cache-memory`, in bytes.
pub(super) fn default_cache_bytes() -> usize {
    let cgroup_file = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = memory_limit(&cgroup_file, |file| fs::read_to_string(file).ok());
    cache_bytes_for(limit)
}

/// Returns the size of the cache in bytes for a memory limit in bytes.
fn cache_bytes_for(limit: Option<u64>) -> usize {
    let bytes = limit.map_or(DEFAULT_CACHE_BYTES, |limit| {
        DEFAULT_CACHE_BYTES.min(limit / LIMIT_DIVISOR)
    });
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Returns the lowest limit of the cgroups that this process is in (proc_pid_cgroup(5), "memory.max" in the kernel's
/// cgroup-v2.rst, "memory.limit_in_bytes" in its cgroup-v1/memory.rst); `None` if there is none. `cgroup_file` is
/// the text of `/proc/self/cgroup`.
///
/// In a container the paths in that file may be those of the host, while only the container's own cgroup is mounted, at
/// the top.
fn memory_limit(cgroup_file: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let lowest_limit = |mount: &str, group: &str, file: &str| {
        let mount = Path::new(CGROUPS).join(mount);
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        let limits = groups.filter_map(|group| {
            // "max" is no number and means no limit. v1 has a number instead that exceeds the memory of any machine.
            read(&mount.join(group).join(file))?.trim().parse().ok()
        });
        limits.min()
    };
    let mut limits = vec![
        lowest_limit("", "", "memory.max"),
        lowest_limit("memory", "", "memory.limit_in_bytes"),
    ];
    for line in cgroup_file.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            limits.push(lowest_limit("", group, "memory.max"));
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            limits.push(lowest_limit("memory", group, "memory.limit_in_bytes"));
        }
    }
    limits.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn check(cgroup_file: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read = |file: &Path| {
            let name = file.to_str()?.strip_prefix("/sys/fs/cgroup/")?;
            let (_, text) = files.iter().find(|(path, _)| *path == name)?;
            Some((*text).to_owned())
        };
        assert_eq!(
            memory_limit(cgroup_file, read),
            expected,
            "{cgroup_file:?} {files:?}"
        );
    }

    #[test]
    fn lowest_limit_counts() {
        let v2 = "0::/\n";
        check(v2, &[], None);
        check(v2, &[("memory.max", "max\n")], None);
        check(v2, &[("memory.max", "67108864\n")], Some(64 * MIB));
        // A systemd service whose slice has a lower limit.
        let service = "0::/system.slice/docroot.service\n";
        let files = [
            ("memory.max", "max\n"),
            ("system.slice/memory.max", "1048576\n"),
            ("system.slice/docroot.service/memory.max", "2097152\n"),
        ];
        check(service, &files, Some(MIB));
        // Docker with v1: the path is that of the host; the container's own cgroup is mounted.
        let v1 = "9:name=systemd:/docker/x\n4:cpu,memory:/docker/x\n0::/docker/x\n";
        check(
            v1,
            &[("memory/memory.limit_in_bytes", "1048576\n")],
            Some(MIB),
        );
        let nearer = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/x/memory.limit_in_bytes", "2097152\n"),
        ];
        check(v1, &nearer, Some(2 * MIB));
        // A sandbox without /proc.
        check("", &[("memory.max", "1048576")], Some(MIB));
        check(
            "",
            &[("memory/memory.limit_in_bytes", "1048576")],
            Some(MIB),
        );
        check("nonsense\n:\n", &[], None);
    }

    #[test]
    fn cache_is_at_most_a_quarter_of_the_limit() {
        for (limit, expected) in [
            (None, 64 * MIB),
            (Some(64 * MIB), 16 * MIB),
            (Some(1024 * MIB), 64 * MIB),
            (Some(u64::MAX), 64 * MIB),
            (Some(0), 0),
        ] {
            assert_eq!(cache_bytes_for(limit) as u64, expected, "{limit:?}");
        }
    }
}
