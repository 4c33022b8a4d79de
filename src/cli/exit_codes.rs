//! Exit codes of the program, and the errors that they stand for.

use std::io;

use docroot::server::StartError;

use super::start_error;

/// Exit codes other than 0, which is a clean stop. clap exits with 2 for bad arguments, too.
pub(crate) const FAILED: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;
const CANNOT_BIND: u8 = 3;
const NO_ROOT: u8 = 4;

/// Error that ends the program.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit_code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn at_run_time(message: impl ToString) -> Self {
        Self::new(FAILED, message)
    }

    pub(crate) fn bad_arguments(message: impl ToString) -> Self {
        Self::new(BAD_ARGUMENTS, message)
    }

    pub(crate) fn no_root(message: impl ToString) -> Self {
        Self::new(NO_ROOT, message)
    }

    fn new(exit_code: u8, message: impl ToString) -> Self {
        Self {
            exit_code,
            message: message.to_string(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::at_run_time(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit_code = match error {
            StartError::Root(..) => NO_ROOT,
            StartError::Bind(..)
            | StartError::Metrics(..)
            | StartError::Zone(..)
            | StartError::Activation(_) => CANNOT_BIND,
            StartError::System(_) => FAILED,
        };
        Self::new(exit_code, start_error::message(&error))
    }
}
