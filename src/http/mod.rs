//! What HTTP says (RFC 9110): values in, values out.
//!
//! No sockets, no files, no clock, no log: a request and what was found for it make a response.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod accept;
mod admit;
mod coding;
mod cors;
mod credentials;
mod date;
mod fields;
mod forwarded;
mod listing;
mod multipart;
mod origin;
mod precondition;
mod range;
mod representation;
mod request;
mod respond;
mod response;
mod status;
mod syntax;
mod target;
mod validator;

pub use accept::{is_navigation, preferred, weight};
pub use admit::admit;
pub use coding::{Accepted, Coding, Standing, choose, standings};
pub use cors::{allowing, is_preflight};
pub use credentials::{Credentials, challenge, user};
pub use date::{DateText, Timestamp, date};
pub use fields::{FieldName, Fields};
pub use forwarded::{Forwarded, forwarded};
pub use listing::{Form, Forms, Key, View};
pub use multipart::{Boundaries, Boundary, ContentRange, Multipart};
pub use origin::{Account, Lookup, Origin, Progress, Recall, Streamed, Unstreamed};
pub use representation::{Representation, Resource};
pub use request::{Line, Method, Repeated, Request, Version};
pub use respond::respond;
pub use response::{Content, Response};
pub use status::Status;
pub use syntax::{elements, essence, is_token, parameter, parameters};
pub use target::{Malformed, PATH, Target, encode, is_authority};
pub use validator::{EntityTag, Modified, Strength, Validators};
