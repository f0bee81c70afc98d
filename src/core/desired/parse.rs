//! YAML (or JSON) text to [`Document`]s whose every key and value knows its place.
//!
//! A file's documents are parsed one by one, so that a syntax error in one leaves the others readable and every error of a
//! file is found in one run. Input is bounded: depth, nodes, aliases, text (serde-saphyr's budget, for each document).
//!
//! Must not know: which kinds there are, or what their fields mean.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error as YamlError, MessageFormatter, UserMessageFormatter};

use super::error::{Position, Problem};
use super::mend::Damage;
pub use super::parse_node::{Entry, Node, Value, dotted};
use super::parse_node::{push_index, push_key};

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, relative to the source's root.
    pub file: Arc<str>,
    /// `apiVersion`, where it is given as text.
    pub api_version: Option<String>,
    /// `kind`.
    pub kind: String,
    /// `metadata.name`; empty where it is missing (the shape check says so).
    pub name: String,
    /// The whole document.
    pub root: Node,
    /// Where it was mended, for what else is to be found in it.
    pub(super) damage: Vec<Damage>,
}

impl Document {
    /// A problem at the value of a JSON pointer such as `/spec/stages/0/name` (or at its nearest existing ancestor).
    pub fn problem(&self, pointer: &str, message: impl Into<String>) -> Problem {
        Problem::new(&self.file, self.root.position(pointer), dotted(pointer), message)
    }

    /// A problem at the key (or list item) of a JSON pointer (or at its nearest existing ancestor).
    pub fn problem_at_key(&self, pointer: &str, message: impl Into<String>) -> Problem {
        Problem::new(&self.file, self.root.key_position(pointer), dotted(pointer), message)
    }
}

/// A document that could not be read. Its kind and name, where they can be made out, keep references to it from being
/// reported as unknown too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: Arc<str>,
    /// The document's first line.
    pub line: u32,
    /// The text after `kind:`.
    pub kind: Option<String>,
    /// The text after the first `name:`.
    pub name: Option<String>,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The documents that could be read, in order.
    pub documents: Vec<Document>,
    /// The documents that could not.
    pub broken: Vec<Broken>,
    /// What is wrong, by place.
    pub problems: Vec<Problem>,
}

/// Reads many files, on as many threads as there are processors; the answers are in the order of the files.
pub fn parse_files(files: &[(&str, &[u8])]) -> Vec<Parsed> {
    let most = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    // Below this, starting threads takes longer than it saves.
    if most == 1 || bytes < 64 << 10 {
        return files.iter().map(|(file, bytes)| parse_bytes(file, bytes)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        // A few at a time, so that one large file does not leave the other threads idle.
        while let Some(start) = Some(next.fetch_add(16, Ordering::Relaxed)).filter(|start| *start < files.len()) {
            for (index, (file, bytes)) in files.iter().enumerate().skip(start).take(16) {
                read.push((index, parse_bytes(file, bytes)));
            }
        }
        read
    };
    let mut read = std::thread::scope(|scope| {
        let others: Vec<_> = (1..most).map(|_| scope.spawn(work)).collect();
        let mut read = work();
        for other in others {
            match other.join() {
                Ok(more) => read.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        read
    });
    read.sort_unstable_by_key(|(index, _)| *index);
    read.into_iter().map(|(_, parsed)| parsed).collect()
}

/// Reads all documents of a file's bytes; text that is not UTF-8 is one problem.
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Parsed {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file, text),
        Err(error) => {
            let read = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = read.matches('\n').count() + 1;
            let column = read.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let at = Position::new(u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX));
            let problem = Problem::new(file, at, "", "the file is not UTF-8 text");
            Parsed { problems: vec![problem], ..Parsed::default() }
        }
    }
}

/// Reads all documents of a file's text. Empty documents are passed over.
pub fn parse(file: &str, text: &str) -> Parsed {
    let file: Arc<str> = file.into();
    let mut parsed = Parsed::default();
    for chunk in chunks(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        read_chunk(&file, &chunk, &mut parsed);
    }
    parsed.problems.sort();
    parsed
}

/// The text of one document and how many lines stand before it.
#[derive(Debug, PartialEq)]
struct Chunk<'t> {
    text: &'t str,
    lines_before: u32,
}

/// Splits at document markers. A line that starts with `---` or `...` is a marker wherever it stands, inside quotes and
/// block text as well (YAML 1.2, section 9.1.2), so looking at lines is exact.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let marker = |line: &str, mark: &str| {
        line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut directives = false;
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        // Directives (`%YAML 1.2`) belong to the document whose marker follows them.
        if marker(line, "---") && !directives {
            chunks.push(Chunk { text: &text[start..offset], lines_before: start_line });
            (start, start_line) = (offset, number);
        }
        directives = (directives || number == start_line || offset == start) && line.starts_with('%');
        offset += line.len();
        if marker(line, "...") {
            chunks.push(Chunk { text: &text[start..offset], lines_before: start_line });
            (start, start_line) = (offset, number + 1);
        }
    }
    chunks.push(Chunk { text: &text[start..], lines_before: start_line });
    chunks.retain(|chunk| chunk.text.lines().any(has_content));
    chunks
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#') && !matches!(line.trim_end(), "---" | "...")
}

/// How deep lists and mappings may stand in one another.
const MAX_DEPTH: usize = 32;

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        // Bare yes/no/on/off then arrive as text and are refused below, by name.
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
        // Deeper than anything an operator writes, and small enough for a thread's stack without optimization.
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
    }
}

fn read_chunk(file: &Arc<str>, chunk: &Chunk<'_>, parsed: &mut Parsed) {
    let mut result = serde_saphyr::from_str_with_options::<Node>(chunk.text, options(DuplicateKeyPolicy::Error));
    if let Err(error) = &result {
        parsed.problems.push(syntax_problem(file, chunk, error));
        if matches!(error.without_snippet(), YamlError::DuplicateMappingKey { .. }) {
            // The rest of the document is still worth checking.
            result = serde_saphyr::from_str_with_options(chunk.text, options(DuplicateKeyPolicy::FirstWins));
        }
    }
    let Ok(mut root) = result else {
        parsed.broken.push(broken(file, chunk));
        return;
    };
    let mut settle =
        Settle { file, chunk, path: String::new(), refused: HashSet::new(), problems: &mut parsed.problems };
    settle.node(&mut root);
    match &root.value {
        Value::Null => {}
        Value::Map(_) => match document(file, root) {
            Ok(document) => parsed.documents.push(document),
            Err(problem) => {
                parsed.problems.push(*problem);
                parsed.broken.push(broken(file, chunk));
            }
        },
        _ => {
            let message = format!("a document must be a mapping, here is {}", root.described());
            parsed.problems.push(Problem::new(file, root.at, "", message));
        }
    }
}

fn document(file: &Arc<str>, root: Node) -> Result<Document, Box<Problem>> {
    let Some(kind) = root.get("kind").and_then(Node::text).filter(|kind| !kind.is_empty()) else {
        let message = match root.get("kind") {
            None => "the document has no `kind`".to_owned(),
            Some(found) => format!("`kind` must be text, here is {}", found.described()),
        };
        return Err(Box::new(Problem::new(file, root.position("/kind"), "kind", message)));
    };
    Ok(Document {
        file: file.clone(),
        api_version: root.get("apiVersion").and_then(Node::text).map(str::to_owned),
        kind: kind.to_owned(),
        name: root.at("/metadata/name").and_then(Node::text).unwrap_or_default().to_owned(),
        root,
        damage: Vec::new(),
    })
}

fn broken(file: &Arc<str>, chunk: &Chunk<'_>) -> Broken {
    let after = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        let word = rest.trim_start().trim_start_matches(['"', '\'']);
        let end = word.find([' ', '"', '\'', ',', '}', '#']).unwrap_or(word.len());
        Some(word[..end].to_owned()).filter(|word| !word.is_empty())
    };
    Broken {
        file: file.clone(),
        line: chunk.lines_before + 1,
        kind: chunk.text.lines().filter(|line| line.starts_with("kind:")).find_map(|line| after(line, "kind:")),
        name: chunk.text.lines().find_map(|line| after(line, "name:")),
    }
}

fn syntax_problem(file: &str, chunk: &Chunk<'_>, error: &YamlError) -> Problem {
    let error = error.without_snippet();
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let at = error.location().filter(|location| location.line() > 0).map_or(
        Position::new(chunk.lines_before + 1, 1),
        |location| {
            Position::new(narrow(location.line()).saturating_add(chunk.lines_before), narrow(location.column()).max(1))
        },
    );
    let message = match error {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is given twice"),
        YamlError::DuplicateMappingKey { key: None, .. } => "a key is given twice".to_owned(),
        // Only keys are asked for as text.
        YamlError::NullIntoString { .. } | YamlError::Unexpected { .. } => "a key must be text".to_owned(),
        other => {
            let said = UserMessageFormatter.format_message(other);
            let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            format!("not readable as YAML: {said}")
        }
    };
    Problem::new(file, at, "", message)
}

/// The one walk after parsing: lines become lines of the file, and words that other readers take for booleans are refused.
struct Settle<'p> {
    file: &'p str,
    chunk: &'p Chunk<'p>,
    path: String,
    refused: HashSet<Position>,
    problems: &'p mut Vec<Problem>,
}

impl Settle<'_> {
    fn node(&mut self, node: &mut Node) {
        node.at.line = node.at.line.max(1) + self.chunk.lines_before;
        node.at.column = node.at.column.max(1);
        let length = self.path.len();
        match &mut node.value {
            Value::Text(text) => {
                self.no_nul(text, node.at);
                if self.bare_boolean(text, node.offset) {
                    self.refuse(text, node.at);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    push_index(&mut self.path, index);
                    self.node(item);
                    self.path.truncate(length);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    push_key(&mut self.path, &entry.key);
                    entry.at.line = entry.at.line.max(1) + self.chunk.lines_before;
                    entry.at.column = entry.at.column.max(1);
                    self.no_nul(&entry.key, entry.at);
                    if self.bare_boolean(&entry.key, entry.offset) {
                        self.refuse(&entry.key, entry.at);
                    }
                    self.node(&mut entry.value);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Whether the word stands there bare. A quoted one starts with its quote; before block text stands its `|` or `>`,
    /// before a tagged word its `!!str`.
    fn bare_boolean(&self, text: &str, offset: Option<u32>) -> bool {
        const WORDS: [&str; 6] = ["on", "off", "yes", "no", "y", "n"];
        if text.len() > 3 || !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return false;
        }
        let Some((before, from)) = offset.and_then(|offset| self.chunk.text.split_at_checked(offset as usize)) else {
            return true;
        };
        let last_word = before.split_whitespace().next_back().unwrap_or_default();
        from.starts_with(text) && !last_word.starts_with(['|', '>', '!'])
    }

    /// No database keeps this character.
    fn no_nul(&mut self, text: &str, at: Position) {
        if text.contains('\0') && self.refused.insert(at) {
            self.problems.push(Problem::new(self.file, at, self.path.as_str(), "a text can't hold the character NUL"));
        }
    }

    fn refuse(&mut self, text: &str, at: Position) {
        // Once, however often an alias repeats it.
        if !self.refused.insert(at) {
            return;
        }
        let meant = matches!(text.to_ascii_lowercase().as_str(), "on" | "yes" | "y");
        let message = format!("bare `{text}` is a boolean to kubectl and Helm: quote it, or write {meant}");
        self.problems.push(Problem::new(self.file, at, self.path.as_str(), message).expected(format!("\"{text}\"")));
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
