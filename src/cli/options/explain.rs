//! The arguments of `docroot explain`, and the request that they describe.

use std::ffi::OsString;

use clap::Args;

use super::config::Config;
use super::root::RootArguments;
use super::site::SiteArguments;
use super::values;

/// Text after the options in `docroot explain --help`.
pub(super) const AFTER_EXPLAIN_HELP: &str = "\
-H is a field of the request here; --header, written out, is a field of every response, as for a server. The options \
of the site are read from the environment, too (DOCROOT_SPA and others).";

/// Arguments of `docroot explain`. `-H` is a field of the request; `--header` is a field of every response.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// Explain a request for this target: a path, with a query if there is one
    #[arg(value_name = "PATH")]
    path: OsString,

    #[command(flatten)]
    root_dir: RootArguments,

    /// Add this field to the request: 'Accept-Encoding: br'; repeatable
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = values::request_field)]
    request_header: Vec<String>,

    /// Use this request method
    #[arg(short = 'X', long, value_name = "NAME", default_value = "GET", value_parser = values::method)]
    method: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) site: SiteArguments,
}

/// Request to explain.
#[derive(Debug)]
pub(crate) struct ExplainRequest {
    pub(crate) method: String,
    /// Request target as it is sent.
    pub(crate) target: String,
    /// Field lines of the request.
    pub(crate) fields: Vec<String>,
    /// Whether the explanation is printed as JSON.
    pub(crate) json: bool,
}

impl ExplainArguments {
    /// Returns the options with defaults from the environment and the current directory, as for a server; and the
    /// request.
    ///
    /// # Errors
    /// One sentence: the argument, and what to do.
    pub(crate) fn resolve(self) -> Result<(Config, ExplainRequest), String> {
        let request = ExplainRequest {
            method: self.method,
            target: values::target(self.path.as_encoded_bytes()),
            fields: self.request_header,
            json: self.json,
        };
        let config = self.site.resolve(self.root_dir.resolve()?)?;
        Ok((config, request))
    }
}
