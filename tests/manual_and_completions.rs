//! Manual page, options reference and shell completions: complete, up to date, and readable by their programs.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Root, docroot, run_on};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn printed(arguments: &[&str]) -> String {
    let output = docroot().args(arguments).output().expect("docroot runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the names of the flags in the output of --help.
fn flags(help: &str) -> Vec<&str> {
    let is_row = |line: &&str| line.starts_with("  ") && line.trim_start().starts_with('-');
    let flags = help.lines().filter(is_row).filter_map(|line| {
        let (_, flag) = line.split_once("--")?;
        flag.split([' ', '.', '[']).next()
    });
    flags.collect()
}

#[test]
fn manual_page_has_every_flag_and_its_variable() {
    // roff(7) escapes a hyphen that is to be typed.
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
        let has_no_variable = ["help", "version"].contains(&flag);
        assert!(has_no_variable || page.contains(&variable), "{variable}");
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
    // The subsections are the headings of --help.
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
        let has_no_variable = ["help", "version"].contains(&flag);
        assert!(has_no_variable || printed.contains(&variable), "{variable}");
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

/// Returns the anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let characters = title
        .chars()
        .filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    characters
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[test]
fn manual_page_does_not_depend_on_environment() {
    let output = docroot()
        .arg("--man")
        .env("DOCROOT_ROOT", "/my/secret")
        .output();
    let page = String::from_utf8(output.expect("docroot runs").stdout).expect("text");
    assert_eq!(page, printed(&["--man"]));
}

#[test]
fn manual_page_is_well_formed() {
    let page = printed(&["--man"]);
    let lints: [&[&str]; 2] = [
        &["groff", "-man", "-Tutf8", "-ww", "-z"],
        &["mandoc", "-T", "lint", "-W", "error"],
    ];
    for lint in lints {
        if let Some(output) = run_on(lint[0], &lint[1..], &page) {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{lint:?}");
        }
    }
}

#[test]
fn completions_parse_in_every_shell() {
    for shell in SHELLS {
        let completions = printed(&["--completions", shell]);
        for word in ["sandbox", "compress", "explain"] {
            assert!(completions.contains(word), "{shell}: {word}");
        }
        let parse_only = if shell == "fish" {
            "--no-execute"
        } else {
            "-n"
        };
        if ["bash", "fish", "zsh"].contains(&shell)
            && let Some(output) = run_on(shell, &[parse_only], &completions)
        {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
    }
}

#[test]
fn bash_completes_flags_their_values_and_commands() {
    let directory = Root::new();
    let file = directory.join("docroot.bash");
    fs::write(&file, printed(&["--completions", "bash"])).expect("a file");
    let check = |words: &str, expected: &str| {
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _docroot docroot \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let Some(output) = run_on("bash", &["--norc", "-s"], &script) else {
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
fn bash_completes_directories_for_directory_arguments() {
    let directory = Root::of(&[("html/index.html", ""), ("explained/a", ""), ("file", "")]);
    let file = directory.join("docroot.bash");
    fs::write(&file, printed(&["--completions", "bash"])).expect("a file");
    let check = |words: &str, expected: &[&str]| {
        let script = format!(
            "cd '{}'; source ./docroot.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _docroot docroot \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            directory.path().display()
        );
        let Some(output) = run_on("bash", &["--norc", "-s"], &script) else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words}");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: Vec<&str> = stdout.lines().filter(|line| !line.is_empty()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{words}");
    };
    // A command can only be the first word.
    check("docroot ex", &["explain", "explained"]);
    check("docroot --listing ''", &["explained", "html"]);
    check("docroot --listing ex", &["explained"]);
    check("docroot compress h", &["html"]);
    // The value of --spa follows an equals sign only.
    check("docroot --spa h", &["html"]);
}

#[test]
fn closed_standard_output_is_no_error() {
    for arguments in [&["--man"][..], &["--completions", "zsh"]] {
        let mut command = docroot();
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("docroot runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("a child process");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn man_with_completions_or_unknown_shell_is_exit_code_2() {
    for arguments in [
        &["--man", "--completions", "bash"][..],
        &["--completions", "tcsh"],
    ] {
        let output = docroot().args(arguments).output().expect("docroot runs");
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(output.stdout, b"");
    }
}
