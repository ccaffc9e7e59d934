//! NSS: `ocspclnt`, and `vfychain` with its PKIX library, as Firefox's ancestors
//! asked. Each world has a certificate database of its own.

use std::fs;
use std::process::Command;

use crate::report::Report;
use crate::support::run as run_program;
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let mut dpkg = Command::new("dpkg-query");
    let version = run_program(dpkg.args(["-W", "-f", "${Version}", "libnss3-tools"]), "dpkg");
    report.version(&format!("NSS {}", String::from_utf8_lossy(&version.stdout)));
    for world in worlds {
        let said = database(world);
        if world.is_edwards() {
            // It verifies no such signatures: noted, so that a later NSS shows. 3.87 does
            // not take the CA; 3.110 does, and calls the signature on it invalid.
            let said = said + &vfychain_says(world, "good.crt");
            let refused =
                ["SEC_ERROR_ADDING_CERT", "CERT 1. ca [Certificate Authority]:\n  ERROR -8182"];
            let is_refused = refused.iter().any(|words| said.contains(words));
            report.holds("Ed25519: NSS verifies none", world.plan.name, is_refused, || said);
            continue;
        }
        for certificate in CERTIFICATES {
            let file = certificate.file();
            ocspclnt(report, world, certificate, &["-S", &file, "-a"]);
            let url = format!("{}/ocsp", world.responder.url());
            ocspclnt(report, world, certificate, &["-S", &file, "-a", "-l", &url, "-t", "ca"]);
            vfychain(report, world, certificate);
        }
    }
}

fn ocspclnt(report: &mut Report, world: &World, certificate: &Certificate, arguments: &[&str]) {
    let said = nss(world, "ocspclnt", arguments);
    let wanted = match certificate.status {
        Status::Good => "succeeded.",
        Status::Revoked(_) => "Peer's Certificate has been revoked.",
        Status::Unlisted => "The OCSP server has no status for the certificate.",
    };
    let asked = format_args!("{}: {arguments:?}", world.plan.name);
    report.says("ocspclnt -S, each status, URL of the certificate and -l", asked, &said, &[wanted]);
}

/// By GET. It says of `unknown`, too, that the certificate is revoked.
fn vfychain(report: &mut Report, world: &World, certificate: &Certificate) {
    let file = certificate.file();
    let said = vfychain_says(world, &file);
    let wanted = match certificate.status {
        Status::Good => "Chain is good!",
        _ => "Peer's Certificate has been revoked.",
    };
    let asked = format_args!("{}: {file}", world.plan.name);
    report.says("vfychain -pp -m ocsp, each status", asked, &said, &[wanted]);
}

fn vfychain_says(world: &World, file: &str) -> String {
    let revocation = ["-g", "leaf", "-m", "ocsp", "-s", "requireInfo", "-s", "failIfNoInfo"];
    let arguments = [&["-pp", "-u", "1", "-d", "sql:.netscape"], &revocation[..], &["-a", file]];
    nss(world, "vfychain", &arguments.concat())
}

/// What `certutil` says to the CA's certificate.
fn database(world: &World) -> String {
    // ocspclnt has an option for the folder, and does not heed it.
    fs::create_dir_all(world.site.path(".netscape")).unwrap();
    nss(world, "certutil", &["-N", "-d", "sql:.netscape", "--empty-password"]);
    let add = ["-A", "-d", "sql:.netscape", "-n", "ca", "-t", "CT,C,C", "-a", "-i", "ca.crt"];
    nss(world, "certutil", &add)
}

fn nss(world: &World, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let folder = world.site.folder.path();
    command.current_dir(folder).env("HOME", folder).args(arguments);
    let output = run_program(&mut command, "libnss3-tools");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
