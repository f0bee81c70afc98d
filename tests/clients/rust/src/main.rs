//! Asks every case of the table through OpenFeature's Rust SDK; a line of JSON for each.

use std::error::Error;

use open_feature::{
    Client, EvaluationContext, EvaluationContextFieldValue as Field, EvaluationDetails, EvaluationError,
};
use open_feature::{EvaluationErrorCode, EvaluationReason, OpenFeature, StructValue, Value as FlagValue};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let base_url = arguments.next().ok_or("the server's address is missing")?;
    let table = std::fs::read_to_string(arguments.next().ok_or("the table is missing")?)?;
    let table: Value = serde_json::from_str(&table)?;
    let mut options = OfrepOptions { base_url, ..Default::default() };
    if let Ok(token) = std::env::var("BETAGATE_TOKEN") {
        options.headers.insert("authorization", format!("Bearer {token}").parse()?);
    }
    let provider = OfrepProvider::new(options).await.map_err(|why| format!("{why:?}"))?;
    let mut api = OpenFeature::default();
    api.set_provider(provider).await;
    let client = api.create_client();
    for case in table["cases"].as_array().into_iter().flatten() {
        println!("{}", ask(&client, case).await);
    }
    Ok(())
}

async fn ask(client: &Client, case: &Value) -> Value {
    let flag = case["flag"].as_str().unwrap_or_default();
    let context = context_of(&case["context"]);
    let context = Some(&context);
    match case["type"].as_str() {
        Some("boolean") => line(case, client.get_bool_details(flag, context, None).await, |value| json!(value)),
        Some("string") => line(case, client.get_string_details(flag, context, None).await, |value| json!(value)),
        Some("integer") => line(case, client.get_int_details(flag, context, None).await, |value| json!(value)),
        Some("float") => line(case, client.get_float_details(flag, context, None).await, |value| json!(value)),
        _ => line(case, client.get_struct_details::<StructValue>(flag, context, None).await, |value| {
            plain(FlagValue::Struct(value))
        }),
    }
}

fn line<T>(
    case: &Value,
    answer: Result<EvaluationDetails<T>, EvaluationError>,
    plain: impl FnOnce(T) -> Value,
) -> Value {
    match answer {
        Ok(details) => json!({
            "name": case["name"],
            "value": plain(details.value),
            "variant": details.variant,
            "reason": details.reason.map(|reason| reason_name(&reason)),
        }),
        // This SDK leaves it to its caller to fall back to a default.
        Err(error) => json!({
            "name": case["name"],
            "value": case["default"],
            "error": error_name(&error.code),
            "message": error.message,
        }),
    }
}

fn context_of(fields: &Value) -> EvaluationContext {
    let mut context = EvaluationContext::default();
    for (name, field) in fields.as_object().into_iter().flatten() {
        context = match (name.as_str(), field) {
            ("targetingKey", Value::String(key)) => context.with_targeting_key(key),
            (_, Value::String(text)) => context.with_custom_field(name, text.clone()),
            (_, Value::Bool(on)) => context.with_custom_field(name, *on),
            (_, Value::Number(number)) => match number.as_i64() {
                Some(whole) => context.with_custom_field(name, whole),
                None => context.with_custom_field(name, number.as_f64().unwrap_or_default()),
            },
            // Its contexts know objects only as something of the program's own, and no lists.
            (_, other) => context.with_custom_field(name, Field::new_struct(other.clone())),
        };
    }
    context
}

fn plain(value: FlagValue) -> Value {
    match value {
        FlagValue::Bool(on) => json!(on),
        FlagValue::Int(whole) => json!(whole),
        FlagValue::Float(number) => json!(number),
        FlagValue::String(text) => json!(text),
        FlagValue::Array(items) => items.into_iter().map(plain).collect(),
        FlagValue::Struct(object) => {
            Value::Object(object.fields.into_iter().map(|(name, field)| (name, plain(field))).collect())
        }
    }
}

fn reason_name(reason: &EvaluationReason) -> String {
    match reason {
        EvaluationReason::TargetingMatch => "TARGETING_MATCH".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}

fn error_name(code: &EvaluationErrorCode) -> &'static str {
    match code {
        EvaluationErrorCode::ProviderNotReady => "PROVIDER_NOT_READY",
        EvaluationErrorCode::FlagNotFound => "FLAG_NOT_FOUND",
        EvaluationErrorCode::ParseError => "PARSE_ERROR",
        EvaluationErrorCode::TypeMismatch => "TYPE_MISMATCH",
        EvaluationErrorCode::TargetingKeyMissing => "TARGETING_KEY_MISSING",
        EvaluationErrorCode::InvalidContext => "INVALID_CONTEXT",
        EvaluationErrorCode::General(_) => "GENERAL",
    }
}
