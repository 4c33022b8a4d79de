//! Options of the access log.

use std::io::IsTerminal as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::builder::ValueHint;
use clap::{Args, ValueEnum};
use docroot::server::sandbox::Requirements;
use docroot::service::LogFormat;

use super::environment::Variables;
use crate::cli::log_sink::is_open_descriptor;

/// Options of the access log.
#[derive(Debug, Args)]
pub(super) struct LogOptions {
    /// Write the access log in this format [default: pretty on a terminal, json otherwise]
    #[arg(
        long,
        value_name = "FORMAT",
        env = "DOCROOT_LOG_FORMAT",
        ignore_case = true
    )]
    #[arg(help_heading = super::group::LOGGING, hide_short_help = true)]
    log_format: Option<LogFormatValue>,

    /// Append the access log to this file, which SIGUSR1 reopens [default: standard output]
    #[arg(long, value_name = "FILE", env = "DOCROOT_LOG_FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = super::group::LOGGING, hide_short_help = true)]
    log_file: Option<PathBuf>,
}

/// Values of `--log-format`. They have no doc comments, which `--help` would print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormatValue {
    // Columns, for people.
    Pretty,
    // Combined log format of NCSA httpd, for goaccess, awstats and others.
    Combined,
    // One JSON object for each request.
    Json,
    // No access log.
    None,
}

/// Format and destination of the access log.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogConfig {
    pub(crate) format: LogFormat,
    /// Path of the log file; `None` is standard output.
    pub(crate) file: Option<PathBuf>,
    /// Option or variable that names the file, with its value.
    pub(crate) argument: String,
    /// Whether the lines are written to a terminal.
    pub(crate) is_terminal: bool,
}

impl LogOptions {
    /// Returns the access log; `None` if it is off.
    ///
    /// # Errors
    /// One sentence: the argument, and what to do.
    pub(super) fn resolve(
        self,
        is_quiet: bool,
        variables: &Variables,
    ) -> Result<Option<AccessLogConfig>, String> {
        let why = match self.log_format {
            Some(LogFormatValue::None) => Some(variables.with_value("--log-format", "none")),
            _ if is_quiet => Some(variables.name("--quiet").to_owned()),
            _ => None,
        };
        let file = self.log_file.as_deref().unwrap_or(Path::new(""));
        let argument = variables.with_value("--log-file", file.display());
        match (why, self.log_file) {
            (Some(why), Some(_)) => Err(format!(
                "{argument} has no effect with {why}, which turns the access log off; leave one of the two out"
            )),
            (Some(_), None) => Ok(None),
            (None, file) => {
                let is_terminal = file.is_none() && std::io::stdout().is_terminal();
                let format = match self.log_format {
                    Some(LogFormatValue::Combined) => LogFormat::Combined,
                    Some(LogFormatValue::Json) => LogFormat::Json,
                    None if !is_terminal => LogFormat::Json,
                    _ => LogFormat::Pretty {
                        is_coloured: is_terminal && has_colours(),
                    },
                };
                Ok(Some(AccessLogConfig {
                    format,
                    file,
                    argument,
                    is_terminal,
                }))
            }
        }
    }
}

/// Adds the rights to open this log file, and to reopen it. A regular file may be renamed and created again, but not a
/// device or the path of an open descriptor.
pub(super) fn add_requirements(file: PathBuf, requirements: &mut Requirements) {
    let kind = std::fs::metadata(&file).map(|metadata| metadata.file_type());
    let is_pipe = kind.as_ref().is_ok_and(FileTypeExt::is_fifo);
    let is_device = kind.is_ok_and(|kind| !kind.is_file() && !is_pipe);
    if is_device || is_open_descriptor(&file) {
        requirements.devices.push(file);
        return;
    }
    if is_pipe {
        requirements.pipes.push(file.clone());
    }
    requirements.logs.push(file);
}

/// Whether output on a terminal may have colours: not with NO_COLOR (no-color.org), nor with TERM=dumb (terminfo(5)).
pub(crate) fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_set("NO_COLOR") && !is_dumb
}
