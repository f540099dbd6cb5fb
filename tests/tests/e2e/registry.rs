//! Push and pull against Debian's docker-registry on a port of loopback.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, have, path, run, until};

/// bcrypt of `opensesame`.
const HTPASSWD: &str = "ali:$2b$04$9Ew8Ti7CMhwByRI/vQQn..HmJWj7i0/P9CvoT/krfbUnHxvgbbpCC\n";

/// A registry with its data in a lab; it ends with the test.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    data: PathBuf,
}

impl Registry {
    /// Starts one, or says why not.
    pub(crate) fn start(lab: &Lab, name: &str, with_password: bool) -> Option<Self> {
        if !have(&["docker-registry"]) {
            return None;
        }
        // The port is free again for a moment only; another test would have to be very quick.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let data = lab.at(name);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("htpasswd"), HTPASSWD).unwrap();
        let auth = if with_password {
            format!("auth: {{htpasswd: {{realm: cave, path: {}/htpasswd}}}}\n", data.display())
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{address}'}}\n{auth}",
            data.display()
        );
        std::fs::write(data.join("config.yml"), config).unwrap();
        let log = std::fs::File::create(data.join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(data.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self { child, address, data };
        until("the registry listens", || TcpStream::connect(&registry.address).is_ok());
        Some(registry)
    }

    /// Returns the requests that were answered, such as `GET /v2/app/manifests/latest 200`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.data.join("log")).unwrap();
        let request = |line: &str| {
            let (_, rest) = line.split_once(" \"")?;
            let (request, rest) = rest.split_once("\" ")?;
            let status = rest.split_whitespace().next()?;
            Some(format!("{} {status}", request.trim_end_matches(" HTTP/1.1")))
        };
        log.lines().filter_map(request).collect()
    }

    /// Lets all uploads to a repository fail from now on.
    pub(crate) fn break_uploads(&self, repository: &str) {
        let place = self.data.join("docker/registry/v2/repositories").join(repository).join("_uploads");
        let _ = std::fs::remove_dir_all(&place);
        std::fs::write(place, "in the way").unwrap();
    }

    pub(crate) fn blobs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![self.data.join("docker/registry/v2/blobs")];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_in(lab: &Lab, registry: &Registry, password: &str) -> crate::lab::Outcome {
    lab.rbuild_with_input(["login", "-u", "ali", "--password-stdin", &registry.address], password.as_bytes())
}

// items: H004
#[test]
fn pushed_images_come_back_the_same() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let name = format!("{}/team/app:1.0", registry.address);
    lab.build(
        "FROM busybox\nCOPY a /a\nRUN echo x > /x\nCMD [\"cat\", \"/a\", \"/x\"]\n",
        &[("a", "A\n")],
        &["-t", &name],
    )
    .ok();
    lab.rbuild(["push", &name]).ok();
    other.rbuild(["pull", &name]).ok();
    let (ours, theirs) = (lab.inspect(&name), other.inspect(&name));
    assert_eq!((&ours["Id"], &ours["RootFS"]), (&theirs["Id"], &theirs["RootFS"]));
    other.rbuild(["run", "--rm", "--network=none", &name]).ok().prints("A\nx");
    let again = lab.rbuild(["push", &name]).ok();
    drop(again);
    if have(&["skopeo"]) {
        let skopeo =
            run(lab.command("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{name}")]), b"").ok();
        let shown: serde_json::Value = serde_json::from_str(&skopeo.stdout).unwrap();
        assert_eq!(shown["Layers"].as_array().unwrap().len(), ours["RootFS"]["Layers"].as_array().unwrap().len());
    }
}

#[test]
fn build_pushes_and_run_pulls() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let name = format!("{}/app", registry.address);
    lab.build("FROM busybox\nRUN echo pushed > /x\n", &[], &["--push", "-t", &name, "--metadata-file", "m.json"]).ok();
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.at("m.json")).unwrap()).unwrap();
    let pinned = format!("{name}@{}", metadata["containerimage.digest"].as_str().unwrap());
    other.rbuild(["run", "--rm", "--network=none", &name, "cat", "/x"]).ok().prints("pushed");
    other.build(&format!("FROM {pinned}\nRUN cat /x\n"), &[], &[]).ok().says("pushed");
    other.rbuild(["run", "--rm", "--pull=never", &format!("{}/absent", registry.address)]).exits(125);
}

#[test]
fn existing_blobs_are_not_sent_again() {
    let lab = Lab::new();
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let names = ["one", "two"].map(|name| format!("{}/{name}", registry.address));
    lab.rbuild(["tag", "busybox", &names[0]]).ok();
    lab.rbuild(["push", &names[0]]).ok();
    let blobs = registry.blobs().len();
    lab.rbuild(["tag", "busybox", &names[1]]).ok();
    lab.rbuild(["push", &names[1]]).ok();
    assert_eq!(registry.blobs().len(), blobs);
}

// items: K013
#[test]
fn base_layers_are_fetched_only_if_a_step_needs_them() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let base = format!("{}/base", registry.address);
    lab.rbuild(["tag", "busybox", &base]).ok();
    lab.rbuild(["push", &base]).ok();
    let pushed = format!("{}/derived", registry.address);
    other.build(&format!("FROM {base}\nENV a=1\nCOPY --link a /\n"), &[("a", "A")], &["--push", "-t", &pushed]).ok();
    let bytes: u64 = files_below(&other.store())
        .iter()
        .map(|file| std::fs::metadata(file).map_or(0, |found| found.len()))
        .max()
        .unwrap();
    assert!(bytes < 500_000, "a layer of the base was fetched: {bytes}");
    lab.rbuild(["pull", &pushed]).ok();
    lab.rbuild(["run", "--rm", "--network=none", &pushed, "sh", "-c", "cat /a; echo $a"]).ok().prints("A1");
}

#[test]
fn the_step_that_needs_a_base_layer_shows_the_transfer() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let base = format!("{}/base", registry.address);
    lab.rbuild(["tag", "busybox", &base]).ok();
    lab.rbuild(["push", &base]).ok();
    let context = path(&other.context(&format!("FROM {base} AS base\nFROM scratch\nCOPY --from=base /bin /b\n"), &[]));
    let raw = other.rbuild(["build", "--progress=rawjson", &context]).ok().stderr;
    let lines: Vec<serde_json::Value> = raw.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_copy = |line: &&serde_json::Value| {
        line["vertexes"][0]["name"].as_str().is_some_and(|name| name.contains("COPY --from=base"))
    };
    let copy = &lines.iter().find(is_copy).expect("the step is shown")["vertexes"][0]["digest"];
    let statuses: Vec<_> = lines.iter().map(|line| &line["statuses"][0]).filter(|one| one["vertex"] == *copy).collect();
    let (first, last) = (statuses.first().expect("a transfer is shown"), statuses.last().expect("the same"));
    assert!(first["id"].as_str().is_some_and(|id| id.starts_with("sha256:")) && first["total"].is_u64(), "{first}");
    assert_eq!((&first["name"], &last["name"]), (&"downloading".into(), &"done".into()));
    assert!(first["completed"].is_null() && !last["completed"].is_null() && last["current"] == last["total"], "{last}");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn login_is_needed_kept_and_forgotten() {
    let lab = Lab::new();
    let Some(registry) = Registry::start(&lab, "registry", true) else { return };
    let name = format!("{}/app", registry.address);
    lab.rbuild(["tag", "busybox", &name]).ok();
    let refused = lab.rbuild(["push", &name]).exits(1);
    assert!(
        refused.stderr.contains("401")
            || refused.stderr.to_lowercase().contains("unauthorized")
            || refused.stderr.contains("login"),
        "{refused:?}"
    );
    log_in(&lab, &registry, "wrong").exits(1);
    log_in(&lab, &registry, "opensesame").ok();
    let config = std::fs::read_to_string(lab.at("config/config.json")).unwrap();
    assert!(config.contains(&registry.address), "{config}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(lab.at("config/config.json")).unwrap().permissions().mode() & 0o777, 0o600);
    lab.rbuild(["push", &name]).ok();
    lab.rbuild(["pull", &name]).ok();
    lab.rbuild(["logout", &registry.address]).ok();
    lab.rbuild(["pull", &name]).exits(1);
}

#[test]
fn wrong_content_is_found_before_it_is_trusted() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let name = format!("{}/app", registry.address);
    lab.rbuild(["tag", "busybox", &name]).ok();
    lab.rbuild(["push", &name]).ok();
    let biggest = registry.blobs().into_iter().max_by_key(|blob| std::fs::metadata(blob).unwrap().len()).unwrap();
    let mut file = std::fs::File::options().write(true).open(&biggest).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(5000)).unwrap();
    file.write_all(b"other bytes").unwrap();
    other.rbuild(["pull", &name]).exits(1).says("digest");
    other.say("images -q").ok().prints("");
    assert!(
        other
            .content()
            .iter()
            .all(|file| !file.contains("sha256/") || std::fs::metadata(file).unwrap().len() < 100_000),
        "{:?}",
        other.content()
    );
}

#[test]
fn absent_things_and_registries_are_said() {
    let lab = Lab::new();
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    lab.rbuild(["pull", &format!("{}/nothing", registry.address)]).exits(1).says("nothing");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let began = std::time::Instant::now();
    let refused = format!("dial tcp {closed}: connect: connection refused");
    lab.rbuild(["pull", &format!("{closed}/app")]).exits(1).says(&refused);
    lab.build(&format!("FROM {closed}/app\n"), &[], &[]).exits(1).says(&closed).says("FROM");
    lab.rbuild(["run", "--rm", &format!("{closed}/app")]).exits(125).says(&closed);
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

#[test]
fn several_images_are_pulled_at_once() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let name = format!("{}/app", registry.address);
    lab.rbuild(["tag", "busybox", &name]).ok();
    lab.rbuild(["push", &name]).ok();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| other.rbuild(["pull", &name]).ok());
        }
    });
    other.rbuild(["run", "--rm", "--network=none", &name, "true"]).ok();
    assert_eq!(path(&other.store()), path(&other.at("store")));
}
