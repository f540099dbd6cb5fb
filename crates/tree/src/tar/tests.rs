use std::ffi::OsStr;
use std::io::{Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::block::{self, Block};
use super::*;
use crate::entry::{Device, Kind, Metadata, Time};

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Entries that need every corner of the format.
fn corners() -> Vec<(PathBuf, Metadata)> {
    let mut all = vec![
        (path(b"dir"), Metadata::directory()),
        (path(b"dir/empty"), Metadata::file(0)),
        (path(b"dir/\xc3\xa4\xff"), Metadata::file(5)),
        (path("é".repeat(100).as_bytes()), Metadata::file(1)),
        (path(b"link"), Metadata::symlink("x".repeat(150))),
        (path(b"link2"), Metadata::symlink("../é")),
        (path(b"null"), Metadata::new(Kind::CharDevice(Device { major: 1, minor: 3 }), 0o666)),
        (path(b"disk"), Metadata::new(Kind::BlockDevice(Device { major: 259, minor: 70_000 }), 0o660)),
        (path(b"pipe"), Metadata::new(Kind::Fifo, 0o644)),
    ];
    for length in [99, 100, 101, 154, 155, 156, 157, 255, 256, 257, 300, 5000] {
        all.push((path("a".repeat(length).as_bytes()), Metadata::file(600)));
        let parts = "bcdefghij/".repeat(length / 10) + &"k".repeat(length % 10);
        all.push((path(parts.trim_end_matches('/').as_bytes()), Metadata::file(512)));
        all.push((path(format!("{parts}d").as_bytes()), Metadata::directory()));
    }
    let mut owned = Metadata::file(3);
    (owned.uid, owned.gid, owned.mode) = (2_097_152, u32::MAX - 1, 0o6755);
    owned.mtime = Time::from_seconds(-5);
    all.push((path(b"owned"), owned.clone()));
    owned.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02=\n".to_vec());
    owned.xattrs.insert(b"user.x".to_vec(), Vec::new());
    owned.mtime = Time::from_seconds(8_589_934_592);
    all.push((path(b"capable"), owned));
    all
}

fn content(size: u64) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

fn write(entries: &[(PathBuf, Metadata)]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (path, metadata) in entries {
        if metadata.kind.is_file() {
            writer.file(path, metadata, &mut content(metadata.size).as_slice()).unwrap();
        } else {
            writer.entry(path, metadata).unwrap();
        }
    }
    writer.hard_link(Path::new("again"), Path::new("owned"), &Metadata::file(0)).unwrap();
    writer.whiteout(Path::new("dir/gone")).unwrap();
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, TarError> {
    let mut archive = Archive::new(bytes);
    let mut all = Vec::new();
    while let Some(mut entry) = archive.next_entry()? {
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|e| TarError::Io("reading", e))?;
        all.push((entry.header, data));
    }
    Ok(all)
}

#[test]
fn what_is_written_is_read() {
    let entries = corners();
    let tar = write(&entries);
    let read = read(&tar).unwrap();
    assert_eq!(read.len(), entries.len() + 2);
    for ((path, metadata), (header, data)) in entries.iter().zip(&read) {
        let shown = super::shown(path.as_os_str().as_bytes());
        assert_eq!(&header.clean_path(), path, "{shown}");
        assert_eq!((header.mode, header.uid, header.gid), (metadata.mode, metadata.uid, metadata.gid), "{shown}");
        assert_eq!((header.size, header.mtime), (metadata.size, metadata.mtime), "{shown}");
        assert_eq!(header.xattrs, metadata.xattrs, "{shown}");
        assert_eq!(data, &content(metadata.size), "{shown}");
    }
    assert_eq!(read[entries.len()].0.clean_link_target(), Some(PathBuf::from("owned")));
    assert_eq!(read[entries.len() + 1].0.path, Path::new("dir/.wh.gone"));
}

#[test]
fn the_index_reads_what_the_stream_reads() {
    let tar = write(&corners());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&tar).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let index = TarIndex::read(file).unwrap();
    let streamed = read(&tar).unwrap();
    assert_eq!(index.entries().len(), streamed.len());
    for (entry, (header, data)) in index.entries().iter().zip(&streamed) {
        assert_eq!(&entry.header, header);
        let mut read = Vec::new();
        index.open(entry).read_to_end(&mut read).unwrap();
        assert_eq!(&read, data);
    }
}

/// Digests of fixed trees: the layout of bytes is a promise (equal diff ids across versions and tools).
// items: H008
#[test]
fn the_bytes_are_fixed() {
    let mut writer = LayerWriter::new(Vec::new());
    let mut file = Metadata::file(6);
    file.mtime = Time { seconds: 1_700_000_000, nanoseconds: 999 };
    writer.file(Path::new("a/file.txt"), &file, &mut &b"Hello\n"[..]).unwrap();
    let tar = writer.finish().unwrap();
    assert_eq!(tar.len(), 2048);
    let mut expect = [0_u8; 512];
    expect[..10].copy_from_slice(b"a/file.txt");
    expect[100..136].copy_from_slice(b"0000644\x000000000\x000000000\x0000000000006\0");
    expect[136..148].copy_from_slice(b"14524770400\0");
    expect[156] = b'0';
    expect[257..265].copy_from_slice(b"ustar\x0000");
    expect[329..345].copy_from_slice(b"0000000\x000000000\0");
    let sum: u32 = expect.iter().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
    expect[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(tar[..512], expect);
    assert_eq!(&tar[512..518], b"Hello\n");
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let mut writer = LayerWriter::new(Vec::new());
    let error = writer.file(Path::new("f"), &Metadata::file(10), &mut &b"short"[..]).unwrap_err();
    assert!(matches!(error, TarError::Short { written: 5, size: 10, .. }), "{error}");
}

#[test]
fn paths_that_could_leave_are_not_written() {
    let mut writer = LayerWriter::new(Vec::new());
    for bad in ["", "/a", "../a", "a/../b", "."] {
        assert!(writer.entry(Path::new(bad), &Metadata::directory()).is_err(), "{bad}");
    }
    assert!(writer.entry(Path::new("s"), &Metadata::new(Kind::Socket, 0)).is_err());
}

fn tool(command: &mut Command, input: &[u8]) -> Option<String> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: {command:?} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

const PYTHON: &str = r"
import sys, tarfile, io
t = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), errors='surrogateescape')
for m in t:
    n = m.name.encode('utf-8', 'surrogateescape').hex()
    l = m.linkname.encode('utf-8', 'surrogateescape').hex()
    print(n, l, m.mode, m.uid, m.gid, m.size, int(m.mtime), m.devmajor, m.devminor)
";

#[test]
fn python_and_gnu_tar_read_the_same() {
    let entries = corners();
    let tar = write(&entries);
    if let Some(listing) = tool(Command::new("python3").args(["-c", PYTHON]), &tar) {
        let hex = |path: &Path| path.as_os_str().as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
        for ((path, m), line) in entries.iter().zip(listing.lines()) {
            let link = m.kind.symlink_target().map(hex).unwrap_or_default();
            let device = match m.kind {
                Kind::CharDevice(d) | Kind::BlockDevice(d) => d,
                _ => Device::default(),
            };
            let expect = format!(
                "{} {link} {} {} {} {} {} {} {}",
                hex(path),
                m.mode,
                m.uid,
                m.gid,
                m.size,
                m.mtime.seconds,
                device.major,
                device.minor
            );
            assert_eq!(line, expect);
        }
        assert_eq!(listing.lines().count(), entries.len() + 2);
    }
    if let Some(listing) = tool(Command::new("tar").args(["-tf", "-"]), &tar) {
        assert_eq!(listing.lines().count(), entries.len() + 2);
    }
}

/// Runs GNU tar on a directory with a sparse file and reads what it made.
#[test]
fn gnu_tar_archives_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    for hole in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &content(5000), hole * 65_536 + 4096).unwrap();
    }
    let expect = std::fs::read(dir.path().join("sparse")).unwrap();
    let long = dir.path().join("l".repeat(120)).join("m".repeat(120));
    std::fs::create_dir_all(&long).unwrap();
    std::os::unix::fs::symlink("t".repeat(130), long.join("link")).unwrap();
    std::fs::write(long.join("z"), "z").unwrap();
    let formats: [&[&str]; 5] = [
        &["--format=gnu", "-S"],
        &["--format=posix", "-S"],
        &["--format=posix", "-S", "--sparse-version=0.0"],
        &["--format=posix", "-S", "--sparse-version=0.1"],
        &["--format=ustar"],
    ];
    for format in formats {
        let mut command = Command::new("tar");
        command.arg("-C").arg(dir.path()).args(format).args(["-cf", "-", "."]);
        let Ok(output) = command.output() else { return eprintln!("skipped: tar is not installed") };
        let read = read(&output.stdout).unwrap();
        let file = read.iter().find(|(header, _)| header.clean_path() == Path::new("sparse")).unwrap();
        assert_eq!(file.0.size, 3_000_000, "{format:?}");
        assert!(file.1 == expect, "{format:?}");
        if format.contains(&"-S") {
            assert!(file.0.sparse.as_ref().unwrap().len() >= 40, "{format:?}");
        } else {
            continue;
        }
        let link = read.iter().find(|(header, _)| header.path.ends_with("link")).unwrap();
        assert_eq!(link.0.kind, EntryKind::Symlink("t".repeat(130).into()), "{format:?}");
        assert!(read.iter().any(|(header, data)| header.path.ends_with("z") && data == b"z"));
    }
}

/// Builds archives that no writer should make.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn header(mut self, kind: u8, name: &str, size: &[u8], change: impl Fn(&mut Block)) -> Self {
        let mut block = [0; BLOCK];
        block::put_text(&mut block[block::NAME], name.as_bytes());
        for field in [block::MODE, block::UID, block::GID, block::MTIME] {
            block::put_octal(&mut block[field], 0);
        }
        block[block::SIZE][..size.len()].copy_from_slice(size);
        block[block::TYPE] = kind;
        change(&mut block);
        block::seal(&mut block);
        self.0.extend_from_slice(&block);
        self
    }

    fn entry(self, kind: u8, name: &str, data: &[u8]) -> Self {
        let size = format!("{:011o}", data.len());
        self.header(kind, name, size.as_bytes(), |_| {}).data(data)
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn names(bytes: &[u8]) -> Result<Vec<String>, TarError> {
    Ok(read(bytes)?.into_iter().map(|(header, _)| header.path.to_string_lossy().into_owned()).collect())
}

#[test]
fn pax_size_decides_where_the_next_header_is() {
    let mut inner = Raw::default().entry(b'0', "inner", b"").end();
    inner.truncate(512);
    let record = format!("{} size={}\n", 12, 512);
    let tar = Raw::default().entry(b'x', "p", record.as_bytes()).header(b'0', "outer.tar", b"00000000000", |_| {});
    let tar = tar.data(&inner).entry(b'0', "after", b"").end();
    assert_eq!(names(&tar).unwrap(), ["outer.tar", "after"]);
}

#[test]
fn global_records_change_nothing() {
    let tar = Raw::default().entry(b'g', "g", b"16 path=/etc/xx\n").entry(b'0', "real", b"data").end();
    assert_eq!(names(&tar).unwrap(), ["real"]);
}

#[test]
fn names_come_from_the_strongest_source_and_are_cleaned_last() {
    let tar = Raw::default().entry(b'x', "p", b"18 path=../../etc\n").entry(b'L', "l", b"/../../x//./y\0");
    let tar = tar.entry(b'0', "weak", b"").end();
    let read = read(&tar).unwrap();
    assert_eq!(read[0].0.path, Path::new("/../../x//./y"));
    assert_eq!(read[0].0.clean_path(), Path::new("x/y"));
}

fn check_refused(tar: &[u8], why: &str) {
    let error = read(tar).expect_err(why);
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let text = format!("{error}: {source}");
    assert!(text.contains(why), "{text} instead of {why}");
}

#[test]
fn hostile_archives_are_refused() {
    let size = |size: &[u8]| Raw::default().header(b'0', "f", size, |_| {}).end();
    check_refused(&size(b"99999999999"), "bad size");
    check_refused(&size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0"), "bad size");
    check_refused(&size(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "bad size");
    check_refused(&size(b"77777777777"), "ends within");
    let pax = |records: &[u8]| Raw::default().entry(b'x', "p", records).entry(b'0', "f", b"").end();
    check_refused(&pax(b"11 size=-1\n"), "bad size");
    check_refused(&pax(b"10 uid=-1\n"), "owner out of range");
    check_refused(&pax(b"18 uid=4294967295\n"), "owner out of range");
    check_refused(&pax(b"18 gid=4294967296\n"), "group out of range");
    check_refused(&pax(b"13 path=a\0bb\n"), "NUL");
    check_refused(&pax(b"99 path=a\n"), "malformed extended header");
    check_refused(&pax(b"11 mtime=x\n"), "bad time");
    check_refused(&Raw::default().entry(b'V', "volume", b"").end(), "unknown type");
    check_refused(&Raw::default().entry(b'D', "dump", b"").end(), "unknown type");
    check_refused(&Raw::default().entry(b'2', "link", b"").end(), "link to nothing");
    check_refused(&Raw::default().header(b'x', "p", b"00010000000", |_| {}).end(), "extended header");
    let mut checksum = Raw::default().entry(b'0', "f", b"").end();
    checksum[0] = b'g';
    check_refused(&checksum, "checksum");
    check_refused(&Raw::default().data(&[0; 512]).entry(b'0', "f", b"").end(), "zero block");
    let whole = Raw::default().entry(b'0', "f", &[1; 600]).end();
    check_refused(&whole[..1000], "ends within");
    check_refused(&whole[..100], "within a header");
    assert_eq!(names(&whole[..512 + 600]).unwrap(), ["f"], "a missing end is fine");
}

#[test]
fn hostile_sparse_maps_are_refused() {
    let sparse =
        |records: String, data: &[u8]| Raw::default().entry(b'x', "p", records.as_bytes()).entry(b'0', "f", data).end();
    let records = |list: &[(&str, &str)]| {
        let records: pax::Records = list.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        String::from_utf8(pax::format(&records)).unwrap()
    };
    let v01 = |map: &str, count: &str, size: &str| {
        records(&[("GNU.sparse.map", map), ("GNU.sparse.numblocks", count), ("GNU.sparse.size", size)])
    };
    let good = read(&sparse(v01("1,2", "1", "9"), b"ab")).unwrap();
    assert_eq!(good[0].1, b"\0ab\0\0\0\0\0\0");
    check_refused(&sparse(v01("1,2,2,2", "2", "9"), b"abcd"), "overlap");
    check_refused(&sparse(v01("8,2", "1", "9"), b"ab"), "overlap or leave");
    check_refused(&sparse(v01("1,2", "1", "9"), b"abc"), "does not fit");
    check_refused(&sparse(v01("1,2", "7", "9"), b"ab"), "another length");
    check_refused(&sparse(v01("9223372036854775807,9223372036854775807", "1", "9"), b"ab"), "leave the file");
    check_refused(&sparse(v01("1,-2", "1", "9"), b"ab"), "no number");
    let v10 = records(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")]);
    let block = |text: &[u8]| [text, &vec![0; BLOCK - text.len()]].concat();
    check_refused(&sparse(v10.clone(), &block(b"99999999999\n")), "too many");
    check_refused(&sparse(v10.clone(), &block(b"-1\n")), "bad count");
    check_refused(&sparse(v10.clone(), &[b'1'; 1024]), "bad count");
    check_refused(&sparse(v10.clone(), &block(b"1\n0\n")), "longer than its data");
    check_refused(&sparse(v10, &block(b"1\n0\nx\n")), "no number");
}

#[test]
fn a_huge_hole_costs_nothing_to_skip() {
    let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n43 GNU.sparse.realsize=9223372036854775807\n";
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    let tar = Raw::default().entry(b'x', "p", records).entry(b'0', "hole", &map).entry(b'0', "next", b"").end();
    let mut archive = Archive::new(Cursor::new(tar));
    let hole = archive.next_entry().unwrap().unwrap().header;
    assert_eq!((hole.size, hole.data_size), (i64::MAX as u64, 0));
    assert_eq!(archive.next_entry().unwrap().unwrap().header.path, Path::new("next"));
    assert!(archive.next_entry().unwrap().is_none());
}

proptest::proptest! {
    #[test]
    fn damaged_archives_never_panic(flips in proptest::collection::vec((0_usize..4096, 0_u8..=255), 1..6)) {
        let records = b"18 path=../../etc\n22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n";
        let tar = Raw::default().entry(b'x', "p", records).entry(b'0', "f", b"1\n1\n2\n");
        let mut tar = tar.entry(b'L', "l", b"name").entry(b'S', "s", b"ab").entry(b'5', "d/", b"").end();
        for (at, byte) in flips {
            let at = at % tar.len();
            tar[at] = byte;
            // A right checksum lets the damage reach deeper.
            let start = at / BLOCK * BLOCK;
            let mut block: Block = tar[start..start + BLOCK].try_into().unwrap();
            if &block[257..262] == b"ustar" {
                block::seal(&mut block);
                tar[start..start + BLOCK].copy_from_slice(&block);
            }
        }
        let mut archive = Archive::new(tar.as_slice());
        while let Ok(Some(mut entry)) = archive.next_entry() {
            let _ = entry.by_ref().take(1 << 16).read_to_end(&mut Vec::new());
        }
    }
}

/// Times that are early enough, and everything else, stay as they are, byte for byte.
// items: O010
#[test]
fn late_times_are_set_back() {
    let late = |seconds: i64| {
        let mut entries = corners();
        entries.iter_mut().for_each(|(_, metadata)| metadata.mtime = metadata.mtime.max(Time::from_seconds(seconds)));
        write(&entries)
    };
    let clamped = |tar: &[u8], latest| clamp_times(tar, latest, Vec::new()).unwrap();
    let plain = write(&corners());
    assert!(clamped(&plain, i64::MAX) == plain, "nothing is late");
    let mut all_at_zero = corners();
    all_at_zero.iter_mut().for_each(|(_, metadata)| metadata.mtime = metadata.mtime.min(Time::EPOCH));
    assert!(clamped(&plain, 0) == write(&all_at_zero), "what is before 1970 stays");
    assert!(clamped(&late(10_000_000_000), 10_000_000_000) == late(10_000_000_000), "and what is beyond octal fields");
    let mut rest = plain.as_slice();
    clamp_times(&mut rest, 0, Vec::new()).unwrap();
    assert!(rest.is_empty(), "the stream is read to its end");
}
