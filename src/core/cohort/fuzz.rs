//! Lists that nobody would write: bytes of real ones changed at random, 2,000 of them, `BETAGATE_SOAK` times as many.
//!
//! Whatever comes, the reader answers, names lines that are there, keeps within its bounds, and reads the same bytes the same way in blocks of
//! any size. A list without an error has the rows that the csv crate reads.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::survey::survey_in_blocks;
use super::*;

const INPUTS: u64 = 2_000;
/// Real lists, and forms that they lack.
const SEEDS: [&[u8]; 6] = [
    include_bytes!("../../../cohorts/pavia.csv"),
    include_bytes!("../../../cohorts/soft-launch.csv"),
    include_bytes!("../../../cohorts/eu-canary.csv"),
    b"\xef\xbb\xbfLabel,note,EMAIL,locale\r\nvip-1,\"met, twice\",Ada@Example.com,it\r\nx,\"two\r\nlines \"\"said\"\"\",bob@example.com,\r\n",
    "email,note\njos\u{e9}@example.com,\u{1f600}\nada@b\u{fc}cher.example,\n".as_bytes(),
    b"a@example.com,creator-a,host@example.com\n\n\"b@example.com\",listener-b\nc@mailinator.com\n",
];
const TOKENS: [&[u8]; 20] = [
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xe9",
    b";",
    b"\t",
    b"@",
    b"email",
    b",,,",
    b"\",\"",
    b"+x",
    b".",
    b"\xf0\x9f\x98\x80",
    b" ",
];

/// SplitMix64: the same inputs every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % (bound.max(1) as u64)).unwrap()
    }

    fn input(&mut self) -> Vec<u8> {
        let seed = SEEDS[self.below(SEEDS.len())];
        let mut bytes = seed[..seed.len().min(80 + self.below(1200))].to_vec();
        for _ in 0..self.below(6) {
            self.change(&mut bytes);
        }
        match self.below(40) {
            0 => String::from_utf8_lossy(&bytes).encode_utf16().flat_map(u16::to_le_bytes).collect(),
            1 => String::from_utf8_lossy(&bytes).chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
            _ => bytes,
        }
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let token = TOKENS[self.below(TOKENS.len())];
        let to = (at + self.below(60)).min(bytes.len());
        match self.below(7) {
            0 => drop(bytes.splice(at..at, token.iter().copied())),
            1 => drop(bytes.splice(at..to, token.iter().copied())),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                let target = self.below(bytes.len() + 1);
                drop(bytes.splice(target..target, piece));
            }
            4 if at < bytes.len() => bytes[at] = self.roll().to_le_bytes()[0],
            5 => bytes.truncate(at),
            _ => {
                let count = if self.below(50) == 0 { 70_000 } else { self.below(300) };
                let run = token.iter().copied().cycle().take(count);
                drop(bytes.splice(at..at, run));
            }
        }
    }
}

/// A row as the csv crate has it, in the order email, label, role, inviter, locale, note.
fn as_csv_reads(bytes: &[u8]) -> Vec<[String; 6]> {
    const NAMES: [&str; 6] = ["email", "label", "role", "invited_by", "locale", "note"];
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let records: Vec<csv::StringRecord> = reader.into_records().map(Result::unwrap).collect();
    let mut records =
        records.into_iter().filter(|record| !(record.len() == 1 && record[0].trim().is_empty())).peekable();
    let known = |field: &str| NAMES.iter().position(|name| field.trim().eq_ignore_ascii_case(name));
    let mut columns = vec![Some(0), Some(1), Some(3)];
    if let Some(header) =
        records.next_if(|first| !first[0].contains('@') && first.iter().any(|field| known(field).is_some()))
    {
        columns = header.iter().map(known).collect();
    }
    let row = |record: csv::StringRecord| {
        let mut row: [String; 6] = Default::default();
        for (field, column) in record.iter().zip(&columns) {
            row[column.unwrap()] = field.trim().to_owned();
        }
        if !columns.contains(&Some(2)) || row[2].is_empty() {
            row[2] = row[1].split('-').next().unwrap_or_default().to_owned();
        }
        row
    };
    records.map(row).collect()
}

fn look_at(bytes: &[u8], size: usize) {
    let options = ListOptions { needs: Needs::soft_launch(), ..ListOptions::default() };
    let report = parse_list(bytes, &options);
    let survey = &report.survey;
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    for problem in &survey.problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} of {lines} lines");
        let first = if let Fault::Duplicate { first } = problem.fault { first } else { 1 };
        assert!(first >= 1 && problem.line.is_none_or(|line| first <= line));
        assert!(!problem.fault.name().is_empty() && problem.to_string().len() < 700);
    }
    assert!(report.rows.iter().all(|row| (1..=lines).contains(&row.line) && row.email_norm.contains('@')));
    assert!(report.rows.is_sorted_by(|one, other| one.line < other.line));
    assert!(survey.rows > 0 || survey.errors > 0, "nothing was said of a list without a row");
    assert!(survey.problems.len() <= 2_000 && survey.first.len() <= 20);
    assert_eq!(survey.rows, report.rows.len() as u64);
    let blocks = survey_in_blocks(bytes, &options, size).unwrap();
    assert_eq!(format!("{survey:?}"), format!("{blocks:?}"), "in blocks of {size}");
    assert!(
        survey.buckets == blocks.buckets && survey.digest == Digesting::new(bytes, options.read_as).finish().unwrap()
    );
    if survey.errors == 0 {
        let rows: Vec<[String; 6]> = report
            .rows
            .iter()
            .map(|row| [&row.email, &row.label, &row.role, &row.invited_by, &row.locale, &row.note].map(Clone::clone))
            .collect();
        assert_eq!(rows, as_csv_reads(bytes));
        let lines = report.rows.iter().map(|row| u32::try_from(row.line).unwrap()).collect();
        let again = rows_at(bytes, lines);
        assert!(again == report.rows, "a row that is looked up by its line is another one");
    }
}

fn rows_at(bytes: &[u8], lines: Vec<u32>) -> Vec<ListRow> {
    let found = rows(bytes, AddressRules::default()).only_at(lines);
    found.filter_map(|entry| if let Ok(Entry::Row(row)) = entry { Some(row) } else { None }).collect()
}

#[test]
fn whatever_bytes_come_the_reader_answers_within_its_bounds() {
    let times: u64 = std::env::var("BETAGATE_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let (threads, inputs) = (2, INPUTS * times);
    let clean: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut clean = 0;
                    for number in (thread..inputs).step_by(2) {
                        let mut dice = Dice(number.wrapping_mul(0x0005_deec_e66d));
                        let bytes = dice.input();
                        let size = 1 + dice.below(3000);
                        let looked = std::panic::catch_unwind(|| look_at(&bytes, size));
                        assert!(looked.is_ok(), "input {number}: {:?}", String::from_utf8_lossy(&bytes));
                        let survey = parse_list(&bytes, &ListOptions::default()).survey;
                        clean += u64::from(survey.errors == 0);
                    }
                    clean
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    // Both kinds come often, or nothing was tried.
    assert!(clean * 10 > inputs && clean * 10 < inputs * 9, "{clean} of {inputs} lists had no error");
}
