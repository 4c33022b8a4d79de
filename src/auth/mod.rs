//! Who may see the site: names, hashes of passwords, and who verifies them beside the loops.
//!
//! A hash that is to keep passwords takes long on purpose. So no loop makes one: its [`Guard`] asks the
//! [`Verifier`], and the loop is told when there is an outcome, which is remembered for a while.

mod hash;
mod memory;
mod users;
mod verifier;

pub use hash::{PasswordHash, hash};
pub use users::{Malformed, Users};
pub use verifier::{Guard, Known, Verdict, Verifier};
