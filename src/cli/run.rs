//! Runs a command: loads the configuration, starts the runtime, and hands the command what it works with.
//! It must not parse arguments, print, or exit. It promises that nothing is created before the configuration
//! is valid, and that a failed `decrypt` leaves no partial file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::dependencies::{Dependencies, DependencyNames};
use super::file_contents::FileContents;
use super::readiness::Readiness;
use super::reload::{Fixed, Reloader};
use super::serve::{self, Listeners};
use super::startup::{self, Origin, Purpose};
use super::{Command, CommandLine, Decrypt, Failure, check, inspect, keygen, process};
use crate::admin::Status;
use crate::config::Config;
use crate::log::Log;
use crate::server::{ConnectionInfo, RequestBody, Tls, Workers};
use crate::service::{Arrival, Service};
use crate::{config, metric};

/// Runs the command of `line`; what it shows is written to `output`.
///
/// # Errors
/// [`Failure`], with the exit code of its kind.
pub fn run(line: CommandLine, output: &mut dyn Write) -> Result<(), Failure> {
    let (command, config) = line.into_parts();
    let shown = match command {
        Command::Serve => return serve(&config),
        Command::Decrypt(arguments) => return decrypt(&config, &arguments, output),
        Command::Check(arguments) => {
            let config = config::load(&config)?;
            runtime()?.block_on(check::check(config, &arguments))?
        }
        Command::Keygen(arguments) => keygen::keygen(&arguments, &config)?,
        Command::Inspect(arguments) => {
            let config = config::load(&config)?;
            runtime()?.block_on(inspect::inspect(config, &arguments.object))?
        }
        Command::Version => concat!("s3veil ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
    };
    let written = output.write_all(shown.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| Failure::Io { action: "writing the output".to_owned(), source })
}

/// A runtime on this thread. Requests are served on threads of their own.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Failure::Io { action: "starting the runtime".to_owned(), source })
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let log = Log::start(&config.log);
    let log = log.map_err(|source| Failure::Io { action: "starting the log".to_owned(), source })?;
    process::raise_descriptor_limit(config.listen.max_connections);
    let workers = Workers::start();
    let workers =
        workers.map_err(|source| Failure::Io { action: "starting the threads".to_owned(), source })?;
    runtime()?.block_on(serve_with(config, path, &log, &workers))
}

async fn serve_with(config: Config, path: &Path, log: &Log, workers: &Workers) -> Result<(), Failure> {
    let catching = |source| Failure::Io { action: "catching signals".to_owned(), source };
    let hangups = process::outlive_signals().and_then(|()| signal(SignalKind::hangup())).map_err(catching)?;
    let shutdown = serve::signals().map_err(catching)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    // The recorder is installed only with an admin listener, without which it would grow without bound.
    let recorder = serve::recorder();
    let metrics = recorder.handle();
    if config.admin.is_some() && metrics::set_global_recorder(recorder).is_err() {
        return Err(Failure::Internal("a metrics recorder is installed already".to_owned()));
    }
    // Handles that are kept from here on belong to this recorder.
    metric::keep_handles();
    // Listeners are opened before any file is created, so that a port in use leaves no files.
    let listeners =
        Listeners::open(config.listen.clone(), config.admin.clone(), serve::status(&config)).await?;
    let (names, cache) = (DependencyNames::new(&config), config.keyring.cache);
    let certificate = config.listen.tls.as_ref().map(Tls::validity);
    let fixed = Fixed::new(&config);
    let contents = FileContents::read(config.files.iter().cloned());
    let origin = Origin::new(&config, contents);
    let service = Service::new(startup::state(config, None, Purpose::Serve).await?);
    tokio::spawn(service.cut_slow_clients());
    let resources = Arc::clone(&service.state().resources);
    let status = listeners.status();
    if let Some(key_id) = resources.keyring.default_key_id() {
        let mut named = Status::clone(&status.load());
        named.name_default_key(key_id.as_str());
        status.store(Arc::new(named));
    }
    let readiness = Readiness::new(Dependencies::new(resources, names), &cache, certificate);
    readiness.begin();
    let health = {
        let readiness = readiness.clone();
        move || {
            let readiness = readiness.clone();
            async move { readiness.health().await }
        }
    };
    let respond = {
        let service = service.clone();
        move |request: http::Request<RequestBody>, connection: ConnectionInfo| {
            let service = service.clone();
            async move {
                let ConnectionInfo { peer, is_tls, is_surplus, meter } = connection;
                service.call(request, Arrival { peer, is_tls, is_surplus, meter }).await
            }
        }
    };
    let reloader = Reloader {
        path: path.to_owned(),
        origin,
        fixed,
        service,
        readiness,
        status,
        log,
    };
    tokio::select! {
        () = listeners.serve(workers, respond, health, metrics, shutdown) => {}
        () = reloader.run(hangups) => {}
    }
    Ok(())
}

fn decrypt(path: &Path, arguments: &Decrypt, output: &mut dyn Write) -> Result<(), Failure> {
    let config = config::load(path)?;
    let runtime = runtime()?;
    let Some(file) = &arguments.out else {
        return runtime.block_on(super::decrypt::decrypt(config, arguments, output));
    };
    let failed = |source| Failure::Io { action: format!("creating {}", file.display()), source };
    let mut output = io::BufWriter::new(std::fs::File::create_new(file).map_err(failed)?);
    let outcome = runtime.block_on(super::decrypt::decrypt(config, arguments, &mut output));
    if outcome.is_err() {
        // A part of an object must not be taken for the whole. Only the failure itself is reported.
        drop(std::fs::remove_file(file));
    }
    outcome
}
