//! A site as an operator has it: a CA, a table, a configuration, and the real
//! binary that serves them; and `openssl ocsp` as its client.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocsp_fcgi::demo::{Identity, KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};
use tempfile::TempDir;

use super::ocsp::{CertId, Request};
use super::{eventually, free_port, run};

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ocsp-fcgi");

/// 2026-01-02T03:04:05Z, when certificates of these tests are revoked.
pub const REVOKED_AT: i64 = 1_767_323_045;

/// Revoked at [`REVOKED_AT`].
pub fn revoked(reason: RevocationReason) -> CertStatus {
    CertStatus::Revoked { time: Timestamp::from_unix(REVOKED_AT), reason: Some(reason) }
}

/// A CA with its files in a temporary folder: `ca.crt`, `ca.key`, `certs.db`,
/// `config.toml`, and `NAME.crt` for each certificate issued.
pub struct Site {
    pub folder: TempDir,
    pub ca: ThrowawayCa,
    pub ledger: SqliteLedger,
    kind: KeyKind,
}

/// The binary, serving. Stopped when dropped.
pub struct Running {
    pub child: Child,
    pub port: u16,
}

/// An HTTP response.
pub struct Response {
    pub head: String,
    pub body: Vec<u8>,
}

impl Site {
    /// A CA with a key of this kind, and an empty SQLite table.
    pub fn new(kind: KeyKind) -> Self {
        let folder = TempDir::new().unwrap();
        // Web servers that give up root must be able to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ca = ThrowawayCa::new("Test CA", kind, SystemClock.now()).unwrap();
        ca.identity.write(folder.path(), "ca").unwrap();
        let ledger = SqliteLedger::new(folder.path().join("certs.db"), "list_certs");
        ledger.create_table().unwrap();
        Self { folder, ca, ledger, kind }
    }

    /// With `good.crt` (serial 0x0a1b), `revoked.crt` (0xff02, keyCompromise at
    /// [`REVOKED_AT`]) and `unlisted.crt` (0x0c03, without a row).
    pub fn with_certificates(kind: KeyKind) -> Self {
        let site = Self::new(kind);
        site.issue("good", "0a1b", Some(CertStatus::Good));
        site.issue("revoked", "ff02", Some(revoked(RevocationReason::KeyCompromise)));
        site.issue("unlisted", "0c03", None);
        site
    }

    /// Issues `NAME.crt`, and writes its row when there is a status.
    pub fn issue(&self, name: &str, serial: &str, status: Option<CertStatus>) -> Identity {
        let serial = Serial::from_hex(serial).unwrap();
        let kind = (Purpose::Leaf, KeyKind::P256);
        let identity = self.ca.issue(&format!("{name}.test"), &serial, kind, 365).unwrap();
        identity.write_certificate(&self.path(&format!("{name}.crt"))).unwrap();
        if let Some(status) = status {
            self.set_status(&serial.to_hex(), status);
        }
        identity
    }

    /// Writes the row of a serial.
    pub fn set_status(&self, serial: &str, status: CertStatus) {
        let serial = Serial::from_hex(serial).unwrap();
        self.ledger.write(&serial, status, "PEM").unwrap();
    }

    /// A delegated signer, `signer.crt` and `signer.key`.
    pub fn delegate(&self, purpose: Purpose) -> Identity {
        let serial = Serial::from_hex("d1").unwrap();
        let identity = self.ca.issue("Signer", &serial, (purpose, self.kind), 365).unwrap();
        identity.write(self.folder.path(), "signer").unwrap();
        identity
    }

    /// A question about a certificate of this CA.
    pub fn about(&self, serial: &str) -> Request {
        Request::about(&CertId::new(&self.ca.identity.certificate, serial))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `config.toml`: flat keys for this site, then `more`, which may hold
    /// flat keys at first and tables after them (not `[database]`).
    pub fn configure(&self, more: &str) -> PathBuf {
        let flat =
            "cachedays = 3\ncachefolder = \"cache\"\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n";
        self.write_config(&format!("{flat}{more}\n[database]\nsqlite = \"certs.db\"\n"))
    }

    /// Writes `config.toml`, for its owner only.
    pub fn write_config(&self, text: &str) -> PathBuf {
        let path = self.path("config.toml");
        ocsp_fcgi::demo::write_private(&path, text.as_bytes()).unwrap();
        path
    }

    /// Configures with a free port and `more`, and serves.
    pub fn serve(&self, more: &str) -> Running {
        let port = free_port();
        let config = self.configure(&format!("port = {port}\n{more}"));
        Running::start(&config, port)
    }

    /// One of several processes that serve this site and share its cache folder, with
    /// the log in `beside-NUMBER/serve.log`. `more` begins in the table `[cache]`.
    pub fn serve_beside(&self, number: usize, more: &str) -> Running {
        let folder = self.path(&format!("beside-{number}"));
        fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let config = folder.join("config.toml");
        let text = format!(
            "port = {port}\nitcert = \"../ca.crt\"\nitkey = \"../ca.key\"\n\
             cachefolder = \"../cache\"\n[database]\nsqlite = \"../certs.db\"\n[cache]\n{more}"
        );
        ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
        Running::start(&config, port)
    }

    /// DER of a request about `NAME.crt`, made by `openssl ocsp` with these options.
    pub fn request(&self, name: &str, options: &[&str]) -> Vec<u8> {
        let file = self.path(&format!("request-{name}.der"));
        let mut command = self.openssl_ocsp();
        command.args(options).args(["-issuer", "ca.crt", "-cert", &format!("{name}.crt")]);
        let output = run(command.arg("-reqout").arg(&file), "openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(file).unwrap()
    }

    /// `openssl ocsp` in the folder of the site.
    pub fn openssl_ocsp(&self) -> Command {
        let mut command = Command::new("openssl");
        command.arg("ocsp").current_dir(self.folder.path());
        command
    }

    /// Asks about `NAME.crt` with `openssl ocsp` and the options; all it prints.
    pub fn ask(&self, name: &str, url: &str, options: &[&str]) -> String {
        let mut command = self.openssl_ocsp();
        command.args(options).args(["-CAfile", "ca.crt", "-issuer", "ca.crt", "-url", url]);
        let output = run(command.args(["-cert", &format!("{name}.crt")]), "openssl");
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// What `openssl ocsp` says of an answer, its signature verified.
    pub fn read_answer(&self, name: &str, answer: &[u8]) -> String {
        let file = self.path("answer.der");
        fs::write(&file, answer).unwrap();
        let mut command = self.openssl_ocsp();
        command.args(["-CAfile", "ca.crt", "-issuer", "ca.crt", "-cert", &format!("{name}.crt")]);
        let output =
            run(command.args(["-no_nonce", "-resp_text", "-respin"]).arg(&file), "openssl");
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The three certificates of [`Site::with_certificates`] get their three
    /// verified answers at `url`, with these options of `openssl ocsp`.
    #[track_caller]
    pub fn assert_three_answers(&self, url: &str, options: &[&str]) {
        for (name, wanted) in [
            ("good", "good.crt: good"),
            ("revoked", "revoked.crt: revoked"),
            ("revoked", "Reason: keyCompromise"),
            ("revoked", "Revocation Time: Jan  2 03:04:05 2026 GMT"),
            ("unlisted", "unlisted.crt: unknown"),
        ] {
            let said = self.ask(name, url, options);
            assert!(said.contains(wanted), "{url} {options:?}: wanted {wanted:?} in\n{said}");
            assert!(said.contains("Response verify OK"), "{url} {options:?}:\n{said}");
        }
    }
}

impl Running {
    /// Serves with this configuration, which listens on `port`.
    pub fn start(config: &Path, port: u16) -> Self {
        let child = Command::new(PROGRAM)
            // It ends with this process, however that ends.
            .args(["serve", "--until-eof", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stderr(fs::File::create(config.with_file_name("serve.log")).unwrap())
            .spawn()
            .unwrap();
        let mut running = Self { child, port };
        eventually("the responder listens", || {
            if let Some(status) = running.child.try_wait().unwrap() {
                let log = fs::read_to_string(config.with_file_name("serve.log")).unwrap();
                panic!("the responder ended ({status}):\n{log}");
            }
            TcpStream::connect(running.address()).ok()
        });
        running
    }

    /// Serves with this configuration, and with file systems of its own: see [`mounted`].
    pub fn start_mounted(config: &Path, port: u16, mount: &str) -> Self {
        let mut command = mounted(config, mount, "serve");
        let path = config.with_file_name("serve.log");
        let log = fs::File::create(&path).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("apt-get install util-linux");
        let mut running = Self { child, port };
        let listens = eventually("it listens", || match running.child.try_wait().unwrap() {
            Some(_) => Some(false),
            None => TcpStream::connect(running.address()).ok().map(|_| true),
        });
        let log = fs::read_to_string(path).unwrap();
        assert!(listens, "wanted: root, or namespaces that others may make: {log}");
        running
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Posts DER; the answer's DER.
    pub fn post(&self, der: &[u8]) -> Vec<u8> {
        let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", der.len());
        let response = http(self.address(), &[head.as_bytes(), der].concat());
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
        response.body
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGTERM);
            let _status = self.child.wait();
        }
    }
}

impl Response {
    /// The value of a header field, in any case; the first of several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A CA with certificates, and the responder that serves it.
pub struct Served {
    pub responder: Running,
    pub site: Site,
}

impl Served {
    pub fn new(more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        Self { responder: site.serve(more), site }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.site.path("serve.log")).unwrap()
    }
}

/// A command of the program with this configuration, and with file systems of its own: what
/// `mount`, a line of the shell, makes in the folder of the configuration.
pub fn mounted(config: &Path, mount: &str, subcommand: &str) -> Command {
    let script = format!("{mount} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh", PROGRAM, subcommand]);
    command.arg("--config").arg(config).current_dir(config.parent().unwrap());
    command
}

/// Sends one HTTP request as it is and reads the response to the end of the
/// connection, or of its Content-Length.
pub fn http(address: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    if request.windows(9).any(|window| window == b" HTTP/1.0") {
        let _already_closed = stream.shutdown(Shutdown::Write);
    }
    let mut octets = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(response) = whole(&octets) {
            return response;
        }
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("no whole response: {}", String::from_utf8_lossy(&octets)),
            count => octets.extend(&buffer[..count]),
        }
    }
}

fn whole(octets: &[u8]) -> Option<Response> {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(octets[..end].to_vec()).unwrap();
    let body = octets[end..].to_vec();
    let response = Response { head, body };
    let length: usize = response.field("Content-Length").map_or(0, |text| text.parse().unwrap());
    (response.body.len() >= length).then_some(response)
}

/// Longer than an answer takes on a machine that does much else; shorter than a worker of
/// `[limits] read_timeout = "60s"` waits.
const PATIENCE: Duration = Duration::from_secs(40);
