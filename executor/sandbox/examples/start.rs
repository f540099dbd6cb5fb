//! How long it takes to start, run and reap `/bin/true` in a ready overlay.
//!
//! ```text
//! cargo run --release -p rbuild-sandbox --example start -- 200
//! ```

#![allow(clippy::print_stdout)]

use std::fs;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rbuild_sandbox::{Handle, Network, RootSpec, Sandbox, SandboxSpec, Stdio, Stream, Upper};

fn main() -> ExitCode {
    if std::env::args().next().is_some_and(|name| name == rbuild_sandbox::INIT_NAME) {
        return ExitCode::from(rbuild_sandbox::init_main());
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100);
    let dir = tempfile::tempdir()?;
    fs::create_dir_all(dir.path().join("lower/bin"))?;
    fs::copy("/bin/busybox", dir.path().join("lower/bin/true"))?;
    fs::create_dir(dir.path().join("points"))?;
    rbuild_sandbox::fill_mount_points(&dir.path().join("points"))?;
    let begun = Instant::now();
    let sandbox = Sandbox::detect()?;
    println!("detect                 {:7.0?}", begun.elapsed());
    let network = rbuild_sys::netns::NetNs::create()?;
    let mut starts = Vec::new();
    let mut totals = Vec::new();
    for number in 0..count {
        let upper = Upper {
            upper: dir.path().join(format!("u{number}")),
            work: dir.path().join(format!("w{number}")),
            volatile: true,
        };
        fs::create_dir(&upper.upper)?;
        fs::create_dir(&upper.work)?;
        let root = RootSpec::Overlay {
            lowers: vec![dir.path().join("lower"), dir.path().join("points")],
            upper: Some(upper),
            userxattr: false,
        };
        let mut spec = SandboxSpec::new(root, vec!["/bin/true".to_owned()]);
        spec.network = Network::Join(Handle(0));
        spec.hosts = Some("127.0.0.1 localhost\n".to_owned());
        spec.resolv_conf = Some("nameserver 10.0.0.1\n".to_owned());
        spec.stdio = Stdio::Streams { stdin: Stream::Null, stdout: Stream::Pipe, stderr: Stream::Pipe };
        let begun = Instant::now();
        let running = sandbox.start(&spec, vec![network.as_fd().try_clone_to_owned()?])?;
        starts.push(begun.elapsed());
        let exit = running.wait()?;
        totals.push(begun.elapsed());
        anyhow::ensure!(exit.code == 0 && exit.complaints.is_empty(), "{exit:?}");
    }
    println!("until the program runs {}", summary(&mut starts));
    println!("until all is gone      {}", summary(&mut totals));
    Ok(())
}

fn summary(times: &mut [Duration]) -> String {
    times.sort();
    format!("min {:7.0?}  median {:7.0?}", times[0], times[times.len() / 2])
}
