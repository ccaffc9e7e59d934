//! What the tests build their world of: real programs, throwaway keys, temporary
//! folders. A program that is missing fails the test with the package to install.

pub mod apache;
pub mod authority;
pub mod client;
pub mod everything;
pub mod fastcgi;
pub mod mariadb;
pub mod nginx;
pub mod ocsp;
pub mod responder;
pub mod site;
pub mod web;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A TCP port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Runs a program to its end; fails with the package that has it when it is missing.
pub fn run(command: &mut Command, package: &str) -> Output {
    let program = command.get_program().to_owned();
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{}: {error}; on Debian: apt-get install {package}", program.display())
    })
}

/// Runs a program to its end with something on its standard input, which it need not read.
pub fn with_input(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _not_read = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

/// Tries again and again until `probe` gives something, for ten seconds at most.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sets a flag when it goes, by a panic too: threads that look at it come to an end.
pub struct OnDrop<'a>(pub &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a log file holds once `text` is in it: it is written behind what it is about.
#[track_caller]
pub fn logged(file: &Path, text: &str) -> String {
    eventually(&format!("{text:?} in the log"), || {
        std::fs::read_to_string(file).ok().filter(|log| log.contains(text))
    })
}

/// Whether a file in a cache folder is named as answers are.
pub fn is_answer(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "der")
}

/// The answers in a cache folder.
pub fn answers(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| is_answer(path)).collect()
}

/// All files below a folder; others may remove them meanwhile.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
