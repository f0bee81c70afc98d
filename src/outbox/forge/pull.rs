//! Opening a pull request for a branch, once: before one is opened, the one that is there is looked for, also among those that were closed. GitHub's and
//! Gitea's API are the same here.
//!
//! Must not know: what it proposes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Forge, ForgeError, MOST_PAGES, PAGE, What};

/// A pull request to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPull {
    /// The branch, of the same repository.
    pub branch: String,
    /// The branch that it is to be merged into; the repository's default branch when none.
    pub base: Option<String>,
    /// Its title.
    pub title: String,
    /// What it says, in Markdown.
    pub body: String,
}

/// A pull request that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedPull {
    /// Its number.
    pub number: u64,
    /// Where it can be read.
    pub url: String,
    /// Whether it was there before.
    pub again: bool,
}

impl Forge {
    /// Opens a pull request for a branch, unless it has one: then that one is given, whether it is open or was closed.
    ///
    /// # Errors
    /// See [`ForgeError`]. It is asked once: the outbox comes again by itself.
    pub async fn pull(&self, new: &NewPull) -> Result<OpenedPull, ForgeError> {
        let what = What { does: "open a pull request", missing: format!("repository {}", self.repository) };
        if let Some(there) = self.pull_of(&new.branch, &what).await? {
            return Ok(there);
        }
        let base = match &new.base {
            Some(base) => base.clone(),
            None => self.default_branch(&what).await?,
        };
        let body = json!({ "title": new.title, "head": new.branch, "base": base, "body": new.body });
        let missing = format!("branch {} or {base} in {}", new.branch, self.repository);
        match self.ask(Method::POST, "pulls", Some(&body), &What { missing, ..what }).await {
            Ok(opened) => read(&opened, false)
                .ok_or_else(|| ForgeError::later("the forge opened a pull request and did not say which")),
            // Somebody was faster, or an answer was lost: GitHub says 422 then, Gitea 409.
            Err(error @ ForgeError::Refused(_, 409 | 422, _)) => {
                let what = What { does: "open a pull request", missing: format!("repository {}", self.repository) };
                self.pull_of(&new.branch, &what).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The newest pull request of a branch of this repository, not of a fork's branch of the same name.
    async fn pull_of(&self, branch: &str, what: &What) -> Result<Option<OpenedPull>, ForgeError> {
        let owner = self.repository.split('/').next().unwrap_or_default();
        let mut first_of_last = None;
        for page in 1..=MOST_PAGES {
            // Gitea calls the size of a page `limit`, gives fewer when it likes, and filters by no branch.
            let place = format!("pulls?state=all&head={owner}:{branch}&per_page={PAGE}&limit={PAGE}&page={page}");
            let answer = self.ask(Method::GET, &place, None, what).await?;
            let pulls = answer.as_array().map(Vec::as_slice).unwrap_or_default();
            let first = pulls.first().and_then(|pull| pull["number"].as_u64());
            if first.is_none() || first == first_of_last {
                return Ok(None);
            }
            let own = |pull: &&Value| {
                let name = pull["head"]["repo"]["full_name"].as_str().unwrap_or_default();
                pull["head"]["ref"] == branch && name.eq_ignore_ascii_case(&self.repository)
            };
            if let Some(there) =
                pulls.iter().filter(own).filter_map(|pull| read(pull, true)).max_by_key(|pull| pull.number)
            {
                return Ok(Some(there));
            }
            first_of_last = first;
        }
        Ok(None)
    }

    async fn default_branch(&self, what: &What) -> Result<String, ForgeError> {
        let request = self.client.request(Method::GET, self.at(&format!("repos/{}", self.repository)));
        let answer = self.send(request).await?;
        let about = self.answer(answer, what).await?;
        let branch = about["default_branch"].as_str().map(str::to_owned);
        branch.ok_or_else(|| ForgeError::later("the forge did not say which branch is the default one"))
    }
}

fn read(pull: &Value, again: bool) -> Option<OpenedPull> {
    let url = pull["html_url"].as_str().unwrap_or_default().to_owned();
    Some(OpenedPull { number: pull["number"].as_u64()?, url, again })
}
