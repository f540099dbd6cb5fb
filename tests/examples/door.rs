//! A client of the daemon that does nothing but build, for `make bench`.
//!
//! `door SOCKET CONTEXT [CLIENTS [BUILDS]]`: that many clients at once, each of which builds the context's Dockerfile
//! that often with a session of its own each time. The first failure is told and is the end.

// What the tests have besides is of no use here.
#![allow(dead_code, clippy::disallowed_methods, clippy::print_stderr)]

#[path = "../tests/e2e/build_client.rs"]
mod build_client;
#[path = "../tests/e2e/built.rs"]
mod built;

use std::path::Path;
use std::process::ExitCode;

use build_client::{Client, dockerfile, session};

fn builds(socket: &Path, context: &Path, count: usize) -> Result<(), String> {
    let client = Client::connect(socket);
    for _ in 0..count {
        let built = client.build(session(context), dockerfile(&[]));
        built.result.map_err(|status| status.message().to_owned())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = |position: usize| words.get(position).map_or(Ok(1), |word| word.parse::<usize>());
    let (Some(socket), Some(context), Ok(clients), Ok(each)) = (words.first(), words.get(1), count(2), count(3)) else {
        eprintln!("usage: door SOCKET CONTEXT [CLIENTS [BUILDS]]");
        return ExitCode::from(2);
    };
    let (socket, context) = (Path::new(socket), Path::new(context));
    let failed = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| builds(socket, context, each))).collect();
        clients.into_iter().find_map(|client| match client.join() {
            Ok(built) => built.err(),
            Err(_) => Some("a client panicked".to_owned()),
        })
    });
    let Some(why) = failed else { return ExitCode::SUCCESS };
    eprintln!("{why}");
    ExitCode::FAILURE
}
