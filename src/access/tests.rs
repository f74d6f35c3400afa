use super::*;

fn clients(buckets: &[&str], access: ClientAccess) -> Clients {
    let client = Client {
        secret: SecretAccessKey::new("secret".to_owned()),
        buckets: buckets.iter().map(|pattern| BucketPattern::parse(pattern).unwrap()).collect(),
        access,
        certificate_subject: None,
    };
    Clients::new([("id".to_owned(), client)])
}

fn allowed(clients: &Clients, operation: Operation, path: &str) -> bool {
    let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
    clients.authorize(&AccessKeyId::new("id"), operation, &path, None).is_ok()
}

fn copy_allowed(clients: &Clients, operation: Operation, source: &str, path: &str) -> bool {
    let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
    let source = CopySource::parse(source.as_bytes()).unwrap();
    clients.authorize(&AccessKeyId::new("id"), operation, &path, Some(&source)).is_ok()
}

#[test]
fn rights_are_kept_apart() {
    for (access, reads, writes) in [
        (ClientAccess::ReadWrite, true, true),
        (ClientAccess::ReadOnly, true, false),
        (ClientAccess::WriteOnly, false, true),
    ] {
        let clients = clients(&["*"], access);
        for (operation, expected) in [
            (Operation::GetObject, reads),
            (Operation::HeadObject, reads),
            (Operation::ListBuckets, reads),
            (Operation::PutObject, writes),
            (Operation::DeleteObject, writes),
            (Operation::DeleteObjects, writes),
            (Operation::CreateBucket, writes),
        ] {
            assert_eq!(allowed(&clients, operation, "/b/k"), expected, "{access:?} {operation:?}");
        }
    }
}

#[test]
fn a_client_reaches_its_own_buckets_only() {
    let clients = clients(&["logs-*"], ClientAccess::ReadWrite);
    assert!(allowed(&clients, Operation::GetObject, "/logs-eu/k"));
    assert!(!allowed(&clients, Operation::GetObject, "/data/k"));
    assert!(!allowed(&clients, Operation::CreateBucket, "/data"));
    assert!(allowed(&clients, Operation::ListBuckets, "/"));
}

#[test]
fn a_copy_needs_the_right_to_read_its_source_and_to_write_its_destination() {
    for operation in [Operation::CopyObject, Operation::UploadPartCopy] {
        let own = clients(&["logs-*"], ClientAccess::ReadWrite);
        for (source, path, expected) in [
            ("logs-a/k", "/logs-b/k", true),
            ("/logs-a/k?versionId=1", "/logs-b/k", true),
            ("data/k", "/logs-b/k", false),
            ("/data/k", "/logs-b/k", false),
            ("%64ata%2Fk", "/logs-b/k", false),
            ("data/logs-a/k", "/logs-b/k", false),
            ("logs-a/k", "/data/k", false),
        ] {
            let allowed = copy_allowed(&own, operation, source, path);
            assert_eq!(allowed, expected, "This is a security issue: {operation} {source} to {path}.");
        }
        for access in [ClientAccess::ReadOnly, ClientAccess::WriteOnly] {
            let halved = clients(&["*"], access);
            let allowed = copy_allowed(&halved, operation, "b/k", "/b/k");
            assert!(!allowed, "This is a security issue: {access:?} {operation}.");
        }
    }
}

#[test]
fn an_access_key_bound_to_a_certificate_requires_it() {
    let bound = Client {
        secret: SecretAccessKey::new("secret".to_owned()),
        buckets: vec![BucketPattern::any()],
        access: ClientAccess::ReadWrite,
        certificate_subject: Some("CN=backup,O=Example".to_owned()),
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(bound.require_certificate(Some(&names(&["CN=backup,O=Example", "DNS:backup"]))), Ok(()));
    for (others, found) in [
        (None, "and this connection has none."),
        (Some(names(&["CN=backup"])), "and that of this connection has the names [\"CN=backup\"]."),
        (Some(names(&["CN=BACKUP,O=Example"])), "[\"CN=BACKUP,O=Example\"]."),
        (Some(Vec::new()), "has the names []."),
    ] {
        let error = bound.require_certificate(others.as_deref()).expect_err("This is a security issue.");
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert!(error.message.ends_with(found), "{}", error.message);
    }
    let unbound = Client { certificate_subject: None, ..bound };
    assert_eq!(unbound.require_certificate(None), Ok(()));
}
