//! The users of `--auth` and `--auth-file`.

use std::path::{Path, PathBuf};

use docroot::auth::{HtpasswdError, Users};

use super::environment::Variables;

/// Sources of the users.
#[derive(Clone, Debug)]
pub(crate) struct UserSources {
    /// Values of `--auth`.
    pub(super) entries: Vec<String>,
    /// Value of `--auth-file`.
    pub(super) file: Option<PathBuf>,
    /// Names under which they were given.
    pub(super) variables: Variables,
}

impl UserSources {
    /// Returns all users; `None` if there are none, and no password is required.
    ///
    /// # Errors
    /// One line for each mistake, with the argument or with file and line, but never with a hash.
    pub(crate) fn read(&self) -> Result<Option<Users>, String> {
        let mut users = match &self.file {
            Some(file) => {
                let argument = self.variables.with_value("--auth-file", file.display());
                users_of_file(&argument, file)?
            }
            None => Users::default(),
        };
        let name = self.variables.name("--auth");
        for entry in &self.entries {
            users.add(entry).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok((!users.is_empty()).then_some(users))
    }
}

/// Reads the users of an htpasswd file.
fn users_of_file(argument: &str, file: &Path) -> Result<Users, String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| {
        format!("cannot read {argument}: {error}; name a file that this user can read")
    })?;
    Users::parse(&text).map_err(|malformed| {
        let lines = malformed
            .iter()
            .map(|HtpasswdError { line, reason: why }| match line {
                0 => format!("{name}: {why}"),
                line => format!("{name}:{line}: {why}"),
            });
        lines.collect::<Vec<_>>().join("\n")
    })
}
