//! What flags give, to whom, and why.

use betagate_core::cohort::{AddressRules, normalise};
use betagate_core::flags::{Asker, Context, FlagSet, Membership, cohort_key, explain};
use serde_json::{Map, Value, json};

use super::names::unknown;
use super::{Desk, DeskError};
use crate::controller::SET_FLAG;
use crate::store::flags::{self, Snapshot};
use crate::store::{intents, members};

impl Desk<'_> {
    pub(super) async fn get_flag(&self, key: &str, context: Value) -> Result<Value, DeskError> {
        let (snapshot, context, members) = self.flag_question(context).await?;
        let definitions = definitions(&snapshot);
        let (set, _) =
            FlagSet::compile(definitions.iter().map(|(key, flag)| (key.as_str(), flag)), &|name| (self.env)(name));
        if set.place(key).is_none() {
            return Err(unknown_flag(key, &definitions));
        }
        let answer = set
            .evaluate(key, &context, &members, self.now)
            .map_err(|error| DeskError::Refused(format!("{}: {}", error.code(), error.details())))?;
        let cohorts = Asker::new(&context, &members).cohorts();
        Ok(
            json!({ "key": key, "value": answer.value, "variant": answer.variant, "reason": answer.reason.name(), "decidedBy": answer.decided_by,
            "cohorts": cohorts, "revision": snapshot.source_revision, "metadata": answer.metadata }),
        )
    }

    pub(super) async fn explain_flag(&self, key: &str, context: Value) -> Result<Value, DeskError> {
        let (snapshot, context, members) = self.flag_question(context).await?;
        let definitions = definitions(&snapshot);
        let told = explain(&definitions, key, &context, &members, &|name| (self.env)(name), self.now);
        let mut body = json!(told.ok_or_else(|| unknown_flag(key, &definitions))?);
        body["revision"] = json!(snapshot.revision);
        body["version"] = json!(snapshot.source_revision);
        Ok(body)
    }

    /// The definitions by key, with what holds and stages make of them.
    pub(super) async fn list_flags(&self) -> Result<Value, DeskError> {
        let snapshot = flags::newest(self.store).await?;
        Ok(snapshot.map_or_else(|| json!({}), |snapshot| Value::Object(definitions(&snapshot))))
    }

    /// A held flag stays as it is.
    pub(super) async fn set_flag(&self, key: &str, variant: &str, by: &str) -> Result<Value, DeskError> {
        let snapshot = flags::newest(self.store).await?;
        let snapshot = snapshot.ok_or_else(|| DeskError::Unknown("no flags are published yet".to_owned()))?;
        let known = definitions(&snapshot);
        let flag = known.get(key).ok_or_else(|| unknown_flag(key, &known))?;
        if let Some(run) = flags::held_by(&snapshot, key) {
            return Err(DeskError::Refused(format!("'{key}' is held by {run}; betagate why rollback/{run}")));
        }
        let program = flag["program"].as_str().unwrap_or_default().to_owned();
        self.expect_person(&program, by).await?;
        let body = json!({ "key": key, "variant": variant });
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, SET_FLAG, self.voice(by), &body, self.now).await?;
        self.note(&mut tx, (&program, by), "flag.set-requested", format!("Flag/{key}"), body).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }

    pub(super) async fn intent(&self, id: &str) -> Result<Value, DeskError> {
        let id = id.parse().map_err(|_| DeskError::Usage(format!("'{id}' is no id")))?;
        let intent = intents::get(self.store, id).await?;
        let intent = intent.ok_or_else(|| DeskError::Unknown(format!("nothing was asked for as {id}")))?;
        Ok(json!({ "id": intent.id, "kind": intent.kind, "state": intent.state.as_str(), "result": intent.result }))
    }

    /// The published flags, the context, and the cohorts of its person: an index of one.
    async fn flag_question(&self, context: Value) -> Result<(Snapshot, Context, Membership), DeskError> {
        let snapshot = flags::newest(self.store).await?;
        let snapshot = snapshot.ok_or_else(|| DeskError::Unknown("no flags are published yet".to_owned()))?;
        let context = Context::new(context).map_err(|why| DeskError::Usage(format!("the context: {why}")))?;
        let mut index = Membership::default();
        if let Some(person) = context.person() {
            let address = normalise(person, AddressRules::default()).ok();
            let person = person.to_owned();
            members::each(self.store, |member| {
                let key = if member.user.to_string() == person {
                    person.as_str()
                } else if Some(&member.address) == address.as_ref() {
                    member.address.as_str()
                } else {
                    return;
                };
                index.add(key, &cohort_key(&member.program, &member.cohort));
            })
            .await?;
        }
        Ok((snapshot, context, index))
    }
}

fn definitions(snapshot: &Snapshot) -> Map<String, Value> {
    snapshot.body["flags"].as_object().cloned().unwrap_or_default()
}

fn unknown_flag(key: &str, known: &Map<String, Value>) -> DeskError {
    unknown("flag", key, "the published snapshot", &known.keys().cloned().collect::<Vec<_>>())
}
