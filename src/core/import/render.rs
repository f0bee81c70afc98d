//! Documents as text, proven: what is written reads as exactly what was meant, and `validate` takes it.
//!
//! Must not know: where the documents come from, files.

use std::collections::HashMap;

use serde_json::Value;

use super::{Document, Imported, Options, Refusal};
use crate::desired::{BuildOptions, Revision, build};
use crate::resources::FlagSpec;

/// The stand-in for the program, which is somebody else's document.
const PROGRAM: &str = "kind: Program\nmetadata: { name: NAME }\nspec: { timeZone: UTC }\n";

/// The text of each document, in their order.
///
/// # Errors
/// Every flag that a document cannot say, or that validation refuses.
pub fn texts(imported: &Imported, options: &Options) -> Result<Vec<String>, Vec<Refusal>> {
    let refusal = |document: &Document, message: String| Refusal {
        file: document.file.clone(),
        what: format!("flag '{}'", document.key),
        message,
    };
    let (mut texts, mut refused) = (Vec::new(), Vec::new());
    for document in &imported.flags {
        match text(&document.body) {
            Ok(text) => texts.push(text),
            Err(error) => refused.push(refusal(document, error)),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let program = PROGRAM.replace("NAME", &Value::from(options.program.as_str()).to_string());
    let names: Vec<String> = imported.flags.iter().map(|document| format!("flags/{}.yaml", document.name)).collect();
    let files = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str));
    let files = std::iter::once(("program.yaml", program.as_str())).chain(files);
    let built = build(
        files,
        Revision::default(),
        &BuildOptions { environment: None, default_prometheus: false, file_exists: &|_| false },
    );
    let built = built.map_err(|problems| {
        let by_name: HashMap<&str, &Document> = names.iter().map(String::as_str).zip(&imported.flags).collect();
        let errors = problems.iter().filter(|problem| problem.is_error());
        let refuse = |problem: &crate::desired::error::Problem| {
            let message = format!("{}: {}", problem.field, problem.message);
            match by_name.get(problem.file.as_str()) {
                Some(document) => refusal(document, message),
                None => Refusal { file: "--program".to_owned(), what: options.program.clone(), message },
            }
        };
        errors.map(refuse).collect::<Vec<_>>()
    })?;
    let read = built.desired.programs.get(&options.program).map(|program| &program.flags);
    for document in &imported.flags {
        let meant: Option<FlagSpec> = serde_json::from_value(document.body["spec"].clone()).ok();
        let got = read.and_then(|flags| flags.get(&document.key)).map(|flag| &flag.spec);
        if meant.as_ref() != got {
            refused.push(refusal(document, "it does not read as it was written".to_owned()));
        }
    }
    if refused.is_empty() { Ok(texts) } else { Err(refused) }
}

fn text(body: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(body, options).map_err(|error| error.to_string())
}
