//! Minutes of decision calls: Markdown files beside the cause documents; on a cluster, where a pod's folder goes with it, ConfigMaps. They are written
//! once and then belong to their readers.
//!
//! Must not know: what was decided.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::config_maps::Sort;
use super::{DeliveryError, Receipt, config_maps, effect_digest, files};
use crate::source::Source;

/// Where minutes are.
#[derive(Clone)]
pub struct Minutes {
    folder: PathBuf,
    /// What has them in the folder's place, where it is a namespace.
    source: Arc<Source>,
}

impl Minutes {
    /// Those of a controller: where its source is a namespace, they are there.
    pub fn with(data: &Path, source: &Arc<Source>) -> Self {
        Self { folder: data.join("documents"), source: source.clone() }
    }

    /// Writes minutes, unless they are there. `call` is a name of a rollout and of its stage.
    ///
    /// # Errors
    /// [`DeliveryError::Later`] when the file can't be written, or the API server does not take them.
    pub async fn deliver(
        &self,
        effect_key: &str,
        call: &str,
        body: &str,
        at: Timestamp,
    ) -> Result<Receipt, DeliveryError> {
        let file = file_name(call, effect_key);
        let reference = match self.source.watched() {
            Some(watched) => {
                config_maps::create(watched, Sort::Minutes, &file, body).await?;
                format!("ConfigMap {}", Sort::Minutes.name(&file))
            }
            None => {
                let path = self.folder.join(file);
                let written = files::folder(&self.folder).and_then(|()| files::create(&path, body.as_bytes()));
                written.map_err(|error| DeliveryError::later(format!("{}: {error}", path.display())))?;
                path.display().to_string()
            }
        };
        Ok(Receipt { way: "document".into(), reference, at })
    }
}

/// The name of the file of a call's minutes.
pub fn file_name(call: &str, effect_key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = call.chars().take(100).map(plain).collect();
    format!("minutes-{name}-{}.md", &effect_digest(effect_key)[..8])
}
