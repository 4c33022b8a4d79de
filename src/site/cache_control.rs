//! Cache-Control of a file, by its name.
//!
//! A fingerprinted name, which has a hash of the content in it, is never given to other content, so the file may be
//! cached for a year, without revalidation. Whether a name has a hash can only be guessed, and the two mistakes differ
//! in price: a hash that is missed costs a conditional request and a 304; a word that is taken for one keeps an old
//! file in clients' caches for a year. So a name must look like what build tools write, and like nothing that people
//! write.
//!
//! # What counts as a hash
//!
//! Only files that a page loads count ([`SUBRESOURCE_EXTENSIONS`]: scripts, styles, images, fonts, sound, film,
//! models), their source maps, and their sidecars. Pages, documents, archives and data never do. Everything after the
//! hash is removed from the name: extensions, and marks such as `.min`, `.chunk` or `_bg` ([`BUILD_MARKS`]). The hash
//! is then the end of the rest, after a `-` or a `.`:
//!
//! - **Hexadecimal**, lower case. 16, 20, 32, 40, 64, 96 or 128 digits, of which at least one is below ten and one is
//!   not; or 8, 10 or 12 that change between the two at least twice, so that neither a date, nor a number with a
//!   letter, nor a word with a year is one; `1feb2024` is a date, too. A UUID is none: it identifies what a file is
//!   about, not its content. Nor are 24 digits (MongoDB's identifiers). A name that is nothing but a hash must have 20
//!   digits (webpack's assets): other names of this form come from other things than content. Of 8 random digits this
//!   misses 9 %, of 32 those 3 % that could be such a UUID, of other lengths 1 % or none.
//! - **Base32**, 8 of `A-Z2-7`, as esbuild and Angular write it. After `chunk-`, which is their word, any 8 count;
//!   after other words those with two numbers (people write `lib-HTML2PDF.js`), or with four signs of randomness:
//!   changes between letters and numbers, and pairs of letters that are rare in words ([`RARE_FOLLOWERS`]). After the
//!   name of an entry point ([`ENTRY_POINT_NAMES`]) three signs are enough. Of random ones this misses none, 35 %, and
//!   18 %.
//! - **Base64url**, 8 of `A-Za-z0-9_-`, as Vite and Rollup write it: letters of both cases that are no name in camel
//!   case. The text is split into words like one (`Bs|Yhmk|3|H`), and each word has two points. Those that are not
//!   built like words have more: a single letter, capitals, numbers, and a word with rare pairs of letters or without a
//!   vowel ([`word_score`]), except those that people do write ([`KNOWN_WORDS`]). The sum must be 11 at least. Directly
//!   in a directory `assets` after a `-`, where Vite puts them, 10 are enough, and 8 if the text begins with `B`, `C`
//!   or `D`, as three of four of Rollup's do. So a single word is none, in any language, and two are one only if they
//!   have rare pairs. Of random ones this misses 8 %, and 6 % in `assets`; of Vite's 4 %. Of 34,000 names that people
//!   could give (identifiers in both cases that are shared by packages, pairs of short English words, words of 8
//!   letters, and of 7 with a digit) it takes 7 in `assets` for hashes, such as `CzarTzar`; of 5,000 identifiers that
//!   one package alone uses 84, half of them encoded data, the others such as `xMinYMin`. Of pairs of short German
//!   words it takes 1 in 200, and of Polish ones 1 in 60.
//!
//! **Directories that frameworks write** hold nothing that people name. In `_app/immutable/` (SvelteKit) every name has
//! a hash, except those of pages. In `_astro/`, in `_nuxt/` except `_nuxt/builds/`, and in
//! `_next/static/{chunks,css,media}/`, which their own servers call immutable as a whole, it is enough that some part
//! of the name, or all of it, can be a hash: 8 or more hexadecimal digits, 8 of base64url with a capital, or 13 of
//! Turbopack's alphabet with a digit.
//!
//! Not recognized: hashes in the names of directories (Gatsby's `static/`), in a query, of fewer than 8 characters
//! (Symfony), and in lower case letters beyond `f` (Bun, Blazor).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Policy for the time that clients may cache files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// A year for fingerprinted names; all others are revalidated at each use.
    #[default]
    Auto,
    /// Nothing is stored.
    Off,
    /// This number of seconds, whatever the name.
    MaxAge(u32),
}

/// Value of Cache-Control (RFC 9111 section 5.2.2), and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheControl {
    /// Field value.
    pub value: Cow<'static, str>,
    /// Reason for the value.
    pub reason: CacheReason,
}

/// Reason for the time that clients may cache a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheReason {
    /// Configured: nothing is stored.
    Off,
    /// Configured: this number of seconds.
    MaxAge(u32),
    /// The name contains this, which must be a hash of the content.
    ContentHash(String),
    /// The file is in this directory, where every name contains a hash.
    FrameworkDir(&'static str),
    /// The name may be given to other content.
    NoHash,
}

impl CachePolicy {
    /// Returns the Cache-Control of a file with this path below the root, `/` between its segments.
    ///
    /// If it `is_private`, because it needs a password, no shared cache may store it (RFC 9111 section 3.5 would allow
    /// that with `public`).
    #[must_use]
    pub fn cache_control(self, path: &[u8], is_private: bool) -> CacheControl {
        let scope = if is_private { "private" } else { "public" };
        let (value, reason) = match (self, self.immutable_reason(path)) {
            (Self::Off, _) => (Cow::Borrowed("no-store"), CacheReason::Off),
            (Self::MaxAge(seconds), _) => (
                Cow::Owned(format!("{scope}, max-age={seconds}")),
                CacheReason::MaxAge(seconds),
            ),
            (Self::Auto, None) => (Cow::Borrowed("no-cache"), CacheReason::NoHash),
            (Self::Auto, Some(reason)) => {
                let year = match is_private {
                    true => "private, max-age=31536000, immutable",
                    false => "public, max-age=31536000, immutable",
                };
                (Cow::Borrowed(year), reason)
            }
        };
        CacheControl { value, reason }
    }

    fn immutable_reason(self, path: &[u8]) -> Option<CacheReason> {
        (self == Self::Auto)
            .then(|| immutable_reason(path))
            .flatten()
    }
}

impl FromStr for CachePolicy {
    type Err = String;

    /// Parses `auto`, `off`, or a number of seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::MaxAge).map_err(|_| {
                let max = u32::MAX;
                let advice = seconds_of_time(text)
                    .map(|seconds| format!("; write {seconds}"))
                    .unwrap_or_default();
                format!(
                    "`{text}` is neither auto nor off nor a number of seconds up to {max}{advice}"
                )
            }),
        }
    }
}

/// Returns the seconds of a time with a unit, such as `1h`.
fn seconds_of_time(text: &str) -> Option<u32> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    units.into_iter().find_map(|(unit, seconds)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    })
}

impl fmt::Display for CacheReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("--cache off: not stored"),
            Self::MaxAge(seconds) => write!(f, "--cache {seconds}: fresh for {seconds} seconds"),
            Self::ContentHash(hash) => write!(f, "the name is fingerprinted: {hash}"),
            Self::FrameworkDir(dir) => {
                write!(f, "every name in {dir}/ is fingerprinted")
            }
            Self::NoHash => {
                f.write_str("the name is not fingerprinted, so a cache revalidates each time")
            }
        }
    }
}

/// Returns whether the name of a file is never given to other content: its last segment has a hash, or its directory
/// has only such names, by the rules in this file's documentation. The path has `/` between its segments.
#[must_use]
pub fn has_content_hash(path: &[u8]) -> bool {
    immutable_reason(path).is_some()
}

/// Extensions of files that a page loads as a part of itself.
const SUBRESOURCE_EXTENSIONS: &[&str] = &[
    "js", "mjs", "cjs", "css", "wasm", "png", "jpg", "jpeg", "gif", "webp", "avif", "apng", "jxl",
    "svg", "ico", "bmp", "woff", "woff2", "ttf", "otf", "eot", "mp3", "m4a", "aac", "ogg", "oga",
    "opus", "wav", "flac", "weba", "mp4", "m4v", "webm", "ogv", "vtt", "glb", "gltf", "ktx2",
    "hdr",
];

/// Extensions of files that belong to such a file, and are as old as its name: source maps, sidecars.
const COMPANION_EXTENSIONS: &[&str] = &["map", "br", "zst", "gz"];

/// Marks that may stand between the hash and the extension, after a dot.
const BUILD_MARKS: &[&str] = &[
    "min", "chunk", "bundle", "worker", "js", "css", "ttf", "otf",
];

/// Names of entry points, as esbuild and Angular write them before a hash.
const ENTRY_POINT_NAMES: &[&str] = &[
    "main",
    "index",
    "app",
    "entry",
    "styles",
    "polyfills",
    "scripts",
];

/// Words that occur in names, although they are not built like words.
const KNOWN_WORDS: &[&str] = &[
    "16", "2d", "32", "3d", "64", "ai", "api", "apis", "aws", "btn", "cdn", "cfg", "cli", "cpu",
    "css", "csv", "ctx", "db", "dns", "dom", "fmt", "fps", "fx", "gl", "gps", "gpu", "html",
    "http", "https", "id", "ids", "img", "io", "ip", "ipv4", "ipv6", "jpg", "js", "json", "jsx",
    "jwt", "md", "mdx", "mp3", "mp4", "ms", "msg", "npm", "os", "pdf", "php", "pkg", "png", "px",
    "qr", "rgb", "rpc", "rss", "sdk", "seo", "sql", "src", "ssl", "std", "str", "svg", "tcp",
    "tls", "ts", "tsx", "tv", "ui", "uri", "url", "urls", "usb", "utf8", "ux", "vr", "wasm",
    "x509", "xml", "yaml",
];

/// Letters that follow each letter, from `a` on, in less than one of 256 places, counted in the words of Debian's
/// wamerican 2020.12.07 and of the identifiers that two or more of 560 npm packages and crates share, each word
/// weighted by the root of its count.
const RARE_FOLLOWERS: [&str; 26] = [
    "ajoq",              // a
    "fghknpqvwxz",       // b
    "bdfgjmnpqvwxz",     // c
    "hjkpqtxz",          // d
    "hjkz",              // e
    "bhjkmpqvwxz",       // f
    "bcdfjkpqvwxz",      // g
    "cfghjkpqvxz",       // h
    "hijquwy",           // i
    "bdfghjlmnqrtvwxyz", // j
    "jqvxz",             // k
    "hjnqrwxz",          // l
    "dfghjkqrtvwxz",     // m
    "bjmqwxz",           // n
    "hjqz",              // o
    "bdgjkmnqvwxz",      // p
    "bfghjkmnotvxyz",    // q
    "hjqwxz",            // r
    "bdfgjrvxz",         // s
    "bdgjknpqvxz",       // t
    "hjkquvwy",          // u
    "bcdfghjkmnpqvwxz",  // v
    "gjquvwxz",          // w
    "bgjknqrwz",         // x
    "hjkqvxyz",          // y
    "bfgjkmnpqrtvwx",    // z
];

/// Extensions of pages, which are requested by names that people know.
const PAGE_EXTENSIONS: &[&str] = &["html", "htm", "xhtml"];

/// Returns the reason why this path is never given to other content, or `None` if it may be.
fn immutable_reason(path: &[u8]) -> Option<CacheReason> {
    let path = std::str::from_utf8(path)
        .ok()
        .filter(|path| path.is_ascii())?;
    let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dirs: Vec<&str> = dirs.split('/').collect();
    let is_in = |names: &[&str]| dirs.windows(names.len()).any(|window| window == names);

    let (_, extension) = split_extension(name)?;
    if is_in(&["_app", "immutable"]) {
        return (!PAGE_EXTENSIONS.contains(&extension))
            .then_some(CacheReason::FrameworkDir("_app/immutable"));
    }
    let stem = subresource_stem(name)?;
    let is_next = ["chunks", "css", "media"]
        .iter()
        .any(|dir| is_in(&["_next", "static", dir]));
    let is_framework_dir =
        is_next || is_in(&["_astro"]) || (is_in(&["_nuxt"]) && !is_in(&["_nuxt", "builds"]));
    let hash = match is_framework_dir {
        true => possible_hash(stem).or_else(|| is_next.then(|| turbopack_hash(stem)).flatten()),
        false => certain_hash(stem, dirs.last() == Some(&"assets")),
    };
    hash.map(|hash| CacheReason::ContentHash(hash.to_owned()))
}

/// Splits a name into stem and extension, if there is something before the dot.
fn split_extension(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())
}

/// Returns the stem of the name of a subresource, without extensions and other text after a hash.
fn subresource_stem(name: &str) -> Option<&str> {
    let (mut stem, mut extension) = split_extension(name)?;
    while COMPANION_EXTENSIONS.contains(&extension) {
        (stem, extension) = split_extension(stem)?;
    }
    if !SUBRESOURCE_EXTENSIONS.contains(&extension) {
        return None;
    }
    while let Some((rest, mark)) = split_extension(stem)
        && BUILD_MARKS.contains(&mark)
    {
        stem = rest;
    }
    // wasm-bindgen writes this after the name of the module beside its script.
    Some(stem.strip_suffix("_bg").unwrap_or(stem))
}

/// Returns the hash at the end of a stem that people may have written. `is_vite_assets`: Vite may have written the
/// directory.
fn certain_hash(stem: &str, is_vite_assets: bool) -> Option<&str> {
    let Some(separator) = stem.rfind(['-', '.']) else {
        return (stem.len() == 20 && is_hex_hash(stem)).then_some(stem);
    };
    let (before, tail) = (&stem[..separator], &stem[separator + 1..]);
    if !before.is_empty()
        && ((is_hex_hash(tail) && !ends_in_uuid(stem)) || is_base32_hash(before, tail))
    {
        return Some(tail);
    }
    // There may be a `-` in base64url.
    let (before, tail) = stem.split_at_checked(stem.len().checked_sub(8)?)?;
    let is_certain = match before.as_bytes() {
        [_, .., b'-'] => is_base64url_hash(tail, is_vite_assets),
        [_, .., b'.'] => is_base64url_hash(tail, false),
        _ => false,
    };
    is_certain.then_some(tail)
}

/// Returns whether this is the end of a digest in hexadecimal, by the rules in this file's documentation.
fn is_hex_hash(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !text.bytes().all(is_digit) {
        return false;
    }
    match text.len() {
        8 | 10 | 12 => digit_letter_changes(text) >= 2 && !is_date(text),
        16 | 20 | 40 | 64 | 96 | 128 => digit_letter_changes(text) >= 1,
        32 => digit_letter_changes(text) >= 1 && !is_random_uuid(text),
        _ => false,
    }
}

/// Returns how often digits below ten follow letters, or the other way round.
fn digit_letter_changes(text: &str) -> usize {
    let pairs = text.as_bytes().windows(2);
    pairs
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count()
}

/// Returns whether this is digits around a month whose name is hexadecimal.
fn is_date(text: &str) -> bool {
    let rest = |month| text.split_once(month);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    [rest("feb"), rest("dec")]
        .into_iter()
        .flatten()
        .any(|(day, year)| is_number(day) && is_number(year))
}

/// Returns whether these 32 digits are a UUID without its dashes, of the versions that are used in names: 4 and 7. One
/// in 32 random numbers is.
fn is_random_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.get(12), Some(b'4' | b'7'))
        && matches!(bytes.get(16), Some(b'8' | b'9' | b'a' | b'b'))
}

/// Returns whether the last 36 characters are a UUID.
fn ends_in_uuid(stem: &str) -> bool {
    let Some(start) = stem.len().checked_sub(36) else {
        return false;
    };
    stem.bytes()
        .skip(start)
        .enumerate()
        .all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns whether this is 8 characters of base32 that are no word, after the text `before` them.
fn is_base32_hash(before: &str, text: &str) -> bool {
    if text.len() != 8
        || !text
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
    {
        return false;
    }
    let randomness = digit_letter_changes(text) + rare_pairs(text.as_bytes());
    let starts_with_number = text.starts_with(|char: char| char.is_ascii_digit());
    match before {
        "chunk" => true,
        _ if ENTRY_POINT_NAMES.contains(&before) => randomness >= 3,
        _ => {
            digit_letter_changes(text) >= if starts_with_number { 2 } else { 3 } || randomness >= 4
        }
    }
}

/// Returns whether this is 8 characters of base64url that are no words in camel case.
fn is_base64url_hash(text: &str, is_vite_assets: bool) -> bool {
    let has = |predicate: fn(u8) -> bool| text.bytes().any(predicate);
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // Rollup and Rolldown write 128 bits as a number: at six bits a digit the first has two, and a leading `A` is not
    // written.
    let is_likely = is_vite_assets && text.starts_with(['B', 'C', 'D']);
    let threshold = match (is_vite_assets, is_likely) {
        (_, true) => 8,
        (true, false) => 10,
        (false, false) => 11,
    };
    text.bytes().all(is_digit)
        && has(|byte| byte.is_ascii_uppercase())
        && has(|byte| byte.is_ascii_lowercase())
        && randomness_score(text.as_bytes()) >= threshold
}

/// Returns how unlike a name in camel case this is: the sum of the points of its words. A known word has the points of
/// one that is built like a word.
fn randomness_score(text: &[u8]) -> usize {
    let mut sum = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (len, points) = match known_word_len(rest) {
            Some(len) => (len, 2),
            None => {
                let len = first_word_len(rest);
                (len, word_score(&rest[..len], at == 0, len == rest.len()))
            }
        };
        sum += points;
        at += len;
    }
    sum
}

/// Returns the points of one word: two, if it is built like a word.
fn word_score(word: &[u8], is_first: bool, is_last: bool) -> usize {
    let is_vowel = |byte: &u8| b"aeiouy".contains(&byte.to_ascii_lowercase());
    match word {
        [b'-' | b'_'] => 2,
        [b'0'..=b'9', ..] if is_last => word.len(),
        [b'0'..=b'9', ..] => 1 + 2 * word.len(),
        [_] if is_first => 3,
        [_] => 4,
        _ if word.iter().all(u8::is_ascii_uppercase) => 2 + word.len(),
        // The limit keeps a single word of any language below the threshold.
        _ => 2 + (2 * rare_pairs(word) + usize::from(!word.iter().any(is_vowel))).min(4),
    }
}

/// Returns the number of pairs of letters that are rare in words.
fn rare_pairs(text: &[u8]) -> usize {
    let is_rare = |first: u8, second: u8| {
        let index = first.to_ascii_lowercase().checked_sub(b'a');
        let follows = index.and_then(|index| RARE_FOLLOWERS.get(usize::from(index)));
        follows.is_some_and(|rare| rare.as_bytes().contains(&second.to_ascii_lowercase()))
    };
    text.windows(2)
        .filter(|pair| is_rare(pair[0], pair[1]))
        .count()
}

/// Returns the length of the longest known word at the beginning, in any case. After one that ends in a letter, no
/// small letter may follow.
fn known_word_len(text: &[u8]) -> Option<usize> {
    let is_at_start = |word: &&&str| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
            && (word.ends_with(|char: char| char.is_ascii_digit())
                || !text.get(word.len()).is_some_and(u8::is_ascii_lowercase))
    };
    KNOWN_WORDS
        .iter()
        .filter(is_at_start)
        .map(|word| word.len())
        .max()
}

/// Returns the length of the first word in camel case: a number, a `-` or `_`, small letters with a capital before
/// them, or capitals. A word begins at a capital after anything else, and at the last capital before small letters.
fn first_word_len(text: &[u8]) -> usize {
    let run = |from: usize, predicate: fn(&u8) -> bool| {
        text[from..]
            .iter()
            .take_while(|byte| predicate(byte))
            .count()
    };
    match (text[0], run(0, u8::is_ascii_uppercase)) {
        (b'-' | b'_', _) => 1,
        (b'0'..=b'9', _) => run(0, u8::is_ascii_digit),
        (_, 0) => run(0, u8::is_ascii_lowercase),
        (_, capitals) => match (capitals, run(capitals, u8::is_ascii_lowercase)) {
            (_, 0) => capitals,
            (1, small) => 1 + small,
            _ => capitals - 1,
        },
    }
}

/// Returns the first part of a stem that can be a hash, where no person has written the name.
fn possible_hash(stem: &str) -> Option<&str> {
    let is_end = |byte: Option<&u8>| matches!(byte, None | Some(b'-' | b'.' | b'_' | b'~'));
    let is_hex_digit = |char: char| matches!(char, '0'..='9' | 'a'..='f');
    let bytes = stem.as_bytes();
    let starts = (0..bytes.len()).filter(|&at| at == 0 || is_end(bytes.get(at - 1)));
    starts.filter_map(|at| stem.get(at..)).find_map(|rest| {
        let len = rest.len() - rest.trim_start_matches(is_hex_digit).len();
        let hex = &rest[..len];
        if len >= 8 && digit_letter_changes(hex) >= 1 && is_end(rest.as_bytes().get(len)) {
            return Some(hex);
        }
        let base64 = rest.get(..8).filter(|_| is_end(rest.as_bytes().get(8)))?;
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let has = |predicate: fn(&u8) -> bool| base64.as_bytes().iter().any(predicate);
        let is_mixed =
            has(u8::is_ascii_uppercase) && (has(u8::is_ascii_lowercase) || has(u8::is_ascii_digit));
        (base64.bytes().all(is_digit) && is_mixed).then_some(base64)
    })
}

/// Returns the hash that is all of a stem, or its end, in Turbopack's alphabet.
fn turbopack_hash(stem: &str) -> Option<&str> {
    let (before, tail) = stem.split_at_checked(stem.len().checked_sub(13)?)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'~' | b'.');
    let is_hash = tail.bytes().all(is_digit) && tail.bytes().any(|byte| byte.is_ascii_digit());
    (is_hash && (before.is_empty() || before.ends_with(['-', '.', '_']))).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str], expected: bool) {
        for path in paths {
            assert_eq!(has_content_hash(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn names_written_by_build_tools_are_recognized() {
        let long = "8e0d62a10b0c2d1c1c8f8e0d62a10b0c2d1c1c8f8e0d62a10b0c2d1c1c8f1a2b";
        for (tool, names) in [
            (
                "Vite",
                &[
                    "assets/index-BsYhmk3H.js",
                    "/docs/assets/index-BsYhmk3H.js.map",
                    "assets/react-CHdo91hT.svg",
                    "assets/index-Co5RB00a.css",
                    "assets/Pair-tQZXtc9v.css",
                    "assets/NewTask-OZrYd6XF.css",
                    "assets/editor.worker-CnJPU9cP.js",
                    "assets/Admin-D4MQFDx0.css.br",
                    "assets/selection-CNq0kV96.css",
                    // All letters.
                    "assets/index-DiwrgTda.css",
                    "assets/legacy-CiOctGuC.js",
                    "assets/Review-BMffOhLO.css",
                    "assets/DangerZone-zhCzMBiv.css",
                    "assets/Home-KeWXtvrE.css",
                    "assets/LogViewer-DGtsjbjF.js",
                    "assets/label-CfZeyapU.js.br",
                    "assets/onboarding-img-DYYUQCym.png",
                    "assets/geist-latin-wght-normal-BgDaEnEv.woff2",
                    "assets/inter-v12-latin-regular-YtgfLPRn.woff2",
                    // Not all.
                    "assets/SessionsPage-Dyc2erDS.css",
                    "assets/card-CE7dudgW.js.br",
                    "assets/switch-81QBq1z-.js",
                    "assets/tabs-ByC-Fkf-.js",
                    "assets/logo-mMj6RjZp.svg",
                    "assets/codicon-DCmgc-ay.ttf",
                    "assets/nunito-cyrillic-400-normal-xAOo5cBP.woff2",
                    "assets/static/Layout.DNEofm3j.css",
                    // Until Vite 4, hexadecimal.
                    "assets/editor.worker.b9d8707e.js",
                    "assets/bn.js.387b47fa.js",
                    "assets/date-fns.ecfd739c.js",
                ][..],
            ),
            (
                "Rollup",
                &[
                    "chunk-a1b2c3d4.js",
                    "js/vendor-BMffOhLO.js",
                    "entry-eN3E5CF0.mjs",
                ],
            ),
            (
                "webpack",
                &[
                    "main.8e0d62a10b0c2d1c1c8f.js",
                    "2.1a2b3c4d.chunk.js",
                    "bundle.4f2c0d3f5a6b7c8d9e0f.js",
                    "1fc3d7a2b0c4e5f60718.png",
                    "css/app.d4c8a9f0.css",
                    "js/chunk-vendors.0c4d2f1e.js",
                ],
            ),
            (
                "Create React App",
                &[
                    "static/css/main.073c9b0a.css",
                    "static/js/787.5f0a3b1c.chunk.js",
                    "static/js/main.8e0d62a1.js.map",
                    "static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
                ],
            ),
            (
                "esbuild",
                &[
                    "app-QK3KZ5CV.js",
                    "chunk-OWLSIX54.js",
                    "chunk-ABCDEFGH.js",
                    "root-7E5VN3PX.js",
                ],
            ),
            (
                "Angular",
                &[
                    "main-Z4FBT2QK.js",
                    "polyfills-B6TNHZQ3.js.gz",
                    "chunk-YPBHGZKJ.js",
                    "main.0123456789abcdef.js",
                    "styles.ef46db3751d8e999.css",
                    "runtime.cc8a4ba1f0e2d3b4.js",
                ],
            ),
            (
                "Parcel",
                &[
                    "index.7f3a9c21.js",
                    "logo.0b1c2d3e.png",
                    "src.fbed56e1.css",
                    "app.d2aa9ebe.js",
                ],
            ),
            (
                "Next",
                &[
                    "_next/static/chunks/webpack-aa3032f54a56dedc.js",
                    "_next/static/chunks/c9a40420-4bfb41be47fc0950.js",
                    "_next/static/chunks/app/layout-0d504051a85f0fe7.js",
                    "_next/static/chunks/pages/_app-4ce47ffa64d5cee5.js",
                    "_next/static/css/94fdbc56eafa2039.css",
                    "_next/static/media/4cf2300e9c8272f7-s.p.woff2",
                    "_next/static/media/83afe278b6a6bb3c-s.p.3a6ba036.woff2",
                    "base/_next/static/chunks/0i6~x_z.4k2-q.js",
                    "_next/static/chunks/turbopack-08c3~.w_1fk9z.js",
                    "_next/static/chunks/2f3a9c0d1e4b5a67.js",
                ],
            ),
            (
                "Nuxt",
                &[
                    "_nuxt/entry.BYvK0zCk.css",
                    "_nuxt/DlAUqK2U.js",
                    "_nuxt/DiwrgTda.js",
                ],
            ),
            (
                "Astro",
                &[
                    "_astro/hoisted.BYvK0zCk.js",
                    "_astro/Layout.DiwrgTda.css",
                    "_astro/penguin.Bi9sHvX2_Z1abcDE.webp",
                    "_astro/about.3f2a9c01.css",
                ],
            ),
            (
                "SvelteKit",
                &[
                    "_app/immutable/entry/start.DiwrgTda.js",
                    "_app/immutable/chunks/index.js",
                    "base/_app/immutable/assets/0.abcdefgh.css",
                ],
            ),
            (
                "Gatsby",
                &[
                    "app-8e0d62a10b0c2d1c1c8f.js",
                    "component---src-pages-index-js-4f2c0d3f5a6b7c8d9e0f.js",
                    "styles.8e0d62a10b0c2d1c1c8f.css",
                ],
            ),
            (
                "Docusaurus",
                &[
                    "assets/js/17896441.1a2b3c4d.js",
                    "assets/css/styles.5e2f9a0b.css",
                ],
            ),
            (
                "Hugo",
                &[
                    &format!("style.min.{long}.css"),
                    &format!("main.{long}{long}.css"),
                ],
            ),
            (
                "Rails",
                &[
                    &format!("assets/application-{long}.css"),
                    "assets/application-8f6a1d2b.css",
                    "assets/controllers/hello_controller-549135e8e7c683a538c3d6d517339ba470fcfb79.js",
                ],
            ),
            (
                "Phoenix",
                &["assets/app-4f2c0d3f5a6b1c8d9e0f4f2c0d3f5a6b.js"],
            ),
            ("Django", &["static/css/base.27e20196a850.css"]),
            (
                "Trunk",
                &["app-8e0d62a10b0c2d1c.js", "app-8e0d62a10b0c2d1c_bg.wasm"],
            ),
            (
                "rustdoc and mdBook",
                &[
                    "static.files/rustdoc-17e0aaed.css",
                    "static.files/SourceSerif4-Regular-6b053e98.ttf.woff2",
                    "toc-7d3893f2.js",
                    "elasticlunr-ef4e11c1.min.js",
                ],
            ),
        ] {
            assert!(!names.is_empty(), "{tool}");
            check(names, true);
        }
    }

    #[test]
    fn names_that_resemble_fingerprints_are_not_recognized() {
        check(
            &[
                // Words, in all cases.
                "bootstrap.min.css",
                "index-internal.js",
                "foo-decoupled.css",
                "my-component.js",
                "chart-umd.js",
                "font-awesome.css",
                "facade.js",
                "lib-deadbeef.js",
                "user-settings.js",
                "checkout-complete.css",
                "app-settings.js",
                "app-SETTINGS.js",
                "main-SETTINGS.js",
                "index-TYPEFACE.js",
                "main-VERSION2.js",
                "lib-HTML2PDF.js",
                "lib-BASE64JS.js",
                "lib-D3DCOLOR.js",
                "team-Members1.js",
                "assets/team-Members.js",
                "assets/team-Members1.js",
                "README-PORTUGUE.md",
                // Camel case.
                "assets/lib-useQuery.js",
                "assets/lib-GitHubUI.js",
                "assets/lib-MyTheme2.js",
                "assets/lib-HTMLView.js",
                "assets/lib-YouTube2.js",
                "assets/Inter-SemiBold.woff2",
                "lib-IPv6Stub.js",
                "assets/lib-hexToInt.js",
                "assets/lib-BTreeMap.js",
                "assets/lib-X509Cert.css",
                "assets/index-SemiBold.css",
                "assets/button-Disabled.css",
                "assets/net-IPv6Stub.js",
                "assets/net-IPv4-NAT.js",
                "assets/three-FXAAPass.js",
                "assets/three-Canvas2D.js",
                "assets/gpu-Uint32x4.wasm",
                "assets/list-UserIDs.js",
                "assets/lib-CssToJsx.js",
                "assets/lib-BaseURLs.js",
                "assets/lib-DotDotEq.js",
                "assets/chart-xAxisKey.svg",
                "assets/IPv6Stub.js",
                "assets/net-IPv6Stub.png",
                "assets/js/net-IPv6Stub.js",
                "lib-IPv4-NAT.js",
                "lib-BTreeMap.js",
                "implementors/trait.LowerExp.js",
                "struct.AtomicU8.js",
                // Numbers, dates, versions.
                "jquery-3.7.1.min.js",
                "react-18.2.0.js",
                "v1.2.3.js",
                "lib-1.10.0.css",
                "app-1.2.3-14-g1a2b3c4.js",
                "app-1.2.3-14-g1a2b3c4d.js",
                "photo-12345678.jpg",
                "IMG_20231224.jpg",
                "photo-IMG_1234.jpg",
                "photo-20240131.jpg",
                "photo-9dec2023.jpg",
                "photo-1feb2024.jpg",
                "photo-a1234567.jpg",
                "photo-20231224.png",
                "photo-2024-01-31.jpg",
                "cafe-cafe2024.jpg",
                "call-4930123456.png",
                "call-0049301234567890.png",
                "1700000000000.png",
                "icon-24x24.png",
                "icon-256x256.png",
                // Identifiers.
                "550e8400-e29b-41d4-a716-446655440000.png",
                "user-550e8400-e29b-41d4-a716-446655440abc.png",
                "user-550e8400e29b41d4a716446655440000.png",
                "avatar-507f1f77bcf86cd799439011.jpg",
                "9f8e7d6c5b4a39281706f5e4d3c2b1a0.png",
                "3f2a9c01.js",
                // Pages, documents, data, archives; names without an extension.
                "deadbeef.html",
                "index-BsYhmk3H.html",
                "about.8e0d62a10b0c2d1c1c8f.html",
                "report-20240131.pdf",
                "report-1a2b3c4d.pdf",
                "data-1a2b3c4d.json",
                "nightly-1a2b3c4d.tar.gz",
                "index-BsYhmk3H",
                "8e0d62a10b0c2d1c1c8f",
                ".8e0d62a10b0c2d1c1c8f",
                "BsYhmk3H.js",
                "-BsYhmk3H.js",
                // The name of a directory does not count, nor does one that only resembles a framework's.
                "index-BsYhmk3H/logo.png",
                "8e0d62a10b0c2d1c1c8f/app.js",
                "my_app/immutable/index.js",
                "_app/version.js",
                "_app/immutable/index.html",
                "_astro/Layout.css",
                "_nuxt/entry.js",
                "_nuxt/builds/latest.json",
                "_nuxt/builds/BYvK0zCk.js",
                "_next/static/chunks/main.js",
                "_next/static/chunks/react-refresh.js",
                "_next/static/Xk3f9aQ1bC/_buildManifest.js",
                "_next/image.js",
                "",
                "/",
                "a/",
                "\u{e9}-BsYhmk3H.js",
            ],
            false,
        );
        assert!(!has_content_hash(b"\xff-BsYhmk3H.js"));
    }

    #[test]
    fn word_like_hashes_are_not_recognized() {
        check(
            &[
                "assets/index-DowUdDer.css",
                "assets/index-Deliptp2.css",
                "assets/index-dbbkywrm.css",
                "js/vendor-CiOctGuC.js",
                "src.b3849364.js",
                "main-SCRIPTED.js",
                "index-ae4zhbs8.js",
            ],
            false,
        );
    }

    /// Returns a generator of pseudo-random numbers, the same each time.
    fn random() -> impl FnMut(usize) -> usize {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % below
        }
    }

    /// Returns the share in per mille of names with these hashes that is not recognized.
    fn missed_per_mille(hash: impl FnMut() -> String, name: impl Fn(&str) -> String) -> usize {
        let count = 20_000;
        let missed = std::iter::repeat_with(hash)
            .take(count)
            .filter(|hash| !has_content_hash(name(hash).as_bytes()))
            .count();
        1000 * missed / count
    }

    /// Returns the same share for random hashes.
    fn missed_random_per_mille(alphabet: &str, len: usize, name: impl Fn(&str) -> String) -> usize {
        let mut random = random();
        let alphabet = alphabet.as_bytes();
        let hash = || {
            (0..len)
                .map(|_| char::from(alphabet[random(alphabet.len())]))
                .collect()
        };
        missed_per_mille(hash, name)
    }

    #[test]
    fn false_negative_rate_is_as_documented() {
        let hex = "0123456789abcdef";
        let base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // The first digit of 128 bits is one of four, and an `A` is not written.
        let rollup = |name: fn(&str) -> String| {
            let mut random = random();
            let hash = || {
                let mut digits: String = (0..22)
                    .map(|at| char::from(base64.as_bytes()[random(if at == 0 { 4 } else { 64 })]))
                    .collect();
                digits = digits.trim_start_matches('A').to_owned();
                digits.truncate(8);
                digits
            };
            missed_per_mille(hash, name)
        };
        let base40 = "0123456789abcdefghijklmnopqrstuvwxyz_-~.";
        for (label, missed, expected) in [
            (
                "hex 8",
                missed_random_per_mille(hex, 8, |hash| format!("a-{hash}.js")),
                80..100,
            ),
            (
                "hex 12",
                missed_random_per_mille(hex, 12, |hash| format!("a-{hash}.js")),
                8..20,
            ),
            (
                "hex 16",
                missed_random_per_mille(hex, 16, |hash| format!("a.{hash}.js")),
                0..3,
            ),
            (
                "hex 32",
                missed_random_per_mille(hex, 32, |hash| format!("a.{hash}.js")),
                25..40,
            ),
            (
                "hex 64",
                missed_random_per_mille(hex, 64, |hash| format!("a.{hash}.js")),
                0..1,
            ),
            (
                "chunk",
                missed_random_per_mille(base32, 8, |hash| format!("chunk-{hash}.js")),
                0..1,
            ),
            (
                "main",
                missed_random_per_mille(base32, 8, |hash| format!("main-{hash}.js")),
                165..190,
            ),
            (
                "base32",
                missed_random_per_mille(base32, 8, |hash| format!("a-{hash}.js")),
                340..370,
            ),
            (
                "base64",
                missed_random_per_mille(base64, 8, |hash| format!("a-{hash}.js")),
                75..95,
            ),
            (
                "assets",
                missed_random_per_mille(base64, 8, |hash| format!("assets/a-{hash}.js")),
                50..65,
            ),
            (
                "assets of other types",
                missed_random_per_mille(base64, 8, |hash| format!("assets/a-{hash}.woff2")),
                50..65,
            ),
            (
                "Vite",
                rollup(|hash| format!("assets/a-{hash}.css")),
                35..48,
            ),
            (
                "_astro",
                missed_random_per_mille(base64, 8, |hash| format!("_astro/a.{hash}.js")),
                0..25,
            ),
            (
                "_nuxt",
                missed_random_per_mille(base64, 8, |hash| format!("_nuxt/{hash}.js")),
                0..25,
            ),
            (
                "_next",
                missed_random_per_mille(base40, 13, |hash| {
                    format!("_next/static/chunks/{hash}.js")
                }),
                0..60,
            ),
        ] {
            assert!(expected.contains(&missed), "{label}: {missed} of 1000");
        }
    }

    /// Identifiers of 8 characters from packages of npm and crates.io.
    const IDENTIFIERS: &str = "\
        AltGraph ArgGroup AsciiExt AsmMacro AtomicI8 AttrItem BTreeMap CVarArgs CfgEntry DataNode DerefMut \
        DotDotEq DotEqual EarlGrey ExprCall FieldPat FileName FmtWrite IndexMut IntoIter ItemEnum IterImpl \
        LazyLock LexError LineFeed LowerExp MenuItem MetaItem MetaList ModSpans NakedAsm NoBraces NodeList \
        NodePath OffsetOf OnceCell OsString PageDown PairsMut PartialD PatField PatIdent RawValue ReactDOM \
        SeekFrom SmallRng SomeType StdError StepIcon StrStyle TextArea ToString UpperExp UpperHex VarError \
        VisitMut addChild afterAll applyDec arrowRef autoLock autoPlay basePath binPaths byteSize cacheKey \
        cacheMap callBind charCode clipRule currentX currentY dataType distName edgesOut emitData endsWith \
        eventKey execArgv execOpts execPath execSync exitCode flexGrow fromJSON getLabel getMonth getProto \
        getStyle gitRange halfSize hasClass hasMagic iconName iconNode isBuffer isInside isMobile isNative \
        isPaused isPseudo isSocket isStatic isString itemIcon itemProp keyValue lastItem lastNeed lastTime \
        loadData maxDepth maxItems maxLevel maxValue minValue moveFile newIndex newProps newWidth nextOpen \
        nextTick nodePath notEqual noteOnce onExpand onResult onSeeked onSelect onSubmit onUpdate padStart \
        pathPart propType readOnly rootNode setCount setMonth shiftKey showIcon showLine statSync toString \
        treeSize trimLeft typeName valueSet viewSize writeErr writeOut";

    /// Words of 8 letters, and of 4, from wamerican.
    const WORDS: &str = "\
        alcohols assisted asterisk balanced blearier botanist breather brimfull broadest catacomb catheter \
        clayiest clouting cresting dandling distaffs drouthes drowsing dwelling faceting fondling foregone \
        friskily gladness glaziers hashtags jonquils lamppost obsessed offbeats palmiest question remedial \
        reprisal residues rustiest scenting sedition semester shamrock solitary sparking speedier squeaked \
        stagings stiffest stopgaps stranger studlier swapping theorize thimbles topology trapdoor trundled \
        tumbrils unloaded webinars wickeder wrappers";
    const HALVES: &str = "\
        alum anti axis ball blow blue bode boon brim burr bush coax coil corn crap cult dewy dike dull duns \
        dyer ease emit fiat flab flay flit grep guru hats hike idea jerk josh kilo labs lake lamp leer lees \
        life lira loaf lust milk nibs noes oats palm path pick pile ploy psst rend rims robs sari seed seep \
        sore sups swop tern ting want wean weep when yest";

    #[test]
    fn false_positive_rate_is_as_documented() {
        let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
        let mut names: Vec<String> = IDENTIFIERS.split_whitespace().map(str::to_owned).collect();
        for word in WORDS.split_whitespace() {
            names.extend([word.to_owned(), word.to_uppercase(), capitalized(word)]);
            names.push(capitalized(&word[..7]) + "2");
        }
        for first in HALVES.split_whitespace() {
            for second in HALVES.split_whitespace() {
                names.push(capitalized(first) + &capitalized(second));
                names.push(first.to_owned() + &capitalized(second));
                names.push(first.to_uppercase() + &second.to_uppercase());
            }
        }
        assert!(names.len() > 10_000);
        let taken: Vec<&String> = names
            .iter()
            .filter(|name| has_content_hash(format!("assets/index-{name}.css").as_bytes()))
            .collect();
        assert!(1000 * taken.len() <= names.len(), "{taken:?}");
    }

    #[test]
    fn cache_control_and_its_reason() {
        let hash = || CacheReason::ContentHash("BsYhmk3H".to_owned());
        for (policy, path, is_private, value, reason) in [
            (
                CachePolicy::Auto,
                "index.html",
                false,
                "no-cache",
                CacheReason::NoHash,
            ),
            (
                CachePolicy::Auto,
                "index.html",
                true,
                "no-cache",
                CacheReason::NoHash,
            ),
            (
                CachePolicy::Auto,
                "a-BsYhmk3H.js",
                false,
                "public, max-age=31536000, immutable",
                hash(),
            ),
            (
                CachePolicy::Auto,
                "a-BsYhmk3H.js",
                true,
                "private, max-age=31536000, immutable",
                hash(),
            ),
            (
                CachePolicy::Auto,
                "_app/immutable/a.js",
                false,
                "public, max-age=31536000, immutable",
                CacheReason::FrameworkDir("_app/immutable"),
            ),
            (
                CachePolicy::Off,
                "a-BsYhmk3H.js",
                false,
                "no-store",
                CacheReason::Off,
            ),
            (
                CachePolicy::MaxAge(60),
                "a-BsYhmk3H.js",
                false,
                "public, max-age=60",
                CacheReason::MaxAge(60),
            ),
            (
                CachePolicy::MaxAge(0),
                "index.html",
                true,
                "private, max-age=0",
                CacheReason::MaxAge(0),
            ),
        ] {
            let control = policy.cache_control(path.as_bytes(), is_private);
            assert_eq!(
                (control.value.as_ref(), control.reason),
                (value, reason),
                "{path}"
            );
        }
    }

    #[test]
    fn cache_option_is_parsed() {
        assert_eq!("auto".parse(), Ok(CachePolicy::Auto));
        assert_eq!("off".parse(), Ok(CachePolicy::Off));
        assert_eq!("3600".parse(), Ok(CachePolicy::MaxAge(3600)));
        for text in ["", "Auto", "on", "-1", "1h", "4294967296"] {
            let error = text.parse::<CachePolicy>().expect_err(text);
            assert!(
                error.starts_with(&format!("`{text}` is neither")),
                "{error}"
            );
        }
    }
}
