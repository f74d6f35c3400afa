//! What a part is sealed as, and whether uploaded parts make an object, from lengths and the storage's list
//! of parts alone (F-45 to F-48).
//!
//! It must not know who lists the parts or how long a writer waits. It promises that writers without memory
//! decide alike, and that no upload completes to an object that does not open.

use super::layout::sealed_length;
use super::length::chunks_length;
use super::{
    Layout, MultipartLength, Part, PartNumber, PartReceipt, SEGMENT_HEADER, multipart_plaintext_length,
    segment_length, segment_plaintext_length,
};
use crate::envelope::native::CHUNK;
use crate::wire::limits::MIN_PART;

/// A part as ListParts returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPart {
    /// The number of the part.
    pub number: PartNumber,
    /// Stored bytes of the part.
    pub stored_length: u64,
    /// When the part was stored, in the storage's time: only the order counts.
    pub modified: u64,
    /// The receipt of the part, if it is still known (F-48).
    pub receipt: Option<PartReceipt>,
}

/// Whether a writer may still wait for other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitBudget {
    /// The writer may wait.
    Left,
    /// The writer has to decide with the parts it sees.
    Spent,
}

/// What a part is to be sealed as (F-46).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// Another part or a terminator follows.
    Middle,
    /// The last part; the layout need not be carried.
    Last,
    /// The last part of this layout, which the part has to carry.
    LastCarrying(Layout),
    /// Not known yet: list the parts, again if they were listed before.
    Wait,
}

/// Why a part is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartRefused {
    /// Part 10,000 is the terminator's, unless the part is itself smaller than 5 MiB and the last (F-45).
    #[error("part 10000 must be smaller than 5 MiB")]
    TerminatorNumber,
    /// Longer than [`super::MAX_PART_LENGTH`].
    #[error("the part is too long")]
    TooLong,
}

/// Decides what `part` is sealed as, given the parts that are stored already. Call it with an empty list
/// first: it returns [`PartKind::Wait`] only if a list is needed at all.
///
/// # Errors
/// [`PartRefused`] for a part that no upload can have.
pub fn decide_part_kind(
    part: Part,
    stored: &[StoredPart],
    wait: WaitBudget,
) -> Result<PartKind, PartRefused> {
    if segment_length(part.length).is_none() {
        return Err(PartRefused::TooLong);
    }
    if part.length >= MIN_PART {
        let is_free = part.number != PartNumber::TERMINATOR;
        return if is_free { Ok(PartKind::Middle) } else { Err(PartRefused::TerminatorNumber) };
    }
    if part.number == PartNumber::FIRST {
        return Ok(PartKind::Last);
    }
    let mut seen: Vec<_> = stored.iter().filter_map(|stored| middle_before(part.number, stored)).collect();
    seen.sort_unstable_by_key(|part| part.number);
    seen.dedup_by_key(|part| part.number);
    let all_seen = seen.len() + 1 == usize::from(part.number.value());
    let none_seen = seen.is_empty();
    let alike = seen.iter().all(|part| part.length == seen[0].length && part.length % CHUNK as u64 == 0);
    let is_there = |number| stored.iter().any(|stored| stored.number == number);
    let sent_before = is_there(part.number);
    // Complete was tried and refused: the parts that it named are all there are.
    let is_settled = is_there(PartNumber::TERMINATOR);
    seen.push(part);
    let layout = Layout::ended_by_last(seen).expect("ascending, and of parts that a segment can hold");
    Ok(match (all_seen, wait) {
        (true, _) if layout.is_regular() => PartKind::Last,
        (true, _) => PartKind::LastCarrying(layout),
        (false, _) if is_settled => PartKind::LastCarrying(layout),
        // The other parts are likely to be in flight, and of equal length too.
        (false, _) if alike && !none_seen => PartKind::Last,
        (false, WaitBudget::Left) => PartKind::Wait,
        (false, WaitBudget::Spent) if none_seen && !sent_before => PartKind::Last,
        (false, WaitBudget::Spent) => PartKind::LastCarrying(layout),
    })
}

/// A stored part before `number`, if another may follow it. A smaller one was sealed as the last part, and
/// has yet to be replaced.
fn middle_before(number: PartNumber, stored: &StoredPart) -> Option<Part> {
    let length = segment_plaintext_length(stored.stored_length).ok()?;
    (stored.number < number && length >= MIN_PART).then_some(Part { number: stored.number, length })
}

/// What turns an upload's parts into a whole object (F-47).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// Nothing is missing: the last part was sealed as the last.
    Whole,
    /// The terminator of this layout.
    Terminate(Layout),
}

/// Why an upload can't be completed with these parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompletionRefused {
    /// There are no parts, or they are not in ascending order.
    #[error("parts must be listed in ascending order")]
    Order,
    /// A part other than the last has less than 5 MiB.
    #[error("part {} is smaller than 5 MiB and not the last", .0.value())]
    TooSmall(PartNumber),
    /// A part that was not sealed by the proxy.
    #[error("part {} was not uploaded through the proxy", .0.value())]
    NotASegment(PartNumber),
    /// The final part was sealed when other parts were stored, or that can't be determined.
    #[error("part {}, the final part, must be sent again: it was sealed before the others were there", .0.value())]
    SendAgain(PartNumber),
}

/// Decides how an upload of these parts, in the order of the client's request, becomes an object that opens
/// and whose listed size is exact.
///
/// # Errors
/// [`CompletionRefused`] for parts that would make an object that does not open.
pub fn completion(stored: &[StoredPart]) -> Result<Completion, CompletionRefused> {
    let (last, before) = stored.split_last().ok_or(CompletionRefused::Order)?;
    if stored.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(CompletionRefused::Order);
    }
    let parts = before.iter().map(middle).collect::<Result<Vec<_>, _>>()?;
    let with_last = |length| [&parts[..], &[Part { number: last.number, length }]].concat();
    let again = Err(CompletionRefused::SendAgain(last.number));
    let length = match &last.receipt {
        Some(receipt) => receipt.length(),
        None => match (segment_plaintext_length(last.stored_length), may_carry(&parts, last)) {
            (Ok(length), false) => length,
            // The two ways to read the part's length contradict each other: never guess about a client's
            // data.
            (Ok(MIN_PART..), true) => return again,
            (Ok(_) | Err(_), true) if !before.iter().any(|part| part.modified > last.modified) => {
                return Ok(Completion::Whole);
            }
            (Ok(_) | Err(_), true) | (Err(_), false) => return again,
        },
    };
    if length >= MIN_PART {
        let fits = segment_length(length) == Some(last.stored_length);
        return match Layout::terminated(with_last(length)) {
            Ok(layout) if fits => Ok(Completion::Terminate(layout)),
            Ok(_) | Err(_) => again,
        };
    }
    let Ok(layout) = Layout::ended_by_last(with_last(length)) else { return again };
    let sealed_so = last.receipt.as_ref().is_none_or(|receipt| receipt.matches_last(&layout));
    let expected = SEGMENT_HEADER as u64 + chunks_length(length) + u64::from(layout.tail_length());
    if sealed_so && expected == last.stored_length { Ok(Completion::Whole) } else { again }
}

/// A part other than the last.
fn middle(stored: &StoredPart) -> Result<Part, CompletionRefused> {
    let number = stored.number;
    if stored.receipt.as_ref().is_some_and(|receipt| receipt.length() < MIN_PART) {
        return Err(CompletionRefused::TooSmall(number));
    }
    match segment_plaintext_length(stored.stored_length) {
        Ok(length) if length >= MIN_PART => Ok(Part { number, length }),
        // Shorter than the shortest middle part: sealed as the last, with a layout or without.
        Ok(_) => Err(CompletionRefused::TooSmall(number)),
        Err(_) if segment_length(MIN_PART).is_some_and(|least| stored.stored_length < least) => {
            Err(CompletionRefused::TooSmall(number))
        }
        Err(_) => Err(CompletionRefused::NotASegment(number)),
    }
}

/// Whether the last part's stored length could be that of a part under 5 MiB that carries a layout of all
/// these parts: such a body has a length that can't be inverted, and parts that are irregular whatever the
/// last one's length.
fn may_carry(before: &[Part], last: &StoredPart) -> bool {
    let segments = u16::try_from(before.len() + 1).expect("part numbers ascend up to 10,000");
    let sealed = sealed_length(segments);
    let others: u64 = before.iter().map(|part| SEGMENT_HEADER as u64 + chunks_length(part.length)).sum();
    let shortest = SEGMENT_HEADER as u64 + sealed;
    let longest = shortest + chunks_length(MIN_PART - 1) + CHUNK as u64;
    let total = multipart_plaintext_length(others + last.stored_length, segments);
    let any_length = [before, &[Part { number: last.number, length: 1 }]].concat();
    let irregular = Layout::ended_by_last(any_length).is_ok_and(|layout| !layout.is_regular());
    let fits = (shortest..=longest).contains(&last.stored_length);
    irregular && fits && total == Ok(MultipartLength::NeedsLayout)
}

#[cfg(test)]
mod tests;
