//! Sandbox of the serving process, enforced by the kernel (Landlock).
//!
//! Landlock (landlock(7)) permanently removes rights from a thread and from all threads and processes that it starts
//! later. So the server first binds all sockets, then calls [`confine`], and only then starts its first thread: one set
//! of rules holds for all threads, and needs no exception for the ports. The process can still read the served files
//! and those that it reloads, append to logs, and serve connections. It can no longer execute, change or remove files,
//! connect or bind sockets, or gain privileges by execve(2) (no_new_privs).
//!
//! Names, sizes and times of files remain visible (stat(2) is not restricted), open files remain usable, and UDP is not
//! restricted.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::thread::set_no_new_privs;
use tracing::debug;

use crate::files::symlinks::{ResolvedPath, read_link, resolve};

/// Newest Landlock version that docroot is tested with. On older kernels the rights that it adds are left out.
const NEWEST_ABI: ABI = ABI::V7;

/// Landlock versions, and what a kernel with an older one cannot forbid.
const FORBIDDEN_SINCE: [(u32, &str); 2] = [
    (3, "to cut files off"),
    (4, "to bind and to connect over TCP"),
];

/// List of mounts, in which the watch over files sees new mounts. It is already open; opening it again finds the same
/// file.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Sandbox mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// Confine as far as the kernel supports it.
    #[default]
    Auto,
    /// Confine completely, or fail.
    On,
    /// Do not confine.
    Off,
}

/// Files that the server needs, by their configured paths, which are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Served directories.
    pub directories: Vec<PathBuf>,
    /// Whether these directories may be replaced by others of the same name.
    pub directories_are_replaced: bool,
    /// Whether symbolic links in them may lead anywhere.
    pub read_everywhere: bool,
    /// Files that are reloaded, and may have been replaced by then.
    pub files: Vec<PathBuf>,
    /// Files that are created and appended to.
    pub logs: Vec<PathBuf>,
    /// Named pipes among `logs`. They are opened for reading, too, so that they need no reader.
    pub pipes: Vec<PathBuf>,
    /// Devices and paths of open descriptors, which are written to and never created.
    pub devices: Vec<PathBuf>,
    /// Unix sockets that are removed when the server stops.
    pub sockets: Vec<PathBuf>,
}

/// Access allowed to a file, or below a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SandboxRule {
    /// File or directory, without symbolic links.
    path: PathBuf,
    /// Allowed access.
    access: SandboxAccess,
}

/// Kind of access. On a directory it holds for all files below it, as Landlock has no other rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SandboxAccess {
    /// Read files and list directories.
    Read,
    /// Read files.
    ReadFiles,
    /// Create files, and write to them.
    Append,
    /// Write to files.
    Write,
    /// Remove files.
    Remove,
}

/// Degree to which the kernel confines the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Not confined, as configured.
    Off,
    /// Not confined except by no_new_privs, for this reason.
    None(String),
    /// Confined by Landlock.
    Landlock {
        /// Landlock version, from 1.
        abi: u32,
        /// Promised restrictions that this version does not support.
        unsupported: Vec<&'static str>,
        /// Whether all files may be read, as configured.
        reads_everywhere: bool,
    },
}

/// Error of [`SandboxMode::On`]: the process is not completely confined.
#[derive(Debug, PartialEq, Eq)]
pub struct Unconfined(pub Confinement);

/// Confines the calling thread and all threads that it starts later. Other threads are not confined.
///
/// # Errors
/// With [`SandboxMode::On`], if the kernel does not enforce all restrictions.
pub fn confine(mode: SandboxMode, requirements: &Requirements) -> Result<Confinement, Unconfined> {
    if mode == SandboxMode::Off {
        return Ok(Confinement::Off);
    }
    let rules = rules_for(requirements, read_link);
    let confinement = match restrict(&rules) {
        Ok(status) => confinement_of(&status.landlock, requirements.read_everywhere),
        Err(error) => {
            let why = match set_no_new_privs(true) {
                Ok(()) => error.to_string(),
                Err(privileges) => format!("{error}; no_new_privs: {privileges}"),
            };
            Confinement::None(why)
        }
    };
    match mode == SandboxMode::On && !confinement.is_complete() {
        true => Err(Unconfined(confinement)),
        false => Ok(confinement),
    }
}

/// Returns the result that [`confine`] would have, by confining a thread that then ends.
///
/// # Errors
/// As [`confine`].
pub fn try_confine(
    mode: SandboxMode,
    requirements: &Requirements,
) -> Result<Confinement, Unconfined> {
    let tried = std::thread::scope(|scope| scope.spawn(|| confine(mode, requirements)).join());
    tried.unwrap_or_else(|_| {
        let why = "the thread that tried it has panicked".into();
        Err(Unconfined(Confinement::None(why)))
    })
}

/// Returns the narrowest rules for these requirements, whether or not the files exist. `link` returns the target of a
/// symbolic link, and `None` for anything else.
fn rules_for(
    requirements: &Requirements,
    link: impl Fn(&Path) -> Option<PathBuf>,
) -> Vec<SandboxRule> {
    let resolved = |path: &Path| resolve(path, &link);
    let real_path_of = |path: &Path| resolved(path).real_path;
    let mut rules = Vec::new();
    let mut allow = |path: PathBuf, access| {
        let has = |rule: &SandboxRule| {
            let is_wider = rule.access == SandboxAccess::Read && access == SandboxAccess::ReadFiles;
            (rule.access == access || is_wider) && path.starts_with(&rule.path)
        };
        if !rules.iter().any(has) {
            rules.push(SandboxRule { path, access });
        }
    };
    allow(MOUNTINFO.into(), SandboxAccess::ReadFiles);
    if requirements.read_everywhere {
        allow("/".into(), SandboxAccess::Read);
    }
    for directory in &requirements.directories {
        let resolved_path = resolved(directory);
        let parent = parent_of(&resolved_path.real_path)
            .filter(|parent| requirements.directories_are_replaced && !is_file_system_root(parent));
        for directory in parent
            .into_iter()
            .chain([readable_directory(resolved_path)])
        {
            allow(directory, SandboxAccess::Read);
        }
    }
    let files = requirements
        .files
        .iter()
        .map(|file| (file, SandboxAccess::ReadFiles));
    let logs = requirements
        .logs
        .iter()
        .map(|file| (file, SandboxAccess::Append));
    for (file, access) in files.chain(logs) {
        // The directory of the name and, if that is a symbolic link, the directory of the file: a new file may be put
        // in either.
        let directories = [
            file.parent().map(real_path_of),
            parent_of(&real_path_of(file)),
        ];
        for directory in directories.into_iter().flatten() {
            match is_file_system_root(&directory) {
                false => allow(directory, access),
                true => allow(real_path_of(file), access),
            }
        }
    }
    for pipe in &requirements.pipes {
        allow(real_path_of(pipe), SandboxAccess::ReadFiles);
    }
    for device in &requirements.devices {
        allow(real_path_of(device), SandboxAccess::Write);
    }
    for socket in &requirements.sockets {
        let directory = socket.parent().map(real_path_of);
        // The right to remove a socket in `/` would be one to remove any file. The next process replaces a stale
        // socket.
        if let Some(directory) = directory.filter(|directory| !is_file_system_root(directory)) {
            allow(directory, SandboxAccess::Remove);
        }
    }
    rules
}

/// Returns the directory to allow reading below for a served directory: itself. If its path leads through symbolic
/// links, a link may be switched to another release; then it is the parent of the last link's target, unless that is
/// `/`.
fn readable_directory(resolved_path: ResolvedPath) -> PathBuf {
    let parent = resolved_path
        .last_link_target()
        .as_deref()
        .and_then(parent_of);
    let parent = parent.filter(|parent| {
        resolved_path.real_path.starts_with(parent) && !is_file_system_root(parent)
    });
    parent.unwrap_or(resolved_path.real_path)
}

fn parent_of(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}

/// Whether this directory is `/`.
fn is_file_system_root(directory: &Path) -> bool {
    directory.parent().is_none()
}

fn restrict(rules: &[SandboxRule]) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST_ABI))?
        .handle_access(AccessNet::from_all(NEWEST_ABI))?
        .scope(Scope::from_all(NEWEST_ABI))?
        .create()?;
    for SandboxRule { path, access } in rules {
        match PathFd::new(path) {
            Ok(path_fd) => {
                ruleset = ruleset.add_rule(PathBeneath::new(path_fd, access.rights()))?;
            }
            // A file that is missing now cannot be read later either, and the code that reads it reports that.
            Err(error) => debug!("the sandbox has no rule for {}: {error}", path.display()),
        }
    }
    ruleset.restrict_self()
}

fn confinement_of(status: &LandlockStatus, anywhere: bool) -> Confinement {
    let abi = match *status {
        LandlockStatus::NotEnabled => {
            let why = "this kernel's Landlock is not switched on (see lsm= of its command line)";
            return Confinement::None(why.into());
        }
        LandlockStatus::NotImplemented => {
            let why =
                "this kernel has no Landlock (it needs Linux 5.13), or a seccomp filter hides it";
            return Confinement::None(why.into());
        }
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => {
            let abi = kernel_abi.unwrap_or(effective_abi as i32);
            u32::try_from(abi).unwrap_or_default()
        }
    };
    Confinement::Landlock {
        abi,
        unsupported: unsupported(abi),
        reads_everywhere: anywhere,
    }
}

/// Returns the promised restrictions that a version of Landlock does not support. (From version 6 on, signals to other
/// processes and connections to abstract Unix sockets are forbidden as well, which is not promised.)
fn unsupported(abi: u32) -> Vec<&'static str> {
    let lacking = FORBIDDEN_SINCE.iter().filter(|(since, _)| abi < *since);
    lacking.map(|(_, what)| *what).collect()
}

impl SandboxAccess {
    fn rights(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => AccessFs::ReadFile | AccessFs::ReadDir,
            Self::ReadFiles => AccessFs::ReadFile.into(),
            Self::Append => AccessFs::WriteFile | AccessFs::MakeReg,
            Self::Write => AccessFs::WriteFile.into(),
            Self::Remove => AccessFs::RemoveFile.into(),
        }
    }
}

impl Confinement {
    /// Returns the degree as one word for programs: `full`, `partial`, `none` or `off`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::None(_) => "none",
            Self::Landlock {
                reads_everywhere: false,
                ..
            } if self.is_complete() => "full",
            Self::Landlock { .. } => "partial",
        }
    }

    /// Returns the version of Landlock that confines the process; 0 if none does.
    #[must_use]
    pub fn abi(&self) -> u32 {
        match self {
            Self::Off | Self::None(_) => 0,
            Self::Landlock { abi, .. } => *abi,
        }
    }

    /// Whether the kernel enforces all promised restrictions.
    fn is_complete(&self) -> bool {
        matches!(self, Self::Landlock { unsupported: lacking, .. } if lacking.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the symbolic links of a file system with releases, and of a configuration as Kubernetes mounts it.
    fn link(path: &Path) -> Option<PathBuf> {
        let target = match path.to_str()? {
            "/srv/current" => "releases/42",
            "/srv/html" => "app/current/public",
            "/srv/app/current" => "../releases/42",
            "/top" => "/data",
            "/etc/docroot/..data" => "..2026",
            "/etc/docroot/users" => "..data/users",
            "/etc/docroot/types" => "/usr/share/types",
            "/var/log/access.log" => "docroot/access.log",
            "/dev/stdout" => "/proc/self/fd/1",
            _ => return None,
        };
        Some(target.into())
    }

    fn check(requirements: &Requirements, expected: &[(&str, SandboxAccess)]) {
        let rules = rules_for(requirements, link);
        let rules = rules
            .iter()
            .map(|rule| (rule.path.to_str().unwrap(), rule.access));
        let rules: Vec<_> = rules.collect();
        assert_eq!(rules[0], (MOUNTINFO, SandboxAccess::ReadFiles));
        assert_eq!(&rules[1..], expected, "{requirements:?}");
    }

    fn check_directory(directory: &str, readable: &str) {
        let requirements = Requirements {
            directories: vec![directory.into()],
            ..Requirements::default()
        };
        check(&requirements, &[(readable, SandboxAccess::Read)]);
    }

    #[test]
    fn plain_directory_is_readable() {
        check_directory("/srv/www", "/srv/www");
        check_directory("/srv/www/../releases", "/srv/releases");
    }

    #[test]
    fn directory_of_releases_is_readable() {
        check_directory("/srv/current", "/srv/releases");
        check_directory("/srv/current/public", "/srv/releases");
        check_directory("/srv/html", "/srv/releases");
    }

    #[test]
    fn symlink_never_makes_everything_readable() {
        check_directory("/top", "/data");
        check_directory("/srv/current/../../www", "/srv/www");
    }

    #[test]
    fn directories_of_reloaded_files_are_readable() {
        let requirements = |files: &[&str]| Requirements {
            directories: vec!["/srv/www".into()],
            files: files.iter().map(Into::into).collect(),
            ..Requirements::default()
        };
        let www = ("/srv/www", SandboxAccess::Read);
        let check = |files: &[&str], expected: &[&str]| {
            let expected = expected
                .iter()
                .map(|path| (*path, SandboxAccess::ReadFiles));
            let expected: Vec<_> = [www].into_iter().chain(expected).collect();
            check(&requirements(files), &expected);
        };
        check(&["/etc/docroot/new"], &["/etc/docroot"]);
        check(&["/etc/docroot/users"], &["/etc/docroot"]);
        check(
            &["/etc/docroot/types", "/etc/docroot/users"],
            &["/etc/docroot", "/usr/share"],
        );
        check(&["/srv/www/_headers"], &[]);
        check(&["/users"], &["/users"]);
    }

    #[test]
    fn log_directory_is_writable() {
        let requirements = Requirements {
            directories: vec!["/srv/www".into()],
            logs: vec!["/var/log/access.log".into()],
            ..Requirements::default()
        };
        let expected = [
            ("/srv/www", SandboxAccess::Read),
            ("/var/log", SandboxAccess::Append),
        ];
        check(&requirements, &expected);
    }

    #[test]
    fn only_the_pipe_is_readable_and_only_the_device_writable() {
        let requirements = Requirements {
            directories: vec!["/srv/www".into()],
            pipes: vec!["/var/log/access.log".into()],
            devices: vec!["/dev/stdout".into()],
            ..Requirements::default()
        };
        let expected = [
            ("/srv/www", SandboxAccess::Read),
            ("/var/log/docroot/access.log", SandboxAccess::ReadFiles),
            ("/proc/self/fd/1", SandboxAccess::Write),
        ];
        check(&requirements, &expected);
    }

    #[test]
    fn socket_directory_allows_removal() {
        let requirements = Requirements {
            directories: vec!["/srv/www".into()],
            sockets: vec!["/etc/docroot/socket".into(), "/socket".into()],
            ..Requirements::default()
        };
        let expected = [
            ("/srv/www", SandboxAccess::Read),
            ("/etc/docroot", SandboxAccess::Remove),
        ];
        check(&requirements, &expected);
    }

    #[test]
    fn parent_of_replaced_directory_is_readable() {
        let requirements = Requirements {
            directories: vec!["/srv/www".into()],
            directories_are_replaced: true,
            ..Requirements::default()
        };
        check(&requirements, &[("/srv", SandboxAccess::Read)]);
    }

    #[test]
    fn read_everywhere_makes_everything_readable() {
        let requirements = Requirements {
            directories: vec!["/srv/www".into()],
            read_everywhere: true,
            files: vec!["/etc/docroot/users".into()],
            ..Requirements::default()
        };
        check(&requirements, &[("/", SandboxAccess::Read)]);
    }

    #[test]
    fn confinement_follows_from_status() {
        let available = |abi: ABI, anywhere| {
            let status = LandlockStatus::Available {
                effective_abi: abi,
                kernel_abi: None,
            };
            confinement_of(&status, anywhere)
        };
        for (confinement, word, abi, unsupported_count) in [
            (Confinement::Off, "off", 0, 0),
            (Confinement::None("it is too old".into()), "none", 0, 0),
            (available(ABI::V1, false), "partial", 1, 2),
            (available(ABI::V3, false), "partial", 3, 1),
            (available(ABI::V4, false), "full", 4, 0),
            (available(ABI::V9, false), "full", 9, 0),
            (available(ABI::V7, true), "partial", 7, 0),
        ] {
            assert_eq!((confinement.name(), confinement.abi()), (word, abi));
            if let Confinement::Landlock { unsupported, .. } = confinement {
                assert_eq!(unsupported.len(), unsupported_count, "{abi}");
            }
        }
        for status in [LandlockStatus::NotImplemented, LandlockStatus::NotEnabled] {
            let confinement = confinement_of(&status, false);
            assert!(matches!(confinement, Confinement::None(why) if !why.contains('\n')));
        }
    }
}
