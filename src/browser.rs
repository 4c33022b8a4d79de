//! A browser process that is started before the sandbox, and opens the URL later.
//!
//! A shell starts it and waits for one line, the URL: so the browser has the rights that docroot had at its start, whatever
//! the sandbox takes away afterwards. Without a URL the shell ends.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use tracing::warn;

/// Reads the URL, and becomes the program.
const SCRIPT: &str = "IFS= read -r url && exec \"$@\" \"$url\"";

/// A program that will open a URL.
#[derive(Debug)]
pub(crate) struct Browser {
    name: String,
    child: Child,
    address: ChildStdin,
}

impl Browser {
    /// Starts the shell for a program and its arguments; the URL will be the last one.
    ///
    /// # Errors
    /// When the system cannot start a shell.
    pub(crate) fn ready(command: &[String]) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "docroot"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal stops docroot, not the browser.
            .process_group(0)
            .spawn()?;
        let address = child.stdin.take();
        let address = address.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            name: command.first().cloned().unwrap_or_default(),
            child,
            address,
        })
    }

    /// Opens a URL without waiting. A failure is logged.
    pub(crate) fn open(mut self, url: &str) {
        let url = url.to_owned();
        let wait = move || {
            let said = writeln!(self.address, "{url}");
            drop(self.address);
            let why = match said.and_then(|()| self.child.wait()) {
                Ok(status) if status.success() => return,
                Ok(status) if status.code() == Some(127) => "no such program".into(),
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let name = &self.name;
            warn!("{name} cannot open {url}: {why}; set BROWSER to a browser");
        };
        if let Err(error) = thread::Builder::new().name("browser".into()).spawn(wait) {
            warn!("cannot start the browser for --open: {error}");
        }
    }
}
