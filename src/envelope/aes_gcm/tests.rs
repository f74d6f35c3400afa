use aws_lc_rs::aead::Tag;
use proptest::prelude::*;

use super::*;

const AAD: &[u8] = &[0, 0x73];

fn message(key: &[u8], aad: &'static [u8]) -> MessageKey {
    MessageKey { key: Zeroizing::new(key.to_vec()), iv: [7; IV], aad }
}

/// The message as aws-lc-rs seals it in one call.
fn one_call(message: &MessageKey, plaintext: &[u8]) -> Vec<u8> {
    let algorithm = if message.key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    let aead = LessSafeKey::new(UnboundKey::new(algorithm, &message.key).unwrap());
    let mut sealed = plaintext.to_vec();
    let nonce = Nonce::assume_unique_for_key(message.iv);
    let tag: Tag = aead.seal_in_place_separate_tag(nonce, Aad::from(message.aad), &mut sealed).unwrap();
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn seal(message: &MessageKey, plaintext: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut sealer = MessageSealer::new(message);
    let mut sealed = BytesMut::new();
    for piece in pieces(plaintext, cuts) {
        sealer.update(piece, &mut sealed);
    }
    sealed.extend_from_slice(&sealer.finish());
    sealed.to_vec()
}

fn open(message: &MessageKey, sealed: &[u8], cuts: &[usize]) -> Option<Vec<u8>> {
    let (ciphertext, tag) = sealed.split_last_chunk().unwrap();
    let mut opener = MessageOpener::new(message);
    let mut unverified = BytesMut::new();
    for piece in pieces(ciphertext, cuts) {
        opener.update(piece, &mut unverified);
    }
    opener.finish(tag).then(|| unverified.to_vec())
}

#[test]
fn every_length_around_a_block_agrees_with_the_library() {
    for key in [&[1; 16][..], &[2; 32]] {
        for aad in [&[][..], AAD] {
            let message = message(key, aad);
            for length in (0..70).chain([255, 4096, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5]) {
                let plaintext: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let sealed = one_call(&message, &plaintext);
                assert_eq!(seal(&message, &plaintext, &[1, 17, 40]), sealed, "{length}");
                assert_eq!(open(&message, &sealed, &[3, 16, 33]).unwrap(), plaintext, "{length}");
                let whole = message.open_whole(BytesMut::from(&sealed[..])).unwrap();
                assert_eq!(whole, plaintext);
            }
        }
    }
}

#[test]
fn a_changed_byte_key_or_additional_data_does_not_open() {
    let sealed = one_call(&message(&[2; 32], AAD), b"some plaintext, longer than a block");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x40;
        assert_eq!(
            open(&message(&[2; 32], AAD), &changed, &[]),
            None,
            "This is a security issue: byte {at}."
        );
        let whole = message(&[2; 32], AAD).open_whole(BytesMut::from(&changed[..]));
        assert_eq!(whole, None, "This is a security issue: byte {at}.");
    }
    assert_eq!(open(&message(&[2; 32], &[]), &sealed, &[]), None);
    assert_eq!(open(&message(&[3; 32], AAD), &sealed, &[]), None);
}

#[test]
fn what_is_shorter_than_a_tag_does_not_open() {
    assert_eq!(message(&[2; 32], AAD).open_whole(BytesMut::from(&[0; TAG - 1][..])), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_framing_is_the_librarys_message(
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(0..600_usize, 0..6),
        key in any::<[u8; 32]>(),
    ) {
        let message = message(&key, AAD);
        let sealed = seal(&message, &plaintext, &cuts);
        prop_assert_eq!(&sealed, &one_call(&message, &plaintext));
        prop_assert_eq!(open(&message, &sealed, &cuts).unwrap(), plaintext);
    }

    #[test]
    fn a_keystream_begins_at_any_block(
        plaintext in prop::collection::vec(any::<u8>(), 1..600), start in 0..600_usize,
    ) {
        let message = message(&[2; 32], AAD);
        let sealed = one_call(&message, &plaintext);
        let start = start % plaintext.len() / BLOCK;
        let mut view = BytesMut::new();
        Keystream::new(&message, start as u32).apply(&sealed[start * BLOCK..plaintext.len()], &mut view);
        prop_assert_eq!(&view[..], &plaintext[start * BLOCK..]);
    }
}
