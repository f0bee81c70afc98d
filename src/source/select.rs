//! Which files belong to a source: the same rules for a folder and for a commit.
//!
//! Must not know: how files are read, or what they mean.

/// The folders that hold programs. If a source has any of them, nothing else is looked at.
pub(super) const ROOTS: [&str; 3] = ["manifests", "cohorts", "flags"];

/// Whether a file holds documents, by its ending.
pub fn is_document(path: &str) -> bool {
    ending(path).is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|one| one.eq_ignore_ascii_case(ending)))
}

/// Whether a file belongs to a source: documents, and what documents name (lists, templates, queries, the scripts of
/// jobs).
pub(super) fn belongs(path: &str) -> bool {
    const NAMED: [&str; 13] =
        ["csv", "tsv", "txt", "md", "html", "htm", "j2", "jinja", "eml", "mjml", "sql", "sh", "py"];
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.starts_with('.')
        && (is_document(path)
            || ending(path).is_some_and(|ending| NAMED.iter().any(|one| one.eq_ignore_ascii_case(ending))))
}

/// Whether a folder is passed over: hidden ones (`.git`, `.betagate`, …), build output, and Helm charts, whose templates
/// look like YAML and are not.
pub(super) fn skips_folder(name: &str) -> bool {
    name.starts_with('.') || matches!(name, "target" | "node_modules" | "charts" | "crds")
}

fn ending(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, ending)| ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_what_they_name_belong_to_a_source() {
        for (path, document, belonging) in [
            ("manifests/a.yaml", true, true),
            ("a.YML", true, true),
            ("flags/f.json", true, true),
            ("cohorts/pavia.csv", false, true),
            ("cohorts/templates/beta-invite.html.j2", false, true),
            ("manifests/jobs/backup-age.sh", false, true),
            ("a/.hidden.yaml", true, false),
            ("src/main.rs", false, false),
            ("yaml", false, false),
            ("a.yaml/README", false, false),
        ] {
            assert_eq!((is_document(path), belongs(path)), (document, belonging), "{path}");
        }
    }
}
