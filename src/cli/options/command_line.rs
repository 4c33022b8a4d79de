//! The command line and the environment as clap reads them, and the messages for those that it rejects.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _};

use super::arguments::{Arguments, Command};
use super::mistakes;
use super::site::PAGE_IDS;

impl Arguments {
    /// Reads the command line and the environment. Ends the process if they are invalid, and for `--help` and
    /// `--version`.
    pub(crate) fn read() -> Self {
        // Variables are options of the server. A subcommand, which can only be the first word, does not read them.
        let first_word = std::env::args_os().nth(1).unwrap_or_default();
        let is_command = Self::command().find_subcommand(first_word).is_some();
        // A variable whose value is empty, as in a compose file, counts as not set.
        let if_set = |arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            match value.is_some_and(|value| value.is_empty()) {
                true => arg.env(Resettable::Reset),
                false => arg,
            }
        };
        let unset = |arg: Arg| arg.env(Resettable::Reset);
        let mut without_variables = command()
            .mut_args(unset)
            .mut_subcommand("explain", |explain| explain.mut_args(unset));
        let mut command = command()
            .mut_subcommand("explain", |explain| explain.mut_args(if_set))
            .mut_args(|arg| if is_command { unset(arg) } else { if_set(arg) });
        let matches = command
            .try_get_matches_from_mut(std::env::args_os())
            .unwrap_or_else(|error| {
                let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                let other = without_variables.try_get_matches_from_mut(std::env::args_os());
                let mut all_options = self::command();
                all_options.build();
                let message =
                    mistakes::message(&error, &arguments, &all_options, other.as_ref().err());
                match message {
                    Some(message) => exit_with_error(&message),
                    None => error.exit(),
                }
            });
        let site_matches = match matches.subcommand() {
            Some(("explain", matches)) => Some(matches),
            Some(_) => None,
            None => Some(&matches),
        };
        let is_from = |source, id: &str| {
            site_matches.and_then(|matches| matches.value_source(id)) == Some(source)
        };
        if ["dir", "root"]
            .iter()
            .all(|id| is_from(ValueSource::CommandLine, id))
        {
            let why = "the root is named twice, as DIR and with --root; name it once";
            command.error(ErrorKind::ArgumentConflict, why).exit();
        }
        let mut arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let site = match &mut arguments.command {
            Some(Command::Explain(explain)) => &mut explain.site,
            _ => &mut arguments.site,
        };
        let ids = PAGE_IDS.into_iter();
        site.ids_from_variables = ids
            .filter(|id| is_from(ValueSource::EnvVariable, id))
            .collect();
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

/// Returns a warning for each environment variable that is named like that of an option, and is none.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name);
    mistakes::unknown_variables(names, &command())
}

/// Returns what to type instead of a root that cannot be served, if the word was probably not meant as a directory.
pub(crate) fn root_hint(root: &Path) -> Option<String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The root of the server is an absolute path.
    let is_root = |word: &&OsString| std::path::absolute(word).is_ok_and(|path| path == root);
    let word = arguments.iter().find(is_root)?.to_str()?;
    mistakes::root_hint(word, &arguments, &command())
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
