//! How long it takes to read and lower a Dockerfile of 1,000 lines in 60 stages (wanted: under 5 ms), and one of
//! 1 MiB (wanted: under 100 ms), and how much memory.
//!
//! A timer of its own instead of a framework: two numbers need none, and every build of the tests would pay for it.
//! Prints `name milliseconds`, the mean of many runs, as time on a processor (nothing here waits), so that what else
//! runs on the machine counts little; with `--test` everything runs once.

#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/generate.rs"]
mod generate;

use std::hint::black_box;
use std::time::{Duration, Instant};

/// So long each is repeated, on a clock.
const ENOUGH: Duration = Duration::from_secs(4);

#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench says how long it took")]
fn main() {
    let once = std::env::args().any(|argument| argument == "--test");
    let rows = [("1000-lines-60-stages", generate::stages(60)), ("1-MiB", generate::of_size(1 << 20))];
    for (name, source) in rows {
        let request = common::request();
        let run = || black_box(common::build(black_box(&source), &request).expect("what is generated is right"));
        drop(run());
        let (begun, start) = (Instant::now(), on_processor());
        let mut rounds = 0;
        while rounds == 0 || (!once && begun.elapsed() < ENOUGH) {
            drop(run());
            rounds += 1;
        }
        println!("{name} {:.3}", (on_processor() - start).as_secs_f64() * 1000.0 / f64::from(rounds));
    }
}

/// Returns how long this thread has been on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel keeps account");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number comes first"))
}
