//! The TOML as written: tables, keys and values, each with its place.
//!
//! Reads one value at a time; what the values mean together is for `check`. The
//! tables are no serde structs, as serde stops at the first wrong type. The text is
//! untrusted: it cannot panic, and no secret of it is repeated.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Report, line_and_column, printable, syntax_problem};
use crate::config::{keys, values, words};

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

/// One table of a file; empty where the file has none.
#[derive(Clone, Copy)]
pub(super) struct Section<'f> {
    file: &'f File<'f>,
    name: &'static str,
    table: Option<&'f DeTable<'f>>,
}

/// How often a table may stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// `[name]`
    One,
    /// `[[name]]`
    Several,
}

/// What one key holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<T> {
    /// The key.
    pub key: &'static str,
    /// The offset of its value; `None`: it is not written.
    pub at: Option<usize>,
    /// The value; `None`: it is not written, or wrong and reported.
    pub value: Option<T>,
}

/// One of the keys that do the same, the offset of it, and what it is.
pub(super) type Need<'n> = (&'n [&'n str], Option<usize>, &'n str);

impl<T> Field<T> {
    /// The value, or `default` where it is not written.
    pub fn or(self, default: T) -> T {
        self.value.unwrap_or(default)
    }

    /// The same place, with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Field<U> {
        Field { key: self.key, at: self.at, value: self.value.map(change) }
    }

    /// Whether it is not written, or well.
    pub fn is_right(&self) -> bool {
        self.at.is_none() || self.value.is_some()
    }
}

impl<T: Default> Field<T> {
    /// The value, or the type's default where it is not written.
    pub fn or_default(self) -> T {
        self.value.unwrap_or_default()
    }
}

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

impl<'f> Section<'f> {
    /// The name of the table; none for the top of the file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where problems go.
    pub fn report(&self) -> &'f Report {
        &self.file.report
    }

    /// What `key` holds, through `read`; `wanted` says what that takes.
    pub fn field<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = self.value(key) else {
            return Field { key, at: None, value: None };
        };
        let read_value = read(value.get_ref());
        if read_value.is_none() {
            self.wrong(key, value, &self.file.shown(value), wanted);
        }
        Field { key, at: Some(value.span().start), value: read_value }
    }

    /// The offset of what `key` holds.
    pub fn at(&self, key: &'static str) -> Option<usize> {
        Some(self.value(key)?.span().start)
    }

    /// Text that is not empty.
    pub fn text(&self, key: &'static str) -> Field<String> {
        self.field(key, "text in quotes, not empty", |value| non_empty(value).map(str::to_owned))
    }

    /// Text or a whole number that was read before: what is wrong is not reported again.
    pub fn quiet_text(&self, key: &'static str) -> Option<String> {
        self.value(key).and_then(|value| word(value.get_ref()))
    }

    /// Text that no message repeats; may be empty.
    pub fn secret(&self, key: &'static str) -> Field<String> {
        self.hidden(key, "text in quotes", |text| Some(text.to_owned()))
    }

    /// Text through `read`, as [`Section::field`]; no message repeats it, as it is a
    /// secret, or a slip puts one there.
    pub fn hidden<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Field<T> {
        let at = self.at(key);
        let value = self.value(key).and_then(|value| {
            let read_value = value.get_ref().as_str().and_then(read);
            if read_value.is_none() {
                self.wrong(key, value, type_text(value.get_ref()), wanted);
            }
            read_value
        });
        Field { key, at, value }
    }

    /// A path; a relative one starts from the folder of the file.
    pub fn path(&self, key: &'static str) -> Field<PathBuf> {
        self.field(key, "a path in quotes", |value| self.resolve(value))
    }

    /// The path that `value` holds, from the folder of the file.
    pub fn resolve(&self, value: &DeValue<'_>) -> Option<PathBuf> {
        let folder = self.file.path.parent().unwrap_or(Path::new(""));
        non_empty(value).map(|text| folder.join(text))
    }

    /// A whole number.
    pub fn number(&self, key: &'static str, range: RangeInclusive<usize>) -> Field<usize> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.field(key, &wanted, |value| {
            integer(value)?.try_into().ok().filter(|number| range.contains(number))
        })
    }

    /// A duration with its unit.
    pub fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Field<Duration> {
        let [from, to, example] =
            [*range.start(), *range.end(), default].map(values::duration_text);
        let wanted = format!("a duration from {from} to {to}, such as \"{example}\"");
        self.field(key, &wanted, |value| {
            values::duration(value.as_str()?).filter(|duration| range.contains(duration))
        })
    }

    /// A number of octets, with or without a unit.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> Field<u64> {
        let [from, to, example] = [*range.start(), *range.end(), default].map(values::size_text);
        let wanted = format!("octets from {from} to {to}, such as \"{example}\"");
        self.field(key, &wanted, |value| {
            let octets = match value.as_str() {
                Some(text) => values::size(text),
                None => integer(value)?.try_into().ok(),
            };
            octets.filter(|octets| range.contains(octets))
        })
    }

    /// One of the words of `T`.
    pub fn choice<T: DeserializeOwned>(&self, key: &'static str) -> Field<T> {
        self.field(key, &words::listed::<T>(), |value| words::read(value.as_str()?))
    }

    /// One value or an array of them, at least one; each problem has its own place.
    pub fn list<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Field<Vec<T>> {
        let Some(value) = self.value(key) else {
            return Field { key, at: None, value: None };
        };
        let elements = match value.get_ref().as_array() {
            Some(array) if array.is_empty() => {
                self.wrong(key, value, "empty", wanted);
                return Field { key, at: Some(value.span().start), value: None };
            }
            Some(array) => array.iter().collect(),
            None => vec![value],
        };
        let read_element = |element: &Spanned<DeValue<'_>>| {
            let read_value = read(element.get_ref());
            if read_value.is_none() {
                self.wrong(key, element, &self.file.shown(element), wanted);
            }
            read_value
        };
        // Each is read, also after a wrong one, so that each is reported.
        let values: Vec<Option<T>> = elements.into_iter().map(read_element).collect();
        Field { key, at: Some(value.span().start), value: values.into_iter().collect() }
    }

    /// The one that is written; of several, the others are reported.
    pub fn one_of<T>(&self, first: Field<T>, others: [Field<T>; 2]) -> Field<T> {
        others.into_iter().fold(first, |chosen, other| match (chosen.at, other.at) {
            (Some(at), Some(other_at)) => {
                self.file.report_both((other.key, other_at), (chosen.key, at));
                chosen
            }
            (Some(_), None) => chosen,
            (None, _) => other,
        })
    }

    /// A table of words and what they stand for; each problem has its own place.
    pub fn map<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Field<Vec<(String, T)>> {
        let Some(value) = self.value(key) else {
            return Field { key, at: None, value: None };
        };
        let at = Some(value.span().start);
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(
                key,
                value,
                &self.file.shown(value),
                "a table, such as { word = \"value\" }",
            );
            return Field { key, at, value: None };
        };
        let read_one = |(word, element): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let word: &str = AsRef::<str>::as_ref(word.get_ref());
            let read_value = read(element.get_ref());
            if read_value.is_none() {
                let what = format!("{key}.{}", printable(word));
                self.wrong(&what, element, &self.file.shown(element), wanted);
            }
            Some((word.to_owned(), read_value?))
        };
        let values: Vec<_> = table.iter().map(read_one).collect();
        Field { key, at, value: values.into_iter().collect() }
    }

    /// Reports `what_is` at `value`.
    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, what_is: &str, wanted: &str) {
        let problem = format!("{key} is {what_is}, wanted {wanted}");
        self.file.report.error(value.span().start, problem);
    }

    fn value(&self, key: &'static str) -> Option<&'f Spanned<DeValue<'f>>> {
        debug_assert!(keys::of_table(self.name).contains(&key), "{key} stands in KEYS");
        self.table?.get(key)
    }

    /// The keys as written, each with its offset, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&'f str, usize)> {
        let table = self.table.into_iter().flatten();
        table.map(|(key, _)| (key.get_ref().as_ref(), key.span().start))
    }
}

/// An integer or a decimal number.
pub(super) fn decimal(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        // Through i32, which f64 holds exactly.
        _ => integer(value)?.try_into().ok().map(|number: i32| number.into()),
    }
}

/// An integer, in any of TOML's bases.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Text that is not empty, or a whole number, as text.
pub(super) fn word(value: &DeValue<'_>) -> Option<String> {
    non_empty(value).map(str::to_owned).or_else(|| integer(value).map(|number| number.to_string()))
}

fn non_empty<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    // What NUL ends elsewhere would not be what was written.
    value.as_str().filter(|text| !text.is_empty() && !text.contains('\0'))
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
