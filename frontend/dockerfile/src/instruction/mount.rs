//! `RUN --mount=key=value,...`
//!
//! A mount is read twice. When the Dockerfile is parsed only `from` is looked at, because the other values may
//! hold variables, `type` included. When the step is built, [`MountFlag::resolve`] reads all of it with the
//! variables expanded.

use crate::expand::ExpandError;
use crate::literal::{self, quote};
use crate::source::Template;
use crate::{csv, suggest};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// A `--mount` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The comma-separated text.
    pub text: Template,
    /// The value of `from`, which takes no variables; known before expansion because stages depend on it.
    pub from: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// How a cache mount is shared between steps that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

/// A mount with all values known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `type`
    pub kind: MountKind,
    /// `from`: stage, image or context; `None` if absent or empty.
    pub from: Option<String>,
    /// `source`; `None` if absent or empty.
    pub source: Option<String>,
    /// `target`; `None` if absent or empty.
    pub target: Option<String>,
    /// Whether writing is forbidden, defaults applied.
    pub read_only: bool,
    /// `size` of a tmpfs in bytes, 0 if not given.
    pub size: i64,
    /// `id` of a cache, secret or ssh mount; `None` if absent or empty.
    pub id: Option<String>,
    /// `sharing`, if given.
    pub sharing: Option<Sharing>,
    /// `required`
    pub required: bool,
    /// `env`: the variable a secret is put into.
    pub env: Option<String>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
}

/// Why a `--mount` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MountError {
    #[error("failed to parse csv mounts: {0}")]
    Csv(String),
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForKind { key: String, kind: &'static str },
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    #[error("'{0}' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom(String),
    #[error("unsupported mount type {}", quote(.value))]
    UnsupportedKind { value: String, suggestion: Option<String> },
    #[error("unsupported sharing value {}", quote(.value))]
    UnsupportedSharing { value: String, suggestion: Option<String> },
    #[error("invalid value for {key}: {value}")]
    InvalidValue { key: String, value: String },
    #[error("invalid value {value} for {key}")]
    InvalidNumber { key: &'static str, value: String },
    #[error("unexpected key '{key}' in '{field}'")]
    UnexpectedKey { key: String, field: String, suggestion: Option<String> },
    #[error("{key} not allowed for \"{kind}\" type mounts")]
    NotAllowed { key: &'static str, kind: &'static str },
    #[error("secret mount should not have a from")]
    SecretFrom,
    #[error("secret mount should not define sharing")]
    SecretSharing,
    #[error("invalid secret mount. one of source, target required")]
    SecretWithoutName,
    #[error("both source and id can't be set")]
    SecretNamedTwice,
    #[error("invalid cache sharing set for {0} mount")]
    SharingForKind(&'static str),
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

impl MountError {
    /// Returns the nearest valid word, if there is one.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnsupportedKind { suggestion, .. }
            | Self::UnsupportedSharing { suggestion, .. }
            | Self::UnexpectedKey { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }
}

impl MountKind {
    const ALL: [Self; 5] = [Self::Bind, Self::Cache, Self::Secret, Self::Ssh, Self::Tmpfs];

    /// Returns the word for `type=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn parse(value: &str) -> Result<Self, MountError> {
        let word = value.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| MountError::UnsupportedKind {
            value: value.to_owned(),
            suggestion: suggest::nearest(value, Self::ALL.map(Self::as_str), true),
        })
    }
}

impl Sharing {
    const ALL: [Self; 3] = [Self::Locked, Self::Private, Self::Shared];

    /// Returns the word for `sharing=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }

    fn parse(value: &str) -> Result<Self, MountError> {
        let word = value.to_lowercase();
        Self::ALL.into_iter().find(|sharing| sharing.as_str() == word).ok_or_else(|| MountError::UnsupportedSharing {
            value: value.to_owned(),
            suggestion: suggest::nearest(value, Self::ALL.map(Self::as_str), true),
        })
    }
}

impl MountFlag {
    /// Reads what can be read before variables are known: the fields must be well-formed, and `from` constant.
    pub(crate) fn parse(text: Template) -> Result<Self, MountError> {
        let mut from = None;
        for field in csv::fields(&text.text).map_err(MountError::Csv)? {
            let Some((key, value)) = field.split_once('=') else { continue };
            let key = key.to_lowercase();
            if key == "from" {
                if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                    return Err(MountError::VariableInFrom(key));
                }
                from = non_empty(value.to_owned());
            }
        }
        Ok(Self { text, from })
    }

    /// Reads all of the mount, each value going through `expand` first.
    pub fn resolve(&self, mut expand: impl FnMut(&str) -> Result<String, ExpandError>) -> Result<Mount, MountError> {
        let mut reading = Reading { mount: Mount::default(), read_only: None };
        for field in csv::fields(&self.text.text).map_err(MountError::Csv)? {
            match field.split_once('=') {
                Some((key, value)) => reading.value(&key.to_lowercase(), expand(value)?, &field)?,
                None => reading.word(&field.to_lowercase(), &field)?,
            }
        }
        reading.finish()
    }
}

impl Default for Mount {
    fn default() -> Self {
        Self {
            kind: MountKind::Bind,
            from: None,
            source: None,
            target: None,
            read_only: true,
            size: 0,
            id: None,
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        }
    }
}

/// A mount of which some fields have been read; `type` counts as seen so far.
struct Reading {
    mount: Mount,
    read_only: Option<bool>,
}

impl Reading {
    /// Takes a field without `=`.
    fn word(&mut self, key: &str, field: &str) -> Result<(), MountError> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = true;
            }
            _ => return Err(MountError::NoValue(field.to_owned())),
        }
        Ok(())
    }

    /// Takes a field with `=`, its value expanded.
    fn value(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        match key {
            "type" => self.mount.kind = MountKind::parse(&value)?,
            "from" => self.mount.from = non_empty(value),
            "source" | "src" => self.mount.source = non_empty(value),
            "target" | "dst" | "destination" => self.mount.target = non_empty(value),
            "readonly" | "ro" => self.read_only = Some(boolean(key, value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, value)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = boolean(key, value)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                let size = literal::memory_size(&value);
                self.mount.size = size.ok_or_else(|| MountError::InvalidValue { key: key.to_owned(), value })?;
            }
            "id" => self.mount.id = non_empty(value),
            "sharing" => self.mount.sharing = Some(Sharing::parse(&value)?),
            "mode" => self.mount.mode = Some(number("mode", value, 8)?),
            "uid" => self.mount.uid = Some(number("uid", value, 10)?),
            "gid" => self.mount.gid = Some(number("gid", value, 10)?),
            // No process can have such a variable.
            "env" if value.is_empty() || value.contains('=') => {
                return Err(MountError::InvalidValue { key: key.to_owned(), value });
            }
            "env" => self.mount.env = Some(value),
            _ => {
                let suggestion = suggest::nearest(key, KEYS, true);
                return Err(MountError::UnexpectedKey { key: key.to_owned(), field: field.to_owned(), suggestion });
            }
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), MountError> {
        if kinds.contains(&self.mount.kind) {
            return Ok(());
        }
        Err(MountError::KeyForKind { key: key.to_owned(), kind: self.mount.kind.as_str() })
    }

    /// Checks what only all fields together tell, and applies the defaults.
    fn finish(self) -> Result<Mount, MountError> {
        let Self { mut mount, read_only } = self;
        let kind = mount.kind;
        if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
            let given = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(MountError::NotAllowed { key, kind: kind.as_str() });
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(kind, MountKind::Cache | MountKind::Tmpfs));
        if kind == MountKind::Secret {
            check_secret(&mount)?;
        }
        if mount.sharing.is_some() && kind != MountKind::Cache {
            return Err(MountError::SharingForKind(kind.as_str()));
        }
        Ok(mount)
    }
}

fn check_secret(mount: &Mount) -> Result<(), MountError> {
    if mount.from.is_some() {
        return Err(MountError::SecretFrom);
    }
    if mount.sharing.is_some() {
        return Err(MountError::SecretSharing);
    }
    match (&mount.source, &mount.target, &mount.id) {
        (None, None, None) => Err(MountError::SecretWithoutName),
        (Some(_), _, Some(_)) => Err(MountError::SecretNamedTwice),
        _ => Ok(()),
    }
}

fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

fn boolean(key: &str, value: String) -> Result<bool, MountError> {
    literal::boolean(&value).ok_or_else(|| MountError::InvalidValue { key: key.to_owned(), value })
}

fn number(key: &'static str, value: String, radix: u32) -> Result<u32, MountError> {
    literal::number(&value, radix).ok_or(MountError::InvalidNumber { key, value })
}
