//! The keys and values of one table, each with its place.
//!
//! Reads one value at a time; what the values mean together is for `check`. The text is
//! untrusted: it cannot panic, and no secret of it is repeated.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Report, printable};
use crate::config::file::{File, type_text};
use crate::config::{NamedPath, keys, values, words};

/// One table of a file; empty where the file has none.
#[derive(Clone, Copy)]
pub(in crate::config) struct Section<'f> {
    pub(super) file: &'f File<'f>,
    pub(super) name: &'static str,
    pub(super) table: Option<&'f DeTable<'f>>,
}

/// What one key holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Field<T> {
    /// The key.
    pub key: &'static str,
    /// The offset of its value; `None`: it is not written.
    pub at: Option<usize>,
    /// The value; `None`: it is not written, or wrong and reported.
    pub value: Option<T>,
}

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

    /// The same, with its place.
    pub fn named_path(&self, key: &'static str) -> Field<NamedPath> {
        let path = self.path(key);
        let place = self.file.place(path.at.unwrap_or_default());
        path.map(|path| NamedPath { path, place })
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
pub(in crate::config) fn decimal(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        // Through i32, which f64 holds exactly.
        _ => integer(value)?.try_into().ok().map(|number: i32| number.into()),
    }
}

/// An integer, in any of TOML's bases.
fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Text that is not empty, or a whole number, as text.
pub(in crate::config) fn word(value: &DeValue<'_>) -> Option<String> {
    non_empty(value).map(str::to_owned).or_else(|| integer(value).map(|number| number.to_string()))
}

fn non_empty<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    // What NUL ends elsewhere would not be what was written.
    value.as_str().filter(|text| !text.is_empty() && !text.contains('\0'))
}
