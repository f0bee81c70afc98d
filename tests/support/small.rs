//! The smallest program that invites people: one cohort, open from the first pass on.

use super::TestRepo;

/// A program `small` with a cohort `pavia` of these rows of a list (`email,label,locale`). `mail`: the fields of `spec.mail`, as a flow map; `rate`: the
/// cohort's. What a test sends to is in `secrets/smtp` of its data folder.
pub fn small(rows: &[String], mail: &str, rate: &str) -> TestRepo {
    let repo = TestRepo::empty();
    repo.write(
        "manifests/program.yaml",
        &format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Program\nmetadata: {{ name: small }}\nspec:\n  timeZone: Europe/Rome\n  \
             startsOn: 2026-03-02\n  publicUrl: https://beta.example.com\n  feedbackUrl: https://beta.example.com/feedback\n  people: {{ founder: {{ git: [ana@example.com] }} }}\n  mail: {mail}\n"
        ),
    );
    repo.write(
        "cohorts/pavia.yaml",
        &format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Cohort\nmetadata: {{ name: pavia }}\nspec:\n  program: small\n  members: {{ csv: pavia.csv }}\n  \
             invites: {{ template: hello, rate: {rate} }}\n"
        ),
    );
    repo.write(
        "manifests/rollout.yaml",
        "apiVersion: betagate.dev/v1alpha1\nkind: Rollout\nmetadata: { name: all }\nspec:\n  program: small\n  stages:\n    - name: first\n      \
         cohorts: [pavia]\n",
    );
    repo.write("cohorts/pavia.csv", &list(rows));
    repo.write(
        "cohorts/templates/hello.txt",
        "Subject: Come in\n\nFor {{ address }} until {{ expiry }}: {{ link }}\n\nYour code is {{ code }}.\n",
    );
    repo
}

/// The text of a list with these rows.
pub fn list(rows: &[String]) -> String {
    format!("email,label,locale\n{}\n", rows.join("\n"))
}

/// Rows for these addresses.
pub fn rows(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|address| format!("{address},listener-pavia,")).collect()
}
