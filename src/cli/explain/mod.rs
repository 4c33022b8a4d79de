//! `docroot explain`: the response that a request would get, and why.
//!
//! The request goes through the same HTTP/1.1 session as any other, but without a socket. The printed head is the one
//! that the session queued. The site records its probes and decisions in a trace, and all reasons are read from that
//! trace: nothing is decided here.

mod codings;
mod reasons;
mod report;
mod session;

use std::io::{self, Write as _};
use std::path::Path;

use docroot::http::TerminalText;
use docroot::http1::parse::{self, FieldLines, Parsed};
use docroot::server;
use docroot::site::{Live, LiveReload, LoadedPolicy, Site, Trace};

use self::reasons::{Explainer, RulesFileNames};
use self::session::{RecordedLookup, RecordingOrigin, request_head, run_session};
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
    let request = request_head(explain_request);
    let recorded = RecordedLookup::default();
    let options = &config.server;
    let live = options
        .live_reload
        .then(|| LiveReload::new(&options.site.prefix));
    let origin = RecordingOrigin {
        site: Live::new(site, live),
        recorded: recorded.clone(),
    };
    let output = run_session(config, origin, &request)?;
    let recorded = recorded.borrow_mut().take();
    let rules_files = RulesFileNames {
        headers: policy.headers.as_deref().map(file_name),
        redirects: policy.redirects.as_deref().map(file_name),
    };

    let mut lines = FieldLines::new();
    let parsed = parse::request(&request, config.server.http1.max_head_bytes, &mut lines);
    let request = match &parsed {
        Ok(Parsed::Complete { request, .. }) => Some(request),
        _ => None,
    };
    let explainer = Explainer {
        request,
        lookup: recorded.as_ref(),
        events: trace.events(),
        rules_files,
    };
    let explanation = explainer.explain(&output);
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
