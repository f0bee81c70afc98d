//! Cohort lists: checked, compared, guarded, then brought in by digest. A million rows never pass through `plan`.

use std::sync::Arc;

use betagate_core::cohort::{AddressRules, ListOptions, Needs, Outcome, Survey};
use betagate_core::decide::Readings;
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::plan::ListDelta;
use betagate_core::resources::{CohortSpec, Edge, Says};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Controller, ControllerError, commit::ACTOR, revision::secret_in};
use crate::source::Snapshot;
use crate::store::cohort_lists::{self, Change, CohortList, ListError, ListSource, Prepared, Writer};

/// The share of a list that one change may revoke without a word, in per cent, when the program does not say.
const MASS_CHANGE_PERCENT: u8 = 20;

/// A list that is ready to be brought in, or waits.
pub(super) struct ReadyList {
    pub list: CohortList,
    pub prepared: Prepared,
    pub delta: ListDelta,
    /// The digest of the file, as the snapshot has it.
    pub file: String,
}

impl Controller {
    /// The lists of opened cohorts that differ from what is in the database. One that is broken waits, with the reason.
    pub(super) async fn changed_lists(
        &mut self,
        name: &str,
        opened: Vec<String>,
        readings: &Readings,
        day0: Date,
    ) -> Result<Vec<ReadyList>, ControllerError> {
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(Vec::new()) };
        let Some(program) = built.desired.programs.get(name).cloned() else { return Ok(Vec::new()) };
        let mut ready = Vec::new();
        for cohort in opened {
            let Some(resource) = program.cohorts.get(&cohort) else { continue };
            let (source, file) = match list_source(&snapshot, resource, &self.settings.data) {
                Ok(found) => found,
                Err(reason) => {
                    self.list_waits(name, &cohort, Some(reason));
                    continue;
                }
            };
            let state = self.programs.entry(name.to_owned()).or_default();
            let known = state.lists.get(&cohort) == Some(&file);
            if known && !state.list_waits.contains_key(&cohort) {
                continue;
            }
            let list = CohortList { program: name.to_owned(), cohort: cohort.clone(), source };
            let options = options(&program, &resource.spec);
            match cohort_lists::prepare(&self.settings.store, &self.settings.keys, &list, &options).await {
                Ok(prepared) => {
                    let now = self.settings.clock.now();
                    let guard = guard(&program, resource, &prepared, readings, day0, now);
                    self.list_waits(name, &cohort, guard.clone());
                    let delta = delta(&prepared, guard);
                    ready.push(ReadyList { list, prepared, delta, file });
                }
                Err(ListError::Broken(survey)) => {
                    let first = survey.problems.first().map(ToString::to_string).unwrap_or_default();
                    let reason = format!("its list is broken ({} problem(s)): {first}", survey.errors);
                    self.list_waits(name, &cohort, Some(reason));
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                Err(error) => self.list_waits(name, &cohort, Some(error.to_string())),
            }
        }
        Ok(ready)
    }

    fn list_waits(&mut self, name: &str, cohort: &str, reason: Option<String>) {
        let state = self.programs.entry(name.to_owned()).or_default();
        match reason {
            Some(reason) => {
                if state.list_waits.insert(cohort.to_owned(), reason.clone()).as_ref() != Some(&reason) {
                    tracing::warn!(program = name, cohort, %reason, "a list waits");
                }
            }
            None => drop(state.list_waits.remove(cohort)),
        }
    }

    /// Brings the lists in that wait for nobody.
    pub(super) async fn bring_in(&mut self, name: &str, lists: Vec<ReadyList>) -> Result<(), ControllerError> {
        for ready in lists.into_iter().filter(|ready| ready.delta.guard.is_none()) {
            let writer = Writer { actor: ACTOR, epoch: Some(self.epoch) };
            let now = self.settings.clock.now();
            match cohort_lists::bring_in(&self.settings.store, &ready.list, &ready.prepared, writer, now).await {
                Ok(brought) => {
                    if brought != cohort_lists::Brought::default() {
                        let (added, revoked) = (brought.added, brought.revoked);
                        tracing::info!(program = name, cohort = %ready.list.cohort, added, revoked, "brought a list in");
                    }
                    let state = self.programs.entry(name.to_owned()).or_default();
                    state.lists.insert(ready.list.cohort, ready.file);
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                Err(error) => self.list_waits(name, &ready.list.cohort, Some(error.to_string())),
            }
        }
        Ok(())
    }
}

/// Which spellings of an address are one person, in a program.
pub(super) fn address_rules(program: Option<&ProgramDesired>) -> AddressRules {
    let rules = program.and_then(|program| program.program.spec.addresses.clone()).unwrap_or_default();
    AddressRules { ignore_dots: rules.ignore_dots, ignore_plus: rules.ignore_plus }
}

/// How a cohort's list is read and what it must have.
pub(super) fn options(program: &ProgramDesired, spec: &CohortSpec) -> ListOptions {
    let require = &spec.require;
    let needs = Needs { rows: require.rows, labels: require.labels, roles: require.roles.clone() };
    ListOptions { addresses: address_rules(Some(program)), needs, disposable: Vec::new() }
}

/// Where a cohort's list is, and the digest of its bytes.
pub(super) fn list_source(
    snapshot: &Snapshot,
    cohort: &Resource<CohortSpec>,
    data: &std::path::Path,
) -> Result<(ListSource, String), String> {
    let members = &cohort.spec.members;
    if members.hashed {
        return Err("lists of keyed hashes are not supported yet".to_owned());
    }
    if let Some(csv) = &members.csv {
        let (_, file) = snapshot.named_by(&cohort.origin.file, csv).map_err(|error| error.to_string())?;
        let digest = file.digest().to_owned();
        let source = match file.on_disk() {
            Some(path) => ListSource::File(path.to_owned()),
            None => ListSource::Bytes(file.read().map_err(|error| error.to_string())?),
        };
        return Ok((source, digest));
    }
    let bytes: Vec<u8> = if let Some(secret) = &members.secret_ref {
        use secrecy::ExposeSecret as _;
        secret_in(data, secret)?.expose_secret().as_bytes().to_vec()
    } else {
        inline_csv(cohort)?
    };
    use sha2::Digest as _;
    let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&bytes));
    Ok((ListSource::Bytes(Arc::from(bytes)), digest))
}

fn inline_csv(cohort: &Resource<CohortSpec>) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let wrong = |error: csv::Error| error.to_string();
    writer.write_record(["email", "label", "role", "invited_by", "locale", "note"]).map_err(wrong)?;
    for member in cohort.spec.members.inline.iter().flatten() {
        let fields = [&member.label, &member.role, &member.invited_by, &member.locale, &member.note];
        let fields = fields.map(|field| field.as_deref().unwrap_or_default());
        writer.write_record(std::iter::once(member.email.as_str()).chain(fields)).map_err(wrong)?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

/// Why a list waits for a person: warnings, a change after its lock, a change that revokes too many.
fn guard(
    program: &ProgramDesired,
    cohort: &Resource<CohortSpec>,
    prepared: &Prepared,
    readings: &Readings,
    day0: Date,
    now: Timestamp,
) -> Option<String> {
    let mut reasons = Vec::new();
    let delta = &prepared.delta;
    if prepared.survey.outcome() == Outcome::NeedsAcknowledgement && !delta.is_empty() {
        let words: Vec<_> = prepared.survey.problems.iter().take(3).map(ToString::to_string).collect();
        reasons.push(format!("warnings need an acknowledgement: {}", words.join("; ")));
    }
    let percent = program.program.spec.mass_change_percent.unwrap_or(MASS_CHANGE_PERCENT);
    if delta.share_removed() * 100.0 > f64::from(percent) {
        reasons.push(format!("it would revoke more than {percent} % of the list"));
    }
    if let Some(lock) = cohort.spec.lock_list {
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let locked_at = lock.resolve(day0, &zone, Edge::Start);
        if now >= locked_at && delta.from.is_some() && !delta.is_empty() {
            reasons.push(format!("the list is locked since {locked_at}"));
        }
    }
    let object = format!("Cohort/{}", cohort.name);
    let acknowledged = readings.signoffs.iter().any(|word| {
        word.spec.says == Says::Acknowledge
            && word.spec.object.as_deref() == Some(&object)
            && word.spec.digest.as_deref() == Some(&delta.digest)
    });
    (!reasons.is_empty() && !acknowledged).then(|| reasons.join("; "))
}

fn delta(prepared: &Prepared, guard: Option<String>) -> ListDelta {
    let delta = &prepared.delta;
    let first = delta.first.iter().map(|shown| {
        let sign = match shown.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        let label = if shown.label.is_empty() { String::new() } else { format!(" ({})", shown.label) };
        format!("{sign} {}{label}", shown.email)
    });
    ListDelta {
        digest: delta.digest.clone(),
        added: delta.added,
        removed: delta.removed,
        changed: delta.changed,
        members_removed: delta.removed_members,
        total: delta.rows,
        first: first.collect(),
        guard,
    }
}

/// Checks a cohort's list as it lies in a snapshot.
///
/// # Errors
/// When the list can't be found or read.
pub fn survey_list(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    name: &str,
    data: &std::path::Path,
) -> Result<Survey, String> {
    let cohort = program.cohorts.get(name).ok_or_else(|| format!("there is no cohort '{name}'"))?;
    let (source, _) = list_source(snapshot, cohort, data)?;
    let options = options(program, &cohort.spec);
    let survey = match source {
        ListSource::File(path) => {
            std::fs::File::open(path).and_then(|file| betagate_core::cohort::survey(file, &options))
        }
        ListSource::Bytes(bytes) => betagate_core::cohort::survey(&bytes[..], &options),
    };
    survey.map_err(|error| error.to_string())
}
