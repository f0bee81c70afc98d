//! `betagate invite send`, `invite preview`: invites sent again, tests to an operator's own address, what a message looks like.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::common::{plain, print_value};
use super::{CliError, Format, Where};
use crate::clock::Clock;
use crate::controller::{build_snapshot, sample_letter};
use crate::desk::Request;
use crate::source::read_folder;

/// How long the controller and the mail server may take for a test.
const PATIENCE: Duration = Duration::from_secs(90);

/// Sends an invite again: with a new code, good for as long as a first one; the older code stops working. Or sends a test to your own address.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate invite send ada@example.com --by founder\n  betagate invite send --uncertain --cohort pavia --by founder\n  betagate invite send --test ops@example.com --cohort pavia --locale it"
)]
pub(super) struct Send {
    /// The address: every invite of it that was not used or taken back.
    #[arg(required_unless_present_any = ["id", "uncertain", "test"], conflicts_with_all = ["id", "uncertain", "test"])]
    email: Option<String>,
    /// One invite by its id.
    #[arg(long, conflicts_with_all = ["uncertain", "test"])]
    id: Option<Uuid>,
    /// Every invite of the cohort of which nobody knows whether it arrived.
    #[arg(long, requires = "cohort", conflicts_with = "test")]
    uncertain: bool,
    /// One message of the cohort to this address, marked as a test, through the real mailer; its code lets nobody in.
    #[arg(long, value_name = "ADDRESS", requires = "cohort")]
    test: Option<String>,
    /// The cohort, with --uncertain and --test.
    #[arg(long)]
    cohort: Option<String>,
    /// The language of a test.
    #[arg(long, default_value = "", requires = "test")]
    locale: String,
    /// Also to an address that does not exist as far as is known: forgets that it bounced.
    #[arg(long, requires = "email")]
    despite_bounce: bool,
    /// Who says so.
    #[arg(long, required_unless_present = "test", default_value = "")]
    by: String,
    /// Only in this program.
    #[arg(long)]
    program: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// Prints the message of a cohort as it would be sent, with a code that is none. Reads the documents here; nothing is sent, nothing is changed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate invite preview --cohort pavia\n  betagate invite preview --cohort pavia --locale it-CH --html > letter.html"
)]
pub(super) struct Preview {
    /// The cohort.
    #[arg(long)]
    cohort: String,
    /// The language, as a row of the list would say it.
    #[arg(long, default_value = "")]
    locale: String,
    /// The address it is for.
    #[arg(long, default_value = "someone@example.com")]
    email: String,
    /// Prints the HTML alone.
    #[arg(long)]
    html: bool,
    /// The folder with cohorts/.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Send {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self { email, id, uncertain, test, cohort, locale, despite_bounce, by, program, place } = self;
        let cohort = cohort.unwrap_or_default();
        if let Some(to) = test {
            let asked = place.ask(Request::TestMail { program, cohort, locale, to: to.clone(), by }).await?;
            let sent = place.outcome_of(&asked, PATIENCE, "no controller has sent it yet").await?;
            say!("the mail server took {} for {to}: {}", plain(&sent["template"]), plain(&sent["reference"]));
            return Ok(());
        }
        if uncertain {
            let resent = place.ask(Request::ResendUncertain { program, cohort, by }).await?;
            say!("{} invite(s) go out again", resent["resent"]);
            return Ok(());
        }
        if let (true, Some(email)) = (despite_bounce, &email) {
            let (program, email, by) = (program.clone(), email.clone(), by.clone());
            place.ask(Request::ForgetBounce { program, email, by }).await?;
        }
        let resent = place.ask(Request::ResendInvites { program, id, email, by }).await?;
        for invite in resent["invites"].as_array().into_iter().flatten() {
            let until = plain(&invite["expiresAt"]);
            say!("{} {}: good until {until}", plain(&invite["cohort"]), plain(&invite["state"]));
        }
        Ok(())
    }
}

impl Preview {
    pub(super) fn run(self) -> Result<(), CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let default_prometheus = std::env::var("PROM_URL").is_ok();
        let built = build_snapshot(&snapshot, self.environment.as_deref(), default_prometheus).map_err(|problems| {
            problems.iter().for_each(|problem| complain!("{problem}"));
            CliError::Failed(format!("{} problem(s) in the documents", problems.len()))
        })?;
        let found = built.desired.programs.values().find(|program| program.cohorts.contains_key(&self.cohort));
        let program = found.ok_or_else(|| CliError::Failed(format!("there is no cohort '{}'", self.cohort)))?;
        let (of, now) = ((self.cohort.as_str(), self.locale.as_str()), Clock::system().now());
        let sample = sample_letter(&snapshot, program, of, &self.email, now).map_err(CliError::Failed)?;
        if self.html {
            let html = sample.html.ok_or_else(|| CliError::Failed(format!("{} has no HTML", sample.template)))?;
            say!("{html}");
        } else if self.output == Format::Table {
            say!("Template: {}", sample.template);
            say!("From: {}\nTo: {}\nSubject: {}\n\n{}", sample.from, sample.to, sample.subject, sample.text);
        } else {
            print_value(&sample, self.output)?;
        }
        Ok(())
    }
}
