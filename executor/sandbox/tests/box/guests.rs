//! Further processes in a box that runs.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use rbuild_sandbox::{Running, SandboxError, SandboxSpec, Stdio, Stream};

use super::Test;
use super::rootfs::{Fixture, finish, sandbox};

pub(crate) const TESTS: &[Test] = &[
    ("guests_share_the_box", guests_share_the_box),
    ("guests_have_no_more_rights", guests_have_no_more_rights),
    ("guests_end_with_the_box", guests_end_with_the_box),
    ("guests_end_with_a_destroyed_box", guests_end_with_a_destroyed_box),
    ("guests_are_killed_alone", guests_are_killed_alone),
    ("guests_with_terminals", guests_with_terminals),
    ("an_ended_box_takes_no_guests", an_ended_box_takes_no_guests),
];

/// A box whose program waits for its standard input to end.
fn start(fixture: &Fixture, script: &str) -> Result<(SandboxSpec, Running)> {
    let mut spec = fixture.spec(script);
    spec.hostname = "the-box".to_owned();
    spec.stdio = Stdio::Streams { stdin: Stream::Pipe, stdout: Stream::Null, stderr: Stream::Null };
    let running = sandbox().start(&spec, Vec::new())?;
    Ok((spec, running))
}

fn guest(spec: &SandboxSpec, script: &str) -> SandboxSpec {
    let mut spec = spec.clone();
    spec.args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    spec.stdio = Stdio::default();
    spec
}

fn guests_share_the_box() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, mut running) = start(&fixture, "echo here >/tmp-file; mkdir -p /dir; cat")?;
    let groups = "sed 's/.*://' /proc/self/cgroup | sort -u";
    for (script, expect) in [
        ("hostname", "the-box"),
        ("until test -s /tmp-file; do :; done; cat /tmp-file", "here"),
        ("readlink /proc/1/ns/mnt >/a; readlink /proc/self/ns/mnt >/b; cmp /b /b && echo same", "same"),
        ("for pid in /proc/[0-9]*; do cat $pid/comm; done | grep -c rbuild-init", "1"),
        (groups, "/"),
        ("until cd /dir; do :; done; pwd", "/dir"),
        ("ls /proc/self/fd | wc -l", "4"),
        ("umask", "0022"),
    ] {
        let output = finish(sandbox().enter(&running, &guest(&spec, script), Vec::new())?)?;
        ensure!(output.exit.code == 0 && output.stdout.trim() == expect, "{script}: {output:?}");
    }
    let output = finish(sandbox().enter(&running, &guest(&spec, "exit 7"), Vec::new())?)?;
    ensure!(output.exit.code == 7, "{output:?}");
    drop(running.take_stdin());
    ensure!(running.wait()?.code == 0);
    Ok(())
}

fn guests_have_no_more_rights() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, running) = start(&fixture, "cat")?;
    let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid)' /proc/self/status";
    let first = finish(sandbox().start(&guest(&spec, status), Vec::new())?)?;
    let output = finish(sandbox().enter(&running, &guest(&spec, status), Vec::new())?)?;
    ensure!(output.stdout == first.stdout && !output.stdout.is_empty(), "{output:?} {first:?}");
    let mut user = guest(&spec, "id -u; id -g; grep CapEff /proc/self/status");
    user.user = "1000:1001".to_owned();
    let output = finish(sandbox().enter(&running, &user, Vec::new())?)?;
    ensure!(output.stdout == "1000\n1001\nCapEff:\t0000000000000000\n", "{output:?}");
    let mut missing = guest(&spec, "true");
    missing.args = vec!["nothing".to_owned()];
    let error = sandbox().enter(&running, &missing, Vec::new()).err().context("it started")?;
    ensure!(error.exec_code() == Some(127), "{error}");
    Ok(())
}

fn guests_end_with_the_box() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, mut running) = start(&fixture, "cat")?;
    let guest = sandbox().enter(&running, &guest(&spec, "sleep 1000"), Vec::new())?;
    drop(running.take_stdin());
    let exit = running.wait()?;
    ensure!(exit.code == 0 && exit.complaints.is_empty(), "{exit:?}");
    let exit = guest.wait()?;
    ensure!(exit.signal == Some(9), "{exit:?}");
    Ok(())
}

fn guests_end_with_a_destroyed_box() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, running) = start(&fixture, "cat")?;
    let guest = sandbox().enter(&running, &guest(&spec, "sleep 1000 & sleep 1000"), Vec::new())?;
    running.destroy()?;
    let (first, second) = (running.wait()?, guest.wait()?);
    ensure!(first.signal == Some(9) && second.signal == Some(9), "{first:?} {second:?}");
    Ok(())
}

fn guests_are_killed_alone() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, mut running) = start(&fixture, "cat")?;
    for end in [Running::destroy, |guest: &Running| guest.kill(9)] {
        let guest = sandbox().enter(&running, &guest(&spec, "sleep 1000"), Vec::new())?;
        end(&guest)?;
        ensure!(guest.wait()?.signal == Some(9));
    }
    drop(sandbox().enter(&running, &guest(&spec, "exec sleep 1000"), Vec::new())?);
    let output = finish(sandbox().enter(&running, &guest(&spec, "ps | grep -c '[s]leep'"), Vec::new())?)?;
    ensure!(output.stdout == "0\n", "{output:?}");
    drop(running.take_stdin());
    ensure!(running.wait()?.code == 0);
    Ok(())
}

fn guests_with_terminals() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, running) = start(&fixture, "cat")?;
    let mut guest = guest(&spec, "tty; read line; stty size; echo $line");
    guest.stdio = Stdio::Terminal { rows: 10, columns: 20 };
    let mut guest = sandbox().enter(&running, &guest, Vec::new())?;
    guest.resize(40, 80)?;
    let mut terminal = std::fs::File::from(guest.take_terminal().context("no terminal")?);
    terminal.write_all(b"hello\n")?;
    let mut text = Vec::new();
    // EIO says that the other side is closed.
    let _ = terminal.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    ensure!(text.contains("/dev/pts/0\n") && text.contains("40 80\nhello\n"), "{text}");
    ensure!(guest.wait()?.code == 0);
    Ok(())
}

fn an_ended_box_takes_no_guests() -> Result<()> {
    let fixture = Fixture::new()?;
    let (spec, mut running) = start(&fixture, "cat")?;
    drop(running.take_stdin());
    running.wait()?;
    match sandbox().enter(&running, &guest(&spec, "true"), Vec::new()) {
        Err(SandboxError::Step { hint: Some(hint), .. }) if hint == "the box has ended" => Ok(()),
        other => Err(anyhow::anyhow!("{other:?}")),
    }
}
