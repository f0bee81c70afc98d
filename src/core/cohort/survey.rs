//! Reading a list through: what it is worth, in bounded memory, a block of lines on each core.
//!
//! Must not know: what is wrong with a list (the report says it), where the bytes come from.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::blocks::{BLOCK, Block, Cut, Cutter};
use super::columns::Columns;
use super::disposable::Memo;
use super::fault::{Fault, Problem, Severity};
use super::list::{Found, ListOptions, ListRow, NoColumns, ReadAs, RowView, Rows, rows};
use super::report::{KEPT_LABELS, SHOWN, Survey};

/// More workers than this gain nothing: the file has to be read.
const MOST_WORKERS: usize = 8;
/// A list with its rows, for lists that fit into memory.
#[derive(Clone, Debug, Default)]
pub struct ListReport {
    /// Every usable row, in order.
    pub rows: Vec<ListRow>,
    /// Counts, problems, digest.
    pub survey: Survey,
}

/// Checks a list and keeps its rows.
pub fn parse_list(bytes: &[u8], options: &ListOptions) -> ListReport {
    let mut rows = Vec::new();
    // Reading from memory does not fail.
    let survey = survey_with(bytes, options, |row| rows.push(row.to_row())).unwrap_or_default();
    let lines: std::collections::HashSet<u64> = survey.people.iter().map(|(_, line)| u64::from(*line)).collect();
    rows.retain(|row: &ListRow| lines.contains(&row.line));
    ListReport { rows, survey }
}

/// Checks a list of any length, its blocks beside each other. Memory: 36 bytes for each row, in [`Survey::people`].
///
/// # Errors
/// When reading fails; what is wrong with the list is in the survey.
pub fn survey<R: Read>(input: R, options: &ListOptions) -> io::Result<Survey> {
    survey_in_blocks(input, options, BLOCK)
}

pub(super) fn survey_in_blocks<R: Read>(input: R, options: &ListOptions, size: usize) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut input = Digesting::new(input, options.read_as);
    let mut cutter = Cutter::new(&mut input, size);
    let mut columns = Ok(None);
    let mut next = cutter.next()?;
    // Until the columns are known, block by block: usually the first one has them.
    while let (Cut::Block(block), Ok(None)) = (&next, &columns) {
        if block.bytes.is_empty() {
            break;
        }
        columns = survey.look_at(&block.bytes[..], block.first_line, None, options)?;
        next = cutter.next()?;
    }
    if let Ok(Some(known)) = columns {
        next = survey.look_beside(&mut cutter, next, known, options)?;
    }
    if let (Cut::Rest(rest), Ok(known)) = (next, columns) {
        let behind = rest.bytes.chain(cutter.into_rest());
        drop(survey.look_at(behind, rest.first_line, known, options)?);
    }
    // A header that can't be read ends the rows early; the digest is over the whole file all the same.
    survey.digest = input.finish()?;
    survey.find_duplicates();
    survey.weigh(&options.needs);
    Ok(survey)
}

fn survey_with<R: Read>(input: R, options: &ListOptions, mut keep: impl FnMut(&RowView<'_>)) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut input = Digesting::new(input, options.read_as);
    let mut domains = Memo::default();
    let read = rows(&mut input, options.read_as).each(|found| {
        if let Found::Row(row) = &found {
            keep(row);
        }
        survey.take(found, &mut domains, options);
    });
    drop(read?);
    survey.digest = input.finish()?;
    survey.find_duplicates();
    survey.weigh(&options.needs);
    Ok(survey)
}

impl Survey {
    fn take(&mut self, found: Found<'_>, domains: &mut Memo, options: &ListOptions) {
        match found {
            Found::Problem(problem) => self.report(problem),
            Found::Row(row) => {
                if domains.is_disposable(row.domain(), &options.disposable) {
                    self.report(Problem::at(row.line, Fault::Disposable { domain: row.domain().to_owned() }));
                }
                self.count(&row);
            }
        }
    }

    /// Takes in what follows from line `first` on.
    fn look_at<R: Read>(
        &mut self,
        input: R,
        first: u64,
        columns: Option<Columns>,
        options: &ListOptions,
    ) -> io::Result<Result<Option<Columns>, NoColumns>> {
        let mut domains = Memo::default();
        Rows::continued(input, first, columns, options.read_as).each(|found| self.take(found, &mut domains, options))
    }

    /// Looks at block after block, as many beside each other as there are cores; gives what is left to be read line by line.
    fn look_beside<R: Read>(
        &mut self,
        cutter: &mut Cutter<R>,
        mut next: Cut,
        columns: Columns,
        options: &ListOptions,
    ) -> io::Result<Cut> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let (give, blocks) = sync_channel::<(usize, Block)>(workers);
        let (found, parts) = channel::<(usize, io::Result<Survey>)>();
        let blocks = Mutex::new(blocks);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (blocks, found) = (&blocks, found.clone());
                scope.spawn(move || {
                    while let Ok((place, block)) = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv() {
                        let mut part = Self::default();
                        let looked = part.look_at(&block.bytes[..], block.first_line, Some(columns), options);
                        part.sort();
                        if found.send((place, looked.map(|_| part))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(found);
            let (mut given, mut merged, mut waiting) = (0, 0, BTreeMap::new());
            let left = loop {
                match next {
                    Cut::Block(block) if !block.bytes.is_empty() => {
                        // The workers are gone only when one of them panicked, which the scope passes on.
                        if give.send((given, block)).is_err() {
                            break Ok(Cut::Rest(Block { bytes: Vec::new(), first_line: 0 }));
                        }
                        given += 1;
                    }
                    Cut::Block(block) | Cut::Rest(block) => break Ok(Cut::Rest(block)),
                }
                waiting.extend(parts.try_iter());
                self.merge_in_order(&mut waiting, &mut merged)?;
                next = match cutter.next() {
                    Ok(next) => next,
                    Err(error) => break Err(error),
                };
            };
            drop(give);
            waiting.extend(parts.iter());
            self.merge_in_order(&mut waiting, &mut merged)?;
            left
        })
    }

    fn merge_in_order(
        &mut self,
        waiting: &mut BTreeMap<usize, io::Result<Self>>,
        merged: &mut usize,
    ) -> io::Result<()> {
        while let Some(part) = waiting.remove(merged) {
            self.merge(part?);
            *merged += 1;
        }
        Ok(())
    }

    /// Takes in what was found in the part of the list that follows.
    fn merge(&mut self, part: Self) {
        self.rows += part.rows;
        for (counts, more) in [(&mut self.labels, part.labels), (&mut self.roles, part.roles)] {
            for (name, count) in more {
                if let Some(known) = counts.get_mut(&name) {
                    *known += count;
                } else if counts.len() < KEPT_LABELS {
                    counts.insert(name, count);
                }
            }
        }
        let kept = part.problems.len() as u64;
        let unkept = (part.errors + part.warnings).saturating_sub(kept);
        let kept_errors = part.problems.iter().filter(|problem| problem.fault.severity() == Severity::Error).count();
        part.problems.into_iter().for_each(|problem| self.report(problem));
        let unkept_errors = part.errors - kept_errors as u64;
        self.errors += unkept_errors;
        self.warnings += unkept - unkept_errors;
        let room = SHOWN.saturating_sub(self.first.len());
        self.first.extend(part.first.into_iter().take(room));
        self.buckets.merge(&part.buckets);
        self.people.extend(part.people);
        self.keys.extend(part.keys);
    }
}

/// Takes the digest of a list that is read through it.
pub struct Digesting<R> {
    input: R,
    sha: Sha256,
}

impl<R: Read> Digesting<R> {
    /// Begins; how addresses are compared is part of what a list is.
    pub fn new(input: R, read_as: impl Into<ReadAs>) -> Self {
        let mut sha = Sha256::new();
        let ReadAs { addresses, hashed } = read_as.into();
        let form = if hashed { 2 } else { 1 };
        sha.update([form, u8::from(addresses.ignore_dots), u8::from(addresses.ignore_plus)]);
        Self { input, sha }
    }

    /// Reads what is left, and gives the digest of all of it: [`Survey::digest`] of the same list.
    ///
    /// # Errors
    /// When reading fails.
    pub fn finish(mut self) -> io::Result<[u8; 32]> {
        let mut block = vec![0; 128 * 1024];
        while self.read(&mut block)? > 0 {}
        Ok(self.sha.finalize().into())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.sha.update(&into[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => ("[a-c]{1,2}", "[xy]{1}").prop_map(|(name, host)| format!("{name}@{host}.example.com,listener-{name},host@example.com\n")),
            1 => Just("not an address,creator-a,\n".to_owned()),
            1 => Just("\n".to_owned()),
            1 => Just("d@mailinator.com,creator-b,\r\n".to_owned()),
            1 => Just("q@example.com,\"two\nlines\",x\n".to_owned()),
            1 => Just("e@example.com,too,many,fields\n".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn a_list_is_worth_the_same_in_blocks_of_any_size(
            header in prop_oneof![Just(""), Just("email,label,invited_by\n"), Just("\u{feff}email,label\n"), Just("nonsense,label\n")],
            lines in prop::collection::vec(line(), 0..40),
            size in 1_usize..400,
            end in prop::bool::ANY,
        ) {
            let mut text = format!("{header}{}", lines.concat());
            if end {
                text.push_str("last@example.com,creator-z");
            }
            let options = ListOptions { needs: crate::cohort::Needs::soft_launch(), ..ListOptions::default() };
            let plain = parse_list(text.as_bytes(), &options).survey;
            let blocks = survey_in_blocks(text.as_bytes(), &options, size).unwrap();
            prop_assert_eq!(format!("{plain:?}"), format!("{blocks:?}"), "{}", text);
            prop_assert!(plain.buckets == blocks.buckets);
        }
    }
}
