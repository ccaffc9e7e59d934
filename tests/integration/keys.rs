//! Each form of a key file signs; each way to give its password works; what is wrong
//! is said, and nobody is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use ocsp_fcgi::demo::{KeyKind, write_private};

use super::support::run;
use super::support::site::{PROGRAM, Site};

#[test]
fn every_form_of_a_key_file_signs_an_answer_that_openssl_verifies() {
    for (kind, forms) in [
        (KeyKind::Rsa2048, &[PKCS1, PKCS8].concat()[..]),
        (KeyKind::P256, &[SEC1, PKCS8].concat()),
        (KeyKind::P384, PKCS8),
        (KeyKind::Ed25519, PKCS8),
        (KeyKind::Ed448, PKCS8),
    ] {
        let site = Site::with_certificates(kind);
        let request = site.request("good", &["-no_nonce"]);
        write_private(&site.path("password"), PASSWORD.as_bytes()).unwrap();
        for form in forms {
            site.convert_key(form);
            let more = if form.contains("passout") { PASSWORD_FILE } else { "" };
            let output = site.respond(more, &request, &[]);
            assert!(output.status.success(), "{kind:?} {form}: {}", stderr(&output));
            let said = site.read_answer("good", &output.stdout);
            assert!(said.contains("Response verify OK"), "{kind:?} {form}: {said}");
            fs::remove_dir_all(site.path("cache")).unwrap();
        }
    }
}

#[test]
fn a_password_is_the_first_line_of_a_file_or_a_credential_or_a_variable() {
    let site = Site::with_certificates(KeyKind::P256);
    site.convert_key(ENCRYPTED);
    write_private(&site.path("password"), format!("{PASSWORD}\r\nnote\n").as_bytes()).unwrap();
    let folder = site.folder.path().to_str().unwrap();
    for (more, variables) in [
        (PASSWORD_FILE, &[][..]),
        (CREDENTIAL, &[("CREDENTIALS_DIRECTORY", folder)]),
        (VARIABLE, &[("OCSP_KEY_PASSWORD", PASSWORD)]),
    ] {
        let said = site.check(more, variables);
        assert!(said.contains("all is well"), "{more}: {said}");
    }
    let tables = "[[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n\
                  key_password_file = \"password\"\n[database]\nsqlite = \"certs.db\"\n";
    let config = site.write_config(tables);
    let output = run(Command::new(PROGRAM).arg("check").arg("--config").arg(config), "");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all is well"), "{said}");
}

#[test]
fn what_is_wrong_with_a_password_is_said() {
    let site = Site::with_certificates(KeyKind::P256);
    site.convert_key(ENCRYPTED);
    let folder = site.folder.path().to_str().unwrap();
    let file = |text: &str| write_private(&site.path("password"), text.as_bytes()).unwrap();
    let key = format!("{folder}/config.toml:4:9: key {folder}/ca.key");
    let says = |more: &str, variables: &[(&str, &str)], wanted: &str| {
        let said = site.check(more, variables);
        let line = format!("WRONG    {key}: {wanted}");
        assert!(said.contains(&line), "wanted {line:?} in\n{said}");
    };

    says("", &[], "it is encrypted, wanted: its password, by itkey_password_file, itkey_pass");
    let named = format!("password {folder}/password");
    says(PASSWORD_FILE, &[], &format!("{named}: No such file or directory"));
    file("");
    says(PASSWORD_FILE, &[], &format!("{named}: empty, wanted: a password in its first line"));
    file(&format!("\n{PASSWORD}"));
    says(PASSWORD_FILE, &[], &format!("{named}: empty, wanted: a password in its first line"));
    file(&"x".repeat(1_001));
    says(PASSWORD_FILE, &[], &format!("{named}: longer than 1000 octets"));
    file("wrong");
    says(PASSWORD_FILE, &[], &format!("it does not open with the {named}: "));

    says(CREDENTIAL, &[], "credential password: CREDENTIALS_DIRECTORY is not set, wanted: a sta");
    let other = [("CREDENTIALS_DIRECTORY", "/nowhere")];
    says(CREDENTIAL, &other, "credential /nowhere/password: No such file or directory");

    let variable = "environment variable OCSP_KEY_PASSWORD";
    says(VARIABLE, &[], &format!("{variable}: not set"));
    says(VARIABLE, &[("OCSP_KEY_PASSWORD", "")], &format!("{variable}: empty, wanted: "));
    let wrong = [("OCSP_KEY_PASSWORD", "wrong")];
    says(VARIABLE, &wrong, &format!("it does not open with the {variable}: "));
}

#[test]
fn a_wrong_password_and_none_are_told_apart_in_each_encrypted_form() {
    for (kind, forms) in [(KeyKind::Rsa2048, PKCS1), (KeyKind::P256, SEC1)] {
        let site = Site::with_certificates(kind);
        for form in [forms, PKCS8].concat() {
            if form.contains("passout") {
                site.convert_key(form);
                let said = site.check("", &[]);
                assert!(said.contains("it is encrypted, wanted: "), "{form}: {said}");
                for wrong in ["wrong", "", "correct horsf"] {
                    write_private(&site.path("password"), format!("{wrong} x").as_bytes()).unwrap();
                    let said = site.check(PASSWORD_FILE, &[]);
                    assert!(said.contains("it does not open with the pass"), "{form}: {said}");
                }
            }
        }
    }
}

#[test]
fn a_password_that_others_can_read_is_refused_as_a_key_is() {
    let site = Site::with_certificates(KeyKind::P256);
    site.convert_key(ENCRYPTED);
    let path = site.path("password");
    fs::write(&path, PASSWORD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let shown = path.display();
    let exposed = format!("password {shown}: others can read it (mode 0644)");
    let said = site.check(PASSWORD_FILE, &[]);
    let refused = format!("{exposed}, wanted: `chmod o= {shown}`, or permissions = \"warn\"");
    assert!(said.contains(&format!("ca.key: {refused}")), "{said}");

    let said = site.check(&format!("{PASSWORD_FILE}permissions = \"warn\"\n"), &[]);
    assert!(said.contains(&format!("warning  {exposed}\n")), "{said}");
    assert!(said.contains("all is well"), "{said}");
}

#[test]
fn a_password_for_a_key_that_is_not_encrypted_is_warned_about() {
    let site = Site::with_certificates(KeyKind::P256);
    let said = site.check(VARIABLE, &[("OCSP_KEY_PASSWORD", PASSWORD)]);
    let wanted = "ca.key: not encrypted, the environment variable OCSP_KEY_PASSWORD has no effect";
    assert!(said.contains(wanted), "{said}");
    assert!(said.contains("all is well"), "{said}");
}

#[test]
fn what_is_no_key_is_named() {
    let site = Site::with_certificates(KeyKind::P256);
    for octets in [
        &b""[..],
        b"\x30\x03\x02\x01\x00",
        b"secret words",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        &fs::read(site.path("ca.crt")).unwrap(),
    ] {
        write_private(&site.path("ca.key"), octets).unwrap();
        let said = site.check(VARIABLE, &[("OCSP_KEY_PASSWORD", PASSWORD)]);
        assert!(said.contains("ca.key: no private key in PEM or DER"), "{octets:?}: {said}");
        assert!(!said.contains("secret words"), "{said}");
    }
}

/// On a terminal of its own, where OpenSSL would ask by itself and wait.
#[test]
fn nobody_is_asked_on_a_terminal() {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    for form in [PKCS1, PKCS8].concat() {
        site.convert_key(form);
        let config = site.configure("");
        let asked = format!("timeout 20 {PROGRAM} check --config {}", config.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &asked, "/dev/null"]);
        let output = run(&mut script, "bsdutils");
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        let is_encrypted = form.contains("passout");
        assert_eq!(said.contains("it is encrypted"), is_encrypted, "{form}: {said}");
        assert_eq!(said.contains("all is well"), !is_encrypted, "{form}: {said}");
        assert!(!said.contains("enter") && !said.contains("pass phrase"), "{form}: {said}");
    }
}

impl Site {
    /// Rewrites `ca.key` by this command of openssl.
    fn convert_key(&self, form: &str) {
        let path = self.path("ca.key");
        self.ca.identity.write_key(&path).unwrap();
        let script = format!("set -e; {{ {form}; }} >new.key 2>errors; mv new.key ca.key");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("PASSWORD", PASSWORD).current_dir(self.folder.path());
        let output = run(&mut shell, "openssl");
        let errors = fs::read_to_string(self.path("errors")).unwrap();
        assert!(output.status.success(), "{form}: {errors}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn respond(&self, more: &str, request: &[u8], variables: &[(&str, &str)]) -> Output {
        let config = self.configure(more);
        fs::write(self.path("request.der"), request).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("respond").arg("--config").arg(config).envs(variables.iter().copied());
        run(command.arg("--in").arg(self.path("request.der")), "")
    }

    /// What `check` prints: never the password.
    fn check(&self, more: &str, variables: &[(&str, &str)]) -> String {
        let config = self.configure(more);
        let mut command = Command::new(PROGRAM);
        command.env_remove("CREDENTIALS_DIRECTORY").envs(variables.iter().copied());
        let output = run(command.args(["check", "--config"]).arg(config), "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(!said.contains(PASSWORD) && !said.contains("panic"), "{said}");
        said
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const PASSWORD: &str = "correct horse";
const PASSWORD_FILE: &str = "itkey_password_file = \"password\"\n";
const CREDENTIAL: &str = "itkey_password_credential = \"password\"\n";
const VARIABLE: &str = "itkey_password_env = \"OCSP_KEY_PASSWORD\"\n";
const ENCRYPTED: &str = "openssl pkcs8 -topk8 -in ca.key -passout env:PASSWORD";

const PKCS1: &[&str] = &[
    "openssl rsa -in ca.key -traditional",
    "openssl rsa -in ca.key -traditional -aes256 -passout env:PASSWORD",
    "openssl rsa -in ca.key -traditional -outform DER",
];
const SEC1: &[&str] = &[
    "openssl ec -in ca.key",
    "openssl ec -in ca.key -aes256 -passout env:PASSWORD",
    "openssl ec -in ca.key -outform DER",
    "openssl ecparam -name prime256v1; openssl ec -in ca.key",
];
const PKCS8: &[&str] = &[
    "openssl pkcs8 -topk8 -in ca.key -nocrypt",
    "openssl pkcs8 -topk8 -in ca.key -nocrypt -outform DER",
    ENCRYPTED,
    "openssl pkcs8 -topk8 -in ca.key -passout env:PASSWORD -outform DER",
    "openssl pkcs8 -topk8 -in ca.key -passout env:PASSWORD -v1 PBE-SHA1-3DES",
    "openssl pkcs8 -topk8 -in ca.key -passout env:PASSWORD -scrypt -outform DER",
];
