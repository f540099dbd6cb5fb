#!/usr/bin/env python3
"""Times rbuild beside its peers in the same run and prints one Markdown table.

usage: bench.py RBUILD [ROW...]        rows: cached step run copy pull door parse size (default: all)

Every number is a median of a few runs on this machine; trust the ratios. A peer that is not
installed, or that fails, is a line that says so. Everything lives in one temporary directory; the
private dockerd, its bridge and its mounts are gone at the end, however the end comes.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

from private_dockerd import PrivateDockerd, clean

TIMEOUT = 90  # seconds that one command of a row may take
BRIDGE = "rbbench0"
BASE_DOCKERFILE = """FROM scratch AS install
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM scratch
COPY --from=install /bin /bin
CMD ["sh"]
"""


class Failed(Exception):
    """A command that did not do what the row needs."""


def run(command, timeout=TIMEOUT, env=None, stdin=None):
    """Runs a command; returns (seconds, peak resident bytes of the largest process)."""
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        try:
            child = subprocess.Popen(
                list(map(str, command)), stdin=stdin or subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=env, start_new_session=True)
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from None
        def expire(*_):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        _, status, usage = os.wait4(child.pid, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or [""]
            late = f"not done after {timeout} s: " if child.returncode == -9 else ""
            raise Failed(f"{late}exit code {child.returncode}: {lines[-1][:160]}")
        return seconds, usage.ru_maxrss * 1024


def median(command, times, before=None, **kwargs):
    """Runs `command` (a list, or a function from the run's number to a list) several times."""
    seconds, peak = [], 0
    for number in range(times):
        if before:
            before(number)
        took, memory = run(command(number) if callable(command) else command, **kwargs)
        seconds.append(took)
        peak = max(peak, memory)
    return statistics.median(seconds), peak


def shown(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


class Table:
    """Rows as they come: printed at once, so that an interrupted bench is not lost."""

    def __init__(self):
        self.missed = 0
        self.peaks = {}
        print("| what | rbuild | peer | peer's | ratio | target | |\n|---|---|---|---|---|---|---|", flush=True)

    def line(self, what, ours, peer="", theirs="", ratio="", target="", verdict=""):
        self.missed += verdict == "MISS"
        print(f"| {what} | {ours} | {peer} | {theirs} | {ratio} | {target} | {verdict} |", flush=True)

    def row(self, what, ours, peers):
        """`ours`: a function giving (seconds, peak); `peers`: (name, function, limit of ours/theirs or None)."""
        try:
            seconds, peak = ours()
            self.peaks[what] = peak
            left = shown(seconds)
        except Failed as error:
            seconds, left = None, f"failed: {error}"
        for name, measure, limit in peers:
            target = "" if limit is None else f"<= {limit:.3g}"
            try:
                theirs = measure()[0]
            except Failed as error:
                self.line(what, left, name, f"not measured: {error}", "", target, "?" if limit else "")
                continue
            if seconds is None:
                self.line(what, left, name, shown(theirs), "", target, "MISS" if limit else "")
                continue
            ratio = seconds / theirs
            verdict = "" if limit is None else "pass" if ratio <= limit else "MISS"
            self.line(what, left, name, shown(theirs), f"{ratio:.3f} (1/{1 / ratio:.1f})", target, verdict)


class Docker(PrivateDockerd):
    """The private dockerd as a peer that is measured."""

    def __call__(self, *words, times=1, before=None):
        """Returns a function that measures `docker WORDS`; a word may be a function of the run's number."""
        def measure():
            if self.why:
                raise Failed(self.why)
            def command(number):
                return self.command(*(word(number) if callable(word) else word for word in words))
            return median(command, times, before, env=self.env)
        return measure


class Bench:
    def __init__(self, rbuild, work, table):
        self.rbuild, self.work, self.table = rbuild, work, table
        self.root = work / "store"
        self.docker = Docker(work, BRIDGE)
        home = work / "home"
        home.mkdir()
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(work),
                    "XDG_RUNTIME_DIR": str(home)}
        storage = ["--root", work / "peer/root", "--runroot", work / "peer/run", "--storage-driver", "overlay"]
        self.buildah = ["buildah", *storage]
        self.podman = ["podman", *storage, "--cgroup-manager", "cgroupfs", "--tmpdir", work / "peer/tmp"]
        base = self.folder("base", {"Dockerfile": BASE_DOCKERFILE})
        shutil.copy("/bin/busybox", base / "busybox")
        self.base = base

    def folder(self, name, files):
        path = self.work / name
        path.mkdir(exist_ok=True)
        for file, text in files.items():
            (path / file).write_text(text)
        return path

    def ours(self, *words, times, before=None):
        def measure():
            def command(number):
                return [self.rbuild, "--root", self.root] + [
                    word(number) if callable(word) else word for word in words]
            return median(command, times, before, env=self.env)
        return measure

    def peer(self, program, *words, times=1, before=None):
        def measure():
            if not shutil.which(program[0]):
                raise Failed(f"{program[0]} is not installed")
            def command(number):
                return [*program] + [word(number) if callable(word) else word for word in words]
            return median(command, times, before, env={**os.environ, "HOME": self.env["HOME"]})
        return measure

    def prepare(self):
        """Puts the busybox image into each store; a failure shows again in the rows."""
        self.docker.start()
        for build in (self.ours("build", "-q", "-t", "busybox", self.base, times=1),
                      self.docker("build", "-q", "-t", "busybox", self.base)):
            try:
                build()
            except Failed as error:
                print(f"base image: {error}", file=sys.stderr)
        # crun refuses hybrid cgroups, runc does not; hard limits above the caller's cannot be set.
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limits = [f"--ulimit=nofile={open_files}:{open_files}", "--ulimit=nproc=1024:1024"]
        self.bud = self.first_working(self.buildah, [
            ["bud", *runtime, "--layers", "--network=host", "-q"] for runtime in ([], ["--runtime=runc"])],
            ["-t", "localhost/busybox", self.base])
        variants = [["--runtime=runc"] * runc + ["run", "--rm", "--network=none", *limits[:count]] for runc in (0, 1) for count in (0, 2)]
        self.podman_run = self.first_working(self.podman, variants, ["localhost/busybox", "true"])

    def first_working(self, program, variants, arguments):
        """Returns the first way to call a peer that works on this machine; the last if none does."""
        for variant in variants:
            with contextlib.suppress(Failed):
                self.peer(program, *variant, *arguments)()
                break
        return variant

    def cached(self):
        steps = "".join(f"RUN echo {n} > /step{n}\n" for n in range(4))
        text = ("FROM busybox\nENV A=1\nWORKDIR /app\nCOPY a.txt .\n" + steps + "COPY b.txt /b/\nRUN cat /b/b.txt\n")
        context = self.folder("cached", {"Dockerfile": text, "a.txt": "a\n", "b.txt": "b\n"})
        ours = self.ours("build", "-q", "-t", "cached", context, times=10)
        docker = self.docker("build", "-q", "-t", "cached", context, times=5)
        local = self.folder("cached-local", {"Dockerfile": text.replace("FROM busybox", "FROM localhost/busybox"),
                                             "a.txt": "a\n", "b.txt": "b\n"})
        buildah = self.peer(self.buildah, *self.bud, "-t", "cached", local, times=3)
        for first in (ours, docker, buildah):
            with contextlib.suppress(Failed):
                first()
        self.table.row("cached rebuild, 10 steps", ours, [("docker build", docker, 1 / 8), ("buildah", buildah, None)])

    def step(self):
        def per_step(builds):
            """From the build of 40 RUN steps take the build of none of them; all of it uncached."""
            def measure():
                without, _ = builds[0]()
                with_steps, peak = builds[1]()
                return max(with_steps - without, 1e-4) / 40, peak
            return measure
        dirs = {}
        for base, tag in (("busybox", ""), ("localhost/busybox", "-local")):
            for count in (0, 40):
                text = f"FROM {base}\nARG NONCE\n" + "RUN true\n" * (count + 1)
                dirs[count, tag] = self.folder(f"step{count}{tag}", {"Dockerfile": text})
        nonce = lambda number: f"NONCE={os.getpid()}-{number}-{time.monotonic_ns()}"
        build = ["build", "-q", "--build-arg", nonce]
        ours = per_step([self.ours(*build, dirs[count, ""], times=3) for count in (0, 40)])
        docker = per_step([self.docker(*build, dirs[count, ""], times=2 - count // 40) for count in (0, 40)])
        buildah = per_step([self.peer(self.buildah, *self.bud, "--build-arg", nonce, dirs[count, "-local"])
                            for count in (0, 40)])
        peers = [("docker build", docker, 1 / 12), ("buildah", buildah, None), ("unshare chroot", self.unshare, 1.5)]
        self.table.row("a RUN true step (of 40)", ours, peers)

    def unshare(self):
        if os.geteuid() != 0:
            raise Failed("needs root")
        root = self.work / "root"
        (root / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", root / "bin/true")
        loop = f"i=0; while [ $i -lt 40 ]; do unshare -mpiunf chroot {root} /bin/true || exit 1; i=$((i+1)); done"
        seconds, peak = median(["sh", "-c", loop], 3)
        return seconds / 40, peak

    def run(self):
        def default():
            return self.ours("run", "--rm", "busybox", "true", times=10)
        docker = self.docker("run", "--rm", "busybox", "true", times=5)
        podman = self.peer(self.podman, *self.podman_run, "localhost/busybox", "true", times=3)
        self.table.row("run --rm IMAGE true", default(), [("docker run", docker, 1 / 12), ("podman run --network=none", podman, None),
                                                          ("crun run, ready bundle", self.crun, 1)])
        none = self.ours("run", "--rm", "--network=none", "busybox", "true", times=10)
        self.table.row("the same, --network=none", none, [("crun run, ready bundle", self.crun, None)])

    def crun(self):
        if os.geteuid() != 0 or not shutil.which("crun"):
            raise Failed("needs root and crun")
        bundle = self.work / "bundle"
        (bundle / "rootfs/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", bundle / "rootfs/bin/true")
        if not (bundle / "config.json").exists():
            subprocess.run(["crun", "spec"], cwd=bundle, check=True)
            config = json.loads((bundle / "config.json").read_text())
            config["process"].update(terminal=False, args=["true"])
            (bundle / "config.json").write_text(json.dumps(config))
        loop = (f"for i in 0 1 2 3 4 5 6 7 8 9; do crun --root {self.work}/crun --cgroup-manager=cgroupfs run --bundle {bundle}"
                f" rbbench{os.getpid()}-$i || exit 1; done")
        try:
            seconds, peak = median(["sh", "-c", loop], 3)
        except Failed:
            # It refuses hybrid cgroups: hide the unified tree from it.
            hidden = "umount /sys/fs/cgroup/unified && " + loop
            seconds, peak = median(["unshare", "-m", "sh", "-c", hidden], 3)
        return seconds / 10, peak

    def copy(self):
        context = self.work / "many"
        made = random.Random(1)
        for directory in range(1000):
            path = context / f"src/{directory % 25}/{directory}"
            path.mkdir(parents=True)
            for file in range(20):
                (path / f"f{file}").write_bytes(made.randbytes(10_000))
        (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
        changed = lambda number: (context / "src/7/7/f3").write_text(f"{number} {time.monotonic_ns()}")
        build = ["build", "-q", "-t", "many", context]
        def fresh(number):
            shutil.rmtree(self.work / "fresh", ignore_errors=True)
        def uncached():
            command = [self.rbuild, "--root", self.work / "fresh", *build]
            return median(command, 2, fresh, env=self.env)
        bud = [*self.bud, "-t", "many", context]
        rows = [("uncached", dict(before=None), 1, 1 / 4), ("unchanged", dict(before=None), 3, 1 / 8),
                ("one file changed", dict(before=changed), 1, None)]
        os.sync()
        with contextlib.suppress(Failed):
            self.ours(*build, times=1)()
        for name, how, times, limit in rows:
            ours = uncached if name == "uncached" else self.ours(*build, times=3, **how)
            self.table.row(f"COPY of 20,000 files, {name}", ours, [
                ("docker build", self.docker(*build, times=times, **how), limit),
                ("buildah", self.peer(self.buildah, *bud, times=1, **how), None)])

    def pull(self):
        what = "pull of 500 MB (loopback registry)"
        if not shutil.which("docker-registry") or not shutil.which("skopeo"):
            self.table.line(what, "not measured", "skopeo", "docker-registry or skopeo is not installed")
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = self.work / "registry.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.work}/registry}}}}\n"
                          f"http: {{addr: '127.0.0.1:{port}'}}\n")
        log = open(self.work / "registry.log", "wb")
        registry = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            name = f"127.0.0.1:{port}/big:1"
            # In a process of its own: a large parent would hide the peak memory of the measured children.
            maker = os.fork()
            if maker == 0:
                with contextlib.suppress(Exception):
                    self.layout()
                os._exit(0)
            os.waitpid(maker, 0)
            run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{self.work}/layout:1", f"docker://{name}"])
            def fresh(number):
                shutil.rmtree(self.work / "pulled", ignore_errors=True)
            pulled = self.work / "pulled"
            ours = lambda: median([self.rbuild, "--root", pulled, "pull", "-q", name], 3, fresh, env=self.env)
            skopeo = self.peer(["skopeo"], "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{pulled}", times=3,
                               before=fresh)
            self.table.row(what, ours, [("skopeo copy to dir:", skopeo, 1)])
        except Failed as error:
            self.table.line(what, "not measured", "skopeo", str(error))
        finally:
            registry.terminate()
            registry.wait()

    def layout(self):
        """Writes an OCI layout of five layers of 100 MB that do not compress."""
        layout = self.work / "layout"
        blobs = layout / "blobs/sha256"
        blobs.mkdir(parents=True)
        def put(data, kind):
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}
        layers, diffs = [], []
        for number in range(5):
            tar = io.BytesIO()
            with tarfile.open(fileobj=tar, mode="w") as archive:
                for part in range(10):
                    entry = tarfile.TarInfo(f"layer{number}/{part}")
                    entry.size = 10_000_000
                    archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
            diffs.append("sha256:" + hashlib.sha256(tar.getvalue()).hexdigest())
            layers.append(put(gzip.compress(tar.getvalue(), 1, mtime=0), "layer.v1.tar+gzip"))
        image = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                 "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
        config = put(json.dumps(image).encode(), "config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
        top = put(json.dumps(manifest).encode(), "manifest.v1+json")
        top["annotations"] = {"org.opencontainers.image.ref.name": "1"}
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))

    def cargo(self, *words):
        command = ["cargo", words[0], "--locked", "-q", *words[1:]]
        if "SUDO_UID" in os.environ:
            # What cargo writes belongs to the person, not to root.
            command = ["sudo", "-n", "-H", "-u", f"#{os.environ['SUDO_UID']}", "--preserve-env=PATH", *command]
        root = pathlib.Path(__file__).resolve().parent.parent
        return subprocess.run(command, cwd=root, capture_output=True, text=True)

    def client(self):
        """Returns the program that builds with a daemon as BuildKit's clients do."""
        try:
            made = self.cargo("build", "--release", "-p", "rbuild-tests", "--example", "door", "--message-format=json")
        except OSError as error:
            raise Failed(f"cargo: {error.strerror}") from None
        if made.returncode:
            raise Failed(f"cargo: {made.stderr.strip().splitlines()[-1][:160]}")
        messages = map(json.loads, made.stdout.splitlines())
        return [message["executable"] for message in messages if message.get("executable")][-1]

    @contextlib.contextmanager
    def daemon(self, root):
        """Gives the socket and the pid of a daemon on a store."""
        address = self.work / "door.sock"
        with open(self.work / "door.log", "wb") as log:
            command = [self.rbuild, "--root", root, "serve", "--addr", f"unix://{address}"]
            daemon = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=self.env)
        try:
            for _ in range(100):
                if address.exists() or daemon.poll() is not None:
                    break
                time.sleep(0.05)
            yield address, daemon.pid
        finally:
            daemon.terminate()
            daemon.wait()

    def door(self):
        """The daemon: what it costs over the command line, and what it takes from clients."""
        try:
            client = self.client()
        except Failed as error:
            self.table.line("builds through the daemon", f"failed: {error}", verdict="MISS")
            return
        steps = "".join(f"RUN echo {n} > /step{n}\n" for n in range(6))
        text = "FROM busybox\nENV A=1\nWORKDIR /app\nCOPY a.txt .\n" + steps
        context = self.folder("door", {"Dockerfile": text, "a.txt": "a\n"})
        with self.daemon(self.root) as (address, pid):
            through = lambda *words, times=1: median([client, address, context, *words], times)
            try:
                self.overhead(through, context)
                self.growth(through, pid)
            except Failed as error:
                self.table.line("builds through the daemon", f"failed: {error}", verdict="MISS")
        self.transfer(client)

    def overhead(self, through, context):
        through()
        door, _ = through(times=20)
        alone, _ = self.ours("build", "-q", "-o", "type=cacheonly", context, times=20)()
        over = door - alone
        self.table.line("cached build, daemon over command line", shown(door), "rbuild build", shown(alone),
                        f"{over * 1000:+.1f} ms", "<= +15 ms", "pass" if over <= 0.015 else "MISS")

    def growth(self, through, pid):
        def resident():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024
        seconds, _ = through("16", "2")
        self.table.line("16 clients at once, 2 cached builds each", shown(seconds), target="no error", verdict="pass")
        # The first builds fill what is kept for the next ones.
        through("1", "50")
        first = resident()
        through("1", "150")
        last = resident()
        self.table.line("resident memory of the daemon after 50, 200 builds", f"{first / 2**20:.1f}, {last / 2**20:.1f} MiB",
                        ratio=f"{last / first:.3f}", target="<= 1.1", verdict="pass" if last <= 1.1 * first else "MISS")

    def transfer(self, client):
        """20,000 files to a daemon that has none of them, for a step that sees them all."""
        context = self.work / "sent"
        made = random.Random(2)
        for directory in range(1000):
            path = context / f"src/{directory % 25}/{directory}"
            path.mkdir(parents=True)
            for file in range(20):
                (path / f"f{file}").write_bytes(made.randbytes(10_000))
        (context / "Dockerfile").write_text("FROM busybox\nRUN --mount=target=/context true\n")
        os.sync()
        def ours():
            root = self.work / "sent-to"
            shutil.rmtree(root, ignore_errors=True)
            run([self.rbuild, "--root", root, "build", "-q", "-t", "busybox", self.base], env=self.env)
            with self.daemon(root) as (address, _):
                return run([client, address, context])
        def forgotten(_):
            run(self.docker.command("builder", "prune", "-af"), env=self.docker.env)
        docker = self.docker("build", "-q", context, before=forgotten)
        self.table.row("20,000 files (200 MB) to the daemon", lambda: min(ours() for _ in range(2)),
                       [("docker build", docker, 1 / 2)])

    def parse(self):
        """Reading and lowering, as a bench of the room that does it."""
        targets = {"1000-lines-60-stages": ("Dockerfile of 1,000 lines, 60 stages, to a graph", 5),
                   "1-MiB": ("Dockerfile of 1 MiB to a graph", 100)}
        try:
            bench = self.cargo("bench", "-p", "rbuild-lower", "--bench", "lower")
            why = bench.stderr.strip().splitlines()[-1:] if bench.returncode else []
        except OSError as error:
            bench, why = None, [f"cargo: {error.strerror}"]
        measured = dict(line.split() for line in bench.stdout.splitlines() if line) if bench and not why else {}
        for name, (what, limit) in targets.items():
            if name not in measured:
                self.table.line(what, f"failed: {' '.join(why)}", target=f"<= {limit} ms", verdict="MISS")
                continue
            milliseconds = float(measured[name])
            self.table.line(what, f"{milliseconds:.1f} ms", target=f"<= {limit} ms",
                            verdict="pass" if milliseconds <= limit else "MISS")

    def size(self):
        # A child begins with the peak of its parent, so nothing below this program's own can be seen.
        floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for what, peak in self.table.peaks.items():
            least = "under " if peak <= floor * 1.02 else ""
            self.table.line(f"peak memory: {what}", f"{least}{peak / 2**20:.1f} MiB", target="<= 100 MiB",
                            verdict="pass" if peak <= 100 * 2**20 else "MISS")
        size = os.path.getsize(self.rbuild)
        linked = subprocess.run(["readelf", "-lW", self.rbuild], capture_output=True, text=True)
        kind = "" if linked.returncode else ", static" if "INTERP" not in linked.stdout else ", dynamic"
        self.table.line("size of the binary", f"{size / 1e6:.1f} MB{kind}", target="<= 25 MB",
                        verdict="pass" if size <= 25e6 else "MISS")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rbuild = os.path.realpath(sys.argv[1])
    rows = sys.argv[2:] or ["cached", "step", "run", "copy", "pull", "door", "parse", "size"]
    work = pathlib.Path(tempfile.mkdtemp(prefix="rbuild-bench-"))
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))
    bench = None
    try:
        table = Table()
        bench = Bench(rbuild, work, table)
        bench.prepare()
        for row in rows:
            getattr(bench, row)()
    finally:
        if bench:
            bench.docker.stop()
        clean(work)
    print(f"\n{table.missed} targets missed" if table.missed else "\nall measured targets met")


if __name__ == "__main__":
    main()
