//! Rules of `_headers` files: response fields by path.
//!
//! The format is that of Netlify ("Custom headers") and Cloudflare Pages ("Headers"):
//!
//! ```text
//! # a comment
//! /static/*
//!   Access-Control-Allow-Origin: *
//! /static/*.jpg
//!   ! Access-Control-Allow-Origin
//! /movies/:title
//!   X-Movie: You are watching ":title"
//! ```
//!
//! - A line that begins with `/` is a path pattern (see `pattern.rs`); the lines below it are its fields.
//!   Indentation is ignored, as by both.
//! - All rules that match a path apply, in order. A field that is set again is joined to the earlier value with a
//!   comma (Cloudflare; Netlify within a rule only). A field with a single value by its definition, like
//!   Content-Type, is not joined: the last value applies. Each Set-Cookie is a line of its own (RFC 6265 section 3).
//! - `! Name` removes the values of earlier rules and of defaults (Cloudflare). Within a rule, removals apply first,
//!   wherever they are written.
//! - A field that a rule sets replaces a default, except Vary, which is added.
//! - `:name` and `:splat` in a value are replaced by the captures, percent-encoded except `-._~/` (Cloudflare).
//!   Any other colon is literal.
//! - Rules apply to all hosts: a rule with a host is rejected. So are fields that are reserved for the server, and
//!   Basic-Auth, which Netlify does not send but uses to ask for a password.

use std::borrow::Cow;

use super::field::{ConfiguredField, is_singleton};
use super::path_rules::{PathRules, RuleError, rule_lines};
use super::pattern::{Pattern, Template};
use crate::http::{FieldName, Fields, UNRESERVED_AND_SLASH};

/// Rules of a `_headers` file.
#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    rules: PathRules<HeaderRule>,
}

/// Rule: the field lines below a path.
#[derive(Clone, Debug)]
struct HeaderRule {
    line: usize,
    /// Whether there are no lines below the path.
    has_no_fields: bool,
    removed: Vec<(FieldName, usize)>,
    set: Vec<(FieldName, Template, usize)>,
}

/// Change to one field of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange<'a> {
    /// Field name.
    pub name: &'a FieldName,
    /// New value, which replaces a default or, of Vary, is added to it; `None` if the field is not sent.
    pub value: Option<Cow<'a, str>>,
    /// Lines of the rules that make the change, in order, counted from one.
    pub lines: Vec<usize>,
}

impl HeaderRules {
    /// Parses a file.
    ///
    /// # Errors
    /// Returns all errors in the file, in the order of its lines.
    #[cfg(test)]
    pub(crate) fn parse_strict(file: &[u8]) -> Result<Self, Vec<RuleError>> {
        match Self::parse_lenient(file) {
            (headers, malformed) if malformed.is_empty() => Ok(headers),
            (_, malformed) => Err(malformed),
        }
    }

    /// Parses the valid lines of a file, without the fields below an invalid path. Also returns all errors, in the
    /// order of the lines.
    #[must_use]
    pub fn parse_lenient(file: &[u8]) -> (Self, Vec<RuleError>) {
        let mut rules: Vec<(Option<Pattern>, HeaderRule)> = Vec::new();
        let (lines, mut malformed) = rule_lines(file);
        for (line, text) in lines {
            let read = match (is_path_line(text), rules.last_mut()) {
                (true, _) => {
                    let pattern = text.parse();
                    let why = pattern.as_ref().err().cloned();
                    // The fields below an invalid path are checked, too.
                    rules.push((pattern.ok(), HeaderRule::new(line)));
                    why.map_or(Ok(()), Err)
                }
                (false, Some((pattern, rule))) => {
                    rule.has_no_fields = false;
                    let names = pattern.as_ref().map_or(&[][..], Pattern::names);
                    parse_field_line(text).map(|field| rule.add_field(field, names, line))
                }
                (false, None) => {
                    Err("this field belongs to no path: write one, like `/*`, above it".to_owned())
                }
            };
            malformed.extend(read.err().map(|why| RuleError { line, reason: why }));
        }
        let mut kept = PathRules::default();
        for (pattern, rule) in rules {
            if rule.has_no_fields {
                let line = rule.line;
                let why = "there are no fields below this path: write one, or leave the path out"
                    .to_owned();
                malformed.push(RuleError { line, reason: why });
            }
            if let Some(pattern) = pattern {
                kept.push(pattern, rule);
            }
        }
        let (rules, malformed) = kept.enforce_limits(malformed, |rule| rule.line);
        (Self { rules }, malformed)
    }

    /// Creates a rule that sets these fields for all paths. The number of a field stands for its line.
    #[must_use]
    pub fn for_all_paths(fields: Vec<ConfiguredField>) -> Self {
        let mut headers = Self::default();
        if !fields.is_empty() {
            let mut rule = HeaderRule::new(0);
            for (line, field) in (1..).zip(fields) {
                // There are no captures: `:name` in these values is literal.
                rule.add_field(field, &[], line);
            }
            headers.rules.push(Pattern::any(), rule);
        }
        headers
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the changes to the response fields of a decoded path with its leading slash. Each name occurs once,
    /// except Set-Cookie, in the order of its first line.
    #[must_use]
    pub fn changes(&self, path: &[u8]) -> Vec<FieldChange<'_>> {
        let mut changes: Vec<FieldChange<'_>> = Vec::new();
        for (rule, captures) in self.rules.matching(path) {
            for (name, line) in &rule.removed {
                changes.retain(|change| change.name != name);
                let lines = vec![*line];
                changes.push(FieldChange {
                    name,
                    value: None,
                    lines,
                });
            }
            for (name, template, line) in &rule.set {
                let value = match template.literal_text() {
                    Some(text) => Cow::Borrowed(text),
                    None => {
                        let mut text = String::new();
                        template.fill(&captures, UNRESERVED_AND_SLASH, &mut text);
                        Cow::Owned(text)
                    }
                };
                add_value(&mut changes, name, value, *line);
            }
        }
        changes
    }
}

impl FieldChange<'_> {
    /// Applies the change to fields, which may contain defaults.
    pub fn apply(&self, fields: &mut Fields) {
        // Several Vary lines mean the same as one (RFC 9110 section 5.3).
        let is_added = self.name.is("Vary") || (self.name.is("Set-Cookie") && self.value.is_some());
        if !is_added {
            fields.remove(self.name.as_str());
        }
        if let Some(value) = &self.value {
            fields.push(self.name.as_str(), value);
        }
    }
}

/// Adds a value to the earlier change of its field, or replaces that.
fn add_value<'a>(
    changes: &mut Vec<FieldChange<'a>>,
    name: &'a FieldName,
    value: Cow<'a, str>,
    line: usize,
) {
    let is_cookie = name.is("Set-Cookie");
    let before = changes
        .iter_mut()
        .find(|change| change.name == name && !(is_cookie && change.value.is_some()));
    let Some(change) = before else {
        let (value, lines) = (Some(value), vec![line]);
        changes.push(FieldChange { name, value, lines });
        return;
    };
    match &mut change.value {
        Some(before) if !is_singleton(name) => {
            let before = before.to_mut();
            before.push_str(", ");
            before.push_str(&value);
            change.lines.push(line);
        }
        before => {
            *before = Some(value);
            change.name = name;
            change.lines = vec![line];
        }
    }
}

/// Whether a line is the path of a rule, valid or not.
fn is_path_line(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let is_url = !rest.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.starts_with('/') || is_url
}

/// Parses a line below a path.
fn parse_field_line(text: &str) -> Result<ConfiguredField, String> {
    match text.strip_prefix('!') {
        Some(name) if name.starts_with([' ', '\t']) || !name.contains(':') => {
            ConfiguredField::parse_removal(name.trim_ascii())
        }
        _ => match text.parse::<ConfiguredField>()? {
            field if field.value.is_empty() => {
                let name = field.name.as_str();
                Err(format!(
                    "{name} has no value: write one, or `! {name}` for not sending it"
                ))
            }
            field => Ok(field),
        },
    }
}

impl HeaderRule {
    fn new(line: usize) -> Self {
        Self {
            line,
            has_no_fields: true,
            removed: Vec::new(),
            set: Vec::new(),
        }
    }

    fn add_field(&mut self, field: ConfiguredField, names: &[String], line: usize) {
        match field.value.is_empty() {
            true => self.removed.push((field.name, line)),
            false => {
                let template = Template::new(&field.value, names);
                self.set.push((field.name, template, line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares changes, written as `name: value [line, line]` or `! name [line]`.
    fn check(file: &str, path: &str, expected: &[&str]) {
        let headers = HeaderRules::parse_strict(file.as_bytes()).unwrap();
        assert_eq!(
            changes_as_text(&headers.changes(path.as_bytes())),
            expected,
            "{file} {path}"
        );
    }

    fn changes_as_text(changes: &[FieldChange<'_>]) -> Vec<String> {
        let text = |change: &FieldChange<'_>| {
            let (name, lines) = (change.name.as_str(), &change.lines);
            match &change.value {
                Some(value) => format!("{name}: {value} {lines:?}"),
                None => format!("! {name} {lines:?}"),
            }
        };
        changes.iter().map(text).collect()
    }

    fn check_errors(file: &str, expected: &[&str]) {
        let found = HeaderRules::parse_strict(file.as_bytes()).unwrap_err();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{file}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{file}: {found}");
        }
    }

    /// Example from Cloudflare's documentation, without the rule that names a host.
    const CLOUDFLARE: &str = "# This is a comment
/secure/page
\tX-Frame-Options: DENY
\tX-Content-Type-Options: nosniff
\tReferrer-Policy: no-referrer

/static/*
\tAccess-Control-Allow-Origin: *
\tX-Robots-Tag: nosnippet

/*
\tX-Robots-Tag: noindex
";

    #[test]
    fn cloudflare_documentation_example() {
        let secure = [
            "X-Frame-Options: DENY [3]",
            "X-Content-Type-Options: nosniff [4]",
            "Referrer-Policy: no-referrer [5]",
            "X-Robots-Tag: noindex [12]",
        ];
        check(CLOUDFLARE, "/secure/page", &secure);
        check(CLOUDFLARE, "/secure/page/", &secure);
        check(
            CLOUDFLARE,
            "/static/styles.css",
            &[
                "Access-Control-Allow-Origin: * [8]",
                "X-Robots-Tag: nosnippet, noindex [9, 12]",
            ],
        );
        check(CLOUDFLARE, "/home", &["X-Robots-Tag: noindex [12]"]);
    }

    #[test]
    fn removal_overrides_earlier_rules() {
        let file = "/*\n  Content-Security-Policy: default-src 'self';\n\n/*.jpg\n  ! Content-Security-Policy\n";
        check(
            file,
            "/a.png",
            &["Content-Security-Policy: default-src 'self'; [2]"],
        );
        check(file, "/a.jpg", &["! Content-Security-Policy [5]"]);
        check("/*\n! A\n", "/", &["! A [2]"]);
        check("/*\n!A\n", "/", &["! A [2]"]);
        check("/*\nA: b\n/a\n! a\nA: c", "/a", &["A: c [5]"]);
        check("/*\nA: b\n/a\nA: c\n! a", "/a", &["A: c [4]"]);
        check(
            "/*\nA: b\n/a\n! a\n/a\nA: c\nA: d",
            "/a",
            &["A: c, d [6, 7]"],
        );
    }

    #[test]
    fn captures_are_filled_into_values() {
        let file = "/movies/:title\n  x-movie-name: You are watching \":title\"\n";
        check(
            file,
            "/movies/alien",
            &["x-movie-name: You are watching \"alien\" [2]"],
        );
        check(
            file,
            "/movies/a\"; b,\r\né",
            &["x-movie-name: You are watching \"a%22%3B%20b%2C%0D%0A%C3%A9\" [2]"],
        );
        let file = "/faq/*\n  Link: <https://a/:splat>; rel=\"canonical\"; x=:other\n";
        check(
            file,
            "/faq/a/b",
            &["Link: <https://a/a/b>; rel=\"canonical\"; x=:other [2]"],
        );
    }

    #[test]
    fn netlify_documentation_examples() {
        let file = "# a path:
/templates/index.html
  # headers for that path:
  X-Frame-Options: DENY
  X-XSS-Protection: 1; mode=block
# another path:
/templates/index2.html
  # headers for that path:
  X-Frame-Options: SAMEORIGIN
# multi-value header:
/*
  cache-control: max-age=0
  cache-control: no-cache
  cache-control: no-store
  cache-control: must-revalidate
";
        let cache =
            "cache-control: max-age=0, no-cache, no-store, must-revalidate [12, 13, 14, 15]";
        let index = [
            "X-Frame-Options: DENY [4]",
            "X-XSS-Protection: 1; mode=block [5]",
            cache,
        ];
        check(file, "/templates/index.html", &index);
        check(file, "/", &[cache]);
    }

    #[test]
    fn singleton_field_is_replaced_and_set_cookie_repeated() {
        let file =
            "/*\nContent-Type: a/b\nAccess-Control-Allow-Origin: *\n/a\ncontent-type: text/html";
        check(
            file,
            "/a",
            &[
                "content-type: text/html [5]",
                "Access-Control-Allow-Origin: * [3]",
            ],
        );
        let file = "/*\nSet-Cookie: a=b\nSet-Cookie: c=d\n/a\nset-cookie: e=f\n/b\n! Set-Cookie\nSet-Cookie: g=h";
        check(
            file,
            "/a",
            &[
                "Set-Cookie: a=b [2]",
                "Set-Cookie: c=d [3]",
                "set-cookie: e=f [5]",
            ],
        );
        check(file, "/b", &["Set-Cookie: g=h [8]"]);
    }

    #[test]
    fn indentation_is_ignored() {
        check("/a\n\nName: Value\n\n", "/a", &["Name: Value [3]"]);
        check("   /a\n Name    :    Value", "/a", &["Name: Value [2]"]);
        check("/a\r\n\tName:Value\r\n", "/a", &["Name: Value [2]"]);
        check("/a\n  !Name: Value", "/a", &["!Name: Value [2]"]);
    }

    #[test]
    fn errors_are_reported_by_line() {
        check_errors("A: b\n/a\nC: d", &["1: this field belongs to no path"]);
        check_errors(
            "/a\n/b\nC: d\n/e",
            &["1: there are no fields", "4: there are no fields"],
        );
        check_errors(
            "https://example.com/*\n  ETag: a\n  A: b\n/a*b*c\n  d\n  E:\n  : f\n/b\n  ! G: h\n  ! Date\n",
            &[
                "1: `https://example.com/*`: rules by host are not supported; write the path alone",
                "2: ETag is the server's own",
                "4: `/a*b*c` has more than one `*`",
                "5: `d` is not a field: write `Name: value`",
                "6: E has no value: write one, or `! E`",
                "7: there is no name before the colon",
                "9: `! G: h` takes a field away: write its name alone",
                "10: Date is the server's own",
            ],
        );
        check_errors(
            "/a\nBasic-Auth: user:password",
            &["2: Basic-Auth is not supported"],
        );
        check_errors(
            "https://:project.pages.dev/*\n  X-Robots-Tag: noindex",
            &["1: `https://:project"],
        );
        check_errors(
            "/a\nA: b\rC: d",
            &["2: the value of A has a control character"],
        );
        let rules = "/*\nA: b\n".repeat(101);
        check_errors(
            &rules,
            &["201: this is one more than 100 paths with `*` or `:name`"],
        );
    }

    #[test]
    fn empty_file_is_valid() {
        check("", "/", &[]);
        check("# nothing\n", "/", &[]);
        assert!(HeaderRules::parse_strict(b"").unwrap().is_empty());
        assert!(
            !HeaderRules::parse_strict(CLOUDFLARE.as_bytes())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn rules_override_default_fields() {
        let defaults = Fields::new()
            .with("Cache-Control", "no-cache")
            .with("Referrer-Policy", "strict-origin-when-cross-origin")
            .with("Vary", "Accept-Encoding");
        let file = "/*\n! Referrer-Policy\ncache-control: no-store\nVary: Origin\nSet-Cookie: a\nSet-Cookie: b";
        let headers = HeaderRules::parse_strict(file.as_bytes()).unwrap();
        let mut fields = defaults;
        for change in headers.changes(b"/") {
            change.apply(&mut fields);
        }
        assert_eq!(
            fields.as_str(),
            "Vary: Accept-Encoding\r\ncache-control: no-store\r\nVary: Origin\r\n\
             Set-Cookie: a\r\nSet-Cookie: b\r\n"
        );
    }

    #[test]
    fn fields_without_path_apply_everywhere() {
        let field = |text: &str| text.parse::<ConfiguredField>().unwrap();
        let fields = vec![field("A: :splat"), field("B:"), field("a: c")];
        let headers = HeaderRules::for_all_paths(fields);
        let expected = ["! B [2]", "A: :splat, c [1, 3]"];
        assert_eq!(changes_as_text(&headers.changes(b"/")), expected);
        assert_eq!(changes_as_text(&headers.changes(b"/a/b/")), expected);
        assert!(HeaderRules::for_all_paths(Vec::new()).is_empty());
    }
}
