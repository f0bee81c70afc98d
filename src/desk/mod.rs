//! What operators ask and say: one function for each, whoever brings the words. A command line that has the record before it calls them
//! itself; one that is elsewhere sends the same [`Request`] to a server, which calls them for it.
//!
//! Must not know: HTTP, how an answer is printed.

mod codes;
mod flags;
pub mod funnel;
mod invites;
mod line;
mod mail;
mod marks;
mod names;
mod stand;
pub use codes::{shown as shown_code, told as told_code};
pub use invites::{good_until, good_until_in, shown as shown_invite, state as state_of_invite};
pub use mail::with_mail;
pub use stand::number;
mod words;

use std::collections::BTreeMap;

use betagate_core::resources::{SignoffSpec, Span};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::keys::Keys;
use crate::store::audit::{self, Entry};
use crate::store::invites::Filter;
use crate::store::{Store, StoreError, Tx};

/// A question, or a word. Its answer is JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of the commands, which describe them")]
pub enum Request {
    /// Where everything stands, and the sources.
    Status,
    /// The resources of a kind, or one of them.
    Get { kind: String, name: Option<String> },
    /// The weekly tracking board: titles and rows.
    Board { program: Option<String>, gate: Option<String> },
    /// What was measured, oldest first.
    ReadingHistory { program: Option<String>, gate: Option<String> },
    /// Asks the controller to measure a gate now.
    MeasureGate { gate: String, by: String },
    /// Writes the note of a gate's last review.
    NoteReview { gate: String, note: String, by: String },
    /// Asks the controller to start a rollback plan.
    StartRollback { program: Option<String>, plan: String, reason: String, by: String },
    /// Asks the controller to go through a rollback plan as a drill.
    Rehearse { program: Option<String>, plan: String, deliver_to: Option<String>, by: String },
    /// Records a person's word; the program stands beside it.
    Sign { program: Option<String>, word: Box<SignoffSpec> },
    /// Opens an incident that began some time ago.
    OpenIncident {
        program: Option<String>,
        name: String,
        severity: String,
        title: String,
        category: String,
        /// How long ago it began; now, when neither this nor the instant is given.
        ago: Option<Span>,
        started_at: Option<Timestamp>,
        by: String,
    },
    /// Closes an incident.
    CloseIncident { program: Option<String>, name: String, by: String },
    /// Takes note of an incident: somebody looks after it.
    AcknowledgeIncident { program: Option<String>, name: String, by: String },
    /// Stops the line of a program, or of all.
    StopLine { program: Option<String>, everywhere: bool, reason: String, by: String },
    /// Lets it go on.
    ResumeLine { program: Option<String>, everywhere: bool, by: String },
    /// The marks of a gate's checks at its last reviews, and now.
    Marks { program: Option<String>, gate: String, reviews: i64 },
    /// What late data changed of what the last reviews of a gate sealed.
    LateData { gate: String },
    /// Freezes the invites of a program, or of one cohort.
    Freeze { program: Option<String>, cohort: Option<String>, reason: String, by: String },
    /// Invites someone; the answer has the code.
    AddInvite { program: Option<String>, cohort: String, email: String, note: String, by: String },
    /// A page of invites.
    ListInvites {
        program: Option<String>,
        cohort: Option<String>,
        state: Option<String>,
        label: Option<String>,
        email: Option<String>,
        #[serde(default)]
        active_only: bool,
        after: Option<Uuid>,
        limit: i64,
    },
    /// Sends again what one invite, or an address, was sent: a new code, good for as long as a first one.
    ResendInvites { program: Option<String>, id: Option<Uuid>, email: Option<String>, by: String },
    /// Takes back every invite of an address.
    RevokeInvites { program: Option<String>, email: String, reason: String, by: String },
    /// Takes back every unused invite of a cohort.
    RevokeCohort { program: Option<String>, cohort: String, reason: String, by: String },
    /// Makes a code that lets several people in; the answer has it.
    AddCode {
        program: Option<String>,
        cohort: String,
        uses: i64,
        expires: Option<Span>,
        label: String,
        note: String,
        by: String,
    },
    /// The codes that let several people in, without their texts.
    ListCodes { program: Option<String>, cohort: Option<String> },
    /// One of them, with its text.
    ShowCode { id: Uuid, by: String },
    /// Takes one back.
    RevokeCode { id: Uuid, reason: String, by: String },
    /// Sends every invite of a cohort again of which nobody knows whether it arrived.
    ResendUncertain { program: Option<String>, cohort: String, by: String },
    /// Asks the controller to send one message of a cohort, marked as a test, to an address.
    TestMail { program: Option<String>, cohort: String, locale: String, to: String, by: String },
    /// Forgets that an address bounced.
    ForgetBounce { program: Option<String>, email: String, by: String },
    /// What a flag gives for a context.
    GetFlag { key: String, context: Value },
    /// Why it does.
    ExplainFlag { key: String, context: Value },
    /// The flags that are published.
    ListFlags,
    /// Asks the controller to write another default variant where the flag stands.
    SetFlag { key: String, variant: String, by: String },
    /// What became of something that the controller was asked for.
    Intent { id: String },
    /// Entries of the audit log, newest first.
    ListAudit { program: Option<String>, object: Option<String>, limit: i64 },
    /// Recomputes the audit log's chain.
    VerifyAudit,
    /// Gathers the evidence of a run, with the cause documents that the asker has at hand.
    Bundle { run: String, documents: BTreeMap<String, String> },
    /// Has the source looked at now.
    Apply,
}

impl Request {
    /// Whether anything is other than before once it is answered, beside a line in the log of who looked.
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Status
                | Self::Get { .. }
                | Self::Board { .. }
                | Self::Marks { .. }
                | Self::LateData { .. }
                | Self::Bundle { .. }
                | Self::ReadingHistory { .. }
                | Self::ListInvites { .. }
                | Self::ListCodes { .. }
                | Self::ShowCode { .. }
                | Self::GetFlag { .. }
                | Self::ExplainFlag { .. }
                | Self::ListFlags
                | Self::Intent { .. }
                | Self::ListAudit { .. }
                | Self::VerifyAudit
        )
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// There is no such thing; the nearest name is told.
    #[error("{0}")]
    Unknown(String),
    /// The words can't be understood.
    #[error("{0}")]
    Usage(String),
    /// It can't be done as things are.
    #[error("{0}")]
    Refused(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who brings the words. A name that they say is never proven.
#[derive(Clone, Debug)]
pub enum Bringer {
    /// Whoever can read and write the record.
    Record,
    /// A caller that the API let in, as it is called in the log.
    Caller(String),
}

/// What the questions are answered from.
pub struct Desk<'a> {
    /// The record.
    pub store: &'a Store,
    /// What makes invite codes, where it is at hand.
    pub keys: Option<&'a Keys>,
    /// Now.
    pub now: Timestamp,
    /// Who asks.
    pub bringer: Bringer,
    /// Reads an environment variable that overrides a flag, where the flags are served; says nothing elsewhere.
    pub env: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Desk<'_> {
    /// Answers a question, or does what is said.
    ///
    /// # Errors
    /// See [`DeskError`]: then nothing was done.
    pub async fn answer(&self, request: Request) -> Result<Value, DeskError> {
        match request {
            Request::Status => self.status().await,
            Request::Get { kind, name } => self.get(&kind, name.as_deref()).await,
            Request::Board { program, gate } => self.board(program, gate).await,
            Request::ReadingHistory { program, gate } => self.readings(program, gate).await,
            Request::MeasureGate { gate, by } => self.measure(&gate, &by).await,
            Request::NoteReview { gate, note, by } => self.note_review(&gate, &note, &by).await,
            Request::StartRollback { program, plan, reason, by } => {
                self.start_rollback(program, &plan, &reason, &by).await
            }
            Request::Rehearse { program, plan, deliver_to, by } => {
                self.rehearse(program, &plan, deliver_to.as_deref(), &by).await
            }
            Request::Sign { program, word } => self.sign(program, *word).await,
            Request::OpenIncident { program, name, severity, title, category, ago, started_at, by } => {
                let began = started_at.unwrap_or_else(|| ago.map_or(self.now, |ago| ago.before(self.now)));
                let incident = words::NewIncident { name, severity, title, category, started_at: began };
                self.open_incident(program, incident, &by).await
            }
            Request::CloseIncident { program, name, by } => self.close_incident(program, &name, &by).await,
            Request::AcknowledgeIncident { program, name, by } => self.acknowledge_incident(program, &name, &by).await,
            Request::StopLine { program, everywhere, reason, by } => {
                self.stop_line(program, everywhere, &reason, &by).await
            }
            Request::ResumeLine { program, everywhere, by } => self.resume_line(program, everywhere, &by).await,
            Request::Marks { program, gate, reviews } => self.marks(program, &gate, reviews).await,
            Request::LateData { gate } => self.late_data(&gate).await,
            Request::Freeze { program, cohort, reason, by } => self.freeze(program, cohort, &reason, &by).await,
            Request::AddInvite { program, cohort, email, note, by } => {
                self.add_invite(program, &cohort, &email, &note, &by).await
            }
            Request::ListInvites { program, cohort, state, label, email, active_only, after, limit } => {
                let state = state.as_deref().map(invites::state).transpose()?;
                self.list_invites(Filter { program, cohort, state, active_only, email, label, after, limit }).await
            }
            Request::ResendInvites { program, id, email, by } => {
                self.resend_invites(program, (id, email.as_deref()), &by).await
            }
            Request::ResendUncertain { program, cohort, by } => self.resend_uncertain(program, &cohort, &by).await,
            Request::TestMail { program, cohort, locale, to, by } => {
                self.test_mail(program, (&cohort, &locale), &to, &by).await
            }
            Request::ForgetBounce { program, email, by } => {
                let program = self.program(program).await?;
                self.expect_person(&program, &by).await?;
                Ok(serde_json::json!({ "forgotten": self.forget_bounce(&program, &email, &by).await? }))
            }
            Request::RevokeInvites { program, email, reason, by } => {
                self.revoke_invites(program, &email, &reason, &by).await
            }
            Request::RevokeCohort { program, cohort, reason, by } => {
                self.revoke_cohort(program, &cohort, &reason, &by).await
            }
            Request::AddCode { program, cohort, uses, expires, label, note, by } => {
                let (cohort, label, note) = (&cohort, &label, &note);
                self.add_code(program, codes::Wanted { cohort, uses, expires, label, note }, &by).await
            }
            Request::ListCodes { program, cohort } => self.list_codes(program, cohort).await,
            Request::ShowCode { id, by } => self.show_code(id, &by).await,
            Request::RevokeCode { id, reason, by } => self.revoke_code(id, &reason, &by).await,
            Request::GetFlag { key, context } => self.get_flag(&key, context).await,
            Request::ExplainFlag { key, context } => self.explain_flag(&key, context).await,
            Request::ListFlags => self.list_flags().await,
            Request::SetFlag { key, variant, by } => self.set_flag(&key, &variant, &by).await,
            Request::Intent { id } => self.intent(&id).await,
            Request::ListAudit { program, object, limit } => self.list_audit(program, object, limit).await,
            Request::VerifyAudit => self.verify_audit().await,
            Request::Bundle { run, documents } => self.bundle(&run, documents).await,
            Request::Apply => self.apply().await,
        }
    }

    /// How the log calls whoever brought a word of `by` (empty: their own).
    fn actor(&self, by: &str) -> String {
        match &self.bringer {
            Bringer::Caller(caller) if by.is_empty() => caller.clone(),
            Bringer::Record => format!("cli/{by} (unverified)"),
            Bringer::Caller(caller) => format!("{caller} as {by} (unverified)"),
        }
    }

    /// Who says something, for what is kept beside the log: the name that is said, else whoever the API let in.
    fn voice<'v>(&'v self, by: &'v str) -> &'v str {
        match &self.bringer {
            Bringer::Caller(caller) if by.is_empty() => caller,
            Bringer::Caller(_) | Bringer::Record => by,
        }
    }

    async fn note(
        &self,
        tx: &mut Tx,
        (program, by): (&str, &str),
        action: &str,
        object: String,
        detail: Value,
    ) -> Result<(), DeskError> {
        let (at, program, actor, action) = (self.now, program.to_owned(), self.actor(by), action.to_owned());
        audit::append(tx, Entry { at, program, actor, action, object, detail }).await?;
        Ok(())
    }
}
