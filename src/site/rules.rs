//! What files of rules have in common: lines, and the order in which rules are tried.

use std::collections::HashMap;
use std::fmt;

use super::pattern::Pattern;

/// How large a file of rules may be, in bytes.
pub(super) const MAX_SIZE: usize = 1 << 20;

/// How many rules a file may have whose path is written out (Cloudflare's limit). They are found by one look.
pub(super) const MAX_PATHS: usize = 2000;

/// How many rules a file may have with `*` or `:name` in their path (Cloudflare's limit). They are tried in turn.
pub(super) const MAX_PATTERNS: usize = 100;

/// What is wrong with a line; after the file's name and a colon, it is what an editor jumps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong with it, and what to do, as a sentence without its full stop.
    pub why: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        // What a terminal would obey is shown instead.
        self.why
            .chars()
            .try_for_each(|char| match char.is_control() {
                true => write!(f, "{}", char.escape_default()),
                false => write!(f, "{char}"),
            })
    }
}

/// The lines of a file that say something, with their numbers: without the white space around them, without empty
/// ones, and without those that begin with `#`. Beside them those that are no text; of a file that is larger than
/// [`MAX_SIZE`] only where it becomes that.
pub(super) fn lines(file: &[u8]) -> (Vec<(usize, &str)>, Vec<Malformed>) {
    let (mut lines, mut malformed) = (Vec::new(), Vec::new());
    if let Some((within, _)) = file.split_at_checked(MAX_SIZE + 1) {
        let line = 1 + within.iter().filter(|&&byte| byte == b'\n').count();
        let why = format!("the file is larger than {MAX_SIZE} bytes, here: leave rules out");
        malformed.push(Malformed { line, why });
        return (lines, malformed);
    }
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    for (line, text) in (1..).zip(file.split(|&byte| byte == b'\n')) {
        match std::str::from_utf8(text) {
            Ok(text) => lines.push((line, text.trim_ascii())),
            Err(_) => {
                let why = "this is no UTF-8: save the file as that".to_owned();
                malformed.push(Malformed { line, why });
            }
        }
    }
    lines.retain(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    (lines, malformed)
}

/// Rules about paths, in order.
#[derive(Clone, Debug)]
pub(super) struct Rules<T> {
    rules: Vec<(Pattern, T)>,
    /// Those about one path each, by that path without slashes at its ends, in order.
    paths: HashMap<Vec<u8>, Vec<usize>>,
    /// All others, in order.
    patterns: Vec<usize>,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            paths: HashMap::new(),
            patterns: Vec::new(),
        }
    }
}

impl<T> Rules<T> {
    /// Adds a rule at the end.
    pub(super) fn push(&mut self, pattern: Pattern, rule: T) {
        let place = self.rules.len();
        match pattern.as_path() {
            Some(path) => self.paths.entry(path).or_default().push(place),
            None => self.patterns.push(place),
        }
        self.rules.push((pattern, rule));
    }

    /// These rules, without those that are too many, and all that is wrong with their file, in the order of lines;
    /// `line` says where a rule stands.
    pub(super) fn with(
        mut self,
        mut malformed: Vec<Malformed>,
        line: impl Fn(&T) -> usize,
    ) -> (Self, Vec<Malformed>) {
        let excess = self.excess().map(|(rule, why)| Malformed {
            line: line(rule),
            why,
        });
        malformed.extend(excess);
        malformed.sort_by_key(|malformed| malformed.line);
        self.truncate();
        (self, malformed)
    }

    /// Leaves out those that are too many.
    fn truncate(&mut self) {
        self.patterns.truncate(MAX_PATTERNS);
        let mut places: Vec<usize> = self.paths.values().flatten().copied().collect();
        places.sort_unstable();
        if let Some(&end) = places.get(MAX_PATHS) {
            let paths = self.paths.values_mut();
            paths.for_each(|places| places.retain(|&place| place < end));
        }
    }

    /// The rules about a decoded path, which begins with a slash, in order, with what each captures. Where a path
    /// is written out both with and without a slash at its end, each spelling has its own.
    pub(super) fn about<'a, 'p>(
        &'a self,
        path: &'p [u8],
    ) -> impl Iterator<Item = (&'a T, Vec<&'p [u8]>)> {
        let inner = path.strip_prefix(b"/").unwrap_or(path);
        let is_slashed = path.ends_with(b"/");
        let key = inner.strip_suffix(b"/").unwrap_or(inner);
        let places = self.paths.get(key).map_or(&[][..], Vec::as_slice);
        let is_spelled = move |place: &&usize| self.rules[**place].0.is_slashed() == is_slashed;
        let has_own = places.iter().any(|place| is_spelled(&place));
        let mut paths = places
            .iter()
            .filter(move |place| !has_own || is_spelled(place))
            .peekable();
        let mut patterns = self.patterns.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let place = match (paths.peek(), patterns.peek()) {
                    (Some(path), Some(pattern)) if pattern < path => patterns.next(),
                    (None, _) => patterns.next(),
                    _ => paths.next(),
                };
                let (pattern, rule) = &self.rules[*place?];
                if let Some(captures) = pattern.captures(path) {
                    return Some((rule, captures));
                }
            }
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule of each kind that is one too many, with what there is to say of it.
    fn excess(&self) -> impl Iterator<Item = (&T, String)> {
        let is_path = |(pattern, _): &&(Pattern, T)| pattern.as_path().is_some();
        let path = self.rules.iter().filter(is_path).nth(MAX_PATHS);
        let why = format!("this is one more than {MAX_PATHS} paths: write `*` or `:name` for many");
        let paths = path.map(|(_, rule)| (rule, why));
        let pattern = self
            .patterns
            .get(MAX_PATTERNS)
            .map(|&place| &self.rules[place]);
        let why =
            format!("this is one more than {MAX_PATTERNS} paths with `*` or `:name`: join some");
        paths
            .into_iter()
            .chain(pattern.map(|(_, rule)| (rule, why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_something() {
        let file = b"\xef\xbb\xbf/a\r\n\r\n  # b\n\t/c # d \n#";
        assert_eq!(lines(file), (vec![(1, "/a"), (4, "/c # d")], vec![]));
        assert_eq!(lines(b""), (vec![], vec![]));
        let (line, why) = (3, "`\u{1b}[2J` is no path".to_owned());
        let shown = Malformed { line, why }.to_string();
        assert_eq!(shown, "3: `\\u{1b}[2J` is no path");
        let (said, found) = lines(b"a\n\xff\nb\n\xfe");
        assert_eq!(said, [(1, "a"), (3, "b")]);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "2: this is no UTF-8: save the file as that",
                "4: this is no UTF-8: save the file as that"
            ]
        );
    }

    #[test]
    fn a_file_has_its_size() {
        let line = b"#23456789012345\n";
        let file = line.repeat(MAX_SIZE / line.len());
        assert_eq!(lines(&file), (vec![], vec![]));
        let file = [file.as_slice(), b"/"].concat();
        let (said, found) = lines(&file);
        assert_eq!((said.len(), found.len()), (0, 1));
        assert_eq!(found[0].line, MAX_SIZE / line.len() + 1);
    }

    fn check(patterns: &[&str], path: &str, expected: &[usize]) {
        let mut rules = Rules::default();
        for (place, pattern) in patterns.iter().enumerate() {
            rules.push(pattern.parse().unwrap(), place);
        }
        let found: Vec<usize> = rules
            .about(path.as_bytes())
            .map(|(place, _)| *place)
            .collect();
        assert_eq!(found, expected, "{patterns:?} {path}");
    }

    #[test]
    fn rules_are_tried_in_order() {
        check(&[], "/a", &[]);
        check(&["/a", "/*", "/b", "/:x", "/a"], "/a", &[0, 1, 3, 4]);
        check(&["/*", "/a"], "/a", &[0, 1]);
        check(&["/*", "/a"], "/b", &[0]);
        check(&["/", "/*"], "/", &[0, 1]);
        check(&["/b/*", "/a"], "/a", &[1]);
        check(&["/a", "/b/*"], "/b/c", &[1]);
    }

    #[test]
    fn each_spelling_has_its_own() {
        check(&["/a"], "/a/", &[0]);
        check(&["/a/"], "/a", &[0]);
        check(&["/a", "/*", "/a/"], "/a/", &[1, 2]);
        check(&["/a", "/*", "/a/"], "/a", &[0, 1]);
    }

    #[test]
    fn rules_have_their_number() {
        let mut rules = Rules::default();
        for place in 0..MAX_PATHS + 5 {
            rules.push(format!("/{place}").parse().unwrap(), place);
        }
        for place in 0..MAX_PATTERNS {
            rules.push(format!("/{place}/*").parse().unwrap(), place);
        }
        let excess =
            |rules: &Rules<usize>| rules.excess().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_eq!(excess(&rules), [MAX_PATHS]);
        rules.push("/:a".parse().unwrap(), 7);
        assert_eq!(excess(&rules), [MAX_PATHS, 7]);
    }
}
