//! Injection of the live-reload script into HTML pages.

use tracing::{debug, warn};

use crate::files::read::content_bytes;
use crate::http::{Fields, parse_parameter, split_parameters, unquoted};
use crate::site::names::media::is_html;
use crate::site::options::SiteOptions;
use crate::site::report::logged_once::LoggedOnce;
use crate::site::resolve::search::SiteFile;
use crate::site::rules::policy::media_type;
use crate::site::shared::SiteShared;

/// Maximum size of a page, in bytes.
const MAX_PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// Reason why a page is sent unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SkipReason {
    /// Content that is not HTML.
    NotHtml,
    /// Content with a content coding, or a character encoding that is not a superset of ASCII.
    Encoded,
}

/// Script that is injected into pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageScript<'a> {
    /// URL of the script.
    url: &'a str,
    logged_once: &'a LoggedOnce,
}

impl<'a> PageScript<'a> {
    /// Returns the script of the pages of a site, if they have one.
    pub(crate) fn new(options: &'a SiteOptions, shared: &'a SiteShared) -> Option<Self> {
        let url = options.page_script.as_ref()?;
        let logged_once = &shared.logged_once;
        Some(Self { url, logged_once })
    }

    /// Injects the script into an HTML file; `None` if the file is sent unchanged. `fields` are those of its response.
    pub(crate) fn inject_into_file(self, file: &SiteFile, fields: &Fields) -> Option<Vec<u8>> {
        let name = file.path.escape_ascii();
        if !is_html(media_type(fields)) {
            return None;
        }
        if file.content.len() > MAX_PAGE_BYTES {
            debug!("no live reload on /{name}: it is too large");
            return None;
        }
        match content_bytes(&file.content) {
            Ok(html) => self.inject(&html, fields, &file.path),
            Err(error) => {
                let message = format!("cannot add live reload to /{name}: {error}");
                if self.logged_once.insert(message.as_bytes()) {
                    warn!("{message}");
                }
                None
            }
        }
    }

    /// Injects the script into an HTML page of this name; `None` if the page is sent unchanged.
    pub(crate) fn inject(self, html: &[u8], fields: &Fields, name: &[u8]) -> Option<Vec<u8>> {
        let element = format!("<script src=\"{}\" defer></script>", self.url);
        match inject(html, fields, element.as_bytes()) {
            Ok(injected) => {
                self.warn_about_csp(fields, name);
                Some(injected)
            }
            Err(SkipReason::NotHtml) => None,
            Err(SkipReason::Encoded) => {
                debug!(
                    "no live reload on /{}: its content is compressed",
                    name.escape_ascii()
                );
                None
            }
        }
    }

    /// Warns once that a page's Content-Security-Policy blocks the script.
    fn warn_about_csp(self, fields: &Fields, name: &[u8]) {
        let refused = blocking_directives(fields);
        if !refused.is_empty() && self.logged_once.insert(b"Content-Security-Policy") {
            warn!(
                "no live reload on /{}: its Content-Security-Policy blocks the script; add 'self' to its {}",
                name.escape_ascii(),
                refused.join(" and "),
            );
        }
    }
}

/// Returns the page with this element at the end of its body, or at its end. `fields` are those of its response.
///
/// # Errors
/// Returns the reason why the page is sent unchanged.
fn inject(html: &[u8], fields: &Fields, element: &[u8]) -> Result<Vec<u8>, SkipReason> {
    let value = |name: &str| {
        let mut lines = fields.lines();
        lines.find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    };
    let media_type = value("Content-Type").unwrap_or_default();
    if !is_html(media_type) {
        return Err(SkipReason::NotHtml);
    }
    if value("Content-Encoding").is_some() || is_utf16_or_utf32(media_type, html) {
        return Err(SkipReason::Encoded);
    }
    let (before, after) = html
        .split_at_checked(insertion_point(html))
        .unwrap_or((html, b""));
    Ok([before, element, after].concat())
}

/// Whether a page is in UTF-16 or UTF-32, by its media type or byte order mark.
fn is_utf16_or_utf32(media_type: &str, html: &[u8]) -> bool {
    let parameters = split_parameters(media_type.as_bytes()).skip(1);
    let mut charsets = parameters
        .filter_map(parse_parameter)
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"charset"))
        .map(|(_, value)| unquoted(value).to_ascii_lowercase());
    let is_named =
        charsets.any(|charset| charset.starts_with(b"utf-16") || charset.starts_with(b"utf-32"));
    let marks: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];
    is_named || marks.iter().any(|mark| html.starts_with(mark))
}

/// Returns the offset of the body's end tag if only an `html` end tag, comments and white space follow it; otherwise
/// the end of the page, which parsers treat as part of the body. (If more follows, the tag may be text in a script.)
fn insertion_point(html: &[u8]) -> usize {
    const END: &[u8] = b"</body";
    let mut names = html.windows(END.len());
    let position = names.rposition(|tag| tag.eq_ignore_ascii_case(END));
    let is_last = |position: &usize| {
        let mut rest = html.get(*position..).and_then(|rest| after_tag(rest, END));
        while let Some(after) = rest.map(<[u8]>::trim_ascii_start) {
            if after.is_empty() {
                return true;
            }
            rest = after_tag(after, b"</html").or_else(|| after_comment(after));
        }
        false
    };
    position.filter(is_last).unwrap_or(html.len())
}

/// Returns the text after a tag that begins like this, if there is one at the front.
fn after_tag<'a>(html: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = html.split_at_checked(begin.len())?;
    let is_whole = matches!(
        rest.first()?,
        b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n' | b'\x0c'
    );
    let end = rest.iter().position(|byte| *byte == b'>')?;
    (is_whole && name.eq_ignore_ascii_case(begin)).then_some(rest.get(end + 1..)?)
}

/// Returns the text after a comment, if there is one at the front.
fn after_comment(html: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"-->";
    let rest = html.strip_prefix(b"<!--")?;
    let end = rest.windows(END.len()).position(|end| end == END)?;
    rest.get(end + END.len()..)
}

/// Returns the directives of a page's policies that block the script or its event stream (CSP Level 3).
fn blocking_directives(fields: &Fields) -> Vec<&'static str> {
    let lines = fields.lines();
    let is_policy = |name: &str| name.eq_ignore_ascii_case("Content-Security-Policy");
    let policies = lines.filter(|(name, _)| is_policy(name));
    let policies: Vec<&str> = policies.flat_map(|(_, value)| value.split(',')).collect();
    let script: [&str; 3] = ["script-src-elem", "script-src", "default-src"];
    let wanted: [(&str, &[&str]); 2] = [
        ("script-src", &script),
        ("connect-src", &["connect-src", "default-src"]),
    ];
    let refuses = |names: &[&str]| policies.iter().any(|policy| !allows_self(policy, names));
    wanted
        .into_iter()
        .filter(|(_, names)| refuses(names))
        .map(|(name, _)| name)
        .collect()
}

/// Whether a policy allows the page's own origin, by the first of these directives that it has.
fn allows_self(policy: &str, names: &[&str]) -> bool {
    let directive = |name: &&str| {
        policy.split(';').find_map(|directive| {
            let mut words = directive.split_ascii_whitespace();
            let is_directive = words.next()?.eq_ignore_ascii_case(name);
            is_directive.then_some(words)
        })
    };
    let Some(sources) = names.iter().find_map(directive) else {
        return true;
    };
    let sources: Vec<String> = sources.map(str::to_ascii_lowercase).collect();
    let has = |source: &str| sources.iter().any(|other| other == source);
    // With 'strict-dynamic', 'self' and host sources are ignored for scripts.
    let is_strict = has("'strict-dynamic'") && names.contains(&"script-src");
    !is_strict && (has("'self'") || has("*") || has("http:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: &str = "text/html; charset=utf-8";

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let with = |fields: Fields, (name, value): &(&str, &str)| fields.with(name, value);
        lines.iter().fold(Fields::new(), with)
    }

    fn check(html: &[u8], lines: &[(&str, &str)], expected: Result<&[u8], SkipReason>) {
        let found = inject(html, &fields(lines), b"+");
        assert_eq!(
            found.as_deref().map_err(|reason| *reason),
            expected,
            "{lines:?}"
        );
    }

    #[test]
    fn script_is_inserted_before_the_last_body_end_tag() {
        for (html, expected) in [
            ("<body>a</body></html>", "<body>a+</body></html>"),
            ("<BODY>a</BODY >\n", "<BODY>a+</BODY >\n"),
            ("a</body\n>b", "a</body\n>b+"),
            (
                "a</body></HTML >\n<!-- b -->\n",
                "a+</body></HTML >\n<!-- b -->\n",
            ),
            ("<!-- </body> -->a</body>", "<!-- </body> -->a+</body>"),
            ("<!-- </body> -->a", "<!-- </body> -->a+"),
            ("<!-- </body> -->", "<!-- </body> -->+"),
            (
                "<script>x = '</body>'</script>",
                "<script>x = '</body>'</script>+",
            ),
            (
                "a</body><script>'</body>'</script>",
                "a</body><script>'</body>'</script>+",
            ),
            ("a</bodyguard>", "a</bodyguard>+"),
            ("a</body", "a</body+"),
            ("a</body><!--", "a</body><!--+"),
            ("<h1>a", "<h1>a+"),
            ("", "+"),
            ("\u{feff}ä", "\u{feff}ä+"),
        ] {
            check(
                html.as_bytes(),
                &[("Content-Type", HTML)],
                Ok(expected.as_bytes()),
            );
        }
    }

    #[test]
    fn only_readable_html_is_injected() {
        use SkipReason::{Encoded, NotHtml};
        let typed = |media_type| ("Content-Type", media_type);
        check(b"a", &[typed("TEXT/HTML;charset=latin1")], Ok(b"a+"));
        check(b"a", &[typed("text/plain")], Err(NotHtml));
        check(b"a", &[typed("application/xhtml+xml")], Err(NotHtml));
        check(b"a", &[], Err(NotHtml));
        check(
            b"a\0",
            &[typed("text/html; charset=UTF-16LE")],
            Err(Encoded),
        );
        check(
            b"a\0",
            &[typed("text/html; a=b; charset=\"utf-32\"")],
            Err(Encoded),
        );
        for bytes in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"\0\0\xfe\xff\0\0\0a"] {
            check(bytes, &[typed(HTML)], Err(Encoded));
        }
        check(
            b"a",
            &[typed(HTML), ("content-encoding", "gzip")],
            Err(Encoded),
        );
    }

    #[test]
    fn csp_that_blocks_the_script_is_detected() {
        let check = |policies: &[&str], expected: &[&str]| {
            let lines: Vec<_> = policies
                .iter()
                .map(|policy| ("content-security-policy", *policy))
                .collect();
            assert_eq!(
                blocking_directives(&fields(&lines)),
                expected,
                "{policies:?}"
            );
        };
        check(&[], &[]);
        check(&["img-src 'none'"], &[]);
        check(&["default-src 'self'"], &[]);
        check(&["default-src 'none'"], &["script-src", "connect-src"]);
        check(&["default-src 'none'; script-src *"], &["connect-src"]);
        check(
            &["Default-Src 'none'; Script-Src 'Self'; connect-src http:"],
            &[],
        );
        check(
            &["script-src 'self'; script-src-elem 'nonce-a'"],
            &["script-src"],
        );
        check(
            &["script-src 'self' 'strict-dynamic' 'nonce-a'"],
            &["script-src"],
        );
        check(
            &["default-src *", "connect-src b.example"],
            &["connect-src"],
        );
        check(&["default-src *, connect-src"], &["connect-src"]);
    }
}
