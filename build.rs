//! Lists the migrations under `migrations/`, so that adding one is adding two files and touching nothing else.
//!
//! Must not know: what a migration does.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut code = String::new();
    for (constant, dialect) in [("POSTGRES", "postgres"), ("SQLITE", "sqlite")] {
        let folder = root.join("migrations").join(dialect);
        println!("cargo::rerun-if-changed={}", folder.display());
        writeln!(code, "const {constant}: &[Migration] = &[")?;
        for (version, name, path) in numbered(&folder)? {
            println!("cargo::rerun-if-changed={}", path.display());
            writeln!(
                code,
                "    Migration {{ version: {version}, name: {name:?}, sql: include_str!({:?}) }},",
                path.display().to_string()
            )?;
        }
        writeln!(code, "];")?;
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("migrations.rs"), code)?;
    Ok(())
}

/// A migration's number, name and file.
type Numbered = (i64, String, PathBuf);

/// The files `NNN_name.sql` of a folder, by number. A name that does not fit, or a number used twice, stops the build.
fn numbered(folder: &Path) -> Result<Vec<Numbered>, Box<dyn Error>> {
    let mut found: Vec<Numbered> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ext| ext != "sql") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let (number, name) =
            stem.split_once('_').ok_or_else(|| format!("{}: expected NNN_name.sql", path.display()))?;
        let version = number.parse().map_err(|_| format!("{}: expected NNN_name.sql", path.display()))?;
        if found.iter().any(|(other, ..)| *other == version) {
            return Err(format!("{}: the number {version} is used twice", path.display()).into());
        }
        found.push((version, name.to_owned(), path.clone()));
    }
    found.sort();
    Ok(found)
}
