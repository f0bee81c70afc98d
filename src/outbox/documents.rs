//! Cause documents: Markdown that the controller begins and people complete, in files of the data folder; on a cluster, where a pod's folder goes with
//! it, in ConfigMaps.
//!
//! A document is written once and then belongs to its readers: it is never written over. It is complete when its root cause is filled in
//! and every action item has an owner (seed 002, section 4, step 6).
//!
//! Must not know: what happened, or what completeness allows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::config_maps::Sort;
use super::{DeliveryError, Receipt, config_maps, effect_digest, files};
use crate::cluster::{Cluster, ClusterError};
use crate::source::Source;
use crate::source::cluster::Watched;

/// So many digits of the effect's digest end a document's name.
const DIGITS: usize = 8;
/// The longest document that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;
/// Words that stand where an owner should, and are none.
const NOBODY: [&str; 8] = ["", "?", "tbd", "todo", "none", "nobody", "unknown", "name"];

/// A document to be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseDocument {
    /// What makes it the same document.
    pub effect_key: String,
    /// The run it is about; names the file.
    pub run: String,
    /// Who answers for it.
    pub owner: String,
    /// What is known from the start, in Markdown.
    pub body: String,
    /// When it was begun.
    pub at: Timestamp,
}

/// Whether a document is complete, and what is missing, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completeness {
    /// Root cause filled in, at least one action item, an owner for each.
    pub complete: bool,
    /// What is still missing.
    pub missing: Vec<String>,
}

/// Where cause documents are.
#[derive(Clone)]
pub struct Documents {
    folder: PathBuf,
    /// The namespace that has them in the folder's place.
    cluster: Option<Arc<Source>>,
}

impl Documents {
    /// The documents of a data folder.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("documents"), cluster: None }
    }

    /// The documents of a controller: where its source is a namespace, they are there.
    pub fn with(data: &Path, source: &Arc<Source>) -> Self {
        let cluster = source.watched().is_some().then(|| source.clone());
        Self { cluster, ..Self::of(data) }
    }

    /// Where the document of an effect is, in words.
    pub fn place(&self, run: &str, effect_key: &str) -> String {
        match self.cluster {
            Some(_) => format!("ConfigMap {}", Sort::Cause.name(&file_name(run, effect_key))),
            None => self.path(run, effect_key).display().to_string(),
        }
    }

    fn path(&self, run: &str, effect_key: &str) -> PathBuf {
        self.folder.join(file_name(run, effect_key))
    }

    /// The documents of a run that are kept in a namespace, by the names of their files.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn of_run_in(cluster: &Cluster, run: &str) -> Result<BTreeMap<String, String>, ClusterError> {
        let mut all = config_maps::causes(cluster).await?;
        all.retain(|file, _| is_of(run, file));
        Ok(all)
    }

    /// The ConfigMap in which a file is kept there.
    pub fn config_map(file: &str) -> String {
        Sort::Cause.name(file)
    }

    /// The documents of a run that are here, by the names of their files.
    pub fn of_run(&self, run: &str) -> BTreeMap<String, String> {
        let all = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let own = all.filter_map(|entry| {
            let name = entry.file_name().to_str()?.to_owned();
            is_of(run, &name).then(|| Some((name.clone(), fs::read_to_string(entry.path()).ok()?))).flatten()
        });
        own.collect()
    }

    /// Begins a document, unless it has been begun already: then it is left as it is.
    ///
    /// # Errors
    /// [`DeliveryError::Later`] when the file can't be written.
    pub async fn deliver(&self, document: &CauseDocument) -> Result<Receipt, DeliveryError> {
        let reference = self.place(&document.run, &document.effect_key);
        if let Some(watched) = self.watched() {
            let file = file_name(&document.run, &document.effect_key);
            config_maps::create(watched, Sort::Cause, &file, &document.text()).await?;
            return Ok(Receipt { way: "document".into(), reference, at: document.at });
        }
        let path = self.path(&document.run, &document.effect_key);
        let written = files::folder(&self.folder).and_then(|()| files::create(&path, document.text().as_bytes()));
        written.map_err(|error| DeliveryError::later(format!("{}: {error}", path.display())))?;
        Ok(Receipt { way: "document".into(), reference, at: document.at })
    }

    /// What a document says of itself now; `None` when it has not been begun.
    ///
    /// # Errors
    /// When it is there and can't be read, is no text, or is larger than a mebibyte.
    pub fn read(&self, run: &str, effect_key: &str) -> io::Result<Option<Completeness>> {
        Ok(self.text(run, effect_key)?.map(|text| completeness(&text)))
    }

    /// A document as it is now; `None` when it has not been begun.
    ///
    /// # Errors
    /// As [`Documents::read`].
    pub fn text(&self, run: &str, effect_key: &str) -> io::Result<Option<String>> {
        if let Some(watched) = self.watched() {
            let file = file_name(run, effect_key);
            let bytes = watched.cause_document(&Sort::Cause.name(&file), &file);
            let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).map_err(|_| io::ErrorKind::InvalidData));
            return Ok(text.transpose()?);
        }
        let path = self.path(run, effect_key);
        match fs::metadata(&path) {
            Ok(about) if about.len() > MOST_BYTES => Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) => fs::read_to_string(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn watched(&self) -> Option<&Watched> {
        self.cluster.as_ref().and_then(|source| source.watched())
    }
}

fn file_name(run: &str, effect_key: &str) -> String {
    format!("{}{}.md", beginning(run), &effect_digest(effect_key)[..DIGITS])
}

/// Whether a file of that name is a document of the run.
fn is_of(run: &str, file: &str) -> bool {
    // The rest of the name is a digest: `run-1` is not the beginning of a document of `run-1-2`.
    let rest = file.strip_prefix(&beginning(run)).and_then(|rest| rest.strip_suffix(".md"));
    rest.is_some_and(|rest| rest.len() == DIGITS && rest.chars().all(|c| c.is_ascii_hexdigit()))
}

/// What the names of a run's documents begin with.
fn beginning(run: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let mut name: String = run.chars().take(100).map(plain).collect();
    name.push('-');
    name
}

impl CauseDocument {
    fn text(&self) -> String {
        let Self { run, owner, body, .. } = self;
        format!(
            "# Cause of {run}\n\n- Owner: {owner}\n{}\n\n## Root cause\n\n<!-- What caused it, and why it was not noticed earlier. -->\n\n\
             ## Action items\n\n<!-- One a line: - [ ] What is to be done (owner: name) -->\n",
            body.trim_end()
        )
    }
}

/// Reads a document: what people filled in, and what they still have to.
pub fn completeness(text: &str) -> Completeness {
    let visible = without_comments(text);
    let mut missing = Vec::new();
    let cause = section(&visible, "root cause");
    if cause.is_none_or(|lines| lines.iter().all(|line| line.trim().is_empty())) {
        missing.push("the root cause is not filled in".to_owned());
    }
    let items: Vec<&str> = section(&visible, "action items").unwrap_or_default().into_iter().filter_map(item).collect();
    if items.is_empty() {
        missing.push("there is no action item".to_owned());
    }
    let unowned = items.iter().filter(|text| owner(text).is_none());
    missing.extend(unowned.map(|text| format!("an action item has no owner: {}", shortened(text))));
    Completeness { complete: missing.is_empty(), missing }
}

fn without_comments(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        visible.push_str(before);
        // An open comment hides everything after it, as it does where Markdown is shown.
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    visible.push_str(rest);
    visible
}

/// The lines below the heading of that name, up to the next heading of its level or above.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let heading = |line: &str| line.starts_with('#') && line.trim_matches(['#', ' ', '\t']).eq_ignore_ascii_case(name);
    let mut lines = text.lines().skip_while(|line| !heading(line));
    let depth = level(lines.next()?);
    Some(lines.take_while(|line| !(1..=depth).contains(&level(line))).collect())
}

/// The text of a list item, without its mark and box; `None` for a line that is none, or an empty one.
fn item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = ["- ", "* ", "+ "].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)?;
    let text = ["[ ]", "[x]", "[X]"].iter().find_map(|mark| text.strip_prefix(mark)).map_or(text, str::trim);
    (!text.is_empty()).then_some(text)
}

/// Who owns an item: `owner: name` anywhere in it, or `@name`.
fn owner(item: &str) -> Option<&str> {
    let lower = item.to_ascii_lowercase();
    let named = lower.find("owner:").map(|at| &item[at + "owner:".len()..]);
    let named = named.map(|rest| rest.split([')', ',', ';', '|']).next().unwrap_or_default());
    let mentioned = || item.split_whitespace().find_map(|word| word.strip_prefix('@'));
    let name = named.or_else(mentioned)?.trim_matches([' ', '\t', '.', '*', '_', '@', '<', '>']);
    (!NOBODY.contains(&name.to_ascii_lowercase().as_str())).then_some(name)
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    fn document() -> CauseDocument {
        CauseDocument {
            effect_key: "closed-beta-1/1/6/document".into(),
            run: "closed-beta/1".into(),
            owner: "founder".into(),
            body: "- Run: closed-beta-1\n\n## Timeline\n\n- 16:00 step 1 in force\n".into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn a_document_is_begun_once_and_then_left_to_people() {
        let data = tempfile::tempdir().unwrap();
        let documents = Documents::of(data.path());
        let (run, key) = ("closed-beta/1", "closed-beta-1/1/6/document");
        assert_eq!(documents.read(run, key).unwrap(), None);
        let receipt = documents.deliver(&document()).await.unwrap();
        let begun = documents.read(run, key).unwrap().unwrap();
        assert_eq!(begun.missing, ["the root cause is not filled in", "there is no action item"]);
        let path = documents.path(run, key);
        assert_eq!(receipt.reference, path.display().to_string());
        assert_eq!(path.parent().unwrap(), data.path().join("documents"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Cause of closed-beta/1\n\n- Owner: founder\n- Run: closed-beta-1\n"), "{text}");
        let filled = text.replace("## Root cause\n", "## Root cause\n\nA token expired.\n")
            + "- [ ] Renew it earlier (owner: ana)\n- [x] Tell the gyms @ops-lead\n";
        fs::write(&path, &filled).unwrap();
        assert!(documents.read(run, key).unwrap().unwrap().complete);
        documents.deliver(&document()).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), filled, "it was not written over");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let other = CauseDocument { run: format!("{run}-2"), ..document() };
        documents.deliver(&other).await.unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(documents.of_run(run), [(name, filled)].into(), "those of another run are not its own");
    }

    #[test]
    fn an_item_without_an_owner_is_named() {
        let text = "# x\n## Root cause\nit broke\n## Action items\n- [ ] fix it (owner: TBD)\n- watch it (Owner: @ana)\n* [ ]\n\nwords\n## More\n- no item\n";
        assert_eq!(completeness(text).missing, ["an action item has no owner: fix it (owner: TBD)"]);
    }

    #[test]
    fn what_is_commented_out_or_missing_does_not_count() {
        let hidden = "## Root cause\n<!-- it broke -->\n## Action items\n<!--\n- fix it (owner: ana)\n-->\n";
        assert_eq!(completeness(hidden).missing.len(), 2);
        assert_eq!(completeness("").missing.len(), 2);
        assert_eq!(
            completeness("## Root cause\n### Why\nit broke\n## Action items\n- a (owner: ana)").missing,
            Vec::<String>::new()
        );
    }
}
