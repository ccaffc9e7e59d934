//! Makes connections to one host at a time, each with its statement prepared.
//!
//! Bounded in time whatever happens: a name server, the queue of a Unix socket
//! and a TLS peer can all be slower than the time-outs of a socket allow, so a
//! thread of its own makes the connection and the caller stops waiting for it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mysql::consts::{CapabilityFlags, StatusFlags};
use mysql::prelude::{AsStatement, FromValue, Queryable};
use mysql::{Conn, Opts, OptsBuilder, SslOpts, Statement, Value};
use mysql_common::packets::HandshakePacket;

use crate::store::mapping::{Dialect, Parameter};
use crate::store::mysql::errors::{NO_ANSWER, words};
use crate::store::mysql::values::{columns, value};
use crate::store::mysql::{Host, Options, Tls};
use crate::store::row::Row;

/// A connection and its statement.
pub(super) struct Link {
    conn: Conn,
    statement: Statement,
    /// The place of its host among [`Options::hosts`].
    pub host: usize,
    /// Questions that it has answered.
    pub questions: u32,
}

/// Makes connections.
pub(super) struct Dialler {
    pub options: Options,
    /// Attempts under way for each host, those given up by their callers included.
    attempts: Vec<AtomicUsize>,
}

impl Link {
    /// The rows under any of the keys.
    pub(super) fn rows(&mut self, parameters: &[Parameter]) -> mysql::Result<Vec<Row>> {
        rows(&mut self.conn, &self.statement, parameters)
    }

    /// What another statement finds; it is prepared once.
    pub(super) fn rows_by<T>(
        &mut self,
        statement: &str,
        parameters: &[Parameter],
        read: impl Fn(&mysql::Row) -> T,
    ) -> mysql::Result<Vec<T>> {
        rows_as(&mut self.conn, statement, parameters, read)
    }
}

/// The rows that a statement finds with these parameters.
pub(super) fn rows(
    conn: &mut Conn,
    statement: &Statement,
    parameters: &[Parameter],
) -> mysql::Result<Vec<Row>> {
    rows_as(conn, statement, parameters, columns)
}

fn rows_as<T>(
    conn: &mut Conn,
    statement: impl AsStatement,
    parameters: &[Parameter],
    read: impl Fn(&mysql::Row) -> T,
) -> mysql::Result<Vec<T>> {
    let parameters: Vec<Value> = parameters.iter().map(value).collect();
    let mut rows = Vec::new();
    for row in conn.exec_iter(statement, parameters)? {
        rows.push(read(&row?));
    }
    Ok(rows)
}

impl Dialler {
    pub(super) fn new(options: Options) -> Self {
        let attempts = options.hosts.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { options, attempts }
    }

    /// A connection to a host with its statement prepared; why not, otherwise.
    pub(super) fn dial(self: &Arc<Self>, host: usize) -> Result<Link, String> {
        self.within_limit(host, move |dialler| {
            let mut conn = dialler.connect(host)?;
            let statement = conn.prep(dialler.statement()).map_err(|error| words(&error))?;
            Ok(Link { conn, statement, host, questions: 0 })
        })
    }

    /// A connection to a host without a statement; why not, otherwise.
    pub(super) fn connection(self: &Arc<Self>, host: usize) -> Result<Conn, String> {
        self.within_limit(host, move |dialler| dialler.connect(host))
    }

    /// The question that each find asks.
    pub(super) fn statement(&self) -> String {
        self.options.mapping.statement(Dialect::Mysql)
    }

    /// The host as messages name it.
    pub(super) fn name(&self, host: usize) -> String {
        self.options.hosts.get(host).map(ToString::to_string).unwrap_or_default()
    }

    fn within_limit<T: Send + 'static>(
        self: &Arc<Self>,
        host: usize,
        work: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let attempt = Attempt::begin(Arc::clone(self), host)
            .ok_or("earlier attempts to connect have not ended yet")?;
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                // Nobody listens any more when it took too long: it is closed.
                let _ = sender.send(work(&attempt.dialler));
            })
            .map_err(|error| format!("no thread to connect with: {error}"))?;
        match receiver.recv_timeout(self.limit()) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(NO_ANSWER.into()),
            Err(RecvTimeoutError::Disconnected) => Err("unexpected words from the server".into()),
        }
    }

    /// The longest that making one connection may take.
    fn limit(&self) -> Duration {
        self.options.connect_timeout.saturating_add(self.options.timeout)
    }

    fn connect(&self, host: usize) -> Result<Conn, String> {
        let mut problem = "its name has no address".to_owned();
        for opts in self.routes(host)? {
            let conn = Conn::new(opts).map_err(|error| words(&error));
            match conn.and_then(|conn| set_up(conn, self.options.timeout)) {
                Ok(conn) => return Ok(conn),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// The ways to a host, to be tried one after the other.
    fn routes(&self, host: usize) -> Result<Vec<Opts>, String> {
        let options = self.common()?;
        match self.options.hosts.get(host) {
            None => Ok(Vec::new()),
            Some(Host::Unix(path)) => {
                let path = path.to_str().ok_or("the path of its socket is not UTF-8")?;
                Ok(vec![options.socket(Some(path)).into()])
            }
            Some(Host::Tcp { host, port }) => {
                let addresses = (host.as_str(), *port).to_socket_addrs();
                let addresses = addresses.map_err(|error| error.to_string())?;
                // The crate goes through them: silent ones are not to leave no time for the last.
                let number = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
                let share = self.options.connect_timeout / number;
                let options = options.tcp_connect_timeout(Some(share));
                let options = options.ip_or_hostname(Some(host)).tcp_port(*port);
                let bound = |local| options.clone().bind_address(Some(local)).into();
                Ok(local_addresses(addresses).into_iter().map(bound).collect())
            }
        }
    }

    /// What is the same for every host.
    fn common(&self) -> Result<OptsBuilder, String> {
        let options = &self.options;
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(OptsBuilder::new()
            // A socket only where the configuration says so.
            .prefer_socket(false)
            .user(text(&options.user))
            .pass(text(&options.password))
            .db_name(text(&options.name))
            .read_timeout(Some(options.timeout))
            .write_timeout(Some(options.timeout))
            .tcp_nodelay(true)
            .tcp_keepalive_time_ms(Some(KEEPALIVE_MILLISECONDS))
            .tcp_keepalive_probe_interval_secs(Some(10))
            .tcp_keepalive_probe_count(Some(3))
            // Otherwise a question of the crate's own on each connection.
            .max_allowed_packet(Some(MAX_PACKET))
            .ssl_opts(ssl(&options.tls)?))
    }
}

/// For a process that asks one question, and has other things to do first: has the crate
/// compile, in the background, the regular expressions that it reads a server's version
/// with. They take longer than all else about a connection to the same machine.
pub fn get_ready() {
    let compile = || {
        let (version, none) = (&b"5.5.5-10.11.0-MariaDB"[..], None::<&[u8]>);
        let (capabilities, flags) = (CapabilityFlags::empty(), StatusFlags::empty());
        let greeting =
            HandshakePacket::new(10, version, 0, [0; 8], none, capabilities, 0, flags, none);
        black_box((greeting.server_version_parsed(), greeting.maria_db_server_version_parsed()));
    };
    // Without a thread it is done later.
    let _ = thread::Builder::new().name("database".into()).spawn(compile);
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
/// for a member that has not joined it: that is not asked, where it tells.
///
/// `lock_wait_timeout` has the server give up a question that waits for a locked table
/// soon after nobody here waits for it any more, `max_statement_time` (in MySQL
/// `max_execution_time`) one that takes long. By itself it does so after a day, or never,
/// and does not see before that the connection is closed. A member of a group that is
/// behind goes by `wait_timeout` alone, which closes idle connections too: ten times as long.
fn set_up(mut conn: Conn, timeout: Duration) -> Result<Conn, String> {
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
            Ok(()) => return Ok(conn),
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
fn as_member(mut conn: Conn, seconds: u64) -> Result<Conn, String> {
    if is_out_of_its_group(&mut conn) == Some(true) {
        return Err("it is no member of its group at present".into());
    }
    // Fails where the server knows of no groups.
    let _ = conn.query_drop(format!(
        "SET wait_timeout = CAST(IF(@@GLOBAL.group_replication_group_name <> '', \
         LEAST(@@wait_timeout, {seconds}0), @@wait_timeout) AS UNSIGNED)"
    ));
    Ok(conn)
}

/// Whether a server of MySQL has a group and has not joined it. `None`: it knows of no
/// groups, or does not tell this account.
pub(super) fn is_out_of_its_group(conn: &mut Conn) -> Option<bool> {
    let question = "SELECT COALESCE(@@GLOBAL.group_replication_group_name, '') <> '' AND NOT EXISTS \
                    (SELECT * FROM performance_schema.replication_group_members \
                    WHERE member_id = @@GLOBAL.server_uuid AND member_state = 'ONLINE')";
    first(conn, question).ok()?
}

/// The first value of what a question brings. `None` where it is NULL or of another kind, at
/// which the crate would panic.
pub(super) fn first<T: FromValue>(conn: &mut Conn, question: &str) -> mysql::Result<Option<T>> {
    let row: Option<mysql::Row> = conn.query_first(question)?;
    Ok(row.and_then(|row| row.get_opt(0)?.ok()))
}

/// One attempt under way; ends when dropped.
struct Attempt {
    dialler: Arc<Dialler>,
    host: usize,
}

impl Attempt {
    /// `None` when so many are under way that the host must be stuck.
    #[allow(deprecated, reason = "its other name, try_update, is newer than Rust 1.90")]
    fn begin(dialler: Arc<Dialler>, host: usize) -> Option<Self> {
        let most = dialler.options.connections.saturating_mul(2).saturating_add(1);
        let count = dialler.attempts.get(host)?;
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()?;
        Some(Self { dialler, host })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(count) = self.dialler.attempts.get(self.host) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The local address to bind for each family among the addresses of a host, in
/// their order. Without one the crate stops at the first address that refuses:
/// `localhost` with a server on 127.0.0.1 alone would never be reached.
fn local_addresses(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut local = Vec::new();
    for address in addresses {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let any = SocketAddr::new(any, 0);
        if !local.contains(&any) {
            local.push(any);
        }
    }
    local
}

fn ssl(tls: &Tls) -> Result<Option<SslOpts>, String> {
    let Tls::Required { ca } = tls else { return Ok(None) };
    if let Some(path) = ca {
        // The crate says neither which file is missing nor that it holds none.
        let place = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("{place}: {error}"))?;
        native_tls::Certificate::from_pem(&pem)
            .or_else(|_| native_tls::Certificate::from_der(&pem))
            .map_err(|error| format!("{place}: no certificate: {error}"))?;
    }
    Ok(Some(SslOpts::default().with_root_cert_path(ca.clone())))
}

/// Ends a transaction that has begun.
const AUTOCOMMIT: &str = "autocommit = 0, autocommit = 1";
/// ER_UNKNOWN_SYSTEM_VARIABLE.
const UNKNOWN_VARIABLE: u16 = 1193;
const KEEPALIVE_MILLISECONDS: u32 = 30_000;
const MAX_PACKET: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mapping::Mapping;

    #[test]
    fn a_host_that_is_stuck_has_no_more_attempts_than_twice_its_connections_and_one() {
        let dialler = Arc::new(Dialler::new(Options {
            hosts: vec![Host::Unix("/nowhere".into()), Host::Unix("/nowhere-else".into())],
            user: String::new(),
            password: String::new(),
            name: String::new(),
            mapping: Mapping::of_table("list_certs"),
            connections: 2,
            renew_after: 1,
            connect_timeout: Duration::ZERO,
            timeout: Duration::ZERO,
            retry_pause: Duration::ZERO,
            tls: Tls::Off,
        }));
        let begin = |host| Attempt::begin(Arc::clone(&dialler), host);
        let mut attempts: Vec<_> = (0..5).map(|_| begin(0).unwrap()).collect();
        assert!(begin(0).is_none());
        assert!(begin(1).is_some(), "each host for itself");
        attempts.pop();
        assert!(begin(0).is_some());
    }

    #[test]
    fn every_family_of_a_host_is_tried_once_in_its_order() {
        let addresses = ["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().unwrap());
        let local = local_addresses(addresses.into_iter());
        assert_eq!(local, ["[::]:0", "0.0.0.0:0"].map(|a| a.parse::<SocketAddr>().unwrap()));
    }
}
