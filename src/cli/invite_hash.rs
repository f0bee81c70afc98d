//! `betagate invite hash`: a list of addresses becomes a list of keyed hashes, which may lie in Git.
//!
//! Must not know: what becomes of the list.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::cohort::{AddressRules, ListOptions, Outcome, hash_text, parse_list};
use betagate_core::desired::nearest::nearest;
use clap::{Args, ValueEnum};

use super::{CliError, FAILED};
use crate::controller::build_snapshot;
use crate::keys::Keys;
use crate::source::read_folder;
use crate::store::people::address_hash;

/// Turns a list of addresses into one of keyed hashes: an allowlist that holds nobody's address, for members: { csv: …, hashed: true }. Who made the
/// invitation and notes are left out unless they are asked for; the order stays.
#[derive(Args)]
#[command(after_help = "Examples:\n  betagate invite hash --cohort pavia < addresses.csv > cohorts/pavia.csv\n  \
    betagate invite hash --cohort pavia addresses.csv --data /var/lib/betagate --keep invited-by")]
pub struct Hash {
    /// The list, as any other: with a header or as email,label,invited_by. Left out: standard input.
    #[arg(value_name = "FILE")]
    from: Option<PathBuf>,
    /// The cohort it is for, whose program says which spellings of an address are one person.
    #[arg(long)]
    cohort: String,
    /// Keeps a column that may name people.
    #[arg(long, value_enum, value_name = "COLUMN")]
    keep: Vec<Keep>,
    /// The folder with manifests/ and cohorts/.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The data folder of the installation that the list is for: its key makes the hashes.
    #[arg(long, default_value = ".betagate", env = "BETAGATE_DATA")]
    data: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// Who asked for a person.
    InvitedBy,
    /// Anything else that was said.
    Note,
}

impl Hash {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let addresses = self.address_rules()?;
        let keys = Keys::load(&self.data.join("keys")).map_err(|error| {
            CliError::Failed(format!(
                "the key of the installation is not here ({error}): name its data folder with --data"
            ))
        })?;
        let mut bytes = Vec::new();
        match &self.from {
            Some(path) => {
                bytes =
                    std::fs::read(path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
            }
            None => drop(std::io::stdin().lock().read_to_end(&mut bytes).map_err(CliError::failed)?),
        }
        let list = parse_list(&bytes, &ListOptions { read_as: addresses.into(), ..ListOptions::default() });
        list.survey.problems.iter().for_each(|problem| complain!("{problem}"));
        if list.survey.outcome() == Outcome::Broken {
            complain!("{} error(s); nothing was written", list.survey.errors);
            return Ok(ExitCode::from(FAILED));
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        let kept = |column: Keep| self.keep.contains(&column);
        let columns = [
            Some("hash"),
            Some("label"),
            Some("role"),
            Some("locale"),
            kept(Keep::InvitedBy).then_some("invited_by"),
            kept(Keep::Note).then_some("note"),
        ];
        writer.write_record(columns.into_iter().flatten()).map_err(CliError::failed)?;
        for row in &list.rows {
            let hash = hash_text(&keys.pseudonym.id, &address_hash(&keys, &row.email_norm));
            let fields = [
                Some(hash.as_str()),
                Some(&row.label),
                Some(&row.role),
                Some(&row.locale),
                kept(Keep::InvitedBy).then_some(&row.invited_by),
                kept(Keep::Note).then_some(&row.note),
            ];
            writer.write_record(fields.into_iter().flatten()).map_err(CliError::failed)?;
        }
        let bytes = writer.into_inner().map_err(CliError::failed)?;
        say_part!("{}", String::from_utf8_lossy(&bytes));
        Ok(ExitCode::SUCCESS)
    }

    /// Which spellings of an address are one person, as the cohort's program says.
    fn address_rules(&self) -> Result<AddressRules, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let built = build_snapshot(&snapshot, None, true).map_err(|problems| {
            problems.iter().for_each(|problem| complain!("{problem}"));
            CliError::Failed("the documents have errors: betagate validate".to_owned())
        })?;
        let programs = &built.desired.programs;
        let Some(program) = programs.values().find(|program| program.cohorts.contains_key(&self.cohort)) else {
            let all = programs.values().flat_map(|program| program.cohorts.keys()).map(String::as_str);
            let near = nearest(&self.cohort, all).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(CliError::Failed(format!("there is no cohort '{}'{near}", self.cohort)));
        };
        let rules = program.program.spec.addresses.clone().unwrap_or_default();
        Ok(AddressRules { ignore_dots: rules.ignore_dots, ignore_plus: rules.ignore_plus })
    }
}
