//! Media types by file name extension: configured ones, corrections, and the `mime_guess` crate's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::files::text::{text_lines, utf_8};
use crate::http::{parse_parameter, split_media_type, split_parameters};
use crate::path::last_segment;

/// Media type of files with an unknown extension.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// Media types by file name extension: the built-in ones, and those that the user has added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTypes {
    /// Content-Type values by extension in lower case.
    configured: BTreeMap<String, String>,
}

/// Media type, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Content-Type value: type, subtype and parameters.
    pub value: Cow<'static, str>,
    /// Source of the media type.
    pub source: MediaTypeSource,
}

/// Source of a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypeSource {
    /// Configured by the user.
    Configured,
    /// Table of corrections.
    Corrected,
    /// `mime_guess` crate.
    Known,
    /// None: the name has no extension, or an unknown one.
    Unknown,
}

/// Error in media types that the user has configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypesError {
    /// Line of the file, counted from one; `None` for the file as a whole.
    pub line: Option<usize>,
    /// Cause, and what to write instead.
    pub reason: String,
}

impl MediaTypes {
    /// Parses a file in the format of Apache's mime.types: in each line a type and its extensions, separated by white
    /// space. A `#` at the start of a word begins a comment. A type without extensions has no effect. Of two lines with
    /// the same extension the later one applies.
    ///
    /// # Errors
    /// Returns [`MediaTypesError`] with the line, if a type or an extension is malformed.
    pub fn parse(file: &[u8]) -> Result<Self, MediaTypesError> {
        let mut types = Self::default();
        let lines = text_lines(file).map_err(|reason| MediaTypesError { line: None, reason })?;
        for (line, text) in lines {
            let parsed = utf_8(text).and_then(|text| types.parse_line(text));
            parsed.map_err(|reason| MediaTypesError {
                line: Some(line),
                reason,
            })?;
        }
        Ok(types)
    }

    /// Parses one type as on the command line: `.ext=type`, with or without the dot.
    ///
    /// # Errors
    /// One sentence, if the form, the type or the extension is malformed.
    pub fn parse_pair(pair: &str) -> Result<Self, String> {
        let mut types = Self::default();
        match pair.split_once('=') {
            Some((name, media_type)) => types.insert(name.trim(), media_type.trim())?,
            None => return Err(format!("`{pair}` is not of the form .ext=type/subtype")),
        }
        Ok(types)
    }

    /// Adds other configured types, which take precedence.
    pub fn merge(&mut self, later: Self) {
        self.configured.extend(later.configured);
    }

    /// Returns the media type of a file with this name or path. The extension is the text after the last dot of the
    /// last segment, without regard to case; a segment's leading dot does not begin one.
    ///
    /// Text gets `charset=utf-8`, except XML and SVG, which declare their encoding themselves, and types that the user
    /// has given another charset.
    #[must_use]
    pub fn media_type(&self, name: &[u8]) -> MediaType {
        let lower = extension(name).to_ascii_lowercase();
        let Some(extension) = std::str::from_utf8(&lower)
            .ok()
            .filter(|extension| !extension.is_empty())
        else {
            return MediaType {
                value: Cow::Borrowed(OCTET_STREAM),
                source: MediaTypeSource::Unknown,
            };
        };
        if let Some(added) = self.configured.get(extension) {
            return MediaType {
                value: Cow::Owned(added.clone()),
                source: MediaTypeSource::Configured,
            };
        }
        let corrected = CORRECTIONS.iter().find(|(found, _)| *found == extension);
        let (text, source) = match corrected {
            Some((_, corrected)) => (*corrected, MediaTypeSource::Corrected),
            None => match mime_guess::from_ext(extension).first_raw() {
                Some(found) => (found, MediaTypeSource::Known),
                None => (OCTET_STREAM, MediaTypeSource::Unknown),
            },
        };
        MediaType {
            value: with_charset(text),
            source,
        }
    }

    fn parse_line(&mut self, line: &str) -> Result<(), String> {
        let mut words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'));
        let Some(media_type) = words.next() else {
            return Ok(());
        };
        if media_type.ends_with(';') {
            return Err(format!(
                "`{media_type}`: write the parameters of a type without spaces"
            ));
        }
        // A type without extensions is checked, too, so that a mistake is not missed.
        let media_type = parse_media_type(media_type)?;
        for name in words {
            self.insert_checked(name, &media_type)?;
        }
        Ok(())
    }

    fn insert(&mut self, name: &str, media_type: &str) -> Result<(), String> {
        let media_type = parse_media_type(media_type)?;
        self.insert_checked(name, &media_type)
    }

    fn insert_checked(&mut self, name: &str, media_type: &str) -> Result<(), String> {
        let extension = name.strip_prefix('.').unwrap_or(name);
        let is_part =
            |char: char| !char.is_control() && !char.is_whitespace() && !"/;,=\"".contains(char);
        if extension.contains('.') {
            let (_, last) = extension.rsplit_once('.').unwrap_or_default();
            return Err(format!(
                "`{name}`: only what follows the last dot of a name counts; write `.{last}`"
            ));
        }
        if extension.is_empty() || !extension.chars().all(is_part) {
            return Err(format!(
                "`{name}` is not a file name extension such as `.html`"
            ));
        }
        self.configured
            .insert(extension.to_ascii_lowercase(), media_type.to_owned());
        Ok(())
    }
}

impl fmt::Display for MediaTypesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for MediaTypesError {}

/// Whether this is the media type of HTML, with any parameters.
pub(crate) fn is_html(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case("text/html")
}

/// Whether content of this type becomes smaller by compression: text, formats based on text, and binary formats
/// without compression of their own. Compressed formats and unknown types do not.
#[must_use]
pub(crate) fn is_compressible(media_type: &str) -> bool {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let compressible = |listed: &str| match (listed.strip_prefix('*'), listed.strip_suffix('*')) {
        (Some(end), _) => essence.ends_with(end),
        (_, Some(start)) => essence.starts_with(start),
        _ => essence == listed,
    };
    COMPRESSIBLE.iter().any(|listed| compressible(listed))
}

/// Returns the text after the last dot of the last segment, unless the segment begins with that dot.
pub(crate) fn extension(name: &[u8]) -> &[u8] {
    let name = last_segment(name);
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) if dot > 0 => &name[dot + 1..],
        _ => b"",
    }
}

/// Parses a configured type, and returns the Content-Type value.
fn parse_media_type(media_type: &str) -> Result<String, String> {
    let mut parts = split_parameters(media_type.as_bytes());
    let is_valid = parts
        .next()
        .and_then(split_media_type)
        .is_some_and(|(kind, subtype)| kind != b"*" && subtype != b"*");
    if !is_valid || !media_type.is_ascii() || !parts.all(|part| parse_parameter(part).is_some()) {
        return Err(format!(
            "`{media_type}` is not a media type such as text/plain or text/plain;charset=utf-8"
        ));
    }
    Ok(with_charset(media_type).into_owned())
}

/// Adds `charset=utf-8` to a text type without a charset, except XML.
fn with_charset(media_type: &str) -> Cow<'_, str> {
    let mut parts = split_parameters(media_type.as_bytes());
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_charset =
        |part| parse_parameter(part).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
    // The parameter would overrule the declaration that XML begins with (RFC 7303 section 3).
    let is_xml = essence.starts_with(b"text/xml") || essence.ends_with(b"+xml");
    match essence.starts_with(b"text/") && !is_xml && !parts.any(is_charset) {
        true => Cow::Owned(format!("{media_type}; charset=utf-8")),
        false => Cow::Borrowed(media_type),
    }
}

/// Types that `mime_guess` lacks or has otherwise. They are IANA's registered types, where there is one.
const CORRECTIONS: &[(&str, &str)] = &[
    // RFC 9239: the one type for scripts, modules included.
    ("cjs", "text/javascript"),
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    // A source map is JSON (ECMA-426).
    ("map", "application/json"),
    ("ndjson", "application/x-ndjson"),
    ("topojson", "application/json"),
    ("toml", "application/toml"),
    // RFC 9512.
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("sql", "application/sql"),
    ("vcf", "text/vcard"),
    ("wgsl", "text/wgsl"),
    // Shown by browsers, not downloaded.
    ("adoc", "text/plain"),
    ("diff", "text/plain"),
    ("md5", "text/plain"),
    ("patch", "text/plain"),
    ("rst", "text/plain"),
    ("sha1", "text/plain"),
    ("sha256", "text/plain"),
    ("sha512", "text/plain"),
    // RFC 8081.
    ("otf", "font/otf"),
    ("woff", "font/woff"),
    // Images. Cursors have no type of their own; browsers treat them as icons.
    ("cur", "image/x-icon"),
    ("ktx2", "image/ktx2"),
    ("psd", "image/vnd.adobe.photoshop"),
    // Compressed SVG would need a Content-Encoding to be an image.
    ("svgz", "application/gzip"),
    // HTTP Live Streaming playlists and segments (RFC 8216), not DLNA's types.
    ("m2t", "video/mp2t"),
    ("m2ts", "video/mp2t"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4s", "video/iso.segment"),
    ("mts", "video/mp2t"),
    ("ts", "video/mp2t"),
    ("m4a", "audio/mp4"),
    ("m4b", "audio/mp4"),
    // RFC 9559.
    ("mka", "audio/matroska"),
    ("mkv", "video/matroska"),
    // The type that browsers and players accept; MIDI has no registered one.
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    // Models.
    ("3mf", "model/3mf"),
    ("mtl", "model/mtl"),
    ("obj", "model/obj"),
    ("step", "model/step"),
    ("stl", "model/stl"),
    ("stp", "model/step"),
    ("usdz", "model/vnd.usdz+zip"),
    ("wrl", "model/vrml"),
    // Archives and packages.
    ("deb", "application/vnd.debian.binary-package"),
    ("rar", "application/vnd.rar"),
    ("rpm", "application/x-rpm"),
    ("sqlite", "application/vnd.sqlite3"),
    ("tgz", "application/gzip"),
    ("zst", "application/zstd"),
];

/// Types that compression makes smaller; `*` matches any beginning or end.
const COMPRESSIBLE: &[&str] = &[
    "text/*",
    "*+json",
    "*+text",
    "*+xml",
    "*+yaml",
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/json5",
    "application/n-quads",
    "application/n-triples",
    "application/postscript",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/trig",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-perl",
    "application/x-sh",
    "application/x-sql",
    "application/x-subrip",
    "application/x-tar",
    "application/x-tex",
    "application/x-yaml",
    "application/xml",
    "application/xml-dtd",
    "application/yaml",
    // WOFF and WOFF 2 are compressed; these are not.
    "font/collection",
    "font/otf",
    "font/sfnt",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "image/x-ms-bmp",
    "model/mtl",
    "model/obj",
    "model/step",
    "model/stl",
    "model/vrml",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(types: &MediaTypes, rows: &[(&str, &str, MediaTypeSource)]) {
        for (name, expected, source) in rows {
            let media = types.media_type(name.as_bytes());
            assert_eq!(
                (media.value.as_ref(), media.source),
                (*expected, *source),
                "{name}"
            );
        }
    }

    #[test]
    fn media_type_follows_the_extension() {
        use MediaTypeSource::{Corrected, Known, Unknown};
        check(
            &MediaTypes::default(),
            &[
                ("index.html", "text/html; charset=utf-8", Known),
                ("a/b.c/INDEX.HTM", "text/html; charset=utf-8", Known),
                ("a.xhtml", "application/xhtml+xml", Known),
                ("style.css", "text/css; charset=utf-8", Known),
                ("app.js", "text/javascript; charset=utf-8", Corrected),
                ("app.MJS", "text/javascript; charset=utf-8", Corrected),
                ("app.cjs", "text/javascript; charset=utf-8", Corrected),
                ("app.js.map", "application/json", Corrected),
                ("app.wasm", "application/wasm", Known),
                ("site.webmanifest", "application/manifest+json", Known),
                // Data.
                ("data.json", "application/json", Known),
                ("data.jsonld", "application/ld+json", Known),
                ("data.geojson", "application/geo+json", Known),
                ("data.topojson", "application/json", Corrected),
                ("data.ndjson", "application/x-ndjson", Corrected),
                ("data.yaml", "application/yaml", Corrected),
                ("data.yml", "application/yaml", Corrected),
                ("data.toml", "application/toml", Corrected),
                ("data.csv", "text/csv; charset=utf-8", Known),
                ("data.xml", "text/xml", Known),
                ("feed.atom", "application/atom+xml", Known),
                ("feed.rss", "application/rss+xml", Known),
                // Shown, not downloaded.
                ("notes.txt", "text/plain; charset=utf-8", Known),
                ("notes.md", "text/markdown; charset=utf-8", Known),
                ("access.log", "text/plain; charset=utf-8", Known),
                ("week.ics", "text/calendar; charset=utf-8", Known),
                ("card.vcf", "text/vcard; charset=utf-8", Corrected),
                ("book.pdf", "application/pdf", Known),
                ("book.epub", "application/epub+zip", Known),
                (
                    "a.docx",
                    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                    Known,
                ),
                // Images.
                ("figure.svg", "image/svg+xml", Known),
                ("figure.svgz", "application/gzip", Corrected),
                ("favicon.ico", "image/x-icon", Known),
                ("hand.cur", "image/x-icon", Corrected),
                ("photo.jpeg", "image/jpeg", Known),
                ("photo.avif", "image/avif", Known),
                ("photo.jxl", "image/jxl", Known),
                ("photo.webp", "image/webp", Known),
                ("photo.heic", "image/heic", Known),
                ("photo.heif", "image/heif", Known),
                ("photo.apng", "image/apng", Known),
                // Fonts.
                ("font.woff", "font/woff", Corrected),
                ("font.woff2", "font/woff2", Known),
                ("font.ttf", "font/ttf", Known),
                ("font.otf", "font/otf", Corrected),
                ("font.eot", "application/vnd.ms-fontobject", Known),
                // Audio, video, models.
                ("film.mp4", "video/mp4", Known),
                ("film.webm", "video/webm", Known),
                ("film.mkv", "video/matroska", Corrected),
                ("film.m3u8", "application/vnd.apple.mpegurl", Corrected),
                ("film.mpd", "application/dash+xml", Known),
                ("film0.ts", "video/mp2t", Corrected),
                ("film0.m4s", "video/iso.segment", Corrected),
                ("film.vtt", "text/vtt; charset=utf-8", Known),
                ("film.srt", "application/x-subrip", Known),
                ("song.mp3", "audio/mpeg", Known),
                ("song.opus", "audio/ogg", Known),
                ("song.wav", "audio/wav", Known),
                ("song.flac", "audio/flac", Known),
                ("song.m4a", "audio/mp4", Corrected),
                ("chair.glb", "model/gltf-binary", Known),
                ("chair.gltf", "model/gltf+json", Known),
                ("chair.usdz", "model/vnd.usdz+zip", Corrected),
                // Archives.
                ("a.tar.gz", "application/gzip", Known),
                ("a.tgz", "application/gzip", Corrected),
                ("a.zst", "application/zstd", Corrected),
                ("a.br", "application/octet-stream", Unknown),
                ("a.xz", "application/x-xz", Known),
                ("a.7z", "application/x-7z-compressed", Known),
                ("a.zip", "application/zip", Known),
                ("a.bin", "application/octet-stream", Known),
                // Unknown.
                ("README", "application/octet-stream", Unknown),
                ("folder.html/README", "application/octet-stream", Unknown),
                (".html", "application/octet-stream", Unknown),
                ("a.", "application/octet-stream", Unknown),
                ("a.unheard-of", "application/octet-stream", Unknown),
            ],
        );
        assert_eq!(
            MediaTypes::default().media_type(b"\xff.html").value,
            "text/html; charset=utf-8"
        );
        assert_eq!(
            MediaTypes::default().media_type(b"a.\xff").value,
            "application/octet-stream"
        );
    }

    #[test]
    fn each_correction_differs_from_mime_guess() {
        for (extension, corrected) in CORRECTIONS {
            let found = mime_guess::from_ext(extension).first_raw();
            // Earlier versions of mime_guess had another type for this one.
            assert!(
                *extension == "js" || found != Some(corrected),
                "{extension}"
            );
            assert!(
                CORRECTIONS
                    .iter()
                    .filter(|(other, _)| other == extension)
                    .count()
                    == 1,
                "{extension}"
            );
            parse_media_type(corrected).expect("a media type");
        }
    }

    #[test]
    fn configured_types_take_precedence() {
        let file = "\u{feff}# types\n\n\
            application/x-none\n\
            text/x-recipe  recipe .RCP # and no more\n\
            text/html;charset=iso-8859-1\thtml\r\n\
            application/x-shader glsl\n\
            text/x-shader glsl";
        let mut types = MediaTypes::parse(file.as_bytes()).expect("types");
        types.merge(
            MediaTypes::parse_pair(".rcp=text/x-Other; Charset=\"utf-16\"").expect("a type"),
        );
        types.merge(MediaTypes::parse_pair("log=application/x-log").expect("a type"));
        check(
            &types,
            &[
                (
                    "soup.recipe",
                    "text/x-recipe; charset=utf-8",
                    MediaTypeSource::Configured,
                ),
                (
                    "soup.Rcp",
                    "text/x-Other; Charset=\"utf-16\"",
                    MediaTypeSource::Configured,
                ),
                (
                    "old.HTML",
                    "text/html;charset=iso-8859-1",
                    MediaTypeSource::Configured,
                ),
                (
                    "a.glsl",
                    "text/x-shader; charset=utf-8",
                    MediaTypeSource::Configured,
                ),
                ("a.log", "application/x-log", MediaTypeSource::Configured),
                ("a.css", "text/css; charset=utf-8", MediaTypeSource::Known),
            ],
        );
    }

    #[test]
    fn malformed_type_is_named_in_the_error() {
        for (text, expected) in [
            (
                "text/plain txt\nplain txt",
                "line 2: `plain` is not a media type",
            ),
            ("text/* txt", "line 1: `text/*` is not a media type"),
            (
                "text/plain;charset txt",
                "line 1: `text/plain;charset` is not a media type",
            ),
            (
                "text/plain; charset=utf-8 txt",
                "line 1: `text/plain;`: write the parameters",
            ),
            (
                "text/html html htm;",
                "line 1: `htm;` is not a file name extension",
            ),
            (
                "\napplication/gzip tar.gz",
                "line 2: `tar.gz`: only what follows the last dot of a name counts; write `.gz`",
            ),
        ] {
            let malformed = MediaTypes::parse(text.as_bytes())
                .expect_err(text)
                .to_string();
            assert!(malformed.starts_with(expected), "{text:?}: {malformed}");
        }
        for (file, expected) in [
            (&b"\xff\xfea\0"[..], "the file is UTF-16: save it as UTF-8"),
            (b"\ntext/x \xff", "line 2: the file is not UTF-8"),
        ] {
            let malformed = MediaTypes::parse(file).expect_err(expected).to_string();
            assert!(malformed.starts_with(expected), "{malformed}");
        }
        for (pair, expected) in [
            (".md", "`.md` is not of the form .ext=type/subtype"),
            (".=text/plain", "`.` is not a file name extension"),
            ("=text/plain", "`` is not a file name extension"),
            (".a b=text/plain", "`.a b` is not a file name extension"),
            (".a/b=text/plain", "`.a/b` is not a file name extension"),
            (".md=", "`` is not a media type"),
            (".md=text", "`text` is not a media type"),
            (".md=text/plain;", "`text/plain;` is not a media type"),
            (".md=text/pläin", "`text/pläin` is not a media type"),
            (
                ".md=text/plain; a=\"\r\n\"",
                "`text/plain; a=\"\r\n\"` is not a media type",
            ),
            (
                ".tar.gz=application/gzip",
                "`.tar.gz`: only what follows the last dot",
            ),
        ] {
            let malformed = MediaTypes::parse_pair(pair).expect_err(pair).to_string();
            assert!(malformed.starts_with(expected), "{pair:?}: {malformed}");
        }
    }

    #[test]
    fn compressible_types() {
        for (media_type, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("text/javascript; charset=utf-8", true),
            ("application/json", true),
            ("application/ld+json", true),
            ("application/manifest+json;a=b", true),
            ("application/xhtml+xml", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("application/yaml", true),
            ("application/toml", true),
            ("application/vnd.apple.mpegurl", true),
            ("font/ttf", true),
            ("font/otf", true),
            ("application/vnd.ms-fontobject", true),
            ("image/x-icon", true),
            ("image/bmp", true),
            ("model/gltf+json", true),
            ("application/octet-stream", false),
            ("font/woff", false),
            ("font/woff2", false),
            ("image/png", false),
            ("image/avif", false),
            ("image/jpeg", false),
            ("video/mp4", false),
            ("video/mp2t", false),
            ("audio/mpeg", false),
            ("application/pdf", false),
            ("application/zip", false),
            ("application/gzip", false),
            ("application/epub+zip", false),
            ("application/json-like", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(media_type), expected, "{media_type}");
        }
        // Each listed type matches itself.
        for listed in COMPRESSIBLE {
            assert!(is_compressible(&listed.replace('*', "x")), "{listed}");
        }
    }
}
