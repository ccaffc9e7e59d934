//! strongSwan's `pki --verify --online`, which decodes answers itself and takes the
//! responder from the certificate.

use std::process::Command;

use crate::report::Report;
use crate::support::run as run_program;
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let mut dpkg = Command::new("dpkg-query");
    let version = run_program(dpkg.args(["-W", "-f", "${Version}", "strongswan-pki"]), "dpkg");
    report.version(&String::from_utf8_lossy(&version.stdout));
    for world in worlds {
        for certificate in CERTIFICATES {
            let said = verify(world, certificate);
            let asked = format_args!("{}: {}", world.plan.name, certificate.file());
            report.says("pki --verify --online, each status", asked, &said, wanted(certificate));
        }
    }
}

/// It does not believe `unknown`, and looks for a CRL then.
fn wanted(certificate: &Certificate) -> &'static [&'static str] {
    match certificate.status {
        Status::Good => &["ocsp response correctly signed", "certificate status is good"],
        Status::Revoked(_) => &[
            "ocsp response correctly signed",
            "certificate was revoked on Jan 02 03:04:05 UTC 2026",
        ],
        Status::Unlisted => &[
            "ocsp response correctly signed",
            "ocsp response contains no status on our certificate",
            "revocation checking failed",
        ],
    }
}

fn verify(world: &World, certificate: &Certificate) -> String {
    let mut command = Command::new("pki");
    let file = certificate.file();
    command.args(["--verify", "--online", "--cacert", "ca.crt", "--in", &file]);
    let output = run_program(
        command.current_dir(world.site.folder.path()).env("LC_ALL", "C"),
        "strongswan-pki",
    );
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
