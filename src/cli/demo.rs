//! `demo`: a throwaway CA, and the whole way of a question on real parts: SQLite,
//! this program's own listener, and OpenSSL's client.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::say;
use crate::demo::{Identity, KeyKind, Purpose, ThrowawayCa, write_private};
use crate::serial::Serial;
use crate::status::{CertStatus, RevocationReason};
use crate::store::ledger::SqliteLedger;
use crate::time::{Clock, SystemClock, Timestamp};

#[derive(clap::Args)]
pub struct Arguments {
    /// Leave the responder running, with the commands to try, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Where the files go: an empty folder or a demo's, kept afterwards [default: a temporary
    /// one, removed]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The TCP port [default: a free one]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let temporary;
    let folder = match &arguments.folder {
        Some(folder) => {
            make(folder).with_context(|| folder.display().to_string())?;
            folder.as_path()
        }
        None => {
            temporary = tempfile::Builder::new().prefix("ocsp-fcgi-demo-").tempdir()?;
            temporary.path()
        }
    };
    // From here on, so that whenever one comes the responder and the folder go, too.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let port = arguments.port.map_or_else(free_port, Ok)?;
    let (valid, revoked) = set_up(folder, port)?;
    let _responder = Responder::start(folder, port)?;
    say(format_args!("\n3. The responder listens on port {port}, for HTTP and FastCGI alike."));
    say(format_args!("\n4. OpenSSL's client asks:\n"));
    let wanted = [("valid", "good"), ("revoked", "revoked"), ("unlisted", "unknown")];
    let mut all_right = true;
    for (name, status) in wanted {
        all_right &= ask(folder, port, name, status)?;
    }
    say(format_args!(
        "\nserials: valid 0x{valid}, revoked 0x{revoked}; the cached answers are in {}/cache",
        folder.display()
    ));
    if !all_right {
        bail!("the demo did not end as it should; please report it with the output above");
    }
    say(format_args!(
        "All three answers are as they should be, and OpenSSL verified their signatures."
    ));
    if arguments.keep {
        show_commands(folder, port, &revoked);
        signals.forever().next();
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the folder, or takes one that is empty or a demo's: the names of its files are those
/// that a real CA's may have.
fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let is_a_demos =
        || fs::read(folder.join(CONFIGURATION)).is_ok_and(|text| text.starts_with(MARK.as_bytes()));
    if fs::read_dir(folder)?.next().is_some() && !is_a_demos() {
        bail!("holds what is not a demo's, wanted an empty folder, or none");
    }
    Ok(())
}

/// Makes the configuration, the CA, the certificates and the table.
fn set_up(folder: &Path, port: u16) -> Result<(Serial, Serial)> {
    say(format_args!("1. A throwaway CA with three certificates, in {}", folder.display()));
    // First: it tells what the folder is for.
    write_private(&folder.join(CONFIGURATION), configuration(port).as_bytes())?;
    let now = SystemClock.now();
    let ca = ThrowawayCa::new("ocsp-fcgi demo CA", KeyKind::Rsa2048, now)?;
    ca.identity.write(folder, "ca")?;
    let serial = |octets: [u8; 8]| Serial::from_be_bytes(&octets);
    let valid = serial([0x5a, 0x11, 0xd0, 1, 2, 3, 4, 5])?;
    let revoked = serial([0xbe, 0xef, 0xd0, 1, 2, 3, 4, 5])?;
    let unlisted = serial([0x0d, 0xd0, 0, 1, 2, 3, 4, 5])?;
    let issue = |name: &str, serial: &Serial| -> Result<Identity> {
        let identity =
            ca.issue(&format!("{name}.example"), serial, (Purpose::Leaf, KeyKind::P256), 365)?;
        identity.write_certificate(&folder.join(format!("{name}.crt")))?;
        Ok(identity)
    };
    let (listed, taken_back) = (issue("valid", &valid)?, issue("revoked", &revoked)?);
    issue("unlisted", &unlisted)?;

    say(format_args!(
        "2. An SQLite table with two of them, certs.db, and a configuration, config.toml"
    ));
    let ledger = SqliteLedger::new(folder.join("certs.db"), "list_certs");
    ledger.create_table()?;
    let time = Timestamp::from_unix(now.unix() - 1_800);
    let reason = Some(RevocationReason::KeyCompromise);
    let was_revoked = CertStatus::Revoked { time, reason };
    let rows = [(&valid, CertStatus::Good, listed), (&revoked, was_revoked, taken_back)];
    for (serial, status, identity) in rows {
        let pem = String::from_utf8(identity.certificate.to_pem()?)?;
        ledger.write(serial, status, &pem)?;
    }
    Ok((valid, revoked))
}

fn configuration(port: u16) -> String {
    format!(
        "{MARK}\n\
         port = {port}\n\
         cachedays = 3\n\
         cachefolder = \"cache\"\n\
         itcert = \"ca.crt\"\n\
         itkey = \"ca.key\"\n\
         \n\
         [database]\n\
         sqlite = \"certs.db\"\n\
         \n\
         [log]\n\
         target = \"stderr\"\n"
    )
}

/// Asks about one certificate with `openssl ocsp`; whether the verdict is `status`.
fn ask(folder: &Path, port: u16, name: &str, status: &str) -> Result<bool> {
    let certificate = format!("{name}.crt");
    let url = format!("http://localhost:{port}");
    let arguments = [
        "ocsp",
        "-no_nonce",
        "-issuer",
        "ca.crt",
        "-cert",
        &certificate,
        "-CAfile",
        "ca.crt",
        "-url",
        &url,
    ];
    say(format_args!("   $ openssl {}", arguments.join(" ")));
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("openssl: the demo asks with it; on Debian: apt-get install openssl")?;
    let printed = [&output.stdout[..], &output.stderr[..]].concat();
    let printed = String::from_utf8_lossy(&printed);
    for line in printed.lines() {
        say(format_args!("     {line}"));
    }
    let verified = printed.lines().any(|line| line == "Response verify OK");
    let said = printed.lines().any(|line| line == format!("{certificate}: {status}"));
    Ok(verified && said)
}

fn show_commands(folder: &Path, port: u16, revoked: &Serial) {
    let folder = folder.display();
    say(format_args!(
        "\nThe responder goes on until Ctrl-C. In another terminal:\n\
         \n\
         cd {folder}\n\
         openssl ocsp -issuer ca.crt -cert valid.crt -CAfile ca.crt -url http://localhost:{port} -resp_text\n\
         openssl ocsp -sha256 -issuer ca.crt -cert revoked.crt -CAfile ca.crt -url http://localhost:{port}\n\
         curl -si http://localhost:{port}/$(openssl ocsp -no_nonce -issuer ca.crt -cert valid.crt -reqout - | base64 -w0 | sed 's/+/%2B/g; s,/,%2F,g; s/=/%3D/g') | head -9\n\
         \n\
         Take the revocation back, and within ten seconds the answer is `good`:\n\
         \n\
         sqlite3 certs.db \"UPDATE list_certs SET status='Valid', revocation_time=NULL, revocation_reason=NULL WHERE cert_num='0x{revoked}'\""
    ));
}

/// This program's own `serve`. It ends with the demo, however that ends: it reads
/// from a pipe whose other end is held here.
struct Responder(Child);

impl Responder {
    fn start(folder: &Path, port: u16) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args(["serve", "--until-eof", "--config", CONFIGURATION])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no stderr")?;
        let started = Self(child);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                say(format_args!("   {line}"));
            }
        });
        started.wait_for_listener(port)
    }

    fn wait_for_listener(mut self, port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                bail!("the responder ended: {status}");
            }
            if Instant::now() > until {
                bail!("the responder does not listen on port {port}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

const CONFIGURATION: &str = "config.toml";

/// How its configuration begins, by which a folder is known again.
const MARK: &str = "# Of `ocsp-fcgi demo`, which writes over it.";
