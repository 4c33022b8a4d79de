//! A response field that the user configures, and the names that are reserved for the server.

use std::str::FromStr;

use crate::http::{Coding, FieldName};

/// Configured response field, from the command line or from a file: `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredField {
    /// Field name, never one of the reserved names.
    pub name: FieldName,
    /// Field value, without control characters except tabs. If empty, the field is not sent, not even where it is a
    /// default.
    pub value: String,
}

impl FromStr for ConfiguredField {
    type Err = String;

    /// Parses `Name: value`, or `Name:` for a field that is not sent.
    ///
    /// # Errors
    /// Returns the reason as a sentence without its full stop.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once(':') else {
            return Err(format!(
                "`{}` is not a field: write `Name: value`",
                text.escape_debug()
            ));
        };
        let name = parse_name(name.trim_ascii())?;
        let value = value.trim_ascii();
        // RFC 9110 section 5.5.
        if value
            .chars()
            .any(|char| char.is_ascii_control() && char != '\t')
        {
            return Err(format!(
                "the value of {} has a control character",
                name.as_str()
            ));
        }
        if value.is_empty() && name.is("Vary") {
            return Err(VARY_REMOVAL_ERROR.to_owned());
        }
        if name.is("Content-Encoding") && Coding::of_field_value(value).is_none() {
            return Err(CONTENT_ENCODING_ERROR.to_owned());
        }
        let value = value.to_owned();
        Ok(Self { name, value })
    }
}

impl ConfiguredField {
    /// Parses the name of a field that is not sent.
    ///
    /// # Errors
    /// The same as for parsing `Name:`.
    pub(crate) fn parse_removal(name: &str) -> Result<Self, String> {
        match name.contains(':') {
            true => Err(format!(
                "`! {name}` takes a field away: write its name alone"
            )),
            false => format!("{name}:").parse(),
        }
    }
}

/// Whether this field has a single value by its definition, so that recipients drop or misread a list of values. The
/// values of all other fields are joined with commas (RFC 9110 section 5.3).
pub(crate) fn is_singleton(name: &FieldName) -> bool {
    const SINGLE: &[&str] = &[
        "Access-Control-Allow-Credentials",
        "Access-Control-Allow-Origin",
        "Access-Control-Max-Age",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Location",
        "Content-Type",
        "Cross-Origin-Embedder-Policy",
        "Cross-Origin-Opener-Policy",
        "Cross-Origin-Resource-Policy",
        "Expires",
        "Origin-Agent-Cluster",
        "Refresh",
        "Retry-After",
        "Service-Worker-Allowed",
        "SourceMap",
        "Strict-Transport-Security",
    ];
    SINGLE.iter().any(|single| name.is(single))
}

const VARY_REMOVAL_ERROR: &str =
    "Vary tells caches what an answer was chosen by: it can be added to, not taken away";

const CONTENT_ENCODING_ERROR: &str = "Content-Encoding is the coding that a file itself is in: write gzip, br or zstd; which one of several is \
     sent, docroot chooses";

/// Fields that only the server may set, with the reason.
const RESERVED_FIELDS: &[(&str, &str)] = &[
    ("Accept-Ranges", "it tells what ranges are served"),
    ("Connection", "it is about the connection"),
    ("Content-Length", "it tells where the content ends"),
    ("Content-Range", "it tells which part is sent"),
    ("Date", "it tells the time of the answer"),
    ("ETag", "it tells one version of the file from another"),
    ("Keep-Alive", "it is about the connection"),
    (
        "Last-Modified",
        "it tells one version of the file from another",
    ),
    (
        "Location",
        "it belongs to a redirect; write a rule in _redirects instead",
    ),
    ("Proxy-Connection", "it is about the connection"),
    ("TE", "it is about the connection"),
    ("Trailer", "it is about the connection"),
    ("Transfer-Encoding", "it tells where the content ends"),
    ("Upgrade", "it is about the connection"),
    (
        "WWW-Authenticate",
        "it asks for a password; see --auth-file",
    ),
];

/// Parses a field name and rejects reserved ones.
fn parse_name(text: &str) -> Result<FieldName, String> {
    let escaped = text.escape_debug();
    let Some(name) = FieldName::new(text) else {
        return Err(match text.is_empty() {
            true => "there is no name before the colon: write `Name: value`".to_owned(),
            false => format!("`{escaped}` is not a field name: use letters, digits and hyphens"),
        });
    };
    if name.is("Basic-Auth") {
        // Netlify's own extension. Sent as a field it would disclose the passwords and protect nothing.
        let why = "Basic-Auth is not supported: use --auth-file";
        return Err(why.to_owned());
    }
    match RESERVED_FIELDS
        .iter()
        .find(|(reserved, _)| name.is(reserved))
    {
        Some((reserved, why)) => Err(format!("{reserved} is the server's own: {why}")),
        None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        match (text.parse::<ConfiguredField>(), expected) {
            (Ok(field), Ok((name, value))) => {
                assert_eq!(
                    (field.name.as_str(), field.value.as_str()),
                    (name, value),
                    "{text}"
                );
            }
            (Err(found), Err(why)) => assert!(found.contains(why), "{text}: {found}"),
            (found, expected) => panic!("{text:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn field_is_parsed_as_name_and_value() {
        check("X-Frame-Options: DENY", Ok(("X-Frame-Options", "DENY")));
        check("a:b:c", Ok(("a", "b:c")));
        check(" Name   :\t Value ", Ok(("Name", "Value")));
        check("X-Frame-Options:", Ok(("X-Frame-Options", "")));
        check(
            "Content-Type: text/plain",
            Ok(("Content-Type", "text/plain")),
        );
        check("Cache-Control: no-store", Ok(("Cache-Control", "no-store")));
        check("Vary: Origin", Ok(("Vary", "Origin")));
        for coding in ["gzip", "GZIP", "x-gzip", "br", "zstd"] {
            let line = format!("Content-Encoding: {coding}");
            check(&line, Ok(("Content-Encoding", coding)));
        }
        check("X: é", Ok(("X", "é")));
        check("!name: value", Ok(("!name", "value")));
    }

    #[test]
    fn malformed_field_is_rejected() {
        check("", Err("write `Name: value`"));
        check("X-Frame-Options", Err("write `Name: value`"));
        check(": DENY", Err("no name before the colon"));
        check("X Frame: DENY", Err("`X Frame` is not a field name"));
        check("é: a", Err("`é` is not a field name"));
        check("a\r\nb: c", Err("`a\\r\\nb` is not a field name"));
        check(
            "a: b\r\nc: d",
            Err("the value of a has a control character"),
        );
        check("a: b\0", Err("the value of a has a control character"));
        check("a: b\rc", Err("the value of a has a control character"));
        for value in ["", "identity", "deflate", "gzip, br"] {
            let line = format!("Content-Encoding: {value}");
            check(&line, Err("write gzip, br or zstd"));
        }
    }

    #[test]
    fn reserved_field_is_rejected() {
        for (name, _) in RESERVED_FIELDS {
            check(
                &format!("{}: a", name.to_lowercase()),
                Err("is the server's own: it "),
            );
            check(&format!("{name}:"), Err("is the server's own: it "));
        }
        check("Basic-Auth: user:password", Err("use --auth-file"));
        check("Vary:", Err("it can be added to, not taken away"));
    }
}
