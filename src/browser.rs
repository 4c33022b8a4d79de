//! A browser that is ready before there is anything to be opened.
//!
//! It is started by a shell that waits for one line, the address: so it is started as who started us, whatever we give up
//! the right to afterwards. If no address comes, it ends.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use tracing::warn;

/// Reads the address, and becomes the program.
const SCRIPT: &str = "IFS= read -r url && exec \"$@\" \"$url\"";

/// A program that is to open an address.
#[derive(Debug)]
pub(crate) struct Browser {
    name: String,
    child: Child,
    address: ChildStdin,
}

impl Browser {
    /// The program with its arguments, to which the address will be added.
    ///
    /// # Errors
    /// When the system has no shell or no process for it.
    pub(crate) fn ready(command: &[String]) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "docroot"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on our terminal is for us.
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

    /// Opens an address, and waits for nothing. If nothing comes of it, that is said.
    pub(crate) fn open(mut self, url: &str) {
        let url = url.to_owned();
        let wait = move || {
            let said = writeln!(self.address, "{url}");
            drop(self.address);
            let why = match said.and_then(|()| self.child.wait()) {
                Ok(status) if status.success() => return,
                Ok(status) if status.code() == Some(127) => "there is no such program".into(),
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let name = &self.name;
            warn!("{name} has not opened {url}: {why}; set BROWSER to a program that does");
        };
        if let Err(error) = thread::Builder::new().name("browser".into()).spawn(wait) {
            warn!("the browser is not opened: {error}");
        }
    }
}
