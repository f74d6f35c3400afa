use super::*;

#[test]
fn a_data_key_is_exactly_32_bytes_and_never_printed() {
    assert!(DataKey::try_from_slice(&[7; 31]).is_none());
    assert!(DataKey::try_from_slice(&[7; 33]).is_none());
    let data_key = DataKey::try_from_slice(&[7; 32]).unwrap();
    assert_eq!(data_key.expose(), &[7; 32]);
    assert_eq!(format!("{data_key:?}"), "DataKey(redacted)");
    assert!(!data_key.is_short());
}

#[test]
fn a_short_data_key_is_made_on_purpose_only() {
    assert!(DataKey::short_from_slice(&[7; 32]).is_none());
    let data_key = DataKey::short_from_slice(&[7; 16]).unwrap();
    assert!(data_key.is_short());
    assert_eq!(data_key.as_slice(), &[7; 16]);
}
