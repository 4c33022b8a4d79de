//! Messages for common mistakes in arguments and variables: what was typed, and what to type instead.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{ArgAction, Command};

use super::binds::is_number;

/// Options of other servers, and what to type instead.
const OPTIONS_OF_OTHER_SERVERS: &[(&str, &str)] = &[
    ("address", "the address is --bind"),
    (
        "basic-auth",
        "a password is --auth \"$(docroot hash USER)\"",
    ),
    ("brotli", "responses are compressed with --compress"),
    ("cert", HTTPS_ADVICE),
    (
        "directory",
        "the directory is named without an option: docroot DIR",
    ),
    (
        "dir",
        "the directory is named without an option: docroot DIR",
    ),
    ("directory-listing", "directories are listed with --listing"),
    (
        "dotfiles",
        "files whose names begin with a dot are served with --hidden",
    ),
    (
        "fallback",
        "the page of a single-page application is --spa=FILE",
    ),
    ("gzip", "responses are compressed with --compress"),
    ("https", HTTPS_ADVICE),
    ("key", HTTPS_ADVICE),
    ("no-cache", "caching is turned off with --cache off"),
    ("reload", "pages reload with --live-reload"),
    (
        "silent",
        "the banner and the access log are turned off with --quiet",
    ),
    ("single", "the page of a single-page application is --spa"),
    ("ssl", HTTPS_ADVICE),
    ("threads", "the number of worker threads is --workers"),
    ("tls", HTTPS_ADVICE),
    ("tls-cert", HTTPS_ADVICE),
    ("tls-key", HTTPS_ADVICE),
    ("watch", "pages reload with --live-reload when files change"),
];

const HTTPS_ADVICE: &str =
    "docroot speaks plain HTTP; for HTTPS put a proxy such as Caddy, nginx or stunnel in front";

/// Returns one line about a command line that clap rejects; `None` if the message of clap is good.
///
/// `arguments` do not include the name of the program. `on_command_line` is the error that the command line causes
/// without the variables, if it causes one.
pub(super) fn message(
    error: &Error,
    arguments: &[OsString],
    command: &Command,
    on_command_line: Option<&Error>,
) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // clap reports a second word as a subcommand at the wrong place.
    if let (ErrorKind::ArgumentConflict, Some(word)) =
        (error.kind(), context(ContextKind::InvalidSubcommand))
    {
        let is_command = command.find_subcommand(word).is_some();
        return (!is_command).then(|| extra_word(word, arguments, command));
    }
    let argument = context(ContextKind::InvalidArg)?;
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            let name = argument.trim_start_matches('-');
            let (_, instead) = OPTIONS_OF_OTHER_SERVERS
                .iter()
                .find(|(other, _)| *other == name)?;
            Some(format!("there is no option {argument}: {instead}"))
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            Some(extra_word(argument, arguments, command))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue)?;
            let has_same_argument = |other: &Error| {
                other.get(ContextKind::InvalidArg) == error.get(ContextKind::InvalidArg)
            };
            if on_command_line.is_some_and(has_same_argument) {
                return None;
            }
            let mut all = command.get_arguments();
            let arg = all.find(|arg| arg.to_string() == argument)?;
            let variable = arg.get_env()?.to_string_lossy();
            let why = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) if !values.is_empty() => {
                    format!("expected one of {}", values.join(", "))
                }
                _ if matches!(arg.get_action(), ArgAction::SetTrue) => {
                    "expected true, yes, on, 1, or false, no, off, 0".to_owned()
                }
                _ => std::error::Error::source(error)?.to_string(),
            };
            Some(format!(
                "{variable}={value}: invalid value for {argument}: {why}"
            ))
        }
        _ => None,
    }
}

/// Returns the message for a word too many, as one directory is served.
fn extra_word(word: &str, arguments: &[OsString], command: &Command) -> String {
    if let Some((option, value)) = value_without_equals(arguments, command) {
        return format!(
            "unexpected argument '{word}': the value of {option} is written after an equals sign: {option}={value}"
        );
    }
    if is_number(word) {
        return format!("unexpected argument '{word}': a port is written --port {word}");
    }
    let first = arguments.first().and_then(|first| first.to_str());
    if let Some(hint) = first.and_then(|first| command_hint(first, word)) {
        return format!("unexpected argument '{word}': {hint}");
    }
    format!(
        "unexpected argument '{word}': docroot serves one directory; start another docroot for another one, or name a \
         directory that holds both"
    )
}

/// Returns an option whose value must follow an equals sign, and the word that follows it instead.
fn value_without_equals(arguments: &[OsString], command: &Command) -> Option<(String, String)> {
    let takes_equals = |word: &str| {
        command.get_arguments().any(|arg| {
            arg.is_require_equals_set()
                && match word.strip_prefix("--") {
                    Some(long) => arg.get_long() == Some(long),
                    None => word.strip_prefix('-').is_some_and(|short| {
                        arg.get_short().is_some_and(|it| short == it.to_string())
                    }),
                }
        })
    };
    arguments.windows(2).find_map(|pair| match pair {
        [option, value] => {
            let (option, value) = (option.to_str()?, value.to_str()?);
            let is_mistake = takes_equals(option)
                && !value.starts_with('-')
                && Path::new(value).extension().is_some();
            is_mistake.then(|| (option.to_owned(), value.to_owned()))
        }
        _ => None,
    })
}

/// Returns what to type instead of a root that cannot be served, if the word was probably not meant as a directory.
pub(super) fn root_hint(root: &str, arguments: &[OsString], command: &Command) -> Option<String> {
    if let Some((option, value)) = value_without_equals(arguments, command)
        && value == root
    {
        return Some(format!(
            "the value of {option} is written after an equals sign: {option}={value}"
        ));
    }
    if is_number(root) {
        return Some(format!("a port is written --port {root}"));
    }
    command_hint(root, "DIR")
}

/// Returns what to type instead of a word that is a command of other programs; `dir` is the directory to serve.
fn command_hint(word: &str, dir: &str) -> Option<String> {
    match word {
        "help" => Some("help is printed by docroot --help".into()),
        "version" => Some("the version is printed by docroot --version".into()),
        "serve" | "start" | "run" => Some(format!("to serve a directory: docroot {dir}")),
        _ => None,
    }
}

/// Returns a warning for each variable whose name begins with `DOCROOT_` and belongs to no option.
pub(super) fn unknown_variables(
    names: impl IntoIterator<Item = OsString>,
    command: &Command,
) -> Vec<String> {
    let known = command.get_arguments().filter_map(|arg| arg.get_env());
    let known: Vec<&str> = known.filter_map(|name| name.to_str()).collect();
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("DOCROOT_") && !known.contains(&name.as_str()))
        .filter(|name| !is_set_by_kubernetes(name))
        .collect();
    unknown.sort();
    let warning = |name: String| {
        let distance = |other: &&&str| strsim::damerau_levenshtein(&name, other);
        match known.iter().min_by_key(distance) {
            Some(nearest) if distance(&nearest) <= 4 => {
                format!("{name} is ignored: there is no such variable; the nearest is {nearest}")
            }
            _ => format!("{name} is ignored: there is no such variable; docroot --man lists all"),
        }
    };
    unknown.into_iter().map(warning).collect()
}

/// Whether Kubernetes sets this variable for a service named docroot: DOCROOT_SERVICE_HOST, DOCROOT_PORT_80_TCP_ADDR.
fn is_set_by_kubernetes(name: &str) -> bool {
    let port = name.strip_prefix("DOCROOT_PORT_");
    name.starts_with("DOCROOT_SERVICE_")
        || port.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::command_line::command;
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn warning_names_unknown_variable_and_the_nearest_one() {
        let check = |name: &str, expected: &[&str]| {
            let warnings = unknown_variables([name.into()], &command());
            let words = expected
                .iter()
                .all(|word| warnings.iter().any(|it| it.contains(word)));
            assert!(
                words && warnings.is_empty() == expected.is_empty(),
                "{warnings:?}"
            );
        };
        check(
            "DOCROOT_COMPRES",
            &["DOCROOT_COMPRES is", "DOCROOT_COMPRESS"],
        );
        check("DOCROOT_PROT", &["nearest is DOCROOT_PORT"]);
        check("DOCROOT_SOMETHING_ELSE", &["docroot --man"]);
        check("DOCROOT_PORT", &[]);
        check("DOCROOT_PORT_80_TCP_ADDR", &[]);
        check("DOCROOT_SERVICE_HOST", &[]);
        check("PATH", &[]);
    }

    #[test]
    fn mistaken_root_gets_a_hint() {
        let hint = |root: &str, arguments: &[&str]| root_hint(root, &words(arguments), &command());
        assert!(hint("help", &["help"]).is_some_and(|it| it.contains("--help")));
        assert!(hint("8000", &["8000"]).is_some_and(|it| it.contains("--port 8000")));
        let hint = hint("index.html", &["--spa", "index.html"]);
        assert!(hint.is_some_and(|it| it.contains("--spa=index.html")));
        assert_eq!(root_hint("html", &words(&["html"]), &command()), None);
    }
}
