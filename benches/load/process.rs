//! What a process costs, as the kernel counts it; and what OpenSSL's own measure says.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// Processor time of processes since their start, ended threads included.
pub fn processor_time(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| processor_time_of(*pid)).sum()
}

fn processor_time_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Past the name, which may hold anything, stand state, ppid, ...; utime and stime are
    // the fields 14 and 15 (proc(5)), in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Memory in use, in KiB: VmRSS.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The processes that `pid` has started.
pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Signatures a second, by `openssl speed` in so many processes at once.
pub fn openssl_speed(algorithm: &str, processes: usize) -> f64 {
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", "2"]);
    if processes > 1 {
        command.args(["-multi", &processes.to_string()]);
    }
    let output = command.arg(algorithm).output().expect("openssl is missing");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `+F2:2:2048:3845.45:70211.22`: signatures, verifications; of all processes.
    let figures = text.lines().rfind(|line| line.starts_with("+F"));
    let figure = figures.and_then(|line| line.split(':').nth(3));
    figure.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("openssl speed: {text}"))
}
