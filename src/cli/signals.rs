//! Signals that stop the process or that it acts on, received by a thread.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::{process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Signals that would end the process, and are ignored: a write(2) beyond the limit of a file's size (setrlimit(2)),
/// which then fails with EFBIG, and a signal that has no meaning here.
const IGNORED: [i32; 2] = [SIGXFSZ, SIGUSR2];

/// Starts a thread that handles signals. The first signal to stop calls `on_stop`; the second calls `on_abort`, and the
/// process exits with the code that it returns. SIGHUP and SIGUSR1 call `on_signal`, if it is given. SIGHUP is a signal
/// to stop if docroot was started on a terminal that has been closed since.
pub(crate) fn handle_signals(
    on_stop: impl FnOnce() + Send + 'static,
    on_abort: impl Fn() -> i32 + Send + 'static,
    on_signal: Option<impl Fn(i32) + Send + 'static>,
) -> io::Result<()> {
    let was_on_terminal = is_on_terminal();
    for signal in IGNORED {
        // A handler that sets a flag, which is not read: signal-hook ignores no signal without one.
        flag::register(signal, Arc::default())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    if on_signal.is_some() {
        signals.add_signal(SIGHUP)?;
        signals.add_signal(SIGUSR1)?;
    }
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut on_stop = Some(on_stop);
            for signal in signals.forever() {
                let is_closed = signal == SIGHUP && was_on_terminal && !is_on_terminal();
                match (signal, &on_signal) {
                    (SIGHUP | SIGUSR1, Some(on_signal)) if !is_closed => on_signal(signal),
                    _ => match on_stop.take() {
                        Some(on_stop) => on_stop(),
                        // When a terminal is closed, the kernel and the shell both send SIGHUP.
                        None if is_closed => {}
                        None => process::exit(on_abort()),
                    },
                }
            }
        })?;
    Ok(())
}

/// Whether one of the standard streams is a terminal.
fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
