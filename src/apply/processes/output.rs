//! What a process prints: read by bounded lines, the last ones kept.
//!
//! Must not know: which process it is, or what its lines mean.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line kept, in bytes; what is beyond is dropped.
pub(super) const LINE_BYTES: usize = 4096;
/// How many lines are kept of one process.
pub(super) const KEPT_LINES: usize = 40;

/// The last lines of one process; clones are the same buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// Adds a line, dropping the oldest over [`KEPT_LINES`].
    pub(super) fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines kept, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The next line without its end, at most [`LINE_BYTES`] of it; `None` at the end. Bytes that are no UTF-8 and control characters
/// (a process must not be able to steer the terminal of who reads its log) become the replacement character.
pub(super) async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(any.then(|| readable(&line)));
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(chunk.len());
        let room = LINE_BYTES - line.len();
        line.extend_from_slice(&chunk[..part.min(room)]);
        input.consume(end.map_or(part, |at| at + 1));
        if end.is_some() {
            return Ok(Some(readable(&line)));
        }
    }
}

fn readable(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(bytes).trim_end_matches('\r').chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_cannot_steer_a_terminal() {
        let long = "x".repeat(3 * LINE_BYTES);
        let text = format!("one\r\n\n{long}\n\u{1b}[31mred\nlast");
        let mut input = tokio::io::BufReader::with_capacity(100, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["one", "", &long[..LINE_BYTES], "\u{fffd}[31mred", "last"]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let tail = Tail::default();
        (0..KEPT_LINES + 2).for_each(|n| tail.push(n.to_string()));
        assert_eq!(tail.lines().len(), KEPT_LINES);
        assert_eq!(tail.lines()[0], "2");
    }
}
