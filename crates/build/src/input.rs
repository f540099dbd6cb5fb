//! What a build begins with: the Dockerfile's text, the context, its ignore patterns.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_dockerfile::{MAX_FILE, decode};
use rbuild_lower::MainContext;
use rbuild_sys::root::Root;
use rbuild_tree::compress::decompress;
use rbuild_tree::pattern::parse_ignore_file;
use rbuild_tree::tar::{Archive, newest_file};

use crate::error::BuildError;
use crate::request::{BuildRequest, ContextSource, DockerfileSource};

/// The name under which the build context is known in the graph.
pub(crate) const CONTEXT: &str = "context";

/// The largest ignore file that is read: every path of the context is held against every line.
const LARGEST_IGNORE_FILE: u64 = 1 << 20;

/// What a build begins with.
pub(crate) struct Input {
    /// The Dockerfile's name, for messages.
    pub(crate) filename: String,
    /// The Dockerfile's text.
    pub(crate) text: Arc<str>,
    /// The context's directory; none for an empty context.
    pub(crate) directory: Option<PathBuf>,
    /// The context as the frontend knows it.
    pub(crate) context: MainContext,
    /// The time of the newest file of the archive that the context was, if `SOURCE_DATE_EPOCH` may ask for it.
    pub(crate) time: Option<i64>,
    /// A directory that was unpacked for this build, and goes with it.
    #[expect(dead_code, reason = "held for its end")]
    pub(crate) unpacked: Option<tempfile::TempDir>,
}

/// Reads Dockerfile and ignore file; a context on standard input is unpacked below `scratch`. Blocks.
pub(crate) fn read(request: &BuildRequest, stdin: &mut dyn Read, scratch: &Path) -> Result<Input, BuildError> {
    match &request.context {
        ContextSource::Directory(directory) => directory_input(request, directory, stdin),
        ContextSource::Stdin => stdin_input(request, stdin, scratch),
        ContextSource::Git(address) | ContextSource::Http(address) => {
            Err(BuildError::Input(format!("build context `{address}` is not a directory")))
        }
    }
}

fn directory_input(request: &BuildRequest, directory: &Path, stdin: &mut dyn Read) -> Result<Input, BuildError> {
    let (path, bytes) = match &request.dockerfile {
        DockerfileSource::Stdin => (None, read_limited(stdin, "standard input")?),
        DockerfileSource::Path(path) => {
            let (path, bytes) = named_dockerfile(directory, path)?;
            (Some(path), bytes)
        }
        DockerfileSource::Default => default_dockerfile(directory)?,
    };
    let filename = path.as_deref().and_then(Path::file_name).map_or("Dockerfile".into(), |name| name.to_string_lossy());
    let exclude = ignore_patterns(directory, path.as_deref())?;
    Ok(Input {
        filename: filename.into_owned(),
        text: text(&bytes, request)?,
        directory: Some(directory.to_owned()),
        context: MainContext::Local { name: CONTEXT.to_owned(), exclude },
        time: None,
        unpacked: None,
    })
}

/// `Dockerfile`, or `dockerfile`: part of the context, and so a regular file inside of it (X48, X54).
fn default_dockerfile(directory: &Path) -> Result<(Option<PathBuf>, Vec<u8>), BuildError> {
    let upper = directory.join("Dockerfile");
    let failed = |error| no_dockerfile(&upper, error);
    let root = Root::open(directory).map_err(failed)?;
    for name in ["Dockerfile", "dockerfile"] {
        match root.open_file(Path::new(name)) {
            Ok(mut file) => return Ok((Some(directory.join(name)), read_limited(&mut file, name)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(no_dockerfile(&directory.join(name), error)),
        }
    }
    Err(failed(io::ErrorKind::NotFound.into()))
}

/// A Dockerfile that the user named, or `dockerfile` in place of a `Dockerfile` that is not there.
fn named_dockerfile(directory: &Path, path: &Path) -> Result<(PathBuf, Vec<u8>), BuildError> {
    let is_upper = path.file_name().is_some_and(|name| name == "Dockerfile");
    let other = is_upper.then(|| path.with_file_name("dockerfile"));
    let (path, mut file) = match (open_named(directory, path), other) {
        (Err(error), Some(other)) if error.kind() == io::ErrorKind::NotFound => {
            let file = open_named(directory, &other).map_err(|_| no_dockerfile(path, error))?;
            (other, file)
        }
        (file, _) => (path.to_owned(), file.map_err(|error| no_dockerfile(path, error))?),
    };
    let bytes = read_limited(&mut file, &path.display().to_string())?;
    Ok((path, bytes))
}

/// Opens a file: one of the context must be inside of it, as what an archive brought is not to be trusted.
fn open_named(directory: &Path, path: &Path) -> io::Result<File> {
    if let Ok(inside) = path.strip_prefix(directory) {
        return Root::open(directory).and_then(|root| root.open_file(inside));
    }
    // A pipe given by the shell (`-f <(…)`) is read like a file; only directories and devices are not.
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path)
}

fn no_dockerfile(path: &Path, error: io::Error) -> BuildError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    BuildError::Input(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "failed to read dockerfile: open {name}: no such file or directory (looked for `{}`; name another with -f)",
            path.display()
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            format!("failed to read dockerfile: `{}` is not a file", path.display())
        }
        _ => format!("failed to read dockerfile: `{}`: {error}", path.display()),
    })
}

pub(crate) fn read_limited(from: &mut dyn Read, name: &str) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| BuildError::Input(format!("failed to read dockerfile: {name}: {error}")))?;
    if bytes.len() > MAX_FILE {
        return Err(BuildError::Input(format!("failed to read dockerfile: {name} is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn text(bytes: &[u8], request: &BuildRequest) -> Result<Arc<str>, BuildError> {
    let lossy = String::from_utf8_lossy(bytes);
    let decoded =
        decode(bytes).map_err(|error| BuildError::dockerfile(&[*error], "Dockerfile", &lossy, request.color))?;
    Ok(decoded.into())
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile wins over `.dockerignore` in the context.
fn ignore_patterns(directory: &Path, dockerfile: Option<&Path>) -> Result<Vec<String>, BuildError> {
    let beside = dockerfile.and_then(|path| Some((path.parent()?.to_owned(), path.file_name()?.to_owned())));
    let beside = beside.map(|(parent, mut name)| {
        name.push(".dockerignore");
        (if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent }, PathBuf::from(name))
    });
    for (parent, name) in beside.into_iter().chain([(directory.to_owned(), PathBuf::from(".dockerignore"))]) {
        let failed = |error| BuildError::Input(format!("reading `{}`: {error}", parent.join(&name).display()));
        match Root::open(&parent).and_then(|root| read_ignore_file(&root, &name)) {
            Ok(Some(patterns)) => return Ok(patterns),
            Ok(None) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Vec::new())
}

/// Reads an ignore file: a regular one inside of `root`, of bounded size.
pub(crate) fn read_ignore_file(root: &Root, name: &Path) -> io::Result<Option<Vec<String>>> {
    let file = match root.open_file(name) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_IGNORE_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_IGNORE_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {LARGEST_IGNORE_FILE} bytes"),
        ));
    }
    Ok(Some(parse_ignore_file(&bytes)))
}

/// Standard input is an archive, or the Dockerfile itself.
fn stdin_input(request: &BuildRequest, stdin: &mut dyn Read, scratch: &Path) -> Result<Input, BuildError> {
    if request.dockerfile == DockerfileSource::Stdin {
        return Err(BuildError::Input(
            "invalid argument: can't use stdin for both build context and dockerfile".to_owned(),
        ));
    }
    let failed =
        |error: io::Error| BuildError::Input(format!("reading the build context from standard input: {error}"));
    let mut spool = tempfile::tempfile_in(scratch).map_err(failed)?;
    io::copy(stdin, &mut spool).map_err(failed)?;
    if !is_archive(&spool).map_err(failed)? {
        io::Seek::rewind(&mut spool).map_err(failed)?;
        let bytes = read_limited(&mut spool, "standard input")?;
        let context = MainContext::Empty;
        return Ok(Input {
            filename: "Dockerfile".to_owned(),
            text: text(&bytes, request)?,
            directory: None,
            context,
            time: None,
            unpacked: None,
        });
    }
    io::Seek::rewind(&mut spool).map_err(failed)?;
    let unpacked = tempfile::Builder::new().prefix("context-").tempdir_in(scratch).map_err(failed)?;
    let (_, plain) = decompress(io::BufReader::with_capacity(256 << 10, &spool)).map_err(failed)?;
    let options = rbuild_snapshot::UnpackOptions { userxattr: true, single_id: true, threads: 2, max_size: u64::MAX };
    rbuild_snapshot::unpack(plain, unpacked.path(), &options)
        .map_err(|error| BuildError::Input(format!("the build context: {}", BuildError::chain(&error))))?;
    let inside = match &request.dockerfile {
        DockerfileSource::Path(path) => DockerfileSource::Path(unpacked.path().join(path)),
        other => other.clone(),
    };
    let request = BuildRequest { dockerfile: inside, ..request.clone() };
    let input = directory_input(&request, unpacked.path(), &mut io::empty())?;
    let time = if asks_for_time(&request, &input.text) { newest(&spool).map_err(failed)? } else { None };
    Ok(Input {
        time,
        unpacked: Some(unpacked),
        context: MainContext::Local { name: CONTEXT.to_owned(), exclude: Vec::new() },
        ..input
    })
}

/// Whether `SOURCE_DATE_EPOCH` may be the context's time: looking for that takes another pass through the archive.
fn asks_for_time(request: &BuildRequest, text: &str) -> bool {
    let given = request.build_args.get("SOURCE_DATE_EPOCH").or(request.source_date_epoch.as_ref());
    given.map_or(text.contains("SOURCE_DATE_EPOCH"), |given| given == "context")
}

fn newest(mut spool: &File) -> io::Result<Option<i64>> {
    io::Seek::rewind(&mut spool)?;
    let (_, plain) = decompress(io::BufReader::with_capacity(256 << 10, spool))?;
    newest_file(plain).map_err(io::Error::other)
}

fn is_archive(spool: &File) -> io::Result<bool> {
    let mut start = spool.try_clone()?;
    io::Seek::rewind(&mut start)?;
    let Ok((_, plain)) = decompress(io::BufReader::new(start)) else { return Ok(false) };
    let mut archive = Archive::new(plain);
    Ok(archive.next_entry().is_ok_and(|entry| entry.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("outside"), "CANARY").unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        (outer, inner)
    }

    /// X48, X49: an archive given as context could show files of the host in the messages about them.
    #[test]
    fn files_of_the_context_are_looked_up_inside_of_it() {
        let (_outer, inner) = context();
        for (target, found) in [("../outside", false), ("/outside", false), ("sub/own", true)] {
            std::fs::create_dir_all(inner.join("sub")).unwrap();
            std::fs::write(inner.join("sub/own"), "FROM scratch").unwrap();
            for name in ["Dockerfile", ".dockerignore"] {
                let _ = std::fs::remove_file(inner.join(name));
                std::os::unix::fs::symlink(target, inner.join(name)).unwrap();
            }
            assert_eq!(default_dockerfile(&inner).is_ok(), found, "{target}");
            assert_eq!(named_dockerfile(&inner, &inner.join("Dockerfile")).is_ok(), found, "{target}");
            assert_eq!(!ignore_patterns(&inner, None).unwrap().is_empty(), found, "{target}");
        }
    }

    /// X54: opening a pipe without a writer waits for ever.
    #[test]
    fn pipes_and_devices_in_the_context_are_not_opened() {
        let (_outer, inner) = context();
        for name in ["Dockerfile", ".dockerignore"] {
            let made = std::process::Command::new("mkfifo").arg(inner.join(name)).status().unwrap();
            assert!(made.success());
        }
        assert!(default_dockerfile(&inner).unwrap_err().to_string().contains("is not a file"));
        assert!(ignore_patterns(&inner, None).is_err());
    }

    #[test]
    fn ignore_files_are_bounded() {
        let (_outer, inner) = context();
        std::fs::write(inner.join(".dockerignore"), "x\n".repeat(1 << 20)).unwrap();
        assert!(ignore_patterns(&inner, None).unwrap_err().to_string().contains("larger than"));
    }
}
