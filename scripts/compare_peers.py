"""The engines that are compared: each starts, takes the base images, builds a case into an archive, stops."""

import os
import subprocess
import time

from private_dockerd import PrivateDockerd, cgroups, end, remove_cgroups

TIMEOUT = 120  # seconds that one command may take


class Failed(Exception):
    """A build that did not succeed; the text is its last line."""


class Missing(Exception):
    """A peer that cannot run here."""


def environment(work):
    """Returns an environment without what clients hand on to builds, such as the machine's proxies."""
    return {"PATH": os.environ["PATH"], "HOME": str(work), "TMPDIR": str(work), "XDG_RUNTIME_DIR": str(work)}


def call(command, env):
    try:
        done = subprocess.run(list(map(str, command)), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {TIMEOUT} s") from None
    except OSError as error:
        raise Missing(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [""]
        told = [line for line in lines if "rror" in line]
        raise Failed((told or lines)[-1][:300])


class Rbuild:
    name = "rbuild"

    def __init__(self, work, program):
        self.command = [program, "--root", work / "store"]
        self.env = environment(work)

    def start(self, bases):
        for archive, _, _ in bases.values():
            call([*self.command, "load", "-i", archive], self.env)

    def build(self, context, arguments, archive):
        call([*self.command, "build", "--network=none", "--progress=plain", "-t", "case", *arguments, "-o", f"type=docker,dest={archive}",
              context], self.env)

    def stop(self):
        pass


class Docker(PrivateDockerd):
    name = "docker"

    def __init__(self, work, bridge):
        super().__init__(work, bridge)
        self.env = {**environment(work), **{key: self.env[key] for key in ("PATH", "DOCKER_BUILDKIT", "DOCKER_CONFIG")}}

    def start(self, bases):
        super().start()
        if self.why:
            raise Missing(self.why)
        for archive, _, _ in bases.values():
            call(self.command("load", "-i", archive), self.env)

    def build(self, context, arguments, archive):
        call(self.command("build", "--network=none", "--progress=plain", "-t", "case", *arguments, context), self.env)
        call(self.command("save", "-o", archive, "case"), self.env)


class Buildah:
    name = "buildah"

    def __init__(self, work):
        storage = ["--root", work / "buildah/root", "--runroot", work / "buildah/run", "--storage-driver", "overlay"]
        self.command = ["buildah", *storage]
        self.env = environment(work)
        self.runtime = []

    def start(self, bases):
        for archive, _, _ in bases.values():
            call([*self.command, "pull", "-q", f"docker-archive:{archive}"], self.env)
        # crun refuses hybrid cgroups, runc does not.
        if subprocess.run(["stat", "-fc", "%T", "/sys/fs/cgroup"], capture_output=True, text=True).stdout.strip() != "cgroup2fs":
            self.runtime = ["--runtime=runc"]

    def build(self, context, arguments, archive):
        call([*self.command, "bud", *self.runtime, "--layers", "--format=docker", "--network=none", "-t", "case", *arguments, context],
             self.env)
        call([*self.command, "push", "-q", "case", f"docker-archive:{archive}:case:latest"], self.env)

    def stop(self):
        subprocess.run([*self.command, "rmi", "--all", "--force"], capture_output=True, env=self.env)


class Buildkitd:
    """A buildkitd of the user's own: BUILDKITD and BUILDCTL name the programs."""

    name = "buildkitd"

    def __init__(self, work, daemon, client):
        self.dir = work / "buildkitd"
        self.dir.mkdir()
        self.address = f"unix://{self.dir}/sock"
        self.daemon_program, self.client = daemon, [client, "--addr", self.address]
        self.daemon = None
        self.cgroups = cgroups()
        self.env = environment(work)

    def start(self, bases):
        self.bases = bases
        log = open(self.dir / "log", "wb")
        command = [self.daemon_program, "--root", self.dir / "root", "--addr", self.address, "--oci-worker=true",
                   "--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-binary=runc"]
        try:
            self.daemon = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=self.env)
        except OSError as error:
            raise Missing(f"{self.daemon_program}: {error.strerror}") from None
        for _ in range(200):
            if subprocess.run([*self.client, "debug", "workers"], capture_output=True, env=self.env).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.1)
        last = (self.dir / "log").read_text(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"buildkitd did not start: {' '.join(last)[-300:]}")

    def build(self, context, arguments, archive):
        command = [*self.client, "build", "--progress=plain", "--frontend=dockerfile.v0", "--local", f"context={context}",
                   "--local", f"dockerfile={context}", "--opt", "force-network-mode=none",
                   "--output", f"type=docker,name=case,dest={archive}"]
        for name, (_, layout, digest) in self.bases.items():
            command += ["--oci-layout", f"{name}={layout}", "--opt", f"context:{name}=oci-layout://{name}@{digest}"]
        call(command + options(arguments, context), self.env)

    def stop(self):
        end(self.daemon)
        remove_cgroups(self.cgroups)


def options(arguments, context):
    """Says `docker build`'s arguments in buildctl's words."""
    said = []
    for argument in arguments:
        flag, _, value = argument.partition("=")
        if flag == "--secret":
            said += ["--secret", value]
        elif flag == "--build-context":
            name, _, folder = value.partition("=")
            said += ["--local", f"{name}={folder}", "--opt", f"context:{name}=local:{name}"]
        else:
            key = {"--build-arg": "build-arg:", "--label": "label:", "--target": "target=", "--file": "filename=",
                   "--add-host": "add-hosts="}[flag]
            said += ["--opt", f"{key}{value}"]
    return said
