//! The resolved options of a server or a command.

use std::time::Duration;

use docroot::server;
use docroot::server::sandbox::{Requirements, SandboxMode};
use docroot::site::PolicySources;

use super::live::UrlDisplay;
use super::log::AccessLogConfig;
use super::users::UserSources;

/// Options, with defaults from the environment and this machine filled in.
#[derive(Debug)]
pub(crate) struct Config {
    /// Options of the server. The root is an absolute path.
    pub(crate) server: server::ServerOptions,
    /// Sources of the path rules and media types, loaded again on SIGHUP.
    pub(crate) sources: PolicySources,
    /// Pages that must exist, each with the argument or the variable that names it, for messages.
    pub(crate) required: Vec<(String, String)>,
    /// Sources of the users, read again on SIGHUP.
    pub(crate) auth: UserSources,
    /// Time after the signal to stop for which connections are still accepted.
    pub(crate) drain_delay: Duration,
    /// Value of `--sandbox`.
    pub(crate) sandbox: SandboxMode,
    /// Files that the sandbox must leave accessible.
    pub(crate) requirements: Requirements,
    /// Access log; `None` is off.
    pub(crate) log: Option<AccessLogConfig>,
    /// Values of `--open` and `--qr`.
    pub(crate) url_display: UrlDisplay,
}
