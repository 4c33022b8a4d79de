//! Instruction and allocation counts of each step of a request, in user space.
//!
//! `cargo bench --bench instructions` prints a table. Unlike repetitions, these counts do not depend on the load of the
//! machine, only on the program, its compiler and the CPU model, by which the C library selects its copy routines. So
//! they can be compared with those of a later change. An argument after `--` selects the steps whose names contain it.
//!
//! Each step runs under valgrind in two processes, one of which repeats it twice as often. The difference of both
//! counts is the cost of the step without its setup.

mod work;

use std::env;
use std::io;
use std::process::{Command, ExitCode, Output};

use work::{STEPS, Step};

/// Repetitions of a step. With so many, rare costs, like growing buffers, are a small filter.
const REPETITIONS: u64 = 1000;

/// Argument with which this program runs itself to repeat one step.
const ONE_STEP: &str = "--one";

/// Valgrind tool, and the text prefix its count on standard error.
struct Tool {
    arguments: &'static [&'static str],
    prefix: &'static str,
}

const INSTRUCTIONS: Tool = Tool {
    arguments: &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
    prefix: "Collected :",
};

const ALLOCATIONS: Tool = Tool {
    arguments: &[
        "--tool=memcheck",
        "--leak-check=no",
        "--undef-value-errors=no",
    ],
    prefix: "total heap usage:",
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [ONE_STEP, name, repetitions] = words[..] {
        let step = STEPS.iter().find(|step| step.name == name);
        let repetitions = repetitions.parse().expect("a number of repetitions");
        repeat(step.expect("the name of a step"), repetitions);
        return ExitCode::SUCCESS;
    }
    // `cargo test` runs this program without arguments.
    if !words.contains(&"--bench") || words.contains(&"--test") {
        STEPS.iter().for_each(|step| repeat(step, 1));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("There is no valgrind to count with; Debian has it in the package valgrind.");
        return ExitCode::SUCCESS;
    }
    let filter = words.iter().find(|word| !word.starts_with('-'));
    match table(filter.copied().unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(step: &Step, repetitions: u64) {
    let mut work = (step.setup)();
    for _ in 0..repetitions {
        work();
    }
}

/// Prints a table of the steps whose names contain `filter`.
fn table(filter: &str) -> io::Result<()> {
    println!("| step, for each request | instructions | allocations |");
    println!("|---|---:|---:|");
    for step in STEPS.iter().filter(|step| step.name.contains(filter)) {
        let instructions = per_request(step, &INSTRUCTIONS)?.round();
        let allocations = (per_request(step, &ALLOCATIONS)? * 100.0).round() / 100.0;
        println!("| {} | {instructions} | {allocations} |", step.name);
    }
    Ok(())
}

/// Returns a tool's count for a step, per request.
fn per_request(step: &Step, tool: &Tool) -> io::Result<f64> {
    let (once, twice) = (
        count(step, tool, REPETITIONS)?,
        count(step, tool, 2 * REPETITIONS)?,
    );
    Ok((twice - once) / (REPETITIONS * step.requests) as f64)
}

/// Returns a tool's count for a process that repeats a step.
fn count(step: &Step, tool: &Tool, repetitions: u64) -> io::Result<f64> {
    let Output { status, stderr, .. } = Command::new("valgrind")
        .args(tool.arguments)
        .arg(env::current_exe()?)
        .args([ONE_STEP, step.name, &repetitions.to_string()])
        .output()?;
    let output = String::from_utf8_lossy(&stderr);
    match number(&output, tool.prefix) {
        Some(number) if status.success() => Ok(number),
        _ => Err(io::Error::other(format!(
            "{}: {status}\n{output}",
            step.name
        ))),
    }
}

/// Returns the number after a text, with or without commas between its digits.
fn number(output: &str, prefix: &str) -> Option<f64> {
    let (_, rest) = output.split_once(prefix)?;
    let digits = rest.split_whitespace().next()?.replace(',', "");
    digits.parse().ok()
}
