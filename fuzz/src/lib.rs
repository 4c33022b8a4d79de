//! What the fuzz targets share: something to serve, a conversation without a socket, and a reader of
//! answers that trusts nothing.
#![forbid(unsafe_code)]

mod answer;
mod conversation;
mod representation;

pub use answer::{Answer, answers, unbounded};
pub use conversation::Conversation;
pub use representation::{DATE_TEXT, Known, TAG, filling, found, now};
