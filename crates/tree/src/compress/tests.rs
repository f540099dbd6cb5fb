use super::*;
use std::io::Read;
use std::process::{Command, Stdio};

/// Text that compresses, of more than three blocks.
fn text() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut text = Vec::new();
    while text.len() < 3 * BLOCK + 12_345 {
        text.extend_from_slice(format!("line {} of {}\n", next() % 1000, next() % 10).as_bytes());
    }
    text
}

fn compress(input: &[u8], compression: Compression, threads: usize, chunk: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression, threads).unwrap();
    for chunk in input.chunks(chunk) {
        encoder.write_all(chunk).unwrap();
    }
    encoder.finish().unwrap()
}

fn expand(input: &[u8]) -> io::Result<(Format, Vec<u8>)> {
    let (format, mut reader) = decompress(input)?;
    let mut output = Vec::new();
    reader.read_to_end(&mut output)?;
    Ok((format, output))
}

#[test]
fn bytes_depend_on_input_and_level_only() {
    let text = text();
    for compression in [Compression::GZIP, Compression::Gzip(0), Compression::Gzip(6), Compression::ZSTD] {
        let one = compress(&text, compression, 1, 1000);
        for (threads, chunk) in [(1, usize::MAX), (2, 1 << 16), (3, 3_000_001)] {
            assert!(compress(&text, compression, threads, chunk) == one, "{compression:?} {threads} {chunk}");
        }
        assert!(expand(&one).unwrap().1 == text, "{compression:?}");
    }
}

#[test]
fn empty_input_is_a_stream_too() {
    for (compression, format) in [(Compression::GZIP, Format::Gzip), (Compression::ZSTD, Format::Zstd)] {
        assert_eq!(expand(&compress(b"", compression, 2, 1)).unwrap(), (format, Vec::new()));
    }
    assert_eq!(expand(b"").unwrap(), (Format::Plain, Vec::new()));
}

#[test]
fn levels_out_of_range_are_refused() {
    for bad in [Compression::Gzip(10), Compression::Zstd(0), Compression::Zstd(23)] {
        assert!(Encoder::new(Vec::new(), bad, 1).is_err());
    }
}

fn pipe(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    assert!(output.status.success(), "{program} {args:?}");
    Some(output.stdout)
}

#[test]
fn other_tools_read_what_is_written() {
    let text = text();
    let gzip = compress(&text, Compression::GZIP, 2, 1 << 20);
    let python = "import sys, gzip; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for (program, args) in [("gzip", ["-dc", "-"]), ("python3", ["-c", python])] {
        assert!(pipe(program, &args, &gzip).is_none_or(|output| output == text), "{program}");
    }
    let zstd = compress(&text, Compression::ZSTD, 2, 1 << 20);
    assert!(pipe("zstd", &["-dc", "-"], &zstd).is_none_or(|output| output == text));
}

#[test]
fn what_other_tools_write_is_read() {
    let text = text();
    let tools = [("gzip", Format::Gzip), ("bzip2", Format::Bzip2), ("xz", Format::Xz), ("zstd", Format::Zstd)];
    for (program, format) in tools {
        if let Some(output) = pipe(program, &["-c", "-1"], &text) {
            let twice = [output.clone(), output].concat();
            let (found, expanded) = expand(&twice).unwrap();
            assert_eq!(found, format, "{program}");
            assert!(expanded == [text.as_slice(), &text].concat(), "{program}");
        }
    }
}

#[test]
fn damage_and_truncation_are_errors() {
    let text = text();
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let good = compress(&text, compression, 1, 1 << 20);
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0xff;
        assert!(expand(&bad).is_err(), "{compression:?}");
        assert!(expand(&good[..good.len() - 3]).is_err(), "{compression:?}");
    }
    // A frame header that asks for a window of 2 GiB.
    assert!(expand(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0, 0, 0]).is_err());
}

#[test]
fn archives_are_known_by_content() {
    let mut writer = crate::tar::LayerWriter::new(Vec::new());
    writer.entry(std::path::Path::new("d"), &crate::Metadata::directory()).unwrap();
    let tar = writer.finish().unwrap();
    assert!(is_archive(tar.as_slice()));
    assert!(is_archive(compress(&tar, Compression::GZIP, 1, 512).as_slice()));
    assert!(!is_archive(compress(b"no tar", Compression::GZIP, 1, 512).as_slice()));
    assert!(!is_archive(&b"no tar"[..]));
    assert!(!is_archive([0_u8; 1024].as_slice()));
}
