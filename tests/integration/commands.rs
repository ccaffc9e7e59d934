//! Each command: what it prints on stdout and stderr, and its exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use ocsp_fcgi::demo::{KeyKind, write_private};

use crate::support::ocsp::{Answer, MALFORMED};
use crate::support::site::{PROGRAM, Site};
use crate::support::{eventually, free_port, run, with_input};

mod check;

#[test]
fn help_and_version_are_on_stdout_with_exit_code_0() {
    for arguments in [&["--help"][..], &["-h"], &[], &["serve", "--help"], &["demo", "-h"]] {
        let output = ocsp_fcgi(arguments);
        let stdout = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        assert!(stdout.contains("Usage: ocsp-fcgi"), "{arguments:?}: {stdout}");
    }
    let help = text(&ocsp_fcgi(&["--help"]).stdout);
    for command in ["serve", "cgi", "respond", "check", "cache", "demo"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let own = text(&ocsp_fcgi(&[command, "--help"]).stdout);
        assert!(own.contains(&format!("Usage: ocsp-fcgi {command}")), "{own}");
    }
    let version = text(&ocsp_fcgi(&["--version"]).stdout);
    assert_eq!(version, format!("ocsp-fcgi {}\n", env!("CARGO_PKG_VERSION")));
}

/// As it was with the earlier responder, which had no commands.
#[test]
fn without_a_command_it_serves_where_there_is_a_config_toml() {
    let site = Site::with_certificates(KeyKind::P256);
    let port = free_port();
    site.configure(&format!("port = {port}\n"));
    let mut child = Command::new(PROGRAM)
        .current_dir(site.folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    site.assert_three_answers(&format!("http://localhost:{port}"), &[]);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wrong_arguments_are_exit_code_2_and_told_on_stderr() {
    for arguments in [
        &["--nonsense"][..],
        &["server"],
        &["serve", "extra"],
        &["respond", "--in"],
        &["demo", "--port", "99999"],
        &["demo", "--port", "0"],
        &["check", "--config"],
    ] {
        let output = ocsp_fcgi(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
    assert!(text(&ocsp_fcgi(&["server"]).stderr).contains("'serve'"), "a guess");
}

#[test]
fn a_start_that_hangs_is_ended_by_sigterm_and_not_by_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    assert!(run(Command::new("mkfifo").arg(&config), "mkfifo").status.success());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(&config).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        // Which nobody writes: it stands for a token or a file system that does not answer.
        let status = format!("/proc/{pid}/status");
        eventually("it waits for its configuration", || {
            let caught = fs::read_to_string(&status).unwrap();
            let caught = caught.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
            (u64::from_str_radix(caught, 16).unwrap() & 1 != 0).then_some(())
        });
        kill(pid, Signal::SIGHUP).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(child.try_wait().unwrap(), None, "a reload");
        kill(pid, signal).unwrap();
        let ended = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            child.try_wait().unwrap()
        });
        // Not to be left behind by a test that fails.
        let _ended_already = child.kill();
        assert_eq!(ended.and_then(|status| status.signal()), Some(signal as i32));
    }
}

#[test]
fn what_it_says_to_nobody_is_no_panic() {
    let temporary = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&[][..], 0),
        (&["--help"], 0),
        (&["demo"], 0),
        (&["check", "--config", "/nonexistent"], 1),
        (&["cache", "show", "zz"], 2),
        (&["nonsense"], 2),
    ] {
        // As behind `| head` and on a terminal that is gone, where nothing can be written either.
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_remove("OCSP_FCGI_CONFIG").env("TMPDIR", temporary.path());
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_working_directory_that_may_not_be_entered_holds_no_configuration() {
    let site = Site::with_certificates(KeyKind::P256);
    let closed = site.path("closed");
    fs::create_dir(&closed).unwrap();
    // As after `cd /root; runuser -u ocsp-fcgi`.
    let script = ["sh", "-c", "chmod 000 . && exec \"$@\"", "sh", PROGRAM, "check"];
    let output = run(unprivileged(&script).current_dir(&closed), "util-linux");
    // Whether there is one, and whether this user may read it: it is what is spoken of.
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("/etc/ocsp-fcgi/config.toml"), "{said}");
}

#[test]
fn the_journal_gets_each_mistake_of_the_configuration_as_an_error() {
    let site = Site::with_certificates(KeyKind::P256);
    let wrong = site.write_config("prot = 1\nport = 0\n");
    let stream = site.path("journal");
    let journal = fs::File::create(&stream).unwrap();
    let place = fs::metadata(&stream).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--config"]).arg(&wrong).stdin(Stdio::null());
    command.env("JOURNAL_STREAM", format!("{}:{}", place.dev(), place.ino())).stderr(journal);
    assert_eq!(command.status().unwrap().code(), Some(1));
    let lines = fs::read_to_string(&stream).unwrap();
    for number in [1, 2] {
        let wanted = format!("<3>stopped: error=\"{}:{number}:", wrong.display());
        assert_eq!(lines.matches(&wanted).count(), 1, "{lines}");
    }
    assert!(lines.lines().all(|line| line.starts_with("<3>")), "{lines}");
}

#[test]
fn each_command_tells_that_the_configuration_is_missing_or_wrong() {
    let site = Site::with_certificates(KeyKind::P256);
    let wrong = site.write_config("prot = 1\nport = 0\n");
    for command in ["serve", "check", "respond", "cgi"] {
        let output = ocsp_fcgi(&[command, "--config", "/nowhere/config.toml"]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert_eq!(text(&output.stderr), "/nowhere/config.toml: no such file\n");
        let output = ocsp_fcgi(&[command, "--config", wrong.to_str().unwrap()]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(
            stderr.contains("config.toml:1:1: ") && stderr.contains("config.toml:2:"),
            "{stderr}"
        );
    }
}

#[test]
fn keys_of_every_form_are_loaded() {
    for kind in [KeyKind::Rsa2048, KeyKind::P256, KeyKind::Ed25519] {
        let site = Site::with_certificates(kind);
        let key = &site.ca.identity.key;
        let mut forms = vec![
            ("PKCS#8 PEM", key.private_key_to_pem_pkcs8().unwrap()),
            ("PKCS#8 DER", key.private_key_to_pkcs8().unwrap()),
        ];
        if let Ok(rsa) = key.rsa() {
            forms.push(("PKCS#1 PEM", rsa.private_key_to_pem().unwrap()));
            forms.push(("PKCS#1 DER", rsa.private_key_to_der().unwrap()));
        }
        if let Ok(ec) = key.ec_key() {
            forms.push(("SEC1 PEM", ec.private_key_to_pem().unwrap()));
            forms.push(("SEC1 DER", ec.private_key_to_der().unwrap()));
            // As `openssl ecparam -genkey` writes it: the parameters first.
            let mut with_parameters =
                b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
                    .to_vec();
            with_parameters.extend(ec.private_key_to_pem().unwrap());
            forms.push(("EC PARAMETERS", with_parameters));
        }
        let der = site.ca.identity.certificate.to_der().unwrap();
        let config = site.configure("");
        for (form, octets) in forms {
            write_private(&site.path("ca.key"), &octets).unwrap();
            let output = respond(&config, &[], &site.about("0a1b").der());
            assert_eq!(Answer::read(&output.stdout).statuses(), ["good"], "{form}");
        }
        fs::write(site.path("ca.crt"), der).unwrap();
        let output = respond(&config, &[], &site.about("0a1b").der());
        assert_eq!(Answer::read(&output.stdout).statuses(), ["good"], "certificate in DER");
    }
}

#[test]
fn respond_answers_from_stdin_and_files() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure("");
    let der = site.about("0a1b").der();
    let output = respond(&config, &[], &der);
    assert_eq!(Answer::read(&output.stdout).statuses(), ["good"]);
    assert_eq!(respond(&config, &[], b"nonsense").stdout, MALFORMED);
    assert_eq!(respond(&config, &[], b"").stdout, MALFORMED);

    let (input, place) = (site.path("in.der"), site.path("out.der"));
    fs::write(&input, &der).unwrap();
    let (input, place) = (input.to_str().unwrap(), place.to_str().unwrap());
    assert_eq!(respond(&config, &["--in", input, "--out", place], b"").stdout, b"");
    assert_eq!(Answer::read(&fs::read(place).unwrap()).statuses(), ["good"]);
    // The way the earliest responder was called: the answer over the request.
    assert_eq!(respond(&config, &["--in", input, "--out", input], b"").stdout, b"");
    assert_eq!(Answer::read(&fs::read(input).unwrap()).statuses(), ["good"]);
    // Through a link, whose target is to be written.
    fs::write(site.path("real.der"), &der).unwrap();
    symlink("real.der", site.path("link.der")).unwrap();
    let link = site.path("link.der").into_os_string().into_string().unwrap();
    respond(&config, &["--in", &link, "--out", &link], b"");
    assert_eq!(Answer::read(&fs::read(site.path("real.der")).unwrap()).statuses(), ["good"]);
    let output = respond(&config, &["--in", &link, "--out", "/dev/stdout"], b"");
    assert_eq!(output.stdout, MALFORMED, "an answer is no request");
    let left = fs::read_dir(site.folder.path()).unwrap();
    let left = left
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn respond_tells_what_it_cannot_read_or_write() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure("[limits]\nrequest_bytes = 1024\n");
    for (arguments, input, reason) in [
        (&["--in", "/nowhere/in.der"][..], &b""[..], "request /nowhere/in.der: No such file"),
        (&["--out", "/nowhere/out.der"], b"0", "answer /nowhere/out.der: "),
        (&[], &[0; 1025], "request on stdin: more than 1024 octets, the limit request_bytes"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["respond", "--config"]).arg(&config).args(arguments);
        let output = with_input(&mut command, input);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(reason), "wanted {reason:?} in {stderr}");
    }
}

#[test]
fn the_pipe_of_the_help_text_works() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure("");
    let help = text(&ocsp_fcgi(&["respond", "--help"]).stdout);
    let words: Vec<_> = help.split_whitespace().collect();
    let words = words.join(" ");
    let (_, pipe) = words.split_once("With: ").unwrap();
    let (pipe, _) = pipe.split_once(" …").unwrap();
    let line = pipe.replace("site.crt", "good.crt").replace("ocsp-fcgi", PROGRAM);
    let line = format!("{line} -issuer ca.crt -cert good.crt");
    let mut shell = Command::new("sh");
    let output = run(shell.args(["-c", &line]).current_dir(site.folder.path()), "openssl");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("good.crt: good") && said.contains("Response verify OK"), "{said}");
}

#[test]
fn the_demo_runs_whole_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    let output = run(command.arg("demo").env("TMPDIR", temporary.path()), "openssl");
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert_eq!(stdout.matches("Response verify OK").count(), 3, "{stdout}");
    for line in ["valid.crt: good", "revoked.crt: revoked", "unlisted.crt: unknown"] {
        assert!(stdout.contains(line), "{stdout}");
    }
    assert!(stdout.contains("All three answers are as they should be"), "{stdout}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);

    // Into a folder that stays, twice.
    let folder = temporary.path().join("kept");
    for _ in 0..2 {
        let mut command = Command::new(PROGRAM);
        let output = run(command.args(["demo", "--folder"]).arg(&folder), "openssl");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(folder.join("config.toml").exists() && folder.join("cache").exists());
    }
}

#[test]
fn the_demo_writes_over_nothing_but_what_a_demo_has_made() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ca.key");
    fs::write(&key, "precious").unwrap();
    let output = ocsp_fcgi(&["demo", "--folder", folder.path().to_str().unwrap()]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    assert!(text(&output.stderr).ends_with(", wanted an empty folder, or none\n"));
    assert_eq!(fs::read(key).unwrap(), b"precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_demo_that_is_kept_ends_with_all_its_parts_by_any_signal() {
    for (signal, to_group) in
        [(Signal::SIGTERM, false), (Signal::SIGINT, true), (Signal::SIGHUP, false)]
    {
        let temporary = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(PROGRAM);
        command.args(["demo", "--keep", "--port", &port.to_string()]);
        command.env("TMPDIR", temporary.path()).stdin(Stdio::null()).process_group(0);
        let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
        let shown = lines.find(|line| line.contains("goes on until Ctrl-C"));
        assert!(shown.is_some(), "{signal}");
        let group = Pid::from_raw(demo.id().try_into().unwrap());
        // Ctrl-C goes to the whole group of a terminal, `kill` to one process.
        if to_group {
            killpg(group, signal).unwrap()
        } else {
            kill(group, signal).unwrap()
        }
        eventually("the demo ends", || demo.try_wait().unwrap());
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let left = (0..100).all(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            listens()
        });
        // Not to be left behind by a test that fails.
        let _nobody_there = killpg(group, Signal::SIGKILL);
        assert!(!left, "{signal}: the responder goes on");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{signal}: files left");
    }
}

fn ocsp_fcgi(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    run(command.args(arguments).env_remove("OCSP_FCGI_CONFIG"), "ocsp-fcgi")
}

/// A command for which modes of files count: the tests may run as root themselves.
fn unprivileged(words: &[&str]) -> Command {
    let drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let drop = if nix::unistd::geteuid().is_root() { &drop[..] } else { &["env"] };
    let mut command = Command::new(drop[0]);
    command.args(&drop[1..]).args(words);
    command
}

#[track_caller]
fn respond(config: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["respond", "--config"]).arg(config).args(arguments);
    let output = with_input(&mut command, input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

fn openssl(site: &Site, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    let output = run(command.args(arguments).current_dir(site.folder.path()), "openssl");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
