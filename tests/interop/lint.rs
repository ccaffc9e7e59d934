//! pkilint's linter for OCSP responses, on answers of every kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ocsp_fcgi::demo::KeyKind;

use crate::programs::{python_program, said_by, source};
use crate::report::Report;
use crate::support::run as run_program;
use crate::world::{CERTIFICATES, Plan, Signer, World};

pub fn run(report: &mut Report, worlds: &[World]) {
    let script = source("lint.py");
    report.version(&said_by(python_program().arg(&script).arg("--version"), "interop.sh"));
    let folder = tempfile::TempDir::new().unwrap();
    let mut answers = Answers { folder: folder.path(), topics: BTreeMap::new() };
    for world in worlds {
        answers.of_world(world);
    }
    for plan in MORE_PLANS {
        answers.of_world(&World::new(*plan));
    }
    answers.errors(&worlds[0]);
    let control = answers.control();
    let findings = lint(&answers);
    let sees = findings.iter().any(|finding| {
        finding.starts_with(&control) && finding.contains("generalizedtime_incorrect_syntax")
    });
    report.holds("control: a wrong time is found", "", sees, || findings.join("\n"));
    for (path, topic) in &answers.topics {
        let of_file = |line: &&String| line.split('\t').next() == Some(path);
        let grave: Vec<&String> = findings
            .iter()
            .filter(of_file)
            .filter(|line| ["FATAL", "ERROR", "WARNING"].iter().any(|word| line.contains(word)))
            .collect();
        let linted = findings.contains(&format!("{path}\tLINTED"));
        report.holds(topic, path, linted && grave.is_empty(), || format!("{grave:?}"));
    }
    let notices: Vec<&String> =
        findings.iter().filter(|line| line.contains("\tNOTICE\t")).collect();
    report.holds("notices and less", "", notices.is_empty(), || format!("{notices:#?}"));
}

const MORE_PLANS: &[Plan] = &[
    Plan {
        name: "P-521",
        ca: KeyKind::P521,
        signer: Signer::Unchecked(KeyKind::P521),
        answers: "responder_id = \"name\"",
    },
    Plan { name: "Ed448", ca: KeyKind::Ed448, signer: Signer::Ca, answers: "" },
    Plan {
        name: "never issued is revoked",
        ca: KeyKind::P256,
        signer: Signer::Ca,
        answers: "non_issued = \"revoked\"",
    },
    Plan {
        name: "PSS delegated",
        ca: KeyKind::Rsa2048,
        signer: Signer::Unchecked(KeyKind::Rsa2048),
        answers: "rsa_padding = \"pss\"",
    },
];

/// Answers in files, each with its topic.
struct Answers<'f> {
    folder: &'f Path,
    topics: BTreeMap<String, String>,
}

impl Answers<'_> {
    fn of_world(&mut self, world: &World) {
        for hash in ["-sha1", "-sha256"] {
            for nonce in ["-no_nonce", "-nonce"] {
                for certificate in CERTIFICATES {
                    let file = certificate.file();
                    let question = [hash, nonce, "-issuer", "ca.crt", "-cert", &file];
                    self.ask(world, &question, "each status, hash, nonce, signer and key");
                }
                let several: Vec<String> = CERTIFICATES.iter().map(|one| one.file()).collect();
                let mut question = vec![hash, nonce, "-issuer", "ca.crt"];
                question.extend(several.iter().flat_map(|file| ["-cert", file]));
                self.ask(world, &question, "twelve CertIDs");
            }
        }
    }

    fn ask(&mut self, world: &World, question: &[&str], topic: &str) {
        let mut command = world.site.openssl_ocsp();
        command.args(question).args(["-reqout", "question.der"]);
        assert!(run_program(&mut command, "openssl").status.success());
        let question = fs::read(world.site.path("question.der")).unwrap();
        self.keep(world.plan.name, &world.responder.post(&question), topic);
    }

    /// `malformedRequest` and `unauthorized`.
    fn errors(&mut self, world: &World) {
        self.keep("malformed", &world.responder.post(b"0"), "error responses");
        let question = ["-issuer", "good.crt", "-serial", "1"];
        self.ask(world, &question, "error responses");
    }

    /// An answer whose times are wrong: its path.
    fn control(&self) -> String {
        let (path, _) = self.topics.iter().next().unwrap();
        let mut answer = fs::read(path).unwrap();
        for at in 0..answer.len() - 17 {
            if answer[at..at + 4] == [0x18, 15, b'2', b'0'] {
                answer[at + 16] = b'0';
            }
        }
        let path = self.folder.join("control.der");
        fs::write(&path, answer).unwrap();
        path.display().to_string()
    }

    fn keep(&mut self, name: &str, answer: &[u8], topic: &str) {
        let number = self.topics.len();
        let path: PathBuf = self.folder.join(format!("{number} {name}.der"));
        fs::write(&path, answer).unwrap();
        self.topics.insert(path.display().to_string(), topic.to_owned());
    }
}

/// The lines of `lint.py`.
fn lint(answers: &Answers<'_>) -> Vec<String> {
    let list = answers.folder.join("list");
    let mut paths: Vec<&str> = answers.topics.keys().map(String::as_str).collect();
    let control = answers.folder.join("control.der").display().to_string();
    paths.push(&control);
    fs::write(&list, paths.join("\n")).unwrap();
    let mut command = python_program();
    command.arg(source("lint.py")).stdin(Stdio::from(fs::File::open(list).unwrap()));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "lint.py: {stderr}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
