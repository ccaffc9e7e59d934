//! Text from elsewhere, made fit for one line of a log.
//!
//! A name in a request or the words of a database server may hold line breaks,
//! terminal sequences or quotes: they must neither forge a line nor a field.

use std::error::Error;
use std::fmt::{self, Display, Write};

/// `text` in double quotes: at most 512 characters of it (what is cut shows as
/// `...` behind the quotes), with quotes, backslashes, control
/// characters, line separators and what has no print escaped as Rust does.
pub fn quoted(text: impl Display) -> impl Display {
    Quoted(text)
}

/// The error and all its sources, joined by `: `.
pub fn chain(error: &dyn Error) -> impl Display {
    Chain(error)
}

/// The most characters of foreign text in a field.
const QUOTED_LIMIT: usize = 512;

/// The text of a line: what [`quoted`] missed is escaped, except for quotes and
/// backslashes, and what is longer than [`LINE_LIMIT`] is cut.
pub(super) fn line(text: &fmt::Arguments<'_>) -> String {
    let mut line = String::new();
    let mut escape = Escape { out: &mut line, left: LINE_LIMIT, kept: "'\"\\" };
    if write!(escape, "{text}").is_err() {
        line.push_str("...");
    }
    line
}

/// The most characters of a line: rsyslog takes 8 KiB, journald more.
const LINE_LIMIT: usize = 4096;

struct Quoted<T>(T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_char('"')?;
        let mut escape = Escape { out: formatter, left: QUOTED_LIMIT, kept: "'" };
        let whole = write!(escape, "{}", self.0);
        formatter.write_str(if whole.is_ok() { "\"" } else { "\"..." })
    }
}

struct Chain<'a>(&'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Escapes what passes through; an error once `left` characters have passed,
/// so that whoever writes stops.
struct Escape<'a, W> {
    out: &'a mut W,
    left: usize,
    kept: &'static str,
}

impl<W: Write> Write for Escape<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            if self.kept.contains(character) {
                self.out.write_char(character)?;
            } else {
                write!(self.out, "{}", character.escape_debug())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_end_its_field_or_its_line() {
        assert_eq!(quoted("a\" status=good").to_string(), r#""a\" status=good""#);
        assert_eq!(quoted("a\r\n\t\0b").to_string(), r#""a\r\n\t\0b""#);
        assert_eq!(quoted(r"c:\n").to_string(), r#""c:\\n""#);
        assert_eq!(quoted("\x1b[31m\u{7f}\u{9b}").to_string(), r#""\u{1b}[31m\u{7f}\u{9b}""#);
        assert_eq!(quoted("\u{85}\u{2028}\u{2029}").to_string(), r#""\u{85}\u{2028}\u{2029}""#);
        assert_eq!(quoted("\u{202e}\u{feff}").to_string(), r#""\u{202e}\u{feff}""#);
    }

    #[test]
    fn ordinary_text_stays_readable() {
        assert_eq!(
            quoted("can't connect to 'müller'").to_string(),
            r#""can't connect to 'müller'""#
        );
        assert_eq!(quoted("").to_string(), r#""""#);
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let whole = "é".repeat(QUOTED_LIMIT);
        assert_eq!(quoted(&whole).to_string(), format!("\"{whole}\""));
        assert_eq!(quoted(format!("{whole}é")).to_string(), format!("\"{whole}\"..."));
    }

    #[test]
    fn a_chain_names_every_source_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("status store unavailable")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("connection\nrefused"));
        assert_eq!(
            quoted(chain(&error)).to_string(),
            r#""status store unavailable: connection\nrefused""#
        );
    }

    #[test]
    fn a_line_stays_one_line_and_keeps_its_quotes() {
        let field = "a=\"b\\n\"\n<1>forged";
        assert_eq!(line(&format_args!("{field}")), "a=\"b\\n\"\\n<1>forged");
        let long = "x".repeat(2 * LINE_LIMIT);
        assert_eq!(line(&format_args!("{long}")).len(), LINE_LIMIT + 3);
    }
}
