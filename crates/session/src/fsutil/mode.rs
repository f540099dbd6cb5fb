//! Kinds and permission bits: Go's `os.FileMode`, and ours.
//!
//! Go keeps permission bits where Unix has them, but kinds and the set-id and sticky bits elsewhere.

/// What a name is, by its mode alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;

/// The bits that stand elsewhere: Go's, and Unix's.
const MOVED: [(u32, u32); 3] = [(SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000)];

/// Returns kind and Unix permission bits of a Go mode; none if it is several kinds at once, or a kind of its own.
pub(crate) fn from_go(mode: u32) -> Option<(Kind, u32)> {
    let kind = match mode & (DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHAR_DEVICE | IRREGULAR) {
        0 => Kind::File,
        DIRECTORY => Kind::Directory,
        SYMLINK => Kind::Symlink,
        FIFO => Kind::Fifo,
        SOCKET => Kind::Socket,
        DEVICE => Kind::BlockDevice,
        bits if bits == DEVICE | CHAR_DEVICE => Kind::CharDevice,
        _ => return None,
    };
    let moved = MOVED.iter().filter(|(go, _)| mode & go != 0).map(|(_, unix)| unix);
    Some((kind, moved.fold(mode & 0o777, |bits, unix| bits | unix)))
}

/// Returns the Go mode of a kind and Unix permission bits.
pub(crate) fn to_go(kind: Kind, mode: u32) -> u32 {
    let kind = match kind {
        Kind::File => 0,
        Kind::Directory => DIRECTORY,
        Kind::Symlink => SYMLINK,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
        Kind::CharDevice => DEVICE | CHAR_DEVICE,
        Kind::BlockDevice => DEVICE,
    };
    let moved = MOVED.iter().filter(|(_, unix)| mode & unix != 0).map(|(go, _)| go);
    moved.fold(kind | mode & 0o777, |bits, go| bits | go)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        let table = [
            (Kind::File, 0o644, 0o644),
            (Kind::Directory, 0o755, 0o20_000_000_755),
            (Kind::Directory, 0o1777, 0o20_000_000_777 | 1 << 20),
            (Kind::Symlink, 0o777, 1 << 27 | 0o777),
            (Kind::File, 0o6755, 1 << 23 | 1 << 22 | 0o755),
            (Kind::CharDevice, 0o600, 1 << 26 | 1 << 21 | 0o600),
            (Kind::BlockDevice, 0o600, 1 << 26 | 0o600),
            (Kind::Fifo, 0o600, 1 << 25 | 0o600),
            (Kind::Socket, 0o600, 1 << 24 | 0o600),
        ];
        for (kind, unix, go) in table {
            assert_eq!((to_go(kind, unix), from_go(go)), (go, Some((kind, unix))), "{kind:?} {unix:o}");
        }
        assert_eq!([1 << 31 | 1 << 27, 1 << 21, 1 << 19].map(from_go), [None; 3]);
    }
}
