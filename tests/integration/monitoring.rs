//! The command that docs/operation.md gives to monitoring, as printed.

use std::process::Command;

use ocsp_fcgi::demo::{KeyKind, Purpose};
use ocsp_fcgi::status::{CertStatus, RevocationReason};

use crate::support::site::{Running, Site, revoked};
use crate::support::{free_port, run};

#[test]
fn the_command_of_monitoring_fails_unless_the_answer_is_good_and_verified() {
    let site = Site::new(KeyKind::P256);
    site.issue("site", "0a1b", Some(CertStatus::Good));
    // What the CA's own key signs verifies by -issuer alone, whatever is trusted.
    site.delegate(Purpose::OcspSigner);
    let port = free_port();
    let config = site.write_config(&format!(
        "port = {port}\nitcert = \"ca.crt\"\nitkey = \"signer.key\"\nitsigner = \"signer.crt\"\n\
         [database]\nsqlite = \"certs.db\"\n[cache]\nfreshness = \"0s\"\n"
    ));
    let responder = Running::start(&config, port);
    let url = responder.url();
    assert_eq!(status(&site, &url, "ca.crt"), Some(0));
    let other = Site::new(KeyKind::P256);
    std::fs::copy(other.path("ca.crt"), site.path("other.crt")).unwrap();
    assert_eq!(status(&site, &url, "other.crt"), Some(1), "nobody vouches for its signature");
    site.set_status("0a1b", revoked(RevocationReason::Superseded));
    assert_eq!(status(&site, &url, "ca.crt"), Some(1), "it is revoked");
    site.set_status("0a1b", CertStatus::Good);
    assert_eq!(status(&site, &url, "ca.crt"), Some(0));
    drop(responder);
    assert_eq!(status(&site, &url, "ca.crt"), Some(1), "nobody answers");
}

/// The exit status of the command, asked there, with these trusted.
#[track_caller]
fn status(site: &Site, url: &str, trusted: &str) -> Option<i32> {
    let document = include_str!("../../docs/operation.md");
    let (_, section) = document.split_once("\n## Monitoring\n").unwrap();
    let (_, command) = section.split_once("```sh\n").unwrap();
    let (command, _) = command.split_once("```\n").unwrap();
    let mut script = command.to_owned();
    for (place, here) in
        [("http://ocsp.example.com/", url), ("-CAfile ca.crt", &format!("-CAfile {trusted}"))]
    {
        assert_eq!(script.matches(place).count(), 1, "{place}: {script}");
        script = script.replace(place, here);
    }
    let mut sh = Command::new("sh");
    run(sh.args(["-c", &script]).current_dir(site.folder.path()), "dash").status.code()
}
