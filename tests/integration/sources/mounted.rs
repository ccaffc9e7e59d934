//! Files that are mounted, by themselves or with their folder.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;

use super::{AT_ONCE, about, configure, statuses};
use crate::support::authority::{OpensslCa, replace, serial};
use crate::support::ocsp::{CertId, Request, TRY_LATER};
use crate::support::site::{Running, Site, mounted};
use crate::support::{free_port, logged, run};

// rule: ANS-1
#[test]
fn an_index_txt_that_is_mounted_by_itself_is_not_used() {
    let ca = OpensslCa::new("/CN=Test CA");
    let one = serial(&ca.issue("one", &[]));
    fs::write(ca.path("mounted.txt"), "").unwrap();
    let port = free_port();
    let config = configure(&ca, port, "[database]\nindex = \"mounted.txt\"\n");
    let mount = "mount --bind index.txt mounted.txt";
    let running = Running::start_mounted(&config, port, mount);
    // What OpenSSL would put in its place, nobody would see.
    assert_eq!(running.post(&about(&ca.certificate(), &one)), TRY_LATER);
    logged(&ca.path("serve.log"), "mounted by itself");
    let told = run(&mut mounted(&config, mount, "check"), "util-linux");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("WRONG    database") && told.contains("mounted by itself"), "{told}");
}

// rule: ANS-6
#[test]
fn an_index_txt_whose_folder_is_mounted_shows_what_takes_its_place() {
    let ca = OpensslCa::new("/CN=Test CA");
    let one = serial(&ca.issue("one", &[]));
    fs::create_dir(ca.path("there")).unwrap();
    let port = free_port();
    let more = format!("[database]\nindex = \"there/index.txt\"\n{AT_ONCE}");
    let config = configure(&ca, port, &more);
    let running = Running::start_mounted(&config, port, "mount --bind . there");
    let question = about(&ca.certificate(), &one);
    assert_eq!(statuses(&running, &question), ["good"]);
    ca.revoke("one", &[]);
    assert!(statuses(&running, &question)[0].starts_with("revoked"));
}

// rule: ANS-1
#[test]
fn a_file_that_is_mounted_by_itself_and_then_replaced_is_no_source_of_good() {
    let ca = OpensslCa::new("/CN=Test CA");
    let [one, two] = ["one", "two"].map(|name| serial(&ca.issue(name, &[])));
    ca.revoke("two", &[]);
    ca.write_crl("ca.crl", &[]);
    fs::write(ca.path("mounted.crl"), "").unwrap();
    let port = free_port();
    let source = "[database]\ncrl = \"mounted.crl\"\nunlisted = \"good\"\n";
    let config = configure(&ca, port, &format!("{source}{AT_ONCE}"));
    // What is mounted stays, whatever takes its name later.
    let running = Running::start_mounted(&config, port, "mount --bind ca.crl mounted.crl");
    // With a nonce, as no kept answer helps then.
    let [one, two] = [one, two].map(|serial| {
        Request::about(&CertId::new(&ca.certificate(), &serial)).with_nonce(&[7; 16]).der()
    });
    assert_eq!(statuses(&running, &one), ["good"]);
    ca.revoke("one", &[]);
    ca.write_crl("new.crl", &[]);
    replace(&ca.path("ca.crl"), fs::read(ca.path("new.crl")).unwrap());
    assert_eq!(statuses(&running, &one), ["good"], "for a moment");
    logged(&ca.path("serve.log"), "replaced or removed, but mounted by itself");
    let until = Instant::now() + Duration::from_secs(20);
    while running.post(&one) != TRY_LATER {
        assert!(Instant::now() < until, "{}", fs::read_to_string(ca.path("serve.log")).unwrap());
        sleep(Duration::from_millis(100));
    }
    assert!(statuses(&running, &two)[0].starts_with("revoked"));
}

#[test]
fn check_warns_of_files_that_are_mounted_by_themselves() {
    let ca = OpensslCa::new("/CN=Test CA");
    ca.write_crl("ca.crl", &[]);
    let site = Site::with_certificates(KeyKind::P256);
    let port = free_port();
    for (config, folder, file) in [
        (configure(&ca, port, "[database]\ncrl = \"ca.crl\"\n"), ca.path(""), "ca.crl"),
        (site.configure(&format!("port = {port}\n")), site.path(""), "certs.db"),
    ] {
        let told = |mount: &str| {
            let told = run(&mut mounted(&config, mount, "check"), "util-linux");
            String::from_utf8_lossy(&told.stdout).into_owned()
        };
        let warned = told(&format!("mount --bind {file} {file}"));
        let line = format!("warning  database {}: mounted by itself", folder.join(file).display());
        assert!(warned.contains(&line), "{warned}");
        let well = told(&format!("mount --bind . {0} && cd {0}", folder.display()));
        assert!(!well.contains("mounted") && well.contains("all is well"), "{well}");
    }
}
