//! People's words: sign-offs, incidents, freezes, and what the controller is asked for.

use betagate_core::resources::{Kind, Moment, Says, SignoffSpec, check_title};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::names::unknown;
use super::{Bringer, Desk, DeskError};
use crate::controller::{MEASURE_GATE, REHEARSE, START_ROLLBACK, TRIGGER_SOURCE, in_its_calendar};
use crate::store::freezes::{self, Freeze};
use crate::store::incidents::{self, Incident};
use crate::store::signoffs::{self, Signoff};
use crate::store::{intents, invites, readings, status};

const SEVERITIES: [&str; 4] = ["sev-1", "sev-2", "sev-3", "sev-4"];
/// The longest name of a resource.
const LONGEST_NAME: usize = 63;

/// An incident that somebody tells of.
pub(super) struct NewIncident {
    pub name: String,
    pub severity: String,
    pub title: String,
    pub category: String,
    pub started_at: Timestamp,
}

impl Desk<'_> {
    /// Where the words came from, for the record of a sign-off.
    fn source(&self) -> &'static str {
        match self.bringer {
            Bringer::Record => "cli",
            Bringer::Caller(_) => "api",
        }
    }

    pub(super) async fn sign(&self, program: Option<String>, word: SignoffSpec) -> Result<Value, DeskError> {
        // A lift names its run, and the run its program.
        let program = match (program, &word.run) {
            (None, Some(run)) => self.one(Kind::Rollback, run).await?.program,
            (named, _) => {
                let rollout = word.rollout.as_deref().map(|rollout| (Kind::Rollout, rollout));
                let gate = word.gate.as_deref().map(|gate| (Kind::Gate, gate));
                self.program_of(named, rollout.or(gate)).await?
            }
        };
        let word = SignoffSpec { program: program.clone(), ..word };
        let word = in_its_calendar(self.store, &program, word).await?;
        self.expect_about(&program, &word).await?;
        self.expect_person(&program, &word.by).await?;
        self.expect_scope(&program, &word).await?;
        self.expect_effect(&program, &word).await?;
        let name = format!("recorded-{}", Uuid::now_v7());
        let mut tx = self.store.begin().await?;
        let proof = match self.bringer {
            Bringer::Record => {
                "it was given on the command line beside the record, where anybody is whom they say they are"
            }
            Bringer::Caller(_) => "it was given over the API, whose caller says who they are",
        };
        signoffs::record(&mut tx, &Signoff::recorded(&name, &word, self.now, self.source(), proof)).await?;
        self.note(&mut tx, (&program, &word.by), "signoff.recorded", format!("Signoff/{name}"), json!(word)).await?;
        tx.commit().await?;
        Ok(json!({ "name": name }))
    }

    /// A NO-GO in a decision call says what is to be mended, and when the next call is.
    async fn expect_scope(&self, program: &str, word: &SignoffSpec) -> Result<(), DeskError> {
        let (Says::NoGo, Some(rollout)) = (word.says, &word.rollout) else { return Ok(()) };
        let all = status::all_good(self.store).await?;
        let good = all.iter().find(|good| good.kind == "Rollout" && good.program == program && good.name == *rollout);
        let stages = good.and_then(|good| good.body["stages"].as_array()).into_iter().flatten();
        let mut stage = stages.filter(|stage| stage["name"].as_str() == word.stage.as_deref());
        let has_call = stage.next().is_some_and(|stage| stage["enter"]["signoffs"]["call"].is_object());
        match word.no_go_lacks(has_call).first() {
            Some((field, what)) => Err(DeskError::Usage(format!("a no-go needs --{field}: {what}"))),
            None => Ok(()),
        }
    }

    /// A word that can never count is not taken: whoever says it is to know.
    async fn expect_effect(&self, program: &str, word: &SignoffSpec) -> Result<(), DeskError> {
        let refuse = |why: String| Err(DeskError::Usage(why));
        if word.by.is_empty() {
            return refuse("a word needs --by: who says it".to_owned());
        }
        if let Some(Moment::Instant(until)) = word.until
            && until <= self.now
        {
            return refuse(format!("--until {until} is over already: the word would never count"));
        }
        let silent = word.note.as_deref().is_none_or(|note| note.trim().is_empty());
        if silent && matches!(word.says, Says::Waive | Says::AcceptMitigation) {
            return refuse("a waiver and an accepted mitigation need --note: why".to_owned());
        }
        match (word.says, &word.gate, &word.check) {
            (Says::Done, Some(gate), Some(check)) => self.expect_asked(program, (gate, check), &word.by).await,
            (Says::Acknowledge, ..) => match word.object.as_deref().map(is_object) {
                Some(false) => refuse(format!(
                    "'{}' is no object: it is KIND/NAME as plan prints it, such as Cohort/pavia",
                    word.object.as_deref().unwrap_or_default()
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// `done` is said of what is signed, by somebody who is asked.
    async fn expect_asked(&self, program: &str, (gate, check): (&str, &str), by: &str) -> Result<(), DeskError> {
        let all = status::all_good(self.store).await?;
        let good = all.iter().find(|good| good.kind == "Gate" && good.program == program && good.name == gate);
        let checks = good.and_then(|good| good.body["checks"].as_array()).into_iter().flatten();
        let Some(asked) = checks.into_iter().find(|one| one["name"] == check) else { return Ok(()) };
        let Some(signoff) = asked.get("signoff") else {
            return Err(DeskError::Usage(format!("check '{check}' is measured: nobody signs it")));
        };
        let from: Vec<&str> = signoff["from"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if from.is_empty() || from.contains(&by) {
            return Ok(());
        }
        Err(DeskError::Usage(format!("check '{check}' is signed by {}, not by {by}", from.join(" or "))))
    }

    /// What a word is about must be there.
    async fn expect_about(&self, program: &str, word: &SignoffSpec) -> Result<(), DeskError> {
        if let Some(rollout) = &word.rollout {
            self.expect_known(program, Kind::Rollout, rollout).await?;
        }
        if let Some(run) = &word.run {
            self.expect_known(program, Kind::Rollback, run).await?;
        }
        if let Some(gate) = &word.gate {
            self.expect_known(program, Kind::Gate, gate).await?;
        }
        let all = status::all_good(self.store).await?;
        let named = |kind: &str, name: &str, list: &str| -> Vec<String> {
            let good = all.iter().find(|good| good.kind == kind && good.program == program && good.name == name);
            let listed = good.and_then(|good| good.body[list].as_array()).into_iter().flatten();
            listed.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
        };
        for (what, of, within, name) in
            [("check", "Gate", &word.gate, &word.check), ("stage", "Rollout", &word.rollout, &word.stage)]
        {
            let (Some(within), Some(name)) = (within, name) else { continue };
            let known = named(of, within, if what == "check" { "checks" } else { "stages" });
            if !known.contains(name) {
                return Err(unknown(what, name, &format!("{} '{within}'", of.to_lowercase()), &known));
            }
        }
        Ok(())
    }

    pub(super) async fn open_incident(
        &self,
        program: Option<String>,
        new: NewIncident,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program(program).await?;
        if !is_name(&new.name) {
            let rule = "lower-case letters, digits and dashes, at most 63, a letter or digit at both ends";
            return Err(DeskError::Usage(format!("'{}' is no name for an incident: {rule}", new.name)));
        }
        if !SEVERITIES.contains(&new.severity.as_str()) {
            return Err(DeskError::Usage(format!("'{}' is no severity; sev-1 to sev-4", new.severity)));
        }
        let title = new.title.trim();
        check_title(title).map_err(DeskError::Usage)?;
        self.expect_person(&program, by).await?;
        let known = incidents::list(self.store, &program, None).await?;
        if let Some(other) = known.iter().find(|other| other.name == new.name) {
            let state = if other.resolved_at.is_none() { "is open" } else { "was open" };
            let again = format!("give this one another name, such as {}-2", new.name);
            return Err(DeskError::Refused(format!("an incident '{}' {state} already; {again}", new.name)));
        }
        let detail = json!({ "severity": new.severity, "title": title, "startedAt": new.started_at });
        let object = format!("Incident/{}", new.name);
        let incident = Incident {
            program: program.clone(),
            name: new.name,
            severity: new.severity,
            category: new.category,
            title: title.to_owned(),
            started_at: new.started_at,
            resolved_at: None,
            acknowledged_at: None,
            source: self.source().to_owned(),
            first_seen: self.now,
        };
        let mut tx = self.store.begin().await?;
        incidents::open(&mut tx, &incident).await?;
        self.note(&mut tx, (&program, by), "incident.opened", object, detail).await?;
        tx.commit().await?;
        Ok(json!({ "name": incident.name, "startedAt": incident.started_at }))
    }

    pub(super) async fn close_incident(
        &self,
        program: Option<String>,
        name: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = match program {
            None => self.program_with_incident(name).await?,
            named => self.program(named).await?,
        };
        self.expect_person(&program, by).await?;
        let mut tx = self.store.begin().await?;
        if !incidents::close(&mut tx, &program, name, self.now).await? {
            let open = incidents::list(self.store, &program, None).await?;
            let open = open.into_iter().filter(|one| one.resolved_at.is_none()).map(|one| one.name);
            return Err(unknown("open incident", name, &format!("program '{program}'"), &open.collect::<Vec<_>>()));
        }
        self.note(&mut tx, (&program, by), "incident.closed", format!("Incident/{name}"), json!({})).await?;
        tx.commit().await?;
        Ok(json!({ "name": name }))
    }

    /// The program that has an open incident of this name, if only one has.
    async fn program_with_incident(&self, name: &str) -> Result<String, DeskError> {
        let mut with = Vec::new();
        for good in status::all_good(self.store).await?.into_iter().filter(|good| good.kind == "Program") {
            let open = incidents::list_open(self.store, &good.name).await?;
            with.extend(open.iter().any(|one| one.name == name).then_some(good.name));
        }
        self.program(with.pop().filter(|_| with.is_empty())).await
    }

    /// Needs nothing but the record: break glass. Whoever says so is not looked up: the program's people may be what is missing.
    pub(super) async fn freeze(
        &self,
        program: Option<String>,
        cohort: Option<String>,
        reason: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program_of(program, cohort.as_deref().map(|cohort| (Kind::Cohort, cohort))).await?;
        // A cohort with rows is known to the database itself, whatever the documents say by now. In an emergency nothing is worse than a
        // freeze that holds nobody.
        if let Some(cohort) = &cohort
            && invites::cohort_state(self.store, &program, cohort).await?.is_none()
        {
            self.expect_known(&program, Kind::Cohort, cohort).await?;
        }
        let freeze = Freeze {
            program: program.clone(),
            cohort: cohort.clone().unwrap_or_default(),
            holder: format!("{}{by}", betagate_core::decide::BY_HAND),
            reason: reason.to_owned(),
            since: self.now,
        };
        let mut tx = self.store.begin().await?;
        let new = freezes::freeze(&mut tx, &freeze).await?;
        let detail = json!({ "cohort": cohort, "reason": reason });
        self.note(&mut tx, (&program, by), "frozen", format!("Program/{program}"), detail).await?;
        tx.commit().await?;
        Ok(json!({ "program": program, "cohort": cohort, "new": new }))
    }

    pub(super) async fn start_rollback(
        &self,
        program: Option<String>,
        plan: &str,
        reason: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program_of(program, Some((Kind::RollbackPlan, plan))).await?;
        self.expect_known(&program, Kind::RollbackPlan, plan).await?;
        self.expect_person(&program, by).await?;
        let body = json!({ "program": program, "plan": plan, "reason": reason });
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, START_ROLLBACK, self.voice(by), &body, self.now).await?;
        self.note(&mut tx, (&program, by), "rollback.requested", format!("RollbackPlan/{plan}"), body).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }

    pub(super) async fn rehearse(
        &self,
        program: Option<String>,
        plan: &str,
        deliver_to: Option<&str>,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program_of(program, Some((Kind::RollbackPlan, plan))).await?;
        self.expect_known(&program, Kind::RollbackPlan, plan).await?;
        self.expect_person(&program, by).await?;
        let body = json!({ "program": program, "plan": plan, "deliverTo": deliver_to, "by": self.voice(by) });
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, REHEARSE, self.voice(by), &body, self.now).await?;
        self.note(&mut tx, (&program, by), "rehearsal.requested", format!("RollbackPlan/{plan}"), body).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }

    pub(super) async fn measure(&self, gate: &str, by: &str) -> Result<Value, DeskError> {
        let program = self.one(Kind::Gate, gate).await?.program;
        self.expect_person(&program, by).await?;
        let body = json!({ "program": program, "gate": gate });
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, MEASURE_GATE, self.voice(by), &body, self.now).await?;
        self.note(&mut tx, (&program, by), "gate.measurement-requested", format!("Gate/{gate}"), json!({})).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }

    pub(super) async fn note_review(&self, gate: &str, text: &str, by: &str) -> Result<Value, DeskError> {
        let program = self.one(Kind::Gate, gate).await?.program;
        self.expect_person(&program, by).await?;
        let mut tx = self.store.begin().await?;
        if !readings::note(&mut tx, &program, gate, text).await? {
            return Err(DeskError::Refused(format!("gate '{gate}' was not reviewed yet")));
        }
        self.note(&mut tx, (&program, by), "review.noted", format!("Gate/{gate}"), json!(text)).await?;
        tx.commit().await?;
        Ok(json!({ "gate": gate }))
    }

    pub(super) async fn apply(&self) -> Result<Value, DeskError> {
        let who = match &self.bringer {
            Bringer::Record => "cli",
            Bringer::Caller(caller) => caller,
        };
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, TRIGGER_SOURCE, who, &json!({}), self.now).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }
}

/// A name as a cluster takes it (RFC 1123, a label).
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || c == '-')
}

/// Whether a text names an object as plans do: a kind as it is spelt, and a name.
fn is_object(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('/') else { return false };
    Kind::ALL.iter().any(|known| known.name() == kind) && !name.is_empty()
}
