//! The command line: help, usage errors, the default command, what goes to which stream.

use crate::lab::{Lab, path};

const COMMANDS: &[&str] = &[
    "build",
    "explain",
    "run",
    "images",
    "rmi",
    "tag",
    "pull",
    "push",
    "save",
    "load",
    "inspect",
    "history",
    "login",
    "logout",
    "du",
    "prune",
    "version",
    "info",
    "completion",
];

#[test]
fn help_names_every_command_and_each_has_its_own() {
    let lab = Lab::empty();
    let help = lab.say("--help").ok();
    for command in COMMANDS {
        assert!(help.stdout.contains(command), "{command}");
        let own = lab.rbuild([*command, "--help"]).ok();
        assert!(own.stdout.contains("Usage:"), "{command}: {}", own.stdout);
    }
    assert!(!lab.store().exists(), "help makes no store");
}

/// Each of these is wrong on the command line itself.
#[test]
fn wrong_usage_exits_with_2() {
    let lab = Lab::empty();
    for (line, said) in [
        ("", "Usage"),
        ("imags", "images"),
        ("build", "PATH"),
        ("-t app", "PATH"),
        ("build --bogus .", "--bogus"),
        ("build --taget app .", "--target"),
        ("build --network=bogus .", "bogus"),
        ("build --progress=loud .", "loud"),
        ("build --memory=much .", "much"),
        ("build --cpus=-1 .", "-1"),
        ("build --cpus=1 --cpu-quota=5000 .", "--cpu-quota"),
        ("build --memory-swap=1g .", "--memory"),
        ("build --cpuset-cpus=3-0 .", "3-0"),
        ("build --ulimit=files=1 .", "files"),
        ("build --ulimit=nofile=9:8 .", "soft limit"),
        ("build --add-host=nowhere .", "nowhere"),
        ("build -o type=parcel .", "parcel"),
        ("build -o dest=x .", "type"),
        ("build --build-arg = .", "="),
        ("run", "IMAGE"),
        ("run --network=bogus busybox", "bogus"),
        ("run -v named:/x busybox", "named"),
        ("run --mount type=bind,src=/tmp busybox", "target"),
        ("pull", "Usage"),
        ("tag one", "Usage"),
        ("completion powerbash", "powerbash"),
    ] {
        // docker keeps the small codes of `run` for the container's own.
        let code = if line.starts_with("run") { 125 } else { 2 };
        lab.say(line).exits(code).says(said);
    }
}

/// These are well spelt, but ask for what is not there.
#[test]
fn wrong_requests_exit_with_1_and_say_what_is_wrong() {
    let lab = Lab::empty();
    std::fs::create_dir(lab.at("empty")).unwrap();
    std::fs::write(lab.at("file"), "").unwrap();
    for (line, said) in [
        ("build ./missing", "missing"),
        ("build ./file", "not a directory"),
        ("build ./empty", "Dockerfile"),
        ("build -f ./nothing ./empty", "nothing"),
        ("inspect nothing", "nothing"),
        ("history nothing", "nothing"),
        ("rmi nothing", "nothing"),
        ("tag nothing other", "nothing"),
        ("save nothing -o x.tar", "nothing"),
        ("push nothing", "nothing"),
        ("load -i nothing.tar", "nothing.tar"),
        ("--root /dev/null/x images", "/dev/null/x"),
    ] {
        let outcome = lab.say(line).exits(1).says(said);
        assert!(outcome.stderr.lines().all(|line| !line.contains("panicked")), "{line}: {}", outcome.stderr);
    }
}

#[test]
fn build_is_the_default_command() {
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "1")]));
    let long = lab.rbuild(["build", "-q", "-t", "long", &context]).ok();
    let short = lab.rbuild(["-q", "-t", "short", &context]).ok();
    assert_eq!(long.line(), short.line());
    assert!(short.line().starts_with("sha256:"), "{}", short.line());
    lab.rbuild(["-q", &context]).ok().prints(long.line());
}

// items: O012
#[test]
fn quiet_prints_the_id_and_the_iidfile_has_it() {
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "1")]));
    let quiet =
        lab.rbuild(["build", "-q", "--iidfile", "id", "--metadata-file", "meta.json", "-t", "app", &context]).ok();
    assert_eq!(quiet.stderr, "");
    assert_eq!(std::fs::read_to_string(lab.at("id")).unwrap(), quiet.line());
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.at("meta.json")).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], quiet.line());
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");
    assert!(metadata["containerimage.digest"].as_str().unwrap().starts_with("sha256:"), "{metadata}");
    assert_eq!(lab.inspect("app")["Id"], quiet.line());
}

#[test]
fn progress_goes_to_standard_error_in_each_mode() {
    let lab = Lab::new();
    let context = path(&lab.context("FROM busybox\nRUN echo from-the-step\n", &[]));
    for mode in ["plain", "auto", "rawjson", "tty", "quiet"] {
        let outcome = lab.rbuild(["build", "--no-cache", "--progress", mode, &context]).ok();
        if mode == "rawjson" {
            for line in outcome.stderr.lines().filter(|line| !line.is_empty()) {
                let status: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(status.is_object(), "{line}");
            }
            outcome.says("\"vertexes\"");
        } else if mode == "plain" || mode == "auto" {
            let outcome = outcome.says("from-the-step").says("RUN echo from-the-step");
            assert!(!outcome.stderr.contains('\u{1b}'), "no escapes without a terminal: {}", outcome.stderr);
            assert!(!outcome.stdout.contains("from-the-step"), "{}", outcome.stdout);
        }
    }
    lab.rbuild(["build", "--progress=plain", &context]).ok().says("CACHED");
}

// items: X001 X006 X009 X016
#[test]
fn dockerfiles_come_from_other_places() {
    let lab = Lab::empty();
    let context =
        lab.context("FROM scratch\nCOPY a /default\n", &[("a", "1"), ("dir/Other", "FROM scratch\nCOPY a /other\n")]);
    let dir = path(&context);
    let expect = |args: &[&str], input: &[u8], file: &str| {
        let _ = std::fs::remove_dir_all(lab.at("out"));
        lab.rbuild_with_input([&["build", "-o", "out"], args].concat(), input).ok();
        assert!(lab.at("out").join(file).exists(), "{args:?}");
    };
    expect(&[&dir], b"", "default");
    expect(&["-f", &format!("{dir}/dir/Other"), &dir], b"", "other");
    expect(&["-f", "-", &dir], b"FROM scratch\nCOPY a /stdin\n", "stdin");
    expect(&["-"], b"FROM scratch\nCOPY <<EOF /alone\nx\nEOF\n", "alone");
    // What an ignore file says is for directories.
    std::fs::write(context.join(".dockerignore"), "a\n").unwrap();
    for compression in ["-c", "-cz", "-cj", "-cJ"] {
        let tar = std::process::Command::new("tar").args(["-C", &dir, compression, "."]).output().unwrap();
        expect(&["-"], &tar.stdout, "default");
        expect(&["-f", "dir/Other", "-"], &tar.stdout, "other");
    }
    std::fs::remove_file(context.join(".dockerignore")).unwrap();
    lab.rbuild(["build", "-f", "-", "-"]).exits(1).says("can't use stdin for both");
    std::fs::rename(context.join("Dockerfile"), context.join("dockerfile")).unwrap();
    expect(&[&dir], b"", "default");
}

#[test]
fn version_info_and_completion() {
    let lab = Lab::empty();
    let version = lab.say("version").ok();
    assert!(version.stdout.contains("0."), "{}", version.stdout);
    lab.say("--version").ok();
    let info = lab.say("info").ok();
    assert!(info.stdout.contains(lab.store().to_str().unwrap()), "{}", info.stdout);
    for shell in ["bash", "zsh", "fish"] {
        assert!(lab.rbuild(["completion", shell]).ok().stdout.contains("rbuild"), "{shell}");
    }
}

#[test]
fn store_is_where_it_was_told_and_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "1")]));
    lab.rbuild(["--root", "elsewhere", "build", "-q", "-t", "app", &context]).ok();
    assert!(!lab.store().exists());
    assert_eq!(std::fs::metadata(lab.at("elsewhere")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(lab.rbuild(["--root", "elsewhere", "images"]).ok().stdout.contains("app"));
    assert!(!lab.rbuild(["images"]).ok().stdout.contains("app"));
    lab.rbuild(["--root", "elsewhere", "prune", "-af"]).ok();
}
