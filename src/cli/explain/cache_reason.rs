//! Reasons for the Cache-Control of a file, in words.

use docroot::site::{CacheReason, Fingerprint};

/// Returns a reason in words.
pub(super) fn describe_cache_reason(reason: &CacheReason) -> String {
    match reason {
        CacheReason::Off => "--cache off: not stored".into(),
        CacheReason::MaxAge(seconds) => {
            format!("--cache {seconds}: fresh for {seconds} seconds")
        }
        CacheReason::Fingerprinted(Fingerprint::Hash(hash)) => {
            format!("the name is fingerprinted: {hash}")
        }
        CacheReason::Fingerprinted(Fingerprint::Folder(folder)) => {
            format!("every name in {folder} is fingerprinted")
        }
        CacheReason::NoHash => {
            "the name is not fingerprinted, so a cache revalidates each time".into()
        }
    }
}
