//! The seed's table in MySQL or MariaDB.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The table.
    pub table: String,
    /// The most connections kept at once.
    pub connections: usize,
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
    /// They are, and the server's certificate must be good for its name.
    Required {
        /// The CA of the server's certificate; the system's store without it.
        ca: Option<PathBuf>,
    },
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("name", &self.name)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
