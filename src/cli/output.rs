//! Text on standard output: printed, and parts of it that several commands have.

use std::io::{self, Write as _};

use docroot::escape::{JsonEscapes, TerminalText, push_json};
use docroot::files::Symlink;

/// Prints text.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}

/// Prints text to a reader that may close the pipe early: `docroot --man | head`.
pub(crate) fn print_manual(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Returns a text as a JSON string, with its quotation marks.
pub(crate) fn json_string(text: &str) -> String {
    let mut json = vec![b'"'];
    push_json(text.as_bytes(), JsonEscapes::Controls, &mut json);
    json.push(b'"');
    String::from_utf8_lossy(&json).into_owned()
}

/// Returns a symbolic link and its target as text.
pub(crate) fn describe_symlink(link: &Symlink) -> String {
    let [path, target] =
        [&link.path, &link.target].map(|path| TerminalText(path.as_os_str().as_encoded_bytes()));
    format!("/{path} -> {target}")
}
