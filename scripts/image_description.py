"""Reads an image's archive (`docker save`'s format) and says what is in it, as sections of subject and text."""

import hashlib
import json
import posixpath
import re
import tarfile
from datetime import datetime

TYPES = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}
OPAQUE = ".wh..wh..opq"
WHITEOUT = ".wh."
SECTIONS = ("config", "history", "layer", "names", "times", "rootfs")
# What an empty field of the configuration may look like.
EMPTY = (None, "", [], {}, False)


def describe(path, began):
    """Returns {section: {subject: text}} of the archive at `path`; times from `began` on are all `now`."""
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        layers = manifest["Layers"] or []
        said = {section: {} for section in SECTIONS}
        tell_config(said["config"], config, began)
        tell_history(said["history"], config, began)
        root = {}
        for number, layer in enumerate(layers):
            # A layer that occurs twice may be a link to the first.
            member = archive.getmember(layer)
            if member.issym():
                layer = posixpath.normpath(posixpath.join(posixpath.dirname(layer), member.linkname))
            with tarfile.open(fileobj=archive.extractfile(layer)) as entries:
                read_layer(said, root, number, entries, began)
    said["layer"]["count"] = str(len(layers))
    said["rootfs"] = root
    return said


def when(text, began):
    """Returns an RFC 3339 time, to the second."""
    if text is None:
        return "none"
    seconds = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")
    at = datetime.fromisoformat(seconds).timestamp()
    return "now" if at >= began else text


def tell_config(said, config, began):
    for key, value in config.items():
        if key == "created" and value is not None:
            said[key] = when(value, began)
        elif key not in ("config", "history", "rootfs") and value not in EMPTY:
            said[key] = json.dumps(value, sort_keys=True)
    for key, value in (config.get("config") or {}).items():
        if value not in EMPTY:
            said[f"config.{key}"] = json.dumps(value, sort_keys=True)


def tell_history(said, config, began):
    for number, entry in enumerate(config.get("history") or []):
        fields = {key: value for key, value in entry.items() if key != "created" and value not in EMPTY}
        said[str(number)] = f"{json.dumps(fields, sort_keys=True)} at {when(entry.get('created'), began)}"


def read_layer(said, root, number, entries, began):
    """Tells of a layer's entries and applies them to `root`, lower files first removed."""
    added = []
    for entry in entries:
        name = posixpath.normpath("/" + entry.name).replace("//", "/")
        subject = f"{number} {name}"
        text = header(entry)
        # An entry that comes twice is a difference, too.
        said["layer"][subject] = f"{said['layer'][subject]} and again {text}" if subject in said["layer"] else text
        if entry.uname or entry.gname:
            said["names"][subject] = f"{entry.uname}:{entry.gname}"
        # Directories have a slash: their times follow other rules.
        said["times"][subject + "/" * entry.isdir()] = "now" if entry.mtime >= began else f"{entry.mtime:g}"
        folder, base = posixpath.split(name)
        if base == OPAQUE:
            remove(root, folder, keep_itself=True)
        elif base.startswith(WHITEOUT):
            remove(root, posixpath.join(folder, base[len(WHITEOUT):]))
        else:
            added.append((name, entry, content(entries, entry)))
    for name, entry, data in added:
        add(root, name, entry, data)


def header(entry):
    kind = TYPES.get(entry.type, repr(entry.type))
    parts = [kind, f"{entry.mode & 0o7777:04o}", f"{entry.uid}:{entry.gid}"]
    if entry.isreg():
        parts.append(f"{entry.size} bytes")
    if entry.linkname:
        target = posixpath.normpath("/" + entry.linkname).replace("//", "/") if entry.islnk() else entry.linkname
        parts.append(f"-> {target}")
    if kind in ("char", "block"):
        parts.append(f"{entry.devmajor},{entry.devminor}")
    return " ".join(parts + attributes(entry))


def attributes(entry):
    prefix = "SCHILY.xattr."
    return [f"{key[len(prefix):]}={value!r}" for key, value in sorted(entry.pax_headers.items()) if key.startswith(prefix)]


def content(entries, entry):
    if not entry.isreg():
        return ""
    return " sha256:" + hashlib.sha256(entries.extractfile(entry).read()).hexdigest()[:16]


def add(root, name, entry, data):
    if not entry.isdir():
        remove(root, name, keep_itself=True)
    if entry.islnk():
        target = posixpath.normpath("/" + entry.linkname).replace("//", "/")
        root[name] = root.get(target, f"hard link to nothing: {target}")
    else:
        root[name] = header(entry) + data


def remove(root, name, keep_itself=False):
    below = name.rstrip("/") + "/"
    for path in [path for path in root if path.startswith(below) and path != name]:
        del root[path]
    if not keep_itself:
        root.pop(name, None)
