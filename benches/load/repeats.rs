//! The same question again and again, by every way that it can come.

use ocsp_fcgi::demo::KeyKind;

use crate::Effort;
use crate::each::{Each, closing};
use crate::load::{Load, Outcome, Questions};
use crate::peers::{Nginx, Peer, processes};
use crate::support::client::escaped;
use crate::support::free_port;
use crate::table::{Case, in_turn, print};
use crate::world::{World, database_server, fill};

pub fn measure(effort: Effort) {
    let server = database_server();
    let database = server.database();
    fill(&database, ROWS);
    let world = World::new(KeyKind::Rsa2048, &database);
    let responder = world.serve_anew("");
    let question = world.question(1);
    let answer = responder.post(&question);
    assert!(answer.len() > 400, "no answer but {answer:?}");
    let nginx = Nginx::start(&world.site, &answer);
    let hellos = Peer::hellos(&world.site);
    let path = format!("/{}", escaped(&question));

    let load = |port: u16, path: &str, questions: &Questions, counted: &[u32]| Load {
        url: format!("http://127.0.0.1:{port}{path}"),
        questions: questions.clone(),
        connections: 32,
        time: effort.time,
        counted: counted.to_vec(),
    };
    let (get, post) = (Questions::Get, Questions::Post(world.body(&question)));
    let (web, own) = (nginx.workers(), processes(&responder));
    let [plain, alike] = hellos.each_ref().map(Peer::processes);
    let file = "/answer";
    let through_nginx = [
        Case::new("nginx, file", load(nginx.file, file, &get, &web)),
        Case::new("nginx, file kept open, no sendfile", load(nginx.open_file, file, &get, &web)),
        Case::new("nginx, return 200", load(nginx.text, file, &get, &web)),
        Case::new("examples/nginx.conf, GET", load(nginx.shipped, &path, &get, &web)),
        Case::new("examples/nginx.conf, POST", load(nginx.shipped, "/", &post, &web)),
    ];
    let [kept, closed] = nginx.responder;
    let [hello_kept, hello_closed] = nginx.hello;
    let by_fastcgi = [
        Case::new("libfcgi hello, kept, POST", load(hello_kept, "/", &post, &plain)),
        Case::new("the same fields, kept, POST", load(nginx.hello_alike, "/", &post, &alike)),
        Case::new("responder, kept, POST", load(kept, "/", &post, &own)),
        Case::new("libfcgi hello, kept, GET", load(hello_kept, &path, &get, &plain)),
        Case::new("the same fields, kept, GET", load(nginx.hello_alike, &path, &get, &alike)),
        Case::new("responder, kept, GET", load(kept, &path, &get, &own)),
        Case::new("libfcgi hello, closed, POST", load(hello_closed, "/", &post, &plain)),
        Case::new("responder, closed, POST", load(closed, "/", &post, &own)),
    ];
    let direct = [
        Case::new("nginx, return 200", load(nginx.text, file, &get, &web)),
        Case::new("responder, HTTP, GET", load(responder.port, &path, &get, &own)),
        Case::new("responder, HTTP, POST", load(responder.port, "/", &post, &own)),
    ];
    for cases in [&through_nginx[..], &by_fastcgi, &direct] {
        let outcomes = in_turn(cases, effort.rounds);
        print(cases.iter().map(|case| case.name).zip(outcomes));
        println!();
    }
    drop(hellos);
    drop(responder);
    print([("10,000 kept answers in turn, HTTP", in_turn_of_many(&world, effort.rounds))]);
    println!();
    let name = "openssl ocsp -multi 2, one connection for each";
    print([(name, of_openssl(&world, effort))]);
}

/// OpenSSL's own responder, which signs each answer.
fn of_openssl(world: &World<'_>, effort: Effort) -> Outcome {
    let question = world.question(1);
    let index = (1..=ROWS).map(|number| world.index_line(number)).collect::<String>();
    let port = free_port();
    let openssl = Peer::openssl_ocsp(&world.site, &index, port);
    let address = ([127, 0, 0, 1], port).into();
    let counted = openssl.processes();
    let ask = |_| closing(address, &question, effort.time, &counted);
    Outcome::median(&(0..effort.rounds).map(ask).collect::<Vec<_>>())
}

/// Each answer is in memory, and fresh for as long as this takes.
fn in_turn_of_many(world: &World<'_>, rounds: usize) -> Outcome {
    let responder = world.serve_anew("freshness = \"1h\"");
    let questions: Vec<_> = (1..=ROWS).map(|number| world.question(number)).collect();
    let counted = processes(&responder);
    let each =
        Each { address: responder.address(), questions: &questions, connections: 32, counted };
    each.run();
    Outcome::median(&(0..rounds).map(|_| each.run().0).collect::<Vec<_>>())
}

const ROWS: usize = 10_000;
