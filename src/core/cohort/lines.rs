//! A file cut into records, each with the number of the line it begins on.
//!
//! Knows line ends, the byte-order mark and quotes. Must not know what the fields mean. A record that runs over several
//! lines (a line break inside quotes) is bounded, so a stray quote can't swallow a file.

use std::io::{self, BufRead, BufReader, Read};

/// A record is at most this many bytes and lines long.
const MAX_BYTES: usize = 64 * 1024;
const MAX_LINES: u64 = 100;

/// Why a record could not be cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    /// A quoted field is opened and never closed (within the bounds of a record).
    Unclosed,
    /// Longer than a record may be.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Two bytes a character, from the first line on.
    Utf16,
}

/// Reads records; the text of the last one stays in `text`.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
    next_line: u64,
}

impl<R: Read> Lines<R> {
    /// Of input that begins on this line.
    pub(super) fn from_line(input: R, next_line: u64) -> Self {
        Self { input: BufReader::with_capacity(64 * 1024, input), buffer: Vec::with_capacity(512), next_line }
    }

    /// The next record that is not blank: its line, and its text or what is wrong with it. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Result<&str, LineFault>)>> {
        loop {
            let line = self.next_line;
            self.buffer.clear();
            if !self.append_line()? {
                return Ok(None);
            }
            if line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if line == 1 && is_utf16(&self.buffer) {
                return Ok(Some((line, Err(LineFault::Utf16))));
            }
            if self.buffer.len() > MAX_BYTES {
                return Ok(Some((line, Err(LineFault::TooLong))));
            }
            if self.buffer.contains(&b'"') && !self.complete(line)? {
                return Ok(Some((line, Err(LineFault::Unclosed))));
            }
            // Further lines may have filled it: what is beyond the bound was dropped.
            if self.buffer.len() > MAX_BYTES {
                return Ok(Some((line, Err(LineFault::TooLong))));
            }
            let blank = self.buffer.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            if !blank {
                let text = std::str::from_utf8(&self.buffer).map_err(|_| LineFault::NotUtf8);
                return Ok(Some((line, text.map(|text| text.trim_end_matches(['\r', '\n'])))));
            }
        }
    }

    /// Takes in further lines until every quote is closed. `false` when that doesn't happen.
    fn complete(&mut self, first: u64) -> io::Result<bool> {
        while ends_in_quotes(&self.buffer) {
            let full = self.buffer.len() > MAX_BYTES || self.next_line - first >= MAX_LINES;
            if full || !self.append_line()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends one line; what goes beyond a record's bound is read and dropped, but for one byte that tells.
    fn append_line(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            let part = self.input.fill_buf()?;
            if part.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', part);
            let taken = end.map_or(part.len(), |at| at + 1);
            let room = (MAX_BYTES + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&part[..taken.min(room)]);
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.next_line += u64::from(any);
        Ok(any)
    }
}

/// Whether a file's first bytes are UTF-16: its byte-order mark, or every other byte a zero.
fn is_utf16(first: &[u8]) -> bool {
    match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, b, c, d, ..] => {
            (*a != 0, *b, *c != 0, *d) == (true, 0, true, 0) || (*a, *b != 0, *c, *d != 0) == (0, true, 0, true)
        }
        _ => false,
    }
}

/// Whether a record's text stops inside a quoted field. A quote opens only at the beginning of a field; elsewhere it is a character.
fn ends_in_quotes(text: &[u8]) -> bool {
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote in a quoted field: another one makes both a character.
        Closed,
    }
    let mut at = At::Start;
    for byte in text {
        at = match (at, byte) {
            (At::Start | At::Closed, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (_, b',') => At::Start,
            _ => At::Plain,
        };
    }
    matches!(at, At::Quoted)
}

/// Cuts a record into its fields, trimmed. `false`: a carriage return ends it before its end.
pub(super) fn fields<'a>(record: &'a str, into: &mut Vec<std::borrow::Cow<'a, str>>) -> bool {
    use std::borrow::Cow;
    into.clear();
    if memchr::memchr(b'"', record.as_bytes()).is_none() {
        into.extend(record.split(',').map(|field| Cow::Borrowed(field.trim())));
        return memchr::memchr(b'\r', record.as_bytes()).is_none();
    }
    // The reader takes a byte-order mark for the beginning of a file, also in the middle of one: there it is a character. Behind an empty field it
    // is left alone.
    let (mark, skip) = if record.starts_with('\u{feff}') { (",", 1) } else { ("", 0) };
    let input = mark.as_bytes().chain(record.as_bytes());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut records = reader.records();
    if let Some(Ok(found)) = records.next() {
        into.extend(found.iter().skip(skip).map(|field| Cow::Owned(field.trim().to_owned())));
    }
    records.next().is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<(u64, Result<String, LineFault>)> {
        let mut lines = Lines::from_line(text, 1);
        let mut found = Vec::new();
        while let Some((line, text)) = lines.next().unwrap() {
            found.push((line, text.map(str::to_owned)));
        }
        found
    }

    #[test]
    fn every_record_knows_the_line_it_begins_on() {
        let text = b"\xef\xbb\xbfa,b\r\n\r\n\"x\r\ny\",2\r\nlast";
        let found = all(text);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(found[0].1, Ok("a,b".to_owned()));
        assert_eq!(found[1].1, Ok("\"x\r\ny\",2".to_owned()));
    }

    #[test]
    fn a_quote_in_the_middle_of_a_field_is_a_character_and_a_doubled_one_too() {
        assert_eq!(all(b"a 5\"\" disc,b\"\nc\n").len(), 2);
        let found = all(b"a 5\" disc,b\n\"he said \"\"hi\"\"\",c\nd");
        assert_eq!(found.len(), 3);
        let mut parts = Vec::new();
        let record = found[1].1.clone().unwrap();
        assert!(fields(&record, &mut parts));
        let mut marked = Vec::new();
        assert!(fields("\u{feff}\"x\",\"y\"", &mut marked));
        assert_eq!(marked, ["\u{feff}\"x\"", "y"]);
        assert_eq!(parts, ["he said \"hi\"", "c"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_one_with() {
        for byte in [b'x', b'"', b','] {
            let endless = io::repeat(byte).take(64 << 20);
            let mut lines = Lines::from_line(endless, 1);
            assert_eq!(
                lines.next().unwrap().map(|(line, found)| (line, found.map(str::len))),
                Some((1, Err(LineFault::TooLong)))
            );
            assert!(lines.next().unwrap().is_none());
            assert!(lines.buffer.capacity() <= 4 * MAX_BYTES, "{} bytes", lines.buffer.capacity());
        }
    }

    #[test]
    fn a_quote_never_closed_and_an_endless_line_are_bounded() {
        assert_eq!(all(b"a,\"b\nc\nd"), [(1, Err(LineFault::Unclosed))]);
        let long = vec![b'x'; 10 * MAX_BYTES];
        assert_eq!(all(&long), [(1, Err(LineFault::TooLong))]);
        let behind_a_quote = [b"\"x\ny\",", &long[..]].concat();
        assert_eq!(all(&behind_a_quote), [(1, Err(LineFault::TooLong))]);
        assert_eq!(all(b"a\xff,b")[0].1, Err(LineFault::NotUtf8));
    }
}
