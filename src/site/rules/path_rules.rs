//! Lines and path matching that `_headers` and `_redirects` have in common.

use std::collections::HashMap;
use std::fmt;

use super::pattern::Pattern;
use crate::escape::TerminalText;
use crate::files::read::MAX_WHOLE_FILE_BYTES;
use crate::files::text::{text_lines, utf_8};

/// Maximum size of a rule file, in bytes.
const MAX_FILE_BYTES: usize = MAX_WHOLE_FILE_BYTES;

/// Maximum number of rules with a literal path in a file (Cloudflare's limit). One hash lookup finds them.
const MAX_LITERAL_RULES: usize = 2000;

/// Maximum number of rules with `*` or `:name` in a file (Cloudflare's limit). They are tried one after another.
const MAX_PATTERN_RULES: usize = 100;

/// Error in a line of a rule file. Printed after the file's name and a colon, editors can jump to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Line number, counted from one; 0 for the file as a whole.
    pub line: usize,
    /// Cause and remedy, as a sentence without its full stop.
    pub reason: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(" ")?,
            line => write!(f, "{line}: ")?,
        }
        TerminalText(self.reason.as_bytes()).fmt(f)
    }
}

/// Returns a file's lines with their numbers, as [`text_lines`] does, and an error for each that is not UTF-8. A file
/// larger than [`MAX_FILE_BYTES`] has no lines and one error, at the line that exceeds the limit; a file in UTF-16 has
/// one error, too.
pub(crate) fn rule_lines(file: &[u8]) -> (Vec<(usize, &str)>, Vec<RuleError>) {
    let (mut lines, mut malformed) = (Vec::new(), Vec::new());
    if let Some((within, _)) = file.split_at_checked(MAX_FILE_BYTES + 1) {
        let line = 1 + within.iter().filter(|&&byte| byte == b'\n').count();
        let why = format!("the file is larger than {MAX_FILE_BYTES} bytes, here: leave rules out");
        malformed.push(RuleError { line, reason: why });
        return (lines, malformed);
    }
    match text_lines(file) {
        Ok(numbered) => {
            for (line, text) in numbered {
                match utf_8(text) {
                    Ok(text) => lines.push((line, text)),
                    Err(reason) => malformed.push(RuleError { line, reason }),
                }
            }
        }
        Err(reason) => malformed.push(RuleError { line: 0, reason }),
    }
    (lines, malformed)
}

/// Rules with path patterns, in the order of their file.
#[derive(Clone, Debug)]
pub(crate) struct PathRules<T> {
    rules: Vec<(Pattern, T)>,
    /// Indices of rules with a literal path, by that path without leading and trailing slash.
    literal_rules: HashMap<Vec<u8>, Vec<usize>>,
    /// Indices of all other rules.
    pattern_rules: Vec<usize>,
}

impl<T> Default for PathRules<T> {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            literal_rules: HashMap::new(),
            pattern_rules: Vec::new(),
        }
    }
}

impl<T> PathRules<T> {
    /// Adds a rule at the end.
    pub(crate) fn push(&mut self, pattern: Pattern, rule: T) {
        let index = self.rules.len();
        match pattern.literal_path() {
            Some(path) => self.literal_rules.entry(path).or_default().push(index),
            None => self.pattern_rules.push(index),
        }
        self.rules.push((pattern, rule));
    }

    /// Drops the rules beyond the limits, and returns the others and all errors in the order of their lines. `line`
    /// returns the line of a rule.
    pub(crate) fn enforce_limits(
        mut self,
        mut malformed: Vec<RuleError>,
        line: impl Fn(&T) -> usize,
    ) -> (Self, Vec<RuleError>) {
        let excess = self.first_excess().map(|(rule, why)| RuleError {
            line: line(rule),
            reason: why,
        });
        malformed.extend(excess);
        malformed.sort_by_key(|malformed| malformed.line);
        self.truncate();
        (self, malformed)
    }

    /// Drops the rules beyond the limits.
    fn truncate(&mut self) {
        self.pattern_rules.truncate(MAX_PATTERN_RULES);
        let mut indices: Vec<usize> = self.literal_rules.values().flatten().copied().collect();
        indices.sort_unstable();
        if let Some(&end) = indices.get(MAX_LITERAL_RULES) {
            let paths = self.literal_rules.values_mut();
            paths.for_each(|indices| indices.retain(|&index| index < end));
        }
    }

    /// Returns the rules that match a decoded path with its leading slash, in order, each with its captures. If a
    /// literal path has rules both with and without a trailing slash, only those spelled like `path` match.
    pub(crate) fn matching<'a, 'p>(
        &'a self,
        path: &'p [u8],
    ) -> impl Iterator<Item = (&'a T, Vec<&'p [u8]>)> {
        let inner = path.strip_prefix(b"/").unwrap_or(path);
        let is_slashed = path.ends_with(b"/");
        let key = inner.strip_suffix(b"/").unwrap_or(inner);
        let indices = self.literal_rules.get(key).map_or(&[][..], Vec::as_slice);
        let is_spelled =
            move |index: &&usize| self.rules[**index].0.has_trailing_slash() == is_slashed;
        let has_own = indices.iter().any(|index| is_spelled(&index));
        let mut paths = indices
            .iter()
            .filter(move |index| !has_own || is_spelled(index))
            .peekable();
        let mut patterns = self.pattern_rules.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let index = match (paths.peek(), patterns.peek()) {
                    (Some(path), Some(pattern)) if pattern < path => patterns.next(),
                    (None, _) => patterns.next(),
                    _ => paths.next(),
                };
                let (pattern, rule) = &self.rules[*index?];
                if let Some(captures) = pattern.captures(path) {
                    return Some((rule, captures));
                }
            }
        })
    }

    /// Whether there are no rules.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the first rule of each kind beyond its limit, with the error text.
    fn first_excess(&self) -> impl Iterator<Item = (&T, String)> {
        let is_path = |(pattern, _): &&(Pattern, T)| pattern.literal_path().is_some();
        let path = self.rules.iter().filter(is_path).nth(MAX_LITERAL_RULES);
        let why = format!(
            "this is one more than {MAX_LITERAL_RULES} paths: write `*` or `:name` for many"
        );
        let paths = path.map(|(_, rule)| (rule, why));
        let pattern = self
            .pattern_rules
            .get(MAX_PATTERN_RULES)
            .map(|&index| &self.rules[index]);
        let why = format!(
            "this is one more than {MAX_PATTERN_RULES} paths with `*` or `:name`: join some"
        );
        paths
            .into_iter()
            .chain(pattern.map(|(_, rule)| (rule, why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let file = b"\xef\xbb\xbf/a\r\n\r\n  # b\n\t/c # d \n#";
        assert_eq!(rule_lines(file), (vec![(1, "/a"), (4, "/c # d")], vec![]));
        assert_eq!(rule_lines(b""), (vec![], vec![]));
        let (line, why) = (3, "`\u{1b}[2J` is not a path".to_owned());
        let shown = RuleError { line, reason: why }.to_string();
        assert_eq!(shown, "3: `\\u{1b}[2J` is not a path");
        let (lines, found) = rule_lines(b"a\n\xff\nb\n\xfe");
        assert_eq!(lines, [(1, "a"), (3, "b")]);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "2: the file is not UTF-8: save it as UTF-8",
                "4: the file is not UTF-8: save it as UTF-8"
            ]
        );
    }

    #[test]
    fn utf_16_file_is_named() {
        let (lines, found) = rule_lines(b"\xff\xfe/\0a\0\n\0");
        assert_eq!((lines.len(), found.len()), (0, 1));
        assert_eq!(
            found[0].to_string(),
            " the file is UTF-16: save it as UTF-8"
        );
    }

    #[test]
    fn oversized_file_is_rejected() {
        let line = b"#23456789012345\n";
        let file = line.repeat(MAX_FILE_BYTES / line.len());
        assert_eq!(rule_lines(&file), (vec![], vec![]));
        let file = [file.as_slice(), b"/"].concat();
        let (lines, found) = rule_lines(&file);
        assert_eq!((lines.len(), found.len()), (0, 1));
        assert_eq!(found[0].line, MAX_FILE_BYTES / line.len() + 1);
    }

    fn check(patterns: &[&str], path: &str, expected: &[usize]) {
        let mut rules = PathRules::default();
        for (index, pattern) in patterns.iter().enumerate() {
            rules.push(pattern.parse().unwrap(), index);
        }
        let found: Vec<usize> = rules
            .matching(path.as_bytes())
            .map(|(index, _)| *index)
            .collect();
        assert_eq!(found, expected, "{patterns:?} {path}");
    }

    #[test]
    fn rules_match_in_order() {
        check(&[], "/a", &[]);
        check(&["/a", "/*", "/b", "/:x", "/a"], "/a", &[0, 1, 3, 4]);
        check(&["/*", "/a"], "/a", &[0, 1]);
        check(&["/*", "/a"], "/b", &[0]);
        check(&["/", "/*"], "/", &[0, 1]);
        check(&["/b/*", "/a"], "/a", &[1]);
        check(&["/a", "/b/*"], "/b/c", &[1]);
    }

    #[test]
    fn trailing_slash_selects_the_exact_rule() {
        check(&["/a"], "/a/", &[0]);
        check(&["/a/"], "/a", &[0]);
        check(&["/a", "/*", "/a/"], "/a/", &[1, 2]);
        check(&["/a", "/*", "/a/"], "/a", &[0, 1]);
    }

    #[test]
    fn rule_counts_are_limited() {
        let mut rules = PathRules::default();
        for index in 0..MAX_LITERAL_RULES + 5 {
            rules.push(format!("/{index}").parse().unwrap(), index);
        }
        for index in 0..MAX_PATTERN_RULES {
            rules.push(format!("/{index}/*").parse().unwrap(), index);
        }
        let excess = |rules: &PathRules<usize>| {
            rules
                .first_excess()
                .map(|(index, _)| *index)
                .collect::<Vec<_>>()
        };
        assert_eq!(excess(&rules), [MAX_LITERAL_RULES]);
        rules.push("/:a".parse().unwrap(), 7);
        assert_eq!(excess(&rules), [MAX_LITERAL_RULES, 7]);
    }
}
