//! The live view: what is drawn, and that drawing it again leaves nothing behind.

use rbuild_events::{Event, Outcome};
use rbuild_progress::screen::Screen;
use rbuild_progress::{Model, Size, draw};

use crate::terminal::FakeTerminal;
use crate::{Shared, at, completed, log, started, status, vertex};

const BASE: &str = "[build 1/3] FROM docker.io/library/debian";
const APT: &str = "[build 2/3] RUN apt-get install";
const MAKE: &str = "[build 3/3] RUN make";
const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn model(events: &[Event]) -> Model {
    let mut model = Model::new("Building");
    for event in events {
        model.fold(event, at(0.0));
    }
    model
}

fn scenario() -> Vec<Event> {
    vec![
        vertex(BASE),
        vertex(APT),
        vertex(MAKE),
        vertex("[final 1/1] COPY"),
        started(BASE, 0.0),
        completed(BASE, 0.1, Outcome::Cached),
        started(APT, 0.0),
        started(MAKE, 1.0),
        status(APT, LAYER, 1_000_000, 4_000_000, None),
        status(APT, "resolve something", 0, 0, Some(0.5)),
        log(MAKE, 1.5, "one\ntwo\nthree\nhalf"),
    ]
}

fn check(events: &[Event], width: usize, height: usize, want: &[&str]) {
    let lines = draw(&model(events), at(2.0), Size { width, height }, 2);
    let texts: Vec<_> = lines.iter().map(|line| line.text.trim_end()).collect();
    assert_eq!(texts, want);
}

#[test]
fn shows_what_runs_and_what_ended() {
    check(
        &scenario(),
        72,
        24,
        &[
            "[+] Building 2.0s (1/4)",
            " => CACHED [build 1/3] FROM docker.io/library/debian               0.1s",
            " => [build 2/3] RUN apt-get install                                2.0s",
            " => => sha256:e3b0c44298fc 1.00MB / 4.00MB  500.00kB/s",
            " => => resolve something                                           0.5s",
            " => [build 3/3] RUN make                                           1.0s",
            " => => # three",
            " => => # half",
        ],
    );
}

#[test]
fn small_screens_show_what_matters() {
    check(
        &scenario(),
        100,
        7,
        &[
            "[+] Building 2.0s (1/4)",
            " => [build 2/3] RUN apt-get install                                                            2.0s",
            " => => sha256:e3b0c44298fc [=====>              ] 1.00MB / 4.00MB  500.00kB/s",
            " => => resolve something                                                                       0.5s",
            " => [build 3/3] RUN make                                                                       1.0s",
            " => => # half",
        ],
    );
    check(
        &scenario(),
        40,
        4,
        &[
            "[+] Building 2.0s (1/4)",
            " => [build 2/3] RUN apt-get insta… 2.0s",
            " => [build 3/3] RUN make           1.0s",
        ],
    );
    check(&scenario(), 20, 3, &["[+] Building 2.0s …", " => … and 2 more"]);
    check(&scenario(), 1, 1, &[""]);
}

#[test]
fn outcomes_are_named() {
    let mut events = scenario();
    events.push(completed(APT, 2.0, Outcome::Failed("exit code 1".into())));
    events.push(completed(MAKE, 2.0, Outcome::Canceled));
    check(
        &events,
        60,
        24,
        &[
            "[+] Building 2.0s (3/4)",
            " => CACHED [build 1/3] FROM docker.io/library/debian   0.1s",
            " => ERROR [build 2/3] RUN apt-get install              2.0s",
            " => => resolve something                               0.5s",
            " => CANCELED [build 3/3] RUN make                      1.0s",
        ],
    );
}

#[test]
fn nothing_foreign_reaches_the_terminal() {
    let evil = "RUN \u{1b}]0;title\u{7}\u{9b}2J\r[+] done";
    let events = [
        vertex(evil),
        started(evil, 0.0),
        log(evil, 0.1, "\u{1b}[2J\u{1b}[31mred\u{1b}[0m 10%\r20%\n"),
        status(evil, "\u{1b}x", 1, 2, None),
    ];
    for line in draw(&model(&events), at(1.0), Size { width: 200, height: 24 }, 6) {
        assert!(!line.text.contains(char::is_control), "{:?}", line.text);
    }
    let lines = draw(&model(&events), at(1.0), Size { width: 200, height: 24 }, 6);
    assert!(lines.iter().any(|line| line.text == " => => # 20%"), "{lines:?}");
}

#[test]
fn every_size_is_survived_and_kept() {
    for width in 0..90 {
        for height in 0..12 {
            let lines = draw(&model(&scenario()), at(2.0), Size { width, height }, 6);
            assert!(lines.len() <= height.saturating_sub(1).max(1), "{width}x{height}: {}", lines.len());
            assert!(lines.iter().all(|line| line.text.chars().count() <= width.saturating_sub(1)));
        }
    }
}

#[test]
fn frames_replace_each_other() {
    let shared = Shared::default();
    let mut screen = Screen::new(shared.clone(), true);
    let mut terminal = FakeTerminal::new(60);
    let size = Size { width: 60, height: 24 };
    let events = scenario();
    let mut fed = 0;
    for count in [5, 11, 6, 8] {
        let lines = draw(&model(&events[..count]), at(2.0), size, 6);
        screen.draw(&lines, size.width).unwrap();
        let bytes = shared.bytes();
        terminal.feed(&bytes[fed..]);
        fed = bytes.len();
        let texts: Vec<_> = lines.iter().map(|line| line.text.trim_end()).collect();
        assert_eq!(terminal.shown(), texts, "after {count} events");
        assert!(!terminal.cursor_shown);
    }
    screen.append(b"the end\r\n").unwrap();
    drop(screen);
    terminal.feed(&shared.bytes()[fed..]);
    assert!(terminal.cursor_shown);
    assert_eq!(terminal.shown().last(), Some(&"the end"));
}

#[test]
fn the_cursor_comes_back_whatever_happens() {
    let shared = Shared::default();
    let mut screen = Screen::new(shared.clone(), false);
    screen.draw(&[], 80).unwrap();
    drop(screen);
    assert!(shared.text().ends_with("\u{1b}[?25h"));
}
