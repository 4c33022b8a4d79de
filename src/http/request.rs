//! A request's head, as received.

use super::request_fields::RequestFields;

/// A request's head, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Request method.
    pub method: Method<'a>,
    /// Request target as it was sent (RFC 9112 section 3.2).
    pub target: &'a str,
    /// HTTP version.
    pub version: Version,
    /// Field lines.
    pub fields: RequestFields<'a>,
}

/// Methods in IANA's registry that docroot does not serve (RFC 9110 section 16.1.1): of RFC 9110 and 5789, then those of
/// WebDAV and its extensions. (PRI is registered as one that no request has.)
const REGISTERED_METHODS: [&str; 36] = [
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "TRACE",
    "PATCH",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// A request method (RFC 9110 section 9), classified by its treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// A registered method, which a file server does not support.
    Unsupported(&'a str),
    /// A method that docroot does not know.
    Unknown(&'a str),
}

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl<'a> Method<'a> {
    /// Returns the method of this name. Method names are case-sensitive.
    #[must_use]
    pub fn from_name(name: &'a str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            _ if REGISTERED_METHODS.contains(&name) => Self::Unsupported(name),
            _ => Self::Unknown(name),
        }
    }

    /// Name of the method.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Unsupported(name) | Self::Unknown(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_are_case_sensitive() {
        assert_eq!(Method::from_name("GET"), Method::Get);
        assert_eq!(Method::from_name("get"), Method::Unknown("get"));
        assert_eq!(Method::from_name("TRACE"), Method::Unsupported("TRACE"));
    }
}
