//! Declared incidents, sign-offs and invites become rows, the same that a webhook or the command line makes.
//!
//! The declared one wins where a recorded one has its name. An open incident whose document is removed stays open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use betagate_core::desired::ProgramDesired;
use betagate_core::resources::Edge;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;

use super::proofs::Proofs;
use super::{Controller, ControllerError};
use crate::store::{StoreError, Tx, audit, incidents, invites, signoffs, status};

impl Controller {
    /// Brings the records of a revision into the store, once a revision.
    pub(super) async fn record(&mut self, name: &str, day0: Date) -> Result<(), ControllerError> {
        let Some(built) = &self.built else { return Ok(()) };
        let revision = &built.desired.revision;
        let Some(program) = built.desired.programs.get(name) else { return Ok(()) };
        let state = self.programs.entry(name.to_owned()).or_default();
        let looks_again = state.prove_again.is_some_and(|at| Instant::now() >= at);
        // Taken over from an earlier revision as it was: nothing of it changed.
        if state.recorded.as_ref().is_some_and(|recorded| Arc::ptr_eq(recorded, program)) && !looks_again {
            return Ok(());
        }
        let program = program.clone();
        let proofs = self.proofs(&program).await?;
        let now = self.settings.clock.now();
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let (again, unchanged) = (proofs.again(), self.unchanged_incidents(&program));
        let mut tx = self.settings.store.begin().await?;
        crate::store::leadership::fence(&mut tx, self.epoch).await?;
        record_program(&mut tx, &program, &revision.id, &zone, day0, now).await?;
        record_incidents(&mut tx, &program, &unchanged, now).await?;
        record_signoffs(&mut tx, &program, (day0, &zone), &proofs, now).await?;
        record_invites(&mut tx, &program, &self.settings.keys, now).await?;
        tx.commit().await?;
        if let Some(state) = self.programs.get_mut(name) {
            (state.recorded, state.prove_again) = (Some(program), again);
        }
        Ok(())
    }
}

/// What API processes and the desk know of a program: its settings, its first day, its gates, rollouts and cohorts.
async fn record_program(
    tx: &mut Tx,
    program: &ProgramDesired,
    revision: &str,
    zone: &TimeZone,
    day0: Date,
    now: Timestamp,
) -> Result<(), StoreError> {
    let name = program.name().to_owned();
    let body = json!({ "spec": program.program.spec, "day0": day0 });
    let good = status::LastGood {
        kind: "Program".to_owned(),
        name: name.clone(),
        program: name.clone(),
        revision: revision.to_owned(),
        body,
        accepted_at: now,
    };
    status::keep_good(tx, &good).await?;
    let gates = program.gates.iter().map(|(gate, resource)| ("Gate", gate, serde_json::to_value(&resource.spec)));
    let rollouts =
        program.rollouts.iter().map(|(rollout, resource)| ("Rollout", rollout, serde_json::to_value(&resource.spec)));
    let cohorts =
        program.cohorts.iter().map(|(cohort, resource)| ("Cohort", cohort, serde_json::to_value(&resource.spec)));
    let mut kept = BTreeSet::from([("Program".to_owned(), name.clone())]);
    for (kind, own_name, body) in gates.chain(rollouts).chain(cohorts) {
        let good = status::LastGood {
            kind: kind.to_owned(),
            name: own_name.clone(),
            program: name.clone(),
            revision: revision.to_owned(),
            body: body.unwrap_or_default(),
            accepted_at: now,
        };
        status::keep_good(tx, &good).await?;
        kept.insert((good.kind, good.name));
    }
    status::keep_only(tx, &name, &kept).await?;
    crate::store::events::set_first_day(tx, &name, zone, crate::store::events::day_number(day0)).await
}

/// Documents that have not changed are in the record: what was said since of their incidents elsewhere stands.
async fn record_incidents(
    tx: &mut Tx,
    program: &ProgramDesired,
    unchanged: &BTreeSet<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (name, incident) in &program.incidents {
        if unchanged.contains(name) && incidents::is_from(tx, program.name(), name, incidents::DECLARED).await? {
            continue;
        }
        let spec = &incident.spec;
        let incident = incidents::Incident {
            program: program.name().to_owned(),
            name: name.clone(),
            severity: spec.severity.clone(),
            category: spec.category.clone().unwrap_or_default(),
            title: spec.title.clone(),
            started_at: spec.started_at,
            resolved_at: spec.resolved_at,
            acknowledged_at: spec.acknowledged_at,
            source: incidents::DECLARED.to_owned(),
            first_seen: now,
        };
        incidents::upsert(tx, &incident).await?;
    }
    Ok(())
}

async fn record_signoffs(
    tx: &mut Tx,
    program: &ProgramDesired,
    (day0, zone): (Date, &TimeZone),
    proofs: &Proofs,
    now: Timestamp,
) -> Result<(), ControllerError> {
    for (name, signoff) in &program.signoffs {
        let spec = &signoff.spec;
        let (verified, proof) = proofs.of(name);
        let word = signoffs::Signoff {
            until: spec.until.map(|until| until.resolve(day0, zone, Edge::End)),
            verified,
            ..signoffs::Signoff::recorded(name, spec, now, "document", proof)
        };
        match signoffs::record(tx, &word).await {
            // A word that was changed after it was said does not count: the recorded one stands.
            Err(StoreError::Conflict(_)) => {
                tracing::warn!(signoff = %name, "a sign-off is immutable; record another one")
            }
            // In files, the history of the repository has it.
            Ok(true) if proofs.are_of_resources() => {
                audit::append(tx, proofs.entry(program.name(), name, spec, now)).await?;
            }
            result => drop(result?),
        }
    }
    Ok(())
}

async fn record_invites(
    tx: &mut Tx,
    program: &ProgramDesired,
    keys: &crate::keys::Keys,
    now: Timestamp,
) -> Result<(), ControllerError> {
    let declared = || program.invites.iter().map(|(name, invite)| (name.as_str(), &invite.spec));
    let known = invites::declared_before(tx, program.name(), declared()).await?;
    for (name, invite) in program.invites.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        match invites::declare(tx, keys, program.name(), name, &invite.spec, now).await {
            Err(invites::InviteError::Store(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(invite = %name, error = %error, "a declared invite can't be made"),
            Ok(()) => {}
        }
    }
    Ok(())
}
