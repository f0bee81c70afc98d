//! Changes of a document in the file in which it stands, everything else in it left as it was, comments included.
//!
//! Must not know: why a change is wanted.

use std::io::Write as _;
use std::path::Path;

use betagate_core::desired::nearest::nearest;
use betagate_core::desired::parse::parse;
use betagate_core::desired::{Built, Resource};
use betagate_core::resources::FlagSpec;

/// Where a flag's default was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file, from the root of the source.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// The flag with this key, if its default may be this variant.
///
/// # Errors
/// In words: there is no such flag or variant, or an invariant keeps it.
pub(super) fn settable<'a>(built: &'a Built, key: &str, variant: &str) -> Result<&'a Resource<FlagSpec>, String> {
    let programs = || built.desired.programs.values();
    let found = programs().find_map(|program| program.flags.get(key).map(|flag| (program, flag)));
    let Some((program, flag)) = found else {
        let near = nearest(key, programs().flat_map(|program| program.flags.keys()).map(String::as_str));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(format!("there is no flag '{key}'{hint}"));
    };
    let Some(value) = flag.spec.variants.get(variant) else {
        let known: Vec<_> = flag.spec.variants.keys().map(String::as_str).collect();
        return Err(format!("'{variant}' is no variant of '{key}'; there are {}", known.join(", ")));
    };
    // A document that says otherwise would be refused with everything beside it.
    if let Some(kept) = program.program.spec.invariants.iter().find(|kept| kept.flag == key && kept.is != *value) {
        return Err(format!(
            "program '{}' keeps '{key}' at {}: that is one of its invariants",
            program.name(),
            kept.is
        ));
    }
    Ok(flag)
}

/// Writes another default variant into the document of the flag with this key, below `folder`, which `built` was read from.
///
/// # Errors
/// In words: there is no such flag or variant, or the file can't be changed; then it is as it was.
pub fn set_default_variant(folder: &Path, built: &Built, key: &str, variant: &str) -> Result<Written, String> {
    let flag = settable(built, key, variant)?;
    let path = folder.join(&*flag.origin.file);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let parsed = parse(&flag.origin.file, &text);
    let document = parsed.documents.iter().find(|document| document.kind == "Flag" && document.name == flag.name);
    let at = document.and_then(|document| document.root.at("/spec/defaultVariant")).map(|node| node.at);
    let at = at.ok_or_else(|| failed(&"its defaultVariant was not found"))?;
    let changed = replaced(&text, at.line, at.column, variant).ok_or_else(|| failed(&"edit it by hand"))?;
    // Beside it first, so that a reader never sees half a file.
    let place = path.parent().unwrap_or(folder);
    let mut new = tempfile::NamedTempFile::new_in(place).map_err(|error| failed(&error))?;
    new.write_all(changed.as_bytes()).map_err(|error| failed(&error))?;
    let rights = std::fs::metadata(&path).map_err(|error| failed(&error))?.permissions();
    new.as_file().set_permissions(rights).map_err(|error| failed(&error))?;
    new.persist(&path).map_err(|error| failed(&error.error))?;
    Ok(Written { file: flag.origin.file.to_string(), line: at.line })
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
