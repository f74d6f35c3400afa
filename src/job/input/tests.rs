use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::job::storage::{self, Existing};
use crate::s3::xml::MAX_PAGE_DOCUMENT;
use crate::upstream::{Settings, Target, Upstreams};

/// Resources with an embedded store that has the bucket `demo` with these keys.
async fn stored(keys: impl Iterator<Item = String>) -> (Resources, tempfile::TempDir) {
    let (mut resources, folder) = crate::test_support::resources("http://127.0.0.1:1", &[("*", "")]).await;
    let path = folder.path().join("store");
    std::fs::create_dir_all(path.join("demo")).unwrap();
    let mut settings = Settings::new(Target::Embedded { path });
    settings.embedded.sync = false;
    let upstream = crate::cli::embedded_store::open(settings).await.unwrap();
    resources.upload.object.upstreams = Upstreams::new(upstream, Vec::new(), Vec::new());
    let resources = resources.upload;
    for key in keys {
        put(&resources, &key, "x").await;
    }
    (resources, folder)
}

async fn put(resources: &Resources, key: &str, content: &str) {
    let (bucket, key) = (bucket(), ObjectKey::parse(key).unwrap());
    let content = ("text/plain", bytes::Bytes::copy_from_slice(content.as_bytes()));
    storage::put(&resources.upstreams, &bucket, &key, content, Existing::Replaced).await.unwrap();
}

fn bucket() -> BucketName {
    BucketName::parse("demo").unwrap()
}

fn listing(prefix: &str) -> InputSettings {
    InputSettings::Listing { bucket: bucket(), prefix: prefix.to_owned(), versions: Versions::Current }
}

async fn all(mut input: Input) -> Result<(Vec<InputRow>, InputTotal), JobError> {
    let mut rows = Vec::new();
    while let Some(row) = input.next().await? {
        rows.push(row);
    }
    let total = input.total();
    Ok((rows, total))
}

fn key(row: &InputRow) -> String {
    match row {
        InputRow::Object(row) | InputRow::DeleteMarker(row) => row.object_key.to_string(),
        InputRow::Invalid(row) => format!("invalid: {}", row.problem),
    }
}

/// The keys of each shard.
async fn shards(
    resources: &Resources,
    settings: &InputSettings,
    count: u32,
    place: Option<&Place>,
) -> Vec<Vec<String>> {
    let mut shards = Vec::new();
    for index in 0..count {
        let shard = Shard::parse(index, count).unwrap();
        let input = Input::open(settings, resources, shard, place).await.unwrap();
        shards.push(all(input).await.unwrap().0.iter().map(key).collect());
    }
    shards
}

fn has_each_once(shards: &[Vec<String>], expected: &BTreeSet<String>) {
    let mut count: BTreeMap<_, u32> = BTreeMap::new();
    shards.iter().flatten().for_each(|key| *count.entry(key.clone()).or_default() += 1);
    assert!(count.values().all(|times| *times == 1), "a key is of two shards");
    assert_eq!(&count.into_keys().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn shards_divide_a_listing() {
    let flat = (0..2_500).map(|number| format!("img-{number:09}"));
    let folders = (0..1_500).map(|number| format!("logs/2026/{:02}/{number}", number % 12));
    let odd = ["a b+c%", "é/ü", "🦀", "~", "logs/2026/", "x/y/z/only"].map(str::to_owned);
    let keys: BTreeSet<_> = flat.chain(folders).chain(odd).collect();
    let (resources, _folder) = stored(keys.iter().cloned()).await;
    for (prefix, count) in [("", 4), ("", 16), ("img-", 3), ("logs/2026/", 5), ("x/", 3), ("none/", 3)] {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Directory(folder.path().to_owned());
        let expected: BTreeSet<_> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let shards = shards(&resources, &listing(prefix), count, Some(&place)).await;
        has_each_once(&shards, &expected);
        let most = shards.iter().map(Vec::len).max().unwrap();
        if expected.len() > 1_000 {
            assert!(most < expected.len() * 3 / 4, "{prefix} in {count}: {most} of {}", expected.len());
        }
    }
    let whole = all(Input::open(&listing(""), &resources, Shard::WHOLE, None).await.unwrap()).await.unwrap();
    assert_eq!(whole.0.iter().map(key).collect::<Vec<_>>(), Vec::from_iter(keys));
}

#[tokio::test]
async fn what_is_stored_meanwhile_moves_no_key_to_another_shard() {
    let keys: BTreeSet<_> = (0..1_500).map(|number| format!("k{number:05}")).collect();
    let (resources, _folder) = stored(keys.iter().cloned()).await;
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Directory(folder.path().to_owned());
    let first = shards(&resources, &listing(""), 3, Some(&place)).await;
    let more: BTreeSet<_> = (0..1_500).map(|number| format!("a/{number:05}")).collect();
    for key in &more {
        put(&resources, key, "x").await;
    }
    let second = shards(&resources, &listing(""), 3, Some(&place)).await;
    has_each_once(&second, &keys.union(&more).cloned().collect());
    for (before, after) in first.iter().zip(&second) {
        assert!(before.iter().all(|key| after.contains(key)));
    }
}

#[tokio::test]
async fn shards_of_a_listing_require_a_place_that_they_share() {
    let (resources, folder) = stored(std::iter::empty()).await;
    let shard = Shard::parse(0, 2).unwrap();
    let refused = Input::open(&listing(""), &resources, shard, None).await.err().unwrap();
    assert!(matches!(&refused, JobError::Invalid(text) if text.contains("--report")), "{refused}");
    let place = Place::Directory(folder.path().join("report"));
    assert!(Input::open(&listing("p"), &resources, shard, Some(&place)).await.is_ok());
    let refused = Input::open(&listing("q"), &resources, shard, Some(&place)).await.err().unwrap();
    assert!(matches!(&refused, JobError::Invalid(text) if text.contains("s3://demo/p")), "{refused}");
}

fn file(folder: &Path, name: &str, content: &[u8]) -> Location {
    std::fs::write(folder.join(name), content).unwrap();
    Location::File(folder.join(name))
}

#[tokio::test]
async fn manifests_are_divided_by_key_and_counted_whole() {
    let (resources, folder) = stored(std::iter::empty()).await;
    let rows: String = (0..500).map(|number| format!("b,k%20{},v{}\n", number / 2, number % 2)).collect();
    let manifest = format!("bucket,key,versionid\n{rows}");
    let settings = InputSettings::BatchCsv(vec![file(folder.path(), "m.csv", manifest.as_bytes())]);
    let mut seen = BTreeMap::new();
    for index in 0..3 {
        let input = Input::open(&settings, &resources, Shard::parse(index, 3).unwrap(), None).await.unwrap();
        let (rows, total) = all(input).await.unwrap();
        assert_eq!(total, InputTotal { rows: Some(500), plan: None });
        for row in rows {
            let InputRow::Object(row) = row else { panic!("{row:?}") };
            seen.entry(row.object_key.to_string()).or_insert_with(Vec::new).push((index, row.version_id));
        }
    }
    assert_eq!(seen.len(), 250);
    // Both versions of a key are of one shard.
    assert!(seen.values().all(|rows| rows.len() == 2 && rows[0].0 == rows[1].0));
    assert!(seen.contains_key("k 249"));
}

#[tokio::test]
async fn a_bad_first_row_is_refused_and_a_later_one_is_an_invalid_row() {
    let (resources, folder) = stored(std::iter::empty()).await;
    let open = async |content: &[u8]| {
        let settings = InputSettings::BatchCsv(vec![file(folder.path(), "m.csv", content)]);
        Input::open(&settings, &resources, Shard::WHOLE, None).await
    };
    for (first, said) in [
        ("b\n", "m.csv:1: column 2: the key is missing"),
        ("b,k,v,w\n", "m.csv:1: column 4"),
        ("not a bucket,k\n", "m.csv:1: column 1"),
        ("bucket,key\nb,%zz\n", "m.csv:2: column 2: the key \"%zz\" is not URL-encoded"),
    ] {
        let refused = open(first.as_bytes()).await.err().unwrap().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    let (rows, total) = all(open(b"b,k\nb,%zz\n\nb,\xff\nb,l\n").await.unwrap()).await.unwrap();
    assert_eq!((rows.len(), total.rows), (4, Some(4)));
    assert!(key(&rows[1]).contains("m.csv:2: column 2") && key(&rows[2]).contains("m.csv:4: column 1"));
    assert_eq!((key(&rows[0]), key(&rows[3])), ("k".to_owned(), "l".to_owned()));
    assert!(all(open(b"").await.unwrap()).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn lines_are_keys_as_they_are() {
    let (resources, folder) = stored(std::iter::empty()).await;
    let lines = file(folder.path(), "keys.txt", b"a,b %41\ns3://other/c/d\n");
    let settings = |bucket| InputSettings::Lines { file: lines.clone(), bucket };
    let open = async |bucket| Input::open(&settings(bucket), &resources, Shard::WHOLE, None).await;
    let (rows, _) = all(open(Some(bucket())).await.unwrap()).await.unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| match row {
            InputRow::Object(row) => format!("{}|{}", row.bucket, row.object_key),
            InputRow::DeleteMarker(_) | InputRow::Invalid(_) => panic!("{row:?}"),
        })
        .collect();
    assert_eq!(names, ["demo|a,b %41", "other|c/d"]);
    let refused = open(None).await.err().unwrap().to_string();
    assert!(refused.contains("keys.txt:1: column 1") && refused.contains("--bucket"), "{refused}");
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn manifest(files: &[(&str, &[u8])]) -> String {
    use md5::Digest;
    let files: Vec<_> = files
        .iter()
        .map(|(key, content)| {
            let md5 = crate::wire::hex::encode(&md5::Md5::digest(content));
            format!(r#"{{"key":"{key}","size":{},"MD5checksum":"{md5}"}}"#, content.len())
        })
        .collect();
    let schema =
        "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass";
    format!(r#"{{"fileFormat":"CSV","fileSchema":"{schema}","files":[{}]}}"#, files.join(","))
}

const ROWS: &str = "\"b\",\"a+b%2Fc\",\"v1\",\"true\",\"false\",\"7\",\"2026-01-31T12:00:00.000Z\",\"e\",\"GLACIER\"\n\
                    \"b\",\"d\",\"v2\",\"true\",\"true\",\"\",\"2026-01-31T12:00:00.000Z\",\"\",\"\"\n";
const MORE: &str = "\"b\",\"e\",\"v3\",\"false\",\"false\",\"9\",\"2026-01-31T12:00:00.000Z\",\"e\",\"STANDARD\"\n\
                    \"b\",\"f\",\"v3\",\"false\",\"false\",\"many\",\"2026-01-31T12:00:00.000Z\",\"e\",\"STANDARD\"\n";

#[tokio::test]
async fn an_inventory_is_read_from_a_bucket_and_from_files() {
    let (resources, folder) = stored(std::iter::empty()).await;
    let (one, two) = (gzipped(ROWS), gzipped(MORE));
    let document = manifest(&[("inv/data/1.csv.gz", &one), ("inv/data/2.csv.gz", &two)]);
    let upload = async |name: &str, content: &[u8]| {
        let key = ObjectKey::parse(name).unwrap();
        let content = ("text/plain", bytes::Bytes::copy_from_slice(content));
        storage::put(&resources.upstreams, &bucket(), &key, content, Existing::Replaced).await.unwrap();
        key
    };
    upload("inv/data/1.csv.gz", &one).await;
    upload("inv/data/2.csv.gz", &two).await;
    let key_of_manifest = upload("inv/2026/manifest.json", document.as_bytes()).await;
    std::fs::create_dir(folder.path().join("data")).unwrap();
    file(folder.path(), "1.csv.gz", &one);
    file(folder.path(), "data/2.csv.gz", &two);
    let local = file(folder.path(), "manifest.json", document.as_bytes());
    for location in [Location::Object(bucket(), key_of_manifest), local] {
        let settings = InputSettings::Inventory(location);
        let input = Input::open(&settings, &resources, Shard::WHOLE, None).await.unwrap();
        assert!(input.has_sizes() && input.has_times());
        let (rows, total) = all(input).await.unwrap();
        assert_eq!((rows.len(), total.rows), (4, Some(4)));
        let InputRow::Object(row) = &rows[0] else { panic!("{:?}", rows[0]) };
        let listed = row.listed.as_ref().unwrap();
        assert_eq!((row.object_key.as_str(), row.version_id.as_deref()), ("a b/c", Some("v1")));
        assert_eq!((listed.size, listed.is_latest), (7, true));
        assert_eq!(listed.storage_class.as_deref(), Some("GLACIER"));
        assert!(matches!(rows[1], InputRow::DeleteMarker(_)));
        let InputRow::Object(row) = &rows[2] else { panic!("{:?}", rows[2]) };
        let listed = row.listed.as_ref().unwrap();
        assert_eq!((listed.is_latest, listed.storage_class.as_deref()), (false, None));
        assert!(key(&rows[3]).contains(":2: column 6 (Size)"), "{}", key(&rows[3]));
    }
    // Another file than the manifest names.
    file(folder.path(), "1.csv.gz", &gzipped(MORE));
    let settings = InputSettings::Inventory(Location::File(folder.path().join("manifest.json")));
    // A small file is read whole when it is opened.
    let outcome = match Input::open(&settings, &resources, Shard::WHOLE, None).await {
        Ok(input) => all(input).await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(JobError::NotAuthentic(_))));
    std::fs::remove_file(folder.path().join("1.csv.gz")).unwrap();
    let missing = Input::open(&settings, &resources, Shard::WHOLE, None).await.err().unwrap().to_string();
    assert!(missing.contains("missing file of the inventory"), "{missing}");
}

#[tokio::test]
async fn a_manifest_that_was_written_through_the_proxy_is_opened() {
    let (storage, resources, _folder) = crate::test_support::Storage::serve().await;
    let kept = crate::test_support::put(&resources, "m.csv", b"b,k1\nb,k2\n", "e").await;
    storage.keep("m.csv", kept);
    let bucket = BucketName::parse("b").unwrap();
    let location = Location::Object(bucket, ObjectKey::parse("m.csv").unwrap());
    let bytes = location.open(&resources.upload).await.unwrap();
    assert_eq!(bytes.read_all(MAX_PAGE_DOCUMENT).await.unwrap(), b"b,k1\nb,k2\n");
}
