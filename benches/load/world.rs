//! What is measured: a CA, a MariaDB table with many rows, questions about each, the
//! responder.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mysql::prelude::Queryable;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::serial::Serial;
use openssl::sha::sha1;

use crate::support::mariadb::{Database, MariaDb};
use crate::support::ocsp::{CertId, Request};
use crate::support::site::{Running, Site};
use crate::support::{free_port, nginx};

/// A server with memory for the largest table.
pub fn database_server() -> MariaDb {
    MariaDb::start_with(&["--innodb-buffer-pool-size=2G", "--innodb-log-file-size=256M"])
}

/// A table of so many rows, one in a hundred of them revoked.
pub fn fill(database: &Database<'_>, rows: usize) {
    // In the order of the key, which is as random as real serial numbers are; in parts
    // that take seconds each. A certificate takes some 1,200 octets as PEM.
    let parts = rows.div_ceil(ROWS_AT_ONCE);
    let mut root = database.patient_root(Duration::from_secs(600)); // each looks at all rows
    for part in 0..parts {
        eprint!("\r\x1b[Kfilling a table of {rows} rows ({} of {parts})", part + 1);
        let filled = root.query_drop(format!(
            "INSERT INTO list_certs (cert_num, cert, status, revocation_time, revocation_reason)
             SELECT CONCAT('0x4', SUBSTR(SHA1(seq), 1, 39)) AS name, REPEAT('-', 1200),
                 IF(seq % 100 = 0, 'Revoked', 'Valid'),
                 IF(seq % 100 = 0, '2026-01-02 03:04:05', NULL),
                 IF(seq % 100 = 0, 'superseded', NULL)
             FROM seq_1_to_{rows}
             WHERE CONV(SUBSTR(SHA1(seq), 1, 4), 16, 10) * {parts} DIV 65536 = {part}
             ORDER BY name"
        ));
        filled.unwrap_or_else(|error| panic!("filling a table of {rows} rows: {error}"));
    }
    eprint!("\r\x1b[K");
}

/// The serial number of a row, counted from 1: 20 octets.
pub fn serial(number: usize) -> Serial {
    let digits: String =
        sha1(number.to_string().as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect();
    Serial::from_hex(&format!("4{}", &digits[..39])).unwrap()
}

/// A CA whose certificates are in a table.
pub struct World<'d> {
    pub site: Site,
    pub database: &'d Database<'d>,
    /// Of any of them.
    cert_id: CertId,
    /// How many cache folders there have been.
    caches: Cell<usize>,
}

impl<'d> World<'d> {
    pub fn new(kind: KeyKind, database: &'d Database<'d>) -> Self {
        let site = Site::new(kind);
        let cert_id = CertId::new(&site.ca.identity.certificate, "00");
        Self { site, database, cert_id, caches: Cell::default() }
    }

    /// A request about the row of this number, by SHA-1 and without a nonce.
    pub fn question(&self, number: usize) -> Vec<u8> {
        self.about(number).der()
    }

    /// The same with a nonce of 16 octets, of which no two are alike.
    pub fn question_with_nonce(&self, number: usize, nonce: usize) -> Vec<u8> {
        let octets = &sha1(format!("nonce {nonce}").as_bytes())[..16];
        self.about(number).with_nonce(octets).der()
    }

    fn about(&self, number: usize) -> Request {
        let serial = serial(number).as_bytes().to_vec();
        Request::about(&CertId { serial, ..self.cert_id.clone() })
    }

    /// The line of a row in an `index.txt` of OpenSSL.
    pub fn index_line(&self, number: usize) -> String {
        let serial = serial(number).to_hex().to_uppercase();
        format!("V\t361231000000Z\t\t{serial}\tunknown\t/CN={number}\n")
    }

    /// A file that holds a question.
    pub fn body(&self, question: &[u8]) -> PathBuf {
        let file = self.site.path("question");
        fs::write(&file, question).unwrap();
        file
    }

    /// The responder with an empty cache folder, on a port and on the socket that nginx
    /// asks; `more` begins in the table `[cache]`.
    pub fn serve_anew(&self, more: &str) -> Running {
        self.new_cache_folder();
        self.serve(more)
    }

    /// Not the old one, emptied: ext4 without a journal looks long for an inode that was
    /// not freed a moment ago. It is not made.
    pub fn new_cache_folder(&self) -> PathBuf {
        self.caches.set(self.caches.get() + 1);
        self.cache_folder()
    }

    /// The same with the cache folder as it is.
    pub fn serve(&self, more: &str) -> Running {
        let port = free_port();
        Running::start(&self.configure(port, more), port)
    }

    pub fn configure(&self, port: u16, more: &str) -> PathBuf {
        let path = |path: PathBuf| path.display().to_string();
        let text = format!(
            "port = {port}
             {}
             itcert = \"ca.crt\"
             itkey = \"ca.key\"
             cachefolder = {:?}
             [listen]
             unix = {:?}
             unix_mode = \"0666\"
             [cache]
             {more}",
            self.database.keys(),
            path(self.cache_folder()),
            path(nginx::socket(&self.site)),
        );
        self.site.write_config(&text)
    }

    pub fn cache_folder(&self) -> PathBuf {
        self.site.path(&format!("cache-{}", self.caches.get()))
    }
}

/// The versions that the figures belong to.
pub fn versions() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = processor.lines().filter(|line| line.starts_with("processor\t")).count();
    [
        format!("{cores} x {}", model.unwrap_or("unknown processor")),
        format!("ocsp-fcgi {}", env!("CARGO_PKG_VERSION")),
        first_line("openssl", "version"),
        first_line("/usr/sbin/nginx", "-v"),
        first_line("/usr/sbin/mariadbd", "--version"),
    ]
    .join("\n")
}

/// So many rows are written well within the time that a statement may take.
const ROWS_AT_ONCE: usize = 500_000;
