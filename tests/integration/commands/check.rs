//! `check`: what it calls well, wrong and worth a warning.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use ocsp_fcgi::demo::{KeyKind, Purpose, write_private};

use super::{ocsp_fcgi, openssl, text, unprivileged};
use crate::support::site::{PROGRAM, Site, mounted};
use crate::support::web::is_root;
use crate::support::{files, free_port, run};

#[test]
fn check_says_ok_to_what_is_well() {
    let site = Site::with_certificates(KeyKind::P256);
    let port = free_port();
    let config = site.configure(&format!("port = {port}\n[listen]\nunix = \"s.sock\"\n"));
    let output = check(&config);
    let stdout = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{stdout}");
    for line in [
        "ok       configuration ",
        &format!("ok       listens on 127.0.0.1:{port}\n"),
        "ok       issuer CN=Test CA\n",
        "ok       signer CN=Test CA: ecdsa-with-SHA256, valid until ",
        "ok       cache folder ",
        "all is well\n",
    ] {
        assert!(stdout.contains(line), "wanted {line:?} in\n{stdout}");
    }
    assert!(!stdout.contains("WRONG"), "{stdout}");
    let by_root = stdout.contains("warning  checked with the rights of root");
    assert_eq!(by_root, is_root(), "{stdout}");
    assert!(!site.path("cache").exists(), "it would be closed to another user, the service");
}

#[test]
fn check_says_all_that_is_wrong_and_exits_with_1() {
    let site = Site::with_certificates(KeyKind::P256);
    fs::write(site.path("file"), "in the way").unwrap();
    let config = site.write_config(
        "itcert = \"ca.crt\"\nitkey = \"missing.key\"\ncachefolder = \"file/cache\"\n\
         dbip = \"127.0.0.1:1\"\ndbuser = \"u\"\ndbpassword = \"hush\"\ndbname = \"n\"\n",
    );
    let output = check(&config);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    for line in [
        &format!("WRONG    {}:2:9: key ", config.display()),
        "missing.key: No such file",
        "WRONG    cache folder ",
        "WRONG    database 127.0.0.1:1: ",
        "3 things are wrong\n",
    ] {
        assert!(stdout.contains(line), "wanted {line:?} in\n{stdout}");
    }
    assert!(!stdout.contains("hush"));
}

#[test]
fn check_names_the_line_of_each_file_that_cannot_be_used() {
    let site = Site::with_certificates(KeyKind::P256);
    fs::write(site.path("text"), "no certificate").unwrap();
    let other = KeyKind::P256.generate().unwrap();
    write_private(&site.path("other.key"), &other.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let good = "itcert = \"ca.crt\"\nitkey = \"ca.key\"\n";
    let end = "[database]\nsqlite = \"certs.db\"\n";
    let issuer = "[[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n";
    for (text, place, wanted) in [
        (good.replace("ca.crt", "none") + end, "1:10", "certificate FOLDER/none: No such file"),
        (good.replace("ca.crt", "text") + end, "1:10", "certificate FOLDER/text: no X.509"),
        (good.replace("ca.key", "none") + end, "2:9", "key FOLDER/none: No such file"),
        (good.replace("ca.key", "other.key") + end, "2:9", "key FOLDER/other.key with certificate"),
        (format!("{good}itsigner = \"none\"\n{end}"), "3:12", "certificate FOLDER/none: No"),
        (
            format!("{good}{end}[presigned]\nfolder = \"none\"\nca = \"ca.crt\"\n"),
            "6:10",
            "folder FOLDER/none: No such file",
        ),
        (
            format!("{good}{end}[presigned]\nfolder = \".\"\nca = \"none\"\n"),
            "7:6",
            "certificates FOLDER/none: No such file",
        ),
        (format!("{end}{issuer}next_key = \"none\"\n"), "6:12", "key FOLDER/none: No such file"),
        (format!("{end}{issuer}{issuer}table = \"b\"\n"), "7:15", "certificates FOLDER/ca.crt and"),
    ] {
        let config = site.write_config(&text);
        let wanted = wanted.replace("FOLDER", site.folder.path().to_str().unwrap());
        let line = format!("WRONG    {}:{place}: {wanted}", config.display());
        let told = self::text(&check(&config).stdout);
        assert!(told.contains(&line), "wanted {line:?} in\n{told}");
        assert!(!told.contains(".c:"), "lines of OpenSSL's sources: {told}");
    }
}

#[test]
fn check_finds_out_that_the_socket_cannot_be_made() {
    let site = Site::with_certificates(KeyKind::P256);
    fs::write(site.path("file"), "in the way").unwrap();
    for (lines, code, wanted) in [
        (
            "unix = \"s.sock\"\nunix_group = \"www-dta\"\n",
            1,
            "WRONG    [listen] unix: unix_group: no",
        ),
        ("unix = \"file\"\n", 1, "WRONG    [listen] unix: listening: "),
        ("unix = \"nowhere/s.sock\"\n", 0, "warning  [listen] unix: no folder for "),
    ] {
        let config = site.configure(&format!("port = 9999\n[listen]\n{lines}"));
        let output = check(&config);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{stdout}");
        assert!(stdout.contains(wanted), "{stdout}");
    }
    assert_eq!(fs::read(site.path("file")).unwrap(), b"in the way");
    // A socket that is served is none of its business.
    let config = site.configure("port = 9999\n[listen]\nunix = \"s.sock\"\n");
    let _served = std::os::unix::net::UnixListener::bind(site.path("s.sock")).unwrap();
    assert_eq!(check(&config).status.code(), Some(0));
    let left = fs::read_dir(site.folder.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
}

#[test]
fn check_finds_out_that_another_user_has_made_a_part_of_the_cache_folder() {
    let site = Site::with_certificates(KeyKind::P256);
    site.serve("").post(&site.about("0a1b").der());
    let config = site.configure("port = 9999\n");
    let bucket = files(&site.path("cache"))[0].parent().unwrap().to_owned();
    for closed in [bucket.as_path(), bucket.parent().unwrap()] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
        let output = run(unprivileged(&[PROGRAM, "check", "--config"]).arg(&config), "util-linux");
        fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
        let (stdout, path) = (text(&output.stdout), closed.display());
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains(&format!("WRONG    cache folder {path}: ")), "{stdout}");
    }
    assert_eq!(check(&config).status.code(), Some(0));
}

#[test]
fn check_and_serve_refuse_a_key_that_is_not_as_it_should_be() {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    let other = KeyKind::Rsa2048.generate().unwrap();
    write_private(&site.path("other.key"), &other.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let open = site.path("open.key");
    fs::copy(site.path("ca.key"), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let key = &site.ca.identity.key;
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    write_private(&site.path("encrypted.key"), &encrypted).unwrap();
    let old = key.rsa().unwrap().private_key_to_pem_passphrase(cipher, b"secret").unwrap();
    write_private(&site.path("old.key"), &old).unwrap();
    let cipher = ["pkcs8", "-topk8", "-in", "ca.key", "-outform", "DER", "-out", "sealed.key"];
    openssl(&site, &[&cipher[..], &["-passout", "pass:secret"]].concat());
    write_private(&site.path("empty.key"), b"").unwrap();
    fs::copy(site.path("ca.crt"), site.path("cert.key")).unwrap();
    fs::set_permissions(site.path("cert.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for (name, reason) in [
        ("missing.key", "No such file"),
        ("open.key", "others can read it (mode 0644), wanted: `chmod o= "),
        ("other.key", "the key does not belong to the certificate"),
        ("encrypted.key", "it is encrypted"),
        ("old.key", "it is encrypted"),
        ("sealed.key", "encrypted"),
        ("empty.key", "no private key in PEM or DER"),
        ("cert.key", "no private key in PEM or DER"),
        ("", "ca.crt"),
    ] {
        let key = if name.is_empty() { "." } else { name };
        let config = site.write_config(&format!(
            "port = {}\nitcert = \"ca.crt\"\nitkey = \"{key}\"\n[database]\nsqlite = \"certs.db\"\n",
            free_port()
        ));
        let config = config.to_str().unwrap();
        for command in ["check", "serve", "respond"] {
            // With a terminal to ask on: `script` gives it one. It must not ask.
            let line = format!("exec {PROGRAM} {command} --config {config} 2>&1 </dev/null");
            let mut script = Command::new("script");
            let output = run(script.args(["-qec", &line, "/dev/null"]), "bsdutils");
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{command} {name}: {said}");
            if !name.is_empty() {
                assert!(said.contains(reason), "{command}: wanted {reason:?} in\n{said}");
            }
            assert!(said.contains(key) && !said.contains("panicked"), "{said}");
            assert!(!said.contains("Enter"), "it asks: {said}");
        }
    }
}

#[test]
fn a_key_that_others_can_read_is_taken_where_the_configuration_says_so_loudly() {
    let site = Site::with_certificates(KeyKind::P256);
    fs::set_permissions(site.path("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = site.configure("permissions = \"warn\"\n");
    let output = check(&config);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains("warning  key ") && stdout.contains("(mode 0644)"), "{stdout}");
    assert!(!stdout.contains("everybody may write"), "{stdout}");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o646)).unwrap();
    let stdout = text(&check(&config).stdout);
    assert!(stdout.contains("config.toml: everybody may write to the file"), "{stdout}");
}

#[test]
fn check_tells_which_addresses_can_be_listened_on() {
    let site = Site::with_certificates(KeyKind::P256);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let told = |port: u16, addresses: &str| {
        let listen = format!("[listen]\naddresses = [{addresses}]\n");
        let output = check(&site.configure(&format!("port = {port}\n{listen}")));
        (output.status.code(), text(&output.stdout))
    };
    let (code, both) = told(port, "\"127.0.0.1\", \"192.0.2.1\"");
    assert_eq!(code, Some(0), "{both}");
    assert!(both.contains(&format!("ok       listens on 127.0.0.1:{port}, which is in use now")));
    assert!(both.contains("ok       does not listen on 192.0.2.1"), "{both}");
    let (code, absent) = told(port, "\"192.0.2.1\"");
    assert_eq!(code, Some(1), "{absent}");
    assert!(absent.contains("WRONG    port: this machine does not have the address 192.0.2.1"));
    // In a network of its own, where the ports below 1024 take a right that is given away.
    let config = site.configure("port = 80\n[listen]\naddresses = [\"0.0.0.0\", \"::\"]\n");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "setpriv", "--bounding-set=-net_bind_service", PROGRAM])
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .expect("apt-get install util-linux");
    let refused = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{refused}");
    for address in ["0.0.0.0:80", "[::]:80"] {
        let line = format!("WRONG    port: listening: {address}: Permission denied");
        assert!(refused.contains(&line), "{refused}");
    }
}

#[test]
fn check_finds_a_full_disk() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(&format!("port = {}\n", free_port()));
    fs::create_dir(site.path("cache")).unwrap();
    let disk = "mount -t tmpfs -o size=64k tmpfs cache";
    let output = run(&mut mounted(&config, disk, "check"), "util-linux");
    assert!(text(&output.stdout).contains("ok       cache folder"), "{}", text(&output.stdout));
    let full = format!("{disk} && ! cat /dev/zero 2>/dev/null >cache/full");
    let output = run(&mut mounted(&config, &full, "check"), "util-linux");
    let told = text(&output.stdout);
    assert!(told.contains("WRONG    cache folder") && told.contains("No space left"), "{told}");
}

#[test]
fn check_calls_a_certificate_wrong_that_is_no_cas() {
    let site = Site::with_certificates(KeyKind::P256);
    site.delegate(Purpose::OcspSigner);
    let config = site.write_config(
        "itcert = \"signer.crt\"\nitkey = \"signer.key\"\n[database]\nsqlite = \"certs.db\"\n",
    );
    let output = check(&config);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    let line = "signer.crt: is no CA's (by basicConstraints or extendedKeyUsage), so that";
    assert!(stdout.contains(line), "{stdout}");
    // Swapped.
    let config = site.write_config(
        "itcert = \"ca.key\"\nitkey = \"ca.crt\"\n[database]\nsqlite = \"certs.db\"\n",
    );
    let stdout = text(&check(&config).stdout);
    assert!(stdout.contains("ca.key: holds a private key, and no certificate\n"), "{stdout}");
}

#[test]
fn check_looks_at_some_rows_as_questions_would() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure("");
    let table = rusqlite::Connection::open(site.path("certs.db")).unwrap();
    // Without what the shipped schema forbids.
    let columns = "cert_num TEXT PRIMARY KEY, revocation_time TEXT, revocation_reason TEXT, \
                   cert BLOB, status TEXT";
    let anew = format!("DROP TABLE list_certs; CREATE TABLE list_certs ({columns})");
    table.execute_batch(&anew).unwrap();
    let other = "not as serial in [database.values] has it";
    let unreadable = format!("have a serial number that cannot be read, {other}, as \"zz\"");
    let lost = format!("are not found by their serial number, {other}, as");
    for (serials, status, wanted) in [
        (["0x0a1b", "0xff02"], "Valid", "all is well".to_owned()),
        (["4097", "65282"], "Valid", format!("2 of 2 rows looked at {lost} 4097")),
        (["0x0a1b", "10:00"], "Valid", format!("1 of 2 rows looked at {lost} 1000")),
        (["zy", "zz"], "Valid", format!("2 of 2 rows looked at {unreadable}").replace("zz", "zy")),
        (
            ["0x0a1b", "0xff02"],
            "0",
            "2 of 2 rows looked at cannot be understood, and get internalError, as \"0x0a1b\": \
             status is \"0\", must be Valid or Revoked"
                .to_owned(),
        ),
    ] {
        table.execute("DELETE FROM list_certs", []).unwrap();
        for serial in serials {
            let row = "INSERT INTO list_certs (cert_num, status) VALUES (?, ?)";
            table.execute(row, [serial, status]).unwrap();
        }
        let output = check(&config);
        let stdout = text(&output.stdout);
        let code = i32::from(!wanted.starts_with("all"));
        assert_eq!(output.status.code(), Some(code), "{stdout}");
        assert!(stdout.contains(&format!("{wanted}\n")), "wanted {wanted:?} in\n{stdout}");
    }
    // One that no question can ask for, beside others.
    table.execute("DELETE FROM list_certs", []).unwrap();
    let rows = "INSERT INTO list_certs (cert_num, status) VALUES ('0x0a1b', 'Valid'), ('zz', 'x')";
    table.execute(rows, []).unwrap();
    let output = check(&config);
    let stdout = text(&output.stdout);
    let line = format!("certs.db: 1 of 2 rows looked at {unreadable}\n");
    assert!(output.status.success() && stdout.contains(&line), "{stdout}");
}

#[test]
fn check_warns_of_a_ca_without_a_row_in_a_table_that_has_some() {
    let site = Site::with_certificates(KeyKind::P256);
    let table = rusqlite::Connection::open(site.path("certs.db")).unwrap();
    table.execute_batch("ALTER TABLE list_certs ADD COLUMN ca TEXT DEFAULT 'tls'").unwrap();
    for (value, is_warned_of) in [("tls", false), ("tsl", true)] {
        let config = site.write_config(&format!(
            "[database]\nsqlite = \"certs.db\"\ncolumns = {{ issuer = \"ca\" }}\n\
             [[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n\
             issuer_value = \"{value}\"\n"
        ));
        let output = check(&config);
        let stdout = text(&output.stdout);
        let line = "certs.db: the table has rows, and none of this CA\n";
        assert_eq!(stdout.contains(line), is_warned_of, "{value} {stdout}");
        assert!(output.status.success(), "{stdout}");
    }
}

#[test]
fn check_warns_of_a_cache_folder_that_everybody_may_write_to() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure("");
    let folder = site.path("cache");
    fs::create_dir(&folder).unwrap();
    for (mode, warned) in [(0o777, true), (0o770, false)] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        let output = check(&config);
        let stdout = text(&output.stdout);
        let line = format!("warning  cache folder {}: everybody may write there", folder.display());
        assert_eq!((output.status.code(), stdout.contains(&line)), (Some(0), warned), "{stdout}");
    }
}

#[test]
fn check_blames_the_folder_of_the_socket_not_its_group_where_that_is_closed() {
    let site = Site::with_certificates(KeyKind::P256);
    let group = nix::unistd::getegid();
    let socket = format!("[listen]\nunix = \"closed/s.sock\"\nunix_group = \"{group}\"\n");
    let config = site.configure(&socket);
    fs::create_dir(site.path("closed")).unwrap();
    fs::set_permissions(site.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let mut check = unprivileged(&[PROGRAM, "check", "--config", config.to_str().unwrap()]);
    let said = text(&run(&mut check, "ocsp-fcgi").stdout);
    assert!(said.contains("WRONG    [listen] unix: listening: "), "{said}");
}

#[test]
fn check_says_why_an_sqlite_file_cannot_be_opened() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.write_config(
        "itcert = \"ca.crt\"\nitkey = \"ca.key\"\n[database]\nsqlite = \"certs.db\"\n",
    );
    let file = site.path("certs.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let mut check = unprivileged(&[PROGRAM, "check", "--config", config.to_str().unwrap()]);
    let output = run(&mut check, "ocsp-fcgi");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let wanted = format!("WRONG    database {}: Permission denied", file.display());
    assert!(said.contains(&wanted), "{said}");
}

fn check(config: &Path) -> Output {
    ocsp_fcgi(&["check", "--config", config.to_str().unwrap()])
}
