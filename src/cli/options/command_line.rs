//! The command line and the environment as clap reads them, and the messages for those that it rejects.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _};

use super::arguments::{Arguments, Command};
use super::{environment, mistakes};

impl Arguments {
    /// Reads the command line and the environment. Ends the process if they are invalid, and for `--help` and
    /// `--version`.
    pub(crate) fn read() -> Self {
        // Variables become arguments, so that their values can be trimmed and split. clap does not read them.
        let unset = |arg: Arg| arg.env(Resettable::Reset);
        let mut command = command()
            .mut_args(unset)
            .mut_subcommand("explain", |explain| explain.mut_args(unset));
        let mut words: Vec<OsString> = std::env::args_os().collect();
        let typed = command
            .try_get_matches_from_mut(&words)
            .unwrap_or_else(|error| {
                let arguments = words.get(1..).unwrap_or_default();
                match mistakes::message(&error, arguments, &all_options()) {
                    Some(message) => exit_with_error(&message),
                    None => error.exit(),
                }
            });
        let all_options = all_options();
        // Variables are options of the server, and of the site that `docroot explain` describes. A subcommand is the
        // first word.
        let (with_variables, typed, place) = match typed.subcommand() {
            None => (Some(&all_options), &typed, 1),
            Some(("explain", typed)) => (all_options.find_subcommand("explain"), typed, 2),
            Some((_, typed)) => (None, typed, 2),
        };
        let is_typed = |id: &str| {
            let is_known = typed.try_contains_id(id).unwrap_or(false);
            is_known && typed.value_source(id) == Some(ValueSource::CommandLine)
        };
        if ["dir", "root"].into_iter().all(is_typed) {
            let why = "the root is named twice, as DIR and with --root; name it once";
            command.error(ErrorKind::ArgumentConflict, why).exit();
        }
        let from_variables = with_variables.map_or(Ok(Default::default()), |command| {
            environment::arguments(command, |arg| is_typed(arg.get_id().as_str()))
        });
        let (added, variables) = from_variables.unwrap_or_else(|why| exit_with_error(&why));
        let place = place.min(words.len());
        words.splice(place..place, added);
        let matches = command
            .try_get_matches_from_mut(&words)
            .unwrap_or_else(|error| match variables.message(&error) {
                Some(message) => exit_with_error(&message),
                None => error.exit(),
            });
        let mut arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let site = match &mut arguments.command {
            Some(Command::Explain(explain)) => &mut explain.site,
            _ => &mut arguments.site,
        };
        site.variables = variables;
        arguments
    }

    /// Returns the manual page, the completions or the options reference, if an option asks for one.
    pub(crate) fn manual(&self) -> Option<Vec<u8>> {
        self.manual.text(command())
    }
}

/// Prints one line on standard error, and ends the process with the exit code of bad arguments.
fn exit_with_error(message: &str) -> ! {
    // A closed standard error is no reason to panic.
    let _ = writeln!(std::io::stderr(), "docroot: {message}");
    std::process::exit(2)
}

/// Returns the command line with the common options in each subcommand.
fn all_options() -> clap::Command {
    let mut command = command();
    command.build();
    command
}

/// Returns a warning for each environment variable that is named like that of an option, and is none.
pub(crate) fn unknown_variables() -> Vec<String> {
    mistakes::unknown_variables(std::env::vars_os(), &command())
}

/// Returns what to type instead of a root that cannot be served, if the word was probably not meant as a directory.
pub(crate) fn root_hint(root: &Path) -> Option<String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The root of the server is an absolute path.
    let is_root = |word: &&OsString| std::path::absolute(word).is_ok_and(|path| path == root);
    match arguments.iter().find(is_root) {
        Some(word) => mistakes::root_hint(word.to_str()?, &arguments, &command()),
        None => {
            let variable = environment::value("DOCROOT_ROOT").filter(|value| is_root(&value));
            variable.map(|_| "name another directory in DOCROOT_ROOT".to_owned())
        }
    }
}

/// Returns the command line as clap needs it. `-H` is a field of the request for `docroot explain`.
pub(super) fn command() -> clap::Command {
    let without_short = |arg: Arg| match arg.get_id() == "header" {
        true => arg.short(None),
        false => arg,
    };
    // The end of the help describes the variables, so they are not in each row.
    let hidden = |arg: Arg| arg.hide_env(true);
    // The server has its own --help, for its heading. That disables the one that clap adds to each subcommand.
    let help = Arg::new("help").short('h').long("help");
    let help = help.action(ArgAction::Help).help("Print help");
    Arguments::command()
        // Scripts add an option to those of a wrapper.
        .args_override_self(true)
        .mut_args(hidden)
        .mut_subcommands(|each| each.arg(&help))
        .mut_subcommand("explain", |explain| {
            explain.mut_args(without_short).mut_args(hidden)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        command().debug_assert();
    }
}
