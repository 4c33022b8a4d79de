//! The command line, in the forms in which manuals and shells want it.

use clap::builder::BoolishValueParser;
use clap::{Arg, Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// What is printed instead of serving.
#[derive(Debug, Args)]
pub(super) struct ManualOptions {
    /// Print what completes this command line in a shell, and exit
    #[arg(long, value_name = "SHELL", env = "DOCROOT_COMPLETIONS")]
    completions: Option<Shell>,

    /// Print the manual page, and exit
    #[arg(long, env = "DOCROOT_MAN", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "completions")]
    man: bool,
}

const DESCRIPTION: &str = "\
docroot serves a folder over HTTP/1.1: DIR, or ./html if that is there, or the current directory. / and the home directory are served only \
when they are written out. It sends regular files below that folder, and nothing else.

On a terminal it says where to click. Elsewhere its first line on standard output is JSON, {\"event\":\"listening\",\"urls\":[...],...}, and each \
request is a line after that. Diagnostics are on standard error.";

/// Sections by their titles, of terms and what they mean.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT, SIGQUIT",
                "Accept nobody any more (after --drain-delay), finish what is begun, and end with 0; a second one ends it at once.",
            ),
            (
                "SIGHUP",
                "Read _headers, _redirects, and the files of --mime-types and --auth-file again. Where something is wrong \
                 with one of them, all stays as it was. When the terminal is closed that it was started on: as SIGTERM.",
            ),
            (
                "SIGUSR1",
                "Open the file of --log-file again, as after it was renamed.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "It ended as it was told to."),
            (
                "1",
                "It failed while it ran, or found what --check is to find.",
            ),
            ("2", "The arguments make no sense."),
            ("3", "An address cannot be listened on."),
            ("4", "The document root is missing or cannot be read."),
        ],
    ),
    (
        "FILES",
        &[
            (
                "_headers",
                "In the document root: fields by path, as Netlify and Cloudflare Pages have them.",
            ),
            (
                "_redirects",
                "In the document root: redirections by path, as they have them.",
            ),
            (
                "404.html",
                "In the document root: the page for what is absent.",
            ),
        ],
    ),
    (
        "EXAMPLES",
        &[
            ("docroot html", "Serve the folder html to this machine."),
            (
                "docroot --spa --compress --bind '[::]' --port 80 /srv/www",
                "Serve a single-page application to everybody.",
            ),
            (
                "docroot --auth \"$(docroot hash alice)\" /srv/private",
                "Serve a folder to who knows a password.",
            ),
            (
                "docroot explain /about /srv/www -H 'Accept-Encoding: br'",
                "Say what that request would be answered with, and why.",
            ),
        ],
    ),
];

impl ManualOptions {
    /// What is to be printed, if anything is, of this command.
    pub(super) fn text(&self, mut command: Command) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        if let Some(shell) = self.completions {
            // It panics where it cannot write; a vector takes whatever is written to it.
            clap_complete::generate(shell, &mut command, "docroot", &mut text);
        } else if self.man {
            text = page(command).into_bytes();
        } else {
            return None;
        }
        Some(text)
    }
}

/// One page about a command and its subcommands.
fn page(mut command: Command) -> String {
    command.build();
    let mut commands: Vec<Command> = command.get_subcommands().cloned().collect();
    let mut forms = vec![usage(&mut command)];
    forms.extend(commands.iter_mut().map(usage));
    let man = command.clone().override_usage(forms.join("\n"));
    let man = Man::new(man.long_about(DESCRIPTION));

    let mut title = Vec::new();
    // A vector takes whatever is written to it.
    let _ = man.render_title(&mut title);
    let mut page = String::from_utf8_lossy(&title).into_owned();
    page += &section(|text| man.render_name_section(text));
    page += &section(|text| man.render_synopsis_section(text));
    page += &section(|text| man.render_description_section(text));
    page += &section(|text| man.render_options_section(text));
    for each in commands {
        page += &about(each, &command);
    }
    if let Some(environment) = command.get_after_help() {
        let mut roff = Roff::new();
        roff.control("SH", ["ENVIRONMENT"]);
        roff.text([roman(environment.to_string())]);
        page += &roff_section(&roff);
    }
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
    page
}

/// A section about a subcommand: what it has of its own, and then which options it has in common with who serves.
fn about(command: Command, server: &Command) -> String {
    let in_common = |arg: &Arg| {
        let is_same = |other: &Arg| {
            other.get_long() == arg.get_long()
                && other.get_help().map(ToString::to_string)
                    == arg.get_help().map(ToString::to_string)
        };
        arg.get_long().is_some() && server.get_arguments().any(is_same)
    };
    let (common, own): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().partition(|arg| in_common(arg));
    let common: Vec<String> = common
        .iter()
        .filter_map(|arg| arg.get_long())
        .filter(|name| *name != "help")
        .map(|name| format!("--{name}"))
        .collect();
    let has_own = !own.is_empty();

    let mut roff = Roff::new();
    let title = format!("DOCROOT {}", command.get_name().to_uppercase());
    roff.control("SH", [&*title]);
    let said = [command.get_about(), command.get_after_help()];
    for said in said.into_iter().flatten() {
        roff.text([roman(sentence(&said.to_string()))]);
    }
    let mut section_text = roff_section(&roff);
    if has_own {
        let own = command.clone().mut_args(|arg| {
            let is_common = in_common(&arg);
            arg.hide(is_common)
        });
        let options = section(|text| Man::new(own).render_options_section(text));
        // They belong to what this section is about.
        let (_, options) = options.split_once('\n').unwrap_or_default();
        section_text += options;
    }
    if common.is_empty() {
        return section_text;
    }
    let mut roff = Roff::new();
    roff.control("PP", []);
    roff.text([roman(format!("As above: {}.", common.join(", ")))]);
    section_text + &roff_section(&roff)
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{text}{end}")
}

/// How a command is called.
fn usage(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let first = usage.lines().next().unwrap_or_default();
    first.trim_start_matches("Usage: ").to_owned()
}

/// What is rendered, from its heading on: before that each has the same preamble.
fn section(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    // A vector takes whatever is written to it.
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
