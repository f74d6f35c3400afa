use http::{HeaderName, HeaderValue};

use super::*;
use crate::s3::BucketPattern;

/// A client `id` with these grants: buckets, prefix, rights.
fn clients(grants: &[(&str, &str, Rights)]) -> Clients {
    let grant = |(bucket, prefix, rights): &(&str, &str, Rights)| Grant {
        buckets: vec![BucketPattern::parse(bucket).unwrap()],
        prefix: (*prefix).to_owned(),
        rights: *rights,
    };
    let secret = Some(SecretAccessKey::new("secret".to_owned()));
    Clients::new([(
        "id".to_owned(),
        Client { secret, grants: Grants::new(grants.iter().map(grant)), certificate_subject: None },
    )])
}

fn short(name: &str) -> Rights {
    SHORT_FORMS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A request: operation, path, query, headers.
type Asked<'a> = (Operation, &'a str, &'a str, &'a [(&'static str, &'static str)]);

/// Whether the client `id` may only append, or the right that it lacks.
fn judged(clients: &Clients, (operation, path, query, headers): Asked<'_>) -> Result<bool, String> {
    let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let source = operation.is_copy().then(|| CopySource::from_headers(&headers).unwrap());
    let query = Query::parse(query).unwrap();
    let subject = Subject {
        operation,
        path: &path,
        query: &query,
        headers: &headers,
        copy_source: source.as_ref(),
        certificate_names: None,
    };
    let authorized = clients.authorize(&AccessKeyId::new("id"), subject);
    authorized.map(|authorized| authorized.is_append).map_err(|error| {
        assert_eq!(error.code, ErrorCode::AccessDenied);
        let right = error.field(REQUIRED_RIGHT).unwrap().to_owned();
        assert!(error.message.contains(&right), "{error}");
        right
    })
}

fn path_of(place: Place) -> &'static str {
    match place {
        Place::Anywhere => "/",
        Place::SomeKeys | Place::AllKeys | Place::ListedPrefix | Place::NamedObjects => "/b",
        Place::Object => "/b/k",
    }
}

/// Each operation is for those who have one of the rights in its row, and for all of them.
#[test]
fn every_operation_needs_the_rights_of_its_row_and_no_other() {
    for operation in Operation::ALL {
        let Needed { one_of, place } = needed(*operation);
        assert_ne!(one_of, Rights::NONE, "{operation}");
        let source: &[_] = if operation.is_copy() { &[("x-amz-copy-source", "public/k")] } else { &[] };
        for right in Right::ALL {
            let clients =
                clients(&[("b", "", Rights::new(&[right])), ("public", "", Rights::new(&[Right::Read]))]);
            let outcome = judged(&clients, (*operation, path_of(place), "", source));
            let is_append = right == Right::Append && *operation != Operation::CorsPreflight;
            let expected = if one_of.has(right) { Ok(is_append) } else { Err(one_of.names(" or ")) };
            let message = format!("This is a security issue: {operation} with {}.", right.name());
            if place == Place::Anywhere && right != Right::List {
                // The grant of the other bucket counts too.
                assert_eq!(outcome.is_ok(), one_of.has(right) || one_of.has(Right::Read), "{message}");
            } else {
                assert_eq!(outcome, expected, "{message}");
            }
        }
    }
}

/// What would make the storage give content, names or keys to others, or remove them.
#[test]
fn configuration_is_for_those_who_manage() {
    use Operation as Op;
    let others = clients(&[("*", "", Rights::ALL.without(Rights::new(&[Right::Manage])))]);
    let managers = clients(&[("*", "", Rights::new(&[Right::Manage]))]);
    let below_a_prefix = clients(&[("*", "p/", Rights::ALL)]);
    for operation in [
        Op::CreateBucket,
        Op::DeleteBucket,
        Op::PutBucketPolicy,
        Op::DeleteBucketPolicy,
        Op::PutBucketAcl,
        Op::PutPublicAccessBlock,
        Op::DeletePublicAccessBlock,
        Op::PutBucketWebsite,
        Op::PutBucketNotificationConfiguration,
        Op::PutBucketLifecycleConfiguration,
        Op::PutBucketVersioning,
        Op::PutBucketLogging,
        Op::PutBucketInventoryConfiguration,
        Op::PutBucketAnalyticsConfiguration,
        Op::PutBucketReplication,
        Op::PutBucketCors,
        Op::PutBucketEncryption,
        Op::PutBucketOwnershipControls,
        Op::PutObjectLockConfiguration,
        Op::CreateBucketMetadataConfiguration,
        Op::CreateBucketMetadataTableConfiguration,
        Op::GetBucketPolicy,
        Op::GetBucketReplication,
    ] {
        let asked: Asked<'_> = (operation, "/b", "", &[]);
        assert_eq!(
            judged(&others, asked),
            Err("manage".to_owned()),
            "This is a security issue: {operation}."
        );
        assert_eq!(judged(&below_a_prefix, asked), Err("manage".to_owned()), "{operation}");
        assert_eq!(judged(&managers, asked), Ok(false), "{operation}");
    }
    for operation in [Op::PutObjectAcl, Op::PutObjectRetention, Op::PutObjectLegalHold] {
        assert_eq!(judged(&others, (operation, "/b/p/k", "", &[])), Err("manage".to_owned()), "{operation}");
        assert_eq!(judged(&below_a_prefix, (operation, "/b/p/k", "", &[])), Ok(false), "{operation}");
        assert!(judged(&below_a_prefix, (operation, "/b/q", "", &[])).is_err(), "{operation}");
    }
}

#[test]
fn the_short_forms_are_sets_of_rights() {
    for (name, rights) in [
        ("read-only", "read, list"),
        ("read-write", "read, list, write, delete"),
        ("write-only", "write"),
        ("append-only", "append"),
        ("admin", "read, list, write, append, delete, bypass-retention, manage"),
    ] {
        assert_eq!(short(name).to_string(), rights, "{name}");
    }
}

#[test]
fn a_client_reaches_its_own_buckets_and_prefixes_only() {
    let clients = clients(&[("logs-*", "", short("read-write")), ("data", "a/", short("read-only"))]);
    for (operation, path, query, expected) in [
        (Operation::GetObject, "/logs-eu/k", "", true),
        (Operation::GetObject, "/other/k", "", false),
        (Operation::GetObject, "/data/a/k", "", true),
        (Operation::GetObject, "/data/b", "", false),
        (Operation::GetObject, "/data/a%2F..%2Fb", "", false),
        (Operation::PutObject, "/data/a/k", "", false),
        (Operation::ListParts, "/data/a/k", "", true),
        (Operation::ListParts, "/data/b", "", false),
        (Operation::HeadBucket, "/data", "", true),
        (Operation::HeadBucket, "/other", "", false),
        (Operation::GetBucketLifecycleConfiguration, "/logs-eu", "", true),
        (Operation::GetBucketLifecycleConfiguration, "/data", "", false),
        (Operation::ListBuckets, "/", "", true),
        (Operation::ListObjectsV2, "/logs-eu", "", true),
        (Operation::ListObjectsV2, "/data", "", false),
        (Operation::ListObjectsV2, "/data", "prefix=", false),
        (Operation::ListObjectsV2, "/data", "prefix=a", false),
        (Operation::ListObjectsV2, "/data", "prefix=a/", true),
        (Operation::ListObjectsV2, "/data", "prefix=a%2Fb&delimiter=/", true),
        (Operation::ListObjectsV2, "/data", "prefix=a/../", false),
        (Operation::ListObjectsV2, "/data", "start-after=a/", false),
        (Operation::ListObjects, "/data", "prefix=b/", false),
        (Operation::ListObjectVersions, "/data", "prefix=a/", true),
        (Operation::ListObjectVersions, "/data", "", false),
        (Operation::ListMultipartUploads, "/data", "prefix=a/", true),
        (Operation::ListMultipartUploads, "/data", "", false),
        (Operation::DeleteObjects, "/logs-eu", "", true),
        (Operation::DeleteObjects, "/data", "", false),
    ] {
        let is_allowed = judged(&clients, (operation, path, query, &[])).is_ok();
        assert_eq!(is_allowed, expected, "This is a security issue: {operation} {path}?{query}");
    }
}

#[test]
fn a_copy_needs_the_right_to_read_its_source_and_to_write_its_destination() {
    let own = clients(&[("logs-*", "", short("read-write")), ("data", "a/", short("read-only"))]);
    for operation in [Operation::CopyObject, Operation::UploadPartCopy] {
        let allowed = |source: &'static str, path: &str| {
            judged(&own, (operation, path, "", &[("x-amz-copy-source", source)])).is_ok()
        };
        for (source, path, expected) in [
            ("logs-a/k", "/logs-b/k", true),
            ("/logs-a/k?versionId=1", "/logs-b/k", true),
            ("data/a/k", "/logs-b/k", true),
            ("data/a/k?versionId=1", "/logs-b/k", true),
            ("data/k", "/logs-b/k", false),
            ("data/a/../k", "/logs-b/k", false),
            ("/data/k", "/logs-b/k", false),
            ("%64ata%2Fk", "/logs-b/k", false),
            ("other/logs-a/k", "/logs-b/k", false),
            ("logs-a/k", "/data/a/k", false),
            ("logs-a/k", "/other/k", false),
        ] {
            let message = format!("This is a security issue: {operation} {source} to {path}.");
            assert_eq!(allowed(source, path), expected, "{message}");
        }
        for halved in ["read-only", "write-only", "append-only"] {
            let clients = clients(&[("*", "", short(halved))]);
            let asked: Asked<'_> = (operation, "/b/k", "", &[("x-amz-copy-source", "b/k")]);
            assert!(judged(&clients, asked).is_err(), "This is a security issue: {halved} {operation}.");
        }
    }
}

#[test]
fn some_headers_need_a_right_of_their_own() {
    let without = clients(&[("*", "", short("read-write"))]);
    let admin = clients(&[("*", "", Rights::ALL)]);
    for (operation, name, value, missing) in [
        (Operation::PutObject, "x-amz-acl", "private", None),
        (Operation::PutObject, "x-amz-acl", "bucket-owner-full-control", None),
        (Operation::PutObject, "x-amz-acl", "public-read", Some("manage")),
        (Operation::PostObject, "x-amz-acl", "public-read", Some("manage")),
        (Operation::CreateMultipartUpload, "x-amz-acl", "Private", Some("manage")),
        (Operation::PutObject, "x-amz-grant-read", "id=1", Some("manage")),
        (Operation::CreateMultipartUpload, "x-amz-grant-full-control", "id=1", Some("manage")),
        (Operation::PutObject, "x-amz-object-lock-mode", "COMPLIANCE", Some("manage")),
        (Operation::PutObject, "x-amz-object-lock-legal-hold", "ON", Some("manage")),
        (Operation::PutObject, "x-amz-tagging", "a=b", None),
        (Operation::GetObject, "x-amz-acl", "public-read", None),
        (Operation::DeleteObject, "x-amz-bypass-governance-retention", "true", Some("bypass-retention")),
        (Operation::DeleteObject, "x-amz-bypass-governance-retention", "1", Some("bypass-retention")),
        (Operation::DeleteObject, "x-amz-bypass-governance-retention", "false", None),
        (Operation::GetObject, "x-amz-bypass-governance-retention", "true", None),
    ] {
        let outcome = judged(&without, (operation, "/b/k", "", &[(name, value)]));
        assert_eq!(outcome.err().as_deref(), missing, "{operation} {name}: {value}");
        assert!(judged(&admin, (operation, "/b/k", "", &[(name, value)])).is_ok());
    }
    let repeated: Asked<'_> =
        (Operation::PutObject, "/b/k", "", &[("x-amz-acl", "private"), ("x-amz-acl", "public-read")]);
    assert!(judged(&without, repeated).is_err());
    let managers = clients(&[("*", "", Rights::new(&[Right::Manage]))]);
    let bypass: Asked<'_> =
        (Operation::PutObjectRetention, "/b/k", "", &[("x-amz-bypass-governance-retention", "true")]);
    assert_eq!(judged(&managers, bypass).err().as_deref(), Some("bypass-retention"));
}

#[test]
fn appending_is_restricted_where_the_client_may_not_write() {
    let clients = clients(&[
        ("b", "", Rights::new(&[Right::Append, Right::Read])),
        ("b", "tmp/", Rights::new(&[Right::Write])),
    ]);
    assert_eq!(judged(&clients, (Operation::PutObject, "/b/k", "", &[])), Ok(true));
    assert_eq!(judged(&clients, (Operation::PutObject, "/b/tmp/k", "", &[])), Ok(false));
    for operation in [Operation::PutObjectTagging, Operation::DeleteObjectTagging, Operation::AppendObject] {
        assert_eq!(judged(&clients, (operation, "/b/k", "", &[])), Err("write".to_owned()), "{operation}");
    }
}

#[test]
fn deletions_are_judged_key_by_key() {
    let bucket = BucketName::parse("b").unwrap();
    let grant = |prefix: &str, rights: &[Right]| Grant {
        buckets: vec![BucketPattern::any()],
        prefix: prefix.to_owned(),
        rights: Rights::new(rights),
    };
    let grants = Grants::new([grant("a/", &[Right::Delete]), grant("a/b/", &[Right::BypassRetention])]);
    let bypass: HeaderMap = HeaderMap::from_iter([(
        HeaderName::from_static("x-amz-bypass-governance-retention"),
        HeaderValue::from_static("true"),
    )]);
    for (object_key, plain, bypassing) in [("a/k", true, false), ("a/b/k", true, true), ("k", false, false)] {
        let object_key = ObjectKey::parse(object_key).unwrap();
        let allowed = |headers: &HeaderMap| check_deletion(&grants, headers, (&bucket, &object_key)).is_ok();
        assert_eq!((allowed(&HeaderMap::new()), allowed(&bypass)), (plain, bypassing), "{object_key}");
    }
}

#[test]
fn no_signature_is_that_of_the_anonymous_client() {
    let rights = [("*".to_owned(), ANONYMOUS_RIGHTS)];
    let grants = Grants::new(rights.map(|(bucket, rights)| Grant {
        buckets: vec![BucketPattern::parse(&bucket).unwrap()],
        prefix: String::new(),
        rights,
    }));
    let anonymous =
        Clients::new([(ANONYMOUS.to_owned(), Client { secret: None, grants, certificate_subject: None })]);
    assert!(anonymous.admit_anonymous() && anonymous.secret(ANONYMOUS).is_none());
    let named = SecretAccessKey::new("secret".to_owned());
    let named = Client::new(named, vec![BucketPattern::any()], Rights::ALL);
    let signed = Clients::new([(ANONYMOUS.to_owned(), named)]);
    assert!(!signed.admit_anonymous() && signed.secret(ANONYMOUS).is_some());
}

#[test]
fn an_access_key_bound_to_a_certificate_requires_it() {
    let secret = SecretAccessKey::new("secret".to_owned());
    let bound = Client {
        certificate_subject: Some("CN=backup,O=Example".to_owned()),
        ..Client::new(secret, vec![BucketPattern::any()], Rights::ALL)
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
