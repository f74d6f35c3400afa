use super::*;

fn chunk_key() -> ChunkKey {
    ChunkKey::new(&[9; 32])
}

#[test]
fn f_21_a_chunk_opens_only_at_its_place() {
    let mut sealed = BytesMut::from(&b"plaintext"[..]);
    chunk_key().seal(3, false, &mut sealed);
    assert_eq!(sealed.len(), 9 + TAG);
    for (index, is_final) in [(2, false), (4, false), (3, true), (3 + (1 << 40), false)] {
        let mut moved = sealed.clone();
        assert_eq!(chunk_key().open(index, is_final, &mut moved), Err(FormatError::ChunkTag));
        assert!(moved.is_empty(), "F-25: nothing unauthenticated may be left to release");
    }
    chunk_key().open(3, false, &mut sealed).unwrap();
    assert_eq!(&sealed[..], b"plaintext");
}

#[test]
fn f_21_on_the_way_to_another_buffer_it_is_the_same() {
    for length in [0, 1, 100, CHUNK] {
        let plaintext = vec![5; length];
        let mut in_place = BytesMut::from(&plaintext[..]);
        chunk_key().seal(3, true, &mut in_place);
        for former in [0, 7, 2 * CHUNK] {
            let mut sealed = BytesMut::from(&vec![6; former][..]);
            chunk_key().seal_into(3, true, &plaintext, &mut sealed);
            assert_eq!(sealed, in_place);
            let mut opened = BytesMut::from(&vec![6; former][..]);
            chunk_key().open_into(3, true, &sealed, &mut opened).unwrap();
            assert_eq!(opened, plaintext);
            for (index, is_final) in [(2, true), (3, false)] {
                let refused = chunk_key().open_into(index, is_final, &sealed, &mut opened);
                assert_eq!(refused, Err(FormatError::ChunkTag));
                assert!(opened.is_empty(), "F-25: nothing unauthenticated may be left to release");
            }
        }
    }
}

#[test]
fn a_body_shorter_than_a_tag_is_refused() {
    let mut short = BytesMut::from(&[0; TAG - 1][..]);
    assert_eq!(chunk_key().open(0, true, &mut short), Err(FormatError::ChunkTag));
    let mut other = BytesMut::from(&[1; 9][..]);
    assert_eq!(chunk_key().open_into(0, true, &[0; TAG - 1], &mut other), Err(FormatError::ChunkTag));
    assert!(other.is_empty());
}
