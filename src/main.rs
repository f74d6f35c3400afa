//! The process: arguments, the allocator, exit codes.
//!
//! It must not know what a command does. Every failure has one message and one exit code; no other module
//! prints or exits. Everything else is in the library, where the compiler translates it once.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use s3veil::cli::{self, CommandLine};

/// With hundreds of streams, glibc's arenas fragment, and its locks and returned pages are a quarter of the
/// cost of a small request. `.cargo/config.toml` has the settings of jemalloc.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(message) => {
            // Help and version are messages too, and go to standard output.
            let code = if message.use_stderr() { cli::USAGE } else { 0 };
            // A message that can't be written does not change the exit code.
            drop(message.print());
            let arguments: Vec<_> =
                std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
            if let Some(hint) = cli::hint(&arguments).filter(|_| message.use_stderr()) {
                drop(writeln!(io::stderr(), "s3veil: {hint}"));
            }
            return ExitCode::from(code);
        }
    };
    match cli::run(line, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A message that can't be written does not change the exit code.
            drop(writeln!(io::stderr(), "s3veil: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}
