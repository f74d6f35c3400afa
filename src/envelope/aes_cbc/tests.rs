use super::*;

/// Bodies of the S3 Encryption Client have their IV in the metadata: the first block has no block before it.
#[test]
fn a_chain_without_a_header_slices_from_its_first_block() {
    let key = [4; 32];
    let plaintext: Vec<u8> = (0..90).collect();
    let mut sealer = crate::envelope::stream::cbc_sealer(&key, &[8; BLOCK], Padding::Pkcs7, false);
    let mut stored = BytesMut::new();
    sealer.update(&plaintext, &mut stored);
    sealer.finish(&mut stored);
    assert_eq!(stored.len(), 96);
    let chain = CbcBody::new(&key, Some([8; BLOCK]), AcceptedPadding::Pkcs7);
    for first in 0..90_usize {
        for last in first..90 {
            let range = chain.slice(first as u64, last as u64);
            let mut opener = chain.opener(first as u64, (last - first + 1) as u64);
            let mut released = BytesMut::new();
            opener.push(&stored[range.first() as usize..=range.last() as usize], &mut released).unwrap();
            opener.finish(&mut released).unwrap();
            assert_eq!(released, plaintext[first..=last]);
        }
    }
    for stored in [&stored[..], &stored[80..]] {
        let iv = if stored.len() == 16 { [0; 16] } else { [8; 16] };
        let chain = CbcBody::new(&key, Some(iv), AcceptedPadding::Pkcs7);
        let range = chain.tail(stored.len() as u64).unwrap();
        let tail = &stored[range.first() as usize..=range.last() as usize];
        let length = chain.length_by_tail(stored.len() as u64, tail);
        let whole = chain.open_whole(stored, None).map(|plaintext| plaintext.len() as u64);
        assert_eq!(length, whole);
    }
    assert_eq!(chain.tail(0), Err(Unreadable));
    assert_eq!(chain.tail(24), Err(Unreadable));
}

#[test]
fn pkcs7_accepts_exactly_its_paddings() {
    for count in 1..=16_u8 {
        let mut last = [0xaa; BLOCK];
        last[BLOCK - usize::from(count)..].fill(count);
        assert_eq!(pkcs7(&last), Some(usize::from(count)));
        if count > 1 {
            last[BLOCK - usize::from(count)] ^= 1;
            assert_eq!(pkcs7(&last), None);
        }
    }
    assert_eq!(pkcs7(&[0; BLOCK]), None);
    assert_eq!(pkcs7(&[17; BLOCK]), None);
}
