//! What a query of a check may say, by its words: one question, and of betagate's own store only the `checks` views.
//!
//! Must not know: any database. A read-only connection keeps queries from writing; this keeps them from reading accounts, codes
//! and addresses. It refuses what it does not understand.

use std::collections::BTreeSet;

/// The functions and constructs with a parenthesis that a query over betagate's own store may use. Among them is none that runs
/// text as SQL, reads files or looks into the catalogue.
const FUNCTIONS: &[&str] = &[
    "abs",
    "all",
    "and",
    "any",
    "as",
    "avg",
    "between",
    "by",
    "case",
    "cast",
    "ceil",
    "ceiling",
    "coalesce",
    "count",
    "date_part",
    "date_trunc",
    "dense_rank",
    "distinct",
    "else",
    "every",
    "except",
    "exists",
    "extract",
    "filter",
    "first_value",
    "floor",
    "from",
    "greatest",
    "having",
    "iif",
    "in",
    "intersect",
    "interval",
    "join",
    "julianday",
    "lag",
    "last_value",
    "lateral",
    "lead",
    "least",
    "length",
    "limit",
    "lower",
    "max",
    "min",
    "mod",
    "not",
    "now",
    "ntile",
    "nullif",
    "offset",
    "on",
    "or",
    "over",
    "partition",
    "percentile_cont",
    "percentile_disc",
    "power",
    "rank",
    "round",
    "row_number",
    "select",
    "sign",
    "some",
    "sqrt",
    "stddev",
    "strftime",
    "substr",
    "sum",
    "then",
    "to_timestamp",
    "total",
    "trunc",
    "union",
    "unixepoch",
    "upper",
    "using",
    "values",
    "variance",
    "when",
    "where",
    "within",
    "materialized",
    "bigint",
    "numeric",
    "decimal",
];

/// How names begin that are never open: the catalogues of both databases.
const FORBIDDEN: &[&str] = &["sqlite_", "pragma_", "dbstat", "pg_", "information_schema"];

/// One piece of a query.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A bare or quoted name, or the text of a string; lower case when bare.
    Name(String),
    /// A string: SQLite takes it for a name where a name is wanted.
    Text(String),
    /// A number.
    Number,
    /// Anything else, one character.
    Mark(char),
}

/// Keeps queries within the `checks` views of betagate's own store.
pub struct Guard {
    refused: BTreeSet<String>,
    schema: Option<String>,
}

impl Guard {
    /// A guard that refuses these names: all tables, views and schemas but those of `checks`. Where the views have a `schema`
    /// of their own, any name is allowed behind it.
    pub fn new(refused: Vec<String>, schema: Option<String>) -> Self {
        let refused = refused.into_iter().map(|name| name.to_lowercase()).filter(|name| !is_checks(name)).collect();
        Self { refused, schema }
    }

    /// The query without its final semicolon, if it is allowed.
    ///
    /// # Errors
    /// Says which word is not allowed, and what is.
    pub fn allow(&self, query: &str) -> Result<String, String> {
        let tokens = one_question(query)?;
        for (n, token) in tokens.iter().enumerate() {
            let (Token::Name(name) | Token::Text(name)) = token else { continue };
            let name = name.to_lowercase();
            if self.is_refused(&name) && !self.is_behind_schema(&tokens[..n]) {
                return Err(format!(
                    "`{name}` is not open to checks: betagate's own store is read through the checks views"
                ));
            }
            let call = tokens.get(n + 1) == Some(&Token::Mark('('));
            if call && !FUNCTIONS.contains(&name.as_str()) && !names_a_table(&tokens, n) {
                return Err(format!("the function `{name}` is not open to checks on betagate's own store"));
            }
        }
        Ok(trimmed(query).to_owned())
    }

    fn is_refused(&self, name: &str) -> bool {
        self.refused.contains(name) || FORBIDDEN.iter().any(|start| name.starts_with(start))
    }

    /// Whether `SCHEMA.` comes before.
    fn is_behind_schema(&self, before: &[Token]) -> bool {
        match (&self.schema, before) {
            (Some(schema), [.., Token::Name(name), Token::Mark('.')]) => name == schema,
            _ => false,
        }
    }
}

/// The views that checks may read carry this prefix where there is no schema for them.
fn is_checks(name: &str) -> bool {
    name.starts_with("checks_")
}

/// Whether the name at `at` is one that the query gives to a common table of its own, there and then: `name (column, …) AS (SELECT`.
fn names_a_table(tokens: &[Token], at: usize) -> bool {
    let introduced = match at.checked_sub(1).map(|before| &tokens[before]) {
        Some(Token::Name(word)) => word == "with" || word == "recursive",
        Some(Token::Mark(mark)) => *mark == ',',
        _ => false,
    };
    let rest = &tokens[at + 1..];
    let Some(close) = rest.iter().position(|token| *token == Token::Mark(')')) else { return false };
    let columns = rest[1..close].iter().all(|token| matches!(token, Token::Name(_) | Token::Mark(',')));
    let Some([Token::Name(word), Token::Mark('('), Token::Name(question), ..]) = rest.get(close + 1..) else {
        return false;
    };
    introduced && columns && word == "as" && matches!(question.as_str(), "select" | "with" | "values")
}

/// The query without its final semicolon, if it is one question whose parentheses match. For databases that are not betagate's
/// own, where the rights of the source's user are the bound.
///
/// # Errors
/// Says what is wrong.
pub fn one_select(query: &str) -> Result<String, String> {
    one_question(query)?;
    Ok(trimmed(query).to_owned())
}

fn trimmed(query: &str) -> &str {
    let query = query.trim();
    query.strip_suffix(';').unwrap_or(query).trim_end()
}

fn one_question(query: &str) -> Result<Vec<Token>, String> {
    let tokens = tokens(trimmed(query))?;
    match tokens.first() {
        Some(Token::Name(word)) if matches!(word.as_str(), "select" | "with" | "values") => {}
        _ => return Err("a query starts with SELECT or WITH".into()),
    }
    let mut depth = 0_i32;
    for token in &tokens {
        match token {
            Token::Mark(';') => return Err("a query is one statement, without `;`".into()),
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth == 0 { Ok(tokens) } else { Err("the parentheses of the query do not match".into()) }
}

/// Cuts a query into pieces; refuses comments, escaped and dollar-quoted strings and other ways to hide a word.
fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match c {
            _ if c.is_whitespace() => {}
            '-' if next == Some('-') => return Err("a query has no comments".into()),
            '/' if next == Some('*') => return Err("a query has no comments".into()),
            '$' | '`' | '[' | ']' | '\\' | '#' | '\0' => return Err(format!("`{c}` is not allowed in a query")),
            '&' if matches!(next, Some('\'' | '"')) => {
                return Err("strings with a prefix are not allowed in a query".into());
            }
            '\'' | '"' => {
                let text = quoted(&mut rest, c)?;
                tokens.push(if c == '"' { Token::Name(text) } else { Token::Text(text) });
            }
            _ if c.is_ascii_digit() => {
                while rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '.' || *c == '_').is_some() {}
                tokens.push(Token::Number);
            }
            _ if c.is_alphabetic() || c == '_' => {
                let mut name = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                tokens.push(Token::Name(name.to_lowercase()));
                // E'…', x'…': strings with rules of their own.
                if rest.peek().is_some_and(|c| matches!(c, '\'' | '"')) {
                    return Err("strings with a prefix are not allowed in a query".into());
                }
            }
            _ => tokens.push(Token::Mark(c)),
        }
    }
    Ok(tokens)
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> Result<String, String> {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c != quote {
            text.push(c);
        } else if rest.next_if_eq(&quote).is_some() {
            text.push(quote);
        } else {
            return Ok(text);
        }
    }
    Err("a quote of the query is not closed".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{Guard, one_select};

    fn guard() -> Guard {
        let names = ["users", "Sessions", "checks_weeks", "public", "privacy_requests"];
        Guard::new(names.map(String::from).to_vec(), Some("checks".into()))
    }

    #[test]
    fn questions_about_the_checks_views_are_allowed() {
        for query in [
            "SELECT numerator, denominator FROM checks_sync_success_rate WHERE program = 'p' AND week = 1;",
            "select count(*) from checks.privacy_requests where state = 'submitted' and due_at < now() - interval '7 days'",
            "WITH a (x, y) AS (SELECT 1, 2), b AS (SELECT sum(x) FROM a) SELECT * FROM b",
            "WITH a AS (SELECT 1 AS x), b (y) AS (SELECT x FROM a) SELECT coalesce(max(y), 0) FROM b",
            "SELECT CAST(round(avg(n), 2) AS numeric(10, 2)) FROM (SELECT count(*) AS n FROM checks_members GROUP BY cohort) c",
            "SELECT count(*) FILTER (WHERE kind = 'it''s; fine') FROM checks_privacy_requests",
        ] {
            assert_eq!(guard().allow(query).unwrap(), query.trim_end_matches(';'), "{query}");
        }
    }

    #[test]
    fn every_way_around_is_refused() {
        for query in [
            "SELECT count(*) FROM users",
            "SELECT count(*) FROM \"users\"",
            "SELECT count(*) FROM \"checks.\".users",
            "SELECT count(*) FROM 'users'",
            "SELECT count(*) FROM [users]",
            "SELECT count(*) FROM `users`",
            "SELECT count(*) FROM USERS",
            "SELECT count(*) FROM sessions",
            "SELECT count(*) FROM public.anything",
            "SELECT count(*) FROM u/**/sers",
            "SELECT 1 -- \n FROM users",
            "SELECT E'\\'' || (SELECT email FROM users) || ''",
            "SELECT E '\\'' , (SELECT email FROM users), ''",
            "SELECT U&\"\\0075sers\" FROM x",
            "SELECT $$ $$",
            "SELECT count(*) FROM sqlite_schema",
            "SELECT count(*) FROM pragma_table_info('x')",
            "SELECT query_to_xml('select 1', true, true, '')",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT \"query_to_xml\"('select 1', true, true, '')",
            "SELECT * FROM a, dblink(q) AS (x integer)",
            "WITH lo_get (x) AS (SELECT 1) SELECT lo_get(1)",
            "SELECT count(*) FROM privacy_requests",
            "SELECT count(*) FROM checks.x, public.y",
            "SELECT 1; SELECT 2",
            "SELECT 1) AS a, (SELECT 2",
            "PRAGMA query_only = off",
            "ATTACH 'x' AS y",
            "UPDATE checks_members SET cohort = 'x'",
            "SELECT 'open",
            "",
        ] {
            assert!(guard().allow(query).is_err(), "{query}");
        }
    }

    #[test]
    fn other_databases_are_asked_one_question_too() {
        assert_eq!(one_select(" SELECT count(*) FROM users ; ").unwrap(), "SELECT count(*) FROM users");
        for query in ["DELETE FROM users", "SELECT 1; DELETE FROM users", "SELECT 1)", "ATTACH 'x' AS y"] {
            assert!(one_select(query).is_err(), "{query}");
        }
    }
}
