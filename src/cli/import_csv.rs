//! `betagate import csv`: a list with other columns, other separators or another encoding becomes a cohort's list. All of it, or nothing.
//!
//! Must not know: what becomes of the list.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use betagate_core::cohort::{AddressRules, Fault, ListOptions, Severity, parse_list};
use betagate_core::desired::nearest::nearest;
use betagate_core::desired::parse::{Document, parse_bytes};
use clap::Args;

use super::{CliError, FAILED};
use crate::source::read_folder;

/// The columns of a list, each with what others call it.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("email", &["e-mail", "mail", "email address", "e-mail address", "emailaddress"]),
    ("label", &["group", "cohort", "segment", "tag"]),
    ("role", &[]),
    ("invited_by", &["invited by", "inviter", "invitedby", "referrer", "referred by"]),
    ("locale", &["language", "lang"]),
    ("note", &["notes", "comment", "comments", "remark", "remarks"]),
];
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Turns a list from elsewhere into a cohort's list, and writes the cohort's document when there is none. What has no column in a list is refused: map it, or
/// drop it.
#[derive(Args)]
#[command(after_help = "Examples:\n  betagate import csv guests.csv --cohort pavia --program kruxt\n  \
    betagate import csv export.csv --cohort pavia --map email=Contact --map note=Name --drop Phone --replace")]
pub struct Csv {
    /// The list: UTF-8 or UTF-16, separated by commas, semicolons, tabs or bars, with a header.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The cohort that it becomes the list of.
    #[arg(long)]
    cohort: String,
    /// The program of a cohort that has no document yet; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// Which of its columns is which of ours: email, label, role, invited_by, locale or note.
    #[arg(long, value_name = "OURS=THEIRS", value_parser = pair)]
    map: Vec<(String, String)>,
    /// A column to leave out.
    #[arg(long, value_name = "THEIRS")]
    drop: Vec<String>,
    /// A label for everyone, where the list has none.
    #[arg(long)]
    label: Option<String>,
    /// The list is Latin-1 (Windows-1252 without its extra signs).
    #[arg(long)]
    latin1: bool,
    /// Writes over the list that is there.
    #[arg(long)]
    replace: bool,
    /// The folder with manifests/ and cohorts/.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (ours, theirs) = text.split_once('=').ok_or("expected OURS=THEIRS, such as email=E-Mail")?;
    let known = COLUMNS.iter().map(|(name, _)| *name);
    if COLUMNS.iter().any(|(name, _)| *name == ours) {
        return Ok((ours.to_owned(), theirs.to_owned()));
    }
    let near = nearest(ours, known).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    Err(format!("a list has no column '{ours}'{near}; email, label, role, invited_by, locale or note"))
}

/// Where a cohort's list goes.
struct Target {
    csv: PathBuf,
    /// A document that is to be written, too.
    document: Option<(PathBuf, String)>,
    addresses: AddressRules,
}

impl Csv {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let target = self.target()?;
        if target.csv.exists() && !self.replace {
            let there = target.csv.display();
            return Err(CliError::Failed(format!("{there} is there already: --replace writes over it")));
        }
        let file = self.from.display();
        let bytes = fs::read(&self.from).map_err(|error| CliError::Failed(format!("{file}: {error}")))?;
        let text = self.text(&bytes)?;
        let (written, lines) = match self.translate(&text) {
            Ok(done) => done,
            Err(refusals) => {
                refusals.iter().for_each(|refusal| complain!("{file}: {refusal}"));
                complain!("nothing was written");
                return Ok(ExitCode::from(FAILED));
            }
        };
        let options = ListOptions { read_as: target.addresses.into(), ..ListOptions::default() };
        let survey = parse_list(&written, &options).survey;
        // As the lines of the list that was given.
        let at = |line: u64| usize::try_from(line).ok().and_then(|line| lines.get(line)).copied().unwrap_or(line);
        for problem in &survey.problems {
            let fault = match &problem.fault {
                Fault::Duplicate { first } => Fault::Duplicate { first: at(*first) },
                fault => fault.clone(),
            };
            let warning = if fault.severity() == Severity::Warning { "warning: " } else { "" };
            let line = problem.line.map(|line| format!("{}: ", at(line))).unwrap_or_default();
            complain!("{file}:{line}{warning}{fault}");
        }
        if survey.errors > 0 {
            complain!("{} error(s); nothing was written", survey.errors);
            return Ok(ExitCode::from(FAILED));
        }
        place(&target, &written)?;
        let document = target.document.map(|(path, _)| format!(", and {}", path.display())).unwrap_or_default();
        say!("{} row(s) in {}{document}", survey.rows, target.csv.display());
        say!("now: betagate validate --cohort {}", self.cohort);
        Ok(ExitCode::SUCCESS)
    }

    fn text<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, CliError> {
        let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let text = String::from_utf16(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
            text.ok().filter(|_| rest.is_empty())
        };
        let text = match bytes {
            [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes).map(Cow::Owned),
            [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes).map(Cow::Owned),
            _ if self.latin1 => Some(Cow::Owned(bytes.iter().copied().map(char::from).collect())),
            [0xef, 0xbb, 0xbf, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        };
        let how = "it is neither UTF-8 nor UTF-16; --latin1 reads Latin-1";
        text.ok_or_else(|| CliError::Failed(format!("{}: {how}", self.from.display())))
    }

    /// The list in our form, and on which line of theirs each of its lines stands.
    fn translate(&self, text: &str) -> Result<(Vec<u8>, Vec<u64>), Vec<String>> {
        let first = text.lines().next().unwrap_or_default();
        let count = |separator: u8| first.bytes().filter(|byte| *byte == separator).count();
        let separator = SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let header = match records.next() {
            Some(Ok(header)) => header,
            Some(Err(error)) => return Err(vec![error.to_string()]),
            None => return Err(vec!["the list is empty".to_owned()]),
        };
        let places = self.places(&header)?;
        let everyone = self.label.as_deref().filter(|_| places[1].is_none());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut lines = vec![0, 1];
        let (mut counted, mut newlines) = (0, 1);
        // The reader says where it began to look for a record, which may be before blank lines.
        let mut line_of = |record: &csv::StringRecord| {
            let from = record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(counted);
            let blank = text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            newlines += text.as_bytes()[counted..from + blank].iter().filter(|byte| **byte == b'\n').count() as u64;
            counted = from + blank;
            newlines
        };
        let used = |place: usize| places[place].is_some() || (place == 1 && everyone.is_some());
        let names = COLUMNS.iter().enumerate().filter(|(place, _)| used(*place)).map(|(_, (name, _))| *name);
        let wrong = |error: csv::Error| vec![error.to_string()];
        writer.write_record(names).map_err(wrong)?;
        for record in records {
            let record = record.map_err(wrong)?;
            if record.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            let line = line_of(&record);
            let field = |place: usize| match (places[place], everyone) {
                (Some(at), _) => Some(record.get(at).unwrap_or_default().trim()),
                (None, Some(label)) if place == 1 => Some(label),
                _ => None,
            };
            let fields: Vec<&str> = (0..COLUMNS.len()).filter_map(field).collect();
            writer.write_record(&fields).map_err(wrong)?;
            let breaks = fields.iter().map(|field| field.matches('\n').count()).sum::<usize>();
            lines.extend(std::iter::repeat_n(line, 1 + breaks));
        }
        Ok((writer.into_inner().map_err(|error| vec![error.to_string()])?, lines))
    }

    /// Which of their columns is which of ours.
    fn places(&self, header: &csv::StringRecord) -> Result<[Option<usize>; 6], Vec<String>> {
        let mut places = [None; 6];
        let mut refusals = Vec::new();
        let position = |name: &str| header.iter().position(|field| field.trim().eq_ignore_ascii_case(name.trim()));
        for named in self.map.iter().map(|(_, theirs)| theirs).chain(&self.drop) {
            if position(named).is_none() {
                let near =
                    nearest(named, header.iter()).map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
                refusals.push(format!("there is no column '{named}'{near}"));
            }
        }
        for (at, field) in header.iter().map(str::trim).enumerate() {
            let is = |name: &str| field.eq_ignore_ascii_case(name);
            if self.drop.iter().any(|dropped| is(dropped.trim())) || field.is_empty() {
                continue;
            }
            let mapped = self.map.iter().find(|(_, theirs)| is(theirs.trim())).map(|(ours, _)| ours.as_str());
            let found = COLUMNS.iter().position(|(name, others)| match mapped {
                Some(ours) => *name == ours,
                // A column that was mapped is taken from there, whatever else is called so.
                None => {
                    !self.map.iter().any(|(ours, _)| ours == name) && (is(name) || others.iter().any(|other| is(other)))
                }
            });
            match found {
                Some(place) if places[place].is_some() => {
                    refusals.push(format!("two columns are the {}: --drop one, or --map the other", COLUMNS[place].0));
                }
                Some(place) => places[place] = Some(at),
                None => refusals.push(format!(
                    "a list has no place for column '{field}': --map note=\"{field}\", or --drop \"{field}\""
                )),
            }
        }
        if places[0].is_none() {
            refusals.push("no column holds the addresses: --map email=COLUMN".to_owned());
        }
        if refusals.is_empty() { Ok(places) } else { Err(refusals) }
    }

    fn target(&self) -> Result<Target, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let documents: Vec<Document> =
            snapshot.documents().flat_map(|(path, bytes)| parse_bytes(path, bytes).documents).collect();
        let of_kind = |kind: &'static str| documents.iter().filter(move |document| document.kind == kind);
        let cohort = of_kind("Cohort").find(|document| document.name == self.cohort);
        let said = |document: &Document, pointer: &str| {
            document.root.at(pointer).and_then(|node| node.text().map(str::to_owned))
        };
        let named = cohort.and_then(|cohort| said(cohort, "/spec/program")).or_else(|| self.program.clone());
        let programs: Vec<&Document> = of_kind("Program").collect();
        let program = match (&named, programs.as_slice()) {
            (None, [only]) => only,
            (None, _) => return Err(CliError::Failed("name the cohort's program: --program".to_owned())),
            (Some(name), all) => all.iter().find(|program| program.name == *name).ok_or_else(|| {
                let near = nearest(name, all.iter().map(|program| program.name.as_str()));
                let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                CliError::Failed(format!("there is no program '{name}'{near}"))
            })?,
        };
        let rules = program.root.at("/spec/addresses").map(|node| node.to_json()).unwrap_or_default();
        let is = |field: &str| rules[field].as_bool().unwrap_or(false);
        let addresses = AddressRules { ignore_dots: is("ignoreDots"), ignore_plus: is("ignorePlus") };
        let Some(cohort) = cohort else {
            let (name, program) = (&self.cohort, &program.name);
            let text = format!(
                "apiVersion: betagate.dev/v1alpha1\nkind: Cohort\nmetadata: {{ name: {name} }}\nspec:\n  program: {program}\n  members: {{ csv: {name}.csv }}\n"
            );
            let folder = self.dir.join("cohorts");
            let document = folder.join(format!("{name}.yaml"));
            if document.exists() {
                return Err(CliError::Failed(format!("{} is there, and no cohort '{name}' in it", document.display())));
            }
            return Ok(Target { csv: folder.join(format!("{name}.csv")), document: Some((document, text)), addresses });
        };
        let Some(csv) = said(cohort, "/spec/members/csv") else {
            return Err(CliError::Failed(format!(
                "the members of cohort {} are no csv ({})",
                self.cohort, cohort.file
            )));
        };
        if cohort.root.at("/spec/members/hashed").is_some() {
            let why = "holds keyed hashes: betagate invite hash makes it";
            return Err(CliError::Failed(format!("the list of cohort {} {why}", self.cohort)));
        }
        let beside = Path::new(&*cohort.file).parent().unwrap_or(Path::new("")).join(&csv);
        let path = snapshot.named_by(&cohort.file, &csv).map_or(beside, |(path, _)| PathBuf::from(path));
        Ok(Target { csv: self.dir.join(path), document: None, addresses })
    }
}

/// Writes the list and its document: complete beside their places first, so that only names are left to change.
fn place(target: &Target, list: &[u8]) -> Result<(), CliError> {
    let failed = |path: &Path, error: std::io::Error| {
        CliError::Failed(format!("{}: {error}; nothing was written", path.display()))
    };
    if let Some(folder) = target.csv.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    }
    let mut files = vec![(&target.csv, list)];
    files.extend(target.document.iter().map(|(path, text)| (path, text.as_bytes())));
    let beside = |path: &Path| path.with_extension("importing");
    for (path, bytes) in &files {
        fs::write(beside(path), bytes).map_err(|error| failed(path, error))?;
        fs::rename(beside(path), path).map_err(|error| failed(path, error))?;
    }
    Ok(())
}
