//! Keys on a token, for real: SoftHSM behind OpenSSL's pkcs11-provider, as docs/hsm.md
//! sets it up. `make hsm` runs this; `cargo test` does not, since Debian 12 has
//! pkcs11-provider in its backports only.

// clippy.toml's exceptions for tests do not reach the helpers beside them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

#[path = "../integration/support/mod.rs"]
#[allow(dead_code, reason = "the helpers of other tests")]
mod support;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::{KeyKind, write_private};
use support::ocsp::{
    Answer, INTERNAL_ERROR, NULL, PREFERRED_ALGORITHMS, Request, extension, sequence, tlv,
};
use support::site::{PROGRAM, Running, Site};
use support::{eventually, free_port, run, with_input};

#[test]
fn keys_on_a_token_sign_for_several_threads() {
    for kind in [KeyKind::Rsa2048, KeyKind::P256, KeyKind::Ed25519] {
        let token = Token::with(kind);
        let running = token.serve();
        token.site.assert_three_answers(&running.url(), &["-no_nonce"]);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        token.assert_signs(&running);
                    }
                });
            }
        });
        assert_eq!(token.log().matches("WARN").count(), 0, "{}", token.log());
    }
}

#[test]
fn an_rsa_key_on_a_token_pads_as_configured() {
    let token = Token::with(KeyKind::Rsa2048);
    let said = token.check(&format!("{PIN_FILE}[answers]\nrsa_padding = \"pss\"\n"));
    assert!(said.contains("all is well"), "{said}");
}

#[test]
fn a_lost_token_means_try_later_until_it_is_back() {
    for kind in [KeyKind::Rsa2048, KeyKind::P256, KeyKind::Ed25519] {
        let token = Token::with(kind);
        let running = token.serve();
        let kept = token.site.ask("good", &running.url(), &["-no_nonce"]);
        assert!(kept.contains("good.crt: good"), "{kept}");

        token.pull_out();
        for _ in 0..3 {
            let said = token.ask(&running);
            assert!(said.contains("Responder Error: trylater"), "{kind:?}: {said}");
        }
        // What was signed before is still given.
        let kept = token.site.ask("good", &running.url(), &["-no_nonce"]);
        assert!(kept.contains("good.crt: good"), "{kept}");
        let log = token.log();
        let told = "key does not sign, answering tryLater: issuer=0 error=\"the key is out of \
                    reach: pkcs11: The token was not present";
        assert_eq!(log.matches(told).count(), 1, "{log}");

        token.put_back();
        eventually("the key signs again", || {
            token.ask(&running).contains("Response verify OK").then_some(())
        });
        token.assert_signs(&running);
        let log = token.log();
        assert!(log.contains("key signs again: issuer=0"), "{log}");
        assert!(!log.contains("Enter PIN"), "{log}");
    }
}

/// A token locks itself after a few wrong PINs.
#[test]
fn a_wrong_pin_is_not_tried_for_each_question() {
    let token = Token::with(KeyKind::P256);
    token.make_provider_forget_pins();
    let running = token.serve();
    token.assert_signs(&running);
    assert_eq!(token.logins(), 1);
    token.pull_out();
    token.ask(&running); // so that the pause of a token that is absent begins
    token.write_pin("999999");
    token.put_back();
    eventually("the PIN is tried", || {
        token.ask(&running);
        (token.logins() > 1).then_some(())
    });
    for _ in 0..5 {
        assert!(token.ask(&running).contains("Responder Error: trylater"));
    }
    // pkcs11-provider 1.0 tries it five times each time that a key is loaded.
    assert!(token.logins() <= 6, "{} logins", token.logins());

    token.write_pin(PIN);
    running.signal(Signal::SIGHUP);
    eventually("it is reloaded", || token.log().contains("reloaded: ").then_some(()));
    token.assert_signs(&running);
}

#[test]
fn a_token_that_was_out_for_a_moment_costs_no_answer() {
    let token = Token::with(KeyKind::P256);
    let running = token.serve();
    token.assert_signs(&running);
    // Nobody asks meanwhile: what the responder holds is dead, and it does not know.
    token.pull_out();
    token.put_back();
    token.assert_signs(&running);
    assert!(!token.log().contains("Enter PIN"), "{}", token.log());
}

/// The provider asks for the PIN itself when a login is over; as a service it has no
/// terminal to ask on.
#[test]
fn a_provider_that_forgets_pins_costs_no_answer_either() {
    let token = Token::with(KeyKind::P256);
    token.make_provider_forget_pins();
    let running = token.serve();
    token.pull_out();
    token.put_back();
    token.assert_signs(&running);
}

#[test]
fn a_cached_answer_is_good_without_the_token() {
    let token = Token::with(KeyKind::P256);
    let running = token.serve();
    let first = token.site.ask("good", &running.url(), &["-no_nonce"]);
    assert!(first.contains("Response verify OK"), "{first}");
    drop(running);
    // In a new process it comes from the disk, where its signature is checked.
    let running = token.serve();
    token.pull_out();
    let second = token.site.ask("good", &running.url(), &["-no_nonce"]);
    assert!(second.contains("Response verify OK"), "{second}");
    assert!(!token.log().contains("cache"), "{}", token.log());
}

#[test]
fn a_cgi_program_logs_in_once_and_only_where_it_is_to_sign() {
    let token = Token::with(KeyKind::Rsa2048);
    token.make_provider_forget_pins();
    token.site.configure(&format!("{PIN_FILE}[cache]\nfreshness = \"0s\"\n"));
    let question = token.site.about("0a1b");
    let first = token.cgi(&question);
    assert_eq!(Answer::read(&first).statuses(), ["good"]);
    assert_eq!(token.logins(), 1);
    token.pull_out();
    assert_eq!(token.cgi(&question), first);
    token.put_back();
    token.write_pin("999999");
    // The key is asked for what it can do, is to be ready, and is to sign.
    let [sha384, sha512] = [12, 13].map(|last| {
        sequence(&[&sequence(&[&tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, last]]), NULL])])
    });
    let preferred = extension(PREFERRED_ALGORITHMS, &sequence(&[&sha384, &sha512]));
    assert_eq!(token.cgi(&question.with_nonce(b"nonce").with(preferred)), INTERNAL_ERROR);
    // pkcs11-provider 1.0 tries it five times each time that a key is loaded.
    assert!(token.logins() <= 6, "{} logins", token.logins());
}

#[test]
fn check_names_the_token_and_its_key() {
    let token = Token::with(KeyKind::P256);
    let said = token.check(PIN_FILE);
    let line = format!(
        "ok       key {}: pkcs11:token=ocsp;object=key;type=private is there, and signs\n",
        token.site.path("ca.key").display()
    );
    assert!(said.contains(&line), "{said}");
    assert!(said.contains("all is well"), "{said}");
    // Likewise where the file is what tools of pkcs11-provider write.
    write_private(&token.site.path("ca.key"), URI_IN_PEM.as_bytes()).unwrap();
    let said = token.check(PIN_FILE);
    assert!(said.contains(&line) && said.contains("all is well"), "{said}");
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let token = Token::with(KeyKind::P256);
    let key = token.site.path("ca.key");
    let shown = key.display();
    let config = token.site.path("config.toml");
    let names = format!("WRONG    {}:4:9: key {shown}: {URI}:", config.display());

    let said = token.check("");
    assert!(said.contains(&format!("{names} the token wants a PIN, wanted: itkey_p")), "{said}");

    token.write_pin("999999");
    let said = token.check(PIN_FILE);
    let pin = token.site.path("pin");
    let wanted = format!("{names} the token refuses the password {} as its PIN", pin.display());
    assert!(said.contains(&wanted), "{said}");
    token.write_pin(&"9".repeat(40));
    assert!(token.check(PIN_FILE).contains(&wanted), "{said}");

    token.write_pin(PIN);
    token.write_uri("pkcs11:token=ocsp;object=other?pin-source=x");
    let said = token.check("");
    assert!(!said.contains("all is well"), "{said}");
    token.write_uri("pkcs11:token=ocsp;object=other");
    let said = token.check(PIN_FILE);
    let wanted = "pkcs11:token=ocsp;object=other: the token takes the PIN, but does not have";
    assert!(said.contains(wanted), "{said}");

    token.write_uri("pkcs11:token=other;object=key");
    let said = token.check(PIN_FILE);
    let absent = "the token or the key on it is not there";
    assert!(said.contains(&format!("pkcs11:token=other;object=key: {absent}")), "{said}");
    token.write_uri(URI);
    token.pull_out();
    let said = token.check(PIN_FILE);
    assert!(said.contains(&format!("{names} {absent}")), "{said}");
    token.put_back();

    fs::write(token.site.path("openssl.cnf"), "").unwrap();
    let said = token.check(PIN_FILE);
    assert!(said.contains(&format!("{names} OpenSSL has not loaded pkcs11-provider")), "{said}");
    assert!(!said.contains("DECODER"), "{said}");
}

#[test]
fn a_wrong_module_is_no_provider() {
    let token = Token::with(KeyKind::P256);
    token.write_openssl_config(Path::new("/nowhere/module.so"));
    let said = token.check(PIN_FILE);
    assert!(said.contains("OpenSSL has not loaded pkcs11-provider and a module"), "{said}");
}

/// A site whose CA's key is on a token, with the files of docs/hsm.md.
struct Token {
    site: Site,
}

impl Token {
    fn with(kind: KeyKind) -> Self {
        let token = Self { site: Site::with_certificates(kind) };
        let folder = token.site.folder.path().display().to_string();
        fs::create_dir(token.site.path("tokens")).unwrap();
        let softhsm = format!("directories.tokendir = {folder}/tokens\nlog.level = ERROR\n");
        fs::write(token.site.path("softhsm2.conf"), softhsm).unwrap();
        token.write_openssl_config(&token.module());
        token.softhsm(&["--init-token", "--free", "--label", "ocsp", "--so-pin", "5678"]);
        token.softhsm(&["--import", "ca.key", "--token", "ocsp", "--label", "key", "--id", "01"]);
        token.write_uri(URI);
        token.write_pin(PIN);
        token
    }

    /// The module that can be pulled out, made of unplug.c.
    fn module(&self) -> PathBuf {
        let (source, module) = ("tests/hsm/unplug.c", self.site.path("unplug.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&module).arg(source);
        let output = run(&mut compiler, "gcc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        module
    }

    fn write_openssl_config(&self, module: &Path) {
        let folder = run(Command::new("openssl").args(["version", "-m"]), "openssl");
        let folder = String::from_utf8(folder.stdout).unwrap();
        let folder = folder.split('"').nth(1).unwrap();
        assert!(
            Path::new(folder).join("pkcs11.so").exists(),
            "no pkcs11.so in {folder}; on Debian: tests/packages.sh hsm"
        );
        let text = CONFIG.replace("MODULE", module.to_str().unwrap());
        fs::write(self.site.path("openssl.cnf"), text).unwrap();
    }

    fn make_provider_forget_pins(&self) {
        let config = fs::read_to_string(self.site.path("openssl.cnf")).unwrap();
        let forgetful = config.replace("pkcs11-module-cache-pins = cache", "");
        fs::write(self.site.path("openssl.cnf"), forgetful).unwrap();
    }

    fn softhsm(&self, arguments: &[&str]) {
        let mut command = self.command("softhsm2-util");
        // It uses OpenSSL, which would load SoftHSM once more, and crash.
        command.env_remove("OPENSSL_CONF");
        let output = run(command.args(arguments).args(["--pin", PIN]), "softhsm2");
        assert!(output.status.success(), "{output:?}");
    }

    fn write_uri(&self, uri: &str) {
        write_private(&self.site.path("ca.key"), format!("{uri}\n").as_bytes()).unwrap();
    }

    fn write_pin(&self, pin: &str) {
        write_private(&self.site.path("pin"), format!("{pin}\n").as_bytes()).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("SOFTHSM2_CONF", self.site.path("softhsm2.conf"))
            .env("OPENSSL_CONF", self.site.path("openssl.cnf"))
            .env("PLUG", self.site.path("plug"))
            .env("LOGINS", self.site.path("logins"))
            .current_dir(self.site.folder.path());
        command
    }

    /// What `check` prints: never a PIN.
    fn check(&self, more: &str) -> String {
        let config = self.site.configure(more);
        let output = run(self.command(PROGRAM).args(["check", "--config"]).arg(config), "");
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(PIN) && !said.contains("panic"), "{said}");
        said
    }

    fn serve(&self) -> Running {
        let port = free_port();
        let config = self.site.configure(&format!("port = {port}\n{PIN_FILE}"));
        let log = fs::File::create(self.site.path("serve.log")).unwrap();
        let mut command = self.command("setsid"); // without a terminal, as services are
        command.args([PROGRAM, "serve", "--config"]).arg(config).stdin(Stdio::null()).stderr(log);
        let mut running = Running { child: command.spawn().unwrap(), port };
        eventually("the responder listens", || {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.log());
            TcpStream::connect(running.address()).ok()
        });
        running
    }

    /// What the program answers as a web server starts it for one question.
    fn cgi(&self, question: &Request) -> Vec<u8> {
        let der = question.der();
        let mut command = self.command(PROGRAM);
        command.arg("cgi").env("REQUEST_METHOD", "POST");
        let output = with_input(command.env("CONTENT_LENGTH", der.len().to_string()), &der);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains(PIN) && !stderr.contains("panic"), "{stderr}");
        let head = output.stdout.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        output.stdout[head + 4..].to_vec()
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.site.path("serve.log")).unwrap();
        assert!(!log.contains(PIN) && !log.contains("panic"), "{log}");
        log
    }

    /// A question that needs a signature.
    fn ask(&self, running: &Running) -> String {
        self.site.ask("good", &running.url(), &["-nonce"])
    }

    #[track_caller]
    fn assert_signs(&self, running: &Running) {
        let said = self.ask(running);
        assert!(said.contains("Response verify OK"), "{said}\n{}", self.log());
    }

    /// How often the token was logged in to, or tried to be, by the responder.
    fn logins(&self) -> u64 {
        fs::metadata(self.site.path("logins")).map_or(0, |file| file.len())
    }

    fn pull_out(&self) {
        fs::write(self.site.path("plug"), "out").unwrap();
    }

    fn put_back(&self) {
        fs::write(self.site.path("plug"), "in 1").unwrap();
    }
}

const URI: &str = "pkcs11:token=ocsp;object=key;type=private";
/// The same, in the form that pkcs11-provider knows.
const URI_IN_PEM: &str = "\
-----BEGIN PKCS#11 PROVIDER URI-----
MEYaGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYxLjAMKXBrY3MxMTp0b2tlbj1vY3Nw
O29iamVjdD1rZXk7dHlwZT1wcml2YXRl
-----END PKCS#11 PROVIDER URI-----
";
const PIN: &str = "48151623";
const PIN_FILE: &str = "itkey_password_file = \"pin\"\n";
const CONFIG: &str = "\
openssl_conf = openssl_init
[openssl_init]
providers = providers
[providers]
default = default_provider
pkcs11 = pkcs11_provider
[default_provider]
activate = 1
[pkcs11_provider]
pkcs11-module-path = MODULE
pkcs11-module-load-behavior = early
pkcs11-module-quirks = no-deinit no-operation-state
pkcs11-module-cache-pins = cache
activate = 1
";
