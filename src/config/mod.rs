//! The configuration: only values that are valid.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::logging;
use crate::responder::policy::Policy;
use crate::store::{mysql, sqlite};

/// All that the program is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where connections come in.
    pub listen: Listen,
    /// The CAs answered for; at least one.
    pub issuers: Vec<Issuer>,
    /// Where statuses come from.
    pub database: Database,
    /// Where answers are kept.
    pub cache: Cache,
    /// How answers are made.
    pub policy: Policy,
    /// What one peer, and all of them together, may use.
    pub limits: Limits,
    /// Where log lines go.
    pub log: Log,
    /// What happens when others can read a key or this file.
    pub permissions: Permissions,
}

/// Where connections come in, beside descriptors handed over by whoever started
/// the program.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// The TCP port, on each of `addresses`.
    pub port: Option<u16>,
    /// The addresses for `port`; loopback by default.
    pub addresses: Vec<IpAddr>,
    /// A Unix socket.
    pub unix: Option<UnixSocket>,
}

/// A Unix socket that the program makes itself.
#[derive(Clone, Debug)]
pub struct UnixSocket {
    /// Its path.
    pub path: PathBuf,
    /// The user it is given to (a name, or a number).
    pub owner: Option<String>,
    /// The group it is given to (a name, or a number).
    pub group: Option<String>,
    /// Its mode; 0660 by default.
    pub mode: u32,
}

/// A CA.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The CA's certificate, PEM or DER.
    pub certificate: PathBuf,
    /// The certificate that signs the answers, where that is not the CA's own.
    pub signer_certificate: Option<PathBuf>,
    /// The key that signs the answers.
    pub key: PathBuf,
}

/// Where statuses come from.
#[derive(Clone, Debug)]
pub enum Database {
    /// A MySQL or MariaDB server.
    Mysql(mysql::Options),
    /// A file.
    Sqlite(sqlite::Options),
}

/// Where answers are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The folder; none, nothing is kept on disk.
    pub folder: Option<PathBuf>,
    /// The most bytes of answers in memory.
    pub memory: u64,
}

/// What one peer, and all of them together, may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections open at once.
    pub connections: usize,
    /// Octets in a request.
    pub request_bytes: usize,
    /// How long a request may take to come in.
    pub read_timeout: Duration,
    /// How long a kept connection may be silent between requests.
    pub idle_timeout: Duration,
    /// Signatures made at once; as many as there are processors by default.
    pub signing_threads: usize,
    /// Questions that may wait for a signature.
    pub signing_queue: usize,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Where to.
    pub target: logging::Target,
    /// From which level on.
    pub level: log::LevelFilter,
}

/// What happens when others can read a key or the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permissions {
    /// The program does not start.
    #[default]
    Refuse,
    /// It starts, and warns each time.
    Warn,
}
