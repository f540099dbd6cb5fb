#!/usr/bin/env python3
"""Builds each case of tests/compare with rbuild and its peers, and prints what differs in the images.

usage: compare.py RBUILD [-v] [CASE...]

A case is a folder: a Dockerfile with its context, perhaps `args` (one argument of `docker build` a line),
`prepare.sh`, which makes in the context what git cannot keep, and `fails`, a part of rbuild's error where the
build has to fail. Known differences stand in tests/compare/expected with their reason; each must still occur.
Exit code 1: something differs that should not, or no longer does. -v also prints what is known.

Peers are the BuildKit in Debian's docker.io, buildah, and, if BUILDKITD and BUILDCTL name programs, that BuildKit.
Everything lives in one temporary directory; daemons, mounts and the bridge are gone at the end.
"""

import fnmatch
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import compare_bases
from compare_peers import Buildah, Buildkitd, Docker, Failed, Missing, Rbuild
from image_description import SECTIONS, describe
from private_dockerd import clean

CORPUS = pathlib.Path("tests/compare")
BRIDGE = "rbcompare0"
OLD = 1_100_000_000  # the time of every file in the first case's context

OWN = ("args", "fails", "prepare.sh")  # what a case has beside its context


class Expected:
    """The known differences: lines of CASE | PEER | DIFFERENCE | REASON, the first three with
    wildcards; a difference is `SUBJECT: RBUILD'S TEXT / PEER'S TEXT`."""

    def __init__(self, path):
        self.lines = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                fields = [field.strip() for field in line.split(" | ", 3)]
                if len(fields) != 4 or not all(fields):
                    sys.exit(f"{path}:{number}: expected CASE | PEER | DIFFERENCE | REASON")
                self.lines.append((number, *fields))
        self.seen = set()

    def reason(self, case, peer, difference):
        """Returns why something differs; none if it should not."""
        found = None
        for number, cases, peers, differences, why in self.lines:
            if all(map(fnmatch.fnmatchcase, (case, peer, difference), (cases, peers, differences))):
                self.seen.add(number)
                found = found or why
        return found

    def stale(self, cases, peers, whole):
        """Returns the lines about what was compared of which nothing was seen; those about several cases only if
        the `whole` corpus was compared."""
        return [line for line in self.lines if line[0] not in self.seen and fnmatch.filter(peers, line[2])
                and (line[1] in cases or whole and fnmatch.filter(cases, line[1]))]


def stage(case, work, at):
    """Copies a case's context to where it is built, all of it with the time `at`; returns it and the arguments."""
    context = work / "contexts" / case
    shutil.copytree(CORPUS / case, context, symlinks=True)
    arguments = context / "args"
    words = arguments.read_text().replace("$CONTEXT", str(context)).splitlines() if arguments.exists() else []
    for name in OWN:
        (context / name).unlink(missing_ok=True)
    for folder, folders, files in os.walk(context):
        os.chmod(folder, 0o755)
        for path in (pathlib.Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    script = CORPUS / case / "prepare.sh"
    if script.exists():
        subprocess.run(["sh", "-eu", script.resolve()], cwd=context, check=True, umask=0o022,
                       env={"PATH": os.environ["PATH"], "CORPUS": str(CORPUS.resolve())})
    for folder, folders, files in os.walk(context, topdown=False):
        for name in [*files, *folders]:
            os.utime(pathlib.Path(folder, name), (at, at), follow_symlinks=False)
    os.utime(context, (at, at))
    return context, words


def built(peer, context, arguments, work, began):
    """Builds and describes; a failed build is a description, too."""
    archive = work / "case.tar"
    archive.unlink(missing_ok=True)
    try:
        peer.build(context, arguments, archive)
    except Failed as error:
        return {"build": {"failed": str(error)}}
    return describe(archive, began)


def differences(ours, theirs):
    """Returns (subject, our text, their text) of all that is not the same in two descriptions."""
    if "build" in ours or "build" in theirs:
        said = [what.get("build", {}).get("failed", "succeeded") for what in (ours, theirs)]
        # Both fail: the messages are each one's own.
        return [] if "build" in ours and "build" in theirs else [("build", *said)]
    found = []
    for section in SECTIONS:
        left, right = ours[section], theirs[section]
        for subject in sorted(left.keys() | right.keys()):
            if left.get(subject) == right.get(subject):
                continue
            # A missing entry is said once, not again by its time.
            if section == "times" and not (subject in left and subject in right):
                continue
            found.append((f"{section} {subject}", left.get(subject, "-"), right.get(subject, "-")))
    return found


def surprise(case, ours):
    """Returns how rbuild did not do what the case says, in the form of differences."""
    fails = CORPUS / case / "fails"
    wanted = f"failed: {fails.read_text().strip()}" if fails.exists() else "succeeded"
    said = f"failed: {ours['build']['failed']}" if "build" in ours else "succeeded"
    as_wanted = wanted == said or fails.exists() and fails.read_text().strip() in said
    return [] if as_wanted else [("outcome", said, wanted)]


class Comparison:
    def __init__(self, expected, verbose):
        self.expected, self.verbose = expected, verbose
        self.unexpected = self.known = self.same = 0

    def tell(self, case, peer, found):
        """Prints what differs and nobody expects."""
        new = []
        for subject, ours, theirs in found:
            reason = self.expected.reason(case, peer, f"{subject}: {ours} / {theirs}")
            if reason is None:
                new.append((subject, ours, theirs))
            elif self.verbose:
                print(f"  {case} {peer}: {subject}: known: {reason}")
        self.same += not found and peer != "the case"
        self.known += len(found) - len(new)
        self.unexpected += len(new)
        for subject, ours, theirs in new:
            print(f"{case}: {subject}\n    rbuild: {ours}\n    {peer}: {theirs}", flush=True)


def compare(cases, peers, work, began, comparison):
    rbuild, *others = peers
    for number, case in enumerate(cases):
        # Peers know a file that they were sent before by its name, size and time.
        context, arguments = stage(case, work, OLD + number)
        ours = built(rbuild, context, arguments, work, began)
        comparison.tell(case, "the case", surprise(case, ours))
        for peer in others:
            comparison.tell(case, peer.name, differences(ours, built(peer, context, arguments, work, began)))


def started(peers, bases):
    """Starts the peers; returns those that can run here, and the names of the others."""
    ready, missing = [], []
    for peer in peers:
        try:
            peer.start(bases)
            ready.append(peer)
        except (Missing, Failed) as error:
            print(f"not compared with {peer.name}: {error}", flush=True)
            missing.append(peer.name)
    return ready, missing


def report(comparison, cases, ready, missing, whole):
    names = [peer.name for peer in ready[1:]]
    stale = comparison.expected.stale(cases, names, whole)
    for number, case, peer, difference, why in stale:
        print(f"no longer differs: {case} | {peer} | {difference} (expected, line {number}: {why})")
    print(f"\n{len(cases)} cases with {', '.join(names) or 'nobody'}: {comparison.same} comparisons without a difference, "
          f"{comparison.known} known differences, {comparison.unexpected} unexpected")
    return bool(comparison.unexpected or stale or missing)


def main():
    words = [word for word in sys.argv[1:] if word != "-v"]
    if not words:
        sys.exit(__doc__)
    known = sorted(path.parent.name for path in CORPUS.glob("*/Dockerfile"))
    cases = words[1:] or known
    for case in set(cases) - set(known):
        sys.exit(f"no such case: {case}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="rbuild-compare-"))
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))
    peers = [Rbuild(work, os.path.realpath(words[0])), Docker(work, BRIDGE), Buildah(work)]
    if os.environ.get("BUILDKITD") and os.environ.get("BUILDCTL"):
        peers.append(Buildkitd(work, os.environ["BUILDKITD"], os.environ["BUILDCTL"]))
    comparison = Comparison(Expected(CORPUS / "expected"), "-v" in sys.argv)
    try:
        began = int(time.time())
        ready, missing = started(peers, compare_bases.make(work))
        if "rbuild" in missing:
            sys.exit(1)
        compare(cases, ready, work, began, comparison)
        failed = report(comparison, cases, ready, missing, cases == known)
    finally:
        for peer in peers:
            peer.stop()
        clean(work)
    sys.exit(failed)


if __name__ == "__main__":
    main()
