use cryptoki::object::Attribute;
use cryptoki::types::Ulong;

use super::module::Module;
use super::soft_hsm::SoftToken;
use super::*;

const LABEL: &str = "wrap";
const ID: &[u8] = &[1];

fn context() -> EncryptionContext {
    EncryptionContext::native("realm")
}

fn settings(token: &SoftToken) -> Pkcs11 {
    Pkcs11 {
        library: token.library.clone(),
        token: TokenName::Label(token.label.clone()),
        pin_file: token.pin_file(),
        key_label: LABEL.to_owned(),
        key_id: Some(ID.to_vec()),
    }
}

/// A token with one key; `None` without SoftHSM2.
fn token() -> Option<SoftToken> {
    let token = SoftToken::new()?;
    token.make_key(LABEL, ID, &[]);
    Some(token)
}

async fn holder(token: &SoftToken) -> Pkcs11Holder {
    Pkcs11Holder::build(settings(token)).await.unwrap()
}

fn current(holder: &Pkcs11Holder) -> KeyId {
    holder.key_ids()[0].clone()
}

async fn write(holder: &Pkcs11Holder) -> Result<Bytes, KeyringError> {
    let generated = holder.generate(&current(holder), &context()).await;
    generated.map(|generated| generated.wrapped).map_err(|failure| failure.error)
}

async fn read(holder: &Pkcs11Holder, blob: &[u8], key_id: &KeyId) -> Result<DataKey, KeyringError> {
    let decrypted = holder.decrypt(blob, &context(), key_id).await;
    decrypted.map(|decrypted| decrypted.data_key.unwrap()).map_err(|failure| failure.error)
}

fn attempts(token: &SoftToken) -> u64 {
    Module::open(&token.library).unwrap().login_attempts(token.slot)
}

#[test]
fn a_blob_has_one_encoding() {
    let blob = Blob { id: b"id", iv: &[3; 12], ciphertext: &[4; 48] };
    let bytes = blob.encode();
    assert_eq!(bytes[..4], [1, 2, b'i', b'd']);
    assert_eq!(bytes.len(), 4 + 12 + 48);
    assert_eq!(Blob::parse(&bytes), Some(blob));
    let longer = [&bytes[..], &[0]].concat();
    let other_version = [&[2], &bytes[1..]].concat();
    for bad in [&bytes[..bytes.len() - 1], &longer, &other_version, &[1], &[]] {
        assert_eq!(Blob::parse(bad), None, "{bad:?}");
    }
    let long_id = [&[1, 65][..], &[0; 65 + 12 + 48]].concat();
    assert_eq!(Blob::parse(&long_id), None);
}

#[test]
fn a_key_is_named_in_visible_ascii_by_token_label_and_id() {
    assert_eq!(key_name("HSM 1/a", "schlüssel", &[0x0a, 0xff]).as_str(), "HSM%201%2Fa/schl%C3%BCssel/0aff");
    assert_eq!(key_name("t", "k", &[]).as_str(), "t/k/-");
}

#[tokio::test]
async fn a_missing_library_is_refused_with_its_path() {
    let settings = Pkcs11 {
        library: "/nowhere/libhsm.so".into(),
        token: TokenName::Slot(7),
        pin_file: "pin".into(),
        key_label: LABEL.to_owned(),
        key_id: None,
    };
    let refused = Pkcs11Holder::build(settings).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the PKCS#11 token in slot 7: the key provider is unavailable: /nowhere/libhsm.so: No such file or directory \
         (os error 2): correct `library`, `token_label` or `slot`; a token that may be away at the start requires \
         `token_label` and `key_id`"
    );
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_refused_pin_is_tried_once_whatever_asks_for_it() {
    let Some(token) = token() else { return };
    token.write_pin("9999");
    let before = attempts(&token);
    let first = holder(&token).await;
    let requests = (0..100).map(|_| write(&first));
    for outcome in join_all(requests).await {
        assert_eq!(outcome.unwrap_err(), KeyringError::Credentials);
    }
    let reloaded = holder(&token).await;
    assert_eq!(write(&reloaded).await.unwrap_err(), KeyringError::Credentials);
    assert_eq!(attempts(&token) - before, 1, "a token locks after a few wrong PINs");
    token.write_pin(super::soft_hsm::PIN);
    let blob = write(&first).await.unwrap();
    read(&reloaded, &blob, &current(&first)).await.unwrap();
    assert_eq!(attempts(&token) - before, 2, "both holders use one login");
}

/// The outcomes of all futures, polled by one task.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *outcome = Some(ready);
            }
        }
        let is_done = futures.iter().all(|(_, outcome)| outcome.is_some());
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn an_ended_login_is_renewed_by_the_next_call() {
    let Some(token) = token() else { return };
    let holder = holder(&token).await;
    let blob = write(&holder).await.unwrap();
    let before = attempts(&token);
    for _ in 0..3 {
        token.functions.open_ro_session(token.slot).unwrap().logout().unwrap();
        read(&holder, &blob, &current(&holder)).await.unwrap();
        write(&holder).await.unwrap();
    }
    assert_eq!(attempts(&token) - before, 3);
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_reloaded_holder_works_beside_the_earlier_one_and_after_it() {
    let Some(token) = token() else { return };
    let earlier = holder(&token).await;
    let blob = write(&earlier).await.unwrap();
    let later = holder(&token).await;
    read(&later, &blob, &current(&later)).await.unwrap();
    read(&earlier, &blob, &current(&earlier)).await.unwrap();
    drop(earlier);
    read(&later, &blob, &current(&later)).await.unwrap();
    drop(later);
    let before = attempts(&token);
    write(&holder(&token).await).await.unwrap();
    assert_eq!(attempts(&token), before, "the login outlives the holders");
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_removed_key_is_not_found_and_its_successor_opens_nothing_of_it() {
    let Some(token) = token() else { return };
    let holder = holder(&token).await;
    let blob = write(&holder).await.unwrap();
    token.remove_key(LABEL, ID);
    assert_eq!(write(&holder).await.unwrap_err(), KeyringError::KeyNotFound);
    assert_eq!(read(&holder, &blob, &current(&holder)).await.unwrap_err(), KeyringError::KeyNotFound);
    token.make_key(LABEL, ID, &[]);
    assert_eq!(read(&holder, &blob, &current(&holder)).await.unwrap_err(), KeyringError::InvalidCiphertext);
    write(&holder).await.unwrap();
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_key_that_may_leave_the_token_is_refused_at_the_start() {
    for (change, problem) in [
        (Attribute::Extractable(true), "may leave the token: CKA_EXTRACTABLE is true"),
        (Attribute::Sensitive(false), "can be read in clear: CKA_SENSITIVE is false"),
        (Attribute::ValueLen(Ulong::new(16)), "does not have 256 bits"),
    ] {
        let Some(token) = SoftToken::new() else { return };
        token.make_key(LABEL, ID, &[change]);
        let refused = Pkcs11Holder::build(settings(&token)).await.unwrap_err().to_string();
        let expected = format!("the key \"wrap\" with the CKA_ID 01 {problem}: make an AES key of 256 bits");
        assert!(refused.contains(&expected), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_disabled_key_is_told_apart_and_may_be_enabled() {
    let Some(token) = token() else { return };
    let holder = holder(&token).await;
    let blob = write(&holder).await.unwrap();
    token.allow_use(LABEL, ID, false);
    assert_eq!(write(&holder).await.unwrap_err(), KeyringError::KeyDisabled);
    assert_eq!(read(&holder, &blob, &current(&holder)).await.unwrap_err(), KeyringError::KeyDisabled);
    let unnamed = Pkcs11 { key_id: None, ..settings(&token) };
    let refused = Pkcs11Holder::build(unnamed).await.unwrap_err().to_string();
    assert!(refused.contains("does not allow encryption: CKA_ENCRYPT is false"), "{refused}");
    token.allow_use(LABEL, ID, true);
    read(&holder, &blob, &current(&holder)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn of_two_keys_of_one_label_the_configuration_names_one_and_the_other_still_opens() {
    let Some(token) = token() else { return };
    let old_holder = holder(&token).await;
    let old = write(&old_holder).await.unwrap();
    token.make_key(LABEL, &[0xab, 2], &[]);
    let unnamed = Pkcs11 { key_id: None, ..settings(&token) };
    let refused = Pkcs11Holder::build(unnamed).await.unwrap_err().to_string();
    let expected =
        "2 keys are labelled \"wrap\", with the CKA_IDs 01, ab02: name the one for new objects by `key_id`";
    assert!(refused.contains(expected), "{refused}");

    let rotated = Pkcs11 { key_id: Some(vec![0xab, 2]), ..settings(&token) };
    let rotated = Pkcs11Holder::build(rotated).await.unwrap();
    let ids: Vec<_> = rotated.key_ids().iter().map(|id| id.as_str().rsplit_once('/').unwrap().1).collect();
    assert_eq!(ids, ["ab02", "01"]);
    let new = write(&rotated).await.unwrap();
    assert_eq!(read(&rotated, &old, &rotated.key_ids()[0]).await.unwrap_err(), KeyringError::IncorrectKey);
    read(&rotated, &old, &rotated.key_ids()[1]).await.unwrap();
    read(&rotated, &new, &rotated.key_ids()[0]).await.unwrap();
    let unknown = read(&old_holder, &new, &current(&old_holder)).await.unwrap_err();
    let KeyringError::KeyMissing { key_id, .. } = unknown else { panic!("{unknown:?}") };
    assert_eq!(key_id, rotated.key_ids()[0], "a proxy that has not been reloaded says which key it lacks");
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn two_keys_of_one_label_and_id_are_refused() {
    let Some(token) = token() else { return };
    token.make_key(LABEL, ID, &[]);
    let refused = Pkcs11Holder::build(settings(&token)).await.unwrap_err().to_string();
    assert!(refused.contains("two keys are labelled \"wrap\" and have the CKA_ID 01"), "{refused}");
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_key_without_id_and_a_slot_will_do() {
    let Some(token) = SoftToken::new() else { return };
    token.make_key(LABEL, &[], &[]);
    let unnamed = Pkcs11 { key_id: None, ..settings(&token) };
    let holder = Pkcs11Holder::build(unnamed).await.unwrap();
    assert!(current(&holder).as_str().ends_with("/wrap/-"));
    let blob = write(&holder).await.unwrap();
    read(&holder, &blob, &current(&holder)).await.unwrap();
    let slot = Pkcs11 { token: TokenName::Slot(token.slot.id()), key_id: None, ..settings(&token) };
    let by_slot = Pkcs11Holder::build(slot).await.unwrap();
    assert_eq!(by_slot.key_ids(), holder.key_ids(), "a slot is not part of a key's name");
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_token_that_is_away_at_the_start_is_used_once_it_is_there() {
    let Some(token) = token() else { return };
    token.make_key(LABEL, &[2], &[]);
    let both = holder(&token).await;
    let old = both.generate(&both.key_ids()[1], &context()).await.unwrap().wrapped;
    let unconnected = Pkcs11Holder::unconnected(settings(&token), DEADLINE);
    assert_eq!(unconnected.key_ids().len(), 1, "the configuration names one");
    write(&unconnected).await.unwrap();
    let retired = unconnected.key_ids()[1].clone();
    read(&unconnected, &old, &retired).await.unwrap();
    let absent = Pkcs11 { token: TokenName::Label("absent".to_owned()), ..settings(&token) };
    let away = Pkcs11Holder::build(absent).await.unwrap();
    assert_eq!(write(&away).await.unwrap_err(), KeyringError::Unavailable);
}
