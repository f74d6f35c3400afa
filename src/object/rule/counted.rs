//! Counters of the objects that were opened and sealed, by format, for the metrics.
//! They must not know how a format is read or written.
//! They promise one handle for each format, found without a search.

use metrics::Counter;

use super::formats::{ReadFormat, WriteFormat};
use crate::metric::MetricHandle;

type Handle = MetricHandle<Counter>;

static OPENED_NATIVE: Handle = Handle::new(|| opened(ReadFormat::Native));
static OPENED_CBC: Handle = Handle::new(|| opened(ReadFormat::Cbc));
static OPENED_S3EC: Handle = Handle::new(|| opened(ReadFormat::S3ec));
static OPENED_PLAINTEXT: Handle = Handle::new(|| opened(ReadFormat::Plaintext));
static SEALED_NATIVE: Handle = Handle::new(|| sealed(WriteFormat::Native));
static SEALED_CBC: Handle = Handle::new(|| sealed(WriteFormat::Cbc));
static SEALED_S3EC_V2: Handle = Handle::new(|| sealed(WriteFormat::S3ecV2));
static SEALED_S3EC_V3: Handle = Handle::new(|| sealed(WriteFormat::S3ecV3));
static STORED_PLAINTEXT: Handle = Handle::new(|| sealed(WriteFormat::Plaintext));

fn opened(format: ReadFormat) -> Counter {
    metrics::counter!("s3veil_objects_opened_total", "format" => format.name())
}

fn sealed(format: WriteFormat) -> Counter {
    metrics::counter!("s3veil_objects_sealed_total", "format" => format.name())
}

/// Counts an object whose content was released to a reader.
pub(crate) fn count_opened(format: ReadFormat) {
    let handle = match format {
        ReadFormat::Native => &OPENED_NATIVE,
        ReadFormat::Cbc => &OPENED_CBC,
        ReadFormat::S3ec => &OPENED_S3EC,
        ReadFormat::Plaintext => &OPENED_PLAINTEXT,
    };
    handle.with(|counter| counter.increment(1));
}

/// Counts an object that was stored: by one PUT, or by the completion of an upload in parts.
pub(crate) fn count_sealed(format: WriteFormat) {
    let handle = match format {
        WriteFormat::Native => &SEALED_NATIVE,
        WriteFormat::Cbc => &SEALED_CBC,
        WriteFormat::S3ecV2 => &SEALED_S3EC_V2,
        WriteFormat::S3ecV3 => &SEALED_S3EC_V3,
        WriteFormat::Plaintext => &STORED_PLAINTEXT,
    };
    handle.with(|counter| counter.increment(1));
}

/// Makes every counter exist, with the value 0.
pub fn register() {
    for format in ReadFormat::ALL {
        opened(format).increment(0);
    }
    for format in WriteFormat::ALL {
        sealed(format).increment(0);
    }
}
