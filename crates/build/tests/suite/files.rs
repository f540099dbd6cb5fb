//! A context, what is built of it, and the tree that comes of it as one line.
//!
//! A tree is written as its paths in order, each with what is not ordinary about it: `d/` is a directory of mode
//! 755, `f=text` a file of mode 644, `f[600]` one of another mode, `f[1:2]` one of another owner, `l>t` a symbolic
//! link, `g==f` another name of `f`.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rbuild_build::{BuildRequest, ContextSource, DockerfileSource, OutputSpec};
use rbuild_oci::ImageConfig;
use rbuild_tree::tar::{Archive, EntryKind};

use crate::place::Place;

/// A stage with users and stages with files of theirs, for rows to stand upon.
const BEFORE: &str = r#"
FROM scratch AS users
COPY <<PASSWD /etc/passwd
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001::/home/app:/bin/sh
PASSWD
COPY <<GROUP /etc/group
root:x:0:
extra:x:2000:app
GROUP
FROM scratch AS owned
COPY --chown=100:200 a /file
COPY --chown=101:201 --chmod=700 a /dir/sub/nested
COPY --chown=102:202 --chmod=750 a /dir/top
FROM scratch AS existing
COPY --chown=500:600 --chmod=711 a /have/file
COPY --chown=501:601 --chmod=700 a /have/old/file
"#;

/// A context and what is built of it.
pub(crate) struct Files {
    pub(crate) place: Place,
    pub(crate) context: PathBuf,
}

impl Files {
    /// Makes a context: `d/` is a directory, `l>t` a symbolic link, `f=text` a file.
    pub(crate) fn new(files: &str) -> Self {
        let files_of = Self::at(Place::new());
        files.split_whitespace().for_each(|file| files_of.add(file));
        files_of
    }

    /// Makes an empty context at a place.
    pub(crate) fn at(place: Place) -> Self {
        let context = place.path("context");
        std::fs::create_dir(&context).unwrap();
        Self { place, context }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.context.join(name)
    }

    /// Sets the mode of a file of the context.
    pub(crate) fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn add(&self, file: &str) {
        let within = |name: &str| {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((name, target)) = file.split_once('>') {
            return std::os::unix::fs::symlink(target, within(name)).unwrap();
        }
        if let Some(name) = file.strip_suffix('/') {
            return std::fs::create_dir_all(within(name)).unwrap();
        }
        let (name, text) = file.split_once('=').unwrap_or((file, ""));
        std::fs::write(within(name), text).unwrap();
        // Whatever the umask is.
        self.mode(name, 0o644);
    }

    /// Returns a request to build a Dockerfile that is not part of the context.
    fn request(&self, dockerfile: &str) -> BuildRequest {
        let path = self.place.path("Dockerfile");
        std::fs::write(&path, dockerfile).unwrap();
        let request = crate::place::request(ContextSource::Directory(self.context.clone()));
        BuildRequest { dockerfile: DockerfileSource::Path(path), ..request }
    }

    /// Builds an image and returns its configuration.
    pub(crate) async fn image(&self, dockerfile: &str) -> ImageConfig {
        self.image_with(dockerfile, |_| {}).await
    }

    /// Builds an image as asked and returns its configuration.
    pub(crate) async fn image_with(&self, dockerfile: &str, change: impl FnOnce(&mut BuildRequest)) -> ImageConfig {
        let mut request = self.request(dockerfile);
        change(&mut request);
        let outcome = self.place.builder().build(&request).await.unwrap();
        self.place.store().blobs().read_json(&outcome.image_id).unwrap()
    }

    /// Builds a Dockerfile and returns its tree.
    pub(crate) async fn tree(
        &self,
        dockerfile: &str,
        change: impl FnOnce(&mut BuildRequest),
    ) -> Result<String, String> {
        Ok(tree(&self.output(dockerfile, change).await?))
    }

    /// Builds a Dockerfile and returns its archive.
    pub(crate) async fn archive(&self, dockerfile: &str) -> Vec<u8> {
        self.output(dockerfile, |_| {}).await.unwrap()
    }

    /// Builds a Dockerfile and returns the text of its file `out`.
    pub(crate) async fn out(&self, dockerfile: &str, change: impl FnOnce(&mut BuildRequest)) -> Result<String, String> {
        let tree = self.tree(dockerfile, change).await?;
        tree.strip_prefix("out=").map(str::to_owned).ok_or(tree)
    }

    async fn output(&self, dockerfile: &str, change: impl FnOnce(&mut BuildRequest)) -> Result<Vec<u8>, String> {
        let out = self.place.path("out.tar");
        let attributes = [("dest".to_owned(), out.display().to_string())].into();
        let mut request = self.request(dockerfile);
        request.outputs = vec![OutputSpec { kind: "tar".to_owned(), attributes }];
        change(&mut request);
        self.place.builder().build(&request).await.map_err(|error| error.to_string())?;
        Ok(std::fs::read(out).unwrap())
    }

    /// Builds each row's instructions upon `FROM` what it names, and compares trees or errors (`error: part`).
    pub(crate) async fn check(&self, rows: &[(&str, &str)]) {
        let mut wrong = Vec::new();
        for (instructions, expected) in rows {
            let begin = if instructions.starts_with("FROM") { "" } else { "FROM scratch\n" };
            let got = self.tree(&format!("{BEFORE}{begin}{instructions}\n"), |_| {}).await;
            let right = match (&got, expected.strip_prefix("error: ")) {
                (Ok(tree), None) => tree == expected,
                (Err(error), Some(part)) => error.contains(part),
                _ => false,
            };
            if !right {
                wrong.push(format!("{instructions}\n  expected {expected}\n  got      {got:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Writes the tree of an archive; databases of users are left out.
fn tree(archive: &[u8]) -> String {
    let mut archive = Archive::new(archive);
    let mut shown = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let header = entry.header.clone();
        let path = header.clean_path().to_string_lossy().into_owned();
        if path.is_empty() || path == "etc" || path.starts_with("etc/") {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let (usual, mark, tail) = match &header.kind {
            EntryKind::Directory => (0o755, "/", String::new()),
            EntryKind::File if text.is_empty() => (0o644, "", String::new()),
            EntryKind::File => (0o644, "", format!("={}", text.trim_end().replace(char::is_whitespace, "_"))),
            EntryKind::Symlink(target) => (0o777, "", format!(">{}", target.display())),
            EntryKind::HardLink(_) => {
                shown.push(format!("{path}=={}", header.clean_link_target().unwrap().display()));
                continue;
            }
            EntryKind::Fifo => (0o644, "|", String::new()),
            other => (0o644, "", format!("{other:?}")),
        };
        let mode = if header.mode == usual { String::new() } else { format!("[{:o}]", header.mode) };
        let owner = match (header.uid, header.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!("[{uid}:{gid}]"),
        };
        shown.push(format!("{path}{mark}{mode}{owner}{tail}"));
    }
    shown.join(" ")
}
