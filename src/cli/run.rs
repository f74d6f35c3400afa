//! Runs a command: loads the configuration, starts the runtime, and hands the command what it works with.
//! It must not parse arguments, print, or exit. It promises that nothing is created before the configuration
//! is valid, and that a failed `decrypt` leaves no partial file.

use std::io::{self, Write};
use std::path::Path;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::append::AppendGrants;
use super::audit;
use super::dependencies::{Dependencies, DependencyNames};
use super::readiness::Readiness;
use super::reload::{Fixed, Loaded, Reloader};
use super::serve::{self, Listeners, Operators};
use super::startup::{self, FileContents, Origin, Purpose};
use super::{
    Check, Command, CommandLine, ConfigCommand, Decrypt, Failure, certificates, check, decrypt, health,
    inspect, job, keygen, manual, process,
};
use crate::audit::{AuditError, AuditLog};
use crate::config::{Config, ServiceManager};
use crate::error::with_causes;
use crate::log::Log;
use crate::server::{ConnectionInfo, RequestBody, Workers};
use crate::service::{Arrival, Service};
use crate::trace::Traces;
use crate::{config, metric};

/// Runs the command of `line`; what it shows is written to `output`.
///
/// # Errors
/// [`Failure`], with the exit code of its kind.
pub fn run(line: CommandLine, output: &mut dyn Write) -> Result<(), Failure> {
    let (command, config) = line.into_parts();
    let shown = match command {
        Command::Serve => return serve(&config),
        Command::Decrypt(arguments) => match arguments.into_offline()? {
            Ok(arguments) => return decrypt(&config, &arguments, output),
            Err(arguments) => return show(job::run(&config, job::Kind::Decrypt(arguments))?, output),
        },
        Command::Verify(arguments) => return show(job::run(&config, job::Kind::Verify(arguments))?, output),
        Command::Rewrap(arguments) => return show(job::run(&config, job::Kind::Rewrap(arguments))?, output),
        Command::Encrypt(arguments) => {
            return show(job::run(&config, job::Kind::Encrypt(arguments))?, output);
        }
        Command::Keys(arguments) => return show(job::run(&config, job::Kind::Keys(arguments))?, output),
        Command::Report(arguments) => return show(job::report(&config, &arguments)?, output),
        Command::Audit(command) => return audit::run(&command, output),
        Command::Config(ConfigCommand::Show) => config::show(&config)?,
        Command::Config(ConfigCommand::Schema) => manual::schema(),
        Command::Check(arguments) => return check(&config, &arguments, output),
        Command::Keygen(arguments) => keygen::keygen(&arguments, &config)?,
        Command::Inspect(arguments) => {
            let config = config::load(&config)?;
            runtime()?.block_on(inspect::inspect(config, &arguments.object))?
        }
        Command::Health(arguments) => {
            let settings = config::load(&config)?.admin;
            runtime()?.block_on(health::health(settings, &arguments))?
        }
        Command::Completions(arguments) => manual::completions(arguments.shell),
        Command::Man(arguments) => manual::write_pages(&arguments.directory)?,
        Command::Version => concat!("s3veil ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
    };
    write(output, &shown)
}

fn write(output: &mut dyn Write, shown: &str) -> Result<(), Failure> {
    let written = output.write_all(shown.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| Failure::Io { action: "writing the output".to_owned(), source })
}

/// Writes the summary of a job, also of one that failed.
fn show(ended: job::Ended, output: &mut dyn Write) -> Result<(), Failure> {
    write(output, &ended.shown)?;
    ended.outcome
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
    let log = Log::start(&config.log, service_manager.is_journal);
    let log = log.map_err(|source| Failure::Io { action: "starting the log".to_owned(), source })?;
    process::raise_descriptor_limit(config.listen.max_connections);
    // Before the threads, so that they end after the last request on them.
    let (mut audit, runtime) = (None, runtime()?);
    let workers = Workers::start(runtime.handle());
    let workers =
        workers.map_err(|source| Failure::Io { action: "starting the threads".to_owned(), source })?;
    let process = Process { service_manager, log: &log, workers: &workers, audit: &mut audit };
    runtime.block_on(serve_with(config, path, process))
}

/// What the process has before its configuration is in effect.
struct Process<'a> {
    service_manager: ServiceManager,
    log: &'a Log,
    workers: &'a Workers,
    /// Receives the audit log, which outlives the threads.
    audit: &'a mut Option<AuditLog>,
}

async fn serve_with(config: Config, path: &Path, process: Process<'_>) -> Result<(), Failure> {
    let Process { service_manager, log, workers, audit } = process;
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
    serve::metric_descriptions::begin(&config);
    // Listeners are opened before any file is created, so that a port in use leaves no files.
    let (listen, admin, status) = (config.listen.clone(), config.admin.clone(), serve::status(&config));
    let listeners = Listeners::open(listen, admin, status, service_manager).await?;
    let (names, cache) = (DependencyNames::new(&config), config.keyring.cache);
    let appends = AppendGrants::new(&config.clients);
    let certificates = certificates::certificates(&config);
    let fixed = Fixed::new(&config);
    let origin = Origin::new(&config, FileContents::read(config.files.iter().cloned()));
    if let Some(settings) = &config.audit {
        *audit = Some(AuditLog::start(settings).map_err(audit_failed)?);
    }
    let audit = audit.as_ref().map(AuditLog::handle);
    let traces = start_traces(&config)?;
    let state = startup::state(config, None, Purpose::Serve).await?;
    let service = Service::recorded(state, audit, traces.as_ref().map(Traces::tracer));
    tokio::spawn(service.cut_slow_clients());
    let state = service.state();
    appends.require(&state.resources).await?;
    let dependencies = Dependencies::new(&state.resources, names);
    let readiness = Readiness::new(dependencies, &cache, certificates.clone());
    let loaded = Loaded::new(&state, certificates);
    loaded.show(&listeners.status());
    readiness.begin();
    let operators = Operators::new(readiness.clone(), audit, service.clone());
    let respond = {
        let service = service.clone();
        move |request: http::Request<RequestBody>, connection: ConnectionInfo| {
            let service = service.clone();
            async move { service.call(request, arrival(connection)).await }
        }
    };
    let reloader = Reloader {
        path: path.to_owned(),
        origin,
        fixed,
        service,
        readiness,
        replaceable: listeners.replaceable(),
        log,
        audit,
    };
    tokio::select! {
        () = listeners.serve(workers, respond, operators, metrics, shutdown) => {}
        () = reloader.run(hangups) => {}
    }
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(())
}

fn arrival(connection: ConnectionInfo) -> Arrival {
    let ConnectionInfo { peer, tls_version, certificate_names, is_surplus, meter } = connection;
    Arrival { peer, tls_version, certificate_names, is_surplus, meter }
}

fn start_traces(config: &Config) -> Result<Option<Traces>, Failure> {
    let traces = config.traces.as_ref().map(Traces::start).transpose();
    traces.map_err(|error| Failure::Usage(with_causes(&error)))
}

fn audit_failed(error: AuditError) -> Failure {
    match error {
        AuditError::InUse(_) => {
            Failure::Setup { message: error.to_string(), kind: io::ErrorKind::ResourceBusy }
        }
        AuditError::NotAnAuditLog(_) => Failure::Usage(error.to_string()),
        AuditError::Io { source, file, action } => {
            Failure::Io { action: format!("{}: could not {action}", file.display()), source }
        }
    }
}

/// What opens the data key of an object to decrypt.
enum KeySource<'a> {
    /// The file of a private recovery key.
    Recovery(&'a Path),
    /// The holders of the configuration, called in a runtime.
    Configured(Box<Config>, Runtime),
}

fn decrypt(path: &Path, arguments: &Decrypt, output: &mut dyn Write) -> Result<(), Failure> {
    // Nothing is created before the configuration is known to be valid, where one is needed.
    let source = match &arguments.recovery_key {
        Some(file) => KeySource::Recovery(file),
        None => KeySource::Configured(Box::new(config::load(path)?), runtime()?),
    };
    let decrypt = |output: &mut dyn Write| match source {
        KeySource::Recovery(file) => decrypt::decrypt_by_recovery_key(file, arguments, output),
        KeySource::Configured(config, runtime) => {
            runtime.block_on(decrypt::decrypt(*config, arguments, output))
        }
    };
    let Some(file) = &arguments.out else { return decrypt(output) };
    let failed = |source| Failure::Io { action: format!("creating {}", file.display()), source };
    let mut output = io::BufWriter::new(std::fs::File::create_new(file).map_err(failed)?);
    let outcome = decrypt(&mut output);
    if outcome.is_err() {
        // A part of an object must not be taken for the whole. Only the failure itself is reported.
        drop(std::fs::remove_file(file));
    }
    outcome
}
