//! The manual page and the completions say what the command line is, in forms that their readers understand.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Root, docroot};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn printed(arguments: &[&str]) -> String {
    let output = docroot().args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).expect("text")
}

/// What another program makes of this. `None`, said loudly, where there is no such program.
fn read_by(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("SKIPPED: there is no {program} here");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it is read");
    drop(stdin);
    Some(child.wait_with_output().expect("it is our child"))
}

/// The names of the flags in what --help prints.
fn flags(help: &str) -> Vec<&str> {
    let is_row = |line: &&str| line.starts_with("  ") && line.trim_start().starts_with('-');
    let flags = help.lines().filter(is_row).filter_map(|line| {
        let (_, flag) = line.split_once("--")?;
        flag.split([' ', '.', '[']).next()
    });
    flags.collect()
}

#[test]
fn the_manual_page_has_every_flag_and_its_variable() {
    // In roff a hyphen that is to be one is escaped.
    let page = printed(&["--man"]).replace("\\-", "-");
    for command in [
        &["--help"][..],
        &["compress", "--help"],
        &["explain", "--help"],
    ] {
        let help = printed(command);
        let flags = flags(&help);
        assert!(flags.len() > 4, "{flags:?}");
        for flag in flags.into_iter().filter(|flag| *flag != "help") {
            assert!(page.contains(&format!("--{flag}")), "{command:?} --{flag}");
        }
    }
    for flag in flags(&printed(&["--help"])) {
        let variable = format!("DOCROOT_{}", flag.to_uppercase().replace('-', "_"));
        let is_own = ["help", "version"].contains(&flag);
        assert!(is_own || page.contains(&variable), "{variable}");
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix(".SH "));
    let sections: Vec<&str> = sections.map(|title| title.trim_matches('"')).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "DOCROOT COMPRESS",
        "DOCROOT HEALTHCHECK",
        "DOCROOT HASH",
        "DOCROOT EXPLAIN",
        "ENVIRONMENT",
        "SIGNALS",
        "EXIT STATUS",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    assert_eq!(sections, expected);
    // The groups are those of --help.
    let groups = page.lines().filter_map(|line| line.strip_prefix(".SS "));
    let groups: Vec<&str> = groups.map(|title| title.trim_matches('"')).collect();
    let help = printed(&["--help"]);
    for group in &groups {
        assert!(help.contains(&format!("\n{group}:\n")), "{group}");
    }
    assert!(groups.len() > 8, "{groups:?}");
}

#[test]
fn options_reference_is_up_to_date() {
    let printed = printed(&["--print-options-reference"]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/options.md");
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == printed,
        "docs/reference/options.md is not up to date: docroot --print-options-reference > docs/reference/options.md"
    );
    for flag in flags(&self::printed(&["--help"])) {
        assert!(printed.contains(&format!("\n### `--{flag}`\n")), "--{flag}");
        let variable = format!("`DOCROOT_{}`", flag.to_uppercase().replace('-', "_"));
        let is_own = ["help", "version"].contains(&flag);
        assert!(is_own || printed.contains(&variable), "{variable}");
    }
    for line in printed.lines().filter(|line| !line.starts_with('|')) {
        assert!(line.chars().count() <= 120, "{line}");
    }
    let (_, links) = printed.split_once("\n## ").expect("a group");
    for link in links.split("](#").skip(1) {
        let (anchor, _) = link.split_once(')').expect("its end");
        let is_heading = |line: &str| line.starts_with("##") && slug(line) == anchor;
        assert!(printed.lines().any(is_heading), "#{anchor}");
    }
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[test]
fn what_is_set_is_no_part_of_it() {
    let output = docroot()
        .arg("--man")
        .env("DOCROOT_ROOT", "/my/secret")
        .output();
    let page = String::from_utf8(output.expect("it runs").stdout).expect("text");
    assert_eq!(page, printed(&["--man"]));
}

#[test]
fn the_manual_page_is_well_formed() {
    let page = printed(&["--man"]);
    let lints: [&[&str]; 2] = [
        &["groff", "-man", "-Tutf8", "-ww", "-z"],
        &["mandoc", "-T", "lint", "-W", "error"],
    ];
    for lint in lints {
        if let Some(output) = read_by(lint[0], &lint[1..], &page) {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{lint:?}");
        }
    }
}

#[test]
fn every_shell_can_read_its_completions() {
    for shell in SHELLS {
        let completions = printed(&["--completions", shell]);
        for word in ["sandbox", "compress", "explain"] {
            assert!(completions.contains(word), "{shell}: {word}");
        }
        let only_read = if shell == "fish" {
            "--no-execute"
        } else {
            "-n"
        };
        if ["bash", "fish", "zsh"].contains(&shell)
            && let Some(output) = read_by(shell, &[only_read], &completions)
        {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
    }
}

#[test]
fn bash_completes_flags_their_values_and_commands() {
    let folder = Root::new();
    let file = folder.join("docroot.bash");
    fs::write(&file, printed(&["--completions", "bash"])).expect("a file");
    let check = |words: &str, expected: &str| {
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _docroot docroot \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let Some(output) = read_by("bash", &["--norc", "-s"], &script) else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            expected,
            "{words}"
        );
    };
    check("docroot --sand", "--sandbox");
    check("docroot --sandbox ''", "auto on off");
    check("docroot compress --j", "--jobs");
    check("docroot expl", "explain");
    // Bash makes three words of an option, an equals sign and a value.
    check("docroot --sandbox = ''", "auto on off");
    check("docroot --sandbox = o", "on off");
    check("docroot --log-format =", "pretty combined json none");
}

#[test]
fn bash_completes_directories_where_a_directory_can_stand() {
    let folder = Root::of(&[("html/index.html", ""), ("explained/a", ""), ("file", "")]);
    let file = folder.join("docroot.bash");
    fs::write(&file, printed(&["--completions", "bash"])).expect("a file");
    let check = |words: &str, expected: &[&str]| {
        let script = format!(
            "cd '{}'; source ./docroot.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _docroot docroot \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            folder.path().display()
        );
        let Some(output) = read_by("bash", &["--norc", "-s"], &script) else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{words}");
    };
    // A command can only be the first word.
    check("docroot ex", &["explain", "explained"]);
    check("docroot --listing ''", &["explained", "html"]);
    check("docroot --listing ex", &["explained"]);
    check("docroot compress h", &["html"]);
    // Its value follows an equals sign only.
    check("docroot --spa h", &["html"]);
}

#[test]
fn who_has_seen_enough_may_leave() {
    for arguments in [&["--man"][..], &["--completions", "zsh"]] {
        let mut command = docroot();
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it is our child");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn one_thing_is_printed_at_a_time() {
    for arguments in [
        &["--man", "--completions", "bash"][..],
        &["--completions", "tcsh"],
    ] {
        let output = docroot().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(output.stdout, b"");
    }
}
