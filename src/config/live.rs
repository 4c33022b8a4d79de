//! Options for work on a site.

use clap::Args;
use clap::builder::BoolishValueParser;
use docroot::site::Live;

/// What pages do while somebody works on them.
#[derive(Debug, Args)]
pub(super) struct LiveOptions {
    /// Reload pages when the site changes: a script is put into each page that is sent
    #[arg(short = 'L', long, env = "DOCROOT_LIVE_RELOAD", value_parser = BoolishValueParser::new())]
    live_reload: bool,
}

impl LiveOptions {
    /// What tells pages of changes, for addresses with this in front.
    pub(super) fn resolve(self, prefix: &str) -> Option<Live> {
        self.live_reload.then(|| Live::new(prefix))
    }
}
