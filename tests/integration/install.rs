//! install.sh into a folder of its own: modes, a second run, what it keeps,
//! and the systemd units it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::with_input;

#[test]
fn an_installation_has_all_files_and_their_modes() {
    let place = Place::new();
    let said = place.install(&[]);
    for (path, mode) in [
        ("usr/local/bin/ocsp-fcgi", 0o755),
        ("etc/ocsp-fcgi", 0o750),
        ("etc/ocsp-fcgi/config.toml", 0o640),
        ("etc/ocsp-fcgi/config.toml.example", 0o640),
        ("var/cache/ocsp-fcgi", 0o700),
        ("var/lib/ocsp-fcgi", 0o750),
        ("etc/systemd/system/ocsp-fcgi.service", 0o644),
        ("etc/systemd/system/ocsp-fcgi.socket", 0o644),
    ] {
        assert_eq!(place.mode(path), mode, "{path}");
        assert!(said.contains(&format!("/{path} (")), "{path} is not in: {said}");
    }
    assert_eq!(place.read("usr/local/bin/ocsp-fcgi"), BINARY);
    let example = place.read("etc/ocsp-fcgi/config.toml.example");
    assert_eq!(place.read("etc/ocsp-fcgi/config.toml"), example);
}

#[test]
fn an_upgrade_replaces_the_binary_and_keeps_the_configuration() {
    let place = Place::new();
    place.install(&["--web-group", "caddy"]);
    place.write("etc/ocsp-fcgi/config.toml", "port = 9001\n");
    place.write("etc/ocsp-fcgi/config.toml.example", "old\n");
    fs::write(place.binary(), "#!/bin/sh\necho new\n").unwrap();
    let said = place.install(&[]);
    assert!(said.contains("keep      /etc/ocsp-fcgi/config.toml\n"), "{said}");
    assert_eq!(place.read("etc/ocsp-fcgi/config.toml"), "port = 9001\n");
    assert_ne!(place.read("etc/ocsp-fcgi/config.toml.example"), "old\n");
    assert!(place.read("usr/local/bin/ocsp-fcgi").contains("new"));
    let socket = place.read("etc/systemd/system/ocsp-fcgi.socket");
    assert!(socket.contains("SocketGroup=caddy\n"), "{socket}");
    assert!(place.tree().keys().all(|path| !path.contains("/.ocsp-fcgi")), "a temporary is left");
}

#[test]
fn an_upgrade_keeps_the_access_that_others_were_given() {
    let place = Place::new();
    place.install(&[]);
    let folders = ["etc/ocsp-fcgi", "var/cache/ocsp-fcgi", "var/lib/ocsp-fcgi"];
    for folder in folders {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path(folder), mode).unwrap();
    }
    let said = place.install(&[]);
    for folder in folders {
        assert!(said.contains(&format!("keep      /{folder}\n")), "{said}");
        assert_eq!(place.mode(folder), 0o755, "{folder}");
    }
}

#[test]
fn a_second_run_changes_nothing() {
    let place = Place::new();
    place.install(&[]);
    let before = place.tree();
    place.install(&[]);
    assert_eq!(place.tree(), before);
}

#[test]
fn a_dry_run_says_everything_and_changes_nothing() {
    let place = Place::new();
    let said = place.install(&["--dry-run"]);
    assert!(said.contains("would write     /usr/local/bin/ocsp-fcgi (0755)\n"), "{said}");
    assert_eq!(place.tree(), BTreeMap::new());
    place.install(&[]);
    let before = place.tree();
    place.install(&["--dry-run"]);
    let said = place.run(&["--uninstall", "--dry-run"]);
    assert!(said.contains("would remove    /usr/local/bin/ocsp-fcgi\n"), "{said}");
    assert_eq!(place.tree(), before);
}

#[test]
fn an_uninstallation_keeps_the_configuration_and_says_so() {
    let place = Place::new();
    place.install(&[]);
    let said = place.run(&["--uninstall"]);
    assert!(said.contains("kept: /etc/ocsp-fcgi (configuration)"), "{said}");
    let tree = place.tree();
    let files: Vec<_> =
        tree.iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path).collect();
    assert_eq!(files, ["/etc/ocsp-fcgi/config.toml", "/etc/ocsp-fcgi/config.toml.example"]);
    place.run(&["--uninstall"]); // again: nothing to do is no error
}

#[test]
fn a_prefix_reaches_the_service() {
    let place = Place::new();
    place.install(&["--prefix", "/opt/ocsp/"]);
    assert_eq!(place.mode("opt/ocsp/bin/ocsp-fcgi"), 0o755);
    let service = place.read("etc/systemd/system/ocsp-fcgi.service");
    let start = "ExecStart=/opt/ocsp/bin/ocsp-fcgi serve --config /etc/ocsp-fcgi/config.toml\n";
    assert!(service.contains(start), "{service}");
}

#[test]
fn an_uninstallation_finds_the_prefix_and_names_what_it_keeps() {
    let place = Place::new();
    place.install(&["--prefix", "/usr"]);
    place.run(&["--uninstall"]);
    let units = "usr/lib/systemd/system";
    for gone in
        ["usr/bin/ocsp-fcgi", "usr/share/doc/ocsp-fcgi", &format!("{units}/ocsp-fcgi.socket")]
    {
        assert!(!place.path(gone).exists(), "{gone}");
    }
    place.install(&["--prefix", "/opt/ocsp"]);
    place.write("etc/systemd/system/ocsp-fcgi.service.d/override.conf", "[Service]\n");
    let said = place.run(&["--uninstall"]);
    let left: Vec<_> = place.tree().into_iter().filter_map(|(path, is)| is.map(|_| path)).collect();
    assert_eq!(
        left,
        [
            "/etc/ocsp-fcgi/config.toml",
            "/etc/ocsp-fcgi/config.toml.example",
            "/etc/systemd/system/ocsp-fcgi.service.d/override.conf",
        ]
    );
    assert!(said.contains("kept: /etc/systemd/system/ocsp-fcgi.service.d ("), "{said}");
}

#[test]
fn an_uninstallation_names_what_was_made_by_hand_and_who_is_in_the_group() {
    let place = Place::new();
    place.install(&[]);
    let said = place.run(&["--uninstall"]);
    assert!(!said.contains("web server") && !said.contains("gpasswd"), "{said}");
    let made = [
        "etc/systemd/system/ocsp-fcgi-warm.timer",
        "etc/nginx/conf.d/ocsp-fcgi.conf",
        "etc/apache2/sites-available/ocsp-fcgi.conf",
        "var/cache/ocsp-fcgi-apache/34099f7f/00.der",
        "run/nginx-ocsp-fcgi/52/097b",
    ];
    made.iter().for_each(|path| place.write(path, "made by hand\n"));
    fs::create_dir(place.path("etc/apache2/sites-enabled")).unwrap();
    let link = place.path("etc/apache2/sites-enabled/ocsp-fcgi.conf");
    symlink("../sites-available/ocsp-fcgi.conf", link).unwrap();
    place.write("etc/group", "www-data:x:33:\nocsp-fcgi:x:999:www-data,carol\n");
    place.install(&[]);
    let said = place.run(&["--uninstall"]);
    for kept in [
        "/etc/systemd/system/ocsp-fcgi-warm.timer (",
        "/etc/nginx/conf.d/ocsp-fcgi.conf (",
        "/etc/apache2/sites-available/ocsp-fcgi.conf (",
        "/etc/apache2/sites-enabled/ocsp-fcgi.conf (",
        "/var/cache/ocsp-fcgi-apache (",
        "/run/nginx-ocsp-fcgi (",
    ] {
        assert!(said.contains(&format!("kept: {kept}")), "{kept}: {said}");
    }
    made.iter().for_each(|path| assert!(place.path(path).exists(), "{path}"));
    let leave = "; gpasswd -d www-data ocsp-fcgi; gpasswd -d carol ocsp-fcgi; userdel ocsp-fcgi\n";
    assert!(said.contains(leave), "{said}");
}

#[test]
fn an_upgrade_names_the_copies_that_the_web_server_has() {
    let place = Place::new();
    assert!(!place.install(&[]).contains("diff /etc/nginx"));
    place.write("etc/nginx/conf.d/ocsp-fcgi.conf", "of before\n");
    let said = place.install(&["--prefix", "/opt/ocsp"]);
    let diff = "diff /etc/nginx/conf.d/ocsp-fcgi.conf /opt/ocsp/share/doc/ocsp-fcgi/nginx.conf\n";
    assert!(said.contains(diff), "{said}");
    assert!(!said.contains("apache2/"), "{said}");
    assert_eq!(place.read("etc/nginx/conf.d/ocsp-fcgi.conf"), "of before\n");
}

#[test]
fn a_cargo_that_is_too_old_or_not_there_is_told_before_anything_is_built() {
    let place = Place::new();
    for (version, found) in
        [("cargo 0.66.0", "0.66.0"), ("cargo 1.9.0 (0 2016-05-23)", "1.9.0"), ("", "not there")]
    {
        place.cargo(version);
        let output = place.build();
        let said = String::from_utf8(output.stderr).unwrap();
        let wanted = env!("CARGO_PKG_RUST_VERSION");
        let sentence =
            format!("install.sh: cargo is {found}, wanted {wanted} or newer: get it from ");
        assert!(said.starts_with(&sentence) && said.lines().count() == 1, "{said}");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(place.tree(), BTreeMap::new());
    }
}

#[test]
fn what_is_new_enough_builds_once_the_packages_are_there() {
    for version in [concat!(env!("CARGO_PKG_RUST_VERSION"), ".0 (0 2025-07-30)"), "1.100.0-nightly"]
    {
        let place = Place::new();
        place.cargo(&format!("cargo {version}"));
        let output = place.build();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = "build --release --locked --target-dir target, after packages.sh demo\n";
        assert_eq!(place.read("usr/local/bin/ocsp-fcgi"), built);
    }
}

#[test]
fn the_checkout_is_where_the_script_is_wherever_cdpath_leads() {
    let place = Place::new();
    let (top, name) = (place.folder.path().parent().unwrap(), place.folder.path().file_name());
    let mut command = Command::new("sh");
    command.arg(Path::new(name.unwrap()).join("install.sh")).arg("--root").arg(place.path(""));
    command.arg("--binary").arg(place.binary()).current_dir(top).env("CDPATH", top);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.read("usr/local/bin/ocsp-fcgi"), BINARY);
}

#[test]
fn a_wrong_call_is_refused_with_a_sentence_and_changes_nothing() {
    let place = Place::new();
    for (arguments, sentence) in [
        (&["--bniary", "x"][..], "install.sh: unknown option --bniary; see --help\n"),
        (&["--prefix"], "install.sh: --prefix needs a value; see --help\n"),
        (
            &["--prefix", "opt"],
            "install.sh: --prefix opt: wanted an absolute path of plain characters\n",
        ),
        (
            &["--prefix", "/a|b"],
            "install.sh: --prefix /a|b: wanted an absolute path of plain characters\n",
        ),
        (&["--web-group", "a\nb"], "install.sh: --web-group a\nb: not a group name\n"),
        (&["--binary", "/nowhere"], "install.sh: --binary /nowhere: no such file\n"),
    ] {
        let output = place.call(arguments);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), sentence);
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(place.tree(), BTreeMap::new());
}

#[test]
fn systemd_accepts_the_units_and_finds_the_service_confined() {
    let place = Place::new();
    place.install(&[]);
    // The path of the binary is looked up on this machine, where it is not installed.
    let service = place.read("etc/systemd/system/ocsp-fcgi.service");
    let binary = place.path("usr/local/bin/ocsp-fcgi");
    let service = service.replace("/usr/local/bin/ocsp-fcgi", binary.to_str().unwrap());
    place.write("etc/systemd/system/ocsp-fcgi.service", &service);
    let units = place.path("etc/systemd/system");
    let [service, socket] = ["ocsp-fcgi.service", "ocsp-fcgi.socket"].map(|unit| units.join(unit));
    let verified = analyze(&["verify", "--man=no"], &[&service, &socket]);
    let complaints = String::from_utf8(verified.stderr).unwrap();
    let complaints: Vec<_> = complaints.lines().filter(|line| line.contains("ocsp-fcgi")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
    assert!(verified.status.success());
    // In tenths: what stays open is the network and Unix sockets of the database.
    let confined =
        analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &[&service]);
    assert!(confined.status.success(), "{}", String::from_utf8_lossy(&confined.stdout));
}

fn analyze(arguments: &[&str], units: &[&Path]) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output();
    output.expect("systemd-analyze is missing; on Debian: tests/packages.sh tests")
}

const BINARY: &str = "#!/bin/sh\necho old\n";

/// A checkout to install from, and a root to install below.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("")).unwrap();
        fs::write(place.binary(), BINARY).unwrap();
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["install.sh", "packaging", "config.toml.example"] {
            if top.join(name).exists() {
                symlink(top.join(name), place.folder.path().join(name)).unwrap();
            }
        }
        let example = place.folder.path().join("config.toml.example");
        if !example.exists() {
            fs::write(example, "port = 9000\n").unwrap();
        }
        place
    }

    fn binary(&self) -> PathBuf {
        self.folder.path().join("ocsp-fcgi")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// Installs the stand-in for the binary; what the script said.
    fn install(&self, arguments: &[&str]) -> String {
        let binary = self.binary();
        self.run(&[&["--binary", binary.to_str().unwrap()], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.folder.path().join("install.sh"));
        command.arg("--root").arg(self.path("")).args(arguments).output().unwrap()
    }

    /// Puts a cargo before the others that says it is of this version, and builds a text.
    fn cargo(&self, version: &str) {
        let top = self.folder.path();
        fs::create_dir_all(top.join("bin")).unwrap();
        fs::create_dir_all(top.join("tests")).unwrap();
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), top.join("Cargo.toml"))
            .unwrap();
        let says = match version {
            "" => "exit 127".to_owned(),
            version => format!("echo '{version}'; exit"),
        };
        let cargo = format!(
            "#!/bin/sh\n[ \"$1\" = build ] || {{ {says}; }}\nmkdir -p target/release\n\
             echo \"$*, after packages.sh $(cat packages)\" > target/release/ocsp-fcgi\n"
        );
        let packages = "#!/bin/sh\necho \"$1\" > \"$(dirname \"$0\")/../packages\"\n";
        for (name, script) in [("bin/cargo", &*cargo), ("tests/packages.sh", packages)] {
            // Not by this process: a test beside could have it open when it is to run.
            let mut install = Command::new("install");
            install.args(["-m", "0755", "/dev/stdin"]).arg(top.join(name));
            assert!(with_input(&mut install, script.as_bytes()).status.success());
        }
    }

    /// Builds by [`Place::cargo`], and installs.
    fn build(&self) -> Output {
        let bin = self.folder.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(self.folder.path().join("install.sh"));
        command.env("PATH", path).env_remove("SUDO_USER").arg("--root").arg(self.path(""));
        command.output().unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    /// All below the root: folders as `None`, files with their content.
    fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let (mut tree, mut left) = (BTreeMap::new(), vec![self.path("")]);
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("/{}", path.strip_prefix(self.path("")).unwrap().display());
                tree.insert(name, fs::read(&path).ok());
                if path.is_dir() {
                    left.push(path);
                }
            }
        }
        tree
    }
}
