//! Runs a command: loads the configuration, starts the runtime, and hands the command what it works with.
//! It must not parse arguments, print, or exit. It promises that nothing is created before the configuration
//! is valid, and that a failed `decrypt` leaves no partial file.

use std::io::{self, Write};
use std::path::Path;

use tokio::runtime::Runtime;

use super::append::AppendGrants;
use super::dependencies::{Dependencies, DependencyNames};
use super::readiness::Readiness;
use super::serve::{self, Listeners};
use super::startup::{self, Purpose};
use super::{Check, Command, CommandLine, Decrypt, Failure, certificates, check, inspect, keygen, process};
use crate::log::Log;
use crate::server::{ConnectionInfo, RequestBody, Workers};
use crate::service::Arrival;
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
        Command::Check(arguments) => return check(&config, &arguments, output),
        Command::Keygen(arguments) => keygen::keygen(&arguments, &config)?,
        Command::Inspect(arguments) => {
            let config = config::load(&config)?;
            runtime()?.block_on(inspect::inspect(config, &arguments.object))?
        }
        Command::Version => concat!("s3veil ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
    };
    write(output, &shown)
}

fn write(output: &mut dyn Write, shown: &str) -> Result<(), Failure> {
    let written = output.write_all(shown.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| Failure::Io { action: "writing the output".to_owned(), source })
}

/// Writes the report, also one of failures.
fn check(path: &Path, arguments: &Check, output: &mut dyn Write) -> Result<(), Failure> {
    let config = config::load(path)?;
    let report = runtime()?.block_on(check::check(config, arguments))?;
    write(output, &report.render(arguments.format))?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(Failure::Unavailable(format!("{failed} of {} checks failed", report.total()))),
    }
}

/// A runtime on this thread. Requests are served on threads of their own.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Failure::Io { action: "starting the runtime".to_owned(), source })
}

fn serve(path: &Path) -> Result<(), Failure> {
    let service_manager = config::service_manager();
    let service_manager = service_manager.map_err(|source| Failure::Io {
        action: "taking the sockets that were handed over".to_owned(),
        source,
    })?;
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
        let status = serve::status(&config);
        let mut listeners =
            Listeners::open(config.listen.clone(), config.admin.clone(), status, service_manager).await?;
        let (names, cache) = (DependencyNames::new(&config), config.keyring.cache);
        let appends = AppendGrants::new(&config.clients);
        let has_anonymous = config.clients.iter().any(|(_, client)| client.is_anonymous());
        let certificates = certificates::certificates(&config);
        let service = startup::service(config, None, Purpose::Serve).await?;
        let resources = service.resources();
        if let Some(key_id) = resources.keyring.default_key_id() {
            listeners.name_default_key(key_id);
        }
        appends.require(&resources).await?;
        let readiness = Readiness::new(Dependencies::new(&resources, names), &cache, certificates.clone());
        readiness.begin();
        let recorder = serve::recorder();
        let metrics = recorder.handle();
        // The recorder is installed only with an admin listener, without which it would grow without bound.
        if has_operators && metrics::set_global_recorder(recorder).is_err() {
            return Err(Failure::Internal("a metrics recorder is installed already".to_owned()));
        }
        // Handles that are kept from here on belong to this recorder.
        metric::keep_handles();
        metrics::gauge!("s3veil_anonymous_client").set(if has_anonymous { 1.0 } else { 0.0 });
        certificates::set_expiry_metrics(&certificates);
        let readiness = move || {
            let readiness = readiness.clone();
            async move { readiness.health().await }
        };
        let respond = move |request: http::Request<RequestBody>, connection: ConnectionInfo| {
            let service = service.clone();
            async move {
                let ConnectionInfo { peer, is_tls, certificate_names, is_surplus, meter } = connection;
                let arrival = Arrival { peer, is_tls, certificate_names, is_surplus, meter };
                service.call(request, arrival).await
            }
        };
        listeners.serve(&workers, respond, readiness, metrics, signals).await;
        Ok(())
    })
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
