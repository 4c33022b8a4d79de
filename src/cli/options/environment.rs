//! Environment variables: how their values are read, and the arguments that they stand for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt as _;

use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue, Error};
use clap::{Arg, ArgAction, Command};

use super::{binds, values};

/// Options whose values come from environment variables, and warnings about variables that are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// Each option, as `--port`, with its variable.
    in_use: Vec<(String, String)>,
    /// One sentence each.
    warnings: Vec<String>,
}

impl Variables {
    /// Returns the name under which the value of an option was given: `--port`, or `DOCROOT_PORT`.
    pub(super) fn name<'a>(&'a self, option: &'a str) -> &'a str {
        let in_use = self.in_use.iter().find(|(name, _)| name == option);
        in_use.map_or(option, |(_, variable)| variable)
    }

    /// Returns an option with its value as it was given: `--port 80`, or `DOCROOT_PORT=80`.
    pub(super) fn with_value(&self, option: &str, value: impl Display) -> String {
        match self.name(option) {
            name if name == option => format!("{option} {value}"),
            variable => format!("{variable}={value}"),
        }
    }

    /// Warnings about variables that are ignored, one sentence each.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns one line about the value of a variable that clap rejects; `None` if the message of clap is good.
    pub(super) fn message(&self, error: &Error) -> Option<String> {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        // As in `--port <N>` and `--spa[=<FILE>]`.
        let argument = context(ContextKind::InvalidArg)?;
        let option = argument.split([' ', '[']).next()?;
        let (_, variable) = self.in_use.iter().find(|(name, _)| name == option)?;
        let value = context(ContextKind::InvalidValue)?;
        let why = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                format!("expected one of {}", values.join(", "))
            }
            _ => std::error::Error::source(error)?.to_string(),
        };
        Some(format!("{variable}={value}: {why}"))
    }

    /// Adds the arguments for one option with this value of its variable.
    fn add(
        &mut self,
        arguments: &mut Vec<OsString>,
        arg: &Arg,
        variable: &str,
        value: &OsStr,
    ) -> Result<(), String> {
        let Some(long) = arg.get_long() else {
            return Ok(());
        };
        let option = format!("--{long}");
        let invalid = |why: &str| format!("{variable}={}: {why}", value.display());
        let is_path = matches!(
            arg.get_value_hint(),
            ValueHint::FilePath | ValueHint::DirPath
        );
        if value.to_str().is_none() && !is_path {
            return Err(invalid("expected text in UTF-8"));
        }
        let switch = value.to_str().and_then(values::switch);
        let takes_value = arg.get_action().takes_values();
        let value_is_optional = arg.get_num_args().is_some_and(|it| it.min_values() == 0);
        match arg.get_action() {
            ArgAction::Count => {
                let level = values::level(&value.to_string_lossy()).map_err(|why| invalid(&why))?;
                arguments.extend((0..level).map(|_| OsString::from(&option)));
            }
            ArgAction::SetTrue | ArgAction::Set if !takes_value || value_is_optional => {
                match switch {
                    Some(true) => arguments.push(OsString::from(&option)),
                    Some(false) => return Ok(()),
                    None if takes_value => arguments.push(with_equals(&option, value)),
                    None => return Err(invalid(values::EXPECTED_SWITCH)),
                }
            }
            _ => match arg.get_value_delimiter() {
                Some(delimiter) => {
                    let mut items = os_items(value, delimiter).peekable();
                    if items.peek().is_none() {
                        return Err(invalid("the list is empty; leave the variable out"));
                    }
                    arguments.extend(items.map(|item| with_equals(&option, item)));
                }
                None => arguments.push(with_equals(&option, value)),
            },
        }
        self.in_use.push((option, variable.to_owned()));
        Ok(())
    }
}

/// Returns the arguments that the variables of a command's options stand for, except of those for which `is_given`
/// returns true.
///
/// # Errors
/// One sentence: the variable, and what it may hold.
pub(super) fn arguments(
    command: &Command,
    is_given: impl Fn(&Arg) -> bool,
) -> Result<(Vec<OsString>, Variables), String> {
    let (mut arguments, mut variables) = (Vec::new(), Variables::default());
    for arg in command.get_arguments().filter(|arg| !is_given(arg)) {
        let Some(name) = arg.get_env().and_then(OsStr::to_str) else {
            continue;
        };
        if name == binds::PORT_VARIABLES[0] {
            if let Some((name, value)) = port(&mut variables.warnings) {
                variables.add(&mut arguments, arg, name, &value)?;
            }
        } else if let Some(value) = value(name) {
            variables.add(&mut arguments, arg, name, &value)?;
        }
    }
    Ok((arguments, variables))
}

/// Returns the value of a variable, without blanks and line ends around it; `None` if that is empty. Files of variables
/// and YAML often add them.
pub(super) fn value(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    let trimmed = OsStr::from_bytes(value.as_bytes().trim_ascii());
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Returns the variable of the port that is in use, and its value. Adds a warning for each that holds the address of a
/// service.
pub(super) fn port(warnings: &mut Vec<String>) -> Option<(&'static str, OsString)> {
    binds::PORT_VARIABLES.into_iter().find_map(|name| {
        let value = value(name)?;
        if is_service_address(&value) {
            warnings.push(format!(
                "{name}={} is ignored: it is the address of a service, as Kubernetes and Docker set it in containers \
                 (for a service named docroot), and not a port to listen on",
                value.display()
            ));
            return None;
        }
        Some((name, value))
    })
}

/// Whether this is the address of a service, as in the variables of Kubernetes and of Docker's links.
pub(super) fn is_service_address(value: &OsStr) -> bool {
    let schemes = [&b"tcp://"[..], b"udp://", b"sctp://"];
    schemes
        .iter()
        .any(|scheme| value.as_bytes().starts_with(scheme))
}

/// Returns the items of a comma list, without blanks around them, and without empty ones.
pub(super) fn items(list: &str) -> impl Iterator<Item = &str> {
    os_items(OsStr::new(list), ',').filter_map(OsStr::to_str)
}

/// Returns the items of a list that may have paths, in the same way.
fn os_items(list: &OsStr, delimiter: char) -> impl Iterator<Item = &OsStr> {
    let items = list
        .as_bytes()
        .split(move |&byte| char::from(byte) == delimiter);
    let items = items.map(|item| OsStr::from_bytes(item.trim_ascii()));
    items.filter(|item| !item.is_empty())
}

fn with_equals(option: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(option);
    argument.push("=");
    argument.push(value);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_neither_blanks_nor_empty_items() {
        for (list, expected) in [
            ("a,b", &["a", "b"][..]),
            (" a b , c,\n", &["a b", "c"]),
            (",", &[]),
        ] {
            assert_eq!(items(list).collect::<Vec<_>>(), expected, "{list}");
            let os_items = os_items(OsStr::new(list), ',');
            assert_eq!(os_items.collect::<Vec<_>>(), expected, "{list}");
        }
    }

    #[test]
    fn option_has_the_name_that_was_given() {
        let variables = Variables {
            in_use: vec![("--port".into(), "PORT".into())],
            warnings: Vec::new(),
        };
        assert_eq!(variables.name("--bind"), "--bind");
        assert_eq!(variables.name("--port"), "PORT");
        assert_eq!(variables.with_value("--bind", "::"), "--bind ::");
        assert_eq!(variables.with_value("--port", 80), "PORT=80");
    }
}
