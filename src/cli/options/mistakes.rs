//! Messages for common mistakes in arguments and variables: what was typed, and what to type instead.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::binds::is_number;
use super::environment::is_service_address;

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
/// `arguments` do not include the name of the program.
pub(super) fn message(error: &Error, arguments: &[OsString], command: &Command) -> Option<String> {
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
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    command: &Command,
) -> Vec<String> {
    let known = command.get_arguments().filter_map(|arg| arg.get_env());
    let known: Vec<&str> = known.filter_map(|name| name.to_str()).collect();
    let mut unknown: Vec<String> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("DOCROOT_") && !known.contains(&name.as_str()))
        .filter(|(name, value)| !is_service_variable(name, value))
        .map(|(name, _)| name)
        .collect();
    unknown.sort();
    let warning = |name: String| {
        let distance = |other: &&&str| strsim::damerau_levenshtein(&name, other);
        // Another word is not near.
        let max_distance = (name.len() - "DOCROOT_".len()).div_ceil(2).min(4);
        match known.iter().min_by_key(distance) {
            Some(nearest) if distance(&nearest) <= max_distance => {
                format!("{name} is ignored: there is no such variable; the nearest is {nearest}")
            }
            _ => format!("{name} is ignored: there is no such variable; docroot --man lists all"),
        }
    };
    unknown.into_iter().map(warning).collect()
}

/// Whether this variable describes a service, in a container of Kubernetes or one with a Docker link, for a service
/// whose name begins with docroot: DOCROOT_SERVICE_HOST, DOCROOT_PORT_80_TCP_ADDR, DOCROOT_METRICS_PORT.
fn is_service_variable(name: &str, value: &OsStr) -> bool {
    let is_of_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let (number, protocol) = rest.split_once('_').unwrap_or_default();
        let is_protocol = |it: &&str| protocol.starts_with(it);
        is_number(number) && ["TCP", "UDP", "SCTP"].iter().any(is_protocol)
    });
    let is_name_of_link = name.ends_with("_NAME") && value.as_encoded_bytes().starts_with(b"/");
    is_of_port
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || is_service_address(value)
        || is_name_of_link
        || name.starts_with("DOCROOT_ENV_")
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
        let check = |variable: &str, expected: &[&str]| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, "1"));
            let warnings = unknown_variables([(name.into(), value.into())], &command());
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
        check("DOCROOT_XYZ", &["docroot --man"]);
        check("DOCROOT_PORT", &[]);
        for of_service in [
            "DOCROOT_SERVICE_HOST",
            "DOCROOT_SERVICE_PORT",
            "DOCROOT_SERVICE_PORT_HTTP",
            "DOCROOT_PORT=tcp://10.0.0.1:80",
            "DOCROOT_PORT_80_TCP=tcp://10.0.0.1:80",
            "DOCROOT_PORT_80_TCP_ADDR",
            "DOCROOT_PORT_53_UDP_PROTO",
            "DOCROOT_METRICS_SERVICE_HOST",
            "DOCROOT_METRICS_PORT=tcp://10.0.0.1:9090",
            "DOCROOT_METRICS_PORT_9090_TCP_PORT",
            "DOCROOT_NAME=/web/docroot",
            "DOCROOT_ENV_PATH",
        ] {
            check(of_service, &[]);
        }
        check("DOCROOT_NAME", &["DOCROOT_NAME is"]);
        check("DOCROOT_PORT_RANGE", &["DOCROOT_PORT_RANGE is"]);
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
