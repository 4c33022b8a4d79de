//! Shared code of the fuzz targets: resources to serve, a connection without a socket, a strict response parser.
#![forbid(unsafe_code)]

mod connection;
mod representation;
mod response;

pub use connection::Connection;
pub use representation::{DATE_TEXT, TAG, ValidatorKind, filler, found, now};
pub use response::{ParsedResponse, mask_boundaries, parse_responses};
