//! Reading directories: getdents64 and statx.
