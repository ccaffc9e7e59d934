//! The TOML as written: which tables it has, and where. `section` reads what is in one.
//!
//! The tables are no serde structs, as serde stops at the first wrong type. The text is
//! untrusted: it cannot panic.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Place, Report, line_and_column, printable, syntax_problem};

mod section;

pub(super) use section::{Field, Section, decimal, word};

/// One file while it is read.
pub(super) struct File<'t> {
    text: &'t str,
    root: DeTable<'t>,
    /// Where it came from; relative paths start from its folder.
    pub path: PathBuf,
    /// Where every problem goes.
    pub report: Report,
    /// The keys that unknown ones were perhaps meant to be.
    pub meant: Vec<&'static str>,
}

/// How often a table may stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// `[name]`
    One,
    /// `[[name]]`
    Several,
}

/// One of the keys that do the same, the offset of it, and what it is.
pub(super) type Need<'n> = (&'n [&'n str], Option<usize>, &'n str);

impl<'t> File<'t> {
    /// Reads `text`; problems are in `report`.
    pub fn parse(text: &'t str, path: &Path) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let report = Report::default();
        for error in errors {
            let span = error.span().unwrap_or_default();
            let problem = match text.get(span.clone()) {
                Some(key) if error.message() == "duplicate key" => {
                    format!("{} is given before, wanted once", printable(key))
                }
                _ => syntax_problem(error.message()),
            };
            report.syntax(span.start, problem);
        }
        let path = path.to_owned();
        Self { text, root: root.into_inner(), path, report, meant: Vec::new() }
    }

    /// The top of the file.
    pub fn root(&self) -> Section<'_> {
        Section { file: self, name: "", table: Some(&self.root) }
    }

    /// The table `name`, one in another (`database.columns`), or the top of the file.
    pub fn section(&self, name: &'static str) -> Section<'_> {
        if name.is_empty() {
            return self.root();
        }
        let table = self.named(name).and_then(|value| value.get_ref().as_table());
        Section { file: self, name, table }
    }

    fn named(&self, name: &str) -> Option<&Spanned<DeValue<'t>>> {
        let Some((outer, inner)) = name.split_once('.') else { return self.root.get(name) };
        self.root.get(outer)?.get_ref().as_table()?.get(inner)
    }

    /// The `[[name]]` tables, each with its offset.
    pub fn sections(&self, name: &'static str) -> Vec<(usize, Section<'_>)> {
        let array = self.root.get(name).and_then(|value| value.get_ref().as_array());
        let elements = array.into_iter().flatten();
        let sections = elements.filter_map(|element| {
            let table = Some(element.get_ref().as_table()?);
            Some((element.span().start, Section { file: self, name, table }))
        });
        sections.collect()
    }

    /// Reports `name` where it is neither `[name]` nor, for several, `[[name]]`.
    /// Whether it did not need to.
    pub fn require_table(&self, name: &'static str, number: Number) -> bool {
        let Some(value) = self.named(name) else { return true };
        let is_table = |value: &Spanned<DeValue<'_>>| value.get_ref().is_table();
        let (is_right, header) = match number {
            Number::One => (is_table(value), format!("[{name}]")),
            Number::Several => {
                let array = value.get_ref().as_array();
                (array.is_some_and(|array| array.iter().all(is_table)), format!("[[{name}]]"))
            }
        };
        if !is_right {
            let problem = format!("{name} is {}, wanted {header}", self.shown(value));
            self.report.error(value.span().start, problem);
        }
        is_right
    }

    /// Reports `(key, offset)` because `other` is given as well.
    pub fn report_both(&self, (key, at): (&str, usize), (other, other_at): (&str, usize)) {
        let line = self.line(other_at);
        let problem = format!("{key} and {other} (line {line}) are given, wanted one of the two");
        self.report.error(at, problem);
    }

    /// Reports each of `needs` that is not given, or `none` where all are not.
    /// What an unknown key was meant to be, here or in `instead`, counts as given.
    pub fn require(&self, needs: &[Need<'_>], instead: &[&str], none: &str) {
        let is_meant = |keys: &[&str]| keys.iter().any(|key| self.meant.contains(key));
        let given = needs.iter().find_map(|(keys, at, _)| Some((keys.first()?, (*at)?)));
        if given.is_none() && !needs.iter().any(|(keys, ..)| is_meant(keys)) {
            if !is_meant(instead) {
                self.report.missing(none.to_owned());
            }
            return;
        }
        let because = given.map_or(String::new(), |(key, at)| {
            format!(", as {key} is given (line {})", self.line(at))
        });
        for (keys, at, what) in needs {
            if let (Some(key), None, false) = (keys.first(), at, is_meant(keys)) {
                self.report.missing(format!("{key} is missing, wanted {what}{because}"));
            }
        }
    }

    /// The place of an offset.
    fn place(&self, offset: usize) -> Place {
        Place::of_offset(&self.path, self.text, offset)
    }

    /// The line of an offset.
    fn line(&self, offset: usize) -> usize {
        line_and_column(self.text, offset).0
    }

    /// A value as it is written, for a message: on one line, and not too long.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => type_text(value.get_ref()).to_owned(),
            _ => printable(self.text.get(value.span()).unwrap_or_default()),
        }
    }
}

fn type_text(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
