//! What each step of a request costs in user space: instructions and allocations, counted.
//!
//! `cargo bench --bench instructions` prints a table. Where time depends on what else the machine does, these
//! depend only on the program, its compiler and the kind of CPU, which the C library's copying is chosen by:
//! a later change can be held against them. What is given after `--` is a part of the names of the steps to count.
//!
//! Each step is done so often and twice as often by a process of its own, under valgrind; the difference is
//! what it takes, without setting its stage.

mod work;

use std::env;
use std::io;
use std::process::{Command, ExitCode, Output};

use work::{STEPS, Step};

/// How often a step is done. What happens once in a while, as memory that grows, is a small part of that.
const TIMES: u64 = 1000;

/// The argument by which this program calls itself: it does one step, so many times.
const ONE: &str = "--one";

/// One of valgrind's tools, and where it says what it has counted, on standard error.
struct Tool {
    arguments: &'static [&'static str],
    before: &'static str,
}

const INSTRUCTIONS: Tool = Tool {
    arguments: &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
    before: "Collected :",
};

const ALLOCATIONS: Tool = Tool {
    arguments: &[
        "--tool=memcheck",
        "--leak-check=no",
        "--undef-value-errors=no",
    ],
    before: "total heap usage:",
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [ONE, name, times] = words[..] {
        let step = STEPS.iter().find(|step| step.name == name);
        let times = times.parse().expect("a number of times");
        repeat(step.expect("the name of a step"), times);
        return ExitCode::SUCCESS;
    }
    // As a test, by cargo test, it is called without any argument.
    if !words.contains(&"--bench") || words.contains(&"--test") {
        STEPS.iter().for_each(|step| repeat(step, 1));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("There is no valgrind to count with; Debian has it in the package valgrind.");
        return ExitCode::SUCCESS;
    }
    let part = words.iter().find(|word| !word.starts_with('-'));
    match table(part.copied().unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(step: &Step, times: u64) {
    let mut work = (step.begin)();
    for _ in 0..times {
        work();
    }
}

/// Counts the steps with this part in their names.
fn table(part: &str) -> io::Result<()> {
    println!("| step, for each request | instructions | allocations |");
    println!("|---|---:|---:|");
    for step in STEPS.iter().filter(|step| step.name.contains(part)) {
        let instructions = each(step, &INSTRUCTIONS)?.round();
        let allocations = (each(step, &ALLOCATIONS)? * 100.0).round() / 100.0;
        println!("| {} | {instructions} | {allocations} |", step.name);
    }
    Ok(())
}

/// How many of what a tool counts a step takes for each request.
fn each(step: &Step, tool: &Tool) -> io::Result<f64> {
    let (once, twice) = (count(step, tool, TIMES)?, count(step, tool, 2 * TIMES)?);
    Ok((twice - once) / (TIMES * step.requests) as f64)
}

/// How many a process counts that does a step so many times.
fn count(step: &Step, tool: &Tool, times: u64) -> io::Result<f64> {
    let Output { status, stderr, .. } = Command::new("valgrind")
        .args(tool.arguments)
        .arg(env::current_exe()?)
        .args([ONE, step.name, &times.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&stderr);
    match number(&said, tool.before) {
        Some(number) if status.success() => Ok(number),
        _ => Err(io::Error::other(format!("{}: {status}\n{said}", step.name))),
    }
}

/// The number behind these words, with or without commas between its digits.
fn number(said: &str, before: &str) -> Option<f64> {
    let (_, rest) = said.split_once(before)?;
    let digits = rest.split_whitespace().next()?.replace(',', "");
    digits.parse().ok()
}
