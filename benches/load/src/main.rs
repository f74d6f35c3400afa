//! The store and the clients of the end-to-end benchmarks: `s3veil-load WHAT [--NAME VALUE]...`
//!
//! - `store`: serves S3 from memory on `--listen`, and with TLS on `--listen-tls`, until standard input ends
//! - `certificate`: writes `cert.pem` and `key.pem` for servers on this machine into `--directory`
//! - `drive`: one kind of request, over and over, on many connections; prints a line of JSON. For `--ms`, or
//!   exactly `--requests` times
//! - `fill`: puts objects, reads them back, compares
//! - `soak`: everything at once for `--seconds`, comparing every byte that comes back; prints a line of JSON
//! - `idle`: opens connections, uses each once, says `ready`, and holds them until standard input ends

mod arguments;
mod documents;
mod drive;
mod http;
mod sign;
mod soak;
mod store;
mod tls;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use self::arguments::Arguments;
use self::store::Store;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("s3veil-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    if arguments.what == "store" {
        return tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(arguments));
    }
    if arguments.what == "certificate" {
        return tls::write_certificate(arguments);
    }
    // One thread drives every connection, so that the processes which are measured have the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match arguments.what.as_str() {
            "drive" => drive::drive(arguments).await,
            "fill" => drive::fill(arguments).await,
            "idle" => drive::idle(arguments).await,
            "soak" => soak::soak(arguments).await,
            other => Err(io::Error::other(format!("no such thing to do: {other}"))),
        }
    })
}

async fn serve(arguments: &Arguments) -> io::Result<()> {
    let listener = TcpListener::bind(arguments.text("listen")?).await?;
    let store = Arc::new(Store::default());
    if let Some(address) = arguments.optional("listen-tls") {
        let (listener, acceptor) = (TcpListener::bind(address).await?, tls::acceptor(arguments)?);
        tokio::spawn(Arc::clone(&store).serve(listener, Some(acceptor)));
    }
    tokio::select! {
        served = store.serve(listener, None) => served,
        () = end_of_input() => Ok(()),
    }
}

/// Returns when the parent process closes standard input.
async fn end_of_input() {
    let mut nothing = [0; 64];
    while !matches!(tokio::io::stdin().read(&mut nothing).await, Ok(0) | Err(_)) {}
}
