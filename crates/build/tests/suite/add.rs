//! ADD of archives and addresses (D001-D006).

use std::path::Path;

use rbuild_build::{BuildRequest, SecretSource};
use rbuild_tree::tar::{Archive, LayerWriter};
use rbuild_tree::{Kind, Metadata};

use crate::files::Files;
use crate::servers::Site;

/// Packs files: `d/` is a directory, `l>t` a symbolic link, `g==f` a hard link, `f=text` a file.
fn archive(entries: &str) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for entry in entries.split_whitespace() {
        if let Some((name, original)) = entry.split_once("==") {
            writer.hard_link(Path::new(name), Path::new(original), &Metadata::file(0)).unwrap();
        } else if let Some((name, target)) = entry.split_once('>') {
            writer.entry(Path::new(name), &Metadata::symlink(target)).unwrap();
        } else if let Some(name) = entry.strip_suffix('/') {
            writer.entry(Path::new(name), &Metadata::new(Kind::Directory, 0o750)).unwrap();
        } else {
            let (name, text) = entry.split_once('=').unwrap();
            let metadata = Metadata { uid: 7, gid: 8, ..Metadata::file(text.len() as u64) };
            writer.file(Path::new(name), &metadata, &mut text.as_bytes()).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// Compresses with the program that people use.
fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let output = std::process::Command::new(program).arg("-c").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

// items: D001 D002
#[tokio::test(flavor = "multi_thread")]
async fn d001_archives() {
    let files = Files::new("a=A not.pack=text");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(files.path(name), bytes).unwrap();
        files.mode(name, 0o644);
    };
    let plain = archive("foo=F");
    // What it is called does not matter.
    write("plain", &plain);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        write(program, &compressed(program, &plain));
        write(&format!("{program}-text"), &compressed(program, b"text"));
    }
    write("one.tar", &plain);
    write("two.tar", &archive("bar=B"));
    write("implied.tgz", &compressed("gzip", &archive("etc2/dnf/ etc2/dnf/conf=C deep/er/f=F")));
    write("rootfs.pack", &archive("run/ var/ var/run>/run up>../../.. abs>/var"));
    write(
        "payload.pack",
        &archive("var/run/act/ var/run/act/HEAD=ref var/run/act/link==var/run/act/HEAD up/x=X abs/y=Y"),
    );
    write("kinds.pack", &archive("d/ d/f=F d/l>f g==d/f"));
    write("outside.pack", &archive("f=F h==a"));
    let site = Site::start(&files.context, None);
    let by_http = |flags: &str, dest: &str| format!("ADD {flags} {}/gzip {dest}", site.address);
    let (unpacked, kept) = (by_http("--unpack", "/d/"), by_http("", "/gzip2"));
    let sums: Vec<(String, &str)> = ["plain", "gzip", "bzip2", "xz", "zstd"]
        .iter()
        .map(|name| (format!("ADD {name} /d"), "d/ d/foo[7:8]=F"))
        .chain([
            ("ADD *.tar /d\nFROM scratch\nCOPY --from=3 /d/foo /d/bar /".to_owned(), "bar[7:8]=B foo[7:8]=F"),
            ("ADD not.pack gzip-text /d/\nFROM scratch\nCOPY --from=3 /d/not.pack /".to_owned(), "not.pack=text"),
            ("ADD --unpack=true a /d/".to_owned(), "d/ d/a=A"),
            ("ADD implied.tgz /".to_owned(), "deep/ deep/er/ deep/er/f[7:8]=F etc2/ etc2/dnf/[750] etc2/dnf/conf[7:8]=C"),
            (
                "ADD rootfs.pack /\nADD payload.pack /".to_owned(),
                "abs>/var run/[750] run/act/[750] run/act/HEAD[7:8]=ref run/act/link==run/act/HEAD up>../../.. var/[750] \
                 var/run>/run var/y[7:8]=Y x[7:8]=X",
            ),
            ("ADD kinds.pack /k/".to_owned(), "k/ k/d/[750] k/d/f[7:8]=F k/d/l>f k/g==k/d/f"),
            ("ADD --chown=100:200 kinds.pack /k/".to_owned(), "k/[100:200] k/d/[750][100:200] k/d/f[100:200]=F k/d/l[100:200]>f k/g==k/d/f"),
            ("COPY a /\nADD outside.pack /".to_owned(), "error: lstat /a: no such file or directory"),
            ("COPY a /d/foo/x\nADD plain /d".to_owned(), "d/ d/foo[7:8]=F"),
            ("COPY a /d\nADD plain /d".to_owned(), "error: cannot copy to non-directory: /d"),
            (unpacked, "d/ d/foo[7:8]=F"),
        ])
        .collect();
    let rows: Vec<(&str, &str)> = sums.iter().map(|(instructions, tree)| (instructions.as_str(), *tree)).collect();
    files.check(&rows).await;
    // What is not unpacked is there byte for byte.
    for instruction in ["COPY gzip /gzip2", "ADD --unpack=false gzip /gzip2", &kept] {
        let added = files.archive(&format!("FROM scratch\n{instruction}\n")).await;
        let mut added = Archive::new(&*added);
        let mut entry = added.next_entry().unwrap().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert!(
            entry.header.clean_path() == Path::new("gzip2") && bytes == std::fs::read(files.path("gzip")).unwrap(),
            "{instruction}"
        );
    }
}

// items: D003 D004 D005
#[tokio::test(flavor = "multi_thread")]
async fn d003_d004_d005_addresses() {
    let files = Files::new("a=A");
    let served = Files::new("foo=one sub/with%20blank=B");
    std::fs::rename(served.path("sub/with%20blank"), served.path("sub/with blank")).unwrap();
    let site = Site::start(&served.context, None);
    let address = &site.address;
    let digest = rbuild_oci::Digest::of(b"one");
    let other = rbuild_oci::Digest::of(b"two");
    let rows = [
        (format!("ADD {address}/foo /dest/"), "dest/ dest/foo[600]=one"),
        (format!("ADD {address}/foo?query=1 /"), "foo[600]=one"),
        (format!("ADD {address}/foo /named"), "named[600]=one"),
        (format!("ADD --chmod=0413 --chown=3:4 {address}/foo /"), "foo[413][3:4]=one"),
        (format!("ARG name=foo\nADD {address}/$name a /d/"), "d/ d/a=A d/foo[600]=one"),
        (format!("ADD {address}/none /"), "error: 404"),
        (format!("ADD --checksum={digest} {address}/foo /"), "foo[600]=one"),
        (format!("ADD --checksum={other} {address}/foo /"), "error: digest mismatch"),
        (format!("ADD --checksum=sha512:{} {address}/foo /", "0".repeat(128)), "error: unsupported digest algorithm"),
        (format!("ADD --checksum=00 {address}/foo /"), "error: invalid checksum digest format"),
        (format!("ADD --checksum={digest} {address}/foo {address}/foo /"), "error: multiple sources"),
        (format!("ADD --checksum={digest} a /"), "error: checksum requires HTTP(S) or Git sources"),
        (format!("COPY {address}/foo /"), "error: source can't be a URL for COPY"),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(instructions, tree)| (instructions.as_str(), *tree)).collect();
    files.check(&rows).await;
    site.asked();
    let build = async |flags: &str| {
        let tree = files.tree(&format!("FROM scratch\nADD {flags} {address}/foo /\n"), |_| {}).await.unwrap();
        (tree, site.asked().join(" "))
    };
    assert_eq!(build("").await, ("foo[600]=one".to_owned(), "HEAD /foo".to_owned()));
    assert_eq!(build(&format!("--checksum={digest}")).await.1, "", "a file of known content is not asked for");
    std::fs::write(served.path("foo"), "two").unwrap();
    assert_eq!(build("").await, ("foo[600]=two".to_owned(), "HEAD /foo GET /foo".to_owned()));
    assert_eq!(build(&format!("--checksum={digest}")).await, ("foo[600]=one".to_owned(), String::new()));
    let archive = files.archive(&format!("FROM scratch\nADD {address}/foo /\n")).await;
    let header = Archive::new(&*archive).next_entry().unwrap().unwrap().header.clone();
    assert_eq!(header.mtime.seconds, 784_111_777, "the time is the server's");
}

// items: D006
#[tokio::test(flavor = "multi_thread")]
async fn d006_private_files_by_secret() {
    let files = Files::new("a=A");
    let site = Site::start(&files.context, Some("Bearer sesame"));
    let host = site.host().split(':').next().unwrap();
    for (id, value, right) in [
        (format!("HTTP_AUTH_TOKEN_{host}"), "sesame\n", true),
        (format!("HTTP_AUTH_HEADER_{host}"), "Bearer sesame", true),
        (format!("HTTP_AUTH_TOKEN_{host}"), "wrong", false),
        ("HTTP_AUTH_TOKEN_example.com".to_owned(), "sesame", false),
    ] {
        let give = |request: &mut BuildRequest| {
            let value = SecretSource::Value(value.as_bytes().to_vec());
            request.secrets = [(id.clone(), value)].into();
        };
        let files = Files::new("");
        let got = files.tree(&format!("FROM scratch\nADD {}/a /out\n", site.address), give).await;
        assert_eq!(got.is_ok(), right, "{id}={value}: {got:?}");
        assert!(got.is_ok_and(|tree| tree == "out[600]=A") || !right);
    }
}
