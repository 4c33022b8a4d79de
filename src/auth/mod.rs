//! Who may see the site: names, hashes of passwords, and who verifies them beside the loops.
//!
//! A hash that is to keep passwords takes long on purpose. So no loop makes one: its [`AuthHandle`] asks the
//! [`Verifier`], and the loop is told when there is an outcome, which is remembered for a while.

mod hash;
mod users;
mod verdict_cache;
mod verifier;

pub use hash::{PasswordHash, hash_password};
pub use users::{HtpasswdError, Users};
pub use verifier::{AuthHandle, CachedVerdict, Verdict, Verifier};
