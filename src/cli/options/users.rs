//! The users of `--auth` and `--auth-file`.

use std::path::Path;

use docroot::auth::{HtpasswdError, Users};

/// Returns all users; `None` if there are none, and no password is required.
///
/// # Errors
/// One line for each mistake, with the argument or with file and line, but never with a hash.
pub(crate) fn users(entries: &[String], file: Option<&Path>) -> Result<Option<Users>, String> {
    let mut users = match file {
        Some(file) => users_of_file(file)?,
        None => Users::default(),
    };
    for entry in entries {
        users.add(entry).map_err(|why| format!("--auth: {why}"))?;
    }
    Ok((!users.is_empty()).then_some(users))
}

/// Reads the users of an htpasswd file.
fn users_of_file(file: &Path) -> Result<Users, String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| {
        format!("cannot read --auth-file {name}: {error}; name a file that this user can read")
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
