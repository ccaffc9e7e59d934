//! What is wrong with a configuration: every problem, each with its place.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Every problem of one file, by line; prints one a line.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

/// Prints as `config.toml:14:15: workers is 0, wanted a number from 1 to 4096`.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: Place,
    problem: String,
}

/// What does not stop the program, but is hardly meant; prints as an error does.
#[derive(Debug)]
pub struct Warning(ConfigError);

/// File, line and column; line and column count from 1, in characters. Prints as
/// `config.toml:14:15`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    /// `None` sorts last: what is missing has no place.
    at: Option<(usize, usize)>,
}

impl Place {
    /// That of an offset of the text.
    pub(super) fn of_offset(path: &Path, text: &str, offset: usize) -> Self {
        Self { path: path.to_owned(), at: Some(line_and_column(text, offset)) }
    }
}

impl ConfigErrors {
    /// The one problem that `path` as a whole has.
    pub(super) fn of_file(path: &Path, problem: String) -> Self {
        let place = Place { path: path.to_owned(), at: None };
        Self(vec![ConfigError { place, problem }])
    }

    /// The one problem at `offset` of `text`.
    pub(super) fn of_text(path: &Path, text: &str, offset: usize, problem: String) -> Self {
        let place = Place::of_offset(path, text, offset);
        Self(vec![ConfigError { place, problem }])
    }

    /// The problems, by line.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        match self.at {
            Some((line, column)) => write!(formatter, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// Collects problems while a file is read. Shared, so that reading one value can
/// report and go on.
#[derive(Debug, Default)]
pub(super) struct Report {
    syntax: RefCell<Vec<Problem>>,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

/// A problem at an offset of the text.
type Problem = (Option<usize>, String);

impl Report {
    /// The text is not TOML.
    pub fn syntax(&self, offset: usize, problem: String) {
        self.syntax.borrow_mut().push((Some(offset), problem));
    }

    /// Something is wrong at `offset`.
    pub fn error(&self, offset: usize, problem: String) {
        self.errors.borrow_mut().push((Some(offset), problem));
    }

    /// Something is not there.
    pub fn missing(&self, problem: String) {
        self.errors.borrow_mut().push((None, problem));
    }

    /// Something is odd at `offset`.
    pub fn warning(&self, offset: usize, problem: String) {
        self.warnings.borrow_mut().push((Some(offset), problem));
    }

    /// Whether the text is TOML.
    pub fn is_toml(&self) -> bool {
        self.syntax.borrow().is_empty()
    }

    /// All that was reported, by line.
    pub fn finish(self, path: &Path, text: &str) -> (Vec<Warning>, Option<ConfigErrors>) {
        let placed = |problems: RefCell<Vec<Problem>>| placed(path, text, problems.into_inner());
        let warnings = placed(self.warnings).into_iter().map(Warning).collect();
        let mut errors = placed(self.syntax);
        let lines: Vec<usize> = errors.iter().filter_map(ConfigError::line).collect();
        // One line without a quotation mark gives several syntax errors: the first
        // says it.
        errors.dedup_by_key(|error| error.line());
        // What stands on a line that is not TOML, or was lost with it, is not
        // known to be wrong or missing.
        errors.extend(placed(self.errors).into_iter().filter(|error| {
            lines.is_empty() || error.line().is_some_and(|line| !lines.contains(&line))
        }));
        sort(&mut errors);
        (warnings, (!errors.is_empty()).then_some(ConfigErrors(errors)))
    }
}

impl ConfigError {
    fn line(&self) -> Option<usize> {
        self.place.at.map(|(line, _)| line)
    }
}

/// The line and the column of `offset`, each from 1; columns count characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(line_start..).map_or(0, |part| part.chars().count()) + 1;
    (line, column)
}

/// Foreign text for a message: on one line, and not too long.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS) {
        // `escape_debug` would escape quotation marks as well.
        match c.is_control() {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

/// The parser's message in the form of ours; its frequent ones in plain words.
pub(super) fn syntax_problem(message: &str) -> String {
    match message {
        // Words that begin as one of TOML's own do: info, name, tell, from.
        "string values must be quoted, expected literal string"
        | "invalid float, expected `inf`"
        | "invalid float, expected `nan`"
        | "invalid boolean, expected `true`"
        | "invalid boolean, expected `false`" => {
            return "text without quotes, wanted \"text\"".to_owned();
        }
        "unexpected leading zero, expected nothing" => {
            return "number with a 0 before it, wanted \"text\", or the number without".to_owned();
        }
        "invalid float, expected nothing" => {
            return "this is no number, wanted a number or \"text\"".to_owned();
        }
        "invalid basic string, expected `\"`" => return "text without its last \"".to_owned(),
        "invalid literal string, expected `'`" => return "text without its last '".to_owned(),
        "key with no value, expected `=`" => return "key without a value, wanted =".to_owned(),
        _ => {}
    }
    let (problem, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
    match expected {
        "nothing" => problem.to_owned(),
        _ => format!("{problem}, wanted {}", expected.replace('`', "")),
    }
}

fn placed(path: &Path, text: &str, problems: Vec<Problem>) -> Vec<ConfigError> {
    let mut errors: Vec<_> = problems
        .into_iter()
        .map(|(offset, problem)| {
            let at = offset.map(|offset| line_and_column(text, offset));
            ConfigError { place: Place { path: path.to_owned(), at }, problem }
        })
        .collect();
    sort(&mut errors);
    errors
}

fn sort(errors: &mut [ConfigError]) {
    errors.sort_by_key(|error| (error.place.at.is_none(), error.place.at));
}

const SHOWN_CHARS: usize = 60;
