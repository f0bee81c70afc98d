//! Stopping the line, of one program or of all, and letting it go on; taking note of an incident.

use betagate_core::resources::Kind;
use serde_json::{Value, json};

use super::names::unknown;
use super::{Desk, DeskError};
use crate::store::stops::{self, Stop};
use crate::store::{incidents, status};

impl Desk<'_> {
    pub(super) async fn stop_line(
        &self,
        program: Option<String>,
        everywhere: bool,
        reason: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        if reason.trim().is_empty() {
            return Err(DeskError::Usage("say why, with --reason".to_owned()));
        }
        let program = self.line(program, everywhere, by).await?;
        let (reason, voice) = (reason.to_owned(), self.voice(by).to_owned());
        let stop = Stop { program: program.clone(), reason: reason.clone(), by: voice, since: self.now };
        let mut tx = self.store.begin().await?;
        let new = stops::stop(&mut tx, &stop).await?;
        self.tell_line(&mut tx, program.as_deref(), by, "line.stopped", json!({ "reason": reason })).await?;
        tx.commit().await?;
        Ok(json!({ "program": program, "new": new }))
    }

    pub(super) async fn resume_line(
        &self,
        program: Option<String>,
        everywhere: bool,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.line(program, everywhere, by).await?;
        let mut tx = self.store.begin().await?;
        if !stops::resume(&mut tx, program.as_deref()).await? {
            let whose = program.as_ref().map_or("every program".to_owned(), |name| format!("program '{name}'"));
            return Err(DeskError::Refused(format!("the line of {whose} is not stopped")));
        }
        self.tell_line(&mut tx, program.as_deref(), by, "line.resumed", json!({})).await?;
        tx.commit().await?;
        Ok(json!({ "program": program }))
    }

    /// Whose line it is: none for all, which anybody of any program's people may stop.
    async fn line(&self, program: Option<String>, everywhere: bool, by: &str) -> Result<Option<String>, DeskError> {
        if !everywhere {
            let program = self.program(program).await?;
            self.expect_person(&program, by).await?;
            return Ok(Some(program));
        }
        if program.is_some() {
            return Err(DeskError::Usage("name a program, or all of them".to_owned()));
        }
        let all = status::all_good(self.store).await?;
        let programs: Vec<_> = all.iter().filter(|good| good.kind == Kind::Program.name()).collect();
        let mut refused = None;
        for good in &programs {
            match self.expect_person(&good.name, by).await {
                Ok(()) => return Ok(None),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    async fn tell_line(
        &self,
        tx: &mut crate::store::Tx,
        program: Option<&str>,
        by: &str,
        action: &str,
        detail: Value,
    ) -> Result<(), DeskError> {
        let name = program.unwrap_or_default();
        let object = if name.is_empty() { "Program/*".to_owned() } else { format!("Program/{name}") };
        self.note(tx, (name, by), action, object, detail).await
    }

    pub(super) async fn acknowledge_incident(
        &self,
        program: Option<String>,
        name: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let known = if program.is_none() { incidents::programs_with(self.store, name).await? } else { Vec::new() };
        let program = match known.as_slice() {
            [only] => only.clone(),
            _ => self.program(program).await?,
        };
        self.expect_person(&program, by).await?;
        if incidents::get(self.store, &program, name).await?.is_none() {
            let known = incidents::list(self.store, &program, None).await?.into_iter().map(|one| one.name);
            return Err(unknown("incident", name, &format!("program '{program}'"), &known.collect::<Vec<_>>()));
        }
        let mut tx = self.store.begin().await?;
        if !incidents::acknowledge(&mut tx, &program, name, self.now).await? {
            return Err(DeskError::Refused(format!("somebody took note of incident '{name}' before")));
        }
        let object = format!("Incident/{name}");
        self.note(&mut tx, (&program, by), "incident.acknowledged", object, json!({})).await?;
        tx.commit().await?;
        Ok(json!({ "name": name }))
    }
}
