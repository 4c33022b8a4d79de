//! `docroot explain`: the response that a request would get, and why.
//!
//! The request goes through the same service as any other, and the response through the same writer, but without a
//! socket. The response says what it is and why, and the site records its probes and decisions in a trace: all reasons
//! are read from these two, and nothing is decided here.

mod cache_reason;
mod codings;
mod exchange;
mod reasons;
mod report;

use std::io::{self, Write as _};
use std::path::Path;

use docroot::escape::TerminalText;
use docroot::server;
use docroot::site::{Live, LiveReload, LoadedPolicy, Site, Trace};

use self::exchange::Exchange;
use self::reasons::{Explainer, RulesFileNames};
use crate::cli::exit_codes::Failure;
use crate::cli::options::{self, Config, ExplainArguments, ExplainRequest};
use crate::cli::output::print;
use crate::cli::site::open_site_for_report;

/// Prints the explanation of a response.
pub(crate) fn run(arguments: ExplainArguments) -> Result<(), Failure> {
    let (config, request) = arguments.resolve().map_err(Failure::bad_arguments)?;
    let trace = Trace::default();
    let root = server::open_root(&config.server)?;
    let (site, loaded) = open_site_for_report(root, &config, Some(trace.clone()))?;
    for warning in options::unknown_variables().iter().chain(&loaded.warnings) {
        // As in the log of a server.
        let _ = writeln!(io::stderr(), "docroot: {warning}");
    }
    let explanation = explain(&config, site, &loaded, &trace, &request)?;
    Ok(print(&explanation)?)
}

/// Returns the explanation of a response, as text or JSON: its outcome, the reasons for it, and its head.
///
/// # Errors
/// The system has no descriptor or no thread for verifying passwords.
fn explain(
    config: &Config,
    site: Site,
    policy: &LoadedPolicy,
    trace: &Trace,
    explain_request: &ExplainRequest,
) -> io::Result<String> {
    let options = &config.server;
    let live = options
        .live_reload
        .then(|| LiveReload::new(&options.site.prefix));
    let exchange = Exchange::run(config, Live::new(site, live), explain_request)?;
    let rules_files = RulesFileNames {
        headers: policy.headers.as_deref().map(file_name),
        redirects: policy.redirects.as_deref().map(file_name),
    };
    let events = trace.events();
    let explainer = Explainer {
        exchange,
        events,
        rules_files,
    };
    let explanation = explainer.explain();
    Ok(match explain_request.json {
        true => explanation.to_json(explain_request),
        false => explanation.to_text(explain_request),
    })
}

/// Returns the name of a file without its directory.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    TerminalText(name.as_encoded_bytes()).to_string()
}
