//! The site of a command, opened with its path rules in force.

use docroot::files::Root;
use docroot::http::Origin as _;
use docroot::server;
use docroot::site::{LoadedPolicy, SidecarProofs, Site, Trace};

use super::exit_codes::Failure;
use super::options::Config;

/// Opens the site that is served. The pages that options name must exist.
pub(crate) fn open_site(root: Root, config: &Config) -> Result<(Site, LoadedPolicy), Failure> {
    let site = server::open_site(root, &config.server, &config.sources, None, None)?;
    with_policy(site, config)
}

/// Opens the site of a command that reports about it: each sidecar is decoded when it is found, so that the report has
/// the result.
pub(crate) fn open_site_for_report(
    root: Root,
    config: &Config,
    trace: Option<Trace>,
) -> Result<(Site, LoadedPolicy), Failure> {
    let proofs = Some(SidecarProofs::immediate());
    let site = server::open_site(root, &config.server, &config.sources, trace, proofs)?;
    with_policy(site, config)
}

/// Loads the path rules of a site, and checks the pages that options name.
fn with_policy(mut site: Site, config: &Config) -> Result<(Site, LoadedPolicy), Failure> {
    let loaded = config.sources.load();
    let loaded = loaded.map_err(|errors| Failure::bad_arguments(errors.join("\n")))?;
    site.shared().policy.replace(loaded.policy.clone());
    site.mark_stale(true);
    for (argument, page) in &config.required {
        if let Err(error) = site.check_file(page) {
            let root = config.server.root.display();
            let why = format!("{argument}: {error}; name a file below {root}");
            return Err(Failure::bad_arguments(why));
        }
    }
    Ok((site, loaded))
}
