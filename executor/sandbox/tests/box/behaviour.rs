//! Starting, ending, signals, streams, terminals.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rbuild_sandbox::{Network, SandboxError, Stdio, Stream};

use super::Test;
use super::rootfs::{Fixture, check_refused, check_with, finish, run, sandbox};

pub(crate) const TESTS: &[Test] = &[
    ("exit_codes", exit_codes),
    ("not_executable", not_executable),
    ("orphans_are_reaped_and_killed", orphans_are_reaped_and_killed),
    ("kill_interrupts_wait", kill_interrupts_wait),
    ("without_init", without_init),
    ("dropping_ends_the_box", dropping_ends_the_box),
    ("stdin_is_passed", stdin_is_passed),
    ("terminal", terminal),
    ("working_directory", working_directory),
    ("many_at_once", many_at_once),
    ("joined_network", joined_network),
    ("a_lost_engine_takes_the_box_along", a_lost_engine_takes_the_box_along),
];

fn exit_codes() -> Result<()> {
    let fixture = Fixture::new()?;
    for (script, code, signal) in [
        ("exit 0", 0, None),
        ("exit 7", 7, None),
        ("exit 255", 255, None),
        ("kill -9 $$", 137, Some(9)),
        ("kill -TERM $$", 143, Some(15)),
    ] {
        for init in [true, false] {
            let mut spec = fixture.spec(script);
            spec.init = init;
            let exit = run(&spec)?.exit;
            // Process 1 cannot kill itself.
            if init || signal.is_none() {
                ensure!((exit.code, exit.signal) == (code, signal) && !exit.oom, "{script}: {exit:?}");
            }
        }
    }
    Ok(())
}

fn not_executable() -> Result<()> {
    for (program, code, message) in [
        ("nothing", 127, "exec: \"nothing\": executable file not found in $PATH"),
        ("/bin/nothing", 127, "exec: \"/bin/nothing\": stat /bin/nothing: no such file or directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/etc/script", 126, "exec /etc/script: exec format error"),
    ] {
        for init in [true, false] {
            let error = check_refused(message, |spec, fixture| {
                let script = fixture.path("lower/etc/script");
                std::fs::write(&script, "echo no interpreter named").expect("the fixture is writable");
                std::os::unix::fs::PermissionsExt::set_mode(
                    &mut script.metadata().expect("just written").permissions(),
                    0o755,
                );
                std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
                spec.args = vec![program.to_owned()];
                spec.init = init;
            })?;
            ensure!(error.exec_code() == Some(code), "{program}: {error:?}");
        }
    }
    Ok(())
}

fn orphans_are_reaped_and_killed() -> Result<()> {
    let fixture = Fixture::new()?;
    let begun = Instant::now();
    // An orphan that holds the pipes, and one that becomes a zombie.
    let script = "(sleep 1000 &) ; (sleep 0.01 &) ; sleep 0.05; ps | grep -c '[Z] '; echo done";
    let output = run(&fixture.spec(script))?;
    ensure!(output.stdout == "0\ndone\n", "{output:?}");
    ensure!(begun.elapsed() < Duration::from_secs(5), "the orphan was waited for");
    Ok(())
}

fn kill_interrupts_wait() -> Result<()> {
    let fixture = Fixture::new()?;
    for (signal, code) in [(15, 143), (9, 137)] {
        let running = sandbox().start(&fixture.spec("exec sleep 1000"), Vec::new())?;
        let exit = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| running.wait());
            std::thread::sleep(Duration::from_millis(20));
            running.kill(signal)?;
            waiter.join().expect("the waiter does not panic")
        })?;
        ensure!(exit.code == code && exit.signal == Some(signal), "{exit:?}");
        ensure!(running.wait()? == exit, "the exit stays the same");
        running.kill(15)?;
    }
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = sandbox().start(&fixture.spec(script), Vec::new())?;
    let mut said = [0; 5];
    std::fs::File::from(running.take_stdout().context("a pipe")?).read_exact(&mut said)?;
    running.kill(15)?;
    ensure!(running.wait()?.code == 9, "the program handles its signals");
    Ok(())
}

fn without_init() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("(sleep 1000 &); echo $$; touch /new");
    spec.init = false;
    spec.hosts = Some("x\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "1\n" && output.exit.complaints.is_empty(), "{output:?}");
    let left: Vec<String> = fixture.upper().into_iter().collect();
    ensure!(left == ["etc", "new"], "{left:?}");
    Ok(())
}

fn dropping_ends_the_box() -> Result<()> {
    let fixture = Fixture::new()?;
    for init in [true, false] {
        let mut spec = fixture.spec("echo up; exec sleep 1000");
        spec.init = init;
        let mut running = sandbox().start(&spec, Vec::new())?;
        let mut stdout = std::fs::File::from(running.take_stdout().context("a pipe")?);
        let mut text = [0; 3];
        stdout.read_exact(&mut text)?;
        drop(running);
        // The last writer is gone.
        ensure!(stdout.read(&mut text)? == 0, "something still runs");
    }
    Ok(())
}

fn stdin_is_passed() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("cat; echo x > /dev/stdout; echo e >&2");
    spec.stdio = Stdio::Streams { stdin: Stream::Pipe, stdout: Stream::Pipe, stderr: Stream::Pipe };
    spec.user = "user".to_owned();
    let mut running = sandbox().start(&spec, Vec::new())?;
    let mut stdin = std::fs::File::from(running.take_stdin().context("a pipe")?);
    stdin.write_all(b"hello\n")?;
    drop(stdin);
    let output = finish(running)?;
    ensure!((output.stdout.as_str(), output.stderr.as_str()) == ("hello\nx\n", "e\n"), "{output:?}");
    Ok(())
}

fn terminal() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("tty; stty size; stat -c %F /dev/console; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.01; done");
    spec.stdio = Stdio::Terminal { rows: 11, columns: 44 };
    spec.user = "user".to_owned();
    let mut running = sandbox().start(&spec, Vec::new())?;
    let mut master = std::fs::File::from(running.take_terminal().context("a terminal")?);
    let mut text = String::new();
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        text += &String::from_utf8_lossy(&buffer[..length]);
        if text.ends_with("ready\r\n") {
            running.resize(5, 6)?;
        }
    }
    ensure!(text == "/dev/pts/0\r\n11 44\r\ncharacter special file\r\nready\r\n5 6\r\n", "{text:?}");
    ensure!(running.wait()?.code == 3);
    Ok(())
}

fn working_directory() -> Result<()> {
    check_with("pwd; stat -c '%a %u' .", "/a/b\n755 0", |spec, _| {
        spec.cwd = "/a/b".into();
        spec.create_cwd = true;
        spec.user = "user".to_owned();
    })?;
    let error = check_refused(
        "enter the working directory /a/b: ENOENT: No such file or directory (the working directory does not exist)",
        |spec, _| {
            spec.cwd = "/a/b".into();
        },
    )?;
    ensure!(matches!(error, SandboxError::Step { .. }), "{error:?}");
    // A link that points at a descriptor of the host finds nothing.
    check_refused("enter the working directory", |spec, fixture| {
        std::os::unix::fs::symlink("/proc/self/fd/7", fixture.path("lower/out")).expect("the fixture is writable");
        spec.cwd = "/out".into();
    })?;
    Ok(())
}

fn many_at_once() -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || -> Result<()> {
                    let fixture = Fixture::new()?;
                    for _ in 0..5 {
                        let output = run(&fixture.spec(&format!("echo {number}; exit {number}")))?;
                        ensure!(output.stdout == format!("{number}\n") && output.exit.code == number, "{output:?}");
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

fn joined_network() -> Result<()> {
    let fixture = Fixture::new()?;
    let namespace = rbuild_sys::netns::NetNs::create()?;
    let inode = rustix::fs::fstat(&namespace)?.st_ino;
    let mut spec = fixture.spec("readlink /proc/self/ns/net; ls /sys/class/net");
    spec.network = Network::Join(rbuild_sandbox::Handle(0));
    let output = super::rootfs::run_with(&spec, vec![namespace.into()])?;
    ensure!(output.stdout == format!("net:[{inode}]\nlo\n"), "{output:?}");
    Ok(())
}

/// An engine is killed with SIGKILL: its box ends, and the next engine removes the group.
fn a_lost_engine_takes_the_box_along() -> Result<()> {
    for init in ["init", "no-init"] {
        let fixture = Fixture::new()?;
        let mut victim = std::process::Command::new(std::env::current_exe()?)
            .args([VICTIM, init])
            .arg(fixture.dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        // The box writes to this pipe, and holds it as long as it lives.
        let mut reader = victim.stdout.take().context("a pipe")?;
        let mut text = [0; 3];
        reader.read_exact(&mut text)?;
        victim.kill()?;
        let begun = Instant::now();
        ensure!(
            reader.read(&mut text)? == 0 && begun.elapsed() < Duration::from_secs(5),
            "the box outlived its engine"
        );
        let number = victim.id();
        victim.wait()?;
        let _next = rbuild_sandbox::Sandbox::detect()?;
        ensure!(super::rootfs::groups_of(number).is_empty(), "groups of the dead engine stayed");
    }
    Ok(())
}

/// The first argument of an engine that waits to be killed.
pub(crate) const VICTIM: &str = "victim";

/// Starts a box that writes to our standard output, and waits.
pub(crate) fn victim() -> Result<()> {
    let mut arguments = std::env::args().skip(2);
    let init = arguments.next().is_some_and(|word| word == "init");
    let dir = std::path::PathBuf::from(arguments.next().context("a directory")?);
    let mut spec = super::rootfs::spec_in(&dir, "echo up; exec sleep 1000");
    spec.init = init;
    let handle = Stream::Handle(rbuild_sandbox::Handle(0));
    spec.stdio = Stdio::Streams { stdin: Stream::Null, stdout: handle, stderr: Stream::Null };
    let stdout = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned()?;
    let running = sandbox().start(&spec, vec![stdout])?;
    running.wait()?;
    Ok(())
}
