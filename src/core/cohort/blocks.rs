//! A list cut into blocks of whole lines, which are looked at beside each other.
//!
//! A quote may bind lines together, so the cutting ends before the first block that has one: the rest is for whoever reads line by line.
//!
//! Must not know: what the lines mean.

use std::io::{self, Read};

/// Bytes of a block.
pub(super) const BLOCK: usize = 1 << 20;

/// Whole lines, without a quote.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// The line it begins on, from 1.
    pub(super) first_line: u64,
}

/// What comes next.
pub(super) enum Cut {
    Block(Block),
    /// These bytes and whatever follows them are to be read line by line. Empty at the end.
    Rest(Block),
}

/// Cuts blocks off a reader.
pub(super) struct Cutter<R> {
    input: R,
    size: usize,
    /// Read, and not yet part of a block.
    over: Vec<u8>,
    line: u64,
}

impl<R: Read> Cutter<R> {
    pub(super) fn new(input: R, size: usize) -> Self {
        Self { input, size, over: Vec::new(), line: 1 }
    }

    pub(super) fn next(&mut self) -> io::Result<Cut> {
        let mut bytes = std::mem::take(&mut self.over);
        let missing = self.size.saturating_sub(bytes.len()).max(1) as u64;
        let read = self.input.by_ref().take(missing).read_to_end(&mut bytes)?;
        let first_line = self.line;
        let end = if read == 0 { Some(bytes.len()) } else { memchr::memrchr(b'\n', &bytes).map(|at| at + 1) };
        match end {
            Some(end) if end > 0 && memchr::memchr(b'"', &bytes).is_none() => {
                self.over = bytes.split_off(end);
                self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
                Ok(Cut::Block(Block { bytes, first_line }))
            }
            _ => Ok(Cut::Rest(Block { bytes, first_line })),
        }
    }

    /// The reader, behind what was cut off.
    pub(super) fn into_rest(self) -> R {
        self.input
    }
}
