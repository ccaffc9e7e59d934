//! Where the socket comes from: handed over by spawn-fcgi or systemd, or made by itself.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocsp_fcgi::demo::KeyKind;

use super::{Ended, cgi_fcgi};
use crate::support::fastcgi::Client;
use crate::support::ocsp::{Answer, MALFORMED};
use crate::support::site::{PROGRAM, Running, Site};
use crate::support::{eventually, free_port, run};

// rule: FCG-4
#[test]
fn spawn_fcgi_hands_over_its_socket_on_descriptor_0() {
    let site = Site::with_certificates(KeyKind::P256);
    // The configured port is for others: spawn-fcgi may start several processes.
    let config = site.configure(&format!("port = {}\n", free_port()));
    let tcp = free_port().to_string();
    let unix = site.path("socket").into_os_string().into_string().unwrap();
    for (place, at) in [
        (vec!["-a", "127.0.0.1", "-p", &tcp], format!("127.0.0.1:{tcp}")),
        (vec!["-s", &unix, "-M", "0600", "-F", "2"], unix.clone()),
    ] {
        let mut command = Command::new("spawn-fcgi");
        command.args(&place).args(["-P"]).arg(site.path("pids"));
        command.args(["--", PROGRAM]).env("OCSP_FCGI_CONFIG", &config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(
            command.stdin(Stdio::null()).status().expect("apt-get install spawn-fcgi").success()
        );
        let pids = fs::read_to_string(site.path("pids")).unwrap();
        let started = Started(pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect());
        for (serial, wanted) in [("0a1b", "good"), ("ff02", "revoked"), ("0c03", "unknown")] {
            let answer = cgi_fcgi(&at, &site.about(serial).der());
            assert!(Answer::read(&answer).statuses()[0].starts_with(wanted), "{at}");
        }
        assert!(!started.0.is_empty());
    }
}

// rule: FCG-4
#[test]
fn systemd_hands_over_sockets_in_listen_fds() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(""); // no port: only what is handed over
    let (tcp, unix) = (free_port(), site.path("socket"));
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen=127.0.0.1:{tcp}")).arg("--listen").arg(&unix);
    command.arg(format!("--setenv=OCSP_FCGI_CONFIG={}", config.display()));
    command.arg(PROGRAM).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ended = Ended(command.spawn().expect("apt-get install systemd"));
    eventually("the socket is there", || UnixStream::connect(&unix).ok());
    eventually("the port is there", || TcpStream::connect(("127.0.0.1", tcp)).ok());
    let der = site.about("0a1b").der();
    assert_eq!(Answer::read(&Client::unix(&unix).post(&der).body).statuses(), ["good"]);
    let mut client = Client::tcp(([127, 0, 0, 1], tcp).into());
    assert_eq!(Answer::read(&client.post(&der).body).statuses(), ["good"]);
}

// rule: FCG-4
#[test]
fn a_listening_socket_on_descriptor_0_is_served_even_where_the_environment_says_cgi() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure("");
    let listener = UnixListener::bind(site.path("socket")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.env("OCSP_FCGI_CONFIG", &config).env("GATEWAY_INTERFACE", "CGI/1.1");
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    let _ended = Ended(command.spawn().unwrap());
    let answer = cgi_fcgi(site.path("socket").to_str().unwrap(), &site.about("0a1b").der());
    assert_eq!(Answer::read(&answer).statuses(), ["good"]);
}

// rule: FCG-4
#[test]
fn an_own_unix_socket_has_the_owner_the_group_and_the_mode_of_the_configuration() {
    let site = Site::with_certificates(KeyKind::P256);
    let own = fs::metadata(site.folder.path()).unwrap();
    // Only root may give files away.
    let (owner, group) = if own.uid() == 0 { (4711, 4712) } else { (own.uid(), own.gid()) };
    let port = free_port();
    let config = site.configure(&format!(
        "port = {port}\n[listen]\nunix = \"s.sock\"\nunix_owner = \"{owner}\"\n\
         unix_group = \"{group}\"\nunix_mode = \"0620\"\n"
    ));
    let responder = Running::start(&config, port);
    let path = site.path("s.sock");
    // The port is opened first.
    let metadata = eventually("the socket", || fs::metadata(&path).ok());
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (owner, group, 0o620));
    let answer = Client::unix(&path).post(&site.about("0a1b").der());
    assert_eq!(Answer::read(&answer.body).statuses(), ["good"]);
    // A second one does not take it away, and one that was killed is replaced.
    let other = site.write_config(
        "itcert = \"ca.crt\"\nitkey = \"ca.key\"\n[listen]\nunix = \"s.sock\"\n\
         [database]\nsqlite = \"certs.db\"\n",
    );
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--until-eof", "--config"]).arg(&other);
    let output = run(&mut command, "ocsp-fcgi");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("another program is listening there"), "{stderr}");
    responder.signal(Signal::SIGKILL);
    drop(responder);
    let mut again = Command::new(PROGRAM);
    again.args(["serve", "--config"]).arg(&other).stdin(Stdio::null()).stderr(Stdio::null());
    let again = Ended(again.spawn().unwrap());
    eventually("the socket is served again", || {
        std::os::unix::net::UnixStream::connect(&path).ok()
    });
    assert_eq!(Client::unix(&path).post(b"").body, MALFORMED);
    again.stop();
    assert!(!path.exists(), "left behind");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let site = Site::with_certificates(KeyKind::P256);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = site.configure(&format!("port = {port}\n"));
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--until-eof", "--config"]).arg(&config);
    let output = run(&mut command, "ocsp-fcgi");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("listening: 127.0.0.1:{port}: ")), "{stderr}");
}

/// Processes that are none of our children, ended on drop.
struct Started(Vec<i32>);

impl Drop for Started {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGTERM);
        }
        let gone = |pid: &i32| !Path::new(&format!("/proc/{pid}/exe")).exists();
        eventually("they end", || self.0.iter().all(gone).then_some(()));
    }
}
