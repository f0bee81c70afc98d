//! `betagate report`: what a pull request would do, said where it is reviewed.
//!
//! Must not know: how a change is weighed or told, how a forge is spoken to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use betagate_core::pull::{self, Pull, Standing};
use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::common::print_value;
use super::plan::{COMMENT, compared};
use super::{ATTENTION, CliError, FAILED, Format};
use crate::outbox::forge::{CommitState, CommitStatus, Forge, ForgeError};

/// Says on a pull request what it would do: a commit status, and one comment that later runs write anew. Everything it has to know stands in
/// the variables of a workflow on GitHub or Gitea; elsewhere it is said here.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate report                                # in a workflow of a pull request, with GITHUB_TOKEN\n  betagate report --base origin/main --api https://git.example.com/api/v1 --repository ana/beta --pull 12 --commit \"$(git rev-parse HEAD)\" --token-file token\n\nEnds with 0: it can go in, 2: it waits for an acknowledgement, 1: it is broken, or could not be said."
)]
pub struct Report {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// What it is compared with; origin/BRANCH of the branch that it is to be merged into, when left out.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// The address of the forge's API: https://api.github.com, or https://HOST/api/v1 of a Gitea.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// The repository, as OWNER/NAME.
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// The commit that gets the status.
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// The pull request that gets the comment; without one, only the status is written.
    #[arg(long, value_name = "NUMBER")]
    pull: Option<u64>,
    /// A file with the token; else the variable GITEA_TOKEN or GITHUB_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name of the status. Another name is another status and another comment, such as for a second environment.
    #[arg(long, default_value = "betagate/plan")]
    context: String,
    /// The data folder, for lists that are secrets.
    #[arg(long, default_value = ".betagate", env = "BETAGATE_DATA")]
    data: PathBuf,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Report {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let place = Place::find(&self, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let pull = compared(&self.dir, &place.base, self.environment.as_deref(), &self.data)?;
        let forge = Forge::new(&place.api, &place.repository, place.token).map_err(wrong)?;
        let comment = match place.pull {
            Some(number) => {
                let body = pull::markdown(&pull, COMMENT - MARKER_ROOM);
                Some(forge.comment(number, &marker(&self.context), &body).await.map_err(wrong)?)
            }
            None => None,
        };
        let target = comment.as_ref().map(|comment| comment.url.clone()).filter(|url| url.starts_with("http"));
        let status = CommitStatus {
            state: state(&pull),
            context: self.context.clone(),
            description: pull.headline(),
            target: target.clone(),
        };
        forge.status(&place.commit, &status).await.map_err(wrong)?;
        if self.output == Format::Table {
            pull.problems.iter().for_each(|problem| complain!("{problem}"));
            say!("{}", pull.headline());
            if let (Some(url), Some(comment)) = (&target, &comment) {
                say!("{} {url}", if comment.again { "written anew:" } else { "written:" });
            }
        } else {
            let said = json!({ "state": status.state, "headline": pull.headline(), "comment": target,
                "again": comment.is_some_and(|comment| comment.again) });
            print_value(&said, self.output)?;
        }
        Ok(match pull.standing() {
            Standing::Ready => ExitCode::SUCCESS,
            Standing::Waits => ExitCode::from(ATTENTION),
            Standing::Broken => ExitCode::from(FAILED),
        })
    }
}

/// Room for the hidden marker before the text.
const MARKER_ROOM: usize = 256;

/// What the comment is found by; nobody sees it.
fn marker(context: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_/.:".contains(*c);
    format!("<!-- betagate: {} -->", context.chars().filter(plain).take(100).collect::<String>())
}

fn state(pull: &Pull) -> CommitState {
    match pull.standing() {
        Standing::Ready => CommitState::Success,
        Standing::Waits => CommitState::Pending,
        Standing::Broken => CommitState::Failure,
    }
}

fn wrong(error: ForgeError) -> CliError {
    match error {
        ForgeError::Settings(why) => CliError::Usage(why),
        error => CliError::failed(error),
    }
}

/// Where it is said, and compared with what.
struct Place {
    api: String,
    repository: String,
    commit: String,
    pull: Option<u64>,
    base: String,
    token: SecretString,
}

impl Place {
    /// From the words, else from the variables that workflows have. Gitea sets GitHub's names too; its own come first.
    fn find(said: &Report, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CliError> {
        let either = |name: &str| env(&format!("GITEA_{name}")).or_else(|| env(&format!("GITHUB_{name}")));
        let event = either("EVENT_PATH").and_then(|file| event(Path::new(&file))).unwrap_or_default();
        let missing = |what: &str, how: &str| CliError::Usage(format!("{what} is not known here: {how}"));
        let api = said.api.clone().or_else(|| either("API_URL"));
        let server = || either("SERVER_URL").filter(|_| env("GITEA_ACTIONS").is_some());
        let api = api.or_else(|| server().map(|url| format!("{}/api/v1", url.trim_end_matches('/'))));
        let repository = said.repository.clone().or_else(|| either("REPOSITORY"));
        // GITHUB_SHA of a pull request is a merge that nobody will see; the event names its own commit.
        let own = event["pull_request"]["head"]["sha"].as_str().map(str::to_owned);
        let commit = said.commit.clone().or(own).or_else(|| either("SHA"));
        let number = || event["pull_request"]["number"].as_u64().or_else(|| event["number"].as_u64());
        let base = said.base.clone().or_else(|| either("BASE_REF").map(|branch| format!("origin/{branch}")));
        let token = match &said.token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?,
            ),
            None => either("TOKEN"),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self {
            api: api.ok_or_else(|| missing("the forge", "say --api https://api.github.com, or https://HOST/api/v1"))?,
            repository: repository.ok_or_else(|| missing("the repository", "say --repository OWNER/NAME"))?,
            commit: commit.ok_or_else(|| missing("the commit", "say --commit SHA"))?,
            pull: said.pull.or_else(number),
            base: base.ok_or_else(|| missing("the base", "say --base origin/main"))?,
            token: token
                .ok_or_else(|| missing("the token", "set GITHUB_TOKEN or GITEA_TOKEN, or say --token-file FILE"))?
                .into(),
        })
    }
}

/// The event that started a workflow.
fn event(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use clap::Parser;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        report: Report,
    }

    fn find(words: &[&str], variables: &[(&str, &str)]) -> Result<Place, CliError> {
        let report = Words::try_parse_from(["report"].iter().chain(words)).unwrap().report;
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Place::find(&report, &env)
    }

    #[test]
    fn a_workflow_of_github_says_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let event = folder.path().join("event.json");
        std::fs::write(&event, r#"{ "number": 12, "pull_request": { "number": 12, "head": { "sha": "abc123" } } }"#)
            .unwrap();
        let variables = [
            ("GITHUB_API_URL", "https://api.github.com"),
            ("GITHUB_REPOSITORY", "ana/beta"),
            ("GITHUB_SHA", "fff999"),
            ("GITHUB_BASE_REF", "main"),
            ("GITHUB_EVENT_PATH", event.to_str().unwrap()),
            ("GITHUB_TOKEN", "t0ken\n"),
        ];
        let place = find(&[], &variables).unwrap();
        let told = (place.api.as_str(), place.repository.as_str(), place.commit.as_str(), place.base.as_str());
        assert_eq!(told, ("https://api.github.com", "ana/beta", "abc123", "origin/main"));
        assert_eq!((place.pull, place.token.expose_secret()), (Some(12), "t0ken"));
        let said = find(&["--commit", "aaa", "--pull", "3", "--base", "v1"], &variables).unwrap();
        assert_eq!((said.commit.as_str(), said.pull, said.base.as_str()), ("aaa", Some(3), "v1"));
    }

    #[test]
    fn giteas_own_variables_come_first_and_its_api_follows_from_its_address() {
        let variables = [
            ("GITEA_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://git.example.com/"),
            ("GITHUB_REPOSITORY", "ana/beta"),
            ("GITHUB_SHA", "abc123"),
            ("GITHUB_TOKEN", "other"),
            ("GITEA_TOKEN", "own"),
        ];
        let place = find(&["--base", "origin/main"], &variables).unwrap();
        assert_eq!((place.api.as_str(), place.pull), ("https://git.example.com/api/v1", None));
        assert_eq!(place.token.expose_secret(), "own");
    }

    #[test]
    fn what_is_not_known_is_named_with_the_word_that_says_it() {
        let all = [
            ("GITHUB_API_URL", "https://api.github.com"),
            ("GITHUB_REPOSITORY", "a/b"),
            ("GITHUB_SHA", "abc"),
            ("GITHUB_BASE_REF", "main"),
            ("GITHUB_TOKEN", "t"),
        ];
        for (left_out, word) in [(0, "--api"), (1, "--repository"), (2, "--commit"), (3, "--base"), (4, "--token-file")]
        {
            let some: Vec<_> =
                all.iter().enumerate().filter(|(place, _)| *place != left_out).map(|(_, one)| *one).collect();
            let error = find(&[], &some).err().unwrap();
            assert!(error.to_string().contains(word) && error.exit_code() == 64, "{error}");
        }
    }

    #[test]
    fn a_marker_is_a_comment_whatever_the_name() {
        assert_eq!(marker("betagate/plan"), "<!-- betagate: betagate/plan -->");
        assert_eq!(marker("a --> <b>"), "<!-- betagate: a--b -->");
    }
}
