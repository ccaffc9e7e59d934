//! What a connection sets before its first question, and whether its server may still be
//! believed.

use std::io;
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::{FromValue, Queryable};

use crate::store::mysql::errors::words;

/// A connection with its session set up.
pub(super) struct Session {
    pub conn: Conn,
    /// When a server that has a group was last known not to be out of it.
    joined: Option<Instant>,
}

impl Session {
    /// Fails once the server is out of its group, a second later at the most: by itself it goes
    /// on with its rows as they were then, and waits for nobody.
    pub(super) fn still_joined(&mut self) -> mysql::Result<()> {
        if self.joined.is_none_or(|then| then.elapsed() < MEMBERSHIP_BELIEVED) {
            return Ok(());
        }
        if is_out_of_its_group(&mut self.conn)? == Some(true) {
            return Err(io::Error::other(NO_MEMBER).into());
        }
        self.joined = Some(Instant::now());
        Ok(())
    }
}

/// Sets up the session. A TIMESTAMP column is told in the session's zone; no limit of the
/// server hides a row that says revoked.
///
/// Each find sees the table as it is, not a snapshot of earlier: autocommit, which ends a
/// transaction that `init_connect` has begun only where it was off. Nor one of a time that
/// somebody has set, nor what others may yet take back; that level has another name in
/// each server, and so a statement of its own.
///
/// `wsrep_sync_wait` has a node of a Galera cluster answer only when it has applied all
/// that the others have written, and fail when it cannot know. Otherwise one that was
/// stopped for a while, or gives its data to a new node, would say good of what is
/// revoked. `group_replication_consistency` does the same in a group of MySQL servers, but
/// for a member that is out of it: that is not asked, where it tells ([`Session::still_joined`]).
///
/// `lock_wait_timeout` has the server give up a question that waits for a locked table
/// soon after nobody here waits for it any more, `max_statement_time` (in MySQL
/// `max_execution_time`) one that takes long. By itself it does so after a day, or never,
/// and does not see before that the connection is closed. A member of a group that is
/// behind goes by `wait_timeout` alone, which closes idle connections too: ten times as long.
pub(super) fn set_up(mut conn: Conn, timeout: Duration) -> Result<Session, String> {
    let level = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    conn.query_drop(level).map_err(|error| words(&error))?;
    let seconds = timeout.as_secs() + 1;
    let session = format!(
        "SET {AUTOCOMMIT}, time_zone = '+00:00', sql_select_limit = {}, \
         lock_wait_timeout = {seconds}",
        u64::MAX
    );
    // In comments for MariaDB from a version on, and for MySQL, which the other passes over.
    let of_its_own = format!(
        " /*M!100101 , max_statement_time = {seconds} */ \
         /*M!100304 , system_versioning_asof = DEFAULT */ \
         /*!50708 , max_execution_time = {seconds}000 */"
    );
    let galera = ", wsrep_sync_wait = 1";
    let group = " /*!80014 , group_replication_consistency = 'BEFORE' */";
    let mut problem = String::new();
    // A server that has never heard of Galera, or of one of the others, has set nothing.
    for (own, others) in
        [(&*of_its_own, galera), (&of_its_own, group), (&of_its_own, ""), ("", galera), ("", "")]
    {
        if others == group {
            // By itself, as MySQL does not set what follows in a transaction.
            conn.query_drop(format!("SET {AUTOCOMMIT}")).map_err(|error| words(&error))?;
        }
        match conn.query_drop(format!("{session}{own}{others}")) {
            Ok(()) if others == group => return as_member(conn, seconds),
            Ok(()) => return Ok(Session { conn, joined: None }),
            Err(error) => {
                problem = words(&error);
                match error {
                    mysql::Error::MySqlError(error) if error.code == UNKNOWN_VARIABLE => {}
                    _ => break,
                }
            }
        }
    }
    Err(problem)
}

/// What is left to do where the server may be a member of a group of MySQL servers.
fn as_member(mut conn: Conn, seconds: u64) -> Result<Session, String> {
    let begun = Instant::now();
    let is_out = match is_out_of_its_group(&mut conn) {
        Ok(Some(true)) => return Err(NO_MEMBER.into()),
        Ok(is_out) => is_out,
        Err(mysql::Error::MySqlError(error)) if NOT_TOLD.contains(&error.code) => None,
        Err(error) => return Err(words(&error)),
    };
    // Fails where the server knows of no groups.
    let _ = conn.query_drop(format!(
        "SET wait_timeout = CAST(IF(@@GLOBAL.group_replication_group_name <> '', \
         LEAST(@@wait_timeout, {seconds}0), @@wait_timeout) AS UNSIGNED)"
    ));
    Ok(Session { conn, joined: is_out.map(|_| begun) })
}

/// Whether a server of MySQL that has a group has not joined it; `None` where it has none. Fails
/// where it knows of no groups, or does not tell this account.
pub(super) fn is_out_of_its_group(conn: &mut Conn) -> mysql::Result<Option<bool>> {
    let question = "SELECT IF(COALESCE(@@GLOBAL.group_replication_group_name, '') = '', NULL, \
                    NOT EXISTS (SELECT * FROM performance_schema.replication_group_members \
                    WHERE member_id = @@GLOBAL.server_uuid AND member_state = 'ONLINE'))";
    first(conn, question)
}

/// The first value of what a question brings. `None` where it is NULL or of another kind, at
/// which the crate would panic.
pub(super) fn first<T: FromValue>(conn: &mut Conn, question: &str) -> mysql::Result<Option<T>> {
    let row: Option<mysql::Row> = conn.query_first(question)?;
    Ok(row.and_then(|row| row.get_opt(0)?.ok()))
}

/// Ends a transaction that has begun.
const AUTOCOMMIT: &str = "autocommit = 0, autocommit = 1";
/// ER_UNKNOWN_SYSTEM_VARIABLE.
const UNKNOWN_VARIABLE: u16 = 1193;
/// ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
/// ER_NO_SUCH_TABLE and ER_UNKNOWN_SYSTEM_VARIABLE.
const NOT_TOLD: [u16; 5] = [1044, 1142, 1143, 1146, UNKNOWN_VARIABLE];
const NO_MEMBER: &str = "it is no member of its group at present";
/// To ask costs as much as a question about a serial.
const MEMBERSHIP_BELIEVED: Duration = Duration::from_secs(1);
