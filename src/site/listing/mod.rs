//! Directory listings.

mod natural;
mod row;
pub(crate) mod stream;

pub use stream::Listing;
