//! The examples of the manual pages do as printed.

use std::process::Command;

use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::CertStatus;

use super::parse;
use crate::support::run;
use crate::support::site::{PROGRAM, Site};

#[test]
fn the_configurations_of_the_manual_are_valid_and_have_no_warning() {
    let examples = examples(include_str!("../../../man/ocsp-fcgi.toml.5"));
    assert_eq!(examples.len(), 2);
    for text in examples {
        assert!(parse(&text).1.is_empty(), "{text}");
    }
}

#[test]
fn a_question_over_the_unix_socket_is_answered_by_the_commands_of_the_manual() {
    let site = Site::new(KeyKind::P256);
    site.issue("site", "0a1b", Some(CertStatus::Good));
    let _responder = site.serve("[listen]\nunix = \"ocsp.sock\"\n");
    let said = shell(&site, "curl --unix-socket", ("/run/ocsp-fcgi/ocsp-fcgi.sock", "ocsp.sock"));
    assert!(said.contains("site.crt: good") && said.contains("Response verify OK"), "{said}");
}

#[test]
fn a_question_without_a_server_is_answered_by_the_commands_of_the_manual() {
    let site = Site::new(KeyKind::P256);
    site.issue("site", "0a1b", Some(CertStatus::Good));
    site.configure("");
    let as_user = "runuser -u ocsp-fcgi -- ocsp-fcgi";
    let said = shell(&site, "ocsp-fcgi respond", (as_user, PROGRAM));
    assert!(said.contains("site.crt: good") && said.contains("Response verify OK"), "{said}");
}

/// What the example of the manual with these words prints, with one place exchanged for what
/// it is here.
#[track_caller]
fn shell(site: &Site, words: &str, (place, here): (&str, &str)) -> String {
    let examples = examples(include_str!("../../../man/ocsp-fcgi.8"));
    let example = examples.iter().find(|text| text.contains(words)).expect(words);
    assert!(example.contains(place), "{example}");
    let script = example.replace(place, here);
    let mut sh = Command::new("sh");
    let output = run(sh.args(["-e", "-c", &script]).current_dir(site.folder.path()), "dash");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{script}\n{said}");
    said
}

/// As they are printed.
fn examples(manual: &str) -> Vec<String> {
    let (_, examples) = manual.split_once(".Sh EXAMPLES\n").unwrap();
    let blocks = examples.split(".Bd -literal -offset indent\n").skip(1);
    blocks.map(|rest| rest.split(".Ed\n").next().unwrap().replace("\\e\n", "\\\n")).collect()
}
