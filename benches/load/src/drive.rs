//! One request, repeated on many connections, and the figures of its responses.

mod exchange;
mod plan;
mod sdk;
mod tally;

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::exchange::Exchange;
use self::plan::Plan;
use self::tally::Tally;
use crate::arguments::Arguments;

/// Between a refusal, or an error, and the next request.
const PAUSE: Duration = Duration::from_millis(10);

/// Drives, and prints what was measured between the warm-up's end and the deadline, or, with `--requests`,
/// that this number of requests succeeded.
pub async fn drive(arguments: &Arguments) -> io::Result<()> {
    let plan = Rc::new(Plan::from_arguments(arguments)?);
    let tally = Rc::new(Tally::default());
    let warm_up = Duration::from_millis(arguments.or("warm-up-ms", 300)?);
    let measured = Duration::from_millis(arguments.or("ms", 2000)?);
    let mut tasks = JoinSet::new();
    let connections = arguments.or("connections", 1usize)?;
    let requests = arguments.or("requests", 0usize)?;
    if requests > 0 {
        return repeat(plan, requests, connections).await;
    }
    for connection in 0..connections {
        tasks.spawn_local(keep_going(Rc::clone(&plan), Rc::clone(&tally), connection));
    }
    tokio::time::sleep(warm_up).await;
    let begun = Instant::now();
    tally.begin();
    tokio::time::sleep(measured).await;
    let report = tally.end(begun.elapsed());
    // Streams in flight are cut, as by clients that disconnect.
    tasks.abort_all();
    println!("{report}");
    Ok(())
}

/// One connection after the other, each as long as it holds.
async fn keep_going(plan: Rc<Plan>, tally: Rc<Tally>, connection: usize) {
    let mut turn = connection * 7;
    loop {
        if let Err(error) = converse(&plan, &tally, &mut turn).await {
            tally.error(&error.to_string());
            // A server that refuses everything must not receive a million requests.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn converse(plan: &Plan, tally: &Tally, turn: &mut usize) -> io::Result<()> {
    let mut exchange = Exchange::new(plan.dialer.connect().await?, tally);
    while !exchange.closes() {
        let begun = tally.started();
        let outcome = plan.once(&mut exchange, *turn).await;
        *turn += 1;
        tally.ended(begun, &outcome);
        match outcome {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => tokio::time::sleep(PAUSE).await,
            outcome => outcome?,
        }
    }
    Ok(())
}

/// An exact number of requests, shared out to the connections. The first failure ends it.
async fn repeat(plan: Rc<Plan>, requests: usize, connections: usize) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let plan = Rc::clone(&plan);
        tasks.spawn_local(async move {
            let tally = Tally::default();
            let mut exchange = Exchange::new(plan.dialer.connect().await?, &tally);
            for turn in (connection..requests).step_by(connections) {
                plan.once(&mut exchange, turn).await?;
            }
            Ok::<_, io::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(io::Error::other)??;
    }
    println!("{}", serde_json::json!({ "requests": requests }));
    Ok(())
}

/// Puts `--keys` objects, reads each back and compares.
pub async fn fill(arguments: &Arguments) -> io::Result<()> {
    let plan = Plan::from_arguments(arguments)?;
    let tally = Tally::default();
    let keys: usize = arguments.or("keys", 1)?;
    let mut exchange = Exchange::new(plan.dialer.connect().await?, &tally);
    for key in 0..keys {
        plan.put(&mut exchange, key).await?;
    }
    let only_some: usize = arguments.or("check", keys)?;
    for key in 0..only_some {
        plan.check(&mut exchange, key).await?;
    }
    Ok(())
}

/// Holds `--connections` that were used once.
pub async fn idle(arguments: &Arguments) -> io::Result<()> {
    let plan = Plan::from_arguments(arguments)?;
    let tally = Tally::default();
    let mut held = Vec::new();
    for connection in 0..arguments.or("connections", 1000usize)? {
        let mut exchange = Exchange::new(plan.dialer.connect().await?, &tally);
        plan.once(&mut exchange, connection).await?;
        held.push(exchange);
    }
    println!("ready");
    crate::end_of_input().await;
    Ok(())
}
