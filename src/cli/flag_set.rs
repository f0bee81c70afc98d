//! `betagate flag set`: another default variant, written into the file in which the flag stands.

use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::desired::parse::parse;
use clap::Args;

use super::{CliError, FAILED, Where};
use crate::controller::build_snapshot;
use crate::source::read_folder;
use crate::store::flags;

/// Which flag, and what it should be.
#[derive(Args)]
#[command(after_help = "Example: betagate flag set ml_recommendations_enabled on")]
pub struct Set {
    /// The flag's key.
    key: String,
    /// The variant.
    variant: String,
    /// The folder with flags/.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    place: Where,
}

impl Set {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let built = match build_snapshot(&snapshot, None, true) {
            Ok(built) => built,
            Err(problems) => {
                problems.iter().for_each(|problem| complain!("{problem}"));
                return Ok(ExitCode::from(FAILED));
            }
        };
        let found = built.desired.programs.values().find_map(|program| program.flags.get(&self.key));
        let flag = found.ok_or_else(|| CliError::Failed(format!("there is no flag '{}'", self.key)))?;
        if !flag.spec.variants.contains_key(&self.variant) {
            let known: Vec<_> = flag.spec.variants.keys().map(String::as_str).collect();
            return Err(CliError::Failed(format!(
                "'{}' is no variant of '{}'; there are {}",
                self.variant,
                self.key,
                known.join(", ")
            )));
        }
        self.refuse_held().await?;
        let path = self.dir.join(&*flag.origin.file);
        let text = std::fs::read_to_string(&path).map_err(CliError::failed)?;
        let parsed = parse(&flag.origin.file, &text);
        let document = parsed.documents.iter().find(|document| document.kind == "Flag" && document.name == flag.name);
        let at = document.and_then(|document| document.root.at("/spec/defaultVariant")).map(|node| node.at);
        let at = at.ok_or_else(|| CliError::Failed(format!("{}: its defaultVariant was not found", path.display())))?;
        let changed = replaced(&text, at.line, at.column, &self.variant)
            .ok_or_else(|| CliError::Failed(format!("{}:{}: edit it by hand", path.display(), at.line)))?;
        std::fs::write(&path, changed).map_err(CliError::failed)?;
        say!("{}:{}: defaultVariant is {} now", path.display(), at.line, self.variant);
        Ok(ExitCode::SUCCESS)
    }

    /// A held flag stays as it is: the record says so, where there is one.
    async fn refuse_held(&self) -> Result<(), CliError> {
        let Ok(store) = self.place.store().await else { return Ok(()) };
        let Some(snapshot) = flags::newest(&store).await? else { return Ok(()) };
        match snapshot.body["flags"][&self.key]["hold"]["run"].as_str() {
            None => Ok(()),
            Some(run) => Err(CliError::Failed(format!("'{}' is held by {run}; betagate why rollback/{run}", self.key))),
        }
    }
}

/// The text with the scalar at a place (from 1) replaced, everything else as it was, comments included.
fn replaced(text: &str, line: u32, column: u32, value: &str) -> Option<String> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let target = lines.get_mut(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let start = target.char_indices().nth(usize::try_from(column).ok()?.checked_sub(1)?)?.0;
    let rest = &target[start..];
    let length = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].find(quote)? + 2,
        _ => rest.find([',', '}', ' ', '#', '\r']).unwrap_or(rest.len()),
    };
    target.replace_range(start..start + length, &serde_json::to_string(value).ok()?);
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_the_scalar_changes() {
        let text = "spec:\n  defaultVariant: \"off\"   # quoted\n  other: 1\n";
        assert_eq!(
            replaced(text, 2, 19, "on").as_deref(),
            Some("spec:\n  defaultVariant: \"on\"   # quoted\n  other: 1\n")
        );
        let flow = "spec: { defaultVariant: basic, x: 1 }";
        assert_eq!(replaced(flow, 1, 25, "pro").as_deref(), Some("spec: { defaultVariant: \"pro\", x: 1 }"));
    }
}
