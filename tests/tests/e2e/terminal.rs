//! With a terminal: `script` gives one.

use crate::lab::{Lab, Outcome, binary, have, path, run};

/// Runs a shell command with a terminal; rbuild is `$R`.
fn typed(lab: &Lab, line: &str) -> Outcome {
    run(lab.command("script").args(["-qec", line, "/dev/null"]).env("R", path(binary())).env("TERM", "xterm"), b"")
}

#[test]
fn container_has_a_real_terminal() {
    if !have(&["script"]) {
        return;
    }
    let lab = Lab::new();
    let outcome = typed(&lab, "stty rows 33 cols 77; $R run --rm -t --network=none busybox sh -c 'tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; exit 9'").exits(9);
    for said in ["/dev/pts/0", "33 77", "all"] {
        assert!(outcome.stdout.contains(said), "{said}: {outcome:?}");
    }
}

#[test]
fn container_is_told_of_new_sizes() {
    if !have(&["script"]) {
        return;
    }
    let lab = Lab::new();
    let script = "trap 'stty size; exit 0' WINCH; echo ready; n=0; while [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done; echo never";
    let line = format!(
        "stty rows 20 cols 50; t=$(tty); $R run --rm -t --network=none busybox sh -c \"{}\" < $t & sleep 1.5; stty rows 44 cols 99 < $t; wait $!",
        script.replace('$', "\\$")
    );
    let outcome = typed(&lab, &line);
    assert!(outcome.stdout.contains("44 99"), "{outcome:?}");
}

#[test]
fn terminal_is_restored() {
    if !have(&["script"]) {
        return;
    }
    let lab = Lab::new();
    let outcome = typed(&lab, "stty -g > before; $R run --rm -it --network=none busybox true; stty -g > after; $R run --rm -it --network=none busybox sh -c 'kill -9 $$'; stty -g > killed; cmp before after && cmp before killed").ok();
    drop(outcome);
}

#[test]
fn live_view_shows_steps_and_ends_clean() {
    if !have(&["script"]) {
        return;
    }
    let lab = Lab::new();
    let context = path(&lab.context("FROM busybox\nRUN echo hello && sleep 0.3\n", &[]));
    for setting in ["stty rows 30 cols 100", "stty rows 5 cols 20", "stty rows 0 cols 0"] {
        let outcome = typed(&lab, &format!("{setting}; $R build --no-cache -t app {context}")).ok();
        assert!(outcome.stdout.contains("RUN echo") || setting.contains("20"), "{outcome:?}");
        let hidden = outcome.stdout.rfind("\u{1b}[?25l");
        assert!(hidden <= outcome.stdout.rfind("\u{1b}[?25h"), "the cursor is shown again: {outcome:?}");
    }
    let plain = typed(&lab, &format!("NO_COLOR=1 $R build --no-cache {context}")).ok();
    assert!(!plain.stdout.contains("\u{1b}[3"), "no colours: {plain:?}");
}
