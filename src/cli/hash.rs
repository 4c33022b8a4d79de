//! `docroot hash`: reads a password, and prints its hash for --auth or an htpasswd file.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use docroot::auth;
use docroot::files::without_byte_order_mark;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Reads a password and prints `USER:HASH`, or only the hash. On a terminal it reads the password twice, and the
/// terminal does not show it; elsewhere it reads the first line of standard input.
///
/// # Errors
/// One sentence: the cause, and what to do.
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
    let echo_off = EchoOff::disable().map_err(unreadable)?;
    let read_after_prompt = |prompt: &str| {
        // A closed standard error is no reason to stop.
        let _ = write!(io::stderr(), "{prompt}");
        let line = read_line();
        let _ = writeln!(io::stderr());
        line
    };
    let passwords = read_after_prompt("Password: ")
        .and_then(|password| Ok((password, read_after_prompt("Repeat the password: ")?)));
    echo_off.restore().map_err(unreadable)?;
    match passwords? {
        (password, repeated) if password == repeated => Ok(password),
        _ => Err("the two passwords differ; try again".into()),
    }
}

/// Reads one line of standard input, and returns it without its line end.
fn read_line() -> Result<String, String> {
    let mut line = Vec::new();
    // A longer password cannot be hashed.
    let read = io::Read::take(io::stdin().lock(), 4096).read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read the password from standard input: {error}"))?;
    let line = without_byte_order_mark(&line).map_err(|why| format!("the password is {why}"))?;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| "the password is not UTF-8".into())
}

/// Terminal that does not show typed text: its settings before that.
struct EchoOff(Termios);

impl EchoOff {
    /// Turns echo off.
    fn disable() -> io::Result<Self> {
        let previous = tcgetattr(io::stdin())?;
        let mut without_echo = previous.clone();
        without_echo.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &without_echo)?;
        Ok(Self(previous))
    }

    /// Restores the previous settings.
    fn restore(self) -> io::Result<()> {
        Ok(tcsetattr(io::stdin(), OptionalActions::Flush, &self.0)?)
    }
}
