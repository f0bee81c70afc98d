//! Message templates: a subject line, a text, and perhaps the same in HTML, with variables that must all be filled.
//!
//! The text's first line is `Subject: …`, then an empty line, then the body. In HTML, values are escaped.
//!
//! Must not know: where templates are kept, or what the variables mean.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use super::DeliveryError;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, for errors.
    pub name: String,
    /// The text, subject line first.
    pub text: String,
    /// The same in HTML.
    pub html: Option<String>,
}

/// A filled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The subject, one line.
    pub subject: String,
    /// The body as text.
    pub text: String,
    /// The body in HTML.
    pub html: Option<String>,
}

impl Template {
    /// Fills the template.
    ///
    /// # Errors
    /// [`DeliveryError::Never`] for a variable that is not given (all of them are named), a template that can't be read, and a text
    /// without a subject line.
    pub fn fill(&self, variables: &BTreeMap<String, String>) -> Result<Filled, DeliveryError> {
        // The subject is filled by itself, so that a value with a line break can't become the beginning of the body.
        let (head, body) = self.text.split_once('\n').unwrap_or((&self.text, ""));
        let Some(head) = head.strip_prefix("Subject:") else {
            return Err(self.refuse("its first line must be \"Subject: …\""));
        };
        let subject = self.render("subject", head.trim(), variables, AutoEscape::None)?;
        if subject.trim().is_empty() || subject.chars().any(char::is_control) {
            return Err(self.refuse("its subject must be one line, and not empty"));
        }
        let body = self.render("text", body, variables, AutoEscape::None)?;
        let text = format!("{}\n", body.trim_start_matches(['\r', '\n']).trim_end());
        if text.trim().is_empty() {
            return Err(self.refuse("it has no text below its subject"));
        }
        let html = self.html.as_ref().map(|html| self.render("html", html, variables, AutoEscape::Html)).transpose()?;
        Ok(Filled { subject, text, html })
    }

    fn render(
        &self,
        part: &str,
        source: &str,
        variables: &BTreeMap<String, String>,
        escape: AutoEscape,
    ) -> Result<String, DeliveryError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(move |_| escape.clone());
        let unreadable = |error: &minijinja::Error| {
            let line = error.line().map(|line| format!(" line {line}")).unwrap_or_default();
            self.refuse(&format!("its {part}{line} can't be read: {}", error.kind()))
        };
        let template = environment.template_from_str(source).map_err(|error| unreadable(&error))?;
        template.render(variables.clone()).map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => {
                let used = template.undeclared_variables(false);
                let mut unfilled: Vec<_> = used.into_iter().filter(|name| !variables.contains_key(name)).collect();
                unfilled.sort();
                self.refuse(&format!("nothing fills {}", unfilled.join(", ")))
            }
            // The error's own words may quote a value; its kind can't.
            _ => unreadable(&error),
        })
    }

    fn refuse(&self, why: &str) -> DeliveryError {
        DeliveryError::never(format!("template {}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    fn template(text: &str, html: Option<&str>) -> Template {
        Template { name: "note".into(), text: text.into(), html: html.map(str::to_owned) }
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_are_filled_in_and_escaped_in_html_only() {
        let given = variables(&[("name", "Ada & <Co>")]);
        let filled = template("Subject: For {{ name }}\n\nDear {{ name }}\n", Some("<p>{{ name }}</p>")).fill(&given);
        let filled = filled.unwrap();
        assert_eq!(filled.subject, "For Ada & <Co>");
        assert_eq!(filled.text, "Dear Ada & <Co>\n");
        assert_eq!(filled.html.unwrap(), "<p>Ada &amp; &lt;Co&gt;</p>");
    }

    #[test]
    fn a_message_with_an_unfilled_variable_is_refused_and_all_of_them_are_named() {
        let given = variables(&[("code", "SECRET")]);
        let said = template("Subject: s\n\n{{ code }} {{ link }} {{ address }}", None).fill(&given).unwrap_err();
        assert_eq!(said.to_string(), "not delivered: template note: nothing fills address, link");
        let html = template("Subject: s\n\ntext", Some("{{ link }}")).fill(&given).unwrap_err();
        assert!(html.to_string().ends_with("nothing fills link"));
        assert!(!said.retryable());
    }

    #[test]
    fn a_template_without_subject_or_text_or_that_cannot_be_read_is_refused() {
        let said =
            |text: &str| template(text, None).fill(&variables(&[("x", "a\r\nBcc: b@c")])).unwrap_err().to_string();
        assert!(said("Hello\n\nyou").contains("first line must be"));
        assert!(said("Subject: \n\nyou").contains("not empty"));
        assert!(said("Subject: s\n\n  \n").contains("no text"));
        assert!(said("Subject: s\n\n{{ x").contains("its text line 2 can't be read"));
        assert!(said("Subject: {{ x }}\n\ntext").contains("one line"), "a value can't add a header");
    }
}
