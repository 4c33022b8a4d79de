//! The browser process of `--open`, which is started before the sandbox and opens the URL later.
//!
//! A shell waits for one line, the URL, and then becomes the browser. So the browser has the rights that docroot had at
//! its start, although the sandbox removes some later. The shell ends if it gets no URL.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use tracing::warn;

/// Script of the shell: it reads the URL, and executes the program.
const SHELL_SCRIPT: &str = "IFS= read -r url && exec \"$@\" \"$url\"";

/// A shell that waits for the URL to open.
#[derive(Debug)]
pub(crate) struct Browser {
    name: String,
    child: Child,
    stdin: ChildStdin,
}

impl Browser {
    /// Starts the shell for a program and its arguments; the URL will be the last one.
    ///
    /// # Errors
    /// The system cannot start a shell.
    pub(crate) fn start(command: &[String]) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SHELL_SCRIPT, "docroot"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal stops docroot, not the browser.
            .process_group(0)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdin = stdin.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            name: command.first().cloned().unwrap_or_default(),
            child,
            stdin,
        })
    }

    /// Opens a URL, on a background thread. A failure is logged.
    pub(crate) fn open(mut self, url: &str) {
        let url = url.to_owned();
        let send_url = move || {
            let written = writeln!(self.stdin, "{url}");
            drop(self.stdin);
            let why = match written.and_then(|()| self.child.wait()) {
                Ok(status) if status.success() => return,
                Ok(status) if status.code() == Some(127) => "no such program".into(),
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let name = &self.name;
            warn!("{name} cannot open {url}: {why}; set BROWSER to a browser");
        };
        if let Err(error) = thread::Builder::new()
            .name("browser".into())
            .spawn(send_url)
        {
            warn!("cannot start the browser for --open: {error}");
        }
    }
}
