//! Headings of `--help`, the manual page and docs/reference/options.md.

pub(super) const LISTENING: &str = "Listening";
pub(super) const SITE: &str = "Site";
pub(super) const URLS: &str = "URLs";
pub(super) const FIELDS: &str = "Response fields";
pub(super) const CACHING: &str = "Caching and compression";
pub(super) const ACCESS: &str = "Access";
pub(super) const LIVE: &str = "Development";
pub(super) const PRODUCTION: &str = "Production";
pub(super) const LOGGING: &str = "Logging";
pub(super) const LIMITS: &str = "Limits";
pub(super) const HELP: &str = "Help";
