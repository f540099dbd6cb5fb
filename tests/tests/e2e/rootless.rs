//! The same Dockerfile makes the same image for everybody: root, a user with ids, a user without.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::lab::{Lab, binary, path, root_or_skip, run, skip};

/// Owners, modes, whiteouts, links, each with times that do not move.
const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "/busybox mkdir /bin && /busybox --install -s /bin && /bin/touch -h -d @1000 /bin/* /bin && /bin/mkdir /d && /bin/touch -d @1000 /d"]
COPY --chmod=640 a /d/a
RUN touch -d @1000 /d
RUN mkdir -p /x/y && echo 1 > /x/y/f && ln /x/y/f /x/hard && ln -s f /x/y/soft && chmod 4751 /x/y/f && touch -h -d @1000 /x/y/soft && touch -d @1000 /x/y/f /x/y /x
RUN rm /d/a && rm -r /x/y && touch -d @1000 /d /x
COPY --link a /linked
COPY a /deep/down/a
COPY <<EOF /document
no clock in here
EOF
"#;

const OWNERS: &str = "COPY --chown=1000:2000 a /owned\nRUN chown 1000:1000 /d && mkdir -m 700 /mine && chown 5:6 /mine && touch -d @1000 /mine\n";

/// Builds as another user in a directory of theirs; returns the layers.
fn layers(lab: &Lab, who: Option<&str>, dockerfile: &str) -> Result<serde_json::Value, String> {
    let home = lab.at(who.unwrap_or("root"));
    std::fs::create_dir_all(&home).unwrap();
    for (name, bytes) in [
        ("a", b"A".to_vec()),
        ("busybox", std::fs::read("/bin/busybox").unwrap()),
        ("Dockerfile", dockerfile.as_bytes().to_vec()),
    ] {
        std::fs::write(home.join(name), bytes).unwrap();
        let file = std::fs::File::open(home.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000)).unwrap();
    }
    std::fs::set_permissions(home.join("busybox"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = home.join("rbuild");
    std::fs::copy(binary(), &program).unwrap();
    let mut words: Vec<String> = Vec::new();
    if let Some(who) = who {
        let status = Command::new("chown").args(["-R", &format!("{who}:"), &path(&home)]).status().unwrap();
        assert!(status.success());
        words.extend(
            ["setpriv", "--reuid", who, "--regid", &primary_group(who), "--clear-groups", "--"].map(str::to_owned),
        );
    }
    words.push(path(&program));
    let rbuild = |args: &[&str]| {
        let mut command = lab.command(&words[0]);
        command
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .env("TMPDIR", &home)
            .env("RBUILD_ROOT", home.join("store"))
            .env("SOURCE_DATE_EPOCH", "0");
        run(command.current_dir(&home).args(&words[1..]).args(args), b"")
    };
    let built = rbuild(&["build", "--network=none", "--progress=plain", "-t", "app", "."]);
    if built.code != 0 {
        return Err(built.stderr);
    }
    let shown: serde_json::Value = serde_json::from_str(&rbuild(&["inspect", "app"]).ok().stdout).unwrap();
    rbuild(&["prune", "-af"]);
    rbuild(&["rmi", "-f", "app"]);
    Ok(shown[0]["RootFS"]["Layers"].clone())
}

fn primary_group(user: &str) -> String {
    let output = Command::new("id").args(["-g", user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn opened(lab: &Lab) {
    std::fs::set_permissions(lab.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn root_user_with_ids_makes_the_same_layers() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::empty();
    opened(&lab);
    let user = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let Some(user) = user
        .lines()
        .filter_map(|line| line.split(':').next())
        .find(|name| primary_group(name).parse::<u32>().is_ok_and(|id| id > 0))
    else {
        return skip("nobody has ids in /etc/subuid");
    };
    let dockerfile = format!("{DOCKERFILE}{OWNERS}");
    let (root, other) = (layers(&lab, None, &dockerfile).unwrap(), layers(&lab, Some(user), &dockerfile).unwrap());
    assert_eq!(root, other);
}

/// Only steps that change owners differ where there is one id.
#[test]
fn root_user_without_ids_makes_the_same_layers() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::empty();
    opened(&lab);
    let (root, other) = (layers(&lab, None, DOCKERFILE).unwrap(), layers(&lab, Some("nobody"), DOCKERFILE).unwrap());
    assert_eq!(root, other);
}

#[test]
fn ordinary_user_has_a_store_of_its_own() {
    if crate::lab::is_root() {
        return;
    }
    let lab = Lab::empty();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    let mut command = lab.command(binary());
    command
        .env_remove("RBUILD_ROOT")
        .env("XDG_DATA_HOME", lab.at("data"))
        .args(["build", "-q", "-t", "app"])
        .arg(&context);
    run(&mut command, b"").ok();
    assert!(lab.at("data/rbuild").is_dir());
}
