use super::*;

fn context(pairs: &[(&str, &str)]) -> Context {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn order_and_spelling_do_not_matter() {
    let parsed = context(&[("a", "b&c"), ("d", "")]);
    for text in [r#"{"a":"b&c","d":""}"#, r#"{ "d": "", "a" : "b\u0026c" }"#] {
        assert_eq!(parse(text).unwrap(), parsed);
    }
}

#[test]
fn what_is_no_object_of_strings_is_refused() {
    for text in ["", "[]", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"b\"} x", "{\"a\":\"b\",\"a\":\"c\"}"] {
        assert_eq!(parse(text), Err(S3ecError::Context), "{text}");
    }
}

#[test]
fn what_is_written_is_ascii_and_reads_back() {
    let one = context(&[("blå", "\u{1f511}\"\\\u{7f}\n"), ("a", "b")]);
    let text = write(&one);
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    assert_eq!(parse(&text).unwrap(), one);
}

#[test]
fn a_bound_context_names_its_algorithm() {
    let gcm = "AES/GCM/NoPadding";
    assert_eq!(check_bound(&context(&[(ALGORITHM, gcm), ("a", "b")]), gcm), Ok(()));
    assert_eq!(check_bound(&context(&[(ALGORITHM, "115")]), gcm), Err(S3ecError::ContextAlgorithm));
    assert_eq!(check_bound(&context(&[]), gcm), Err(S3ecError::ContextAlgorithm));
}

#[test]
fn no_other_formats_data_key_passes_for_a_legacy_one() {
    assert_eq!(check_legacy(&context(&[(LEGACY_KEY_ID, "k")])), Ok(()));
    for (foreign, error) in [
        (context(&[]), S3ecError::Context),
        (context(&[("s3veil:version", "1"), ("s3veil:realm", "b")]), S3ecError::Context),
        (context(&[("s3veil:version", "1"), (LEGACY_KEY_ID, "k")]), S3ecError::Context),
        (context(&[(ALGORITHM, "AES/GCM/NoPadding"), (LEGACY_KEY_ID, "k")]), S3ecError::ContextAlgorithm),
    ] {
        assert_eq!(check_legacy(&foreign), Err(error), "This is a security issue: {foreign:?}");
    }
}
