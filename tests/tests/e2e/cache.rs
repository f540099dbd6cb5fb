//! What runs again and what does not. A step that writes a random id shows whether it ran.

use std::path::Path;

use crate::lab::{Lab, path};

const STEPS: &str = r#"FROM busybox AS a
COPY a.txt /
RUN cat /proc/sys/kernel/random/uuid > /a-id
FROM busybox AS b
COPY b.txt /
RUN cat /proc/sys/kernel/random/uuid > /b-id
FROM busybox AS c
COPY --from=a /a.txt /
RUN --mount=type=bind,source=m,target=/m cat /proc/sys/kernel/random/uuid > /c-id
FROM scratch
COPY --from=a /a-id /
COPY --from=b /b-id /
COPY --from=c /c-id /
"#;

const FILES: &[(&str, &str)] = &[
    ("a.txt", "a"),
    ("b.txt", "b"),
    ("m/m.txt", "m"),
    ("unused.txt", "u"),
    ("ignored/x", "x"),
    (".dockerignore", "ignored"),
];

/// Builds the steps and returns the ids that they wrote.
fn ids(lab: &Lab, context: &Path, args: &[&str]) -> Vec<String> {
    let out = lab.files_of(context, args);
    ["a-id", "b-id", "c-id"].iter().map(|name| std::fs::read_to_string(out.join(name)).unwrap()).collect()
}

// items: T01 M006 K003 K008 K011 X006
#[test]
fn only_what_depends_on_a_change_runs_again() {
    let lab = Lab::new();
    let context = lab.context(STEPS, FILES);
    let write = |name: &str, text: &str| std::fs::write(context.join(name), text).unwrap();
    let mut before = ids(&lab, &context, &[]);
    let mut expect = |what: &str, ran: &[usize]| {
        let now = ids(&lab, &context, &[]);
        let again: Vec<_> = (0..3).filter(|n| now[*n] != before[*n]).collect();
        assert_eq!(again, ran, "{what}");
        before = now;
    };
    expect("nothing changed", &[]);
    for name in ["a.txt", "b.txt", "m/m.txt", "Dockerfile"] {
        let file = std::fs::File::options().append(true).open(context.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    expect("everything touched", &[]);
    write("unused.txt", "changed");
    write("ignored/x", "changed");
    write("new.txt", "new");
    expect("files that no step reads", &[]);
    write("b.txt", "changed");
    expect("a file of one stage", &[1]);
    write("a.txt", "changed");
    expect("a file whose copy another stage takes", &[0, 2]);
    write("m/m.txt", "changed");
    expect("a file in a bind mount", &[2]);
    write("a.txt", "a");
    let back = ids(&lab, &context, &[]);
    assert_eq!(back[1], before[1], "b is as it was");
    let dockerfile = STEPS.replace("COPY b.txt /\n", "ENV x=1\nCOPY b.txt /\n");
    write("Dockerfile", &dockerfile);
    assert_ne!(ids(&lab, &context, &[])[1], back[1], "an environment variable is part of the key");
}

// items: T01 K005 K008
#[test]
fn modes_count_and_times_do_not() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let context = lab.context(STEPS, FILES);
    let before = ids(&lab, &context, &[]);
    std::fs::set_permissions(context.join("b.txt"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let after = ids(&lab, &context, &[]);
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
}

// items: K006
#[test]
fn renamed_match_of_a_wildcard_is_another_content() {
    let lab = Lab::new();
    let context = lab.context(
        "FROM busybox AS a\nCOPY *.txt /d/\nRUN ls /d > /names\nFROM scratch\nCOPY --from=a /names /\n",
        &[("one.txt", "x")],
    );
    lab.files_of(&context, &[]);
    std::fs::rename(context.join("one.txt"), context.join("two.txt")).unwrap();
    let out = lab.files_of(&context, &[]);
    assert_eq!(std::fs::read_to_string(out.join("names")).unwrap(), "two.txt\n");
}

// items: M015 O002
#[test]
fn no_cache_runs_everything_or_the_stages_named() {
    let lab = Lab::new();
    let context = lab.context(STEPS, FILES);
    let first = ids(&lab, &context, &[]);
    let all = ids(&lab, &context, &["--no-cache"]);
    assert!((0..3).all(|n| first[n] != all[n]), "{first:?} {all:?}");
    let one = ids(&lab, &context, &["--no-cache-filter", "B"]);
    assert_eq!((&one[0], &one[2]), (&all[0], &all[2]));
    assert_ne!(one[1], all[1]);
}

// items: A006 A010 T10 K002 K011
#[test]
fn arguments_are_keys_of_what_follows_them_and_proxies_are_not() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS p\nRUN cat /proc/sys/kernel/random/uuid > /1\nARG v\nRUN echo $http_proxy > /proxy; cat /proc/sys/kernel/random/uuid > /2\nFROM scratch\nCOPY --from=p /1 /2 /proxy /\n";
    let context = lab.context(dockerfile, &[]);
    let read = |args: &[&str]| {
        let out = lab.files_of(&context, args);
        ["1", "2", "proxy"].map(|name| std::fs::read_to_string(out.join(name)).unwrap())
    };
    let (one, two) = (read(&["--build-arg", "v=1"]), read(&["--build-arg", "v=2"]));
    assert_eq!(one[0], two[0]);
    assert_ne!(one[1], two[1]);
    let proxied = read(&["--build-arg", "v=1", "--build-arg", "http_proxy=http://127.0.0.1:9"]);
    assert_eq!(proxied[1], one[1], "a proxy is no reason to run again");
}

// items: C014
#[test]
fn linked_copies_survive_a_change_below_them() {
    let lab = Lab::new();
    let dockerfile = |below: &str| format!("FROM busybox\nRUN echo {below} > /below\nCOPY --link a /a\n");
    let layers = |below: &str| {
        let said = lab.build(&dockerfile(below), &[("a", "A")], &["-t", "app"]).ok().stderr;
        let number =
            |step: &str| said.lines().find(|line| line.ends_with(step)).and_then(|line| line.split(' ').next());
        let is_cached = |step: &str| said.contains(&format!("{} CACHED", number(step).expect("the step is shown")));
        let cached = (is_cached(&format!("] RUN echo {below} > /below")), is_cached("] COPY --link a /a"));
        (lab.inspect("app")["RootFS"]["Layers"].as_array().unwrap().clone(), cached)
    };
    let ((one, _), (two, cached)) = (layers("1"), layers("2"));
    assert_eq!(cached, (false, true), "what is below runs again, the copy does not");
    assert_eq!(one.last(), two.last());
    assert_ne!(one[one.len() - 2], two[two.len() - 2]);
}

// items: H011
#[test]
fn rebuilt_image_has_the_same_id() {
    let lab = Lab::new();
    let context = path(&lab.context("FROM busybox\nRUN date > /now\nCOPY a /\nCMD [\"x\"]\n", &[("a", "A")]));
    let first = lab.rbuild(["build", "-q", "-t", "one", &context]).ok();
    let second = lab.rbuild(["build", "-q", "-t", "two", &context]).ok();
    assert_eq!(first.line(), second.line());
}

/// Failing here means that repeated builds make the store grow.
// items: K014
#[test]
fn cached_builds_do_not_grow_the_store() {
    let lab = Lab::new();
    let context = path(&lab.context(STEPS, FILES));
    let build = || lab.rbuild(["build", "-q", "-t", "app", &context]).ok();
    build();
    let records = lab.say("du --format=json").ok().stdout.lines().count();
    let content = lab.content().len();
    for _ in 0..3 {
        build();
    }
    assert!(lab.say("du --format=json").ok().stdout.lines().count() <= records);
    assert!(lab.content().len() <= content);
}

// items: K012
#[test]
fn equal_builds_at_once_run_each_step_once() {
    let lab = Lab::new();
    let context = path(
        &lab.context("FROM busybox\nRUN sleep 0.3; cat /proc/sys/kernel/random/uuid > /id\nCOPY a /\n", &[("a", "A")]),
    );
    let ids: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..8)
            .map(|n| {
                let (lab, context) = (&lab, &context);
                scope.spawn(move || {
                    lab.rbuild(["build", "-q", "-t", &format!("app{n}"), context]).ok().line().to_owned()
                })
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0] && id.starts_with("sha256:")), "{ids:?}");
    assert_eq!(lab.say("images app7 -q").ok().line().len(), 12);
}

#[test]
fn different_builds_at_once_share_a_store() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                let dockerfile = format!("FROM busybox\nRUN echo {n} > /n\nCOPY a /\nRUN cat /n /a\n");
                lab.build(&dockerfile, &[("a", "A")], &["-t", &format!("app{n}")]).ok();
            });
        }
    });
    for n in 0..8 {
        lab.say(&format!("run --rm --network=none app{n} cat /n")).ok().prints(n.to_string());
    }
}
