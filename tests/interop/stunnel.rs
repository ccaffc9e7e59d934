//! stunnel, which asks about the certificates of its clients: at the URL of the
//! certificate, and at a given one with a nonce.

use std::fs;
use std::process::Command;

use crate::report::Report;
use crate::support::web::{WebServer, program};
use crate::support::{free_port, run as run_program};
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let version =
        run_program(Command::new(program("stunnel", "stunnel4")).arg("-version"), "stunnel4");
    let version = String::from_utf8_lossy(&version.stderr).into_owned();
    report.version(version.lines().find(|line| line.starts_with("stunnel ")).unwrap_or_default());
    for world in worlds {
        served(report, world, "OCSPaia", "OCSPaia = yes");
        if world.echoes() {
            let url = format!("OCSP = {}/ocsp\nOCSPnonce = yes", world.responder.url());
            served(report, world, "OCSP and OCSPnonce", &url);
        }
    }
}

/// A good client is let in; no other is.
fn served(report: &mut Report, world: &World, topic: &str, how: &str) {
    let port = free_port();
    let server = start(world, port, how);
    for certificate in CERTIFICATES {
        let said = as_client(world, port, certificate);
        let asked = format_args!("{}: {}", world.plan.name, certificate.file());
        report.says(topic, asked, &said, &[wanted(certificate)]);
    }
    drop(server);
}

fn wanted(certificate: &Certificate) -> &'static str {
    match certificate.status {
        Status::Good => "welcome",
        Status::Revoked(_) => "alert certificate revoked",
        Status::Unlisted => "alert handshake failure",
    }
}

fn start(world: &World, port: u16, how: &str) -> WebServer {
    let text = format!(
        "foreground = yes\npid =\nsyslog = no\noutput = stunnel.log\ndebug = info\n\
         [welcome]\naccept = 127.0.0.1:{port}\nexec = /bin/echo\nexecArgs = echo welcome\n\
         cert = good.crt\nkey = good.key\nCAfile = ca.crt\nverifyChain = yes\n\
         requireCert = yes\n{how}\n"
    );
    let folder = world.site.folder.path().display();
    let paths = ["output = ", "cert = ", "key = ", "CAfile = "];
    let text = paths
        .iter()
        .fold(text, |text, name| text.replace(&format!("\n{name}"), &format!("\n{name}{folder}/")));
    let file = world.site.path("stunnel.conf");
    fs::write(&file, text).unwrap();
    let stunnel = program("stunnel", "stunnel4").display().to_string();
    let log = world.site.path("stunnel.log");
    WebServer::start(vec![stunnel, file.display().to_string()], port, &log)
}

fn as_client(world: &World, port: u16, certificate: &Certificate) -> String {
    let mut command = Command::new("openssl");
    let address = format!("127.0.0.1:{port}");
    let (file, key) = (certificate.file(), format!("{}.key", certificate.name));
    command.args(["s_client", "-connect", &address, "-CAfile", "ca.crt", "-quiet"]);
    command.args(["-cert", &file, "-key", &key]);
    let output = run_program(command.current_dir(world.site.folder.path()), "openssl");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
