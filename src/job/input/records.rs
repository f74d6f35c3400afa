//! The records of a CSV file (RFC 4180), and the lines of a text file, as they arrive.
//! It must not know what the fields mean.
//! It promises that each record comes with its line, and that no record is dropped: one that is too long, or
//! not UTF-8, is given out as invalid.

use csv_core::{ReadRecordResult, Reader};

use super::bytestream::Bytestream;
use crate::job::error::JobError;

/// The maximum bytes of a record: a key of 1,024 bytes has 3,072 in a URL; the rest is for the other fields.
const MAX_RECORD: usize = 64 * 1024;

/// The maximum number of fields of a record.
const MAX_FIELDS: usize = 128;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::job) struct Record {
    /// The line at which it begins, from 1.
    pub(in crate::job) line: u64,
    /// The fields; or what is wrong with the record.
    pub(in crate::job) fields: Result<Vec<String>, &'static str>,
}

/// How a file is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::job) enum Form {
    /// Into records of fields. Blank lines are no records.
    Csv,
    /// Into lines of one field. Blank lines are no records.
    Lines,
}

/// Reads the records of one file.
pub(in crate::job) struct Records {
    bytes: Bytestream,
    form: Form,
    reader: Reader,
    chunk: Vec<u8>,
    /// How many bytes of the chunk were read.
    at: usize,
    is_first: bool,
    is_ended: bool,
    line: u64,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(in crate::job) fn new(bytes: Bytestream, form: Form) -> Self {
        let (output, ends) = (vec![0; MAX_RECORD], vec![0; MAX_FIELDS]);
        Self {
            bytes,
            form,
            reader: Reader::new(),
            chunk: Vec::new(),
            at: 0,
            is_first: true,
            is_ended: false,
            line: 1,
            output,
            ends,
        }
    }

    /// What errors call the file.
    pub(in crate::job) fn name(&self) -> &str {
        self.bytes.name()
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(in crate::job) async fn next(&mut self) -> Result<Option<Record>, JobError> {
        if !self.skip_blank_lines().await? {
            return Ok(None);
        }
        let line = self.line;
        let fields = match self.form {
            Form::Csv => self.record().await?,
            Form::Lines => self.text_line().await?,
        };
        Ok(Some(Record { line, fields }))
    }

    /// Reads more bytes when all were read; false at the end.
    async fn fill(&mut self) -> Result<bool, JobError> {
        if self.at < self.chunk.len() {
            return Ok(true);
        }
        (self.chunk, self.at) = (Vec::new(), 0);
        match self.bytes.next().await? {
            Some(chunk) => self.chunk = chunk,
            None => {
                self.is_ended = true;
                return Ok(false);
            }
        }
        if std::mem::take(&mut self.is_first) && self.chunk.starts_with(BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len();
        }
        Ok(true)
    }

    async fn skip_blank_lines(&mut self) -> Result<bool, JobError> {
        loop {
            if self.at == self.chunk.len() && !self.is_ended && !self.fill().await? {
                return Ok(false);
            }
            match self.chunk.get(self.at) {
                Some(b'\n') => self.line += 1,
                Some(b'\r') => (),
                Some(_) => return Ok(true),
                None if self.is_ended => return Ok(false),
                None => continue,
            }
            self.at += 1;
        }
    }

    async fn record(&mut self) -> Result<Result<Vec<String>, &'static str>, JobError> {
        let (mut written, mut ended, mut problem) = (0, 0, None);
        loop {
            let input = if self.fill().await? { &self.chunk[self.at..] } else { &[][..] };
            let (result, read, wrote, ends) =
                self.reader.read_record(input, &mut self.output[written..], &mut self.ends[ended..]);
            self.line += count_lines(&input[..read]);
            self.at += read;
            (written, ended) = (written + wrote, ended + ends);
            match result {
                ReadRecordResult::InputEmpty => (),
                // The rest of the record is read over what was kept of it.
                ReadRecordResult::OutputFull => {
                    problem = Some("the record is too long");
                    written = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    problem = Some("the record has too many fields");
                    ended = 0;
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        if let Some(problem) = problem {
            return Ok(Err(problem));
        }
        let text = match std::str::from_utf8(&self.output[..written]) {
            Ok(text) => text,
            Err(_) => return Ok(Err("the record is not UTF-8")),
        };
        let mut begin = 0;
        let mut fields = Vec::with_capacity(ended);
        for end in &self.ends[..ended] {
            let Some(field) = text.get(begin..*end) else { return Ok(Err("the record is not UTF-8")) };
            fields.push(field.to_owned());
            begin = *end;
        }
        Ok(Ok(fields))
    }

    async fn text_line(&mut self) -> Result<Result<Vec<String>, &'static str>, JobError> {
        let (mut line, mut is_too_long) = (Vec::new(), false);
        while self.fill().await? {
            let rest = &self.chunk[self.at..];
            let end = memchr::memchr(b'\n', rest);
            let text = &rest[..end.unwrap_or(rest.len())];
            is_too_long |= line.len() + text.len() > MAX_RECORD;
            if !is_too_long {
                line.extend_from_slice(text);
            }
            self.at += text.len();
            if end.is_some() {
                break;
            }
        }
        if is_too_long {
            return Ok(Err("the line is too long"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8(line).map(|line| vec![line]).map_err(|_| "the line is not UTF-8"))
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', bytes).count()).expect("a count fits")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn read(content: &[u8], form: Form) -> Result<Vec<Record>, JobError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut records = Records::new(Bytestream::open_file(file.path()).await?, form);
        let mut all = Vec::new();
        while let Some(record) = records.next().await? {
            all.push(record);
        }
        Ok(all)
    }

    fn record(line: u64, fields: &[&str]) -> Record {
        Record { line, fields: Ok(fields.iter().map(|field| (*field).to_owned()).collect()) }
    }

    #[tokio::test]
    async fn records_have_their_lines() {
        let text = "\u{feff}\"a\",b\r\n\r\n\n\"c\nd\",\"e\"\"\"\nf,\n\ng,h";
        let expected = [
            record(1, &["a", "b"]),
            record(4, &["c\nd", "e\""]),
            record(6, &["f", ""]),
            record(8, &["g", "h"]),
        ];
        assert_eq!(read(text.as_bytes(), Form::Csv).await.unwrap(), expected);
        assert_eq!(read(b"", Form::Csv).await.unwrap(), []);
        assert_eq!(read(b"\n\n", Form::Csv).await.unwrap(), []);
    }

    #[tokio::test]
    async fn lines_are_taken_as_they_are() {
        let expected = [record(1, &["a,\"b\" %41"]), record(3, &["é"])];
        assert_eq!(read("a,\"b\" %41\r\n\né".as_bytes(), Form::Lines).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn an_invalid_record_is_not_dropped_and_does_not_end_the_file() {
        let long = "x".repeat(MAX_RECORD + 1);
        let many = ",".repeat(MAX_FIELDS);
        for form in [Form::Csv, Form::Lines] {
            let mut text = b"a\n\xff\n".to_vec();
            text.extend_from_slice(format!("{long}\nb\n").as_bytes());
            let read = read(&text, form).await.unwrap();
            assert_eq!(read.len(), 4, "{form:?}");
            assert_eq!((&read[0], &read[3]), (&record(1, &["a"]), &record(4, &["b"])));
            assert!(read[1].fields.is_err() && read[2].fields.is_err());
        }
        let read = read(format!("a\n{many}\nb").as_bytes(), Form::Csv).await.unwrap();
        assert_eq!(read[1].fields, Err("the record has too many fields"));
        assert_eq!(read[2], record(3, &["b"]));
    }

    #[tokio::test]
    async fn compressed_files_are_read_and_cut_ones_refused() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for line in 0..10_000 {
            writeln!(encoder, "b,key{line}").unwrap();
        }
        let whole = encoder.finish().unwrap();
        let records = read(&whole, Form::Csv).await.unwrap();
        assert_eq!((records.len(), &records[9_999]), (10_000, &record(10_000, &["b", "key9999"])));
        for cut in [whole.len() - 1, whole.len() - 8, whole.len() / 2] {
            let refused = read(&whole[..cut], Form::Csv).await.unwrap_err();
            assert!(matches!(refused, JobError::NotAuthentic(_)), "{refused}");
        }
        let mut altered = whole;
        let at = altered.len() - 6;
        altered[at] ^= 1;
        assert!(matches!(read(&altered, Form::Csv).await, Err(JobError::NotAuthentic(_))));
    }
}
