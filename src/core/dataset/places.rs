//! Where the rows of a JSON array and their keys stand: serde_json tells values, not lines.
//!
//! Must not know: what a row means. The text is known to be JSON.

use crate::desired::error::Position;

/// Where an item of the outermost array starts, and the keys of it where it is an object, each as written.
#[derive(Debug)]
pub(super) struct Place {
    pub at: Position,
    pub keys: Vec<(String, Position)>,
}

impl Place {
    /// Where a key stands; the row itself where it doesn't.
    pub fn of(&self, key: &str) -> Position {
        self.keys.iter().find(|(known, _)| known == key).map_or(self.at, |(_, at)| *at)
    }
}

/// The places of a text that is a JSON array.
pub(super) fn places(text: &str) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    let (mut depth, mut at, mut next_is_item, mut next_is_key) = (0_u32, Position::START, false, false);
    let mut rest = text.char_indices();
    while let Some((start, c)) = rest.next() {
        let here = at;
        step(&mut at, c);
        if c.is_whitespace() {
            continue;
        }
        if depth == 1 && next_is_item && c != ']' {
            found.push(Place { at: here, keys: Vec::new() });
            next_is_item = false;
        }
        match c {
            '"' => {
                let end = string_end(&mut rest, &mut at).unwrap_or(text.len());
                if depth == 2 && next_is_key {
                    let written = text.get(start..end).unwrap_or_default();
                    let key = serde_json::from_str(written).unwrap_or_default();
                    found.iter_mut().next_back().into_iter().for_each(|row| row.keys.push((String::clone(&key), here)));
                    next_is_key = false;
                }
            }
            '[' | '{' => {
                depth += 1;
                next_is_item = depth == 1;
                next_is_key = depth == 2 && c == '{';
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                next_is_key = false;
            }
            ',' => {
                next_is_item = depth == 1;
                next_is_key = depth == 2;
            }
            _ => {}
        }
    }
    found
}

/// Passes over a string whose opening quote was read; gives where it ends.
fn string_end(rest: &mut std::str::CharIndices<'_>, at: &mut Position) -> Option<usize> {
    let mut escaped = false;
    for (place, c) in rest.by_ref() {
        step(at, c);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(place + 1),
            _ => {}
        }
    }
    None
}

fn step(at: &mut Position, c: char) {
    if c == '\n' {
        *at = Position::new(at.line.saturating_add(1), 1);
    } else {
        at.column = at.column.saturating_add(1);
    }
}
