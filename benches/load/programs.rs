//! One process for one question, as a web server starts it for CGI, beside the
//! cheapest programs of the system that do as much.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::CertStatus;

use crate::Effort;
use crate::each::in_a_word;
use crate::support::free_port;
use crate::support::site::PROGRAM;
use crate::table::milliseconds;
use crate::world::{World, database_server, fill, serial};

pub fn measure(effort: Effort) {
    let server = database_server();
    let database = server.database();
    let runs = RUNS * effort.rounds;
    fill(&database, runs + 1);
    let mysql = World::new(KeyKind::Rsa2048, &database);
    let sqlite = World::new(KeyKind::Rsa2048, &database);
    for number in 1..=runs + 1 {
        sqlite.site.set_status(&serial(number).to_hex(), CertStatus::Good);
    }
    let by_sqlite =
        |more: &str| sqlite.site.configure(&format!("[log]\ntarget = \"stderr\"\n[cache]\n{more}"));
    let by_mysql = |more: &str| mysql.configure(free_port(), more);
    let key = sqlite.site.path("ca.key");
    let text = sqlite.body(&sqlite.question(1));
    let mut programs = vec![
        Program::new("/bin/true", |_| Command::new("/bin/true")),
        Program::new("openssl version", |_| openssl(&["version"])),
        Program::new("openssl dgst -sign", move |_| {
            let mut command = openssl(&["dgst", "-sha256", "-out", "/dev/null", "-sign"]);
            command.arg(&key).arg(&text);
            command
        }),
    ];
    programs.extend(of_one_store(
        &sqlite,
        &by_sqlite,
        runs,
        ["SQLite, kept", "SQLite, kept, row read", "SQLite, new"],
    ));
    programs.extend(of_one_store(
        &mysql,
        &by_mysql,
        runs,
        ["MariaDB, kept", "MariaDB, kept, row read", "MariaDB, new"],
    ));
    for run in 0..runs {
        eprint!("\r\x1b[Kprograms ({} of {runs})", run + 1);
        programs.iter_mut().for_each(|program| program.run(run));
    }
    eprint!("\r\x1b[K");
    tell(&programs);
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

/// Answers from the cache folder without and with a look at the row, and new ones.
fn of_one_store<'p>(
    world: &World<'_>,
    configure: &dyn Fn(&str) -> PathBuf,
    runs: usize,
    names: [&'static str; 3],
) -> [Program<'p>; 3] {
    let configured = |name: &str, more: &str| {
        let path = world.site.path(name);
        fs::rename(configure(more), &path).unwrap();
        path
    };
    let fresh = configured("fresh.toml", "freshness = \"1h\"");
    let looking = configured("looking.toml", "freshness = \"0s\"");
    let questions: Vec<PathBuf> = (1..=runs + 1)
        .map(|number| {
            let path = world.site.path(&format!("question-{number}"));
            fs::write(&path, world.question(number)).unwrap();
            path
        })
        .collect();
    let kept = questions[0].clone();
    for config in [&fresh, &looking] {
        let output = cgi(config, &kept).output().unwrap();
        let said = in_a_word(&world.question(1), &output.stdout);
        assert_eq!(said, "good", "{}", String::from_utf8_lossy(&output.stderr));
    }
    let again = kept.clone();
    let new = fresh.clone();
    [
        Program::new(names[0], move |_| cgi(&fresh, &kept)),
        Program::new(names[1], move |_| cgi(&looking, &again)),
        Program::new(names[2], move |run| cgi(&new, &questions[run + 1])),
    ]
}

/// The program as a web server starts it.
fn cgi(config: &Path, question: &Path) -> Command {
    let length = fs::metadata(question).unwrap().len().to_string();
    let mut command = Command::new(PROGRAM);
    command.arg("cgi").arg("--config").arg(config).env_clear();
    command.envs([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/"),
        ("SCRIPT_NAME", "/"),
        ("QUERY_STRING", ""),
        ("CONTENT_TYPE", "application/ocsp-request"),
        ("CONTENT_LENGTH", &length),
        ("PATH", "/usr/bin:/bin"),
    ]);
    command.stdin(File::open(question).unwrap());
    command
}

/// What is started again and again; the number of the run says how.
struct Program<'p> {
    name: &'static str,
    command: Box<dyn Fn(usize) -> Command + 'p>,
    times: Vec<Duration>,
}

impl<'p> Program<'p> {
    fn new(name: &'static str, command: impl Fn(usize) -> Command + 'p) -> Self {
        Self { name, command: Box::new(command), times: Vec::new() }
    }

    /// From its start to its end.
    fn run(&mut self, run: usize) {
        let mut command = (self.command)(run);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.spawn().unwrap().wait().unwrap();
        self.times.push(start.elapsed());
        assert!(status.success(), "{}: {status}", self.name);
    }

    fn part(&self, part: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[times.len() * part / 100]
    }
}

fn tell(programs: &[Program<'_>]) {
    let median = |name: &str| {
        programs.iter().find(|program| program.name == name).map(|program| program.part(50))
    };
    let [nothing, version, sign] =
        ["/bin/true", "openssl version", "openssl dgst -sign"].map(|name| median(name).unwrap());
    println!("| | p50 ms | p90 ms | of true + openssl version | of openssl dgst -sign |");
    println!("| --- | --: | --: | --: | --: |");
    for program in programs {
        let middle = program.part(50);
        println!(
            "| {} | {} | {} | {:.2} | {:.2} |",
            program.name,
            milliseconds(middle),
            milliseconds(program.part(90)),
            middle.as_secs_f64() / (nothing + version).as_secs_f64(),
            middle.as_secs_f64() / sign.as_secs_f64()
        );
    }
    println!();
}

/// Of each program in a round.
const RUNS: usize = 40;
