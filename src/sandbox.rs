//! What this process may still do once it serves, held to by the kernel.
//!
//! Landlock (landlock(7)) takes rights away from a thread and from all that it starts later, and never gives them
//! back. So everything is bound first, then this is called, and only then the first thread is started: one set of
//! rules holds for all of them, and needs no exception for the ports. What is left is to read what is served and
//! what is read again, to append to logs, and to talk to those who come. Nothing can be executed, changed, removed,
//! connected to or bound any more, and no privilege be gained by execve(2) (no_new_privs).
//!
//! It does not hide names, sizes and dates (stat(2) is not restricted), nor what is open already, and UDP is not
//! restricted.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::thread::set_no_new_privs;
use tracing::debug;

use crate::walk::{self, Walk, walk};

/// The newest version that this was tried with. What it adds to an older one is taken where it is to be had.
const TRIED: ABI = ABI::V7;

/// What a kernel cannot forbid whose Landlock is older than this version.
const SINCE: [(u32, &str); 2] = [
    (3, "to cut files off"),
    (4, "to bind and to connect over TCP"),
];

/// Which list of mounts tells the watch over files that something was mounted. Once it is open, opening it again
/// finds the same file.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Whether to confine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As far as the kernel can.
    #[default]
    Auto,
    /// Or not serve at all.
    On,
    /// Not at all.
    Off,
}

/// What must still be possible, by the names that were given. All paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Folders that are served from.
    pub folders: Vec<PathBuf>,
    /// Whether others may come in their place, of the same name.
    pub replaced: bool,
    /// Whether links in them may lead anywhere.
    pub anywhere: bool,
    /// Files that are read again, and may have been replaced by then.
    pub files: Vec<PathBuf>,
    /// Files that are appended to, and created anew.
    pub logs: Vec<PathBuf>,
    /// Named pipes among these, which are opened as a reader does, too: so they need not have one.
    pub pipes: Vec<PathBuf>,
    /// Devices, and names of what is open already, that are written to and never made.
    pub devices: Vec<PathBuf>,
    /// Unix sockets that are removed at the end.
    pub sockets: Vec<PathBuf>,
}

/// What may be done with a file, or below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The file or folder, without symbolic links.
    pub path: PathBuf,
    /// What may be done there.
    pub access: Access,
}

/// What may be done. Each holds for all that is below a folder, as Landlock knows no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files, and list folders.
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

/// How much of it the kernel enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing, as was asked for.
    Off,
    /// Nothing but that no privileges are gained, and why.
    None(String),
    /// What Landlock can.
    Landlock {
        /// Its version, from 1.
        abi: u32,
        /// What it would be to forbid, and this version cannot.
        lacking: Vec<&'static str>,
        /// Whether everything may be read, as was asked for.
        anywhere: bool,
    },
}

/// Why there is no confinement where it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Unconfined(Confinement);

/// Confines the calling thread, and all that are started from it. Other threads go on as they are.
///
/// # Errors
/// With [`Mode::On`], if not all of it is enforced.
pub fn confine(mode: Mode, needs: &Needs) -> Result<Confinement, Unconfined> {
    if mode == Mode::Off {
        return Ok(Confinement::Off);
    }
    let rules = allowed(needs, walk::link);
    let confinement = match restrict(&rules) {
        Ok(status) => judge(&status.landlock, needs.anywhere),
        Err(error) => {
            let why = match set_no_new_privs(true) {
                Ok(()) => error.to_string(),
                Err(privileges) => format!("{error}; no_new_privs: {privileges}"),
            };
            Confinement::None(why)
        }
    };
    match mode == Mode::On && !confinement.is_whole() {
        true => Err(Unconfined(confinement)),
        false => Ok(confinement),
    }
}

/// What [`confine`] would come to, tried by a thread that ends with that.
///
/// # Errors
/// As [`confine`].
pub fn tried(mode: Mode, needs: &Needs) -> Result<Confinement, Unconfined> {
    let tried = std::thread::scope(|scope| scope.spawn(|| confine(mode, needs)).join());
    tried.unwrap_or_else(|_| {
        let why = "the thread that tried it has panicked".into();
        Err(Unconfined(Confinement::None(why)))
    })
}

/// The least that these needs come to, whether it is there or not. `link` says what a symbolic link says; `None` is
/// no link.
pub fn allowed(needs: &Needs, link: impl Fn(&Path) -> Option<PathBuf>) -> Vec<Rule> {
    let led = |path: &Path| walk(path, &link);
    let real = |path: &Path| led(path).end;
    let mut rules = Vec::new();
    let mut allow = |path: PathBuf, access| {
        let has = |rule: &Rule| {
            let is_wider = rule.access == Access::Read && access == Access::ReadFiles;
            (rule.access == access || is_wider) && path.starts_with(&rule.path)
        };
        if !rules.iter().any(has) {
            rules.push(Rule { path, access });
        }
    };
    allow(MOUNTS.into(), Access::ReadFiles);
    if needs.anywhere {
        allow("/".into(), Access::Read);
    }
    for folder in &needs.folders {
        let way = led(folder);
        let beside = above(&way.end).filter(|beside| needs.replaced && !is_all(beside));
        for folder in beside.into_iter().chain([reach(way)]) {
            allow(folder, Access::Read);
        }
    }
    let files = needs.files.iter().map(|file| (file, Access::ReadFiles));
    let logs = needs.logs.iter().map(|file| (file, Access::Append));
    for (file, access) in files.chain(logs) {
        // Where the name is, and, if that is a link, where the file is. A new one may come in either place.
        let folders = [file.parent().map(real), above(&real(file))];
        for folder in folders.into_iter().flatten() {
            match is_all(&folder) {
                false => allow(folder, access),
                true => allow(real(file), access),
            }
        }
    }
    for pipe in &needs.pipes {
        allow(real(pipe), Access::ReadFiles);
    }
    for device in &needs.devices {
        allow(real(device), Access::Write);
    }
    for socket in &needs.sockets {
        let folder = socket.parent().map(real);
        // That what is left over may be replaced by the next one is worth less than all there is.
        if let Some(folder) = folder.filter(|folder| !is_all(folder)) {
            allow(folder, Access::Remove);
        }
    }
    rules
}

/// The folder below which to read for a folder that is served: itself. If its name leads through symbolic links, one
/// may be switched, from one release to the next; so it is the folder that has what the last link on the way leads
/// to, unless that has all there is.
fn reach(way: Walk) -> PathBuf {
    let beside = way.last_goal().as_deref().and_then(above);
    let beside = beside.filter(|beside| way.end.starts_with(beside) && !is_all(beside));
    beside.unwrap_or(way.end)
}

fn above(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}

/// Whether everything is below this folder.
fn is_all(folder: &Path) -> bool {
    folder.parent().is_none()
}

fn restrict(rules: &[Rule]) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()?;
    for Rule { path, access } in rules {
        match PathFd::new(path) {
            Ok(place) => ruleset = ruleset.add_rule(PathBeneath::new(place, access.rights()))?,
            // What cannot be reached now cannot be read either, and whoever reads it says so.
            Err(error) => debug!("the sandbox has no rule for {}: {error}", path.display()),
        }
    }
    ruleset.restrict_self()
}

fn judge(status: &LandlockStatus, anywhere: bool) -> Confinement {
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
        lacking: lacking(abi),
        anywhere,
    }
}

/// What a version of Landlock cannot forbid of what is promised. (Signals to other processes and abstract Unix
/// sockets are forbidden as well, from version 6 on, and not promised.)
fn lacking(abi: u32) -> Vec<&'static str> {
    let lacking = SINCE.iter().filter(|(since, _)| abi < *since);
    lacking.map(|(_, what)| *what).collect()
}

impl Access {
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
    /// In one word, for programs: `full`, `partial`, `none` or `off`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::None(_) => "none",
            Self::Landlock {
                anywhere: false, ..
            } if self.is_whole() => "full",
            Self::Landlock { .. } => "partial",
        }
    }

    /// The version of Landlock that enforces it; 0 if nothing is.
    #[must_use]
    pub fn abi(&self) -> u32 {
        match self {
            Self::Off | Self::None(_) => 0,
            Self::Landlock { abi, .. } => *abi,
        }
    }

    /// Whether the kernel enforces all that it was asked to.
    fn is_whole(&self) -> bool {
        matches!(self, Self::Landlock { lacking, .. } if lacking.is_empty())
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "not confined (--sandbox off)"),
            Self::None(why) => write!(f, "not confined: {why}"),
            Self::Landlock {
                abi,
                lacking,
                anywhere,
            } => {
                let degree = if lacking.is_empty() { "" } else { "partly " };
                write!(f, "{degree}confined by Landlock {abi}")?;
                if *anywhere {
                    write!(f, ", but may read everything (--symlinks follow)")?;
                }
                if !lacking.is_empty() {
                    write!(f, ", which cannot forbid {}", lacking.join(", nor "))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(confinement) = self;
        write!(
            f,
            "--sandbox on: {confinement}; all of it needs Linux 6.7, --sandbox auto takes what there is"
        )
    }
}

impl std::error::Error for Unconfined {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The links of a file system with releases, and a configuration whose files are links as Kubernetes has them.
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

    fn check(needs: &Needs, expected: &[(&str, Access)]) {
        let rules = allowed(needs, link);
        let rules = rules
            .iter()
            .map(|rule| (rule.path.to_str().unwrap(), rule.access));
        let rules: Vec<_> = rules.collect();
        assert_eq!(rules[0], (MOUNTS, Access::ReadFiles));
        assert_eq!(&rules[1..], expected, "{needs:?}");
    }

    fn check_folder(named: &str, reached: &str) {
        let needs = Needs {
            folders: vec![named.into()],
            ..Needs::default()
        };
        check(&needs, &[(reached, Access::Read)]);
    }

    #[test]
    fn a_plain_folder_is_all_that_is_read() {
        check_folder("/srv/www", "/srv/www");
        check_folder("/srv/www/../releases", "/srv/releases");
    }

    #[test]
    fn beside_a_release_is_the_next() {
        check_folder("/srv/current", "/srv/releases");
        check_folder("/srv/current/public", "/srv/releases");
        check_folder("/srv/html", "/srv/releases");
    }

    #[test]
    fn no_link_has_everything_read() {
        check_folder("/top", "/data");
        check_folder("/srv/current/../../www", "/srv/www");
    }

    #[test]
    fn files_are_read_from_where_a_new_one_may_come() {
        let needs = |files: &[&str]| Needs {
            folders: vec!["/srv/www".into()],
            files: files.iter().map(Into::into).collect(),
            ..Needs::default()
        };
        let www = ("/srv/www", Access::Read);
        let check = |files: &[&str], expected: &[&str]| {
            let expected = expected.iter().map(|path| (*path, Access::ReadFiles));
            let expected: Vec<_> = [www].into_iter().chain(expected).collect();
            check(&needs(files), &expected);
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
    fn logs_are_written_where_they_are() {
        let needs = Needs {
            folders: vec!["/srv/www".into()],
            logs: vec!["/var/log/access.log".into()],
            ..Needs::default()
        };
        let expected = [("/srv/www", Access::Read), ("/var/log", Access::Append)];
        check(&needs, &expected);
    }

    #[test]
    fn beside_a_pipe_nothing_is_read_and_beside_a_device_nothing_written() {
        let needs = Needs {
            folders: vec!["/srv/www".into()],
            pipes: vec!["/var/log/access.log".into()],
            devices: vec!["/dev/stdout".into()],
            ..Needs::default()
        };
        let expected = [
            ("/srv/www", Access::Read),
            ("/var/log/docroot/access.log", Access::ReadFiles),
            ("/proc/self/fd/1", Access::Write),
        ];
        check(&needs, &expected);
    }

    #[test]
    fn sockets_are_removed_where_they_are() {
        let needs = Needs {
            folders: vec!["/srv/www".into()],
            sockets: vec!["/etc/docroot/socket".into(), "/socket".into()],
            ..Needs::default()
        };
        let expected = [("/srv/www", Access::Read), ("/etc/docroot", Access::Remove)];
        check(&needs, &expected);
    }

    #[test]
    fn a_folder_that_is_replaced_is_read_beside_itself() {
        let needs = Needs {
            folders: vec!["/srv/www".into()],
            replaced: true,
            ..Needs::default()
        };
        check(&needs, &[("/srv", Access::Read)]);
    }

    #[test]
    fn links_that_lead_anywhere_are_followed_anywhere() {
        let needs = Needs {
            folders: vec!["/srv/www".into()],
            anywhere: true,
            files: vec!["/etc/docroot/users".into()],
            ..Needs::default()
        };
        check(&needs, &[("/", Access::Read)]);
    }

    #[test]
    fn what_is_enforced_is_said() {
        let judge = |abi: ABI, anywhere| {
            let status = LandlockStatus::Available {
                effective_abi: abi,
                kernel_abi: None,
            };
            judge(&status, anywhere)
        };
        for (confinement, word, abi, said) in [
            (Confinement::Off, "off", 0, "not confined (--sandbox off)"),
            (
                Confinement::None("it is too old".into()),
                "none",
                0,
                "not confined: it is too old",
            ),
            (
                judge(ABI::V1, false),
                "partial",
                1,
                "partly confined by Landlock 1, which cannot forbid to cut files off, \
                 nor to bind and to connect over TCP",
            ),
            (
                judge(ABI::V3, false),
                "partial",
                3,
                "partly confined by Landlock 3, which cannot forbid to bind and to connect over TCP",
            ),
            (judge(ABI::V4, false), "full", 4, "confined by Landlock 4"),
            (judge(ABI::V9, false), "full", 9, "confined by Landlock 9"),
            (
                judge(ABI::V7, true),
                "partial",
                7,
                "confined by Landlock 7, but may read everything (--symlinks follow)",
            ),
        ] {
            assert_eq!(confinement.to_string(), said);
            assert_eq!((confinement.word(), confinement.abi()), (word, abi));
        }
        let none = super::judge(&LandlockStatus::NotImplemented, false);
        assert!(none.to_string().contains("has no Landlock"), "{none}");
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_had_is_refused_in_one_line() {
        let none = Unconfined(judge(&LandlockStatus::NotEnabled, false)).to_string();
        assert!(
            none.contains("--sandbox auto") && !none.contains('\n'),
            "{none}"
        );
    }
}
