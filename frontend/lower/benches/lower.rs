//! How long it takes to read and lower a Dockerfile of 1,000 lines in 60 stages (wanted: under 5 ms), and one of
//! 1 MiB (wanted: under 100 ms), and how much memory.
//!
//! A timer of its own instead of a framework: two numbers need none, and every build of the tests would pay for it.
//! Prints `name milliseconds` of the fastest of many runs; with `--test` everything runs once.

#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/generate.rs"]
mod generate;

use std::hint::black_box;
use std::time::{Duration, Instant};

/// So long each is repeated.
const ENOUGH: Duration = Duration::from_secs(2);

#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench says how long it took")]
fn main() {
    let once = std::env::args().any(|argument| argument == "--test");
    let rows = [("1000-lines-60-stages", generate::stages(60)), ("1-MiB", generate::of_size(1 << 20))];
    for (name, source) in rows {
        let request = common::request();
        let begun = Instant::now();
        let mut best = Duration::MAX;
        while best == Duration::MAX || (!once && begun.elapsed() < ENOUGH) {
            let start = Instant::now();
            black_box(common::build(black_box(&source), &request).expect("what is generated is right"));
            best = best.min(start.elapsed());
        }
        println!("{name} {:.3}", best.as_secs_f64() * 1000.0);
    }
}
