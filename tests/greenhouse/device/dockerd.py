"""A Docker engine that nobody else uses, so a test may stop it, kill it and start it late."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

IMAGE = "scripts-test:1"

# In place of the image: it says that it answers, crashes at SIGUSR1, and takes all memory at
# SIGUSR2.
PROGRAM = """#!/bin/sh
trap 'echo stopped; exit 0' TERM
trap 'exit 3' USR1
trap 'a=x; while :; do a=$a$a; done' USR2
echo answers
while :; do sleep 1000 & wait $!; done
"""


class Dockerd:
    """An engine with its own folders, sockets and network.

    `--bridge none` leaves out the machine's docker0, which belongs to another engine.
    """

    def __init__(self, folder: Path, path: str) -> None:
        self._folder, self._path = folder, path
        self.host = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self._folder / "pid").unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # Otherwise a killed test leaves it running.
                    *("setpriv", "--pdeathsig", "TERM"),
                    *("unshare", "--net"),
                    *("dockerd", "--host", self.host, "--pidfile", f"{self._folder}/pid"),
                    *("--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/exec"),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                    *("--containerd-namespace", "scripts-test"),  # If containerd is the machine's.
                    *("--containerd-plugins-namespace", "scripts-test-plugins"),
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": self._path},
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while self.docker("version", ok=False).returncode:
            said = (self._folder / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def end(self) -> None:
        """In good order: containers first."""
        assert self._process
        self._process.terminate()
        self._process.wait(timeout=60)

    def kill(self) -> None:
        """Kill it with its containerd. The next engine would otherwise use the dying containerd."""
        assert self._process
        file = self._folder / "exec" / "containerd" / "containerd.pid"
        its_own = psutil.Process(int(file.read_text())) if file.exists() else None
        self._process.kill()
        self._process.wait(timeout=60)
        if its_own:
            with suppress(psutil.NoSuchProcess):
                its_own.kill()
                its_own.wait(timeout=60)
            file.unlink(missing_ok=True)

    def lose_power(self) -> None:
        """Remove engine, shims, containers and their mounts."""
        shims = self._shims()
        inside = [child for shim in shims for child in shim.children(recursive=True)]
        self.kill()
        for process in (*shims, *inside):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(timeout=60)
        self._unmount()

    def shim_of(self, container: str) -> psutil.Process:
        """The process between the engine and a container, which does what the engine asks."""
        pid = self.docker("inspect", "--format", "{{.State.Pid}}", container).stdout
        shim = psutil.Process(int(pid)).parent()
        assert shim
        return shim

    def containers(self) -> list[str]:
        """The running containers, by name."""
        return self.docker("ps", "--format", "{{.Names}}").stdout.split()

    def docker(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words],
            env=os.environ | {"DOCKER_HOST": self.host},
            capture_output=True,
            text=True,
            check=ok,
        )

    def build(self, root: Path) -> None:
        """An image of a shell, its libraries and PROGRAM, under the names that recipes start."""
        for program in ("sh", "sleep"):
            found = Path(str(shutil.which(program))).resolve()
            self._put(found, root / "bin" / program)
            linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=True)
            for word in linked.stdout.split():
                if word.startswith("/"):
                    self._put(Path(word).resolve(), root / word.lstrip("/"))
        for name in ("serve", "usr/bin/python3"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(PROGRAM)
            (root / name).chmod(0o755)
        subprocess.run(["tar", "-C", root, "-cf", f"{root}.tar", "."], check=True)
        self.docker("import", "--change", 'ENTRYPOINT ["/serve"]', f"{root}.tar", IMAGE)

    def close(self) -> None:
        for left in self.docker("ps", "-aq", ok=False).stdout.split():
            self.docker("rm", "-f", left, ok=False)
        self.end()
        self._unmount()
        shutil.rmtree(self._folder)

    def _shims(self) -> list[psutil.Process]:
        address = f"{self._folder}/exec"
        return [
            one
            for one in psutil.process_iter(["cmdline"])
            if (line := one.info["cmdline"] or [""])[0].endswith("containerd-shim-runc-v2")
            and any(word.startswith(address) for word in line)
        ]

    def _unmount(self) -> None:
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (there := line.split()[1]).startswith(f"{self._folder}/"):  # A kill leaves them.
                subprocess.run(["umount", "--lazy", there], check=True)

    def _put(self, file: Path, there: Path) -> None:
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, there)
