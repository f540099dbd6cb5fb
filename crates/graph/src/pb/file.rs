//! Messages of the op that changes files.

use bytes::Bytes;

/// Changes files without a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileOp {
    /// What to do, in order.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<FileAction>,
}

/// One change of a [`FileOp`].
///
/// An index below the number of the op's inputs means that input, one above it the result of an
/// earlier action (index minus number of inputs); see [`Operand`](crate::Operand).
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileAction {
    /// What is changed.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// What is copied from.
    #[prost(int64, tag = "2")]
    pub secondary_input: i64,
    /// The output the result becomes, or [`SKIP_OUTPUT`](super::SKIP_OUTPUT).
    #[prost(int64, tag = "3")]
    pub output: i64,
    /// The change.
    #[prost(oneof = "Action", tags = "4, 5, 6, 7, 8")]
    pub action: Option<Action>,
}

/// A change of files.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Action {
    /// Copies files from the secondary input.
    #[prost(message, tag = "4")]
    Copy(FileActionCopy),
    /// Makes a file.
    #[prost(message, tag = "5")]
    Mkfile(FileActionMkFile),
    /// Makes a directory.
    #[prost(message, tag = "6")]
    Mkdir(FileActionMkDir),
    /// Removes a file.
    #[prost(message, tag = "7")]
    Rm(FileActionRm),
    /// Makes a symbolic link.
    #[prost(message, tag = "8")]
    Symlink(FileActionSymlink),
}

/// Copies files.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionCopy {
    /// Path in the secondary input.
    #[prost(string, tag = "1")]
    pub src: String,
    /// Path in the input.
    #[prost(string, tag = "2")]
    pub dest: String,
    /// Owner to set instead of the source's.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Mode to set instead of the source's; -1 for none.
    #[prost(int32, tag = "4")]
    pub mode: i32,
    /// Whether symbolic links in `src` are followed.
    #[prost(bool, tag = "5")]
    pub follow_symlink: bool,
    /// Whether a directory's content is copied instead of the directory.
    #[prost(bool, tag = "6")]
    pub dir_copy_contents: bool,
    /// Whether an archive is unpacked instead of copied.
    #[prost(bool, tag = "7")]
    pub attempt_unpack_docker_compatibility: bool,
    /// Whether missing directories of `dest` are made.
    #[prost(bool, tag = "8")]
    pub create_dest_path: bool,
    /// Whether `src` is a pattern.
    #[prost(bool, tag = "9")]
    pub allow_wildcard: bool,
    /// Whether a pattern may match nothing.
    #[prost(bool, tag = "10")]
    pub allow_empty_wildcard: bool,
    /// Time of what is made, in nanoseconds; -1 for none.
    #[prost(int64, tag = "11")]
    pub timestamp: i64,
    /// Only what matches one of these.
    #[prost(string, repeated, tag = "12")]
    pub include_patterns: Vec<String>,
    /// Nothing that matches one of these.
    #[prost(string, repeated, tag = "13")]
    pub exclude_patterns: Vec<String>,
    /// Whether something of another type is replaced.
    #[prost(bool, tag = "14")]
    pub always_replace_existing_dest_paths: bool,
    /// Mode in symbolic form.
    #[prost(string, tag = "15")]
    pub mode_str: String,
    /// Paths that must be among what the include patterns match.
    #[prost(string, repeated, tag = "16")]
    pub required_paths: Vec<String>,
}

/// Makes a file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionMkFile {
    /// Path.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permission bits.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Content.
    #[prost(bytes = "bytes", tag = "3")]
    pub data: Bytes,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Time, in nanoseconds; -1 for none.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Makes a symbolic link.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionSymlink {
    /// What the link points to.
    #[prost(string, tag = "1")]
    pub oldpath: String,
    /// Path of the link.
    #[prost(string, tag = "2")]
    pub newpath: String,
    /// Owner.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Time, in nanoseconds; -1 for none.
    #[prost(int64, tag = "4")]
    pub timestamp: i64,
}

/// Makes a directory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionMkDir {
    /// Path.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permission bits.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Whether missing parents are made, and an existing directory is no error.
    #[prost(bool, tag = "3")]
    pub make_parents: bool,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Time, in nanoseconds; -1 for none.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Removes a file or a directory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionRm {
    /// Path.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Whether a missing file is no error.
    #[prost(bool, tag = "2")]
    pub allow_not_found: bool,
    /// Whether the path is a pattern.
    #[prost(bool, tag = "3")]
    pub allow_wildcard: bool,
}

/// An owner.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChownOpt {
    /// User.
    #[prost(message, optional, tag = "1")]
    pub user: Option<UserOpt>,
    /// Group.
    #[prost(message, optional, tag = "2")]
    pub group: Option<UserOpt>,
}

/// A user or a group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserOpt {
    /// By name or by id.
    #[prost(oneof = "User", tags = "1, 2")]
    pub user: Option<User>,
}

/// A user or a group, by name or by id.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum User {
    /// By name, looked up in an input's user database.
    #[prost(message, tag = "1")]
    ByName(NamedUserOpt),
    /// By id.
    #[prost(uint32, tag = "2")]
    ById(u32),
}

/// A user or a group by name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamedUserOpt {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Index of the input whose user database is asked, or [`EMPTY`](super::EMPTY).
    #[prost(int64, tag = "2")]
    pub input: i64,
}
