//! TLS servers that ask the responder, for what they staple and about the
//! certificates of their clients: nginx and Apache. And TLS clients that look at it:
//! `openssl s_client`, curl, `gnutls-cli`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::support::site::Site;
use crate::support::web::{WEB_USER, WebServer, is_root, program};
use crate::support::{free_port, run as run_program};
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn nginx(report: &mut Report, worlds: &[World]) {
    let version = run_program(Command::new(program("nginx", "nginx")).arg("-v"), "nginx");
    report.version(&String::from_utf8_lossy(&version.stderr));
    for world in worlds {
        let servers = Servers::nginx(world);
        stapled(report, world, servers.good, "good");
        client_certificates(report, world, servers.clients);
        let because =
            &["verify error: certificate revoked", "verify error: certificate status unknown"];
        told_in_log(report, world, "nginx", because);
        // What is not good it does not staple: it says so in its log.
        let log = || fs::read_to_string(world.site.path("tls-nginx.log")).unwrap();
        let wanted = "certificate status \"revoked\" in the OCSP response";
        let told = until(|| {
            handshake(world, servers.revoked);
            log().contains(wanted)
        });
        report.holds("ssl_stapling, revoked: not stapled", world.plan.name, told, log);
    }
}

pub fn apache(report: &mut Report, worlds: &[World]) {
    let version = run_program(Command::new(program("apache2", "apache2")).arg("-v"), "apache2");
    report.version(String::from_utf8_lossy(&version.stdout).lines().next().unwrap());
    for world in worlds {
        let servers = Servers::apache(world);
        stapled(report, world, servers.good, "good");
        stapled(report, world, servers.revoked, "revoked");
        client_certificates(report, world, servers.clients);
        let because = &["certificate status: revoked", "certificate status: unknown"];
        told_in_log(report, world, "apache", because);
    }
}

/// curl and gnutls-cli, at an Apache that staples.
pub fn clients(report: &mut Report, worlds: &[World]) {
    let curl = run_program(Command::new("curl").arg("--version"), "curl");
    let gnutls = run_program(Command::new("gnutls-cli").arg("--version"), "gnutls-bin");
    let first = |octets: &[u8]| String::from_utf8_lossy(octets).lines().next().unwrap().to_owned();
    let curl = first(&curl.stdout);
    let curl = curl.split(" (").next().unwrap();
    report.version(&format!("{curl}, {}", first(&gnutls.stdout)));
    for world in worlds {
        let servers = Servers::apache(world);
        for (port, status) in [(servers.good, "good"), (servers.revoked, "revoked")] {
            until(|| handshake(world, port).contains("OCSP Response Status: successful"));
            let wanted = if status == "good" { "welcome" } else { "(91) " };
            let said = curl_at(world, port, &["--cert-status"]);
            report.says("curl --cert-status", world.plan.name, &said, &[wanted]);
            let said = gnutls_cli(world, port, "--ocsp");
            let wanted = if status == "good" {
                "Status: The certificate is trusted"
            } else {
                "The certificate chain is revoked"
            };
            report.says("gnutls-cli --ocsp", world.plan.name, &said, &[wanted]);
        }
    }
}

/// A TLS server for a world: the ports of its three certificates.
struct Servers {
    _server: WebServer,
    good: u16,
    revoked: u16,
    /// Asks for client certificates.
    clients: u16,
}

impl Servers {
    fn nginx(world: &World) -> Self {
        let [good, revoked, clients] = [(); 3].map(|()| free_port());
        let folder = world.site.folder.path().display();
        // It looks for the signer in the answer and in this chain, nowhere else.
        let ca = fs::read(world.site.path("ca.crt")).unwrap();
        for name in ["good", "keyCompromise"] {
            let leaf = fs::read(world.site.path(&format!("{name}.crt"))).unwrap();
            fs::write(world.site.path(&format!("{name}-chain.crt")), [leaf, ca.clone()].concat())
                .unwrap();
        }
        let server = |port: u16, name: &str, more: &str| {
            format!(
                "server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {folder}/{name}-chain.crt;
                    ssl_certificate_key {folder}/{name}.key;
                    ssl_trusted_certificate {folder}/ca.crt;
                    {more}
                    return 200 welcome;
                }}"
            )
        };
        let stapling = "ssl_stapling on; ssl_stapling_verify on;";
        // The certificate names its responder too; then there has to be a resolver.
        let responder = format!("http://{}/ocsp", world.responder.address());
        let ask = format!(
            "ssl_verify_client on; ssl_client_certificate {folder}/ca.crt; ssl_ocsp leaf;
             ssl_ocsp_responder {responder};"
        );
        let servers = [
            server(good, "good", stapling),
            server(revoked, "keyCompromise", stapling),
            server(clients, "good", &ask),
        ];
        let user = if is_root() { format!("user {WEB_USER};") } else { String::new() };
        let temporary: String = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"]
            .map(|name| format!("{name}_temp_path {folder}/tls-nginx-{name};\n"))
            .concat();
        let text = format!(
            "{user}
             pid {folder}/tls-nginx.pid;
             error_log {folder}/tls-nginx.log info;
             daemon off;
             events {{}}
             http {{ access_log off; {temporary} {} }}",
            servers.concat()
        );
        let nginx = program("nginx", "nginx").display().to_string();
        let server = start(&world.site, "nginx", vec![nginx, "-c".to_owned()], good, &text);
        Self { _server: server, good, revoked, clients }
    }

    fn apache(world: &World) -> Self {
        let [good, revoked, clients] = [(); 3].map(|()| free_port());
        let folder = world.site.folder.path().display();
        fs::write(world.site.path("welcome"), "welcome").unwrap();
        let host = |port: u16, name: &str, more: &str| {
            format!(
                "Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\nSSLEngine on\n\
                 SSLCertificateFile {folder}/{name}.crt\nSSLCertificateKeyFile {folder}/{name}.key\n\
                 SSLCACertificateFile {folder}/ca.crt\n{more}\n</VirtualHost>\n"
            )
        };
        // It asks with a nonce, and refuses an answer without it.
        let nonce = if world.echoes() { "" } else { "SSLOCSPUseRequestNonce off\n" };
        // It looks for the signer in the answer and here, nowhere else.
        let signer = if world.is_delegated() {
            String::new()
        } else {
            format!("SSLOCSPResponderCertificateFile {folder}/ca.crt\n")
        };
        let ask =
            format!("SSLVerifyClient require\nSSLOCSPEnable on\n{nonce}{signer}SSLUseStapling off");
        let hosts = [
            host(good, "good", "SSLUseStapling on"),
            host(revoked, "keyCompromise", "SSLUseStapling on"),
            host(clients, "good", &ask),
        ];
        let modules: String = ["mpm_event", "authz_core", "socache_shmcb", "ssl"]
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .concat();
        let text = format!(
            "ServerRoot {folder}\nServerName localhost\n{modules}DefaultRuntimeDir {folder}\n\
             Mutex file:{folder} default\nPidFile {folder}/tls-apache.pid\n\
             ErrorLog {folder}/tls-apache.log\nLogLevel info\nUser {WEB_USER}\nGroup {WEB_USER}\n\
             DocumentRoot {folder}\nSSLStaplingCache shmcb:{folder}/tls-stapling(128000)\n\
             SSLSessionCache none\n{}",
            hosts.concat()
        );
        let apache = program("apache2", "apache2").display().to_string();
        let arguments = vec![apache, "-DFOREGROUND".to_owned(), "-f".to_owned()];
        let server = start(&world.site, "apache", arguments, good, &text);
        Self { _server: server, good, revoked, clients }
    }
}

/// Starts a web server whose arguments end in its configuration.
fn start(site: &Site, name: &str, mut arguments: Vec<String>, port: u16, text: &str) -> WebServer {
    let file = site.path(&format!("tls-{name}.conf"));
    fs::write(&file, text).unwrap();
    arguments.push(file.display().to_string());
    WebServer::start(arguments, port, &site.path(&format!("tls-{name}.log")))
}

/// The server staples this status before long, and OpenSSL verifies it.
fn stapled(report: &mut Report, world: &World, port: u16, status: &str) {
    let status_line = format!("Cert Status: {status}");
    until(|| handshake(world, port).contains(&status_line));
    let said = handshake(world, port);
    let wanted = ["OCSP Response Status: successful", &status_line, "Verify return code: 0 (ok)"];
    let topic = format!("stapling, {status}: openssl s_client -status");
    report.says(&topic, world.plan.name, &said, &wanted);
    // s_client shows an answer without verifying it; a reader does.
    if status == "good" {
        let said = curl_at(world, port, &["--cert-status"]);
        report.says("stapling, good: curl --cert-status", world.plan.name, &said, &["welcome"]);
    }
}

/// A good client is let in; no other is.
fn client_certificates(report: &mut Report, world: &World, port: u16) {
    for certificate in CERTIFICATES {
        let Certificate { name, status, .. } = certificate;
        let said = as_client(world, port, name);
        let wanted = *status == Status::Good;
        let is_in = said.starts_with("welcome");
        let topic = if wanted {
            "client certificate, good: let in"
        } else {
            "client certificate, others: kept out"
        };
        let asked = format_args!("{}: {name}", world.plan.name);
        report.holds(topic, asked, is_in == wanted, || said.clone());
    }
}

/// They were kept out for what the responder had said.
fn told_in_log(report: &mut Report, world: &World, server: &str, because: &[&str; 2]) {
    let log = fs::read_to_string(world.site.path(&format!("tls-{server}.log"))).unwrap();
    let [revoked, unknown] = because.map(|text| log.matches(text).count());
    let wanted = CERTIFICATES.iter().filter(|one| matches!(one.status, Status::Revoked(_))).count();
    let is_told = revoked >= wanted && unknown >= 1;
    report.holds("client certificate, others: why", world.plan.name, is_told, || log);
}

fn as_client(world: &World, port: u16, name: &str) -> String {
    let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
    curl_at(world, port, &["--cert", &certificate, "--key", &key])
}

fn handshake(world: &World, port: u16) -> String {
    let address = format!("127.0.0.1:{port}");
    let arguments = ["s_client", "-connect", &address, "-servername", "localhost", "-status"];
    let mut command = Command::new("openssl");
    command.args(arguments).args(["-CAfile", "ca.crt"]);
    said(world, &mut command, "openssl")
}

fn curl_at(world: &World, port: u16, options: &[&str]) -> String {
    let url = format!("https://localhost:{port}/welcome");
    let mut command = Command::new("curl");
    command.args(["-4", "-sS", "--max-time", "10", "--cacert", "ca.crt", &url]).args(options);
    said(world, &mut command, "curl")
}

fn gnutls_cli(world: &World, port: u16, option: &str) -> String {
    let port = port.to_string();
    let mut command = Command::new("gnutls-cli");
    command.args(["--x509cafile", "ca.crt", option, "--port", &port, "localhost"]);
    said(world, &mut command, "gnutls-bin")
}

fn said(world: &World, command: &mut Command, package: &str) -> String {
    let output = run_program(command.current_dir(world.site.folder.path()), package);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Tries for some seconds; whether it came true.
fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(8);
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
