//! The response to ListBuckets: without the buckets that a client may not see, and of several storages.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>

use super::XmlError;
use super::reader::{Element, Limits, Step, XmlReader, read};

/// The maximum bytes of a page of buckets: 10,000 (S3's page) of less than 1 KiB each.
pub const MAX_BUCKETS_DOCUMENT: usize = 16 << 20;
/// 10,000 buckets of up to 10 elements.
const LIMITS: Limits = Limits { bytes: MAX_BUCKETS_DOCUMENT, elements: 110_000 };

/// A bucket as the storage lists it.
#[derive(Debug)]
pub struct ListedBucket {
    /// Its name.
    pub name: String,
    /// Its region, if the storage names it.
    pub region: Option<String>,
    element: Element,
}

impl ListedBucket {
    /// The bucket under the name that clients use. An ARN, which has the stored name, is left out.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        if self.name != name {
            self.element.set("Name", name);
            self.element.remove(&["BucketArn"]);
            self.name = name.to_owned();
        }
        self
    }
}

/// The owner of buckets.
#[derive(Debug)]
pub struct BucketOwner(Element);

/// A page of buckets.
#[derive(Debug)]
pub struct BucketPage {
    /// The buckets.
    pub buckets: Vec<ListedBucket>,
    /// Their owner.
    pub owner: Option<BucketOwner>,
    /// The token to go on with, if there is more.
    pub next: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document, or a bucket without a name.
pub fn parse_buckets(document: &[u8]) -> Result<BucketPage, XmlError> {
    let root = read(document, LIMITS)?;
    if root.name != "ListAllMyBucketsResult" {
        return Err(XmlError::Unexpected);
    }
    let mut page = BucketPage { buckets: Vec::new(), owner: None, next: None };
    for child in root.children {
        match child.name.as_str() {
            "Buckets" => {
                for element in child.children.into_iter().filter(|element| element.name == "Bucket") {
                    let name = element.text_of("Name").ok_or(XmlError::Unexpected)?.to_owned();
                    let region = element.text_of("BucketRegion").map(str::to_owned);
                    page.buckets.push(ListedBucket { name, region, element });
                }
            }
            "Owner" => page.owner = Some(BucketOwner(child)),
            "ContinuationToken" => page.next = Some(child.text).filter(|token| !token.is_empty()),
            _ => (),
        }
    }
    Ok(page)
}

/// Writes a page: `next` is the token to go on with, `prefix` the one that was requested.
#[must_use]
pub fn write_buckets(
    owner: Option<BucketOwner>,
    buckets: impl IntoIterator<Item = ListedBucket>,
    next: Option<&str>,
    prefix: Option<&str>,
) -> String {
    let buckets = buckets.into_iter().map(|bucket| bucket.element).collect();
    let mut children = Vec::from_iter(owner.map(|BucketOwner(owner)| owner));
    children.push(Element::with_children("Buckets", buckets));
    children.extend(next.map(|next| Element::with_text("ContinuationToken", next)));
    children.extend(prefix.map(|prefix| Element::with_text("Prefix", prefix)));
    Element::with_children("ListAllMyBucketsResult", children).to_document()
}

/// Removes the `<Bucket>` elements whose Name `keep` refuses; every other byte stays as it is.
///
/// # Errors
/// Any [`XmlError`], also for a bucket without exactly one name: what cannot be judged is not shown.
pub fn retain_buckets(xml: &[u8], keep: impl Fn(&str) -> bool) -> Result<Vec<u8>, XmlError> {
    let mut reader = XmlReader::new(xml)?;
    let mut kept = Vec::with_capacity(xml.len());
    let mut copied = 0;
    let (mut start, mut bucket_name) = (0, None);
    loop {
        let before = reader.position();
        match reader.step()? {
            Step::Open => match place(reader.path())? {
                Place::Bucket => (start, bucket_name) = (before, None),
                Place::Name if bucket_name.is_none() => bucket_name = Some(String::new()),
                Place::Name => return Err(XmlError::Unexpected),
                Place::Buckets | Place::Elsewhere => (),
            },
            Step::Text(text) => {
                if let (Place::Name, Some(name)) = (place(reader.path())?, &mut bucket_name) {
                    name.push_str(&text);
                }
            }
            Step::Close if place(reader.path())? == Place::Buckets => {
                // A child of Buckets has closed; only a Bucket left a name.
                let name = bucket_name.take().ok_or(XmlError::Unexpected)?;
                if !keep(&name) {
                    kept.extend_from_slice(&xml[copied..start]);
                    copied = reader.position();
                }
            }
            Step::Close => (),
            Step::End => {
                kept.extend_from_slice(&xml[copied..]);
                return Ok(kept);
            }
        }
    }
}

/// Where in a listing the reader is.
#[derive(PartialEq, Eq)]
enum Place {
    /// In `<Buckets>` itself.
    Buckets,
    /// In a `<Bucket>` itself.
    Bucket,
    /// In the `<Name>` of a bucket.
    Name,
    Elsewhere,
}

fn place(path: &[String]) -> Result<Place, XmlError> {
    let Some((root, below)) = path.split_first() else { return Ok(Place::Elsewhere) };
    if !["ListAllMyBucketsResult", "ListAllMyDirectoryBucketsResult"].contains(&root.as_str()) {
        return Err(XmlError::Unexpected);
    }
    Ok(match below {
        [buckets] if buckets == "Buckets" => Place::Buckets,
        [buckets, bucket] if buckets == "Buckets" && bucket == "Bucket" => Place::Bucket,
        [buckets, bucket, name] if buckets == "Buckets" && bucket == "Bucket" && name == "Name" => {
            Place::Name
        }
        _ => Place::Elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Owner><ID>1</ID><Name>not-a-bucket</Name></Owner><Buckets>\n  \
        <Bucket><Name>logs-1</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>\n  \
        <Bucket><CreationDate>x</CreationDate><Name>se<!-- c -->cret</Name></Bucket>\n  \
        <Bucket><Name>logs&#45;2</Name><New a='b'><Deep/></New></Bucket></Buckets><Prefix>&amp;</Prefix></ListAllMyBucketsResult>\n";

    #[test]
    fn keeps_every_other_byte() {
        let all = retain_buckets(LISTING.as_bytes(), |_| true).unwrap();
        assert_eq!(String::from_utf8(all).unwrap(), LISTING);

        let logs = retain_buckets(LISTING.as_bytes(), |name| name.starts_with("logs-")).unwrap();
        let gone = "<Bucket><CreationDate>x</CreationDate><Name>se<!-- c -->cret</Name></Bucket>";
        assert_eq!(String::from_utf8(logs).unwrap(), LISTING.replace(gone, ""));

        let none = String::from_utf8(retain_buckets(LISTING.as_bytes(), |_| false).unwrap()).unwrap();
        assert!(none.contains("<Buckets>\n  \n  \n  </Buckets>") && none.contains("not-a-bucket"), "{none}");
    }

    #[test]
    fn a_byte_order_mark_shifts_nothing() {
        let marked = format!("\u{feff}{LISTING}");
        let kept =
            String::from_utf8(retain_buckets(marked.as_bytes(), |name| name == "secret").unwrap()).unwrap();
        assert!(
            kept.starts_with("\u{feff}<?xml") && kept.contains("<Buckets>\n  \n  <Bucket><CreationDate>x<")
        );
    }

    #[test]
    fn a_page_is_read_and_written() {
        let page = "<ListAllMyBucketsResult><Buckets><Bucket><BucketArn>arn:aws:s3:::x-a</BucketArn>\
                    <BucketRegion>eu-west-1</BucketRegion><Name>x-a</Name></Bucket><Bucket><Name>b</Name></Bucket></Buckets>\
                    <Owner><ID>1</ID></Owner><ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>";
        let BucketPage { buckets, owner, next } = parse_buckets(page.as_bytes()).unwrap();
        assert_eq!(next.as_deref(), Some("t"));
        assert_eq!(buckets[0].region.as_deref(), Some("eu-west-1"));
        let buckets = buckets.into_iter().map(|bucket| {
            let name = bucket.name.trim_start_matches("x-").to_owned();
            bucket.renamed(&name)
        });
        let written = write_buckets(owner, buckets, Some("u"), Some("p"));
        assert!(
            written.ends_with(
                "<Owner><ID>1</ID></Owner><Buckets><Bucket><BucketRegion>eu-west-1</BucketRegion><Name>a</Name></Bucket>\
                 <Bucket><Name>b</Name></Bucket></Buckets><ContinuationToken>u</ContinuationToken><Prefix>p</Prefix>\
                 </ListAllMyBucketsResult>"
            ),
            "{written}"
        );
        let empty = "<ListAllMyBucketsResult><ContinuationToken/></ListAllMyBucketsResult>";
        assert_eq!(parse_buckets(empty.as_bytes()).unwrap().next, None);
        for bad in
            ["<Error/>", "<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>"]
        {
            assert_eq!(parse_buckets(bad.as_bytes()).unwrap_err(), XmlError::Unexpected, "{bad}");
        }
    }

    #[test]
    fn empty_listings() {
        for listing in [
            "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
            "<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>",
            "<ListAllMyBucketsResult/>",
            "<ListAllMyDirectoryBucketsResult><Buckets/></ListAllMyDirectoryBucketsResult>",
        ] {
            assert_eq!(retain_buckets(listing.as_bytes(), |_| false).unwrap(), listing.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_judged_is_not_shown() {
        for (bad, error) in [
            ("<Error><Code>AccessDenied</Code></Error>", XmlError::Unexpected),
            (
                "<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>",
                XmlError::Unexpected,
            ),
            (
                "<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>",
                XmlError::Unexpected,
            ),
            (
                "<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name></Bucket><Other/></Buckets></ListAllMyBucketsResult>",
                XmlError::Unexpected,
            ),
            ("<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name></Bucket>", XmlError::Malformed),
            ("", XmlError::Malformed),
            ("<html><body>down for maintenance</body></html>", XmlError::Unexpected),
        ] {
            assert_eq!(retain_buckets(bad.as_bytes(), |_| true), Err(error), "{bad}");
        }
    }
}
