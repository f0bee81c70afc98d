//! Where a cohort's list is: a file beside its document, the document itself, or a secret; and how one of its lines is named.
//!
//! Must not know: what stands in a list.

use std::path::Path;
use std::sync::Arc;

use betagate_core::cohort::ReadAs;
use betagate_core::desired::parse::parse_bytes;
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::resources::{AcrossCohorts, CohortSpec};

use super::address_rules;
use crate::secrets::secret_in;
use crate::source::Snapshot;
use crate::store::cohort_lists::{Beside, ListSource};

/// A list that was found.
pub struct FoundList {
    /// Its bytes.
    pub source: ListSource,
    /// Their digest, as the snapshot has it.
    pub digest: String,
    /// Where it is.
    pub place: Place,
}

/// Where a list is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of the snapshot.
    File(String),
    /// Members in their document: the lines on which they stand, by the line that each has as CSV.
    Inline(String, Vec<(u64, u32)>),
    /// A secret's name.
    Secret(String),
}

impl Place {
    /// `cohorts/pavia.csv`, or `secret pavia-list`.
    pub fn name(&self) -> String {
        match self {
            Self::File(file) | Self::Inline(file, _) => file.clone(),
            Self::Secret(name) => format!("secret {name}"),
        }
    }

    /// The line of the file on which a line of the list stands.
    pub fn line(&self, line: u64) -> u64 {
        match self {
            Self::File(_) | Self::Secret(_) => line,
            Self::Inline(_, lines) => {
                let member = lines.partition_point(|(first, _)| *first <= line).saturating_sub(1);
                lines.get(member).map_or(1, |(_, at)| u64::from(*at))
            }
        }
    }

    /// `cohorts/pavia.csv:12`, or `secret pavia-list:12`.
    pub fn at(&self, line: u64) -> String {
        format!("{}:{}", self.name(), self.line(line))
    }
}

/// Finds a cohort's list.
///
/// # Errors
/// Why it is not to be had, in words.
pub fn find_list(snapshot: &Snapshot, cohort: &Resource<CohortSpec>, data: &Path) -> Result<FoundList, String> {
    let members = &cohort.spec.members;
    if let Some(csv) = &members.csv {
        let (path, file) = snapshot.named_by(&cohort.origin.file, csv).map_err(|error| error.to_string())?;
        let source = match file.on_disk() {
            Some(path) => ListSource::File(path.to_owned()),
            None => ListSource::Bytes(file.read().map_err(|error| error.to_string())?),
        };
        return Ok(FoundList { source, digest: file.digest().to_owned(), place: Place::File(path.to_owned()) });
    }
    let (bytes, place) = match &members.secret_ref {
        Some(secret) => (secret_bytes(data, secret)?, Place::Secret(secret.clone())),
        None => inline_csv(snapshot, cohort)?,
    };
    use sha2::Digest as _;
    let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&bytes));
    Ok(FoundList { source: ListSource::Bytes(Arc::from(bytes)), digest, place })
}

/// A secret as it is: one that is not UTF-8 is for whoever reads the list to speak of.
fn secret_bytes(data: &Path, name: &str) -> Result<Vec<u8>, String> {
    use secrecy::ExposeSecret as _;
    match secret_in(data, name) {
        Ok(text) => Ok(text.expose_secret().as_bytes().to_vec()),
        Err(reason) if name.contains('/') || name.starts_with('.') => Err(reason),
        Err(reason) => std::fs::read(data.join("secrets").join(name)).map_err(|_| reason),
    }
}

/// Inline members as CSV, and where each of them stands.
fn inline_csv(snapshot: &Snapshot, cohort: &Resource<CohortSpec>) -> Result<(Vec<u8>, Place), String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let wrong = |error: csv::Error| error.to_string();
    writer.write_record(["email", "label", "role", "invited_by", "locale", "note"]).map_err(wrong)?;
    let file = cohort.origin.file.to_string();
    let parsed = snapshot.documents().find(|(path, _)| *path == file).map(|(path, bytes)| parse_bytes(path, bytes));
    let documents = parsed.map(|parsed| parsed.documents).unwrap_or_default();
    let document = documents.iter().find(|document| document.kind == "Cohort" && document.name == cohort.name);
    let (mut lines, mut line) = (Vec::new(), 2);
    for (place, member) in cohort.spec.members.inline.iter().flatten().enumerate() {
        let fields = [&member.label, &member.role, &member.invited_by, &member.locale, &member.note];
        let fields = fields.map(|field| field.as_deref().unwrap_or_default());
        writer.write_record(std::iter::once(member.email.as_str()).chain(fields)).map_err(wrong)?;
        let position = document.map(|document| document.root.position(&format!("/spec/members/inline/{place}")));
        lines.push((line, position.map_or(cohort.origin.line, |position| position.line)));
        let breaks: usize =
            fields.iter().chain([&member.email.as_str()]).map(|field| field.matches('\n').count()).sum();
        line += 1 + breaks as u64;
    }
    Ok((writer.into_inner().map_err(|error| error.to_string())?, Place::Inline(file, lines)))
}

/// How a cohort's rows are told from each other.
pub(super) fn read_as(program: &ProgramDesired, spec: &CohortSpec) -> ReadAs {
    ReadAs { addresses: address_rules(Some(program)), hashed: spec.members.hashed }
}

/// The lists of the program's other cohorts, where the program wants to know who is in two. One that can't be found is passed over.
pub(in crate::controller) fn lists_beside(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    name: &str,
    data: &Path,
) -> Vec<Beside> {
    let across = program.program.spec.addresses.as_ref().and_then(|rules| rules.across_cohorts).unwrap_or_default();
    if across == AcrossCohorts::Allow {
        return Vec::new();
    }
    let others = program.cohorts.iter().filter(|(other, _)| *other != name);
    let found = others.filter_map(|(other, cohort)| {
        let FoundList { source, place, .. } = find_list(snapshot, cohort, data).ok()?;
        let at = Arc::new(move |line| place.at(line));
        let refused = across == AcrossCohorts::Refuse;
        Some(Beside { cohort: other.clone(), source, read_as: read_as(program, &cohort.spec), refused, at })
    });
    found.collect()
}
