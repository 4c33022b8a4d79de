//! HTTP semantics (RFC 9110), as pure functions of values.
//!
//! No sockets, files, clock or log: a request and the result of its lookup make a response.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod accept;
mod coding;
mod cors;
mod credentials;
mod date;
pub(crate) mod decimal;
mod fields;
mod forwarded;
mod listing;
mod multipart;
mod origin;
mod precondition;
mod range;
mod representation;
mod request;
mod request_fields;
mod respond;
mod response;
mod status;
mod syntax;
mod target;
mod validate;
mod validator;

pub use accept::is_navigation;
pub use coding::{AcceptEncoding, Coding, CodingReason, coding_reasons};
pub use credentials::{append_user, challenge, parse_credentials};
pub use date::{CachedDate, Timestamp, http_date};
pub use fields::{FieldName, FieldSink, Fields};
pub use forwarded::{ForwardedAddress, forwarded_client};
pub use listing::{ListingFormat, ListingRepresentations, ListingView, SortKey};
pub use multipart::{BoundaryGenerator, Multipart};
pub use origin::{
    CacheStatus, EntryId, Finding, Lookup, NoStream, Origin, StreamKind, StreamProgress,
};
pub use representation::{Representation, Resource};
pub use request::{Method, Request, Version};
pub use request_fields::{FieldLine, RepeatedField, RequestField, RequestFields};
pub use respond::respond;
pub use response::{Audience, Body, Outcome, Response};
pub use status::Status;
pub use syntax::{
    is_token, list_elements, parse_parameter, split_media_type, split_parameters, trim_ows,
    unquoted,
};
pub use target::{
    ENCODED_PATH_CHARACTERS, PATH_CHARACTERS, QUERY_CHARACTERS, Target, TargetError,
    UNRESERVED_AND_SLASH, is_authority, percent_encode,
};
pub use validate::{Validated, respond_to_options, validate};
pub use validator::{DateStrength, EntityTag, LastModified, Validators};
