//! GnuTLS's `ocsptool`, as a client and as a reader of kept answers.

use std::process::Command;

use crate::report::Report;
use crate::support::run as run_program;
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let version = ocsptool(&worlds[0], &["--version"]);
    report.version(version.lines().next().unwrap());
    for world in worlds {
        for certificate in CERTIFICATES {
            questions(report, world, certificate);
        }
        readings(report, world);
    }
}

fn questions(report: &mut Report, world: &World, certificate: &Certificate) {
    let url = world.responder.url();
    let (ask, file) = (format!("--ask={url}/"), certificate.file());
    let status = status_lines(certificate);
    for nonce in ["--nonce", "--no-nonce"] {
        if nonce == "--nonce" && !world.echoes() {
            continue; // It ends without a word where its nonce does not come back.
        }
        let question = ["--load-issuer", "ca.crt", "--load-cert", &file, nonce, &ask];
        let said = ocsptool(world, &[&question[..], &["--outfile", "answer.der"]].concat());
        let mut wanted: Vec<&str> = status.iter().map(String::as_str).collect();
        wanted.push("Verifying OCSP Response: Success.");
        if nonce == "--nonce" {
            wanted.push("\t\tNonce: ");
        }
        let asked = format_args!("{}: ocsptool {question:?}", world.plan.name);
        report.says("--ask, each status, --nonce and --no-nonce", asked, &said, &wanted);
    }
}

/// An answer in a file, checked against the CA and against the signer.
fn readings(report: &mut Report, world: &World) {
    let url = world.responder.url();
    let question = ["--load-issuer", "ca.crt", "--load-cert", "keyCompromise.crt", "--no-nonce"];
    ocsptool(
        world,
        &[&question[..], &[&format!("--ask={url}"), "--outfile", "answer.der"]].concat(),
    );
    let signer = world.signer();
    let by_signer = ["--load-signer", signer.to_str().unwrap()];
    // It looks for a signer that the answer does not bring along by its name only.
    let found = world.is_delegated() || world.plan.answers.contains("name");
    let by_trust = found.then_some(["--load-trust", "ca.crt"]);
    for how in [Some(by_signer), by_trust].into_iter().flatten() {
        let read = ["--verify-response", "--load-response", "answer.der"];
        let said = ocsptool(world, &[&read[..], &how].concat());
        let wanted = ["Certificate Status: revoked", "Verifying OCSP Response: Success."];
        let asked = format_args!("{}: {how:?}", world.plan.name);
        report.says("--verify-response, --load-signer and --load-trust", asked, &said, &wanted);
    }
}

fn status_lines(certificate: &Certificate) -> Vec<String> {
    match certificate.status {
        Status::Good => vec!["Certificate Status: good".to_owned()],
        Status::Unlisted => vec!["Certificate Status: unknown".to_owned()],
        Status::Revoked(_) => vec![
            "Certificate Status: revoked".to_owned(),
            "Revocation time: Fri Jan 02 03:04:05 UTC 2026".to_owned(),
        ],
    }
}

fn ocsptool(world: &World, arguments: &[&str]) -> String {
    let mut command = Command::new("ocsptool");
    let output =
        run_program(command.current_dir(world.site.folder.path()).args(arguments), "gnutls-bin");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
