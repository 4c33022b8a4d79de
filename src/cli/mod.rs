//! The command line: it reads the arguments, runs a command or the server, and returns the exit code.

mod banner;
mod browser;
mod check;
mod compress;
mod confinement;
mod diagnostics;
mod exit_codes;
mod explain;
mod hash;
mod healthcheck;
mod local_time;
mod log_sink;
mod options;
mod output;
mod qr;
mod serve;
mod service_manager;
mod signals;
mod site;
mod start_error;

use std::io::{self, Write as _};
use std::process::ExitCode;

use self::exit_codes::Failure;
use self::options::{Arguments, Command};

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let mut arguments = Arguments::read();
    let result = match (arguments.command.take(), arguments.manual()) {
        (Some(command), _) => run_command(command),
        (None, Some(text)) => output::print_manual(&text).map_err(Failure::from),
        (None, None) => serve::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit_code, message }) => {
            // A closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {message}");
            ExitCode::from(exit_code)
        }
    }
}

fn run_command(command: Command) -> Result<(), Failure> {
    match command {
        Command::Compress(arguments) => compress::run(arguments.resolve()),
        Command::Explain(arguments) => explain::run(*arguments),
        Command::Healthcheck(arguments) => {
            let resolved = arguments.resolve().map_err(Failure::at_run_time);
            let (request, warnings) = resolved?;
            for warning in warnings {
                // A closed standard error is no reason to panic.
                let _ = writeln!(io::stderr(), "docroot: warning: {warning}");
            }
            healthcheck::run(request).map_err(Failure::at_run_time)
        }
        Command::Hash { user } => hash::run(user.as_deref()).map_err(Failure::at_run_time),
    }
}
