//! The valid name nearest to a mistyped one, for "did you mean".
//!
//! Must not know: where the names come from.

/// The candidate nearest to `name`, if one is near enough to be a likely slip: the same but for case and separators
/// (`expire_after` for `expireAfter`), or within a third of its length in edits (a swap of neighbours is one edit).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name)
        .map(|candidate| (strsim::osa_distance(&wanted, &folded(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `one of a, b, c`, shortened when there are very many.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        few if few.len() <= SHOWN => format!("one of {}", few.join(", ")),
        many => format!("one of {} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_likely_slip_or_nothing() {
        let fields = ["expireAfter", "template", "rate", "members", "is", "on", "off"];
        for (typed, wanted) in [
            ("expire_after", Some("expireAfter")),
            ("ExpireAfter", Some("expireAfter")),
            ("exipreAfter", Some("expireAfter")),
            ("templates", Some("template")),
            ("rte", Some("rate")),
            ("member", Some("members")),
            ("sending", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, fields), wanted, "{typed}");
        }
    }

    #[test]
    fn a_list_of_names_reads_as_one_of() {
        assert_eq!(one_of(["a"]), "a");
        assert_eq!(one_of(["a", "b"]), "one of a, b");
    }
}
