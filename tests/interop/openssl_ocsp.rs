//! `openssl ocsp`, with every option that makes a difference to the responder.

use std::fs;
use std::process::{Command, Output};

use ocsp_fcgi::demo::{KeyKind, Purpose};
use ocsp_fcgi::serial::Serial;

use crate::report::Report;
use crate::support::run as run_program;
use crate::support::site::{Running, Site};
use crate::world::{CERTIFICATES, Certificate, Status, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let version = run_program(Command::new("openssl").arg("version"), "openssl");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    report.version(version.split('(').next().unwrap());
    for world in worlds {
        every_status_by_every_hash(report, world);
        serials_and_several(report, world);
        nonces(report, world);
        signed_requests(report, world);
        request_and_response_files(report, world);
        finding_the_signer(report, world);
        spellings_of_the_url(report, world);
        times(report, world);
    }
    partial_chain(report);
}

/// All that `openssl ocsp` prints, run in the folder of the site.
fn ask(world: &World, options: &str) -> String {
    let options = options.replace("URL", &world.responder.url());
    let options = options.replace("PORT", &world.responder.port.to_string());
    openssl_ocsp(&world.site, &options)
}

fn openssl_ocsp(site: &Site, options: &str) -> String {
    let mut command = site.openssl_ocsp();
    let Output { stdout, stderr, .. } =
        run_program(command.args(options.split_whitespace()), "openssl");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

/// The lines that tell of this certificate: `good.crt: good`, and its reason.
fn lines(certificate: &Certificate) -> Vec<String> {
    let file = certificate.file();
    match certificate.status {
        Status::Good => vec![format!("{file}: good")],
        Status::Unlisted => vec![format!("{file}: unknown")],
        Status::Revoked(reason) => {
            let reason = reason.map(|_| format!("Reason: {}\n", openssl_name(certificate.name)));
            let time = "Revocation Time: Jan  2 03:04:05 2026 GMT".to_owned();
            [Some(format!("{file}: revoked")), reason, Some(time)].into_iter().flatten().collect()
        }
    }
}

/// OpenSSL before 3.2 has no words for the two reasons that RFC 5280 added last.
fn openssl_name(reason: &str) -> &str {
    let is_late = ["privilegeWithdrawn", "aACompromise"].contains(&reason);
    // The library's version, which is the program's.
    if is_late && openssl::version::number() < 0x3020_0000 { "(UNKNOWN)" } else { reason }
}

/// Asks, and wants a verified answer that has each of these.
fn verified(report: &mut Report, topic: &str, world: &World, options: &str, wanted: &[&str]) {
    let said = ask(world, options);
    let name = world.plan.name;
    let asked = format_args!("{name}: openssl ocsp {options}");
    report.says(topic, asked, &said, &[&["Response verify OK"], wanted].concat());
}

const COMMON: &str = "-CAfile ca.crt -issuer ca.crt";
const GOOD: &[&str] = &["good.crt: good"];

fn every_status_by_every_hash(report: &mut Report, world: &World) {
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        for certificate in CERTIFICATES {
            let wanted = lines(certificate);
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            // The hash has to stand before the certificates that it is for.
            let file = certificate.file();
            let options = format!("{hash} {COMMON} -cert {file} -url URL");
            verified(report, "each status, each -sha", world, &options, &wanted);
        }
    }
    let said = ask(world, &format!("{COMMON} -cert unspecified.crt -url URL"));
    let asked = format_args!("{}: unspecified", world.plan.name);
    report.holds("unspecified left out", asked, !said.contains("Reason"), || said.clone());
}

fn serials_and_several(report: &mut Report, world: &World) {
    let by_serial = format!("{COMMON} -serial 0x0a1b -serial 49153 -url URL");
    let wanted = ["0x0a1b: good", "49153: revoked"];
    verified(report, "-serial", world, &by_serial, &wanted);
    let several = format!(
        "-sha1 {COMMON} -cert good.crt -sha256 -cert keyCompromise.crt -sha512 -cert unlisted.crt \
         -cert good-long.crt -url URL"
    );
    let wanted = [
        "good.crt: good",
        "keyCompromise.crt: revoked",
        "unlisted.crt: unknown",
        "good-long.crt: good",
    ];
    verified(report, "several -cert", world, &several, &wanted);
}

fn nonces(report: &mut Report, world: &World) {
    let without = format!("{COMMON} -no_nonce -resp_text -cert good.crt -url URL");
    verified(report, "-no_nonce", world, &without, GOOD);
    let said = ask(world, &without);
    let asked = format_args!("{}: {without}", world.plan.name);
    report.holds("-no_nonce", asked, !said.contains("OCSP Nonce"), || said.clone());
    let with = format!("{COMMON} -nonce -resp_text -cert good.crt -url URL");
    let wanted = if world.echoes() { "OCSP Nonce" } else { "WARNING: no nonce in response" };
    verified(report, "-nonce", world, &with, &["good.crt: good", wanted]);
    let said = ask(world, &with);
    report.holds("-nonce", world.plan.name, !said.contains("Nonce Verify error"), || said.clone());
}

fn signed_requests(report: &mut Report, world: &World) {
    for sender in ["good", "keyCompromise"] {
        let options = format!(
            "{COMMON} -signer {sender}.crt -signkey {sender}.key -sign_other ca.crt -cert good.crt \
             -url URL"
        );
        verified(report, "-signer -signkey", world, &options, GOOD);
    }
    let bare =
        format!("{COMMON} -signer good.crt -signkey good.key -no_certs -cert good.crt -url URL");
    verified(report, "-signer -signkey", world, &bare, GOOD);
}

fn request_and_response_files(report: &mut Report, world: &World) {
    ask(world, "-no_nonce -issuer ca.crt -cert good.crt -reqout request.der");
    let sent = format!("{COMMON} -reqin request.der -cert good.crt -respout response.der -url URL");
    verified(report, "-reqin -respout", world, &sent, GOOD);
    let read = format!("{COMMON} -no_nonce -respin response.der -cert good.crt");
    verified(report, "-respin", world, &read, GOOD);
    let foreign = ask(world, "-sha1 -issuer good.crt -serial 1 -url URL");
    report.says("foreign issuer", world.plan.name, &foreign, &["unauthorized"]);
}

fn finding_the_signer(report: &mut Report, world: &World) {
    let signer = world.signer();
    let signer = signer.file_name().unwrap().to_str().unwrap();
    let end = "-cert good.crt -url URL";
    for options in [
        format!("-issuer ca.crt -VAfile {signer} {end}"),
        format!("{COMMON} -no_intern -verify_other {signer} {end}"),
        format!("-issuer ca.crt -no_intern -verify_other {signer} -trust_other {end}"),
        format!("{COMMON} -no_explicit {end}"),
        format!("{COMMON} -no_cert_checks {end}"),
        format!("{COMMON} -partial_chain {end}"),
    ] {
        verified(report, "-VAfile -verify_other -no_intern", world, &options, GOOD);
    }
}

fn spellings_of_the_url(report: &mut Report, world: &World) {
    for options in [
        "-url URL/ocsp",
        "-url URL/a/b/",
        "-host localhost:PORT",
        "-host localhost:PORT -path /ocsp",
        "-host localhost:PORT -path / -header Host=ocsp.example",
        "-url URL -header Host=ocsp.example -header User-Agent=interop",
        "-url http://[::1]:PORT/",
    ] {
        let options = format!("{COMMON} -cert good.crt {options}");
        verified(report, "-url -host -path -header", world, &options, GOOD);
    }
}

fn times(report: &mut Report, world: &World) {
    for options in [
        "-timeout 5",
        // thisUpdate lies in the past by back_date and the age of the kept answer.
        "-status_age 600",
        // One second at least: its clock ticks every few milliseconds, and may be
        // behind the one that gave thisUpdate.
        "-validity_period 1",
        "-validity_period 1 -status_age 600",
    ] {
        let options = format!("{COMMON} {options} -cert good.crt -url URL");
        verified(report, "-timeout -status_age -validity_period", world, &options, GOOD);
        let said = ask(world, &options);
        let asked = format_args!("{}: {options}", world.plan.name);
        let warned = said.contains("WARNING: Status times invalid");
        report.holds("-timeout -status_age -validity_period", asked, !warned, || said.clone());
    }
}

/// A CA below another one, as most CAs are: trusted itself, or through its root.
fn partial_chain(report: &mut Report) {
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let mut site = Site::with_certificates(kind);
        let serial = Serial::from_hex("02").unwrap();
        let intermediate =
            site.ca.issue("Lower CA", &serial, (Purpose::Authority, kind), 300).unwrap();
        site.ca.identity.write_certificate(&site.path("root.crt")).unwrap();
        site.ca.identity = intermediate;
        site.ca.identity.write(site.folder.path(), "ca").unwrap();
        let both = ["root.crt", "ca.crt"].map(|name| fs::read(site.path(name)).unwrap()).concat();
        fs::write(site.path("both.crt"), both).unwrap();
        site.issue("lower", "0a1b", None);
        let responder: Running = site.serve("");
        let url = responder.url();
        for trust in ["-CAfile ca.crt -partial_chain", "-CAfile both.crt", "-VAfile ca.crt"] {
            let options = format!("{trust} -issuer ca.crt -cert lower.crt -url {url}");
            let said = openssl_ocsp(&site, &options);
            let wanted = ["Response verify OK", "lower.crt: good"];
            report.says("-partial_chain", &options, &said, &wanted);
        }
    }
}
