use super::*;

const MIB: u64 = 1 << 20;
const EIGHT: u64 = 8 * MIB;
const UNEVEN: u64 = 8_000_000;

fn number(value: u16) -> PartNumber {
    PartNumber::new(value).unwrap()
}

fn part(value: u16, length: u64) -> Part {
    Part { number: number(value), length }
}

/// A part sealed as one that another follows.
fn middle(value: u16, length: u64) -> StoredPart {
    let stored_length = segment_length(length).unwrap();
    StoredPart { number: number(value), stored_length, modified: 100, receipt: None }
}

/// The last part of a layout, sealed as [`decide_part_kind`] decides, without a receipt.
fn last(layout: &Layout) -> StoredPart {
    let part = layout.parts().last().unwrap();
    let stored = middle(part.number.value(), part.length);
    StoredPart { stored_length: stored.stored_length + u64::from(layout.tail_length()), ..stored }
}

fn layout(parts: &[Part]) -> Layout {
    Layout::ended_by_last(parts.to_vec()).unwrap()
}

fn carrying(parts: &[Part]) -> PartKind {
    PartKind::LastCarrying(layout(parts))
}

#[test]
fn f_45_what_a_part_is_follows_from_its_length_if_it_can() {
    let decide = |part| decide_part_kind(part, &[], WaitBudget::Left);
    assert_eq!(decide(part(1, 5 * MIB)), Ok(PartKind::Middle));
    assert_eq!(decide(part(9_999, 5 << 30)), Ok(PartKind::Middle));
    assert_eq!(decide(part(1, 5 * MIB - 1)), Ok(PartKind::Last));
    assert_eq!(decide(part(1, 0)), Ok(PartKind::Last));
    assert_eq!(decide(part(2, 5 * MIB - 1)), Ok(PartKind::Wait), "the others have to be listed");
    assert_eq!(decide(part(10_000, 5 * MIB)), Err(PartRefused::TerminatorNumber));
    assert_eq!(decide(part(10_000, 5 * MIB - 1)), Ok(PartKind::Wait));
    assert_eq!(decide(part(1, 1 << 40)), Err(PartRefused::TooLong));
}

#[test]
fn f_46_what_a_small_part_is_follows_from_the_parts_before_it() {
    use PartKind::{Last, Wait};
    use WaitBudget::{Left, Spent};
    let tail = part(4, 7);
    let all = [middle(1, EIGHT), middle(2, EIGHT), middle(3, EIGHT)];
    let uneven = [middle(1, UNEVEN), middle(2, UNEVEN), middle(3, UNEVEN)];
    let growing = [middle(1, EIGHT), middle(2, 2 * EIGHT), middle(3, 3 * EIGHT)];
    let before = middle(4, 7);
    let refused = StoredPart { stored_length: 80, ..middle(10_000, 7) };
    let even_parts = [part(1, EIGHT), part(3, EIGHT), tail];
    let uneven_parts = [part(1, UNEVEN), part(2, UNEVEN), part(3, UNEVEN), tail];
    let growing_parts = [part(1, EIGHT), part(2, 2 * EIGHT), part(3, 3 * EIGHT), tail];
    let cases: [(&str, &[StoredPart], WaitBudget, PartKind); 16] = [
        ("all there, regular", &all, Left, Last),
        ("all there, uneven", &uneven, Left, carrying(&uneven_parts)),
        ("all there, even, but of several lengths", &growing, Left, carrying(&growing_parts)),
        ("some missing, alike so far", &all[1..], Left, Last),
        ("some missing, alike so far, one seen", &all[2..], Left, Last),
        ("none seen", &[], Left, Wait),
        ("none seen, to the end", &[], Spent, Last),
        ("some missing, uneven so far", &uneven[1..], Left, Wait),
        ("some missing, of several lengths so far", &growing[1..], Left, Wait),
        (
            "uneven, and a gap",
            &[uneven[0], uneven[1]],
            Spent,
            carrying(&[part(1, UNEVEN), part(2, UNEVEN), tail]),
        ),
        ("sent again, all there", &[all[0], all[1], all[2], before], Left, Last),
        ("sent again, alike so far", &[all[0], all[2], before], Left, Last),
        (
            "Complete was refused, so the gap is meant",
            &[all[0], all[2], before, refused],
            Left,
            carrying(&even_parts),
        ),
        ("sent again, alone", &[before], Spent, carrying(&[tail])),
        ("later parts don't count", &[all[0], all[1], all[2], middle(5, UNEVEN)], Left, Last),
        ("small ones before are to be replaced", &[all[0], all[1], middle(3, 9)], Left, Last),
    ];
    for (what, stored, patience, expected) in cases {
        assert_eq!(decide_part_kind(tail, stored, patience), Ok(expected), "{what}");
    }
}

#[test]
fn f_47_large_last_parts_get_a_terminator() {
    for (what, stored, regular) in [
        ("one part", vec![middle(1, 5 * MIB)], true),
        ("regular", vec![middle(1, EIGHT), middle(2, EIGHT), middle(3, 5 * MIB + 1)], true),
        ("uneven", vec![middle(1, UNEVEN), middle(2, UNEVEN), middle(3, UNEVEN)], false),
        ("with gaps", vec![middle(2, EIGHT), middle(9_999, EIGHT)], false),
    ] {
        let Ok(Completion::Terminate(layout)) = completion(&stored) else { panic!("{what}") };
        assert_eq!(layout.is_regular(), regular, "{what}");
        assert_eq!(layout.parts().len(), stored.len());
    }
}

#[test]
fn f_47_small_last_parts_need_nothing_more() {
    for parts in [
        vec![part(1, 0)],
        vec![part(1, 1)],
        vec![part(1, EIGHT), part(2, 0)],
        vec![part(1, EIGHT), part(2, EIGHT), part(3, 5 * MIB - 1)],
        vec![part(1, UNEVEN), part(2, UNEVEN), part(3, 7)],
        vec![part(1, UNEVEN), part(2, UNEVEN), part(3, 1_048_576)],
        vec![part(1, EIGHT), part(3, EIGHT), part(10_000, 7)],
        vec![part(4, 7)],
    ] {
        let layout = layout(&parts);
        let (_, before) = parts.split_last().unwrap();
        let mut stored: Vec<_> = before.iter().map(|part| middle(part.number.value(), part.length)).collect();
        stored.push(last(&layout));
        assert_eq!(completion(&stored), Ok(Completion::Whole), "{parts:?}");
        stored.last_mut().unwrap().receipt = Some(PartReceipt::for_last(&layout));
        assert_eq!(completion(&stored), Ok(Completion::Whole), "{parts:?} with a receipt");
    }
}

#[test]
fn f_47_what_would_not_open_is_refused() {
    let again = |value| Err(CompletionRefused::SendAgain(number(value)));
    let carried = layout(&[part(1, UNEVEN), part(2, UNEVEN), part(3, 7)]);
    let parts = |stored: &[StoredPart]| completion(stored);
    assert_eq!(parts(&[]), Err(CompletionRefused::Order));
    assert_eq!(parts(&[middle(2, EIGHT), middle(1, EIGHT)]), Err(CompletionRefused::Order));
    assert_eq!(parts(&[middle(1, 7), middle(2, 7)]), Err(CompletionRefused::TooSmall(number(1))));
    let short = StoredPart { stored_length: 81, ..middle(1, 7) };
    assert_eq!(parts(&[short, middle(2, 7)]), Err(CompletionRefused::TooSmall(number(1))));
    let foreign = StoredPart { stored_length: 80 + 65_552 * 90 + 3, ..middle(1, 7) };
    assert_eq!(parts(&[foreign, middle(2, 7)]), Err(CompletionRefused::NotASegment(number(1))));
    assert_eq!(parts(&[middle(1, UNEVEN), middle(2, 7)]), again(2), "sealed as if the others were alike");
    assert_eq!(parts(&[middle(1, EIGHT), middle(3, 7)]), again(3), "a gap that nothing names");
    assert_eq!(
        parts(&[middle(1, EIGHT), middle(2, 2 * EIGHT), middle(3, 7)]),
        again(3),
        "of several lengths"
    );
    assert_eq!(parts(&[middle(1, UNEVEN), last(&carried)]), again(3), "a part of the layout is not listed");
    assert_eq!(parts(&[middle(1, EIGHT), middle(2, UNEVEN), last(&carried)]), again(3), "another layout");
    assert_eq!(
        parts(&[middle(1, EIGHT), middle(2, EIGHT), last(&carried)]),
        Ok(Completion::Whole),
        "unknowable"
    );
    let younger = StoredPart { modified: 101, ..middle(2, UNEVEN) };
    assert_eq!(
        parts(&[middle(1, UNEVEN), younger, last(&carried)]),
        again(3),
        "a part came after the layout"
    );
}

/// Without a receipt a stored length can leave two readings open; with one there is nothing to guess.
#[test]
fn f_48_a_mark_decides() {
    let again = |value| Err(CompletionRefused::SendAgain(number(value)));
    let carried = layout(&[part(1, UNEVEN), part(2, UNEVEN), part(3, 5 * MIB - 1)]);
    let mut stored = vec![middle(1, UNEVEN), middle(2, UNEVEN), last(&carried)];
    let length = segment_plaintext_length(stored[2].stored_length).unwrap();
    assert!(length >= MIN_PART, "it looks like a large part");
    assert_eq!(completion(&stored), again(3));
    stored[2].receipt = Some(PartReceipt::for_last(&carried));
    assert_eq!(completion(&stored), Ok(Completion::Whole));
    stored[2].receipt = PartReceipt::plain(length);
    assert!(matches!(completion(&stored), Ok(Completion::Terminate(_))));
    stored[2].receipt = PartReceipt::plain(length + 1);
    assert_eq!(completion(&stored), again(3), "the receipt of another upload of the part");

    let small = layout(&[part(1, UNEVEN), part(2, UNEVEN), part(3, 7)]);
    let changed = [
        middle(1, EIGHT),
        middle(2, EIGHT),
        StoredPart { receipt: Some(PartReceipt::for_last(&small)), ..last(&small) },
    ];
    assert_eq!(completion(&changed), again(3), "the parts before were sent again, of other lengths");
    let replaced = StoredPart { receipt: PartReceipt::plain(7), ..middle(1, EIGHT) };
    assert_eq!(completion(&[replaced, middle(2, EIGHT)]), Err(CompletionRefused::TooSmall(number(1))));
}

#[test]
fn what_is_decided_completes() {
    let lists: [&[u64]; 5] =
        [&[EIGHT; 3], &[UNEVEN; 3], &[EIGHT, 2 * EIGHT, UNEVEN], &[EIGHT], &[6 * MIB + 1, 7 * MIB, 5 * MIB]];
    for lengths in lists {
        for length in [0, 1, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1] {
            let mut stored: Vec<_> =
                (1..).zip(lengths).map(|(value, length)| middle(value, *length)).collect();
            let tail = part(stored.len() as u16 + 1, length);
            let sealed = match decide_part_kind(tail, &stored, WaitBudget::Left).unwrap() {
                PartKind::Middle | PartKind::Last => {
                    StoredPart { receipt: PartReceipt::plain(length), ..middle(tail.number.value(), length) }
                }
                PartKind::LastCarrying(layout) => {
                    StoredPart { receipt: Some(PartReceipt::for_last(&layout)), ..last(&layout) }
                }
                PartKind::Wait => panic!("all parts are there"),
            };
            stored.push(sealed);
            let terminated = matches!(completion(&stored).unwrap(), Completion::Terminate(_));
            assert_eq!(terminated, length >= MIN_PART, "{lengths:?} and {length}");
        }
    }
}
