//! Options for work on a site.

use clap::Args;
use clap::builder::BoolishValueParser;
use docroot::site::LiveReload;

/// What pages do while somebody works on them.
#[derive(Debug, Args)]
pub(super) struct LiveOptions {
    /// Reload pages when the site changes: a script is put into each page that is sent
    #[arg(short = 'L', long, env = "DOCROOT_LIVE_RELOAD", value_parser = BoolishValueParser::new())]
    live_reload: bool,
}

/// Where the site is shown.
#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// Open the site in the browser: $BROWSER, or what xdg-open finds
    #[arg(short, long, env = "DOCROOT_OPEN", value_parser = BoolishValueParser::new())]
    open: bool,

    /// Show the address as a QR code, for a phone
    #[arg(long, env = "DOCROOT_QR", value_parser = BoolishValueParser::new())]
    qr: bool,
}

/// Where the site is to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Show {
    /// The program that opens an address, and its arguments before that.
    pub(crate) browser: Option<Vec<String>>,
    /// Whether the address is shown as a QR code.
    pub(crate) qr: bool,
}

impl LiveOptions {
    /// What tells pages of changes, for addresses with this in front.
    pub(super) fn resolve(self, prefix: &str) -> Option<LiveReload> {
        self.live_reload.then(|| LiveReload::new(prefix))
    }
}

impl ShowOptions {
    pub(super) fn resolve(self) -> Show {
        let browser = || command(&std::env::var("BROWSER").unwrap_or_default());
        Show {
            browser: self.open.then(browser),
            qr: self.qr,
        }
    }
}

/// What opens an address, as $BROWSER says: commands between colons, of which we take the first, and in them `%s` for
/// the address, which we put behind them.
fn command(browser: &str) -> Vec<String> {
    let first = browser.split(':').next().unwrap_or_default();
    let words = first.split_whitespace().filter(|word| *word != "%s");
    let words: Vec<String> = words.map(str::to_owned).collect();
    match words.is_empty() {
        true => vec!["xdg-open".into()],
        false => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_is_a_command() {
        for (browser, expected) in [
            ("", &["xdg-open"][..]),
            (" ", &["xdg-open"]),
            ("firefox", &["firefox"]),
            ("firefox --new-window %s:w3m", &["firefox", "--new-window"]),
        ] {
            assert_eq!(command(browser), expected, "{browser}");
        }
    }
}
