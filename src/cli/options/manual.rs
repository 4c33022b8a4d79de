//! The manual page, shell completions, and the options page of the documentation, from the command line.

use clap::{Arg, Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::group;
use super::reference::{self, OptionEntry, OptionGroup, sentence};

/// Options that print a description of the command line instead of serving.
#[derive(Debug, Args)]
pub(super) struct ManualOptions {
    /// Print the completions of this command line for a shell, and exit
    #[arg(long, value_name = "SHELL", env = "DOCROOT_COMPLETIONS")]
    #[arg(help_heading = group::HELP, hide_short_help = true)]
    completions: Option<Shell>,

    /// Print the manual page, and exit
    #[arg(long, env = "DOCROOT_MAN")]
    #[arg(conflicts_with = "completions", help_heading = group::HELP, hide_short_help = true)]
    man: bool,

    /// Print docs/reference/options.md, and exit
    #[arg(long, hide = true)]
    print_options_reference: bool,
}

const DESCRIPTION: &str = "\
docroot serves a directory over HTTP/1.1: DIR, else ./html if it exists, else the current directory. / and the home directory are served \
only when they are named. It sends regular files below that directory, and nothing else.

On a terminal it prints a banner with the URLs. Elsewhere its first line on standard output is JSON, \
{\"event\":\"listening\",\"urls\":[...],...}, and each request is one line after that. Diagnostics are on standard error.";

/// Terms and their meanings, in sections before the examples.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT, SIGQUIT",
                "Stop: close the listeners (after --drain-delay), finish the responses in flight, and exit with 0. A second signal exits at once.",
            ),
            (
                "SIGHUP",
                "Reload _headers, _redirects, and the files of --mime-types and --auth-file. Where one of them is wrong, all \
                 of the previous configuration stays in force. If the terminal that docroot was started on was closed: stop, as for SIGTERM.",
            ),
            (
                "SIGUSR1",
                "Reopen the file of --log-file, after it was renamed.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Clean stop."),
            (
                "1",
                "A failure at run time, or a problem that --check found.",
            ),
            ("2", "Wrong arguments."),
            ("3", "An address cannot be listened on."),
            ("4", "The root directory does not exist or cannot be read."),
        ],
    ),
    (
        "FILES",
        &[
            (
                "_headers",
                "In the root: response fields by path, in the format of Netlify and Cloudflare Pages.",
            ),
            (
                "_redirects",
                "In the root: redirects by path, in their format.",
            ),
            (
                "404.html",
                "In the root: the page for paths that do not exist.",
            ),
        ],
    ),
    (
        "EXAMPLES",
        &[
            ("docroot html", "Serve the directory html on this machine."),
            (
                "docroot --spa --compress --bind '[::]' --port 80 /srv/www",
                "Serve a single-page application on all addresses.",
            ),
            (
                "docroot --auth \"$(docroot hash alice)\" /srv/private",
                "Serve a directory to the user alice, with a password.",
            ),
            (
                "docroot explain /about /srv/www -H 'Accept-Encoding: br'",
                "Print the response that this request would get, and why.",
            ),
        ],
    ),
];

/// Completion of the first word in zsh.
const ZSH_FIRST_WORD: &str = "\
(( $+functions[_docroot_first] )) ||
_docroot_first() {
    _alternative 'commands:command:_docroot_commands' 'directories:directory:_files -/'
}
(( $+functions[_docroot_commands] ))";

/// Other manual pages.
const SEE_ALSO: &str = "systemd.socket(5), systemd.service(5), htpasswd(1), inotify(7), landlock(7). The documentation is in docs/ of the source.";

impl ManualOptions {
    /// Returns the text to print, if one of these options is used.
    pub(super) fn text(&self, mut command: Command) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        if let Some(shell) = self.completions {
            // generate panics if it cannot write; writing to a vector does not fail.
            clap_complete::generate(shell, &mut command, "docroot", &mut text);
            text = fix_completions(shell, &command, &String::from_utf8_lossy(&text)).into_bytes();
        } else if self.print_options_reference {
            command.build();
            text = reference::options_page(&command).into_bytes();
        } else if self.man {
            text = manual_page(command).into_bytes();
        } else {
            return None;
        }
        Some(text)
    }
}

/// Returns the manual page of a command and its subcommands.
fn manual_page(mut command: Command) -> String {
    command.build();
    let mut commands: Vec<Command> = command.get_subcommands().cloned().collect();
    let mut usages = vec![usage(&mut command)];
    usages.extend(commands.iter_mut().map(usage));
    let man = command.clone().override_usage(usages.join("\n"));
    let man = Man::new(man.long_about(DESCRIPTION));

    let mut title = Vec::new();
    // Writing to a vector does not fail.
    let _ = man.render_title(&mut title);
    let mut page = String::from_utf8_lossy(&title).into_owned();
    page += &section(|text| man.render_name_section(text));
    page += &section(|text| man.render_synopsis_section(text));
    page += &section(|text| man.render_description_section(text));
    let mut roff = Roff::new();
    roff.control("SH", ["OPTIONS"]);
    let groups = reference::groups(&command);
    for OptionGroup { title, entries } in &groups {
        roff.control("SS", [&**title]);
        entries
            .iter()
            .for_each(|entry| write_option(&mut roff, entry));
    }
    page += &roff_section(&roff);
    for subcommand in commands {
        page += &command_section(&subcommand, &command);
    }
    page += &environment_section(&groups);
    for (title, terms) in SECTIONS {
        let mut roff = Roff::new();
        roff.control("SH", [title]);
        for (term, meaning) in terms {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*meaning)]);
        }
        page += &roff_section(&roff);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(SEE_ALSO)]);
    page + &roff_section(&roff)
}

/// Appends one option: its names and value, its effect, its default.
fn write_option(roff: &mut Roff, entry: &OptionEntry) {
    roff.control("TP", []);
    roff.text([bold(entry.usage())]);
    let mut text = sentence(&entry.sentence);
    if !entry.choices.is_empty() {
        text += &format!(" One of: {}.", entry.choices.join(", "));
    }
    if let Some((name, default)) = &entry.default {
        text += &format!(" {}: {default}.", name.replacen('d', "D", 1));
    }
    roff.text([roman(text)]);
}

/// Returns the section about environment variables: one table.
fn environment_section(groups: &[OptionGroup]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Each option is also read from an environment variable. The command line wins, and a variable that is set to \
         nothing is not set.",
    )]);
    let entries = groups.iter().flat_map(|group| &group.entries);
    let option_variables = entries.filter_map(|entry| {
        let variable = entry.variable.clone()?;
        Some((variable, format!("--{}", entry.id)))
    });
    let other_variables = [
        ("PORT", "--port, if DOCROOT_PORT is not set"),
        ("RUST_LOG", "Diagnostics by module, such as docroot=debug."),
        ("NO_COLOR, TERM=dumb", "No colours on a terminal."),
        ("BROWSER", "The program that --open starts."),
    ];
    let other_variables = other_variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
    for (name, text) in option_variables.chain(other_variables) {
        roff.control("TP", ["36"]);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
    roff_section(&roff)
}

/// Returns the section about a subcommand: its own options, then the names of those that the server has, too.
fn command_section(command: &Command, server: &Command) -> String {
    let (common, own) = reference::common_and_own(command, server);
    let mut roff = Roff::new();
    let title = format!("DOCROOT {}", command.get_name().to_uppercase());
    roff.control("SH", [&*title]);
    let texts = [command.get_about(), command.get_after_help()];
    for text in texts.into_iter().flatten() {
        roff.text([roman(sentence(&text.to_string()))]);
    }
    own.iter().for_each(|entry| write_option(&mut roff, entry));
    let common: Vec<String> = common
        .iter()
        .map(|entry| match entry.names.is_empty() {
            true => entry.id.clone(),
            false => format!("--{}", entry.id),
        })
        .collect();
    if !common.is_empty() {
        roff.control("PP", []);
        roff.text([roman(format!("As above: {}.", common.join(", ")))]);
    }
    roff_section(&roff)
}

/// Corrects the completions that clap generates: a value may follow an equals sign, an optional value must follow one,
/// and directories are offered where the command line accepts a directory.
fn fix_completions(shell: Shell, command: &Command, script: &str) -> String {
    let names = |arg: &Arg| {
        let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
        let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
        let shorts = shorts.into_iter().map(|short| format!("-{short}"));
        let longs = longs.into_iter().map(|long| format!("--{long}"));
        shorts.chain(longs).collect::<Vec<_>>()
    };
    let equals_only = command.get_arguments();
    let equals_only = equals_only.filter(|arg| arg.is_require_equals_set());
    let equals_only: Vec<String> = equals_only.flat_map(names).collect();
    let commands = command.get_subcommands().map(Command::get_name);
    let commands: Vec<&str> = commands.collect();
    match shell {
        Shell::Bash => script
            .replacen(
                "    prev=\"$3\"\n",
                &format!(
                    "    prev=\"$3\"\n    \
                     # Bash makes three words of --option=value.\n    \
                     if [[ \"${{COMP_WORDS[COMP_CWORD]}}\" == \"=\" ]]; then\n        \
                     cur=\"\"\n        prev=\"${{COMP_WORDS[COMP_CWORD-1]}}\"\n    \
                     elif [[ \"${{prev}}\" == \"=\" && ${{COMP_CWORD}} -gt 1 ]]; then\n        \
                     prev=\"${{COMP_WORDS[COMP_CWORD-2]}}\"\n    else\n        \
                     # These take a value after an equals sign only.\n        \
                     case \"${{prev}}\" in {}) prev=\"\" ;; esac\n    fi\n",
                    equals_only.join("|")
                ),
                1,
            )
            .replacen(
                "|| ${COMP_CWORD} -eq 1 ]] ; then\n                COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )",
                &format!(
                    "]] ; then\n                COMPREPLY=( $(compgen -W \"${{opts}}\" -- \"${{cur}}\") )\n                return 0\n            fi\n            \
                     if [[ ${{COMP_CWORD}} -eq 1 ]] ; then\n                \
                     COMPREPLY=( $(compgen -W \"{}\" -- \"${{cur}}\"; compgen -d -- \"${{cur}}\") )\n                \
                     compopt -o filenames 2> /dev/null",
                    commands.join(" ")
                ),
                1,
            )
            .replace("|| ${COMP_CWORD} -eq 2 ]] ; then", "]] ; then")
            .replace(
                "            COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n            return 0",
                "            local IFS=$'\\n'\n            COMPREPLY=( $(compgen -d -- \"${cur}\") )\n            \
                 compopt -o filenames 2> /dev/null\n            return 0",
            ),
        // The first word is a subcommand or a directory.
        Shell::Zsh => {
            let (server, rest) = script
                .split_once("\":: :_docroot_commands\"")
                .unwrap_or((script, ""));
            let (server, _) = server.rsplit_once("'::dir -- ").unwrap_or((server, ""));
            format!("{server}\":: :_docroot_first\"{rest}")
                .replace("$line[2]", "$line[1]")
                .replacen("(( $+functions[_docroot_commands] ))", ZSH_FIRST_WORD, 1)
        }
        Shell::Fish => format!(
            "{script}complete -c docroot -n \"not __fish_seen_subcommand_from healthcheck hash\" -f -a \
             \"(__fish_complete_directories)\"\n"
        ),
        _ => script.to_owned(),
    }
}

/// Returns the usage line of a command.
fn usage(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let first = usage.lines().next().unwrap_or_default();
    first.trim_start_matches("Usage: ").to_owned()
}

/// Returns a rendered section, without the preamble that the renderer puts in front of each.
fn section(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    // Writing to a vector does not fail.
    let _ = render(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.find("\n.SH") {
        Some(place) => text[place + 1..].to_owned(),
        None => text,
    }
}

fn roff_section(roff: &Roff) -> String {
    section(|text| roff.to_writer(text))
}
