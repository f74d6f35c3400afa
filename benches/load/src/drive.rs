//! One request, repeated on many connections, and the figures of its responses.

mod exchange;
mod plan;
mod tally;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use self::exchange::Exchange;
use self::plan::Plan;
use self::tally::Tally;
use crate::arguments::Arguments;
use crate::http::Wire;

/// Drives, and prints what was measured between the warm-up's end and the deadline.
pub async fn drive(arguments: &Arguments) -> io::Result<()> {
    let plan = Rc::new(Plan::from_arguments(arguments)?);
    let tally = Rc::new(Tally::default());
    let warm_up = Duration::from_millis(arguments.or("warm-up-ms", 300)?);
    let measured = Duration::from_millis(arguments.or("ms", 2000)?);
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..arguments.or("connections", 1usize)? {
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
            // A target that refuses everything must not be asked a million times.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn converse(plan: &Plan, tally: &Tally, turn: &mut usize) -> io::Result<()> {
    let mut exchange = Exchange::new(Wire::new(TcpStream::connect(&plan.address).await?), tally)?;
    loop {
        let begun = Instant::now();
        let closes = plan.once(&mut exchange, *turn).await?;
        *turn += 1;
        tally.request(begun.elapsed());
        if closes {
            return Ok(());
        }
    }
}

/// Puts `--keys` objects, reads each back and compares.
pub async fn fill(arguments: &Arguments) -> io::Result<()> {
    let plan = Plan::from_arguments(arguments)?;
    let tally = Tally::default();
    let keys: usize = arguments.or("keys", 1)?;
    let mut exchange = Exchange::new(Wire::new(TcpStream::connect(&plan.address).await?), &tally)?;
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
        // A pool of buffers of this size would be this tool's own memory only.
        let mut exchange = Exchange::new(Wire::new(TcpStream::connect(&plan.address).await?), &tally)?;
        plan.once(&mut exchange, connection).await?;
        held.push(exchange);
    }
    println!("ready");
    crate::end_of_input().await;
    Ok(())
}
