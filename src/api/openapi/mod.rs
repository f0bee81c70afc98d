//! `/openapi.json`: what the routes' own descriptions say, completed by what they can't: answers' schemas, who may call, routes outside the
//! router (OFREP is answered in front of it), pages, and the second names of routes. A test compares it with what is really served.
//!
//! Must not know: what a route does.

use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// What completes the description. Answers are by method and path, security by the beginning of a path.
const MORE: &str = include_str!("more.json");
/// The document's version of OpenAPI is utoipa's: 3.1.
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];
/// Writes that keep their answers for whoever repeats them.
const REPEATABLE: [&str; 2] = ["/v1/admin/", "/v1/compliance/requests/"];

/// Completes what utoipa collected.
pub fn complete(collected: &utoipa::openapi::OpenApi) -> Value {
    let mut document = json!(collected);
    // A file of this program: a test reads it.
    let mut more: Value = serde_json::from_str(MORE).unwrap_or_default();
    document["servers"] = more["servers"].take();
    document["tags"] = more["tags"].take();
    document["components"]["securitySchemes"] = more["securitySchemes"].take();
    merge(&mut document["components"]["schemas"], more["schemas"].take());
    merge(&mut document["paths"], more["paths"].take());
    for (named, schemas) in more["answers"].as_object().into_iter().flatten() {
        let Some((method, path)) = named.split_once(' ') else { continue };
        for (status, schema) in schemas.as_object().into_iter().flatten() {
            // A media type of its own is text.
            let content = match schema.as_str().unwrap_or_default() {
                text if text.contains('/') => json!({ text: { "schema": { "type": "string" } } }),
                name => json!({ "application/json": { "schema": reference(name) } }),
            };
            document["paths"][path][method]["responses"][status]["content"] = content;
        }
    }
    for (alias, path) in more["alsoAt"].as_object().into_iter().flatten() {
        let same = document["paths"][path.as_str().unwrap_or_default()].clone();
        document["paths"][alias] = same;
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                finish(path, method, operation, &more);
            }
        }
    }
    document
}

/// What every operation says in the same way.
fn finish(path: &str, method: &str, operation: &mut Value, more: &Value) {
    operation["operationId"] = json!(id(method, path));
    let needed = needed(path, more);
    let ours = !path.starts_with("/ofrep/");
    if needed.iter().all(|one| one.as_array().is_some_and(|schemes| !schemes.is_empty())) && !needed.is_empty() {
        refusal(operation, "401", "Without what is needed to call it");
        operation["responses"]["401"]["headers"] = json!({ "WWW-Authenticate": { "schema": { "type": "string" } } });
    }
    if path.starts_with("/v1/admin/") || path.starts_with("/v1/compliance/") && !needed.is_empty() {
        refusal(operation, "403", "The caller is no administrator");
    }
    let schemes = |one: &Value| -> Value {
        let names = one.as_array().into_iter().flatten().filter_map(Value::as_str);
        Value::Object(names.map(|name| (name.to_owned(), json!([]))).collect())
    };
    operation["security"] = needed.iter().map(schemes).collect();
    let writes = method != "get";
    if writes && begins(path, &REPEATABLE) {
        let words = "The same request again with the same key is carried out once and answered the same.";
        let key = json!({ "name": "Idempotency-Key", "in": "header", "required": false, "description": words,
            "schema": { "type": "string", "maxLength": 255 } });
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(key),
            None => operation["parameters"] = json!([key]),
        }
    }
    if !ours {
        return;
    }
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = problem();
        }
    }
    refusal(operation, "default", "What went wrong");
}

/// Notes a refusal, unless the route tells of it itself.
fn refusal(operation: &mut Value, status: &str, description: &str) {
    if operation["responses"].get(status).is_none() {
        operation["responses"][status] = json!({ "description": description, "content": problem() });
    }
}

fn problem() -> Value {
    json!({ "application/problem+json": { "schema": reference("Problem") } })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What is needed to call a route: any of these, each a list of schemes.
fn needed<'m>(path: &str, more: &'m Value) -> &'m [Value] {
    let path = more["alsoAt"][path].as_str().unwrap_or(path);
    let rules = more["security"].as_object().into_iter().flatten();
    // What ends with a slash is said of everything below.
    let meant = |start: &str| path == start || start.ends_with('/') && path.starts_with(start);
    let longest = rules.filter(|(start, _)| meant(start)).max_by_key(|(start, _)| start.len());
    longest.and_then(|(_, needed)| needed.as_array()).map(Vec::as_slice).unwrap_or_default()
}

fn begins(path: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| path.starts_with(start))
}

/// Names of functions repeat; a method and its path do not.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    match into.as_object_mut() {
        Some(known) => known.extend(more),
        None => *into = Value::Object(more),
    }
}
