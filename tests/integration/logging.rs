//! The log against a Unix datagram socket that stands for syslogd: restarted,
//! stalled, missing; and against a standard error that is gone.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Record};
use ocsp_fcgi::logging::{self, Launcher, Logger, Outlets, Target};

#[test]
fn syslog_gets_facility_priority_name_and_process() {
    let world = World::new();
    let syslogd = Syslogd::start(&world.socket());
    let logger = world.logger();
    say(&logger, Level::Error, "key missing");
    say(&logger, Level::Debug, "asked");
    let end = format!(" ocsp-fcgi[{}]: key missing", std::process::id());
    let first = syslogd.receive();
    assert!(first.starts_with("<27>") && first.ends_with(&end), "{first}");
    assert!(syslogd.receive().starts_with("<31>"));
}

#[test]
fn a_line_break_cannot_forge_a_second_line() {
    let world = World::new();
    let syslogd = Syslogd::start(&world.socket());
    say(&world.logger(), Level::Info, "user=\"a\r\n<0>Jan  1 00:00:00 kernel: forged\x1b[2J\"");
    let line = syslogd.receive();
    assert!(line.ends_with(r#"user="a\r\n<0>Jan  1 00:00:00 kernel: forged\u{1b}[2J""#), "{line}");
}

#[test]
fn a_restart_of_syslogd_loses_no_line() {
    let world = World::new();
    let syslogd = Syslogd::start(&world.socket());
    let logger = world.logger();
    say(&logger, Level::Info, "before");
    assert!(syslogd.receive().ends_with("before"));
    drop(syslogd);
    (0..10).for_each(|number| say(&logger, Level::Info, &format!("meanwhile {number}")));
    std::thread::sleep(Duration::from_millis(60)); // a first attempt is made in vain
    let syslogd = Syslogd::start(&world.socket());
    for number in 0..10 {
        assert!(syslogd.receive().ends_with(&format!("meanwhile {number}")));
    }
    assert_eq!(world.stderr(), "");
}

#[test]
fn a_stalled_syslogd_delays_nobody_and_what_is_dropped_is_counted() {
    const LINES: usize = 5000;
    let world = World::new();
    let syslogd = Syslogd::start(&world.socket());
    let logger = world.logger();
    say(&logger, Level::Info, "before");
    assert!(syslogd.receive().ends_with("before"));
    let mut longest = Duration::ZERO;
    for number in 0..LINES {
        let start = Instant::now();
        say(&logger, Level::Info, &format!("number={number}"));
        longest = longest.max(start.elapsed());
    }
    // Far above what a busy machine adds, below the time-out of a write.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let (mut received, mut dropped) = (0, 0);
    while received + dropped < LINES {
        let line = syslogd.receive();
        match line.split_once("too slow: count=") {
            Some((_, count)) => dropped += count.parse::<usize>().unwrap(),
            None => received += 1,
        }
    }
    assert_eq!(received + dropped, LINES);
    assert!(dropped > 0);
}

#[test]
fn a_missing_syslog_is_said_once_and_stderr_takes_its_lines_until_it_appears() {
    let world = World::new();
    let logger = world.logger();
    say(&logger, Level::Info, "first");
    say(&logger, Level::Warn, "second");
    logger.flush();
    let stderr = world.stderr();
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].contains("warn  ocsp-fcgi: no syslog, standard error takes its lines: "));
    assert!(lines[1].ends_with("info  ocsp-fcgi: first"));
    assert!(lines[2].ends_with("warn  ocsp-fcgi: second"));
    let syslogd = Syslogd::start(&world.socket());
    let deadline = Instant::now() + PATIENCE;
    while syslogd.poll().is_none() {
        assert!(Instant::now() < deadline);
        say(&logger, Level::Info, "there?");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.stderr().matches("no syslog").count(), 1);
}

#[test]
fn a_flush_ends_in_about_a_second_even_when_syslogd_is_gone() {
    let world = World::new();
    let syslogd = Syslogd::start(&world.socket());
    let logger = world.logger();
    say(&logger, Level::Info, "before");
    assert!(syslogd.receive().ends_with("before"));
    drop(syslogd);
    say(&logger, Level::Info, "last words");
    let start = Instant::now();
    logger.flush();
    assert!(start.elapsed() < PATIENCE);
    drop(logger); // the end of the log ends the waiting for syslogd
    let deadline = Instant::now() + PATIENCE;
    while !world.stderr().contains("last words") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_threads_write_whole_lines() {
    let world = World::new();
    let logger = Logger::new(Target::Stderr, Launcher::Operator, world.outlets()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let logger = &logger;
            scope.spawn(move || {
                (0..100).for_each(|number| {
                    say(logger, Level::Info, &format!("line {thread} {number}"))
                });
            });
        }
    });
    logger.flush();
    let stderr = world.stderr();
    assert_eq!(stderr.lines().count(), 800);
    for thread in 0..8 {
        let own: Vec<_> =
            stderr.lines().filter(|line| line.contains(&format!("line {thread} "))).collect();
        assert!((0..100).all(|number| own[number].ends_with(&format!("line {thread} {number}"))));
    }
}

#[test]
fn a_process_shows_its_last_lines_in_order_and_below_its_level_none() {
    let child = child("talks").stderr(Stdio::piped()).output().unwrap();
    assert!(child.status.success());
    let stderr = String::from_utf8(child.stderr).unwrap();
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 100, "{stderr}");
    assert!(lines[99].ends_with("info  ocsp-fcgi: line 99"));
}

#[test]
fn a_stderr_that_nobody_reads_any_more_does_not_end_the_process() {
    let mut child = child("outlives").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    drop(child.stdin.take()); // the sign for it to begin
    assert!(child.wait().unwrap().success());
}

/// What the two tests above run in a process of its own.
#[test]
#[ignore = "a part of other tests"]
fn as_child() {
    if std::env::var(ROLE).is_ok_and(|role| role == "outlives") {
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
    let guard = logging::start(Target::Auto, LevelFilter::Info, Launcher::Operator).unwrap();
    for number in 0..100 {
        log::info!("line {number}");
        log::debug!("hidden {number}");
    }
    drop(guard);
}

const ROLE: &str = "OCSP_FCGI_TEST_ROLE";

fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "logging::as_child"]).env(ROLE, role);
    command.env_remove("JOURNAL_STREAM").stdout(Stdio::null());
    command
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn say(logger: &Logger, level: Level, text: &str) {
    logger.log(&Record::builder().level(level).args(format_args!("{text}")).build());
}

struct World {
    folder: tempfile::TempDir,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), stderr: Arc::default() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn outlets(&self) -> Outlets {
        Outlets { syslog: self.socket(), stderr: Box::new(Shared(Arc::clone(&self.stderr))) }
    }

    fn logger(&self) -> Logger {
        Logger::new(Target::Syslog, Launcher::WebServer, self.outlets()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.stderr.lock().unwrap().clone()).unwrap()
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that stands for syslogd; gone with its path on drop.
struct Syslogd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Syslogd {
    fn start(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path: path.to_owned() }
    }

    fn receive(&self) -> String {
        let mut octets = vec![0; 65_536];
        let count = self.socket.recv(&mut octets).unwrap();
        String::from_utf8(octets[..count].to_vec()).unwrap()
    }

    fn poll(&self) -> Option<usize> {
        self.socket.set_nonblocking(true).unwrap();
        let count = self.socket.recv(&mut [0; 1024]).ok();
        self.socket.set_nonblocking(false).unwrap();
        count
    }
}

impl Drop for Syslogd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // A program that another test starts at this moment holds the socket
        // until its exec, and a line would still go in there.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}
