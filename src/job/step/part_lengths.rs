//! The stored lengths of an object's parts, as the storage tells them.
//! It must not know formats or keys.
//! It promises that the lengths are positive and add up to the object's.

use http::StatusCode;
use http::header::IF_MATCH;
use tokio::task::JoinSet;

use super::ending::Stop;
use super::seen::Seen;
use crate::envelope::native::multipart::PartNumber;
use crate::error::Error;
use crate::job::row::Row;
use crate::object::location::ReceivedRange;
use crate::upload::Resources;
use crate::upload::part_copies::PartRanges;

/// The number of parts whose lengths are requested concurrently.
const CONCURRENCY: usize = 8;

/// The stored lengths of the `count` parts of an object; `None` where the storage does not tell them.
///
/// # Errors
/// [`Error::Replaced`] when the object was replaced meanwhile, and the storage's failure.
pub(super) async fn part_lengths(
    resources: &Resources,
    row: &Row,
    seen: &Seen,
    count: u16,
) -> Result<Option<Vec<u64>>, Stop> {
    let mut lengths = vec![0; usize::from(count)];
    // The last one has what the others leave, whatever its number is.
    let mut waiting = 1..count;
    let mut running = JoinSet::new();
    loop {
        while running.len() < CONCURRENCY
            && let Some(number) = waiting.next()
        {
            let mut request = seen.location(row).request(http::Method::HEAD);
            request.query.push(("partNumber".to_owned(), Some(number.to_string())));
            request.headers.insert(IF_MATCH, seen.etag.clone());
            let upstreams = resources.upstreams.clone();
            running.spawn(async move { (number, upstreams.send(request).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        let (number, response) = joined.map_err(|_| Error::Panicked)?;
        let response = response?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND => return Err(Error::Replaced.into()),
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                return Err(Error::UpstreamFailed { status: status.as_u16() }.into());
            }
            _ => return Ok(None),
        }
        lengths[usize::from(number) - 1] = ReceivedRange::from_head(response.headers())?.total;
    }
    let before: u64 = lengths.iter().sum();
    let last = seen.stored.checked_sub(before).filter(|_| count > 0);
    let (Some(last), Some(place)) = (last, lengths.last_mut()) else { return Ok(None) };
    *place = last;
    Ok(Some(lengths).filter(|lengths| !lengths.contains(&0)))
}

/// The ranges of parts with these lengths, numbered from 1.
pub(super) fn ranges(lengths: &[u64]) -> PartRanges {
    let mut end = 0;
    let numbers = (1..).map_while(PartNumber::new);
    let ranges = numbers.zip(lengths).map(|(number, length)| {
        let start = end;
        end += length;
        (number, start..end)
    });
    ranges.collect()
}
