//! The AWS SDK for Rust as one of the clients of `scripts/matrix`: `rust_sdk store` uploads the files of
//! $SOURCE to $BUCKET at $ENDPOINT, those of more than 5 MiB in parts, and `rust_sdk restore` downloads every
//! object of the bucket to $RESTORED. It knows S3 alone, and ends with the SDK's error when a request fails.
#![expect(clippy::disallowed_methods, reason = "a client of scripts/matrix, which sets its environment")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PART: usize = 5 << 20;

#[tokio::main]
async fn main() -> Outcome {
    let bucket = env::var("BUCKET")?;
    match env::args().nth(1).as_deref() {
        Some("store") => store(&client()?, &bucket, Path::new(&env::var("SOURCE")?)).await,
        Some("restore") => restore(&client()?, &bucket, Path::new(&env::var("RESTORED")?)).await,
        _ => Err("usage: rust_sdk store|restore".into()),
    }
}

fn client() -> Outcome<Client> {
    let credentials = Credentials::new(
        env::var("AWS_ACCESS_KEY_ID")?,
        env::var("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "matrix",
    );
    let configuration = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(env::var("AWS_REGION")?))
        .endpoint_url(env::var("ENDPOINT")?)
        .credentials_provider(credentials)
        .force_path_style(true)
        .build();
    Ok(Client::from_conf(configuration))
}

/// The files under `folder`, in no order.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

async fn store(client: &Client, bucket: &str, source: &Path) -> Outcome {
    for path in files(source)? {
        let key = path.strip_prefix(source)?.to_str().ok_or("a name is not UTF-8")?;
        let content = fs::read(&path)?;
        if content.len() > PART {
            store_parts(client, bucket, key, &content).await?;
        } else {
            client
                .put_object()
                .bucket(bucket)
                .key(key)
                .body(ByteStream::from_path(&path).await?)
                .send()
                .await?;
        }
    }
    Ok(())
}

async fn store_parts(client: &Client, bucket: &str, key: &str, content: &[u8]) -> Outcome {
    let created = client.create_multipart_upload().bucket(bucket).key(key).send().await?;
    let id = created.upload_id().ok_or("no upload id")?;
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(content.chunks(PART)) {
        let part = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
        let sent = part.body(ByteStream::from(piece.to_vec())).send().await?;
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
    complete.multipart_upload(parts).send().await?;
    Ok(())
}

async fn restore(client: &Client, bucket: &str, restored: &Path) -> Outcome {
    for object in client.list_objects_v2().bucket(bucket).send().await?.contents() {
        let key = object.key().ok_or("no key")?;
        let path = restored.join(key);
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        let response = client.get_object().bucket(bucket).key(key).send().await?;
        fs::write(path, response.body.collect().await?.to_vec())?;
    }
    Ok(())
}
