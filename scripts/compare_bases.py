"""The base images of the comparison, made of Debian's busybox: an archive for every engine, an OCI layout for buildkitd."""

import hashlib
import io
import json
import os
import subprocess
import tarfile

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nother:x:2000:2000::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\nother:x:2000:\nextra:x:3000:app\n"
WHEN = 1_000_000_000
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# (path, mode, owner) of directories, bottom layer.
DIRECTORIES = [
    ("bin", 0o755, (0, 0)), ("etc", 0o755, (0, 0)), ("home", 0o755, (0, 0)), ("home/app", 0o750, (1000, 1001)),
    ("proc", 0o755, (0, 0)), ("dev", 0o755, (0, 0)), ("sys", 0o755, (0, 0)), ("root", 0o700, (0, 0)),
    ("tmp", 0o1777, (0, 0)), ("owned", 0o2775, (1000, 3000)), ("owned/sub", 0o700, (2000, 2000)),
    ("tree", 0o755, (0, 0)), ("tree/a", 0o755, (0, 0)), ("tree/a/deep", 0o755, (0, 0)), ("tree/b", 0o755, (0, 0)),
]
FILES = [
    ("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/hostname", "base\n"), ("tree/top", "top\n"),
    ("tree/a/one", "one\n"), ("tree/a/two", "two\n"), ("tree/a/deep/three", "three\n"), ("tree/b/four", "four\n"),
    ("owned/sub/file", "owned\n"),
]
SYMLINKS = [("link-to-tree", "tree"), ("link-absolute", "/tree/a"), ("tree/up", "../owned"), ("dangling", "/no/where")]
# The configurations of the images that differ in nothing else.
IMAGES = {
    "base": {"Env": [PATH], "Cmd": ["sh"]},
    "configured": {
        "Env": [PATH, "FROM_BASE=yes", "CHANGED=old"], "Cmd": ["base", "command"], "Entrypoint": ["/bin/entry"],
        "WorkingDir": "/tree", "User": "app", "Labels": {"kept": "1", "changed": "old"}, "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}}, "StopSignal": "SIGINT", "Shell": ["/bin/sh", "-ec"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
    },
    "triggers": {"Env": [PATH], "Cmd": ["sh"],
                 "OnBuild": ["ARG TRIGGERED=1", "COPY a.txt /triggered/", "RUN echo $TRIGGERED > /triggered/run", "ENV T=1"]},
}


def entry(name, kind, mode, owner=(0, 0), link="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size, info.mtime = kind, mode, link, size, WHEN
    info.uid, info.gid = owner
    return info


def layer():
    """Returns the tar of the one layer that all bases have."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode, owner in DIRECTORIES:
            tar.addfile(entry(name, tarfile.DIRTYPE, mode, owner))
        with open("/bin/busybox", "rb") as busybox:
            tar.addfile(entry("bin/busybox", tarfile.REGTYPE, 0o755, size=os.fstat(busybox.fileno()).st_size), busybox)
        listed = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True)
        for applet in listed.stdout.split():
            if applet != "busybox":
                tar.addfile(entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox"))
        for name, text in FILES:
            tar.addfile(entry(name, tarfile.REGTYPE, 0o644, size=len(text)), io.BytesIO(text.encode()))
        for name, target in SYMLINKS:
            tar.addfile(entry(name, tarfile.SYMTYPE, 0o777, link=target))
        tar.addfile(entry("tree/hard", tarfile.LNKTYPE, 0o644, link="tree/top"))
    return stream.getvalue()


def make(folder):
    """Writes an archive and an OCI layout for each base; returns {name: (archive, layout, digest)}."""
    data = layer()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    images = {}
    for name, config in IMAGES.items():
        image = {"architecture": machine, "os": "linux", "created": "2001-09-09T01:46:40Z", "config": config,
                 "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]},
                 "history": [{"created": "2001-09-09T01:46:40Z", "created_by": f"made for {name}"}]}
        text = json.dumps(image).encode()
        archive = folder / f"{name}.tar"
        digest = hashlib.sha256(text).hexdigest()
        manifest = [{"Config": f"{digest}.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
        with tarfile.open(archive, "w") as tar:
            for member, content in ((f"{digest}.json", text), ("layer.tar", data), ("manifest.json", json.dumps(manifest).encode())):
                tar.addfile(entry(member, tarfile.REGTYPE, 0o644, size=len(content)), io.BytesIO(content))
        layout = folder / f"{name}.layout"
        images[name] = (archive, layout, write_layout(layout, data, text))
    return images


def write_layout(layout, data, config):
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": put(config, "config.v1+json"), "layers": [put(data, "layer.v1.tar")]}
    top = put(json.dumps(manifest).encode(), "manifest.v1+json")
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return top["digest"]
