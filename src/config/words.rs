//! Options whose values are words: serde derives the words from the enums.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, IntoDeserializer};

/// The value that `word` stands for.
pub(super) fn read<T: DeserializeOwned>(word: &str) -> Option<T> {
    let word: StrDeserializer<'_, NotAmong> = word.into_deserializer();
    T::deserialize(word).ok()
}

/// All words of an option, for a message: `"a", "b" or "c"`.
pub(super) fn listed<T: DeserializeOwned>() -> String {
    let none: StrDeserializer<'_, NotAmong> = "".into_deserializer();
    let words = T::deserialize(none).err().map_or(&[][..], |error| error.0);
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The words that a word is not among.
#[derive(Debug)]
struct NotAmong(&'static [&'static str]);

impl fmt::Display for NotAmong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not one of the words")
    }
}

impl std::error::Error for NotAmong {}

impl de::Error for NotAmong {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}
