//! Password hashes: the supported schemes, verification, and hashing of a new password.

use std::str::FromStr as _;

use sha_crypt::{PasswordVerifier as _, ShaCrypt};

/// Longest password that is hashed, in bytes: bcrypt uses 72, a terminating NUL included, and silently ignores the
/// rest.
const MAX_HASHED_BYTES: usize = 71;

/// Longest password that is verified, in bytes: the time for SHA-crypt grows with the square of the length. htpasswd(1)
/// and passwd(1ssl) accept at most 256.
const MAX_VERIFIED_BYTES: usize = 512;

/// Cost of generated hashes: about 50 ms. Each increment doubles the time.
const BCRYPT_COST: u32 = 10;

/// Highest accepted cost: a higher one takes longer than a person waits for a page.
const MAX_BCRYPT_COST: u32 = 16;
const SHA_CRYPT_ROUNDS: std::ops::RangeInclusive<u32> = 1000..=5_000_000;

/// Number of digits of a SHA-crypt hash, by digest.
const SHA_256_DIGITS: usize = 43;
const SHA_512_DIGITS: usize = 86;

/// A password hash, of a scheme that makes guessing slow.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash(HashScheme);

#[derive(Clone, PartialEq, Eq)]
enum HashScheme {
    /// bcrypt: `$2a$`, `$2b$`, `$2y$`, which are equivalent by now.
    Bcrypt(Box<str>),
    /// crypt(5) with SHA-256 (`$5$`) or SHA-512 (`$6$`).
    ShaCrypt(Box<str>),
}

impl PasswordHash {
    /// Parses a hash as htpasswd(1), passwd(1ssl) and crypt(3) write it.
    ///
    /// # Errors
    /// A message with the problem and its remedy. It does not contain the hash.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, rest) = text
            .strip_prefix('$')
            .and_then(|rest| rest.split_once('$'))
            .unwrap_or_default();
        match kind {
            "2a" | "2b" | "2y" => {
                let parts = bcrypt::HashParts::from_str(text).map_err(|_| {
                    "the bcrypt hash is not whole (in a shell, write it in single quotes); \
                     make another with 'htpasswd -B' or 'docroot hash'"
                })?;
                match parts.get_cost() {
                    4..=MAX_BCRYPT_COST => Ok(Self(HashScheme::Bcrypt(text.into()))),
                    _ => Err("the cost of the bcrypt hash is not from 4 to 16; \
                              make another with 'htpasswd -B' or 'docroot hash'"),
                }
            }
            "5" | "6" => {
                let digits = if kind == "5" {
                    SHA_256_DIGITS
                } else {
                    SHA_512_DIGITS
                };
                check_sha_crypt(rest, digits)?;
                Ok(Self(HashScheme::ShaCrypt(text.into())))
            }
            "apr1" | "1" => Err("a hash made with MD5 is guessed too fast; \
                 make another with 'htpasswd -B' or 'docroot hash'"),
            _ if text.starts_with("{SHA}") => {
                Err("a hash made with plain SHA-1 is guessed too fast; \
                 make another with 'htpasswd -B' or 'docroot hash'")
            }
            _ => Err("not a hash of a known kind ($2a$, $2b$, $2y$, $5$, $6$); \
                 in a shell, write it in single quotes; \
                 make one with 'htpasswd -B' or 'docroot hash'"),
        }
    }

    /// Whether this is the password's hash. The time is set by the hash's cost, and is the same for a wrong password as
    /// for the right one: `bcrypt` and `sha-crypt` compare the digests in constant time.
    ///
    /// As with htpasswd(1), bcrypt uses the first 72 bytes. A password of more than 512 bytes is always refused.
    #[must_use]
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        if password.len() > MAX_VERIFIED_BYTES {
            return false;
        }
        match &self.0 {
            HashScheme::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            HashScheme::ShaCrypt(hash) => ShaCrypt::default()
                .verify_password(password, &**hash)
                .is_ok(),
        }
    }
}

impl std::fmt::Debug for PasswordHash {
    /// Omits even the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.0 {
            HashScheme::Bcrypt(_) => "bcrypt",
            HashScheme::ShaCrypt(_) => "SHA-crypt",
        };
        f.debug_tuple("PasswordHash").field(&kind).finish()
    }
}

/// Checks what follows `$5$` or `$6$`: optional rounds (default 5000), a salt, and a digest of this many digits.
fn check_sha_crypt(rest: &str, digits: usize) -> Result<(), &'static str> {
    let broken = "the SHA-crypt hash is not whole (in a shell, write it in single quotes); \
                  make another with 'openssl passwd -6', 'htpasswd -B' or 'docroot hash'";
    let rest = match rest.strip_prefix("rounds=") {
        None => rest,
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(broken)?;
            if !SHA_CRYPT_ROUNDS.contains(&rounds.parse().map_err(|_| broken)?) {
                return Err(
                    "the rounds of the SHA-crypt hash are not from 1000 to 5000000; \
                            make another with 'htpasswd -B' or 'docroot hash'",
                );
            }
            rest
        }
    };
    let (salt, digest) = rest.split_once('$').ok_or(broken)?;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let is_whole = digest.len() == digits && (1..=16).contains(&salt.len());
    let is_whole = is_whole && salt.bytes().chain(digest.bytes()).all(is_digit);
    is_whole.then_some(()).ok_or(broken)
}

/// Hashes this password with a random salt, as `htpasswd -B` does: bcrypt, written as `$2y$`, which every reader of
/// htpasswd files accepts.
///
/// # Errors
/// A message about the password, or about a failure of the system's random number generator.
pub fn hash_password(password: &str) -> Result<String, String> {
    match password.len() {
        0 => return Err("an empty password protects nothing; type one".into()),
        1..=MAX_HASHED_BYTES => {}
        length => {
            return Err(format!(
                "the password has {length} bytes, and bcrypt uses at most {MAX_HASHED_BYTES}; \
                 choose a shorter one"
            ));
        }
    }
    if password.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(
            "no browser can send a password with control characters; choose another".into(),
        );
    }
    bcrypt::non_truncating_hash_with_result(password, BCRYPT_COST)
        .map(|parts| parts.format_for_version(bcrypt::Version::TwoY))
        .map_err(|error| format!("cannot make a salt: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hash: &str, password: &str, expected: bool) {
        let verified = PasswordHash::parse(hash).map(|hash| hash.verify(password.as_bytes()));
        assert_eq!(verified, Ok(expected), "{hash} {password}");
    }

    #[test]
    fn hashes_of_htpasswd_crypt_and_openssl_are_verified() {
        for (hash, password) in [
            // htpasswd -nbB -C 5
            (
                "$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK",
                "correct horse",
            ),
            // crypt(3) of libxcrypt
            (
                "$2b$05$abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO",
                "x",
            ),
            (
                "$2a$05$abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO",
                "x",
            ),
            (
                "$6$rounds=1500$abcdefgh$BkXsV4SceG7krQ7fjZB8QPuRxAkQtXqU4F1P5broOXApK6PTXnVyGXQF5SremLu95VGY2d8PgGPrkc2f7eWGx1",
                "rounds",
            ),
            (
                "$5$rounds=1000$toolongsaltstrin$.Co1th.0vxEuqGJOVhpmJ2Hs2cOTCKYyTCr/Y37Efj0",
                "five",
            ),
            // openssl passwd -6 and -5
            (
                "$6$saltsalt$rVIyJtXnL0mXUCLepstXWqeOv9JVyd7nOH8wn0BvOU5lCiAviUJLxXZ5CkPgq6XNTHV22yG4mV0IO9gqPL5WQ.",
                "p\u{e4}ssword",
            ),
            ("$5$xyz$GZTwEiuzbn0b8JBxEjbZY0ruQB9CvEuuXuHdblBmlW8", "five"),
        ] {
            check(hash, password, true);
            check(hash, &format!("{password} "), false);
            check(hash, &password[1..], false);
            check(hash, "", false);
        }
    }

    #[test]
    fn bcrypt_compares_the_first_72_bytes() {
        // htpasswd -nbB -C 4, of 80 times "a"
        let hash = "$2y$04$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du";
        check(hash, &"a".repeat(80), true);
        check(hash, &"a".repeat(72), true);
        check(hash, &"a".repeat(71), false);
        check(hash, &"a".repeat(MAX_VERIFIED_BYTES), true);
        check(hash, &"a".repeat(MAX_VERIFIED_BYTES + 1), false);
    }

    #[test]
    fn parse_errors_say_what_to_do_and_omit_the_hash() {
        let digits = "x".repeat(SHA_512_DIGITS);
        for hash in [
            "",
            "secret",
            "$",
            "$2y$",
            "$2y$17$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du",
            "$2y$03$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du",
            "$2y$04$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8d",
            "$2x$04$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du",
            "$5$",
            "$5$salt",
            "$5$salt$short",
            &format!("$6$rounds=999$salt${digits}"),
            &format!("$6$rounds=5000001$salt${digits}"),
            &format!("$6$rounds=many$salt${digits}"),
            &format!("$6$$ {digits}"),
            &format!("$6$longer-than-sixteen${digits}"),
            &format!("$6$salt${digits}x"),
            "$apr1$s9QlJ42P$ZbiwFr95767Iey7g6nZ.7.",
            "$1$s9QlJ42P$ZbiwFr95767Iey7g6nZ.7.",
            "{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
            "rl.3StKT.4T8M",
        ] {
            let reason = PasswordHash::parse(hash).expect_err(hash);
            assert!(
                reason.contains("'htpasswd -B' or 'docroot hash'"),
                "{reason}"
            );
            assert!(hash.len() < 6 || !reason.contains(hash), "{reason}");
        }
        let shown = PasswordHash::parse("$5$xyz$GZTwEiuzbn0b8JBxEjbZY0ruQB9CvEuuXuHdblBmlW8");
        assert!(!format!("{shown:?}").contains("GZTw"));
    }

    #[test]
    fn generated_hash_verifies_and_has_a_random_salt() {
        let generated = hash_password("p\u{e4}ss word").unwrap();
        assert!(
            generated.starts_with("$2y$10$") && generated.len() == 60,
            "{generated}"
        );
        check(&generated, "p\u{e4}ss word", true);
        assert_ne!(generated, hash_password("p\u{e4}ss word").unwrap());
        assert!(hash_password(&"a".repeat(MAX_HASHED_BYTES)).is_ok());
        for bad in ["", "a\nb", "\u{7f}", &"a".repeat(MAX_HASHED_BYTES + 1)] {
            assert!(hash_password(bad).is_err(), "{bad}");
        }
    }
}
