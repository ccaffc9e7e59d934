//! Botan's `ocsp_check`, which takes the responder from the certificate.

use std::path::Path;
use std::process::Command;

use crate::report::Report;
use crate::support::run as run_program;
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    report.version(&botan(Path::new("/"), &["version"]));
    for world in worlds {
        for certificate in CERTIFICATES {
            let wanted = wanted(certificate);
            let said = check(world, certificate);
            let asked = format_args!("{}: {}", world.plan.name, certificate.file());
            report.says("ocsp_check, each status", asked, &said, &[wanted]);
        }
    }
}

fn wanted(certificate: &Certificate) -> &'static str {
    match certificate.status {
        Status::Good => "OCSP check OK",
        Status::Revoked(_) => "OCSP check failed Certificate is revoked",
        Status::Unlisted => "OCSP check failed OCSP bad status",
    }
}

fn check(world: &World, certificate: &Certificate) -> String {
    let arguments = ["ocsp_check", &certificate.file(), "ca.crt"];
    botan(world.site.folder.path(), &arguments)
}

fn botan(folder: &Path, arguments: &[&str]) -> String {
    let output = run_program(Command::new("botan").current_dir(folder).args(arguments), "botan");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
