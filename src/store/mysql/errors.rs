//! What errors of the database mean, and how they are told.

use std::error::Error;
use std::io;

use mysql::DriverError;

/// What went wrong, without the crate's names for it.
pub(super) fn words(error: &mysql::Error) -> String {
    match error {
        mysql::Error::MySqlError(error) => format!("{} (error {})", error.message, error.code),
        mysql::Error::DriverError(DriverError::CouldNotConnect(Some((_, problem, _)))) => {
            problem.clone()
        }
        mysql::Error::DriverError(DriverError::ConnectTimeout) => NO_ANSWER.into(),
        mysql::Error::DriverError(error) => error.to_string(),
        error if timed_out(error) => NO_ANSWER.into(),
        mysql::Error::IoError(error) => error.to_string(),
        mysql::Error::CodecError(error) => error.to_string(),
        mysql::Error::TlsError(error) => format!("TLS: {error}"),
        error => error.to_string(),
    }
}

/// Whether the peer was silent for too long.
pub(super) fn timed_out(error: &mysql::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let error = match error {
        mysql::Error::IoError(error) => Some(error),
        // While a packet is read, its type is one of a crate below.
        mysql::Error::CodecError(error) => error.source().and_then(|error| error.downcast_ref()),
        _ => None,
    };
    error.is_some_and(|error: &io::Error| matches!(error.kind(), TimedOut | WouldBlock))
}

/// What a node of a Galera cluster says to reads that wait (`session::set_up`) while the members
/// of the cluster change, at once; and any server when a table was locked for too long.
pub(super) fn not_now(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(error) if error.code == LOCK_WAIT_TIMEOUT)
}

/// What the server itself said, by its number, and not of the time that it took: the same
/// may be otherwise a moment later.
pub(super) fn refusal(error: &mysql::Error) -> Option<u16> {
    match error {
        mysql::Error::MySqlError(error) if !OF_TIME.contains(&error.code) => Some(error.code),
        _ => None,
    }
}

/// Whether it is the server that cannot show any row, or some, as where a disk is full or a
/// function of a view has lost its rights; and not a row that cannot be shown.
pub(super) fn is_of_the_server(number: u16) -> bool {
    OF_THE_SERVER.contains(&number)
}

/// No disk, no memory, files that are damaged or of elsewhere, rights, limits, the end of the
/// server: from ER_DISK_FULL to ER_INDEX_CORRUPT, and the client's own numbers of servers that
/// a table is asked of (CR_CONNECTION_ERROR to CR_SERVER_LOST); of MySQL also that it is offline or
/// out of its group, from ER_SERVER_OFFLINE_MODE on.
const OF_THE_SERVER: [u16; 46] = [
    1021, 1023, 1024, 1030, 1034, 1035, 1037, 1038, 1041, 1044, 1045, 1047, 1053, 1114, 1142, 1143,
    1194, 1195, 1226, 1227, 1290, 1356, 1370, 1429, 1430, 1449, 1461, 1615, 1712, 1927, 2002, 2003,
    2006, 2013, 3032, 3100, 3168, 3169, 3572, 3796, 3797, 3798, 3799, 3950, 4031, 6400,
];
/// ER_LOCK_DEADLOCK, ER_QUERY_INTERRUPTED, and what a statement ends with that takes longer
/// than it may: ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL.
const OF_TIME: [u16; 5] = [LOCK_WAIT_TIMEOUT, 1213, 1317, 1969, 3024];
/// ER_LOCK_WAIT_TIMEOUT.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
pub(super) const NO_ANSWER: &str = "no answer within the time-out";
