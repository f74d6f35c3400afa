//! The rows of a Parquet file of an S3 Inventory.
//! It must not know what a column is for.
//! It promises that no row is given out before the file was read to its end, and that few rows are held.

use std::fs::File;
use std::sync::Arc;
use std::vec::IntoIter;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::{Bytestream, Record};
use crate::job::error::JobError;

/// The columns that jobs know; all others are not read.
const COLUMNS: [&str; 9] = [
    "bucket",
    "key",
    "version_id",
    "is_latest",
    "is_delete_marker",
    "size",
    "last_modified_date",
    "e_tag",
    "storage_class",
];

/// Rows that are read and given out together.
const ROWS: usize = 256;

/// How many times [`ROWS`] are read ahead.
const AHEAD: usize = 2;

/// The columns that a manifest's `fileSchema` names and jobs know:
/// `message m { required binary bucket (UTF8); ... }`.
pub(super) fn columns(schema: &str) -> Vec<String> {
    let (_, body) = schema.split_once('{').unwrap_or(("", ""));
    let statements = body.split([';', '}']);
    let names = statements.filter_map(|statement| statement.split_whitespace().nth(2));
    names.filter(|name| COLUMNS.contains(name)).map(str::to_owned).collect()
}

/// The rows of one file. A thread of its own reads them ahead.
pub(super) struct ParquetRecords {
    name: String,
    /// Ends with an empty piece.
    pieces: mpsc::Receiver<Result<Vec<Record>, ParquetError>>,
    piece: IntoIter<Record>,
    is_done: bool,
}

impl ParquetRecords {
    /// Reads all bytes into a temporary file without a name, since Parquet is read from its end. Records have
    /// a field for each of these columns, empty for null.
    pub(super) async fn open(bytes: Bytestream, columns: &[String]) -> Result<Self, JobError> {
        let name = bytes.name().to_owned();
        let file = copied(bytes).await?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let columns = columns.to_vec();
        tokio::task::spawn_blocking(move || {
            let read = read(file, &columns, |piece| sender.blocking_send(Ok(piece)).is_ok());
            // The receiver is gone when the job ends early.
            drop(sender.blocking_send(read.map(|()| Vec::new())));
        });
        Ok(Self { name, pieces, piece: Vec::new().into_iter(), is_done: false })
    }

    /// What errors call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next record, its line being the number of the row; `None` after the last.
    ///
    /// # Errors
    /// [`JobError::NotAuthentic`] for a file that is not Parquet, or is damaged.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, JobError> {
        loop {
            if let Some(record) = self.piece.next() {
                return Ok(Some(record));
            }
            if self.is_done {
                return Ok(None);
            }
            let damaged = |problem: &str| {
                let name = &self.name;
                JobError::NotAuthentic(format!("{name} is damaged, or no Parquet of S3 Inventory: {problem}"))
            };
            match self.pieces.recv().await {
                Some(Ok(piece)) => {
                    self.is_done = piece.is_empty();
                    self.piece = piece.into_iter();
                }
                Some(Err(error)) => return Err(damaged(&error.to_string())),
                None => return Err(damaged("reading it failed")),
            }
        }
    }
}

/// A temporary file with these bytes, which is gone when it is closed.
async fn copied(mut bytes: Bytestream) -> Result<File, JobError> {
    let path = std::env::temp_dir().join(format!("s3veil-inventory-{}", uuid::Uuid::new_v4()));
    let failed = || JobError::io(format!("writing {}", path.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut file = options.open(&path).await.map_err(failed())?;
    tokio::fs::remove_file(&path).await.map_err(failed())?;
    while let Some(piece) = bytes.next().await? {
        file.write_all(&piece).await.map_err(failed())?;
    }
    file.flush().await.map_err(failed())?;
    Ok(file.into_std().await)
}

/// Gives out the rows of a file, until `give` returns false.
fn read(file: File, columns: &[String], give: impl Fn(Vec<Record>) -> bool) -> Result<(), ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let root = schema.root_schema();
    let fields = root.get_fields().iter().filter(|field| columns.iter().any(|name| name == field.name()));
    let fields: Vec<_> = fields.map(Arc::clone).collect();
    if let Some(missing) = columns.iter().find(|name| !fields.iter().any(|field| field.name() == **name)) {
        return Err(ParquetError::General(format!("missing column {missing}, which the manifest names")));
    }
    let wanted = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let mut piece = Vec::with_capacity(ROWS);
    let rows = RowIter::from_file_into(Box::new(reader)).project(Some(wanted))?;
    for (number, row) in rows.enumerate() {
        let line = u64::try_from(number).map_or(u64::MAX, |number| number + 1);
        piece.push(Record { line, fields: record(&row?, columns) });
        if piece.len() == ROWS && !give(std::mem::replace(&mut piece, Vec::with_capacity(ROWS))) {
            return Ok(());
        }
    }
    if !piece.is_empty() {
        give(piece);
    }
    Ok(())
}

/// The fields of a row, in the order of these columns.
fn record(row: &Row, columns: &[String]) -> Result<Vec<String>, &'static str> {
    let mut fields = vec![String::new(); columns.len()];
    for (name, field) in row.get_column_iter() {
        if let Some(place) = columns.iter().position(|column| column == name)
            && let Some(text) = fields.get_mut(place)
        {
            *text = shown(field)?;
        }
    }
    Ok(fields)
}

/// A field as CSV has it.
fn shown(field: &Field) -> Result<String, &'static str> {
    let time = |nanoseconds: i128| {
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
        time.and_then(|time| time.format(&Rfc3339).ok()).ok_or("a time is out of range")
    };
    match field {
        Field::Null => Ok(String::new()),
        Field::Bool(value) => Ok(value.to_string()),
        Field::Int(value) => Ok(value.to_string()),
        Field::Long(value) => Ok(value.to_string()),
        Field::UInt(value) => Ok(value.to_string()),
        Field::ULong(value) => Ok(value.to_string()),
        Field::Str(text) => Ok(text.clone()),
        Field::Bytes(bytes) => {
            std::str::from_utf8(bytes.data()).map(str::to_owned).map_err(|_| "a text is not UTF-8")
        }
        Field::TimestampMillis(milliseconds) => time(i128::from(*milliseconds) * 1_000_000),
        Field::TimestampMicros(microseconds) => time(i128::from(*microseconds) * 1_000),
        Field::Byte(_)
        | Field::Short(_)
        | Field::UByte(_)
        | Field::UShort(_)
        | Field::Float16(_)
        | Field::Float(_)
        | Field::Double(_)
        | Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::Group(_)
        | Field::ListInternal(_)
        | Field::MapInternal(_) => Err("a column has a type that inventories do not have"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ::parquet::basic::Compression;
    use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// As AWS documents it.
    const SCHEMA: &str = "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8);
        optional binary version_id (UTF8); optional boolean is_latest; optional int64 size;
        optional int64 last_modified_date (TIMESTAMP_MILLIS); optional binary encryption_status (UTF8); }";

    /// Writes a file with this number of rows, in row groups of 1,000.
    fn write(path: &Path, rows: usize) {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for first in (0..rows).step_by(1_000) {
            let numbers: Vec<_> = (first..rows.min(first + 1_000)).collect();
            let present = vec![1_i16; numbers.len()];
            let texts = |text: &dyn Fn(&usize) -> String| -> Vec<ByteArray> {
                numbers.iter().map(|number| ByteArray::from(text(number).as_str())).collect()
            };
            let mut group = writer.next_row_group().unwrap();
            let mut place = 0;
            while let Some(mut column) = group.next_column().unwrap() {
                match place {
                    0 => {
                        _ = column.typed::<ByteArrayType>().write_batch(
                            &texts(&|_| "b".to_owned()),
                            None,
                            None,
                        )
                    }
                    1 => {
                        let keys = texts(&|number| format!("a b%20/{number}"));
                        _ = column.typed::<ByteArrayType>().write_batch(&keys, None, None);
                    }
                    // Null in every row.
                    2 | 6 => {
                        let nulls = vec![0_i16; numbers.len()];
                        _ = column.typed::<ByteArrayType>().write_batch(&[], Some(&nulls), None);
                    }
                    3 => {
                        let all = vec![true; numbers.len()];
                        _ = column.typed::<BoolType>().write_batch(&all, Some(&present), None);
                    }
                    _ => {
                        let values: Vec<_> = numbers.iter().map(|number| *number as i64).collect();
                        _ = column.typed::<Int64Type>().write_batch(&values, Some(&present), None);
                    }
                }
                column.close().unwrap();
                place += 1;
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    async fn opened(path: &Path, columns: &[String]) -> Result<ParquetRecords, JobError> {
        ParquetRecords::open(Bytestream::open_file(path).await.unwrap(), columns).await
    }

    #[tokio::test]
    async fn every_row_is_read_once_and_other_columns_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.parquet");
        write(&path, 2_500);
        let columns = columns(SCHEMA);
        assert_eq!(columns, ["bucket", "key", "version_id", "is_latest", "size", "last_modified_date"]);
        let mut records = opened(&path, &columns).await.unwrap();
        for number in 0..2_500 {
            let record = records.next().await.unwrap().unwrap();
            let milliseconds = number % 1_000;
            let time = match milliseconds {
                0 => format!("1970-01-01T00:00:0{}Z", number / 1_000),
                _ => {
                    format!("1970-01-01T00:00:0{}.{milliseconds:03}", number / 1_000)
                        .trim_end_matches('0')
                        .to_owned()
                        + "Z"
                }
            };
            let fields = ["b", &format!("a b%20/{number}"), "", "true", &number.to_string(), &time];
            assert_eq!(
                (record.line, record.fields.unwrap()),
                (number + 1, fields.map(str::to_owned).to_vec())
            );
        }
        assert!(records.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_none_or_lacks_a_column_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.parquet");
        std::fs::write(&path, "bucket,key\n").unwrap();
        let refused = opened(&path, &columns(SCHEMA)).await.unwrap().next().await.unwrap_err();
        assert!(matches!(&refused, JobError::NotAuthentic(text) if text.contains("1.parquet")), "{refused}");
        write(&path, 10);
        let more = ["bucket".to_owned(), "key".to_owned(), "e_tag".to_owned()];
        let refused = opened(&path, &more).await.unwrap().next().await.unwrap_err();
        assert!(refused.to_string().contains("missing column e_tag"), "{refused}");
    }
}
