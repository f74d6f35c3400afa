//! Times as S3 writes them.

use time::OffsetDateTime;
use time::macros::format_description;

/// A time as S3 writes it in XML.
pub fn iso_time(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    time.format(&format).expect("a time has all that the format names")
}
