//! Users and their password hashes, from an htpasswd file.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;

use super::hash::PasswordHash;
use crate::files::text::{text_lines, utf_8};

/// Users, each with a password hash.
#[derive(Clone, Default)]
pub struct Users {
    indices: HashMap<Box<[u8]>, usize, RandomState>,
    hashes: Vec<PasswordHash>,
}

/// A user name and a password of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, which has no colon.
    pub user: String,
    /// Password.
    pub password: String,
}

/// An invalid line of an htpasswd file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HtpasswdError {
    /// Line number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Problem and remedy. The message names the user, and never contains the hash.
    pub reason: String,
}

impl Users {
    /// Parses an htpasswd file: one line `USER:HASH` per user; empty lines, and lines that begin with `#`, are skipped.
    /// So are blanks around a line, and fields behind the hash (`USER:HASH:comment`), as by nginx and Apache. Names are
    /// compared byte by byte, without Unicode normalization.
    ///
    /// # Errors
    /// All invalid lines, in order. A file without users is an error, too.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<HtpasswdError>> {
        let mut users = Self::default();
        let mut errors = Vec::new();
        let lines = text_lines(text).map_err(|reason| vec![HtpasswdError { line: 0, reason }])?;
        for (line, text) in lines {
            // A name in a comment behind the hash may have another encoding.
            let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':');
            let end = colons.map(|(place, _)| place).nth(1);
            let entry = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
            if let Err(reason) = utf_8(entry).and_then(|entry| users.add(entry)) {
                errors.push(HtpasswdError { line, reason });
            }
        }
        if users.is_empty() && errors.is_empty() {
            let reason =
                "no users are listed; add a line with 'htpasswd -B' or 'docroot hash USER'".into();
            errors.push(HtpasswdError { line: 0, reason });
        }
        match errors.is_empty() {
            true => Ok(users),
            false => Err(errors),
        }
    }

    /// Adds a user, written `USER:HASH`. Further fields are comments.
    ///
    /// # Errors
    /// A message with the problem and its remedy: no colon, a name that no request can contain, an unsupported hash, or
    /// a duplicate name. It names the user, and never contains the hash.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        let Some((name, hash)) = entry.split_once(':') else {
            return Err("expected USER:HASH, as 'docroot hash USER' prints it".into());
        };
        if name.is_empty() {
            return Err("there is no name before the colon".into());
        }
        let shown = name.escape_debug();
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("{shown}: a name has no control characters"));
        }
        let hash = hash.split(':').next().unwrap_or(hash).trim_ascii();
        let hash = PasswordHash::parse(hash).map_err(|reason| format!("{shown}: {reason}"))?;
        match self.indices.entry(name.as_bytes().into()) {
            Entry::Occupied(_) => Err(format!("{shown} is listed twice; leave one of the two out")),
            Entry::Vacant(index) => {
                index.insert(self.hashes.len());
                self.hashes.push(hash);
                Ok(())
            }
        }
    }

    /// Number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether these are a user's name and password. An unknown name takes as long as a known one: the password is
    /// verified against another user's hash, always the same one for the same name, and the result is discarded.
    #[must_use]
    pub fn verify(&self, credentials: &Credentials) -> bool {
        let Credentials { user, password } = credentials;
        let index = self.indices.get(user.as_bytes()).copied();
        let decoy = || {
            let count = self.hashes.len().max(1) as u64;
            usize::try_from(self.indices.hasher().hash_one(user) % count).unwrap_or_default()
        };
        let hash = self.hashes.get(index.unwrap_or_else(decoy));
        let is_valid = hash.is_some_and(|hash| hash.verify(password.as_bytes()));
        index.is_some() && is_valid
    }
}

impl std::fmt::Debug for Credentials {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &format_args!("{}", self.user.escape_debug()))
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Users {
    /// Shows only the number of users.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Users").field(&self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-crypt hashes of "one" and "two", by openssl passwd -5 -salt rounds=1000$a and $b.
    const ONE: &str = "$5$rounds=1000$a$aGgxWlLEPPrIca.smL4GMZIM1ggm.V4niG3CYad.SY4";
    const TWO: &str = "$5$rounds=1000$b$J946aI/Nex8DjwfMPRQA5p6RYrucmPaAYukzwWC9yv0";

    fn check(users: &Users, user: &str, password: &str, expected: bool) {
        let credentials = Credentials {
            user: user.into(),
            password: password.into(),
        };
        assert_eq!(users.verify(&credentials), expected, "{user}:{password}");
    }

    #[test]
    fn debug_output_omits_the_password() {
        let credentials = Credentials {
            user: "Aladdin".into(),
            password: "open sesame".into(),
        };
        let shown = format!("{credentials:?}");
        assert!(
            shown.contains("Aladdin") && !shown.contains("sesame"),
            "{shown}"
        );
    }

    #[test]
    fn each_user_has_its_own_password() {
        let text = format!("\u{feff}# who may\n\nann:{ONE}\r\n  \nb\u{f6}b the 2nd:{TWO}");
        let users = Users::parse(text.as_bytes()).unwrap();
        assert_eq!(users.len(), 2);
        check(&users, "ann", "one", true);
        check(&users, "b\u{f6}b the 2nd", "two", true);
        check(&users, "ann", "two", false);
        check(&users, "Ann", "one", false);
        check(&users, "b\u{f6}b the 2nd", "one", false);
        // An unknown user has no password, whichever hash it is compared with.
        for name in 0..8 {
            check(&users, &format!("nobody {name}"), "one", false);
            check(&users, &format!("nobody {name}"), "two", false);
        }
        check(&Users::default(), "", "", false);
    }

    #[test]
    fn fields_behind_the_hash_and_blanks_are_comments() {
        let text = format!(
            "ann:{ONE}:Ann Example:ann@mail.test:admins  \r\n  bob:{TWO} \t\ncem:{ONE}:\n # dora:{ONE}"
        );
        let text = [
            text.as_bytes(),
            b"\nerin:",
            TWO.as_bytes(),
            b":Erin M\xfcller",
        ]
        .concat();
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 4);
        check(&users, "ann", "one", true);
        check(&users, "bob", "two", true);
        check(&users, "cem", "one", true);
        check(&users, "erin", "two", true);
        let mut users = Users::default();
        assert_eq!(users.add(&format!("ann:{ONE} :more")), Ok(()));
        check(&users, "ann", "one", true);
    }

    #[test]
    fn errors_name_line_and_user() {
        let check = |text: &str, expected: &[(usize, &str)]| {
            let errors = Users::parse(text.as_bytes()).expect_err(text);
            assert_eq!(errors.len(), expected.len(), "{errors:?}");
            for (errors, (line, reason)) in errors.iter().zip(expected) {
                assert_eq!(errors.line, *line);
                assert!(errors.reason.contains(reason), "{errors:?}");
            }
        };
        check("", &[(0, "no users are listed")]);
        check("# nobody\n\n", &[(0, "no users are listed")]);
        check("ann", &[(1, "expected USER:HASH")]);
        check(&format!(":{ONE}"), &[(1, "no name")]);
        check(
            &format!("a\tb:{ONE}"),
            &[(1, "a\\tb: a name has no control")],
        );
        check("ann:secret\nbob:\n", &[(1, "ann: "), (2, "bob: ")]);
        let twice = format!("ann:{ONE}\nbob:{TWO}\nann:{TWO}\n\nx");
        check(&twice, &[(3, "ann is listed twice"), (5, "USER:HASH")]);
        let latin = Users::parse(b"\xe4:x").unwrap_err();
        assert_eq!((latin.len(), latin[0].line), (1, 1));
        let wide = Users::parse(b"\xff\xfea\0:\0").unwrap_err();
        assert_eq!((wide.len(), wide[0].line), (1, 0));
        assert!(wide[0].reason.contains("UTF-16"), "{wide:?}");
    }
}
