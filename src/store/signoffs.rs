//! People's words: given once, never changed, never deleted.
//!
//! Must not know: which words are needed where.

use jiff::Timestamp;

use super::{Row, Store, StoreError, Tx, push};
use crate::args;
use crate::core::resources::{Edge, SignoffSpec};

/// A word given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signoff {
    /// The program it is about.
    pub program: String,
    /// Its name, unique in the program.
    pub name: String,
    /// Who gave it.
    pub by_person: String,
    /// What was said (`met`, `go`, `no-go`, `lift`, …).
    pub says: String,
    /// The gate it is about.
    pub gate: Option<String>,
    /// The check of the gate.
    pub check: Option<String>,
    /// The rollout it is about.
    pub rollout: Option<String>,
    /// The stage of the rollout.
    pub stage: Option<String>,
    /// The rollback run it is about.
    pub run: Option<String>,
    /// Any other object (`cohort/pavia`).
    pub object: Option<String>,
    /// The digest of what was seen when it was given.
    pub digest: Option<String>,
    /// What else was said.
    pub note: Option<String>,
    /// Until when it counts.
    pub until: Option<Timestamp>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// Whether it is proven who gave it.
    pub verified: bool,
    /// Why it is, or is not; empty while nobody has looked.
    pub proof: String,
    /// Where it comes from (`document`, `api`, `cli`).
    pub source: String,
}

impl Signoff {
    /// A word that was recorded, not declared: who said it is not proven, and `proof` says why.
    pub fn recorded(name: &str, spec: &SignoffSpec, now: Timestamp, source: &str, proof: &str) -> Self {
        let says = serde_json::to_value(spec.says).unwrap_or_default();
        Self {
            program: spec.program.clone(),
            name: name.to_owned(),
            by_person: spec.by.clone(),
            says: says.as_str().unwrap_or_default().to_owned(),
            gate: spec.gate.clone(),
            check: spec.check.clone(),
            rollout: spec.rollout.clone(),
            stage: spec.stage.clone(),
            run: spec.run.clone(),
            object: spec.object.clone(),
            digest: spec.digest.clone(),
            note: spec.note.clone(),
            until: spec.until.map(|until| until.resolve(jiff::civil::Date::ZERO, &jiff::tz::TimeZone::UTC, Edge::End)),
            first_seen: now,
            verified: false,
            proof: proof.to_owned(),
            source: source.to_owned(),
        }
    }
}

/// Records a word; says whether it was new, or is proven or disproven only now. The same word again changes nothing: what was once found out of
/// who said it stands.
///
/// # Errors
/// [`StoreError::Conflict`] when another word has that name: words are immutable.
pub async fn record(tx: &mut Tx, word: &Signoff) -> Result<bool, StoreError> {
    let insert = "INSERT INTO signoffs (program, name, by_person, says, gate, check_name, rollout, stage, run, object,
            digest, note, until, first_seen, verified, source, proof)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        ON CONFLICT (program, name) DO NOTHING";
    let bound = args![
        &word.program,
        &word.name,
        &word.by_person,
        &word.says,
        &word.gate,
        &word.check,
        &word.rollout,
        &word.stage,
        &word.run,
        &word.object,
        &word.digest,
        &word.note,
        word.until,
        word.first_seen,
        word.verified,
        &word.source,
        &word.proof,
    ];
    if tx.execute(insert, bound).await? > 0 {
        push::word(tx).await?;
        return Ok(true);
    }
    let sql = "SELECT * FROM signoffs WHERE program = $1 AND name = $2";
    let kept = read(&tx.one(sql, args![&word.program, &word.name]).await?)?;
    // How it reached us may differ from one time to the next; what was said, and by whom, may not.
    let Signoff { first_seen, verified, proof, source, .. } = kept.clone();
    if (Signoff { first_seen, verified, proof, source, ..word.clone() }) != kept {
        let name = &word.name;
        return Err(StoreError::Conflict(format!("sign-off {name} says something else already; give it another name")));
    }
    if !kept.proof.is_empty() || word.proof.is_empty() {
        return Ok(false);
    }
    let found = "UPDATE signoffs SET verified = $3, proof = $4 WHERE program = $1 AND name = $2";
    tx.execute(found, args![&word.program, &word.name, word.verified, &word.proof]).await?;
    push::word(tx).await?;
    Ok(true)
}

/// A program's words, oldest first.
pub async fn list(store: &Store, program: &str) -> Result<Vec<Signoff>, StoreError> {
    let sql = "SELECT * FROM signoffs WHERE program = $1 ORDER BY first_seen, name";
    store.all(sql, args![program]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Signoff, StoreError> {
    Ok(Signoff {
        program: row.get("program")?,
        name: row.get("name")?,
        by_person: row.get("by_person")?,
        says: row.get("says")?,
        gate: row.get("gate")?,
        check: row.get("check_name")?,
        rollout: row.get("rollout")?,
        stage: row.get("stage")?,
        run: row.get("run")?,
        object: row.get("object")?,
        digest: row.get("digest")?,
        note: row.get("note")?,
        until: row.get("until")?,
        first_seen: row.get("first_seen")?,
        verified: row.get("verified")?,
        proof: row.get("proof")?,
        source: row.get("source")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn a_word_once_given_cannot_be_turned() {
        on_each(async |store| {
            let word = Signoff {
                program: "kruxt".into(),
                name: "founder-go".into(),
                by_person: "founder".into(),
                says: "go".into(),
                gate: None,
                check: None,
                rollout: Some("closed-beta".into()),
                stage: Some("pilot".into()),
                run: None,
                object: None,
                digest: None,
                note: Some("ready".into()),
                until: Some(Timestamp::from_second(9).unwrap()),
                first_seen: Timestamp::from_second(5).unwrap(),
                verified: false,
                proof: String::new(),
                source: "document".into(),
            };
            let mut tx = store.begin().await.unwrap();
            assert!(record(&mut tx, &word).await.unwrap());
            let again = Signoff { first_seen: Timestamp::from_second(8).unwrap(), ..word.clone() };
            assert!(!record(&mut tx, &again).await.unwrap());
            let turned = Signoff { says: "no-go".into(), ..word.clone() };
            assert!(matches!(record(&mut tx, &turned).await, Err(StoreError::Conflict(_))));
            tx.commit().await.unwrap();
            assert_eq!(list(&store, "kruxt").await.unwrap(), [word]);
        })
        .await;
    }

    #[tokio::test]
    async fn who_said_it_is_found_out_once() {
        on_each(async |store| {
            let spec = SignoffSpec::lift("kruxt", "founder", "back-1", "all is well");
            let unknown = Signoff::recorded("lift", &spec, Timestamp::from_second(5).unwrap(), "document", "");
            let proven = Signoff { verified: true, proof: "it was asked".into(), ..unknown.clone() };
            let doubted = Signoff { proof: "nobody knows".into(), ..unknown.clone() };
            let mut tx = store.begin().await.unwrap();
            let mut news = Vec::new();
            for word in [&unknown, &unknown, &proven, &proven, &doubted] {
                news.push(record(&mut tx, word).await.unwrap());
            }
            tx.commit().await.unwrap();
            assert_eq!(news, [true, false, true, false, false]);
            assert_eq!(list(&store, "kruxt").await.unwrap(), [proven]);
        })
        .await;
    }
}
