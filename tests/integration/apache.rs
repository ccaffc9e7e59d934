//! The shipped `examples/apache.conf` with the real Apache, in each of its ways.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocsp_fcgi::demo::KeyKind;

use crate::support::apache::{Way, apache, apache_before, parent, processes};
use crate::support::client::{Client, Said, escaped, get, post, said};
use crate::support::everything::assert_passes_everything_on;
use crate::support::nginx::{serve, socket};
use crate::support::site::Site;
use crate::support::web::{Relay, WebServer, revoked};
use crate::support::{OnDrop, eventually};

// rule: WEB-1, WEB-2, WEB-3, WEB-4, WEB-5, WEB-6, FCG-4
#[test]
fn apache_passes_everything_on_by_mod_fcgid() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    // mod_fcgid has no other word for a chunked body that is too large.
    assert_passes_everything_on(&site, &apache(&site, Way::Fcgid), 500);
}

// rule: WEB-1, WEB-2, WEB-3, WEB-4, WEB-5, WEB-6, FCG-4
#[test]
fn apache_passes_everything_on_by_mod_proxy_fcgi() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    // mod_proxy_fcgi leaves a chunked body to the limits of the responder.
    assert_passes_everything_on(&site, &apache(&site, Way::Proxy), 200);
}

// rule: WEB-1, WEB-2, WEB-3, WEB-4, WEB-5, WEB-6, FCG-5
#[test]
fn apache_passes_everything_on_by_mod_cgid() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    assert_passes_everything_on(&site, &apache(&site, Way::Cgid), 413);
}

// rule: WEB-1, WEB-2, WEB-3, WEB-4, WEB-5, WEB-6, FCG-5
#[test]
fn apache_passes_everything_on_by_mod_cgi() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    assert_passes_everything_on(&site, &apache(&site, Way::Cgi), 413);
}

// rule: FCG-4
#[test]
fn a_status_signed_by_one_process_is_given_by_the_others() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    let apache = apache(&site, Way::Fcgid);
    let question = site.request("good", &["-no_nonce"]);
    // Signatures of P-256 differ each time: the same octets are the same signature.
    let signed = apache.client().post(&question).body;
    assert_eq!(said(&question, &signed), Said::Good);
    start_several_processes(&site, &apache);
    for_each_of_many_clients(|| {
        let mut client = apache.client();
        for _ in 0..30 {
            assert_eq!(client.post(&question).body, signed);
            assert_eq!(client.get(&format!("/{}", escaped(&question))).body, signed);
        }
    });
}

// rule: ANS-6
#[test]
fn every_process_sees_a_revocation_within_the_freshness_window() {
    const FRESHNESS: Duration = Duration::from_secs(3);
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(&format!("{LOG}\n[cache]\nfreshness = \"3s\"\n"));
    let apache = apache(&site, Way::Fcgid);
    start_several_processes(&site, &apache);
    let question = site.request("good", &["-no_nonce"]);
    let requests = [post(&question), get(&format!("/{}", escaped(&question)))];
    let late = AtomicBool::new(false);
    let (good, revocations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = apache.client();
                for request in requests.iter().cycle() {
                    let must_be_revoked = late.load(Ordering::SeqCst);
                    let answer = client.send(request);
                    match said(&question, &answer.body) {
                        Said::Good => {
                            assert!(!must_be_revoked, "{}", answer.head);
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                        Said::Revoked => {
                            revocations.fetch_add(usize::from(must_be_revoked), Ordering::Relaxed);
                        }
                        other => panic!("{other:?} {}", answer.head),
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let _stop = OnDrop(&stop);
        let asked = || (good.load(Ordering::Relaxed) > 200).then_some(());
        eventually("all processes have the answer", asked);
        site.set_status("0a1b", revoked());
        thread::sleep(FRESHNESS);
        late.store(true, Ordering::SeqCst);
        let asked = || (revocations.load(Ordering::Relaxed) > 200).then_some(());
        eventually("all processes are asked again", asked);
    });
}

// rule: FCG-4
#[test]
fn a_killed_process_is_replaced() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    let apache = apache(&site, Way::Fcgid);
    let question = site.request("good", &["-no_nonce"]);
    let signed = apache.client().post(&question).body;
    for _ in 0..3 {
        let killed = processes(&site);
        assert!(!killed.is_empty());
        for id in &killed {
            kill(Pid::from_raw(*id), Signal::SIGKILL).unwrap();
        }
        // Apache learns of it by the next question, which may be lost.
        let answered = || (apache.client().post(&question).body == signed).then_some(());
        eventually("another process answers", answered);
        assert!(processes(&site).iter().all(|id| !killed.contains(id)));
    }
}

// rule: FCG-4
#[test]
fn apachectl_graceful_under_load_gives_no_wrong_answer_and_new_processes() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(LOG);
    let apache = apache(&site, Way::Fcgid);
    restart_under_load(&site, &apache, || {
        let before = processes(&site);
        kill(Pid::from_raw(parent(&site)), Signal::SIGUSR1).unwrap();
        eventually("the old processes end", || {
            processes(&site).iter().all(|id| !before.contains(id)).then_some(())
        });
    });
}

// rule: FCG-4
#[test]
fn apachectl_graceful_under_load_costs_no_answer_by_mod_proxy_fcgi() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    let apache = apache(&site, Way::Proxy);
    let question = site.request("unlisted", &["-no_nonce"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A connection each: Apache may close a kept one when a request comes.
                    let answer = apache.client().post(&question);
                    assert_eq!(said(&question, &answer.body), Said::Unknown, "{}", answer.head);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = OnDrop(&stop);
        for _ in 0..3 {
            wait_for_answers(&answered);
            kill(Pid::from_raw(parent(&site)), Signal::SIGUSR1).unwrap();
            wait_for_answers(&answered);
        }
    });
}

// rule: FCG-1
#[test]
fn mod_proxy_fcgi_keeps_its_connections() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    let relay = Relay::start(&site.path("relay.sock"), &socket(&site));
    let apache = apache_before(&site, Way::Proxy, &site.path("relay.sock"));
    let question = site.request("good", &[]);
    let mut client = apache.client();
    for _ in 0..100 {
        assert_eq!(said(&question, &client.post(&question).body), Said::Good);
    }
    // Each process of Apache keeps its own, and one client may meet several.
    assert!(relay.count() <= 4, "{}", relay.count());
}

#[test]
fn mod_proxy_fcgi_finds_a_restarted_responder_again_at_once() {
    let site = Site::with_certificates(KeyKind::P256);
    let mut responder = Some(serve(&site, ""));
    let apache = apache(&site, Way::Proxy);
    restart_under_load(&site, &apache, || {
        drop(responder.take());
        assert_eq!(apache.client().post(b"x").status(), 503);
        responder = Some(serve(&site, ""));
    });
}

/// Restarts three times while clients ask. Refusals and lost connections are Apache's
/// to give meanwhile, but no wrong answers; and after each restart all is as before.
fn restart_under_load(site: &Site, apache: &WebServer, mut restart: impl FnMut()) {
    let question = site.request("unlisted", &["-no_nonce"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                // mod_fcgid may wait for ever for a process that a graceful restart has ended.
                let mut client = Client::with_patience(apache.address, Duration::from_secs(2));
                while !stop.load(Ordering::Relaxed) {
                    let Ok(answer) = client.try_send(&[&post(&question)]) else { continue };
                    let right = said(&question, &answer.body) == Said::Unknown;
                    assert!(right || [500, 503].contains(&answer.status()), "{}", answer.head);
                    answered.fetch_add(usize::from(right), Ordering::Relaxed);
                }
            });
        }
        let _stop = OnDrop(&stop);
        for _ in 0..3 {
            wait_for_answers(&answered);
            restart();
            wait_for_answers(&answered);
        }
    });
    assert_eq!(said(&question, &apache.client().post(&question).body), Said::Unknown);
}

#[track_caller]
fn wait_for_answers(answered: &AtomicUsize) {
    let before = answered.load(Ordering::Relaxed);
    let more = || (answered.load(Ordering::Relaxed) > before + 50).then_some(());
    eventually("questions are answered", more);
}

/// Asks for what takes a signature until Apache has started more than one process.
#[track_caller]
fn start_several_processes(site: &Site, apache: &WebServer) {
    let question = site.request("good", &[]);
    let mut seen = BTreeSet::new();
    eventually("several processes", || {
        for_each_of_many_clients(|| {
            let mut client = apache.client();
            for _ in 0..10 {
                assert_eq!(said(&question, &client.post(&question).body), Said::Good);
            }
        });
        seen.extend(processes(site));
        (seen.len() > 1).then_some(())
    });
}

fn for_each_of_many_clients(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(&work);
        }
    });
}

const CLIENTS: usize = 6;

/// To Apache's error log.
const LOG: &str = "[log]\ntarget = \"stderr\"\n";
