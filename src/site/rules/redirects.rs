//! Rules of `_redirects` files: redirects and rewrites by path.
//!
//! The format is that of Netlify ("Redirect options") and Cloudflare Pages ("Redirects"), one rule per line:
//!
//! ```text
//! # from            to                       status
//! /home             /
//! /blog/:year/*     /news/:year/:splat       308
//! /twitch           https://twitch.tv        302    # a comment
//! /app/*            /app.html                200
//! /secret/*         /404.html                404!
//! ```
//!
//! - Paths are patterns (see `pattern.rs`). The first rule that matches a path applies.
//! - The default status is 301 (Netlify; Cloudflare: 302). 301, 302, 303, 307 and 308 redirect. 200 and 404 rewrite:
//!   the response is the file at another path of this site, whose own rules are ignored.
//! - A rule applies where no file is found. With `!` after its status it always applies (Netlify; in Cloudflare all
//!   rules do).
//! - A redirect of a path to itself, with any query, is skipped and the next rule is tried (Netlify: "infinitely
//!   looping rules"), so that `/a /a/ 301` matches `/a` only. If both paths are literal, the rule is rejected. Loops
//!   over two or more rules, and redirects to ever longer paths, are not detected. With 200 a path may be rewritten
//!   to itself, so that later rules do not apply.
//! - The query of the request is appended, unless the rule has one itself (both).
//! - Captures are percent-encoded: in the path as a path, after it except `-._~/`. A path begins with exactly one
//!   slash and a host cannot contain captures, so that no capture can select another host.
//! - Rejected are: hosts in the `from` path; query parameters; conditions (Country, Language, Role, Cookie); other
//!   sites with 200 or 404, since docroot is no proxy.

use super::path_rules::{PathRules, RuleError, rule_lines};
use super::pattern::{Pattern, Template, placeholders};
use crate::http::{self, Status, Target, is_authority, percent_encode};

/// Rules of a `_redirects` file.
#[derive(Clone, Debug, Default)]
pub struct RedirectRules {
    rules: PathRules<RedirectRule>,
}

/// Rule that matches a path, with its captures filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectMatch {
    /// Status of the response: 301, 302, 303, 307 or 308 for a redirect, 200 or 404 for a rewrite.
    pub status: Status,
    /// Destination.
    pub target: RedirectTarget,
    /// Whether it applies even if a file is found at the path.
    pub is_forced: bool,
    /// Line of the rule, counted from one.
    pub line: usize,
}

/// Destination of a rule that matches a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTarget {
    /// Redirect: the value of a Location field. It is a URI reference in ASCII, and names another host only if the
    /// rule does.
    Location(String),
    /// Rewrite to this request target, which is in origin-form and not yet parsed.
    Rewrite(String),
}

#[derive(Clone, Debug)]
struct RedirectRule {
    line: usize,
    status: Status,
    is_forced: bool,
    destination: Destination,
}

/// Destination of a rule, with placeholders for captures.
#[derive(Clone, Debug)]
struct Destination {
    /// Scheme and host, or empty for this site.
    origin: String,
    path: Template,
    query: Option<Template>,
    fragment: Option<Template>,
}

impl RedirectRules {
    /// Parses a file.
    ///
    /// # Errors
    /// Returns all errors in the file, in the order of its lines.
    #[cfg(test)]
    pub(crate) fn parse_strict(file: &[u8]) -> Result<Self, Vec<RuleError>> {
        match Self::parse_lenient(file) {
            (redirects, malformed) if malformed.is_empty() => Ok(redirects),
            (_, malformed) => Err(malformed),
        }
    }

    /// Parses the valid lines of a file. Also returns all errors, in the order of the lines.
    #[must_use]
    pub fn parse_lenient(file: &[u8]) -> (Self, Vec<RuleError>) {
        let mut redirects = Self::default();
        let (lines, mut malformed) = rule_lines(file);
        for (line, text) in lines {
            match parse_rule(text, line) {
                Ok((pattern, rule)) => {
                    redirects.rules.push(pattern, rule);
                }
                Err(why) => malformed.push(RuleError { line, reason: why }),
            }
        }
        let (rules, malformed) = redirects.rules.enforce_limits(malformed, |rule| rule.line);
        redirects.rules = rules;
        (redirects, malformed)
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the first rule that matches a decoded path with its leading slash, and its trailing one if the target
    /// has one. `query` is the query of the request, without the `?`.
    #[must_use]
    pub fn find(&self, path: &[u8], query: Option<&str>) -> Option<RedirectMatch> {
        self.rules.matching(path).find_map(|(rule, captures)| {
            let (is_forced, line, status) = (rule.is_forced, rule.line, rule.status);
            let text = rule.destination.fill(&captures, query);
            let to = match status {
                Status::Ok | Status::NotFound => RedirectTarget::Rewrite(text),
                _ if is_reference_to(&text, path) => return None,
                _ => RedirectTarget::Location(text),
            };
            Some(RedirectMatch {
                status,
                target: to,
                is_forced,
                line,
            })
        })
    }
}

impl Destination {
    fn fill(&self, captures: &[&[u8]], query: Option<&str>) -> String {
        let mut text = self.origin.clone();
        let mut path = String::new();
        self.path.fill(captures, http::PATH_CHARACTERS, &mut path);
        if self.origin.is_empty() {
            // Two leading slashes would begin a host.
            text.push('/');
            text.push_str(path.trim_start_matches('/'));
        } else {
            text.push_str(&path);
        }
        match (&self.query, query) {
            (Some(own_query), _) => {
                text.push('?');
                own_query.fill(captures, http::UNRESERVED_AND_SLASH, &mut text);
            }
            (None, Some(sent)) => {
                text.push('?');
                percent_encode(sent.as_bytes(), http::QUERY_CHARACTERS, &mut text);
            }
            (None, None) => {}
        }
        if let Some(fragment) = &self.fragment {
            text.push('#');
            fragment.fill(captures, http::UNRESERVED_AND_SLASH, &mut text);
        }
        text
    }
}

/// Whether a client that resolves a reference requests this path.
fn is_reference_to(reference: &str, path: &[u8]) -> bool {
    let (reference, _) = reference.split_once('#').unwrap_or((reference, ""));
    reference.starts_with('/')
        && Target::parse(reference, None).is_ok_and(|target| {
            let inner = path.strip_prefix(b"/").unwrap_or(path);
            let is_directory = inner.is_empty() || inner.ends_with(b"/");
            let inner = inner.strip_suffix(b"/").unwrap_or(inner);
            target.is_directory() == is_directory && target.path() == inner
        })
}

/// Parses a line.
fn parse_rule(text: &str, line: usize) -> Result<(Pattern, RedirectRule), String> {
    let words = text.split_ascii_whitespace();
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).collect();
    let (from, to, word) = match words.as_slice() {
        [from, to] if is_destination(to) => (from, to, "301"),
        [from, to, status] if is_destination(to) && !status.contains('=') => (from, to, *status),
        words => return Err(syntax_error(words)),
    };
    let pattern: Pattern = from.parse()?;
    let (status, is_forced) = parse_status(word)?;
    let destination = parse_destination(to, &pattern)?;
    if matches!(status, Status::Ok | Status::NotFound) {
        if !destination.origin.is_empty() {
            let why = "docroot is no proxy for other sites: redirect there, with 301 or 302";
            return Err(format!("`{to}` with {word}: {why}"));
        }
        if destination.fragment.is_some() {
            let why = "only a redirect can lead to a fragment: leave it out";
            return Err(format!("`{to}` with {word}: {why}"));
        }
    } else if let Some(path) = pattern.literal_path() {
        let slash: &[u8] = if pattern.has_trailing_slash() {
            b"/"
        } else {
            b""
        };
        let path = [b"/", path.as_slice(), slash].concat();
        if is_reference_to(&destination.fill(&[], None), &path) {
            return Err(format!("`{from}` leads to itself: leave it out"));
        }
    }
    let to = destination;
    let rule = RedirectRule {
        line,
        status,
        is_forced,
        destination: to,
    };
    Ok((pattern, rule))
}

/// Returns the error for words that are not `from to` or `from to status`.
fn syntax_error(words: &[&str]) -> String {
    match words {
        [] => "this says nothing: write `from to status`".to_owned(),
        [from] => format!("`{from}` leads nowhere: write where to, behind it"),
        [from, word, ..] if is_status(word) => {
            format!("`{from}` leads nowhere: write where to, before `{word}`")
        }
        [_, word, ..] if !is_destination(word) && word.contains('=') => {
            format!("`{word}`: query parameters are not looked at; leave it out")
        }
        [_, to, ..] if !is_destination(to) => {
            format!(
                "`{to}` is no place to lead to: begin it with `/`, http:// or https://, and encode spaces as %20"
            )
        }
        [_, _, rest @ ..] => match rest.iter().find(|word| word.contains('=')) {
            Some(word) => {
                format!("`{word}`: conditions are not supported; leave it out, or the rule")
            }
            None => {
                let word = rest.get(1).copied().unwrap_or_default();
                format!(
                    "`{word}` is one word too many: write `from to status`, and encode spaces as %20"
                )
            }
        },
    }
}

/// Parses a status, and whether the rule always applies (`!`).
fn parse_status(word: &str) -> Result<(Status, bool), String> {
    let (digits, is_forced) = match word.strip_suffix('!') {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let found = RULE_STATUSES.iter().find(|status| status.code() == digits);
    let status = found.ok_or_else(|| {
        format!("`{word}` is no status for a rule: write 301, 302, 303, 307, 308, 200 or 404")
    })?;
    Ok((*status, is_forced))
}

/// Statuses that a rule may have.
const RULE_STATUSES: &[Status] = &[
    Status::MovedPermanently,
    Status::Found,
    Status::SeeOther,
    Status::TemporaryRedirect,
    Status::PermanentRedirect,
    Status::Ok,
    Status::NotFound,
];

fn is_status(word: &str) -> bool {
    let digits = word.strip_suffix('!').unwrap_or(word);
    digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_destination(word: &str) -> bool {
    word.starts_with('/') || word.contains("://")
}

/// Parses the destination of a rule.
fn parse_destination(text: &str, pattern: &Pattern) -> Result<Destination, String> {
    let names = pattern.names();
    let (rest, fragment) = split_at_mark(text, '#');
    let (rest, query) = split_at_mark(rest, '?');
    let (origin, path) = split_origin(rest).map_err(|why| format!("`{text}` {why}"))?;
    for (offset, name) in placeholders(text) {
        // Elsewhere, as in /wiki/Special:Search, the colon is likely literal.
        let is_meant = text[..offset].ends_with(['/', '=']);
        if is_meant && !names.iter().any(|existing| existing == name) {
            let why = match name {
                "splat" => "there is no `*` in what the rule is about".to_owned(),
                name => format!(
                    "what the rule is about has no such name; write %3A{name} for these letters"
                ),
            };
            return Err(format!("`:{name}`: {why}"));
        }
    }
    let path_template = Template::new(path, names);
    if origin.is_empty() {
        if path.contains('*') {
            return Err(format!(
                "`{text}`: write :splat for what `*` stands for, or %2A for the letter"
            ));
        }
        let mut sample = String::new();
        path_template.fill(&vec![&b"x"[..]; names.len()], b"", &mut sample);
        if let Err(malformed) = Target::parse(&sample, None) {
            return Err(format!("`{text}` {}", malformed_reason(malformed)));
        }
    }
    let template = |text, kept| parse_template(text, kept, names);
    let read = || -> Result<_, &'static str> {
        Ok(Destination {
            origin: origin.to_owned(),
            path: template(path, http::ENCODED_PATH_CHARACTERS)?,
            query: query
                .map(|query| template(query, http::QUERY_CHARACTERS))
                .transpose()?,
            fragment: fragment
                .map(|fragment| template(fragment, http::QUERY_CHARACTERS))
                .transpose()?,
        })
    };
    read().map_err(|why| format!("`{text}` {why}"))
}

/// Splits a reference into scheme and host, which are empty for this site, and the path after them.
fn split_origin(text: &str) -> Result<(&str, &str), &'static str> {
    if text.starts_with("//") {
        return Err("begins with a host: write https: before it, or one slash");
    }
    if text.starts_with('/') {
        return Ok(("", text));
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_http_scheme(scheme) => (scheme, rest),
        _ => return Err("is no place to lead to: begin it with `/`, http:// or https://"),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if placeholders(host).next().is_some() || host.contains('*') {
        // A request could choose the host.
        return Err(
            "has no host that is written out: `:name` may stand behind the slash that ends it",
        );
    }
    match !host.is_empty() && !host.starts_with(':') && is_authority(host.as_bytes()) {
        true => Ok((&text[..scheme.len() + "://".len() + host.len()], path)),
        false => {
            Err("has no host: that takes letters, digits, dots and hyphens, others as punycode")
        }
    }
}

/// Splits a text at the first `mark`.
fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn is_http_scheme(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Returns the reason why a path is malformed.
fn malformed_reason(malformed: http::TargetError) -> &'static str {
    match malformed {
        http::TargetError::PercentEncoding => {
            "has a `%` that encodes nothing: write %25 for a percent sign"
        }
        http::TargetError::ControlCharacter => "has a control character",
        http::TargetError::EncodedSlash => "has an encoded slash",
        http::TargetError::AboveRoot => "climbs out of the site: write the path from its root",
        http::TargetError::Form | http::TargetError::HttpsScheme | http::TargetError::Authority => {
            "is not a path"
        }
    }
}

/// Parses a part of a URI. Characters that a URI cannot have are percent-encoded; encoded ones stay.
fn parse_template(text: &str, kept: &[u8], names: &[String]) -> Result<Template, &'static str> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    for (offset, _) in text.match_indices('%') {
        if !(is_hex(bytes.get(offset + 1)) && is_hex(bytes.get(offset + 2))) {
            return Err(malformed_reason(http::TargetError::PercentEncoding));
        }
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(malformed_reason(http::TargetError::ControlCharacter));
    }
    let mut encoded = String::with_capacity(text.len());
    percent_encode(bytes, kept, &mut encoded);
    Ok(Template::new(&encoded, names))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Compares a match, written as `status! to (line)`, with `to` in angle brackets if it is a rewrite.
    fn check(file: &str, request: &str, expected: &str) {
        let redirects = RedirectRules::parse_strict(file.as_bytes()).unwrap();
        let (path, query) = split_at_mark(request, '?');
        let found = redirects.find(path.as_bytes(), query).map(|found| {
            let mark = if found.is_forced { "!" } else { "" };
            let to = match found.target {
                RedirectTarget::Location(to) => to,
                RedirectTarget::Rewrite(to) => format!("<{to}>"),
            };
            format!("{}{mark} {to} ({})", found.status.code(), found.line)
        });
        assert_eq!(found.unwrap_or_default(), expected, "{file} {request}");
    }

    fn check_errors(file: &str, expected: &[&str]) {
        let found = RedirectRules::parse_strict(file.as_bytes()).unwrap_err();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{file}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            let (line, why) = expected.split_once(": ").unwrap();
            let is_reported = found.starts_with(&format!("{line}: ")) && found.contains(why);
            assert!(is_reported, "{file}: {found}, not {expected}");
        }
    }

    #[test]
    fn cloudflare_documentation_example() {
        let file = "/home301 / 301
/home302 / 302
/querystrings /?query=string 301
/twitch https://twitch.tv
/trailing /trailing/ 301
/notrailing/ /nottrailing 301
/page/ /page2/#fragment 301
/blog/* https://blog.my.domain/:splat # Blog migration
/products/:code/:name /products?code=:code&name=:name
";
        check(file, "/home301", "301 / (1)");
        check(file, "/home302", "302 / (2)");
        check(file, "/querystrings?a=b", "301 /?query=string (3)");
        check(file, "/twitch", "301 https://twitch.tv (4)");
        check(file, "/trailing", "301 /trailing/ (5)");
        check(file, "/trailing/", "");
        check(file, "/notrailing/", "301 /nottrailing (6)");
        check(file, "/page/", "301 /page2/#fragment (7)");
        check(file, "/page?a=b", "301 /page2/?a=b#fragment (7)");
        check(
            file,
            "/blog/a/b c",
            "301 https://blog.my.domain/a/b%20c (8)",
        );
        check(file, "/blog", "301 https://blog.my.domain/ (8)");
        check(
            file,
            "/products/1/a&b=c",
            "301 /products?code=1&name=a%26b%3Dc (9)",
        );
        check(file, "/other", "");
    }

    #[test]
    fn netlify_documentation_examples() {
        let file = "# Redirects from what the browser requests to what we serve
/home              /
/blog/my-post.php  /blog/my-post
/news              /blog
/cuties            https://www.petsofnetlify.com
/my-redirect  /              302
/ecommerce    /store-closed  404
/pass-through /index.html    200
/en/*  /en/404.html  404
/articles/*  /posts/:splat  301!
/news/:month/:date/:year/:slug  /blog/:year/:month/:date/:slug
/*  /index.html  200
";
        check(file, "/home", "301 / (2)");
        check(file, "/blog/my-post.php", "301 /blog/my-post (3)");
        check(file, "/cuties?a", "301 https://www.petsofnetlify.com?a (5)");
        check(file, "/my-redirect", "302 / (6)");
        check(file, "/ecommerce", "404 </store-closed> (7)");
        check(file, "/pass-through", "200 </index.html> (8)");
        check(file, "/en/a/b", "404 </en/404.html> (9)");
        check(
            file,
            "/articles/a/b?c=%20\"",
            "301! /posts/a/b?c=%20%22 (10)",
        );
        check(
            file,
            "/news/02/12/2004/my-story",
            "301 /blog/2004/02/12/my-story (11)",
        );
        check(file, "/any", "200 </index.html> (12)");
        check(file, "/", "200 </index.html> (12)");
    }

    #[test]
    fn each_supported_status_is_parsed() {
        for status in ["301", "302", "303", "307", "308", "301!"] {
            check(
                &format!("/a /b {status}"),
                "/a",
                &format!("{status} /b (1)"),
            );
        }
        for status in ["200", "404", "200!", "404!"] {
            check(
                &format!("/a /b {status}"),
                "/a",
                &format!("{status} </b> (1)"),
            );
        }
        assert!(RedirectRules::parse_strict(b"# none").unwrap().is_empty());
    }

    #[test]
    fn first_matching_rule_applies() {
        check("/a /1\n/a /2\n/* /3", "/a", "301 /1 (1)");
        check("/* /3\n/a /1", "/a", "301 /3 (1)");
        check("/a /1\n/a/ /2", "/a/", "301 /2 (2)");
        check("/a /1\n/a/ /2", "/a", "301 /1 (1)");
        check("/a /1\n/* /2", "/a/", "301 /1 (1)");
        check("/a/* /1\n/a/b /2", "/a/b", "301 /1 (1)");
    }

    #[test]
    fn redirect_to_the_same_path_is_skipped() {
        check("/* /:splat\n/a /b", "/a", "301 /b (2)");
        check("/* /index.html 302", "/index.html", "");
        check("/* /index.html?a=b#c 302", "/index.html", "");
        check("/:a /:a/ 301\n/* /b", "/a/", "301 /b (2)");
        check("/:a /:a/ 301", "/a", "301 /a/ (1)");
        check("/* /:splat/ 301", "/a/", "");
        check("/caf%C3%A9/* /café/:splat", "/café/a", "");
        // A rewrite is looked up once and cannot loop; later rules do not apply.
        check(
            "/api/* /api/:splat 200\n/* /index.html 200",
            "/api/a",
            "200 </api/a> (1)",
        );
        check("/* /:splat 200", "//a", "200 </a> (1)");
        check_errors(
            "/a /a\n/b /b/\n/c/ /./c/ 302\n/ / 301\n/d /d?e",
            &[
                "1: `/a` leads to itself",
                "3: leads",
                "4: leads",
                "5: leads",
            ],
        );
    }

    #[test]
    fn captures_are_encoded_and_cannot_change_the_host() {
        check("/* /:splat/", "//evil.example", "301 /evil.example/ (1)");
        check("/a/* /:splat", "/a///evil.example", "301 /evil.example (1)");
        check(
            "/a/* /:splat",
            "/a/\\evil.example",
            "301 /%5Cevil.example (1)",
        );
        check("/* /:splat/a", "/", "301 /a (1)");
        check(
            "/:a https://host/:a",
            "/@evil.example",
            "301 https://host/@evil.example (1)",
        );
        check(
            "/:a /b?c=:a#:a",
            "/x&y=#\"\r\n",
            "301 /b?c=x%26y%3D%23%22%0D%0A#x%26y%3D%23%22%0D%0A (1)",
        );
        check(
            "/a/* /b/:splat",
            "/a/\r\nSet-Cookie: a=b",
            "301 /b/%0D%0ASet-Cookie:%20a=b (1)",
        );
        check("/a/* /b/:splat 200", "/a/100%?x", "200 </b/100%25?x> (1)");
        check("/a /b", "/a?c\"d é", "301 /b?c%22d%20%C3%A9 (1)");
        check("/a /é%20\"'\\", "/a", "301 /%C3%A9%20%22'%5C (1)");
        check(
            "/a /wiki/Special:Search",
            "/a",
            "301 /wiki/Special:Search (1)",
        );
        check(
            "/a HTTP://a.example:8080/*/x",
            "/a",
            "301 HTTP://a.example:8080/*/x (1)",
        );
        check("/a https://[::1]:80?b", "/a", "301 https://[::1]:80?b (1)");
    }

    #[test]
    fn errors_are_reported_by_line() {
        check_errors(
            "/a
a /b
https://a.example/* /b
/a?b /c
/store id=:id /blog/:id 301
/a 301
/a /b 418
/a /b 301 302
/a /b Country=us
/ /us 302 Language=en
/some page /other
/a /b c 301
/a b
/a mailto:b
/a //b.example/c
/a https://b.example 200
/a http://b.example/c 404!
/a/:b https://:b.example/c
/a/* https://a.example:splat
/a https://
/a https://user@b.example
/a https://é.example
/a/* /b/*
/a/:id /b/:splat
/a/* /b?c=:id
/a /b#c 200
/a /%zz
/a /b?%zz
/a /../b
/a /b%2fc
/*/* /b
",
            &[
                "1: `/a` leads nowhere",
                "2: `a` is not a path",
                "3: `https://a.example/*`: rules by host are not supported",
                "4: `/a?b`: a query is not looked at",
                "5: `id=:id`: query parameters are not looked at",
                "6: `/a` leads nowhere: write where to, before `301`",
                "7: `418` is no status for a rule",
                "8: `302` is one word too many",
                "9: `Country=us`: conditions are not supported",
                "10: `Language=en`: conditions are not supported",
                "11: `page` is no place to lead to",
                "12: `301` is one word too many",
                "13: `b` is no place to lead to",
                "14: `mailto:b` is no place to lead to",
                "15: `//b.example/c` begins with a host",
                "16: docroot is no proxy for other sites",
                "17: docroot is no proxy for other sites",
                "18: has no host that is written out",
                "19: has no host that is written out",
                "20: has no host: that takes",
                "21: has no host: that takes",
                "22: has no host: that takes",
                "23: write :splat",
                "24: `:splat`: there is no `*`",
                "25: `:id`: what the rule is about has no such name",
                "26: only a redirect can lead to a fragment",
                "27: write %25",
                "28: write %25",
                "29: climbs out of the site",
                "30: an encoded slash",
                "31: more than one `*`",
            ],
        );
        let rules: String = (0..2002)
            .map(|offset| format!("/{offset} /b\n/{offset}/* /b\n"))
            .collect();
        check_errors(
            &rules,
            &[
                "202: this is one more than 100 paths",
                "4001: this is one more than 2000 paths",
            ],
        );
    }

    #[test]
    fn trailing_comments_are_ignored() {
        check("# a\n/a /b # c\n", "/a", "301 /b (2)");
        check("/a /b 302 #c", "/a", "302 /b (1)");
        check("/a /b#c 302 # d", "/a", "302 /b#c (1)");
        check("\t/a\t/b\t302\r\n", "/a", "302 /b (1)");
        check_errors("/a # /b", &["1: `/a` leads nowhere"]);
    }

    proptest! {
        #[test]
        fn redirect_never_leads_to_another_host(
            path in "(/|\\\\|\t|\r|\n|\"|<|:|@|\\.|%|\\?|#|a|é|evil\\.example){0,12}",
            query in "[ -~é]{0,8}",
            rule in prop::sample::select(vec!["/* /:splat", "/* /:splat/:splat?a=:splat#:splat"]),
        ) {
            let path = format!("/{path}");
            let redirects = RedirectRules::parse_strict(rule.as_bytes()).unwrap();
            if let Some(found) = redirects.find(path.as_bytes(), Some(&query)) {
                let RedirectTarget::Location(to) = found.target else { panic!("{:?}", found.target) };
                prop_assert!(to.starts_with('/') && !to.starts_with("//"), "{}", to);
                let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte);
                prop_assert!(to.bytes().all(is_plain), "{}", to);
            }
        }
    }

    proptest! {
        #[test]
        fn parser_accepts_any_text_without_panic(
            file in "(/|:a|\\*|%|%2|a|é| |\n|!|=|\\?|#|301|https://|\\[|\r|\\PC){0,40}",
        ) {
            let _ = RedirectRules::parse_strict(file.as_bytes());
            let _ = super::super::headers::HeaderRules::parse_strict(file.as_bytes());
        }
    }
}
