//! `Cache-Control` of a file, by its name.

use std::borrow::Cow;
use std::str::FromStr;

use super::fingerprint::{Fingerprint, fingerprint};

/// Policy for the time that clients may cache files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// A year for fingerprinted names; all others are revalidated at each use.
    #[default]
    Auto,
    /// Nothing is stored.
    Off,
    /// This number of seconds, whatever the name.
    MaxAge(u32),
}

/// Value of Cache-Control (RFC 9111 section 5.2.2), and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheControl {
    /// Field value.
    pub value: Cow<'static, str>,
    /// Reason for the value.
    pub reason: CacheReason,
}

/// Reason for the time that clients may cache a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheReason {
    /// Configured: nothing is stored.
    Off,
    /// Configured: this number of seconds.
    MaxAge(u32),
    /// The name is fingerprinted.
    Fingerprinted(Fingerprint),
    /// The name may be given to other content.
    NoHash,
}

impl CachePolicy {
    /// Returns the Cache-Control of a file with this path below the root, `/` between its segments.
    ///
    /// If it `is_private`, because it needs a password, no shared cache may store it (RFC 9111 section 3.5 would allow
    /// that with `public`).
    #[must_use]
    pub fn cache_control(self, path: &[u8], is_private: bool) -> CacheControl {
        let scope = if is_private { "private" } else { "public" };
        let (value, reason) = match self {
            Self::Off => (Cow::Borrowed("no-store"), CacheReason::Off),
            Self::MaxAge(seconds) => (
                Cow::Owned(format!("{scope}, max-age={seconds}")),
                CacheReason::MaxAge(seconds),
            ),
            Self::Auto => match fingerprint(path) {
                None => (Cow::Borrowed("no-cache"), CacheReason::NoHash),
                Some(fingerprint) => {
                    let year = match is_private {
                        true => "private, max-age=31536000, immutable",
                        false => "public, max-age=31536000, immutable",
                    };
                    let reason = CacheReason::Fingerprinted(fingerprint);
                    (Cow::Borrowed(year), reason)
                }
            },
        };
        CacheControl { value, reason }
    }
}

impl FromStr for CachePolicy {
    type Err = String;

    /// Parses `auto`, `off`, or a number of seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::MaxAge).map_err(|_| {
                let max = u32::MAX;
                let advice = seconds_of_time(text)
                    .map(|seconds| format!("; write {seconds}"))
                    .unwrap_or_default();
                format!(
                    "`{text}` is neither auto nor off nor a number of seconds up to {max}{advice}"
                )
            }),
        }
    }
}

/// Returns the seconds of a time with a unit, such as `1h`.
fn seconds_of_time(text: &str) -> Option<u32> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    units.into_iter().find_map(|(unit, seconds)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_and_its_reason() {
        let hash = || CacheReason::Fingerprinted(Fingerprint::Hash("BsYhmk3H".to_owned()));
        for (policy, path, is_private, value, reason) in [
            (
                CachePolicy::Auto,
                "index.html",
                false,
                "no-cache",
                CacheReason::NoHash,
            ),
            (
                CachePolicy::Auto,
                "index.html",
                true,
                "no-cache",
                CacheReason::NoHash,
            ),
            (
                CachePolicy::Auto,
                "assets/a-BsYhmk3H.js",
                false,
                "public, max-age=31536000, immutable",
                hash(),
            ),
            (
                CachePolicy::Auto,
                "assets/a-BsYhmk3H.js",
                true,
                "private, max-age=31536000, immutable",
                hash(),
            ),
            (
                CachePolicy::Auto,
                "_app/immutable/a.js",
                false,
                "public, max-age=31536000, immutable",
                CacheReason::Fingerprinted(Fingerprint::Folder("_app/immutable/")),
            ),
            (
                CachePolicy::Off,
                "assets/a-BsYhmk3H.js",
                false,
                "no-store",
                CacheReason::Off,
            ),
            (
                CachePolicy::MaxAge(60),
                "assets/a-BsYhmk3H.js",
                false,
                "public, max-age=60",
                CacheReason::MaxAge(60),
            ),
            (
                CachePolicy::MaxAge(0),
                "index.html",
                true,
                "private, max-age=0",
                CacheReason::MaxAge(0),
            ),
        ] {
            let control = policy.cache_control(path.as_bytes(), is_private);
            assert_eq!(
                (control.value.as_ref(), control.reason),
                (value, reason),
                "{path}"
            );
        }
    }

    #[test]
    fn cache_option_is_parsed() {
        assert_eq!("auto".parse(), Ok(CachePolicy::Auto));
        assert_eq!("off".parse(), Ok(CachePolicy::Off));
        assert_eq!("3600".parse(), Ok(CachePolicy::MaxAge(3600)));
        for text in ["", "Auto", "on", "-1", "1h", "4294967296"] {
            let error = text.parse::<CachePolicy>().expect_err(text);
            assert!(
                error.starts_with(&format!("`{text}` is neither")),
                "{error}"
            );
        }
    }
}
