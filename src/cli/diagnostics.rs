//! Diagnostics: their level, and their way to standard error, by a thread once docroot serves.

use std::io::{self, IsTerminal as _};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, OnceLock};

use docroot::log::{LineWriter, WriterHandle};
use docroot::sync::lock;
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::local_time;
use super::options::{Arguments, has_colours};

/// Sends diagnostics to standard error. `RUST_LOG` (`debug`, `docroot=trace`, ...) sets the level unless -v is given.
pub(crate) fn init_diagnostics(arguments: &Arguments) -> Diagnostics {
    let rust_log = std::env::var("RUST_LOG").unwrap_or_default();
    let parsed = Targets::from_str(&rust_log);
    let is_malformed = parsed.is_err();
    let targets = match (arguments.verbose, parsed) {
        (0, Ok(targets)) if !rust_log.is_empty() => targets,
        (0, _) if arguments.quiet => Targets::new().with_default(LevelFilter::WARN),
        (0, _) => Targets::new().with_default(LevelFilter::INFO),
        (1, _) => Targets::new().with_default(LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let diagnostics = Diagnostics::default();
    let lines = diagnostics.clone();
    let is_terminal = io::stderr().is_terminal();
    local_time::load_time_zone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .with_ansi(is_terminal && has_colours())
        .with_timer(local_time::DiagnosticTime {
            is_local: is_terminal,
        })
        .with_target(false);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .init();
    if is_malformed {
        warn!("RUST_LOG={rust_log:?} is ignored: it is malformed; try RUST_LOG=docroot=debug");
    }
    diagnostics
}

/// Standard error, written line by line. Once docroot serves, a background thread writes the lines, so that no worker
/// waits for a slow reader.
#[derive(Clone, Default)]
pub(crate) struct Diagnostics(Arc<OnceLock<Mutex<LineWriter>>>);

impl Diagnostics {
    /// Starts the background thread.
    pub(crate) fn start(&self) -> io::Result<WriterHandle> {
        let (line_writer, writer) = LineWriter::for_diagnostics("standard error", io::stderr())?;
        let _ = self.0.set(Mutex::new(line_writer));
        Ok(writer)
    }
}

impl io::Write for Diagnostics {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(line_writer) = self.0.get() else {
            io::stderr().write_all(line)?;
            return Ok(line.len());
        };
        let mut line_writer = lock(line_writer);
        line_writer.batch().extend_from_slice(line);
        line_writer.flush();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
