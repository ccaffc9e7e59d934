//! Clients that are libraries: a small program in `clients/` reads questions, a line
//! each, asks them, and says what the answers are, a line each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::Report;
use crate::support::nginx::nginx_before;
use crate::support::run as run_program;
use crate::support::web::program;
use crate::world::{CERTIFICATES, Certificate, World};

/// Python: `cryptography`, with `asn1crypto` and `pyasn1` as further readers.
pub fn python(report: &mut Report, worlds: &[World]) {
    let script = source("ask.py");
    report.version(&said_by(python_program().arg(&script).arg("--version"), "interop.sh"));
    let mut questions = Vec::new();
    for world in worlds {
        for hash in HASHES {
            for nonce in [0, 16] {
                for certificate in CERTIFICATES {
                    let topic = "each status, each hash, with and without nonce; every field";
                    let asked = Question::new(topic, world, certificate);
                    questions.push(Question { hash, nonce, how: "cryptography", ..asked });
                }
            }
        }
        for method in ["GET", "GET-bare", "GET-raw", "GET-url-safe"] {
            for (hash, nonce) in [("sha1", 0), ("sha1", 1), ("sha256", 32), ("sha512", 128)] {
                let asked = Question::new("GET, four spellings", world, &CERTIFICATES[1]);
                questions.push(Question { hash, nonce, method, how: "cryptography", ..asked });
            }
        }
        questions.extend([0, 1, 32, 128].map(|nonce| {
            let certificates: Vec<&Certificate> = CERTIFICATES.iter().collect();
            let each: Vec<String> = certificates.iter().map(|one| one.status_text()).collect();
            let topic = "twelve CertIDs, four hashes, with and without NULL".to_owned();
            let asked = Question::new("", world, &CERTIFICATES[0]);
            let (how, wanted) = ("asn1crypto", each.join(", "));
            Question { topic, certificates, nonce, how, wanted, ..asked }
        }));
    }
    ask_all(report, python_program().arg(&script), "interop.sh", &questions);
}

/// Go's x/crypto/ocsp.
pub fn go(report: &mut Report, worlds: &[World]) {
    let program = compile_go();
    let package = said_by(
        Command::new("dpkg-query").args(["-W", "-f", "${Version}", "golang-golang-x-crypto-dev"]),
        "dpkg",
    );
    let version = said_by(Command::new(&program).arg("--version"), "golang-go");
    report.version(&format!("{} x/crypto {package}", version.trim()));
    let mut questions = Vec::new();
    for world in worlds {
        if world.is_edwards() || world.is_pss() {
            let topic = "Ed25519 and PSS: it has neither";
            let asked = Question::new(topic, world, &CERTIFICATES[0]);
            let place = if world.is_delegated() {
                "bad signature on embedded certificate"
            } else {
                "bad OCSP signature"
            };
            let problem = "x509: cannot verify signature: algorithm unimplemented";
            let wanted = format!("error: {place}: {problem}");
            questions.push(Question { wanted, ..asked });
            continue;
        }
        for hash in HASHES {
            for method in ["POST", "GET"] {
                questions.extend(CERTIFICATES.iter().map(|certificate| {
                    let topic = "each status, each hash, POST and GET";
                    Question { hash, method, ..Question::new(topic, world, certificate) }
                }));
            }
        }
    }
    ask_all(report, &mut Command::new(&program), "golang-go", &questions);
}

/// The JDK's own PKIXRevocationChecker.
pub fn java(report: &mut Report, worlds: &[World]) {
    compile_java();
    report.version(&said_by(java_program().arg("Pkix"), JDK));
    let asked = |topic: &str, nonce: usize| -> Vec<Question<'_>> {
        let mut questions = Vec::new();
        for world in worlds {
            for certificate in CERTIFICATES {
                for (how, url) in [("-", None), ("given", None), ("-", Some("-"))] {
                    let asked = Question::new(topic, world, certificate);
                    let url = url.map_or(asked.url.clone(), str::to_owned);
                    questions.push(Question { nonce, how, url, ..asked });
                }
            }
        }
        questions
    };
    let by_get = asked("each status, by GET, responder and signer given or found", 0);
    ask_all(report, java_program().args(["Pkix", "SUN"]), JDK, &by_get);
    let by_post = asked("the same by POST (com.sun.security.ocsp.useget=false)", 0);
    let option = "-Dcom.sun.security.ocsp.useget=false";
    ask_all(report, java_program().args([option, "Pkix", "SUN"]), JDK, &by_post);
    let own_nonce = asked("with its own nonce (jdk.security.certpath.ocspNonce=true)", 0);
    let option = "-Djdk.security.certpath.ocspNonce=true";
    ask_all(report, java_program().args([option, "Pkix", "SUN"]), JDK, &own_nonce);
    let given_nonce = asked("with a nonce among setOcspExtensions", 32);
    ask_all(report, java_program().args(["Pkix", "SUN"]), JDK, &given_nonce);
}

/// BouncyCastle: its OCSP classes, and its provider's PKIXRevocationChecker.
pub fn bouncy_castle(report: &mut Report, worlds: &[World]) {
    compile_java();
    report.version(&said_by(java_program().args(["Bouncy", "--version"]), BOUNCY_CASTLE));
    let mut questions = Vec::new();
    for world in worlds {
        for hash in HASHES.into_iter().chain(["sha1-null", "sha256-null"]) {
            for (method, nonce) in [("POST", 0), ("POST", 16), ("GET", 0), ("GET", 32)] {
                questions.extend(CERTIFICATES.iter().map(|certificate| {
                    let topic = "each status, each hash, with and without NULL and nonce";
                    Question { hash, method, nonce, ..Question::new(topic, world, certificate) }
                }));
            }
        }
    }
    ask_all(report, java_program().arg("Bouncy"), BOUNCY_CASTLE, &questions);
    let mut questions = Vec::new();
    for world in worlds {
        questions.extend(CERTIFICATES.iter().map(|certificate| {
            let asked = Question::new("PKIXRevocationChecker, each status", world, certificate);
            // A URL for each: of one that it has asked before BouncyCastle 1.72 keeps the
            // answers, and throws a NullPointerException once the collector took them.
            Question { url: format!("{}?{}", asked.url, certificate.name), ..asked }
        }));
    }
    ask_all(report, java_program().args(["Pkix", "BC"]), BOUNCY_CASTLE, &questions);
}

/// The clients that ask by GET, each in its spelling, through the shipped nginx
/// configuration: its answers come from the responder first, then from its cache.
pub fn through_nginx(report: &mut Report, worlds: &[World]) {
    let version = run_program(Command::new(program("nginx", "nginx")).arg("-v"), "nginx");
    report.version(&String::from_utf8_lossy(&version.stderr));
    compile_java();
    let go_program = compile_go();
    for world in worlds.iter().filter(|world| !world.is_edwards() && !world.is_pss()) {
        let server = format!("server {};", world.responder.address());
        let nginx = nginx_before(&world.site, &server);
        let asked = |topic: &str, method, how| -> Vec<Question<'_>> {
            let twice = CERTIFICATES.iter().chain(CERTIFICATES);
            let questions = twice.map(|certificate| {
                let url = format!("{}/ocsp", nginx.url());
                Question { method, how, url, ..Question::new(topic, world, certificate) }
            });
            questions.collect()
        };
        for method in ["GET", "GET-bare", "GET-raw", "GET-url-safe", "POST"] {
            let questions = asked("Python, five spellings", method, "cryptography");
            ask_all(report, python_program().arg(source("ask.py")), "interop.sh", &questions);
        }
        let go = asked("Go, GET", "GET", "-");
        ask_all(report, &mut Command::new(&go_program), "golang-go", &go);
        let java = asked("JDK, GET", "GET", "-");
        ask_all(report, java_program().args(["Pkix", "SUN"]), JDK, &java);
        let bouncy_castle = asked("BouncyCastle, GET", "GET", "-");
        ask_all(report, java_program().arg("Bouncy"), BOUNCY_CASTLE, &bouncy_castle);
        let said = world.site.ask("good", &nginx.url(), &["-no_nonce"]);
        report.says("openssl ocsp", world.plan.name, &said, &["good.crt: good"]);
    }
}

/// One question, and what the program has to say.
struct Question<'w> {
    topic: String,
    world: &'w World,
    certificates: Vec<&'w Certificate>,
    hash: &'w str,
    /// Octets; none: no nonce.
    nonce: usize,
    method: &'w str,
    /// Who makes the request, or how the signer is found: as the program has it.
    how: &'w str,
    url: String,
    wanted: String,
}

impl<'w> Question<'w> {
    fn new(topic: &str, world: &'w World, certificate: &'w Certificate) -> Self {
        let topic = topic.to_owned();
        let (hash, method, how) = ("sha1", "POST", "-");
        let url = format!("{}/ocsp", world.responder.url());
        let wanted = certificate.status_text();
        let certificates = vec![certificate];
        Self { topic, world, certificates, hash, nonce: 0, method, how, url, wanted }
    }

    fn line(&self) -> String {
        let path = |name: &str| self.world.site.path(name).display().to_string();
        let certificates = self.certificates.iter().map(|certificate| path(&certificate.file()));
        let is_by_name = self.world.plan.answers.contains("name");
        let columns: [&str; 10] = [
            &self.url,
            &path("ca.crt"),
            &certificates.collect::<Vec<_>>().join(","),
            &self.world.signer().display().to_string(),
            self.hash,
            &if self.nonce == 0 { "-".to_owned() } else { "5a".repeat(self.nonce) },
            self.method,
            if is_by_name { "name" } else { "key" },
            if self.world.echoes() { "yes" } else { "no" },
            self.how,
        ];
        columns.join("\t")
    }
}

/// Runs the program once for all questions.
fn ask_all(report: &mut Report, command: &mut Command, package: &str, questions: &[Question<'_>]) {
    let lines: String = questions.iter().map(|question| question.line() + "\n").collect();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; it comes with {package}"));
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ended_early = writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let mut said = said.lines();
    for question in questions {
        let answer = said.next().unwrap_or("nothing: the program has ended");
        let asked = format!("{}: {}", question.world.plan.name, question.line());
        report.equals(&question.topic, asked, answer, &question.wanted);
    }
    if !output.status.success() {
        report.fail("the program's end", "", String::from_utf8_lossy(&output.stderr));
    }
}

/// What a program prints that must not fail.
pub fn said_by(command: &mut Command, package: &str) -> String {
    let output = run_program(command, package);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: it comes with {package}\n{stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn compile_go() -> PathBuf {
    let program = built("ask-go");
    let mut compiler = Command::new("go");
    compiler.args(["build", "-o"]).arg(&program).arg(source("ask.go"));
    compiler.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    compiler.env("GOCACHE", built("go-cache"));
    said_by(&mut compiler, "golang-go golang-golang-x-crypto-dev");
    program
}

fn compile_java() {
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", &class_path(), "-d"]).arg(built("java"));
    compiler.args([source("Pkix.java"), source("Bouncy.java")]);
    said_by(&mut compiler, "default-jdk-headless libbcpkix-java");
}

fn java_program() -> Command {
    let mut java = Command::new("java");
    java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &class_path()]);
    java
}

fn class_path() -> String {
    let jars = ["bcpkix", "bcprov", "bcutil"].map(|name| format!("/usr/share/java/{name}.jar"));
    format!("{}:{}", built("java").display(), jars.join(":"))
}

/// Python with the packages of `requirements.txt`.
pub fn python_program() -> Command {
    Command::new(built("venv/bin/python"))
}

pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients").join(name)
}

fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

const HASHES: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];
const JDK: &str = "default-jdk-headless";
const BOUNCY_CASTLE: &str = "libbcpkix-java";
