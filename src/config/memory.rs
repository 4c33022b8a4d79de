//! The memory limit of this process.

use std::fs;
use std::path::Path;

/// Mount point of cgroups of either version.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Default bytes of the cache: useful for a site, but at most this part of a container's limit, which connections and
/// their kernel buffers count towards, too.
const REMEMBERED: u64 = 64 * 1024 * 1024;
const PART: u64 = 4;

/// Returns the default of `--cache-memory`, in bytes.
pub(super) fn remembered() -> usize {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(&own, |file| fs::read_to_string(file).ok());
    part(limit)
}

fn part(limit: Option<u64>) -> usize {
    let part = limit.map_or(REMEMBERED, |limit| REMEMBERED.min(limit / PART));
    usize::try_from(part).unwrap_or(usize::MAX)
}

/// Returns the lowest limit of the cgroups that this process is in (proc_pid_cgroup(5), "memory.max" in the kernel's
/// cgroup-v2.rst, "memory.limit_in_bytes" in its cgroup-v1/memory.rst); `None` if there is none. `own` is
/// `/proc/self/cgroup`.
///
/// In a container those paths may be the host's, while only the container's own cgroup is mounted, at the top.
fn limit(own: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let least = |folder: &str, group: &str, file: &str| {
        let folder = Path::new(CGROUPS).join(folder);
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        let limits = groups.filter_map(|group| {
            // "max" is none, and so is what v1 has instead, which is more than any machine has.
            read(&folder.join(group).join(file))?.trim().parse().ok()
        });
        limits.min()
    };
    let mut limits = vec![
        least("", "", "memory.max"),
        least("memory", "", "memory.limit_in_bytes"),
    ];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            limits.push(least("", group, "memory.max"));
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            limits.push(least("memory", group, "memory.limit_in_bytes"));
        }
    }
    limits.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn check(own: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read = |file: &Path| {
            let name = file.to_str()?.strip_prefix("/sys/fs/cgroup/")?;
            let (_, text) = files.iter().find(|(path, _)| *path == name)?;
            Some((*text).to_owned())
        };
        assert_eq!(limit(own, read), expected, "{own:?} {files:?}");
    }

    #[test]
    fn the_least_limit_counts() {
        let v2 = "0::/\n";
        check(v2, &[], None);
        check(v2, &[("memory.max", "max\n")], None);
        check(v2, &[("memory.max", "67108864\n")], Some(64 * MIB));
        // A service of systemd's: its slice has less.
        let service = "0::/system.slice/docroot.service\n";
        let files = [
            ("memory.max", "max\n"),
            ("system.slice/memory.max", "1048576\n"),
            ("system.slice/docroot.service/memory.max", "2097152\n"),
        ];
        check(service, &files, Some(MIB));
        // Docker with v1: the path is the host's, and what is mounted is the container's own.
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
    fn a_part_of_it_is_for_what_is_remembered() {
        for (limit, expected) in [
            (None, 64 * MIB),
            (Some(64 * MIB), 16 * MIB),
            (Some(1024 * MIB), 64 * MIB),
            (Some(u64::MAX), 64 * MIB),
            (Some(0), 0),
        ] {
            assert_eq!(part(limit) as u64, expected, "{limit:?}");
        }
    }
}
