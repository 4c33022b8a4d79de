//! Why a target has no resource, and the sentence for each reason.

use crate::site::names::hidden::is_hidden;
use crate::site::options::SiteOptions;
use crate::site::rules::policy::Policy;

/// Reason for which a target has no resource, unless there simply is no such file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The path is outside of the path prefix.
    OutsidePrefix,
    /// A name in the path begins with a dot.
    Dotfile,
    /// Rules are read from the file.
    RulesFile,
    /// The directory has no index file, and directories are not listed.
    NoIndex,
    /// A symbolic link leads to a place that is not allowed.
    OutsideRoot,
    /// docroot has no permission to read the file.
    Unreadable,
    /// The limit of open files is reached.
    TooManyFiles,
}

impl Absence {
    /// Returns the reason in one sentence, for the access log and for `docroot explain`. It is not sent to clients.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OutsidePrefix => "The path does not begin with --path-prefix.",
            Self::Dotfile => "A name in the path begins with a dot; --hidden serves such files.",
            Self::RulesFile => {
                "The file holds path rules (_headers, _redirects), and is not served."
            }
            Self::NoIndex => {
                "The directory has no index file; --listing lists it, --index names another index file."
            }
            Self::OutsideRoot => "A symbolic link leads outside the root.",
            Self::Unreadable => "docroot has no permission to read the file.",
            Self::TooManyFiles => "The limit of open files is reached.",
        }
    }
}

/// Returns the reason for which a path below the root is not served, whether or not it exists; `None` if it is served.
pub(crate) fn hidden_reason(
    path: &[u8],
    options: &SiteOptions,
    policy: &Policy,
) -> Option<Absence> {
    if !options.shows_hidden && is_hidden(path) {
        Some(Absence::Dotfile)
    } else if policy.is_rules_file(path) {
        Some(Absence::RulesFile)
    } else {
        None
    }
}
