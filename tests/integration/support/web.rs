//! What the tests of nginx and Apache share: a server that ends with its test, a relay
//! that counts connections, a backend that is none of ours.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::Timestamp;

use super::client::Client;
use super::site::REVOKED_AT;

/// The user that Debian's web servers give up root for.
pub const WEB_USER: &str = "www-data";

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program that Debian keeps in /usr/sbin, where not everybody looks.
#[track_caller]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|at| at.exists());
    found.unwrap_or_else(|| panic!("no {name} here; on Debian: apt-get install {package}"))
}

/// A shipped file with each of these texts replaced; all of them must be in it.
#[track_caller]
pub fn shipped(name: &str, replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from:?} is not in examples/{name}");
        text = text.replace(from, to);
    }
    text
}

/// A web server in the foreground below a shell, which ends it when this is dropped,
/// or when the test is killed: either closes the shell's standard input.
pub struct WebServer {
    pub address: SocketAddr,
    shell: Child,
}

impl WebServer {
    /// Waits until it listens; `log` is shown when it does not.
    pub fn start(mut server: Vec<String>, port: u16, log: &Path) -> Self {
        // In a process group of its own: Apache's mpm_prefork ends by a signal to all of
        // the group, which interrupts the last `wait`.
        let script = "\"$@\" & server=$!; read -r nothing; trap : TERM; kill $server
            while kill -0 $server 2>/dev/null; do wait $server; done";
        server.splice(0..0, ["-c".to_owned(), script.to_owned(), "sh".to_owned()]);
        let shell = Command::new("sh")
            .process_group(0)
            .args(server)
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(log.with_extension("stderr")).unwrap())
            .spawn()
            .unwrap();
        let web_server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), shell };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(web_server.address).is_err() {
            if Instant::now() > until {
                let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
                panic!("no web server:\n{}{}", read(&log.with_extension("stderr")), read(log));
            }
            thread::sleep(Duration::from_millis(10));
        }
        web_server
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The shell that the server is a child of.
    #[allow(dead_code, reason = "for the benchmarks")]
    pub fn pid(&self) -> u32 {
        self.shell.id()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _status = self.shell.wait();
    }
}

/// The status of a certificate that is revoked without a reason.
pub fn revoked() -> CertStatus {
    CertStatus::Revoked { time: Timestamp::from_unix(REVOKED_AT), reason: None }
}

/// Numbers that look random, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Passes connections on from one Unix socket to another, and counts them.
pub struct Relay {
    count: Arc<AtomicUsize>,
}

impl Relay {
    pub fn start(from: &Path, to: &Path) -> Self {
        let listener = UnixListener::bind(from).unwrap();
        open_to_the_web_server(from);
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, to) = (Arc::clone(&count), to.to_owned());
        thread::spawn(move || {
            for near in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (near, far) = (near.unwrap(), UnixStream::connect(&to).unwrap());
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || pass_on(near, far));
                thread::spawn(move || pass_on(far_too, near_too));
            }
        });
        Self { count }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream) {
    let _ended = std::io::copy(&mut from, &mut to);
    let _ended_too = to.shutdown(std::net::Shutdown::Both);
}

/// A FastCGI application at `socket` that answers every request with these fields and
/// a body that is different each time.
pub fn serve_anything(socket: &Path, fields: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    open_to_the_web_server(socket);
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            let mut connection = connection.unwrap();
            let mut header = [0; 8];
            // To the end of its standard input, an empty record of type 5.
            while connection.read_exact(&mut header).is_ok() && (header[1], header[5]) != (5, 0) {
                let length = u64::from(u16::from_be_bytes([header[4], header[5]]));
                let rest = length + u64::from(header[6]);
                std::io::copy(&mut (&connection).take(rest), &mut std::io::sink()).unwrap();
            }
            let output = format!("{fields}\r\n{number:04}");
            let length = u8::try_from(output.len()).unwrap();
            let records = [&[1, 6, 0, 1, 0, length, 0, 0], output.as_bytes(), END_OF_REQUEST];
            let _gone = connection.write_all(&records.concat());
        }
    });
}

const END_OF_REQUEST: &[u8] = &[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Lets the user of the web server connect to a socket.
pub fn open_to_the_web_server(socket: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).unwrap();
}
