//! `docroot hash`: a password in, a line for an htpasswd file out.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use docroot::auth;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Reads a password, twice from a terminal, which does not show it, or else the first line of standard
/// input; prints `USER:HASH`, or only the hash.
///
/// # Errors
/// What is wrong, and what to do, in words.
pub(crate) fn run(user: Option<&str>) -> Result<(), String> {
    let password = match io::stdin().is_terminal() {
        true => read_twice_from_terminal()?,
        false => read_line()?,
    };
    let hash = auth::hash_password(&password)?;
    let line = match user {
        Some(user) => format!("{user}:{hash}\n"),
        None => format!("{hash}\n"),
    };
    let printed = io::stdout().write_all(line.as_bytes());
    printed.map_err(|error| format!("cannot print the hash: {error}"))
}

fn read_twice_from_terminal() -> Result<String, String> {
    let unreadable = |error| format!("cannot read the password from the terminal: {error}");
    let silence = EchoOff::disable().map_err(unreadable)?;
    let ask = |prompt: &str| {
        // A closed standard error is no reason not to go on.
        let _ = write!(io::stderr(), "{prompt}");
        let line = read_line();
        let _ = writeln!(io::stderr());
        line
    };
    let passwords =
        ask("Password: ").and_then(|password| Ok((password, ask("Repeat the password: ")?)));
    silence.restore().map_err(unreadable)?;
    match passwords? {
        (password, again) if password == again => Ok(password),
        _ => Err("the two passwords differ; try again".into()),
    }
}

/// One line of standard input, without its end.
fn read_line() -> Result<String, String> {
    let mut line = Vec::new();
    // No password that could be hashed is longer.
    let read = io::Read::take(io::stdin().lock(), 4096).read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read the password from standard input: {error}"))?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| "the password is not UTF-8".into())
}

/// A terminal that shows nothing of what is typed, until this ends.
struct EchoOff(Termios);

impl EchoOff {
    fn disable() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }

    fn restore(self) -> io::Result<()> {
        Ok(tcsetattr(io::stdin(), OptionalActions::Flush, &self.0)?)
    }
}
