"""A dockerd of this run's own: private data, socket, pid file and bridge; nothing of it is left after `stop`."""

import contextlib
import os
import shutil
import subprocess
import time

# Debian's own programs: another docker in front of them may lack the BuildKit client.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class PrivateDockerd:
    def __init__(self, work, bridge):
        self.dir, self.bridge = work / "docker", bridge
        self.dir.mkdir()
        self.daemon = None
        self.why = None
        self.cgroups = cgroups()
        # The classic client has BuildKit built in; newer ones need the buildx plugin.
        self.client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.env = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.dir), "PATH": PATH}
        self.env.pop("DOCKER_HOST", None)

    def command(self, *words):
        """Returns the command line of `docker WORDS` against this daemon; it needs `self.env`."""
        return [self.client, "-H", f"unix://{self.dir}/sock", *words]

    def start(self):
        """Starts it and waits until it answers; `self.why` says why it does not."""
        if os.geteuid() != 0 or not shutil.which("dockerd", path=PATH):
            self.why = "dockerd needs root" if os.geteuid() else "docker.io is not installed"
            return
        link = ["ip", "link", "add", self.bridge, "type", "bridge"]
        bridged = subprocess.run(link, capture_output=True).returncode == 0
        if bridged:
            subprocess.run(["ip", "addr", "add", "172.30.254.1/24", "dev", self.bridge], check=True)
            subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)
        command = ["dockerd", "--data-root", self.dir / "data", "--exec-root", self.dir / "run", "--pidfile",
                   self.dir / "pid", "--host", f"unix://{self.dir}/sock", "--iptables=false", "--ip6tables=false",
                   "--ip-masq=false", "--ip-forward=false", "--bridge", self.bridge if bridged else "none"]
        self.log = open(self.dir / "log", "wb")
        self.daemon = subprocess.Popen(list(map(str, command)), stdout=self.log, stderr=self.log, env=self.env)
        for _ in range(200):
            if subprocess.run(self.command("version"), env=self.env, capture_output=True).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.1)
        last = (self.dir / "log").read_text(errors="replace").strip().splitlines()[-1:]
        self.why = f"dockerd did not start: {' '.join(last)[-160:]}"

    def stop(self):
        end(self.daemon)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        remove_cgroups(self.cgroups)


def end(daemon):
    """Asks a daemon to end, and ends it if it does not."""
    if daemon and daemon.poll() is None:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(30)
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()


CGROUPS = ("docker", "buildkit")


def cgroups():
    """Returns the cgroups that daemons make at the top of each hierarchy, and what is below them, innermost first."""
    with open("/proc/self/mountinfo") as mounts:
        tops = [line.split()[4] for line in mounts if " - cgroup" in line]
    return [folder for top in tops for name in CGROUPS
            for folder, _, _ in os.walk(os.path.join(top, name), topdown=False)]


def remove_cgroups(before):
    """Removes the cgroups that were not there before; one that is in use stays."""
    for folder in cgroups():
        if folder not in before:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def clean(work):
    """Unmounts what was left mounted below `work` and removes it."""
    with open("/proc/self/mountinfo") as mounts:
        below = [line.split()[4] for line in mounts]
    for mount in sorted((m for m in below if m.startswith(str(work))), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True)
    shutil.rmtree(work, ignore_errors=True)
