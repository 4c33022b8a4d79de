//! Paths as bytes, with `/` between their segments.

/// Splits a path before its last segment: the directory, without a slash at its end, and the name.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Returns the last segment of a path, which is empty after a slash at its end.
pub(crate) fn last_segment(path: &[u8]) -> &[u8] {
    split_path(path).1
}
