//! The same context makes the same image: built from other paths, by other users, with other umasks and time
//! zones, on another file system, with files made in another order and directories of other ages.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Outcome, binary, is_root, path, root_or_skip, run, skip};

/// Everything that leaves files with times of their own.
const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "/busybox mkdir /bin && /busybox --install -s /bin"]
WORKDIR /work/dir
COPY tree /tree
COPY --chmod=750 tree/a new/b
ADD packed.tar /packed/
COPY <<EOF /document
no clock in here
EOF
RUN date > /dev/null && mkdir -p made/by && echo run > made/by/run && ln made/by/run made/hard && ln -s run made/soft
RUN rm -r /tree/sub && chmod 711 /tree
COPY --link tree/sub /linked
LABEL one=1
"#;
/// Steps that need more than one id.
const OWNERS: &str = "COPY --chown=1000:2000 tree /owned\nRUN chown -R 5:6 /packed\n";
const FILES: [(&str, &str); 4] = [("tree/a", "A"), ("tree/b", "B"), ("tree/sub/c", "C"), ("tree/sub/d", "D")];
const EPOCH: &str = "1400000000";

/// One way to build.
struct Way {
    what: &'static str,
    user: Option<String>,
    umask: u32,
    zone: &'static str,
    /// Whether files are made in the opposite order, and directories have other times.
    backwards: bool,
    /// Where the store and context are, if not in the lab.
    elsewhere: Option<PathBuf>,
}

impl Way {
    fn plain(what: &'static str) -> Self {
        Self { what, user: None, umask: 0o022, zone: "UTC", backwards: false, elsewhere: None }
    }

    fn place(&self, lab: &Lab) -> PathBuf {
        self.elsewhere.clone().unwrap_or_else(|| lab.path().to_owned()).join(self.what.replace(' ', "-"))
    }
}

/// Sets the time of a file or directory.
fn age(file: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    std::fs::File::open(file).unwrap().set_modified(time).unwrap();
}

/// Makes the context. Times of files count; those of directories do not as long as they are later than the epoch.
fn make_context(place: &Path, dockerfile: &str, backwards: bool) {
    let mut files: Vec<(&str, Vec<u8>)> = FILES.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
    files.push(("Dockerfile", dockerfile.as_bytes().to_vec()));
    files.push(("busybox", std::fs::read("/bin/busybox").unwrap()));
    if backwards {
        files.reverse();
    }
    for (name, bytes) in files {
        let file = place.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let mode = if name == "busybox" { 0o755 } else { 0o644 };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        age(&file, 2000);
    }
    // The archive is the same file in each context.
    let tar = ["--mtime=@5000", "--owner=0", "--group=0", "--sort=name", "-cf", "packed.tar", "tree/a", "tree/sub"];
    assert!(Command::new("tar").current_dir(place).args(tar).status().unwrap().success());
    for (name, forwards, otherwise) in
        [("tree/sub", 1_600_000_000, 1_500_000_000), ("tree", 1_600_000_001, 1_700_000_000)]
    {
        std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        age(&place.join(name), if backwards { otherwise } else { forwards });
    }
}

/// Runs rbuild one way.
fn rbuild(lab: &Lab, way: &Way, args: &[&str]) -> Outcome {
    let place = way.place(lab);
    let mut words: Vec<String> = Vec::new();
    if let Some(user) = &way.user {
        let group = primary_group(user);
        words.extend(["setpriv", "--reuid", user, "--regid", &group, "--clear-groups", "--"].map(str::to_owned));
    }
    let script = format!("umask {:03o}; exec \"$0\" \"$@\"", way.umask);
    words.extend(["sh", "-c", &script, &path(&place.join("rbuild"))].map(str::to_owned));
    let mut command = lab.command(&words[0]);
    command
        .env("HOME", &place)
        .env("XDG_RUNTIME_DIR", &place)
        .env("TMPDIR", &place)
        .env("RBUILD_ROOT", place.join("store"))
        .env("TZ", way.zone)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .current_dir(place.join("context"));
    run(command.args(&words[1..]).args(args), b"")
}

/// Builds one way in a fresh store and returns the digest of the manifest.
fn digest(lab: &Lab, way: &Way, dockerfile: &str) -> String {
    let place = way.place(lab);
    std::fs::create_dir_all(place.join("context")).unwrap();
    make_context(&place.join("context"), dockerfile, way.backwards);
    std::fs::copy(binary(), place.join("rbuild")).unwrap();
    if let Some(user) = &way.user {
        let given = Command::new("chown").args(["-R", &format!("{user}:"), &path(&place)]).status().unwrap();
        assert!(given.success());
    }
    let output = "type=oci,dest=../o.tar,rewrite-timestamp=true";
    let built = rbuild(
        lab,
        way,
        &["build", "--network=none", "--progress=plain", "-t", "app", "-o", output, "--metadata-file", "../m", "."],
    );
    let metadata = std::fs::read(place.join("m"));
    // What is there may belong to mapped ids: only rbuild can remove it.
    rbuild(lab, way, &["prune", "-af"]);
    built.ok();
    let metadata: Value = serde_json::from_slice(&metadata.unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

fn primary_group(user: &str) -> String {
    let output = Command::new("id").args(["-g", user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Builds each way and expects one digest.
#[track_caller]
fn all_equal(lab: &Lab, ways: &[Way], dockerfile: &str) {
    // Other users have to get in.
    std::fs::set_permissions(lab.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let digests: BTreeMap<&str, String> = ways.iter().map(|way| (way.what, digest(lab, way, dockerfile))).collect();
    let first = digests.values().next().unwrap();
    assert!(digests.values().all(|digest| digest == first), "{digests:#?}");
}

/// `SOURCE_DATE_EPOCH` and `rewrite-timestamp=true` leave nothing of when and where.
// items: H011 O010
#[test]
fn builds_elsewhere_make_the_same_manifest() {
    let mut ways = vec![
        Way::plain("plainly"),
        Way { umask: 0o077, ..Way::plain("closed umask") },
        Way { zone: "Pacific/Auckland", ..Way::plain("another zone") },
        Way { backwards: true, ..Way::plain("in another order") },
    ];
    let memory = tempfile::Builder::new().prefix("rbuild-e2e-").tempdir_in("/dev/shm");
    match &memory {
        Ok(there) => ways.push(Way { elsewhere: Some(there.path().to_owned()), ..Way::plain("in memory") }),
        Err(error) => skip(&format!("the part in memory: {error}")),
    }
    let dockerfile = if is_root() { format!("{DOCKERFILE}{OWNERS}") } else { DOCKERFILE.to_owned() };
    all_equal(&Lab::empty(), &ways, &dockerfile);
}

/// The same for root, a user with a range of ids, and one with a single id.
// items: H011 O010
#[test]
fn root_other_users_make_the_same_manifest() {
    if !root_or_skip() {
        return;
    }
    let single = Way { user: Some("nobody".to_owned()), umask: 0o077, ..Way::plain("with a single id") };
    all_equal(&Lab::empty(), &[Way::plain("as root"), single], DOCKERFILE);
    let users = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let ordinary = |name: &&str| primary_group(name).parse::<u32>().is_ok_and(|id| id > 0);
    let Some(user) = users.lines().filter_map(|line| line.split(':').next()).find(ordinary) else {
        return skip("the part of users with ids: nobody has ids in /etc/subuid");
    };
    let ranged = Way { user: Some(user.to_owned()), backwards: true, ..Way::plain("with a range of ids") };
    all_equal(&Lab::empty(), &[Way::plain("as root"), ranged], &format!("{DOCKERFILE}{OWNERS}"));
}

/// Without an epoch, layers of COPY are the same; those of RUN, WORKDIR and heredocs, and the configuration, tell
/// the time of the build.
// items: H011
#[test]
fn layers_of_copies_need_no_epoch() {
    let layers = || {
        let lab = Lab::empty();
        let context = lab.context("FROM scratch\nCOPY d made/by/\nCOPY d/a made/other/a\n", &[("d/a", "A")]);
        age(&context.join("d/a"), 5);
        age(&context.join("d"), 7);
        lab.build_dir(&context, &["-t", "app"]).ok();
        lab.inspect("app")["RootFS"]["Layers"].clone()
    };
    assert_eq!(layers(), layers());
}

/// What `rewrite-timestamp` leaves alone, and what it says of what it did.
// items: O010
#[test]
fn rewriting_spares_the_base_and_tells_the_manifest() {
    let lab = Lab::new();
    let context = lab.context("FROM busybox\nRUN touch /new && touch -d @1000 /old\nENV A=1\n", &[]);
    let rewrite = "type=oci,dest=o,tar=false,rewrite-timestamp=true";
    let args = ["-o", rewrite, "-o", "type=oci,dest=p,tar=false", "--build-arg", "SOURCE_DATE_EPOCH=2000", "-t", "app"];
    lab.build_dir(&context, &args).ok();
    let blob = |place: &str, digest: &Value| {
        let digest = digest.as_str().unwrap().replace(':', "/");
        lab.at(place).join("blobs").join(digest)
    };
    let json = |file: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap() };
    let manifest = |place: &str| json(blob(place, &json(lab.at(place).join("index.json"))["manifests"][0]["digest"]));
    let (rewritten, plain) = (manifest("o"), manifest("p"));
    let last = rewritten["layers"].as_array().unwrap().len() - 1;
    assert!(last > 0);
    for number in 0..last {
        assert_eq!(rewritten["layers"][number], plain["layers"][number], "the base's");
    }
    assert_eq!(rewritten["layers"][last]["annotations"]["buildkit/rewritten-timestamp"], "2000");
    assert_ne!(rewritten["layers"][last]["digest"], plain["layers"][last]["digest"]);
    let mut list = Command::new("tar");
    list.env("TZ", "UTC").args(["--full-time", "-tvf"]).arg(blob("o", &rewritten["layers"][last]["digest"]));
    let listed = String::from_utf8(list.output().unwrap().stdout).unwrap();
    for (name, time) in [("new", "1970-01-01 00:33:20"), ("old", "1970-01-01 00:16:40")] {
        assert!(listed.lines().any(|line| line.contains(time) && line.ends_with(name)), "{listed}");
    }
    let config = json(blob("o", &rewritten["config"]["digest"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), last + 1);
    assert_eq!(config["created"], "1970-01-01T00:33:20Z");
}

/// `source-date-epoch` of an output wins, and `rewrite-timestamp` without any time changes nothing.
// items: O010
#[test]
fn outputs_have_epochs_of_their_own() {
    let lab = Lab::empty();
    let created = |output: &str, args: &[&str]| {
        lab.build("FROM scratch\nCOPY a /\n", &[("a", "A")], &[&["-t", "app", "-o", output], args].concat()).ok();
        lab.rbuild(["load", "-i", &path(&lab.at("o.tar"))]).ok();
        lab.inspect("app")["Created"].as_str().unwrap().to_owned()
    };
    let given = ["--build-arg", "SOURCE_DATE_EPOCH=2000"];
    assert_eq!(created("type=docker,dest=o.tar", &given), "1970-01-01T00:33:20Z");
    assert_eq!(created("type=docker,dest=o.tar,source-date-epoch=1000", &given), "1970-01-01T00:16:40Z");
    // The history was told the build's time already.
    assert_eq!(created("type=docker,dest=o.tar,source-date-epoch=", &given), "1970-01-01T00:33:20Z");
    assert!(!created("type=docker,dest=o.tar,rewrite-timestamp=true", &[]).starts_with("1970"));
    lab.build("FROM scratch\n", &[], &["-o", "type=oci,dest=o.tar,source-date-epoch=soon"])
        .exits(1)
        .says("source-date-epoch=soon")
        .says("seconds since 1970");
    lab.build("FROM scratch\n", &[], &["-o", "type=local,dest=o,rewrite-timestamp=true"])
        .exits(1)
        .says("rewrite-timestamp")
        .says("not supported");
}

/// An archive on standard input has the time of its newest file.
// items: O010
#[test]
fn archives_tell_their_time() {
    let lab = Lab::empty();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    age(&context.join("a"), 3000);
    age(&context.join("Dockerfile"), 4000);
    let tar = Command::new("tar").current_dir(&context).args(["-c", "a", "Dockerfile"]).output().unwrap().stdout;
    lab.rbuild_with_input(["build", "-q", "-t", "app", "--build-arg", "SOURCE_DATE_EPOCH=context", "-"], &tar).ok();
    assert_eq!(lab.inspect("app")["Created"], "1970-01-01T01:06:40Z");
    lab.build_dir(&context, &["--build-arg", "SOURCE_DATE_EPOCH=never"])
        .exits(1)
        .says("invalid SOURCE_DATE_EPOCH: never");
}
