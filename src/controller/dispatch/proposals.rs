//! What betagate writes where the documents live, as an effect like any other: a branch with a proposal, the pull request for it, a tag.
//!
//! Must not know: why it is asked for. All of it may be asked for twice: what is there already is the answer.

use std::collections::BTreeMap;

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::ForgeRepository;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Post, later, never};
use crate::outbox::forge::{Forge, NewPull};
use crate::outbox::{DeliveryError, Documents};
use crate::secrets::secret_in;
use crate::source::{Proposal, SourceError, Tag};

impl Post {
    pub(super) async fn propose(
        &self,
        program: &ProgramDesired,
        what: MessageKind,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        match what {
            MessageKind::Proposal { branch, message, run, document, revert } => {
                let mut files = BTreeMap::new();
                if let Some(key) = document {
                    let text = Documents::with(&self.data, &self.kept_in).text(&run, &key);
                    let text = text.and_then(|text| text.ok_or(std::io::ErrorKind::NotFound.into()));
                    let text = text.map_err(|error| later(format!("the cause document: {}", error.kind())))?;
                    files.insert(format!("incidents/{run}.md"), text.into_bytes());
                }
                let proposal = Proposal { branch, message, files, revert, at: now };
                let done = self.source.propose(proposal).await.map_err(|error| later(error.to_string()))?;
                Ok(json!({ "way": "git", "reference": format!("{} {}", done.branch, done.commit), "at": now }))
            }
            MessageKind::Pull { branch, title, body } => {
                let forge = program.program.spec.forge.as_ref();
                let forge = forge.ok_or_else(|| later("the program names no forge any more".to_owned()))?;
                let new = NewPull { branch, base: forge.base.clone(), title, body };
                let opened = self.forge(forge)?.pull(&new).await.map_err(|error| later(error.to_string()))?;
                Ok(json!({ "way": "forge", "reference": opened.url, "number": opened.number, "at": now }))
            }
            MessageKind::Tag { name, revision, message } => {
                let tag = Tag { name, revision, message, at: now };
                let made = self.source.tag(tag).await.map_err(|error| match error {
                    SourceError::Taken(_) | SourceError::NotInGit(..) => never(error.to_string()),
                    _ => later(error.to_string()),
                })?;
                Ok(json!({ "way": "git", "reference": format!("tag {} {}", made.branch, made.commit), "at": now }))
            }
            _ => Err(never("this is no proposal".to_owned())),
        }
    }

    /// The forge as it is now: a token that was renewed counts from the next try.
    pub(super) fn forge(&self, at: &ForgeRepository) -> Result<Forge, DeliveryError> {
        let token = secret_in(&self.data, &at.token_ref).map_err(later)?;
        let api = at.api.as_deref().unwrap_or(ForgeRepository::GITHUB);
        Forge::new(api, &at.repository, token).map_err(|error| later(error.to_string()))
    }
}
