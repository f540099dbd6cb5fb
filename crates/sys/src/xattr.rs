//! Extended attributes, by descriptor or by a name in an open directory that is not followed.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lremovexattr, lsetxattr,
};
use rustix::io::Errno;

/// The largest value and the largest list of names the kernel allows.
const LIMIT: usize = 64 * 1024;

/// Returns the names of the attributes of an open file; none if the filesystem has none at all.
pub fn list(fd: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let fd = fd.as_fd();
    collect_names(|buffer| flistxattr(fd, buffer))
}

/// Returns the value of an attribute of an open file, or none.
pub fn get(fd: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (fd, name) = (fd.as_fd(), c_name(name)?);
    collect_value(|buffer| fgetxattr(fd, name.as_c_str(), buffer))
}

/// Sets an attribute of an open file.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fsetxattr(fd, c_name(name)?, value, XattrFlags::empty())?)
}

/// Removes an attribute of an open file.
pub fn remove(fd: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(fremovexattr(fd, c_name(name)?)?)
}

/// Returns the names of the attributes of `name` in the directory `dir`, without following it.
pub fn list_at(dir: impl AsFd, name: &OsStr) -> io::Result<Vec<Vec<u8>>> {
    let path = path_at(dir, name)?;
    collect_names(|buffer| llistxattr(path.as_c_str(), buffer))
}

/// Returns the value of an attribute of `name` in the directory `dir`, without following it.
pub fn get_at(dir: impl AsFd, name: &OsStr, attribute: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (path, attribute) = (path_at(dir, name)?, c_name(attribute)?);
    collect_value(|buffer| lgetxattr(path.as_c_str(), attribute.as_c_str(), buffer))
}

/// Sets an attribute of `name` in the directory `dir`, without following it.
pub fn set_at(dir: impl AsFd, name: &OsStr, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(path_at(dir, name)?, c_name(attribute)?, value, XattrFlags::empty())?)
}

/// Removes an attribute of `name` in the directory `dir`, without following it.
pub fn remove_at(dir: impl AsFd, name: &OsStr, attribute: &[u8]) -> io::Result<()> {
    Ok(lremovexattr(path_at(dir, name)?, c_name(attribute)?)?)
}

/// A path that only the descriptor's own directory can answer: the kernel follows the magic link of the
/// descriptor, then one plain component that the `l` calls do not follow.
fn path_at(dir: impl AsFd, name: &OsStr) -> io::Result<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(bytes);
    Ok(CString::new(path)?)
}

fn c_name(name: &[u8]) -> io::Result<CString> {
    Ok(CString::new(name)?)
}

fn collect_names(list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<Vec<u8>>> {
    let mut small = [0; 512];
    let names = match list(&mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => split_names(&small[..length]),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LIMIT];
            let length = list(&mut large)?;
            split_names(&large[..length])
        }
        Err(error) => return Err(error.into()),
    };
    Ok(names)
}

fn split_names(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

fn collect_value(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    let mut small = [0; 256];
    match get(&mut small) {
        Ok(length) => Ok(Some(small[..length].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LIMIT];
            let length = get(&mut large)?;
            large.truncate(length);
            Ok(Some(large))
        }
        Err(error) => Err(error.into()),
    }
}
