//! Options for working on a site.

use clap::Args;

/// The option `--live-reload`.
#[derive(Debug, Args)]
pub(super) struct LiveOptions {
    /// Reload pages in the browser when files change: adds a script to every page
    #[arg(help_heading = super::group::LIVE)]
    #[arg(short = 'L', long, env = "DOCROOT_LIVE_RELOAD")]
    live_reload: bool,
}

/// The options `--open` and `--qr`.
#[derive(Debug, Args)]
pub(super) struct UrlDisplayOptions {
    /// Open the site in the browser: $BROWSER, else xdg-open
    #[arg(help_heading = super::group::LIVE)]
    #[arg(short, long, env = "DOCROOT_OPEN")]
    open: bool,

    /// Print the site's URL as a QR code for a phone
    #[arg(help_heading = super::group::LIVE, hide_short_help = true)]
    #[arg(long, env = "DOCROOT_QR")]
    qr: bool,
}

/// The options `--open` and `--qr`, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UrlDisplay {
    /// Program that opens the URL, with its arguments before the URL.
    pub(crate) browser: Option<Vec<String>>,
    /// Whether the URL is printed as a QR code.
    pub(crate) qr: bool,
}

impl LiveOptions {
    /// Returns whether live reload is on.
    pub(super) fn resolve(self) -> bool {
        self.live_reload
    }
}

impl UrlDisplayOptions {
    pub(super) fn resolve(self) -> UrlDisplay {
        let browser = || browser_command(&std::env::var("BROWSER").unwrap_or_default());
        UrlDisplay {
            browser: self.open.then(browser),
            qr: self.qr,
        }
    }
}

/// Returns the command that opens a URL, from $BROWSER: the first of the commands between colons, without `%s`, as the
/// URL becomes the last argument.
fn browser_command(browser: &str) -> Vec<String> {
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
    fn browser_variable_is_a_command() {
        for (browser, expected) in [
            ("", &["xdg-open"][..]),
            (" ", &["xdg-open"]),
            ("firefox", &["firefox"]),
            ("firefox --new-window %s:w3m", &["firefox", "--new-window"]),
        ] {
            assert_eq!(browser_command(browser), expected, "{browser}");
        }
    }
}
