//! Authentication: users, password hashes, and their verification on background threads.
//!
//! Password hashes are slow on purpose, so no event loop computes them: an event loop's [`AuthHandle`] passes the
//! credentials to the [`Verifier`], which wakes the loop when the verdict is ready and caches it for a while.

mod hash;
mod users;
mod verdict_cache;
mod verifier;

pub use hash::hash_password;
pub use users::{Credentials, HtpasswdError, Users};
pub use verifier::{AuthHandle, CachedVerdict, Verdict, Verifier};
