//! `betagate import flagd`: definitions of flagd and of the OpenFeature Operator become documents. All of them, or none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use betagate_core::desired::nearest::nearest;
use betagate_core::import::{self, File, Imported, Options};
use betagate_core::resources::Bucketing;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::import_csv::Csv;
use super::{CliError, FAILED};
use crate::cluster::ClusterOptions;
use crate::controller::survey_snapshot;
use crate::source::cluster;
use crate::source::read_folder;

/// Takes over what another system has.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate import flagd flags.json --program kruxt --out flags/\n  betagate import csv guests.csv --cohort pavia --program kruxt"
)]
pub struct Import {
    #[command(subcommand)]
    what: ImportWhat,
}

#[derive(Subcommand)]
enum ImportWhat {
    Flagd(Flagd),
    Csv(Csv),
}

/// Reads flagd's flag files and FeatureFlag resources of the OpenFeature Operator, and writes Flag documents: all, or none.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate import flagd flags.json --program kruxt                 # to standard output\n  \
    betagate import flagd deploy/flags --program kruxt --out flags/    # one file each\n  \
    betagate import flagd cluster --context staging --program kruxt --out flags/    # FeatureFlag resources of all namespaces"
)]
struct Flagd {
    /// A file, a folder with files (JSON or YAML), or `cluster` for the FeatureFlag resources there (a folder of that name is ./cluster).
    #[arg(value_name = "FILE|DIR|cluster")]
    from: PathBuf,
    /// The context of the kubeconfig that leads to the cluster; its current one when left out.
    #[arg(long)]
    context: Option<String>,
    /// The only namespace of the cluster to look at.
    #[arg(long, short)]
    namespace: Option<String>,
    /// The program that the flags will belong to.
    #[arg(long)]
    program: String,
    /// A folder for one file each, or a .yaml file for all of them; left out: standard output.
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
    /// The generation of hashing that percentages picked people with so far: another one picks others.
    #[arg(long, value_enum, default_value_t)]
    bucketing: Hashing,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Hashing {
    /// Flag key and targeting key, one after the other: flagd to this day.
    #[default]
    Concat,
    /// The canonical CBOR of both: what comes after.
    Cbor,
}

impl Import {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            ImportWhat::Flagd(flagd) => flagd.run().await,
            ImportWhat::Csv(csv) => csv.run(),
        }
    }
}

impl Flagd {
    async fn run(self) -> Result<ExitCode, CliError> {
        let from_cluster = self.from.as_os_str() == "cluster";
        if !from_cluster && (self.context.is_some() || self.namespace.is_some()) {
            return Err(CliError::Usage("--context and --namespace go with `cluster`".to_owned()));
        }
        let files = if from_cluster {
            let options = ClusterOptions { context: self.context, namespace: self.namespace };
            let found = cluster::feature_flags(&options).await.map_err(CliError::failed)?;
            if found.is_empty() {
                return Err(CliError::Failed(
                    "there is no FeatureFlag in the cluster, or in that namespace".to_owned(),
                ));
            }
            by_namespace(found)
        } else {
            read(&self.from)?
        };
        let bucketing = match self.bucketing {
            Hashing::Concat => Bucketing::Concat,
            Hashing::Cbor => Bucketing::Cbor,
        };
        let options = Options { program: self.program, bucketing };
        let done = import::flagd(&files, &options)
            .and_then(|imported| import::texts(&imported, &options).map(|texts| (imported, texts)));
        let (imported, texts) = match done {
            Ok(done) => done,
            Err(refusals) => {
                refusals.iter().for_each(|refusal| complain!("{refusal}"));
                complain!("{} thing(s) cannot be carried over; nothing was written", refusals.len());
                return Ok(ExitCode::from(FAILED));
            }
        };
        imported.left_out.iter().for_each(|what| complain!("left out: {what}"));
        if let Some(out) = &self.out {
            expect_program(out, &options.program)?;
        }
        let Some(out) = self.out else {
            say!("{}", texts.join("---\n").trim_end());
            return Ok(ExitCode::SUCCESS);
        };
        write(&out, files_of(&out, &imported, texts))?;
        say!("{} flag(s) in {}", imported.flags.len(), out.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses a program that the documents around `out` do not have: what is written would be refused with them.
fn expect_program(out: &Path, program: &str) -> Result<(), CliError> {
    let absolute = std::path::absolute(out).map_err(CliError::failed)?;
    let has_manifests = |folder: &&Path| folder.join("manifests").is_dir();
    let Some(root) = absolute.ancestors().take(8).find(has_manifests) else { return Ok(()) };
    let snapshot = read_folder(root).map_err(CliError::failed)?;
    let known: Vec<String> = survey_snapshot(&snapshot, None, true).desired.programs.into_keys().collect();
    if known.is_empty() || known.iter().any(|name| name == program) {
        return Ok(());
    }
    let near = nearest(program, known.iter().map(String::as_str)).map(|near| format!("; did you mean {near}?"));
    let near = near.unwrap_or_else(|| format!("; there are {}", known.join(", ")));
    let root = root.display();
    Err(CliError::Failed(format!("there is no program '{program}' in {root}{near}; nothing was written")))
}

/// The resources of each namespace as if they stood in a file, so that what is said about them tells where they are.
fn by_namespace(resources: Vec<Value>) -> Vec<File> {
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for resource in resources {
        let namespace = resource["metadata"]["namespace"].as_str().unwrap_or_default();
        files.entry(format!("namespace {namespace}")).or_default().push(resource);
    }
    files.into_iter().map(|(name, documents)| File { name, documents }).collect()
}

/// The files to import: the one that is named, or those of a folder and below, in order.
fn read(from: &Path) -> Result<Vec<File>, CliError> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| CliError::Failed(format!("{}: {error}", path.display()));
    let mut paths = Vec::new();
    let mut folders = Vec::new();
    if from.is_dir() {
        folders.push(from.to_owned());
    } else {
        paths.push(from.to_owned());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, &error))? {
            let entry = entry.map_err(|error| failed(&folder, &error))?;
            let kind = entry.file_type().map_err(|error| failed(&folder, &error))?;
            let path = entry.path();
            let is_definition =
                path.extension().is_some_and(|ending| ["json", "yaml", "yml"].iter().any(|e| ending == *e));
            if kind.is_dir() {
                folders.push(path);
            } else if is_definition {
                paths.push(path);
            }
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(CliError::Failed(format!("there is no .json, .yaml or .yml file in {}", from.display())));
    }
    let file = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| failed(path, &error))?;
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let documents = if is_json {
            serde_json::from_str(&text).map(|document| vec![document]).map_err(|error| failed(path, &error))?
        } else {
            yaml(&text).map_err(|error| failed(path, &error))?
        };
        Ok(File { name: path.display().to_string(), documents })
    };
    paths.iter().map(file).collect()
}

fn yaml(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    // A bare on or off is a text, as flagd reads it.
    serde_saphyr::from_multiple_with_options(
        text,
        serde_saphyr::options! { strict_booleans: true, with_snippet: false },
    )
}

/// The files to write: one for all where `out` is a YAML file, else one each below it.
fn files_of(out: &Path, imported: &Imported, texts: Vec<String>) -> Vec<(PathBuf, String)> {
    if out.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") && !out.is_dir() {
        return vec![(out.to_owned(), texts.join("---\n"))];
    }
    let names = imported.flags.iter().map(|flag| out.join(format!("{}.yaml", flag.name)));
    names.zip(texts).collect()
}

/// Writes all files or none: what is there already stays, and stops it.
fn write(out: &Path, files: Vec<(PathBuf, String)>) -> Result<(), CliError> {
    let there: Vec<_> =
        files.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    if !there.is_empty() {
        return Err(CliError::Failed(format!("there already: {}; nothing was written", there.join(", "))));
    }
    let folder = match files.as_slice() {
        [(only, _)] if only == out => {
            out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
        }
        _ => out,
    };
    fs::create_dir_all(folder).map_err(|error| CliError::Failed(format!("{}: {error}", folder.display())))?;
    // Complete beside their places first, so that only names are left to change.
    let beside = |path: &Path| path.with_extension("yaml.importing");
    let written = files.iter().try_for_each(|(path, text)| fs::write(beside(path), text));
    let mut placed = Vec::new();
    let done = written.and_then(|()| {
        files.iter().try_for_each(|(path, _)| fs::rename(beside(path), path).map(|()| placed.push(path.clone())))
    });
    done.map_err(|error| {
        for path in files.iter().map(|(path, _)| beside(path)).chain(placed) {
            let _ = fs::remove_file(path);
        }
        CliError::Failed(format!("{}: {error}; nothing was written", out.display()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_files_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("flags");
        let file = |name: &str| (out.join(name), "x: 1\n".to_owned());
        write(&out, vec![file("a.yaml"), file("b.yaml")]).unwrap();
        assert_eq!(names(&out), ["a.yaml", "b.yaml"]);
        assert!(write(&out, vec![file("b.yaml"), file("c.yaml")]).is_err());
        // A name that cannot be written, after one that could.
        assert!(write(&out, vec![file("d.yaml"), file("none/e.yaml")]).is_err());
        assert_eq!(names(&out), ["a.yaml", "b.yaml"]);
    }

    #[test]
    fn a_folder_is_read_with_what_is_below_it_and_bare_words_are_texts() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("z.json"), "{\"flags\": {}}").unwrap();
        fs::write(folder.path().join("sub/a.yml"), "flags: { f: { variants: { on: off } } }\n---\nflags: {}\n")
            .unwrap();
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        let files = read(folder.path()).unwrap();
        assert_eq!(files.iter().map(|file| file.documents.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(files[0].documents[0]["flags"]["f"]["variants"]["on"], "off");
        assert!(read(&folder.path().join("absent.json")).is_err());
        fs::write(folder.path().join("z.json"), "{").unwrap();
        assert!(read(folder.path()).is_err());
    }
}
