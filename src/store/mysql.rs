//! A table in MySQL or MariaDB.
//!
//! Reads only: an account that may SELECT is enough. Connections are kept by
//! `keeper`, made by `dial`, set up by `session`; `check` tells an administrator what is wrong.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trouble::Trouble;

use crate::serial::Serial;
use crate::status::CertRecord;
use crate::store::mapping::{Dialect, Mapping};
use crate::store::mysql::dial::Dialler;
use crate::store::mysql::keeper::Keeper;
use crate::store::row;
use crate::store::{Found, Report, StatusStore, StoreError, Walk, WalkError, Wanted};

pub use dial::get_ready;

mod check;
mod dial;
mod errors;
mod keeper;
mod many;
mod session;
mod values;

/// One or more MySQL or MariaDB servers that hold the same table.
#[derive(Clone)]
pub struct Options {
    /// In order of preference.
    pub hosts: Vec<Host>,
    /// The account; it needs SELECT on the table only.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub name: String,
    /// The table, and how to read it.
    pub mapping: Mapping,
    /// The most connections kept at once.
    pub connections: usize,
    /// Questions after which a connection is made anew, as its buffers grow.
    pub renew_after: u32,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// How long questions fail at once after a failure.
    pub retry_pause: Duration,
    /// Whether connections are encrypted.
    pub tls: Tls,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or address, and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; 3306 by default.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Whether connections to the database are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// They are not.
    Off,
    /// Those over TCP are, and the server's certificate must be good for its name.
    Required {
        /// The CA of the server's certificate, trusted besides the system's store.
        ca: Option<PathBuf>,
    },
}

/// The table as a [`StatusStore`].
pub struct Mysql {
    keeper: Arc<Keeper>,
    odd_rows: Trouble,
}

impl Mysql {
    /// Does not connect yet: the first question does.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let keeper = Arc::new(Keeper::new(Dialler::new(options)));
        Self { keeper, odd_rows: Trouble::new(log::Level::Warn) }
    }

    /// Tries every host by itself, over a connection of its own.
    #[must_use]
    pub fn check(&self) -> Vec<Report> {
        check::reports(&self.keeper.dialler)
    }
}

/// At worst a question waits `timeout` and `connect_timeout` for a connection to
/// come free, `timeout` for it to prove dead, and `connect_timeout` and twice
/// `timeout` for each host; and at each of these places `timeout` more where a node of a
/// Galera cluster cannot tell at the moment (error 1205). In the pause after a
/// failure it fails at once.
impl StatusStore for Mysql {
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let mapping = &self.keeper.dialler.options.mapping;
        let rows = self.keeper.ask(&mapping.parameters(serial, Dialect::Mysql));
        let rows = rows.map_err(|failure| failure.about(serial))?;
        Ok(row::read(mapping, serial, &rows)?.reported(&self.odd_rows))
    }

    fn find_many(&self, serials: &[Serial]) -> Result<Vec<Found>, StoreError> {
        self.all_of(serials)
    }

    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        self.parts(wanted)
    }
}

/// `127.0.0.1:3306`, or the path of the socket.
impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("name", &self.name)
            .field("mapping", &self.mapping)
            .finish_non_exhaustive()
    }
}
