//! Foreign text in Markdown: it stands in code spans, or with its Markdown taken away, so that it can't break a table, close a fold, mention anyone or
//! show something that is not there. Addresses in it are masked.
//!
//! Must not know: where it stands.

use super::masked;

/// Foreign text in one line of a code block. No such line begins at its edge, so none can close the block.
pub(super) fn line(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// Foreign text as a code span, also within a table.
pub(super) fn code(text: &str) -> String {
    let text: String = masked(text).chars().map(visible).collect::<String>().replace('|', "\\|");
    let text = text.trim();
    if text.is_empty() {
        "(empty)".to_owned()
    } else if text.contains('`') {
        // Longer than any row of ticks in it.
        let ticks = "`".repeat(text.split(|c| c != '`').map(str::len).max().unwrap_or_default() + 1);
        format!("{ticks} {text} {ticks}")
    } else {
        format!("`{text}`")
    }
}

/// Foreign text among words: without Markdown, HTML or mentions.
pub(super) fn words(text: &str) -> String {
    let mut told = String::new();
    for c in masked(text).chars().map(visible) {
        match c {
            '<' => told.push_str("&lt;"),
            '>' => told.push_str("&gt;"),
            '&' => told.push_str("&amp;"),
            // A joiner that nobody sees: what follows is no name of an account.
            '@' => told.push_str("@\u{2060}"),
            '|' | '`' | '*' | '_' | '[' | ']' | '~' | '\\' | '#' => {
                told.push('\\');
                told.push(c);
            }
            _ => told.push(c),
        }
    }
    told
}

/// Foreign text within HTML.
pub(super) fn html(text: &str) -> String {
    let text: String = masked(text).chars().map(visible).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "@\u{2060}")
}

/// A character that shows: ends of lines become blanks; what turns the direction of a text or hides is made visible.
fn visible(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => '�',
        c if c.is_control() => '�',
        c => c,
    }
}
