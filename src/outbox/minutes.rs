//! Minutes of decision calls: Markdown files beside the cause documents. They are written once and then belong to their readers.
//!
//! Must not know: what was decided.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{DeliveryError, Receipt, effect_digest, files};

/// The folder of minutes.
#[derive(Clone, Debug)]
pub struct Minutes {
    folder: PathBuf,
}

impl Minutes {
    /// The minutes of a data folder.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("documents") }
    }

    /// Where those of an effect are. `call` is a name of a rollout and of its stage.
    pub fn path(&self, call: &str, effect_key: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
        let name: String = call.chars().take(100).map(plain).collect();
        self.folder.join(format!("minutes-{name}-{}.md", &effect_digest(effect_key)[..8]))
    }

    /// Writes minutes, unless they are there.
    ///
    /// # Errors
    /// [`DeliveryError::Later`] when the file can't be written.
    pub async fn deliver(
        &self,
        effect_key: &str,
        call: &str,
        body: &str,
        at: Timestamp,
    ) -> Result<Receipt, DeliveryError> {
        let path = self.path(call, effect_key);
        let written = files::folder(&self.folder).and_then(|()| files::create(&path, body.as_bytes()));
        written.map_err(|error| DeliveryError::later(format!("{}: {error}", path.display())))?;
        Ok(Receipt { way: "document".into(), reference: path.display().to_string(), at })
    }
}
