//! CAs as operators have them: `openssl ca` with its folder, and Easy-RSA with its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::x509::X509;
use tempfile::TempDir;

use super::run;

/// The folder of a CA: `ca.crt`, `ca.key`, `index.txt`, and `NAME.crt` for each
/// certificate issued.
pub struct OpensslCa {
    pub folder: TempDir,
}

/// The folder of an Easy-RSA CA: `pki`.
pub struct EasyRsa {
    pub folder: TempDir,
}

impl OpensslCa {
    /// A CA whose serials begin at 0x0A1B; `subject` is its name, `/CN=Test CA`.
    pub fn new(subject: &str) -> Self {
        let ca = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(ca.path("certs")).unwrap();
        for (name, content) in [
            ("openssl.cnf", CONFIGURATION),
            ("index.txt", ""),
            ("serial", "0A1B\n"),
            ("crlnumber", "01\n"),
        ] {
            fs::write(ca.path(name), content).unwrap();
        }
        ca.request("ca", subject, &["-x509", "-days", "3650", "-extensions", "authority"]);
        ca
    }

    /// Issues `NAME.crt`.
    pub fn issue(&self, name: &str, options: &[&str]) -> X509 {
        self.request(name, &format!("/CN={name}"), &[]);
        let [csr, crt] = ["csr", "crt"].map(|kind| format!("{name}.{kind}"));
        self.ca(&[&["-batch", "-notext", "-in", &csr, "-out", &crt], options].concat());
        X509::from_pem(&fs::read(self.path(&crt)).unwrap()).unwrap()
    }

    /// Revokes `NAME.crt`, as `-crl_reason` and its like say.
    pub fn revoke(&self, name: &str, options: &[&str]) {
        self.ca(&[&["-revoke", &format!("{name}.crt")], options].concat());
    }

    /// Writes a CRL.
    pub fn write_crl(&self, name: &str, options: &[&str]) {
        self.ca(&[&["-gencrl", "-out", name], options].concat());
    }

    /// `openssl ca`.
    pub fn ca(&self, options: &[&str]) {
        self.openssl(&[&["ca", "-config", "openssl.cnf"], options].concat());
    }

    /// `openssl` in the folder of the CA.
    pub fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        let output = run(command.current_dir(self.folder.path()).args(arguments), "openssl");
        let all = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {all}");
        all
    }

    pub fn certificate(&self) -> X509 {
        X509::from_pem(&fs::read(self.path("ca.crt")).unwrap()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A key and a request for it, or with `-x509` a certificate.
    fn request(&self, name: &str, subject: &str, options: &[&str]) {
        let key = format!("{name}.key");
        let output = if options.is_empty() { format!("{name}.csr") } else { format!("{name}.crt") };
        let common = ["req", "-new", "-config", "openssl.cnf", "-newkey", "ec", "-pkeyopt"];
        let more = ["ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout", &key];
        self.openssl(&[&common[..], &more, &["-out", &output], options].concat());
    }
}

impl EasyRsa {
    /// `easyrsa init-pki` and `build-ca`.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let easy_rsa = Self { folder };
        easy_rsa.easyrsa(&["init-pki"]);
        easy_rsa.easyrsa(&["build-ca", "nopass"]);
        easy_rsa
    }

    /// `easyrsa` in its folder.
    pub fn easyrsa(&self, arguments: &[&str]) {
        let mut command = Command::new("/usr/share/easy-rsa/easyrsa");
        command.current_dir(self.folder.path()).args(arguments);
        command.env("EASYRSA_PKI", self.path("pki")).env("EASYRSA_BATCH", "1");
        if arguments[0] == "build-ca" {
            command.env("EASYRSA_REQ_CN", "Easy CA");
        }
        command.env("EASYRSA_ALGO", "ec").env("EASYRSA_CURVE", "prime256v1");
        let output = run(&mut command, "easy-rsa");
        let all = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {all}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The serial number of a certificate as `openssl` prints it: `0A1B`.
pub fn serial(certificate: &X509) -> String {
    certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

/// Puts a file in place of another, at once.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, path).unwrap();
}

const CONFIGURATION: &str = "\
[ca]
default_ca = this
[this]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = certs
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_days = 365
default_crl_days = 30
unique_subject = no
policy = names
crl_extensions = list
[names]
commonName = supplied
[req]
distinguished_name = empty
prompt = no
[empty]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[list]
authorityKeyIdentifier = keyid
[of_a_point]
issuingDistributionPoint = critical, @point
[point]
fullname = URI:http://example.test/a.crl
[of_servers]
issuingDistributionPoint = critical, @servers
[servers]
onlyuser = TRUE
[of_reasons]
issuingDistributionPoint = critical, @reasons
[reasons]
onlysomereasons = keyCompromise
[indirect]
issuingDistributionPoint = critical, @others
[others]
indirectCRL = TRUE
[of_changes]
deltaCRL = critical, DER:02:01:01
[unheard_of]
1.2.3.4 = critical, DER:05:00
[heard_of]
1.2.3.4 = DER:05:00
";
