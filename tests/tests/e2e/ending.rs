//! Ends of every kind: what was begun is gone, and the next command works.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::lab::{Lab, path, root_or_skip, until};

/// Returns the processes with `mark` among their arguments, other than rbuild's.
pub(crate) fn processes_with(mark: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    })
    .collect()
}

/// What an engine with this pid left behind, of mounts, cgroups and files that are not finished.
pub(crate) fn left_behind(lab: &Lab, pid: u32, mark: &str) -> Vec<String> {
    let mut left: Vec<String> = processes_with(mark).iter().map(|pid| format!("process {pid}")).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let store = path(&lab.store());
    left.extend(mounts.lines().filter(|line| line.contains(&store)).map(str::to_owned));
    left.extend(cgroups(Path::new("/sys/fs/cgroup"), pid, 0));
    left
}

/// Finds groups that are named after an engine's pid.
fn cgroups(dir: &Path, pid: u32, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name();
        let named = name.to_str().is_some_and(|name| name.split('-').nth(1) == Some(&pid.to_string()));
        if dir.ends_with("rbuild") && named {
            found.push(path(&entry.path()));
        } else if depth < 8 {
            found.extend(cgroups(&entry.path(), pid, depth + 1));
        }
    }
    found
}

/// A build whose last step sleeps; the mark names the sleeper.
fn sleeping_build(lab: &Lab, mark: &str) -> crate::lab::Running {
    let dockerfile = format!(
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN echo id=$(cat /id)\nRUN echo as$((6*7))leep && sleep {mark}\n"
    );
    let context = path(&lab.context(&dockerfile, &[]));
    let mut running = lab.start(["build", "--progress=plain", "-t", "app", &context]);
    until("the step sleeps", || {
        assert!(running.child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(lab.at("log")).unwrap());
        !processes_with(mark).is_empty()
    });
    running
}

fn mark(test: u32) -> String {
    format!("{}", 7_000_000 + test * 100_000 + std::process::id() % 100_000)
}

/// The id that the first step printed, which shows later whether it ran again.
fn id_in(text: &str) -> String {
    let id = text.lines().find_map(|line| line.split("id=").nth(1).filter(|id| id.len() == 36));
    id.unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}

fn ends_well(signal: Signal, code: i32, number: u32) {
    let lab = Lab::new();
    let mark = mark(number);
    let running = sleeping_build(&lab, &mark);
    let pid = running.pid();
    let began = std::time::Instant::now();
    running.signal(signal);
    let outcome = running.end().exits(code);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(left_behind(&lab, pid, &mark), Vec::<String>::new());
    assert!(lab.say("images app -q").ok().line().is_empty());
    // What was finished is not done again.
    let context =
        path(&lab.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN true $(cat /id)\n", &[]));
    lab.rbuild(["build", "--progress=plain", &context]).ok().says("CACHED");
    drop(outcome);
}

#[test]
fn interrupted_build() {
    ends_well(Signal::INT, 130, 1);
}

#[test]
fn terminated_build() {
    ends_well(Signal::TERM, 143, 2);
}

#[test]
fn build_whose_terminal_went_away() {
    ends_well(Signal::HUP, 129, 3);
}

#[test]
fn killed_build_leaves_no_process_and_is_resumed() {
    let lab = Lab::new();
    let mark = mark(4);
    let mut running = sleeping_build(&lab, &mark);
    running.wait_for("as42leep");
    let first = id_in(&std::fs::read_to_string(lab.at("log")).unwrap());
    let pid = running.pid();
    running.signal(Signal::KILL);
    running.end().exits(137);
    until("its step is gone", || processes_with(&mark).is_empty());
    let dockerfile =
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /same && echo again=$(cat /id)\n";
    let again = lab.build(dockerfile, &[], &["-t", "app"]).ok();
    assert!(again.stderr.contains(&format!("again={first}")), "the finished step was not run again: {}", again.stderr);
    // The next command has cleared up what the killed one could not.
    assert_eq!(left_behind(&lab, pid, &mark), Vec::<String>::new());
    lab.say("rmi app busybox").ok();
    lab.say("prune -af").ok();
    let left: Vec<_> = lab.content().into_iter().filter(|file| !file.ends_with("sha256")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn killed_container_leaves_nothing() {
    let lab = Lab::new();
    let mark = mark(5);
    let running = lab.start(["run", "--rm", "--network=none", "busybox", "sleep", &mark]);
    until("it runs", || {
        processes_with(&mark).len() >= 2 || !processes_with(&mark).iter().all(|pid| *pid == running.pid())
    });
    let pid = running.pid();
    running.signal(Signal::KILL);
    running.end().exits(137);
    until("the container is gone", || processes_with(&mark).is_empty());
    lab.sh("--network=none", "true").ok();
    assert_eq!(left_behind(&lab, pid, &mark), Vec::<String>::new());
}

#[test]
fn failing_step_cancels_its_siblings() {
    let lab = Lab::new();
    let mark = mark(6);
    let dockerfile = format!(
        "FROM busybox AS a\nRUN sleep {mark}\nFROM busybox AS b\nRUN sleep 0.3; exit 3\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    );
    let began = std::time::Instant::now();
    lab.build(&dockerfile, &[], &[]).exits(1).says("exit code: 3");
    assert!(began.elapsed().as_secs() < 10);
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}

#[test]
fn root_full_disk_is_said_and_survived() {
    let lab = Lab::new();
    if !root_or_skip() {
        return;
    }
    let small = lab.at("small");
    std::fs::create_dir(&small).unwrap();
    let context = path(&lab.context("FROM scratch\nCOPY big /\n", &[("big", &"x".repeat(8 << 20))]));
    let tiny = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]));
    let script = "mount -t tmpfs -o size=4m none $D; $R --root $D/s build -t big $BIG; echo code=$?; $R --root $D/s build -q -t tiny $TINY >/dev/null; echo code=$?; $R --root $D/s images";
    let mut command = lab.command("unshare");
    command
        .args(["-m", "sh", "-c", script])
        .env("D", &small)
        .env("R", crate::lab::binary())
        .env("BIG", &context)
        .env("TINY", &tiny);
    let outcome = crate::lab::run(&mut command, b"");
    let codes: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with("code=")).collect();
    assert_eq!(codes, ["code=1", "code=0"], "{outcome:?}");
    assert!(outcome.stdout.contains("tiny") && !outcome.stdout.contains("big "), "{outcome:?}");
    outcome.says("No space left");
}

#[test]
fn closed_pipe_is_no_error_message() {
    let lab = Lab::new();
    let status = Command::new("sh")
        .args(["-c", "$R --root $S images --help | head -n 1 > /dev/null; $R --root $S run --rm --network=none busybox yes 2>$S.err | head -n 1"])
        .env("R", crate::lab::binary())
        .env("S", lab.store())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "y\n");
    let said = std::fs::read_to_string(format!("{}.err", lab.store().display())).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}
