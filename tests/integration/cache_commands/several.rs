//! `cache warm` for several CAs.

use ocsp_fcgi::demo::KeyKind;

use super::{LOG, cache, first_line, number, text};
use crate::support::authority::OpensslCa;
use crate::support::site::Site;

#[test]
fn a_ca_that_cannot_be_warmed_keeps_none_of_the_others_from_it() {
    let site = Site::with_certificates(KeyKind::P256);
    let other = OpensslCa::new("/CN=Other CA");
    let folder = other.folder.path().display();
    let config = site.write_config(&format!(
        "cachefolder = \"cache\"\n[database]\nsqlite = \"certs.db\"\n{LOG}\
         [[issuer]]\ncertificate = \"{folder}/ca.crt\"\nkey = \"{folder}/ca.key\"\n\
         crl = \"{folder}/ca.crl\"\n\
         [[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n"
    ));
    let stopped = "issuer 0 (CN=Other CA): stopped, what was signed stays: ";
    let output = cache(&config, &["warm"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert_eq!(number(&stdout, "signed "), 2, "{stdout}{stderr}");
    assert!(stderr.contains(stopped) && stderr.contains("ca.crl: No such file"), "{stderr}");
    other.write_crl("ca.crl", &[]);
    let output = cache(&config, &["warm", "--unexpired"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    let gone_through = "certificates left out, as their dates cannot be read: 2";
    assert!(stdout.contains(gone_through), "{stdout}{stderr}");
    assert!(stderr.contains(stopped) && stderr.contains("does not tell the dates"), "{stderr}");
    let output = cache(&config, &["warm"]);
    assert_eq!(first_line(&output), "signed 0, already there 2, revoked among them 1, failed 0");
    assert_eq!(output.status.code(), Some(0));
}
