//! How soon everybody says that a certificate is revoked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::question::{Examiner, Form, Outcome, Signature};
use crate::support::OnDrop;
use crate::truth::{FRESHNESS, Status};
use crate::world::World;

/// What was seen of one revocation.
pub struct Seen {
    /// How long the UPDATE took.
    pub update: Duration,
    /// Of each place: from the end of the UPDATE to the first `revoked`.
    pub after: [Option<Duration>; 4],
    pub wrong: Vec<String>,
}

/// The places, in the order of [`Seen::after`].
pub const PLACES: &str = "nginx | nginx, with a nonce | responder 1 | responder 2";

/// Revokes a certificate, and asks about it everywhere until all say so or the time
/// is over in which they must.
pub fn revoke(world: &World, examiner: &Examiner<'_>, certificate: u32) -> Seen {
    let responders = [0, 1].map(|number| loopback(world.responders[number].port));
    let nginx = world.nginx.address;
    let places = [
        (nginx, Form::Post),
        (nginx, Form::Nonce),
        (responders[0], Form::Post),
        (responders[1], Form::Post),
    ];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Ends the threads when this one panics.
        let ends = OnDrop(&over);
        let over = &over;
        let threads = places.map(|(place, form)| {
            scope.spawn(move || poll(examiner, (place, form), certificate, over))
        });
        // All have it as fresh as may be.
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let committed = world.revoke(examiner.truth, certificate..certificate + 1);
        let update = begun.elapsed();
        while committed.elapsed() < FRESHNESS + Duration::from_secs(1)
            && !threads.iter().all(thread::ScopedJoinHandle::is_finished)
        {
            thread::sleep(Duration::from_millis(10));
        }
        drop(ends);
        let mut wrong = Vec::new();
        let after = threads.map(|thread| {
            let (seen, problems) = thread.join().unwrap();
            wrong.extend(problems);
            seen.map(|seen| seen.saturating_duration_since(committed))
        });
        Seen { update, after, wrong }
    })
}

/// When a place said `revoked` first, and what it said wrongly.
fn poll(
    examiner: &Examiner<'_>,
    (place, form): (SocketAddr, Form),
    certificate: u32,
    over: &AtomicBool,
) -> (Option<Instant>, Vec<String>) {
    let mut client = Client::new(place);
    let mut wrong = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let id = (number | 1 << 31, Signature::Checked);
        match examiner.ask(&mut client, certificate, form, id) {
            Outcome::Said(Status::Revoked) => return (Some(Instant::now()), wrong),
            Outcome::Wrong(problem) => wrong.push(format!("{place}: {problem}")),
            // A responder that was killed, or an UPDATE that is not through.
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
    }
    (None, wrong)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
