//! Any bytes as a layer: decompressed, as a stream of entries, as an index, and as the tree that layers show.
//!
//! The first byte says how many layers the rest is cut into and whether the checksums of headers are put right
//! first, without which hardly any change would be looked at twice.
#![no_main]

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::{Component, Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use rbuild_snapshot::{LayerForm, MergedView};
use rbuild_tree::compress::decompress;
use rbuild_tree::tar::{Archive, Header, TarIndex};
use rbuild_tree::{FileTree, Kind};
use rustix::fs::{MemfdFlags, memfd_create};

/// So much is taken out of a compressed stream, and of one file.
const UNPACKED: u64 = 1 << 20;
const CONTENT: u64 = 4096;
/// So many nodes of a tree are visited.
const VISITED: usize = 2000;
const BLOCK: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let mut tar = Vec::new();
    if let Ok((_, content)) = decompress(bytes) {
        // What came before an error counts.
        let _ = content.take(UNPACKED).read_to_end(&mut tar);
    }
    if choice & 1 == 1 {
        tar.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar").for_each(sum);
    }
    let streamed = stream(Archive::new(tar.as_slice()));
    let sought = stream(Archive::seekable(Cursor::new(&tar)).expect("memory can be sought"));
    assert_eq!(streamed, sought, "reading on and jumping agree");
    indexed(&tar, &streamed);
    let layers = usize::from(choice >> 1 & 3) + 1;
    let size = (tar.len() / BLOCK / layers).max(1) * BLOCK;
    view(&tar.chunks(size).collect::<Vec<_>>());
});

/// Puts the checksum of a header right.
fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The entries with the beginnings of their contents, and whether the archive ended well.
fn stream<R: Read>(mut archive: Archive<R>) -> (Vec<(Header, Vec<u8>)>, bool) {
    let mut entries = Vec::new();
    let ended = loop {
        match archive.next_entry() {
            Ok(None) => break true,
            Err(_) => break false,
            Ok(Some(mut entry)) => {
                let mut content = Vec::new();
                let read = entry.by_ref().take(CONTENT).read_to_end(&mut content);
                let header = entry.header;
                assert!(read.is_err() || content.len() as u64 == header.size.min(CONTENT), "{header:?}");
                let inside = |path: PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
                assert!(inside(header.clean_path()), "{header:?}");
                assert!(header.clean_link_target().is_none_or(inside), "{header:?}");
                entries.push((header, content));
            }
        }
    };
    assert!(matches!(archive.next_entry(), Ok(None)), "what has ended has ended");
    (entries, ended)
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("layer", MemfdFlags::CLOEXEC).expect("memory for a file"));
    file.write_all(bytes).expect("room in memory");
    std::io::Seek::rewind(&mut file).expect("memory can be sought");
    file
}

fn indexed(tar: &[u8], (entries, ended): &(Vec<(Header, Vec<u8>)>, bool)) {
    let index = TarIndex::read(file_of(tar));
    assert!(index.is_err() || *ended, "an index is of a whole archive");
    let Ok(index) = index else { return };
    assert_eq!(index.entries().len(), entries.len());
    for (entry, (header, content)) in index.entries().iter().zip(entries) {
        assert_eq!(&entry.header, header);
        let mut again = Vec::new();
        if index.open(entry).take(CONTENT).read_to_end(&mut again).is_ok() {
            assert_eq!(&again, content, "{header:?}");
        }
    }
}

/// Walks the tree that the layers show.
fn view(layers: &[&[u8]]) {
    use std::os::fd::AsRawFd;
    let files: Vec<File> = layers.iter().map(|layer| file_of(layer)).collect();
    let forms: Vec<LayerForm> = files
        .iter()
        .map(|file| LayerForm::Blob(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))))
        .collect();
    let Ok(view) = MergedView::open(&forms) else { return };
    let mut waiting = vec![PathBuf::new()];
    let mut visited = 0;
    while let Some(directory) = waiting.pop() {
        let children = view.children(&directory).expect("a directory of the tree is listed");
        for node in children {
            visited += 1;
            if visited > VISITED {
                return;
            }
            assert_eq!(node.path.parent(), Some(directory.as_path()));
            assert_eq!(view.node(&node.path).expect("what is listed is found").as_ref(), Some(&node));
            match node.metadata.kind {
                Kind::Directory => waiting.push(node.path),
                Kind::File => {
                    let mut content = Vec::new();
                    let _ = view.open(&node).expect("a file opens").take(CONTENT).read_to_end(&mut content);
                }
                _ => assert!(view.open(&node).is_err()),
            }
        }
    }
    assert!(view.node(Path::new("no/such")).is_ok());
}
