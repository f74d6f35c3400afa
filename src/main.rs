//! The process: arguments, logging, the runtime, exit codes. It alone prints and exits.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use s3veil::command::{self, Command, CommandLine, Failure};
use s3veil::config::{self, LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(answer) => {
            // Help and version are answers too, and go to standard output.
            let code = if answer.use_stderr() { command::USAGE } else { 0 };
            // Whoever does not read the message gets the exit code still.
            drop(answer.print());
            return ExitCode::from(code);
        }
    };
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("s3veil: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(line: CommandLine) -> Result<(), Failure> {
    let (command, config) = line.into_parts();
    match command {
        Command::Serve => serve(&config),
        Command::Check => unfinished("check"),
        Command::Keygen(_) => unfinished("keygen"),
        Command::Inspect(_) => unfinished("inspect"),
        Command::Decrypt(_) => unfinished("decrypt"),
    }
}

fn unfinished(command: &str) -> Result<(), Failure> {
    Err(Failure::Internal(format!("`{command}` is not part of this build")))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    log(&config.log);
    unfinished("serve")
}

/// Events go to standard error; standard output belongs to the commands.
fn log(settings: &LogSettings) {
    let LogSettings { format, level } = settings;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
