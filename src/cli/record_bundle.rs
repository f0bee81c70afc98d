//! `betagate audit bundle` and `audit verify FILE`: the evidence of a rollback, made here, checked anywhere.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::common::{plain, print_value};
use super::{CliError, FAILED, Format, Where};
use crate::cluster::{Cluster, ClusterOptions};
use crate::desk::Request;
use crate::evidence::{Files, RECEIPTS, check, read, write};
use crate::outbox::Documents;

/// Writes the archive of a run, with the cause documents of the data folder, or of a namespace.
pub async fn bundle(
    place: &Where,
    run: String,
    file: Option<PathBuf>,
    within: Option<ClusterOptions>,
) -> Result<ExitCode, CliError> {
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{run}.tar")));
    if file.exists() {
        return Err(CliError::Failed(format!("{} exists already", file.display())));
    }
    let mut documents = Documents::of(&place.data).of_run(&run);
    let mut looked = None;
    if let Some(within) = within {
        let cluster = Cluster::connect(&within).await.map_err(CliError::failed)?;
        documents.extend(Documents::of_run_in(&cluster, &run).await.map_err(CliError::failed)?);
        looked = Some(cluster.namespace().to_owned());
    }
    let gathered = place.ask(Request::Bundle { run, documents }).await?;
    let files: Files = serde_json::from_value(gathered["files"].clone()).map_err(CliError::failed)?;
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("{}: {error}", file.display()));
    let into = File::create_new(&file).map_err(|error| failed(&error))?;
    write(&files, BufWriter::new(into)).map_err(|error| failed(&error))?;
    for left in left_behind(&files) {
        complain!("it lacks {left}: {}", remedy(looked.as_deref()));
    }
    let head = &gathered["head"];
    say!("{}: {} files; the log ends at {}:{}", file.display(), files.len(), head["link"], plain(&head["hash"]));
    Ok(ExitCode::SUCCESS)
}

/// Why a document of a cluster is not there: nobody looked, or it is not where somebody looked.
fn remedy(looked: Option<&str>) -> String {
    match looked {
        None => "--namespace NAME brings it along from the cluster".to_owned(),
        Some(namespace) => format!("it is not in namespace {namespace}"),
    }
}

/// The cause documents that are kept in a cluster, as their receipts say, and are not in the archive.
fn left_behind(files: &Files) -> Vec<String> {
    let receipts: Value = files.get(RECEIPTS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let references = receipts.as_array().into_iter().flatten().filter_map(|one| one["receipt"]["reference"].as_str());
    let kept = references.filter_map(|reference| reference.strip_prefix("ConfigMap "));
    let inside: Vec<String> =
        files.keys().filter_map(|name| name.strip_prefix("documents/").map(Documents::config_map)).collect();
    kept.filter(|name| !inside.iter().any(|one| one == name)).map(|name| format!("ConfigMap {name}")).collect()
}

/// Checks an archive; no record is asked.
pub fn verify(archive: &Path, head: Option<&str>, output: Format) -> Result<ExitCode, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("{}: {error}", archive.display()));
    let files = read(File::open(archive).map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    let checked = check(&files, head);
    if output != Format::Table {
        let head = checked.head.as_ref().map(ToString::to_string);
        let shown =
            json!({ "run": checked.run, "entries": checked.entries, "head": head, "problems": checked.problems });
        print_value(&shown, output)?;
    } else if checked.problems.is_empty() {
        let end = checked.head.as_ref().map(ToString::to_string).unwrap_or_default();
        say!("{}: {} files and {} entries of the log fit; it ends at {end}", checked.run, files.len(), checked.entries);
        if head.is_none() {
            say!("compare that with what was told when it was made: betagate audit verify FILE --head LINK:HASH");
        }
    } else {
        checked.problems.iter().for_each(|problem| say!("{problem}"));
    }
    Ok(if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_archive_lacks_is_named_with_where_it_was_looked_for() {
        let receipts = json!([{ "receipt": { "reference": "ConfigMap cause-back-1-0a1b2c3d" } }]);
        let mut files = Files::from([(RECEIPTS.to_owned(), receipts.to_string())]);
        assert_eq!(left_behind(&files), ["ConfigMap cause-back-1-0a1b2c3d"]);
        assert_eq!(remedy(None), "--namespace NAME brings it along from the cluster");
        assert_eq!(remedy(Some("beta")), "it is not in namespace beta");
        files.insert("documents/back-1-0a1b2c3d.md".to_owned(), String::new());
        assert_eq!(left_behind(&files), [""; 0]);
    }
}
