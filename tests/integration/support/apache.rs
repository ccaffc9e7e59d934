//! The real Apache with the shipped `examples/apache.conf`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::nginx::socket;
use super::site::{PROGRAM, Site};
use super::web::{WEB_USER, WebServer, is_root, program, shipped};
use super::{eventually, free_port};

/// The ways to the responder in the shipped file, and the modules they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Fcgid,
    Proxy,
    Cgid,
    /// mod_cgi, under the process model that it is for.
    Cgi,
}

/// Apache as Debian has it, but for its files. Under [`Way::Proxy`] the responder's
/// socket is `ocsp-fcgi.sock`; otherwise Apache starts a copy of the program, with the
/// `config.toml` that is there, and both become its user's.
pub fn apache(site: &Site, way: Way) -> WebServer {
    apache_before(site, way, &socket(site))
}

/// The same with another socket for [`Way::Proxy`].
pub fn apache_before(site: &Site, way: Way, socket: &Path) -> WebServer {
    let port = free_port();
    let folder = site.folder.path().to_str().unwrap();
    fs::copy(PROGRAM, site.path("ocsp-fcgi")).unwrap();
    let host = format!("<VirtualHost 127.0.0.1:{port}>");
    let replacements = [
        ("<VirtualHost *:80>", &*host),
        ("/run/ocsp-fcgi/ocsp-fcgi.sock", socket.to_str().unwrap()),
        ("/usr/local/bin/", &format!("{folder}/")),
        ("/etc/ocsp-fcgi/", &format!("{folder}/")),
    ];
    fs::write(site.path("apache-site.conf"), shipped("apache.conf", &replacements)).unwrap();
    fs::write(site.path("apache.conf"), main_file(folder, port, way)).unwrap();
    if is_root() && way != Way::Proxy {
        give_away(site.folder.path());
    }
    let mut arguments = vec![
        program("apache2", "apache2").display().to_string(),
        "-DFOREGROUND".to_owned(),
        "-f".to_owned(),
        site.path("apache.conf").display().to_string(),
    ];
    match way {
        Way::Fcgid => {}
        Way::Proxy => arguments.push("-DOCSP_PROXY".to_owned()),
        Way::Cgid | Way::Cgi => arguments.push("-DOCSP_CGI".to_owned()),
    }
    let server = WebServer::start(arguments, port, &site.path("apache.log"));
    if way == Way::Cgid {
        eventually("mod_cgid's process can be reached", || takes_programs(site).then_some(()));
    }
    server
}

/// Whether the process of mod_cgid that starts programs has made its socket and given
/// it to Apache's user: without, Apache answers 503, though it listens already.
fn takes_programs(site: &Site) -> bool {
    let folder = fs::metadata(site.folder.path()).unwrap();
    fs::read_dir(site.folder.path()).unwrap().flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("cgid.sock")
            && entry.metadata().is_ok_and(|socket| socket.uid() == folder.uid())
    })
}

fn main_file(folder: &str, port: u16, way: Way) -> String {
    let (mpm, modules, settings) = match way {
        Way::Fcgid => (
            "mpm_event",
            &["fcgid"][..],
            format!("FcgidIPCDir {folder}/fcgid\nFcgidProcessTableFile {folder}/fcgid.table"),
        ),
        Way::Proxy => ("mpm_event", &["proxy", "proxy_fcgi"][..], String::new()),
        Way::Cgid => ("mpm_event", &["cgid"][..], format!("ScriptSock {folder}/cgid.sock")),
        Way::Cgi => ("mpm_prefork", &["cgi"][..], String::new()),
    };
    let modules: String =
        [mpm, "authz_core", "alias", "env"].iter().chain(modules).map(|name| load(name)).collect();
    format!(
        "ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\n{modules}\
         DefaultRuntimeDir {folder}\nMutex file:{folder} default\nPidFile {folder}/apache.pid\n\
         ErrorLog {folder}/apache.log\nLogLevel info\nUser {WEB_USER}\nGroup {WEB_USER}\n{settings}\n\
         Include {folder}/apache-site.conf\n"
    )
}

fn load(name: &str) -> String {
    let file = format!("/usr/lib/apache2/modules/mod_{name}.so");
    let package = if name == "fcgid" { "libapache2-mod-fcgid" } else { "apache2" };
    assert!(Path::new(&file).exists(), "no {file}; on Debian: apt-get install {package}");
    format!("LoadModule {name}_module {file}\n")
}

/// Gives a folder with all that is in it to Apache's user.
fn give_away(folder: &Path) {
    let user = User::from_name(WEB_USER).unwrap().unwrap().uid.as_raw();
    let group = Group::from_name(WEB_USER).unwrap().unwrap().gid.as_raw();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        chown(&path, Some(user), Some(group)).unwrap();
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// The processes of the site's copy of the program.
pub fn processes(site: &Site) -> Vec<i32> {
    let program = site.path("ocsp-fcgi");
    let runs_it =
        |entry: &PathBuf| fs::read_link(entry.join("exe")).is_ok_and(|exe| exe == program);
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let ids = entries.filter(runs_it).map(|path| path.file_name().unwrap().to_owned());
    ids.map(|id| id.to_str().unwrap().parse().unwrap()).collect()
}

/// The process that `apachectl graceful` sends its signal to.
pub fn parent(site: &Site) -> i32 {
    fs::read_to_string(site.path("apache.pid")).unwrap().trim().parse().unwrap()
}
