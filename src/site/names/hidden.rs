//! Names that begin with a dot, which are not served unless asked for.

/// Directory that is served although its name begins with a dot (RFC 8615).
pub(crate) const WELL_KNOWN: &[u8] = b".well-known";

/// Whether a path below the root is hidden because a name in it begins with a dot, other than a leading
/// `.well-known`.
#[must_use]
pub fn is_hidden(path: &[u8]) -> bool {
    let mut names = path.split(|&byte| byte == b'/').enumerate();
    names.any(|(depth, name)| name.starts_with(b".") && !(depth == 0 && name == WELL_KNOWN))
}
