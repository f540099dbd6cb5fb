//! Real boxes: needs root and a static busybox. The test binary is its own init.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod behaviour;
mod guests;
mod hostile;
mod limits;
mod mounts;
mod profile;
mod rootfs;
mod userns;

use std::process::ExitCode;

/// A test that says by `Err` what went wrong.
type Test = (&'static str, fn() -> anyhow::Result<()>);

fn main() -> ExitCode {
    if std::env::args().next().is_some_and(|name| name == rbuild_sandbox::INIT_NAME) {
        return ExitCode::from(rbuild_sandbox::init_main());
    }
    if std::env::args().nth(1).is_some_and(|argument| argument == behaviour::VICTIM) {
        return if behaviour::victim().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new(rootfs::BUSYBOX).exists() {
        eprintln!("skipped: needs root and {}", rootfs::BUSYBOX);
        return ExitCode::SUCCESS;
    }
    let mut all =
        [profile::TESTS, behaviour::TESTS, guests::TESTS, mounts::TESTS, limits::TESTS, hostile::TESTS, userns::TESTS]
            .concat();
    if filters.first().is_some_and(|filter| filter == userns::INSIDE) {
        all = userns::TESTS_INSIDE.to_vec();
    }
    let chosen: Vec<Test> = all
        .into_iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(filter)))
        .collect();
    let before = rootfs::host_state();
    let mut failed = 0;
    for (name, test) in chosen {
        let outcome = std::panic::catch_unwind(test).unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
        match outcome {
            Ok(()) => println!("test root_{name} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test root_{name} ... FAILED\n    {error:#}");
            }
        }
    }
    let after = rootfs::host_state();
    if before != after {
        failed += 1;
        println!("the host is not as before:\n  before {before:?}\n  after  {after:?}");
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
