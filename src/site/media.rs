//! File name to media type, by the `mime_guess` crate with our corrections.

/// What `mime_guess` says otherwise, or says nothing of.
const CORRECTIONS: &[(&[u8], &str)] = &[
    // RFC 9239: the one type for scripts, modules included.
    (b"js", "text/javascript"),
    (b"mjs", "text/javascript"),
    // A source map is JSON.
    (b"map", "application/json"),
    // A video stream, not DLNA's name for it.
    (b"ts", "video/mp2t"),
];

/// The media type of a file with this name, with `charset=utf-8` on text, and
/// `application/octet-stream` for what nothing is known of. Only the extension counts, without
/// regard to case.
pub(super) fn media_type(name: &[u8]) -> String {
    let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let extension = match name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) if dot > 0 => &name[dot + 1..],
        _ => b"",
    };
    let corrected = |(known, _): &&(&[u8], &str)| extension.eq_ignore_ascii_case(known);
    let essence = match CORRECTIONS.iter().find(corrected) {
        Some((_, corrected)) => (*corrected).to_owned(),
        None => std::str::from_utf8(extension)
            .ok()
            .and_then(|extension| mime_guess::from_ext(extension).first_raw())
            .unwrap_or("application/octet-stream")
            .to_owned(),
    };
    if essence.starts_with("text/") {
        essence + "; charset=utf-8"
    } else {
        essence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_decide() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.c/INDEX.HTM", "text/html; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.MJS", "text/javascript; charset=utf-8"),
            ("app.js.map", "application/json"),
            ("data.json", "application/json"),
            ("figure.svg", "image/svg+xml"),
            ("favicon.ico", "image/x-icon"),
            ("font.woff2", "font/woff2"),
            ("app.wasm", "application/wasm"),
            ("photo.jpeg", "image/jpeg"),
            ("film.mp4", "video/mp4"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("notes.md", "text/markdown; charset=utf-8"),
            ("README", "application/octet-stream"),
            ("folder.html/README", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(media_type(b"\xff.html"), "text/html; charset=utf-8");
        assert_eq!(media_type(b"a.\xff"), "application/octet-stream");
    }
}
