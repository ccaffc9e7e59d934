//! Many serials looked up by one question to a database.

use trouble::Trouble;

use crate::serial::Serial;
use crate::store::mapping::{Dialect, Mapping, Parameter};
use crate::store::row::{self, Reading, Row};
use crate::store::walk::PAGE;
use crate::store::{Found, StoreError};

/// Finds the rows of all serials by `ask`, and reads them as those of one are read.
/// `find` looks one up by itself, where the database refuses to show one of the rows
/// (`None`), or a row does not tell which it belongs to.
pub(super) fn find_many(
    (mapping, dialect, odd_rows): (&Mapping, Dialect, &Trouble),
    serials: &[Serial],
    ask: impl Fn(&str, &[Parameter]) -> Result<Option<Vec<Row>>, StoreError>,
    find: impl Fn(&Serial) -> Found,
) -> Result<Vec<Found>, StoreError> {
    // The same statement for any number of them, so that it is prepared once.
    let statement = mapping.statement_for(dialect, PAGE);
    let mut all = Vec::with_capacity(serials.len());
    for serials in serials.chunks(PAGE) {
        let rows = ask(&statement, &mapping.parameters_for(serials, dialect, PAGE))?;
        let readings = rows.and_then(|rows| row::read_many(mapping, serials, rows));
        let Some(readings) = readings else {
            for serial in serials {
                all.push(match find(serial) {
                    Err(unavailable @ StoreError::Unavailable(_)) => return Err(unavailable),
                    found => found,
                });
            }
            continue;
        };
        let reported = |reading: Reading| reading.reported(odd_rows);
        all.extend(readings.into_iter().map(|reading| reading.map(reported)));
    }
    Ok(all)
}
