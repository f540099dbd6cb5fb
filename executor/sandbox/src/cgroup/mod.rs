//! Control groups: v1, hybrid and v2 behind one type.

/// Why a group could not be made, joined or limited.
#[derive(Debug, thiserror::Error)]
#[error("cgroup")]
pub struct CgroupError;
