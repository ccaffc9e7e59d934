//! The configuration: only values that are valid.
//!
//! [`Config::load`] reads a file, and tells all that is wrong with it at once. Keys
//! and certificates stay closed here: `signer` reads them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cache::Files;
use crate::logging;
use crate::responder::policy::Policy;
use crate::signer::RsaPadding;
use crate::signer::password::PasswordSource;
use crate::signer::private_file::ReadableByOthers;
use crate::store::crl::Unlisted;
use crate::store::{mysql, sqlite};
use crate::time::Timestamp;

mod answers;
mod check;
mod database;
mod error;
mod file;
mod keys;
mod mapping;
mod secrets;
mod sources;
mod values;
mod words;

pub use error::{ConfigError, ConfigErrors, Place, Warning};
pub use keys::KEYS;
pub(crate) use values::duration;

/// All that the program is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where connections come in.
    pub listen: Listen,
    /// The CAs answered for; at least one.
    pub issuers: Vec<Issuer>,
    /// Answers signed elsewhere.
    pub presigned: Option<Presigned>,
    /// Where answers are kept.
    pub cache: Cache,
    /// How answers are made, unless an issuer has it otherwise.
    pub policy: Policy,
    /// How RSA keys pad.
    pub rsa_padding: RsaPadding,
    /// What one peer, and all of them together, may use.
    pub limits: Limits,
    /// Where log lines go.
    pub log: Log,
    /// What happens when others can read a key or this file.
    pub permissions: ReadableByOthers,
}

/// Where connections come in, beside descriptors handed over by whoever started
/// the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// The TCP port, on each of `addresses`.
    pub port: Option<u16>,
    /// The addresses for `port`; loopback by default.
    pub addresses: Vec<IpAddr>,
    /// A Unix socket.
    pub unix: Option<UnixSocket>,
}

/// A Unix socket that the program makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A file or folder, and where the configuration names it: what is wrong with it is told
/// with that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Where it is.
    pub path: PathBuf,
    /// Where that is said.
    pub place: Place,
}

/// A CA.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The CA's certificate, PEM or DER.
    pub certificate: NamedPath,
    /// Who signs the answers.
    pub signer: Signer,
    /// Who signs after that.
    pub next: Option<Signer>,
    /// Where the statuses of its certificates come from.
    pub database: Database,
    /// How answers about its certificates are made.
    pub policy: Policy,
}

/// A key that signs answers.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The key.
    pub key: NamedPath,
    /// What opens the key, where it is encrypted or on a token.
    pub key_password: Option<PasswordSource>,
    /// Its certificate, where that is not the CA's own.
    pub certificate: Option<NamedPath>,
    /// When it takes over; none, in time before its predecessor ends.
    pub from: Option<Timestamp>,
}

/// Answers signed elsewhere, by an offline root for example.
#[derive(Clone, Debug)]
pub struct Presigned {
    /// The folder of the answers, DER.
    pub folder: NamedPath,
    /// The certificates of the CAs that have signed them, PEM.
    pub ca: NamedPath,
}

/// Where statuses come from.
#[derive(Clone, Debug)]
pub enum Database {
    /// A MySQL or MariaDB server.
    Mysql(mysql::Options),
    /// A table in a file.
    Sqlite(sqlite::Options),
    /// An `index.txt` of OpenSSL.
    Index(PathBuf),
    /// A CRL.
    Crl(PathBuf, Unlisted),
}

/// Where answers are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The folder; none, nothing is kept on disk.
    pub folder: Option<PathBuf>,
    /// When an answer gets its file there.
    pub files: Files,
    /// The most bytes of answers in memory.
    pub memory: u64,
}

/// What one peer, and all of them together, may use.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub target: logging::Target,
    /// From which level on.
    pub level: log::LevelFilter,
}

impl Config {
    /// Leaves as they were at the start what a reload does not change; the names of what was
    /// to be otherwise.
    pub fn keep_what_takes_a_restart(&mut self, start: &Self) -> Vec<&'static str> {
        let changed = [
            ("port or [listen]", self.listen != start.listen),
            ("[limits]", self.limits != start.limits),
            ("[log]", self.log != start.log),
        ];
        self.listen = start.listen.clone();
        self.limits = start.limits.clone();
        self.log = start.log;
        changed.into_iter().filter_map(|(name, is_changed)| is_changed.then_some(name)).collect()
    }
}

impl Listen {
    /// What `port` is opened on where no addresses are given.
    fn loopback() -> Vec<IpAddr> {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 128,
            connections: 4_096,
            request_bytes: 3 << 20,
            read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            signing_threads: thread::available_parallelism().map_or(1, usize::from),
            signing_queue: 64,
        }
    }
}

/// The file of the earlier responder, relative to the working directory.
pub const IN_WORKING_FOLDER: &str = "config.toml";

/// The file that is read when none is named: `config.toml` in the working
/// directory, else `/etc/ocsp-fcgi/config.toml`.
///
/// # Errors
///
/// Neither exists.
pub fn search() -> Result<PathBuf, ConfigErrors> {
    search_in(Path::new(IN_WORKING_FOLDER), Path::new("/etc/ocsp-fcgi/config.toml"))
}

fn search_in(first: &Path, second: &Path) -> Result<PathBuf, ConfigErrors> {
    // One that cannot be looked at is taken, so that the message is about it; but not in a
    // working directory that this user may not enter, as root's where `runuser` has begun.
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let in_first = first.try_exists().unwrap_or_else(|error| !is_denied(&error));
    let in_second = || second.try_exists().unwrap_or(true);
    let found = if in_first { Some(first) } else { in_second().then_some(second) };
    found.map(Path::to_owned).ok_or_else(|| {
        let problem = format!(
            "no such file in the working directory, and no {}, wanted one of the two or --config FILE",
            second.display()
        );
        ConfigErrors::of_file(first, problem)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_file_that_exists_is_read_and_both_are_named_when_none_does() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first.toml", "second.toml"].map(|name| folder.path().join(name));
        let message = search_in(&first, &second).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: no such file", first.display())), "{message}");
        assert!(message.contains(&format!("no {}", second.display())), "{message}");
        fs::write(&second, "").unwrap();
        assert_eq!(search_in(&first, &second).unwrap(), second);
        fs::write(&first, "").unwrap();
        assert_eq!(search_in(&first, &second).unwrap(), first);
    }
}
