//! The process: arguments, logging, the runtime, exit codes.
//!
//! It must not know what a command does. Every failure has one message and one exit code; no other module
//! prints or exits.

#![allow(clippy::print_stdout)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use s3veil::cli::dependencies::{Dependencies, DependencyNames};
use s3veil::cli::readiness::Readiness;
use s3veil::cli::serve::{self, Listeners};
use s3veil::cli::startup::Purpose;
use s3veil::cli::{self, Command, CommandLine, Decrypt, Failure, process};
use s3veil::config;
use s3veil::log::Log;
use s3veil::metric;
use s3veil::server::{ConnectionInfo, RequestBody, Tls, Workers};
use s3veil::service::Arrival;
use tokio::runtime::Runtime;

/// With hundreds of streams, glibc's arenas fragment, and its locks and returned pages are a quarter of the
/// cost of a small request. `.cargo/config.toml` has the settings of jemalloc.
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
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A message that can't be written does not change the exit code.
            drop(writeln!(io::stderr(), "s3veil: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(line: CommandLine) -> Result<(), Failure> {
    let (command, config) = line.into_parts();
    match command {
        Command::Serve => serve(&config),
        Command::Check(arguments) => {
            let config = config::load(&config)?;
            print!("{}", runtime()?.block_on(cli::check::check(config, &arguments))?);
            Ok(())
        }
        Command::Keygen(arguments) => {
            print!("{}", cli::keygen::keygen(&arguments, &config)?);
            Ok(())
        }
        Command::Inspect(arguments) => {
            let config = config::load(&config)?;
            print!("{}", runtime()?.block_on(cli::inspect::inspect(config, &arguments.object))?);
            Ok(())
        }
        Command::Decrypt(arguments) => decrypt(&config, &arguments),
        Command::Version => {
            println!("s3veil {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// A runtime on this thread. Requests are served on threads of their own.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Failure::Io { action: "starting the runtime".to_owned(), source })
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let log = Log::start(&config.log);
    let _log = log.map_err(|source| Failure::Io { action: "starting the log".to_owned(), source })?;
    process::raise_descriptor_limit(config.listen.max_connections);
    let workers = Workers::start();
    let workers =
        workers.map_err(|source| Failure::Io { action: "starting the threads".to_owned(), source })?;
    runtime()?.block_on(async {
        let signals = process::outlive_signals().and_then(|()| serve::signals());
        let signals =
            signals.map_err(|source| Failure::Io { action: "catching signals".to_owned(), source })?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let has_operators = config.admin.is_some();
        // Listeners are opened before any file is created, so that a port in use leaves no files.
        let mut listeners =
            Listeners::open(config.listen.clone(), config.admin.clone(), serve::status(&config)).await?;
        let (names, cache) = (DependencyNames::new(&config), config.keyring.cache);
        let certificate = config.listen.tls.as_ref().map(Tls::validity);
        let service = cli::startup::service(config, None, Purpose::Serve).await?;
        let resources = service.resources();
        if let Some(key_id) = resources.keyring.default_key_id() {
            listeners.name_default_key(key_id);
        }
        let readiness = Readiness::new(Dependencies::new(resources, names), &cache, certificate);
        readiness.begin();
        let recorder = serve::recorder();
        let metrics = recorder.handle();
        // The recorder is installed only with an admin listener, without which it would grow without bound.
        if has_operators && metrics::set_global_recorder(recorder).is_err() {
            return Err(Failure::Internal("a metrics recorder is installed already".to_owned()));
        }
        // Handles that are kept from here on belong to this recorder.
        metric::keep_handles();
        let readiness = move || {
            let readiness = readiness.clone();
            async move { readiness.health().await }
        };
        let respond = move |request: http::Request<RequestBody>, connection: ConnectionInfo| {
            let service = service.clone();
            async move {
                let ConnectionInfo { peer, is_tls, is_surplus, meter } = connection;
                service.call(request, Arrival { peer, is_tls, is_surplus, meter }).await
            }
        };
        listeners.serve(&workers, respond, readiness, metrics, signals).await;
        Ok(())
    })
}

fn decrypt(path: &Path, arguments: &Decrypt) -> Result<(), Failure> {
    let config = config::load(path)?;
    let runtime = runtime()?;
    let Some(file) = &arguments.out else {
        return runtime.block_on(cli::decrypt::decrypt(config, arguments, &mut io::stdout().lock()));
    };
    let failed = |source| Failure::Io { action: format!("creating {}", file.display()), source };
    let mut output = io::BufWriter::new(std::fs::File::create_new(file).map_err(failed)?);
    let outcome = runtime.block_on(cli::decrypt::decrypt(config, arguments, &mut output));
    if outcome.is_err() {
        // A part of an object must not be taken for the whole. Only the failure itself is reported.
        drop(std::fs::remove_file(file));
    }
    outcome
}
