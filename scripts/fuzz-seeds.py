#!/usr/bin/env python3
"""Gathers the seeds of the fuzz targets from what the tests read. usage: fuzz-seeds.py DIRECTORY

Seeds are testdata, the texts inside the tests, the examples, and tars of testdata in every format and compression.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A text in Rust, raw or not.
TEXT = re.compile(r'r#"(?P<raw>.*?)"#|b?"(?P<plain>(?:[^"\\]|\\.)*)"', re.S)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
LARGEST = 64 << 10


def texts(*folders):
    """Yields the texts that stand in the tests of these folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.rs")):
            for found in TEXT.finditer(path.read_text()):
                yield found["raw"] if found["raw"] is not None else unescaped(found["plain"])


def unescaped(text):
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r"\\u\{([0-9a-fA-F]+)\}", lambda code: chr(int(code[1], 16)), text)
    text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda code: chr(int(code[1], 16)), text)
    return re.sub(r"\\(.)", lambda code: ESCAPES.get(code[1], code[1]), text)


def dockerfiles():
    for folder in ("frontend", "examples", "tests"):
        for path in sorted((ROOT / folder).rglob("*Dockerfile*")):
            if path.is_file():
                yield path


class Corpus:
    def __init__(self, place, target):
        self.folder = place / target
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, seed):
        seed = seed.encode(errors="surrogatepass") if isinstance(seed, str) else seed
        if 0 < len(seed) <= LARGEST:
            (self.folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)

    def close(self):
        count = sum(1 for _ in self.folder.iterdir())
        if count == 0:
            sys.exit(f"no seeds were found for {self.folder.name}")
        print(f"{self.folder.name}: {count} seeds")


def dockerfile(corpus):
    for path in dockerfiles():
        corpus.add(path.read_bytes())
    for text in texts("frontend/dockerfile/tests"):
        corpus.add(text)
        if "FROM" not in text.upper():
            corpus.add(f"FROM scratch\n{text}")


def expand(corpus):
    values = "\0a=a*/a\0X=value\0foo=abc\0empty=\0A=1"
    for text in texts("frontend/dockerfile/tests/it"):
        corpus.add(text + values)


def patterns(corpus):
    # A path and its patterns stand near each other in the tables.
    for folder in ("crates/tree/src/pattern", "crates/tree/src/select", "crates/tree/src/context"):
        near = [text for text in texts(folder) if len(text) < 200]
        for first, second, third in zip(near, near[1:], near[2:]):
            corpus.add(f"{first}\0{second}")
            corpus.add(f"{first}\n{second}\0{third}")


def lower(corpus):
    for case in sorted((ROOT / "frontend/lower/testdata").iterdir()):
        request = case / "request.txt"
        options = request.read_text() if request.exists() else ""
        corpus.add(options + "---\n" + (case / "Dockerfile").read_text())
    for text in texts("frontend/lower/tests"):
        corpus.add(text)
    for path in dockerfiles():
        corpus.add(path.read_bytes())


def hand_made(form):
    """A tar with every kind of entry, long names, attributes and whiteouts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        def entry(name, kind=tarfile.REGTYPE, link="", content=b"", records=None):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mtime = kind, link, len(content), 1_600_000_000
            info.devmajor, info.devminor, info.pax_headers = 1, 3, records or {}
            tar.addfile(info, io.BytesIO(content))
        entry("d", tarfile.DIRTYPE)
        entry("d/file", content=b"content")
        entry("d/again", tarfile.LNKTYPE, "d/file")
        entry("d/link", tarfile.SYMTYPE, "../d/file")
        entry("d/null", tarfile.CHRTYPE)
        entry("d/pipe", tarfile.FIFOTYPE)
        entry("d/.wh.gone")
        entry("e/.wh..wh..opq")
        entry("/d/../../x/./y", content=b"y")
        if form != tarfile.USTAR_FORMAT:
            entry("long/" * 40 + "name", tarfile.SYMTYPE, "é" * 80)
        if form == tarfile.PAX_FORMAT:
            entry("attributes", content=b"x", records={"SCHILY.xattr.user.a": "b", "mtime": "1.5"})
            entry("holes", content=b"ab", records={
                "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "holes", "GNU.sparse.size": "9000",
                "GNU.sparse.numblocks": "2", "GNU.sparse.map": "512,1,8192,1",
            })
    return out.getvalue()


def system_tars(work):
    """Tars of testdata and of a file with holes, by the system's tar."""
    tree = work / "tree"
    shutil.copytree(ROOT / "frontend/dockerfile/testdata/ok", tree)
    with open(tree / "holes", "wb") as file:
        for at in range(0, 40 << 13, 1 << 13):
            file.seek(at)
            file.write(b"data")
    sparse = [["--format=posix", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")]
    for options in (["--format=v7"], ["--format=gnu"], ["--format=oldgnu", "--sparse"], ["--format=gnu", "--sparse"], *sparse):
        command = ["tar", "-C", work, *options, "-cf", "-", "tree"]
        if "--sparse" not in options:
            command.insert(-1, "--exclude=holes")
        yield subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def tar(corpus):
    tars = [hand_made(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    with tempfile.TemporaryDirectory() as work:
        tars += system_tars(pathlib.Path(work))
    for archive in tars:
        for choice in (0, 1, 3, 5):
            corpus.add(bytes([choice]) + archive)
    for archive in tars[:3]:
        for packed in (gzip.compress(archive), bz2.compress(archive), lzma.compress(archive)):
            corpus.add(b"\1" + packed)
        if shutil.which("zstd"):
            corpus.add(b"\1" + subprocess.run(["zstd", "-c"], input=archive, check=True, stdout=subprocess.PIPE).stdout)


def main():
    place = pathlib.Path(sys.argv[1])
    for gather in (dockerfile, expand, patterns, lower, tar):
        corpus = Corpus(place, gather.__name__)
        gather(corpus)
        corpus.close()


main()
