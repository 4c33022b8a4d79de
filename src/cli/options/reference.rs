//! The options as groups of entries, from the texts of `--help`, and docs/reference/options.md from those.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

/// Options under one heading.
#[derive(Debug)]
pub(super) struct OptionGroup {
    pub(super) title: String,
    pub(super) entries: Vec<OptionEntry>,
}

/// Option, or positional argument.
#[derive(Debug)]
pub(super) struct OptionEntry {
    /// Names with their dashes, the short ones first; empty for a positional argument.
    pub(super) names: Vec<String>,
    /// Long name without dashes, or the name of a positional argument.
    pub(super) id: String,
    /// Value with the characters around it: ` <N>`, `[=<FILE>]`; empty for a switch.
    pub(super) value: String,
    /// Accepted values, if they are a fixed list.
    pub(super) choices: Vec<String>,
    /// Label and default value: `("default", "8080")`, `("default FILE", "index.html")`.
    pub(super) default: Option<(String, String)>,
    /// Environment variable.
    pub(super) variable: Option<String>,
    /// Effect of the option, as a sentence without a full stop.
    pub(super) sentence: String,
}

/// Returns the groups of a command's options, in the order of `--help`.
pub(super) fn groups(command: &Command) -> Vec<OptionGroup> {
    let mut groups: Vec<OptionGroup> = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let title = match arg.get_help_heading() {
            Some(title) => title,
            None if arg.is_positional() => "Arguments",
            None => "Options",
        };
        let entry = OptionEntry::from_arg(arg);
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.entries.push(entry),
            None => groups.push(OptionGroup {
                title: title.to_owned(),
                entries: vec![entry],
            }),
        }
    }
    groups
}

impl OptionEntry {
    fn from_arg(arg: &Arg) -> Self {
        let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
        let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
        let names = shorts.iter().map(|short| format!("-{short}"));
        let names = names.chain(longs.iter().map(|long| format!("--{long}")));
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = match value {
            Some(value) if takes_value && arg.is_require_equals_set() => format!("[=<{value}>]"),
            Some(value) if takes_value && arg.is_positional() => format!("<{value}>"),
            Some(value) if takes_value => format!(" <{value}>"),
            _ => String::new(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (sentence, default_in_help) = match help
            .strip_suffix(']')
            .and_then(|it| it.rsplit_once(" [default"))
        {
            Some((sentence, default)) => {
                let (name, default) = default.split_once(": ").unwrap_or(("", default));
                (
                    sentence.to_owned(),
                    Some((format!("default{name}"), default.to_owned())),
                )
            }
            None => (help, None),
        };
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .map(|it| it.to_string_lossy().into_owned())
            .collect();
        let default = (takes_value && !defaults.is_empty())
            .then(|| ("default".to_owned(), defaults.join(",")));
        let choices = match takes_value {
            true => arg.get_possible_values(),
            false => Vec::new(),
        };
        Self {
            id: match (arg.get_long(), arg.get_value_names()) {
                (Some(long), _) => long.to_owned(),
                (None, Some([name, ..])) => name.to_string(),
                (None, _) => arg.get_id().to_string(),
            },
            names: names.collect(),
            value,
            choices: choices.iter().map(|it| it.get_name().to_owned()).collect(),
            default: default_in_help.or(default),
            variable: arg
                .get_env()
                .map(|name| name.to_string_lossy().into_owned()),
            sentence,
        }
    }

    /// Returns the names and the value as they are typed.
    pub(super) fn usage(&self) -> String {
        match self.names.is_empty() {
            true => self.value.clone(),
            false => format!("{}{}", self.names.join(", "), self.value),
        }
    }
}

/// Returns docs/reference/options.md: every option with its names, value, default, variable and sentence.
pub(super) fn options_page(command: &Command) -> String {
    let mut page = "\
# Options

`docroot [OPTIONS] [DIR]` serves a directory. This page is generated from the program's own help texts
(`docroot --print-options-reference`); a test compares the two.

Of an option that is given twice, the last value counts; of one that is repeatable, all do.

An option of the command line wins over its environment variable. A variable that is set to nothing, or to blanks, is
not set. A switch is turned on by `true`, `yes`, `on` or `1` in its variable, and off by `false`, `no`, `off` or `0`; so
is an option that needs no value (`DOCROOT_SPA=true`). A variable of an option that may be repeated holds a comma list,
except `DOCROOT_HEADER` (one field a line) and `DOCROOT_AUTH` (one user). Blanks and line ends around a variable, and
around an item of a list, do not count.
"
    .to_owned();
    for group in groups(command) {
        let _ = writeln!(page, "\n## {}", group.title);
        for entry in &group.entries {
            write_entry(&mut page, "", entry);
        }
    }
    page.push_str("\n## Commands\n\nA directory with the name of a command is written `./NAME`.\n");
    for each in command.get_subcommands() {
        let name = each.get_name();
        let _ = writeln!(page, "\n## docroot {name}");
        let texts = [each.get_about(), each.get_after_help()];
        for text in texts.into_iter().flatten() {
            let _ = writeln!(page, "\n{}", wrapped(&sentence(&text.to_string())));
        }
        let (common, own) = common_and_own(each, command);
        for entry in &own {
            write_entry(&mut page, &format!("{name} "), entry);
        }
        let common: Vec<String> = common
            .iter()
            .map(|entry| match entry.names.is_empty() {
                true => format!("[`{}`](#{})", entry.id, entry.id.to_lowercase()),
                false => format!("[`--{}`](#--{})", entry.id, entry.id),
            })
            .collect();
        if !common.is_empty() {
            let _ = writeln!(
                page,
                "\n{}",
                wrapped(&format!("As above: {}.", common.join(", ")))
            );
        }
    }
    page.push_str("\n## Environment variables\n\n| variable | option |\n|---|---|\n");
    for entry in groups(command).into_iter().flat_map(|group| group.entries) {
        if let Some(variable) = &entry.variable {
            let _ = writeln!(
                page,
                "| `{variable}` | [`--{}`](#--{}) |",
                entry.id, entry.id
            );
        }
    }
    page.push_str(
        "| `PORT` | [`--port`](#--port), if `DOCROOT_PORT` is not set |\n\
         | `RUST_LOG` | diagnostics, as [`--verbose`](#--verbose), by module |\n\
         | `NO_COLOR`, `TERM=dumb` | no colours on a terminal |\n\
         | `BROWSER` | the program of [`--open`](#--open) |\n",
    );
    page
}

/// Returns the options of a subcommand except `--help`: those that the server has with the same meaning, and its own.
pub(super) fn common_and_own(
    command: &Command,
    server: &Command,
) -> (Vec<OptionEntry>, Vec<OptionEntry>) {
    let entries = |command| groups(command).into_iter().flat_map(|group| group.entries);
    let of_server: Vec<OptionEntry> = entries(server).collect();
    let is_same = |one: &OptionEntry, other: &OptionEntry| {
        one.id == other.id && one.sentence == other.sentence
    };
    entries(command)
        .filter(|entry| entry.id != "help")
        .partition(|entry| of_server.iter().any(|other| is_same(entry, other)))
}

/// Appends one option. Its heading is the long name only, so that its anchor is stable.
fn write_entry(page: &mut String, command: &str, entry: &OptionEntry) {
    let heading = match entry.names.is_empty() {
        true => entry.id.clone(),
        false => format!("--{}", entry.id),
    };
    let _ = writeln!(page, "\n### `{command}{heading}`\n");
    let mut facts = vec![format!("`{}`", entry.usage())];
    if !entry.choices.is_empty() {
        facts.push(format!("one of `{}`", entry.choices.join("`, `")));
    }
    if let Some((name, default)) = &entry.default {
        facts.push(format!("{name}: {default}"));
    }
    if let Some(variable) = &entry.variable {
        facts.push(format!("variable `{variable}`"));
    }
    let _ = writeln!(page, "{}\n", wrapped(&sentence(&entry.sentence)));
    for fact in facts {
        let _ = writeln!(page, "{}", wrapped(&format!("- {fact}")));
    }
}

/// Returns a text with a full stop at the end.
pub(super) fn sentence(text: &str) -> String {
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{text}{end}")
}

/// Wraps a paragraph into lines of at most 120 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.len());
        if line > 0 && line + 1 + word.len() > 120 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
