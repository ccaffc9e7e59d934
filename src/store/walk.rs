//! All certificates that a store has, a page at a time.
//!
//! Tells which there are, not what their status is: that is for
//! [`StatusStore::find_many`], which sees every row of a serial number. No page is longer
//! than one question to a database, so that nothing holds it up.
//!
//! [`StatusStore::find_many`]: crate::store::StatusStore::find_many

use std::sync::Arc;

use crate::serial::Serial;
use crate::store::StoreError;
use crate::store::listing::Listing;
use crate::store::mapping::pages::{Key, Select};
use crate::store::mapping::{Dialect, Mapping, Parameter};
use crate::time::Timestamp;

/// A way through all that a store has. What is added or removed meanwhile may be met or
/// not.
pub trait Walk: Send {
    /// The next certificates, [`PAGE`] at the most; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: the same page may be asked for again.
    fn next_page(&mut self) -> Result<Option<Page>, StoreError>;

    /// Passes by many without reading them; how many. `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Walk::next_page`].
    fn skip(&mut self) -> Result<Option<u64>, StoreError>;
}

/// What a part of a store has.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of the store; a serial that has several rows may come again.
    pub listed: Vec<Listed>,
    /// The keys of rows whose serial number cannot be read.
    pub unreadable: Vec<String>,
}

/// A certificate that a store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its serial number.
    pub serial: Serial,
    /// What tells when it is valid.
    pub dates: Dates,
}

/// What a store has about the dates of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dates {
    /// They were not asked for, or are not there.
    Untold,
    /// What should be the certificate, PEM or DER.
    Certificate(Vec<u8>),
    /// The last second of its validity.
    Ends(Timestamp),
}

/// What is to be told of the dates of each certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing, so that certificates need not be read.
    Serials,
    /// When it ends.
    End,
    /// When it begins, and ends.
    BothEnds,
}

/// Why there is no way through a store.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Its certificates cannot be had now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not have the dates that are wanted.
    #[error("{0}")]
    NoDates(String),
}

/// The most certificates in a page: with four spellings of each, a question stays below
/// the 1,000 values at which MariaDB would no longer look each of them up in the index
/// (`in_predicate_conversion_threshold`).
pub const PAGE: usize = 240;

/// A table of a database.
pub(super) struct Table<'a> {
    mapping: &'a Mapping,
    dialect: Dialect,
    ask: Box<Ask<'a>>,
    wanted: Wanted,
    after: Option<Key>,
    /// The rows of the next page: fewer where one of them cannot be shown.
    size: usize,
    state: State,
}

/// Asks the database; what comes back.
type Ask<'a> = dyn Fn(&str, &[Parameter]) -> Result<Shown, StoreError> + Send + 'a;

/// Rows; or why a database that is well does not show them, as of a view that fails at one.
pub(super) type Shown = Result<Vec<Line>, String>;

/// The two columns of a row.
pub(super) struct Line {
    /// The serial; `None` where it has a type that cannot be compared again.
    pub key: Option<Key>,
    /// The serial, as text or octets.
    pub stored: Vec<u8>,
    /// A certificate, or digits.
    pub second: Option<Vec<u8>>,
}

#[derive(PartialEq, Eq)]
enum State {
    UnderWay,
    Ended,
}

impl<'a> Table<'a> {
    /// From the first row on.
    ///
    /// # Errors
    ///
    /// [`WalkError::NoDates`] where dates are wanted of a table without certificates.
    pub(super) fn new(
        (mapping, dialect): (&'a Mapping, Dialect),
        wanted: Wanted,
        ask: impl Fn(&str, &[Parameter]) -> Result<Shown, StoreError> + Send + 'a,
    ) -> Result<Self, WalkError> {
        if wanted > Wanted::Serials && mapping.columns.certificate.is_none() {
            return Err(WalkError::NoDates(
                "the table has no column of certificates (certificate in [database.columns] is \
                 \"\"), so their dates are not known"
                    .to_owned(),
            ));
        }
        let ask = Box::new(ask);
        let (after, size, state) = (None, PAGE, State::UnderWay);
        Ok(Self { mapping, dialect, ask, wanted, after, size, state })
    }

    /// The next rows. Of one whose certificate cannot be shown, the serial number alone.
    fn next_lines(&mut self) -> Result<Vec<Line>, StoreError> {
        let has_dates = self.wanted > Wanted::Serials;
        let select = if has_dates { Select::Certificates } else { Select::Serials };
        loop {
            match self.lines(select(self.size))? {
                Ok(lines) => return Ok(lines),
                Err(_) if self.size > 1 => self.size /= 2,
                Err(_) if has_dates => {
                    return self.lines(Select::Serials(1))?.map_err(not_shown);
                }
                Err(problem) => return Err(not_shown(problem)),
            }
        }
    }

    fn lines(&self, select: Select) -> Result<Shown, StoreError> {
        let after = self.after.as_ref();
        let statement = self.mapping.part(self.dialect, select, after);
        (self.ask)(&statement, &self.mapping.part_parameters(self.dialect, after))
    }
}

impl Walk for Table<'_> {
    fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        if self.state == State::Ended {
            return Ok(None);
        }
        let lines = self.next_lines()?;
        if lines.len() < self.size {
            self.state = State::Ended;
        }
        self.size = PAGE.min(self.size * 2);
        let mut page = Page::default();
        for line in lines {
            let shown = self.mapping.shown(&line.stored);
            let Some(key) = line.key else { return Err(not_comparable(shown)) };
            self.after = Some(key);
            match self.mapping.read_serial(&line.stored) {
                None => page.unreadable.push(shown),
                Some(serial) => page.listed.push(Listed {
                    serial,
                    dates: line.second.map_or(Dates::Untold, Dates::Certificate),
                }),
            }
        }
        let is_empty = page.listed.is_empty() && page.unreadable.is_empty();
        Ok((!is_empty).then_some(page))
    }

    fn skip(&mut self) -> Result<Option<u64>, StoreError> {
        if self.state == State::Ended {
            return Ok(None);
        }
        if let Some(line) = self.lines(Select::Last(SKIP))?.map_err(not_shown)?.into_iter().next() {
            let shown = self.mapping.shown(&line.stored);
            self.after = Some(line.key.ok_or_else(|| not_comparable(shown))?);
            return Ok(Some(SKIP as u64));
        }
        self.state = State::Ended;
        let rest = self.lines(Select::Count(SKIP))?.map_err(not_shown)?.into_iter().next();
        let digits = rest.and_then(|line| line.second).unwrap_or_default();
        Ok(str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()))
    }
}

fn not_comparable(key: String) -> StoreError {
    let problem = "its serial number has a type that rows cannot be put in order by".to_owned();
    StoreError::BadRow { key, problem }
}

/// Nobody can go on behind a row without its serial number.
fn not_shown(problem: String) -> StoreError {
    StoreError::BadRow { key: "without a serial number".to_owned(), problem }
}

/// What was read of a file.
pub(super) struct File<T> {
    content: Arc<T>,
    listing: fn(&T) -> &Listing,
    /// When certificates end, by serial; sorted.
    ends: Vec<(Serial, Timestamp)>,
    at: usize,
}

impl<T> File<T> {
    /// From the first entry on.
    pub(super) fn new(
        content: Arc<T>,
        listing: fn(&T) -> &Listing,
        mut ends: Vec<(Serial, Timestamp)>,
    ) -> Self {
        ends.sort_unstable();
        Self { content, listing, ends, at: 0 }
    }

    fn dates(&self, serial: &Serial) -> Dates {
        let place = self.ends.binary_search_by_key(serial, |(serial, _)| *serial).ok();
        let ends = place.and_then(|place| self.ends.get(place));
        ends.map_or(Dates::Untold, |(_, ends)| Dates::Ends(*ends))
    }
}

impl<T: Send + Sync> Walk for File<T> {
    fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        let serials = (self.listing)(&self.content).serials(self.at);
        let listed: Vec<Listed> = serials
            .take(PAGE)
            .map(|serial| Listed { serial: *serial, dates: self.dates(serial) })
            .collect();
        self.at += listed.len();
        Ok((!listed.is_empty()).then_some(Page { listed, unreadable: Vec::new() }))
    }

    fn skip(&mut self) -> Result<Option<u64>, StoreError> {
        let left = (self.listing)(&self.content).len() - self.at;
        self.at += left;
        Ok((left > 0).then_some(left as u64))
    }
}

/// So many rows are counted in some ten milliseconds: no writer of an SQLite file waits
/// long, and no time-out of a server ends it.
const SKIP: usize = 50_000;
