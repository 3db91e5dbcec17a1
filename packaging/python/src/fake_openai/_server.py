"""The process of the server."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from typing import Any, Mapping, Optional

from ._admin import Admin, FakeOpenAIError
from ._scope import Scope

# Starts the server, and stops it when standard input ends: when the parent closes it, or is gone.
_SUPERVISOR = """
"$@" </dev/null & server=$!
exec >/dev/null 2>&1
read -r _
kill "$server"
wait "$server"
"""

# Settings of a server for tests. Flags win over them.
_FOR_TESTS = {
    # The port of the caller's environment is that of another server.
    "FAKE_OPENAI_PORT": "0",
    "FAKE_OPENAI_HOST": "127.0.0.1",
    # A test that has ended waits for no response.
    "FAKE_OPENAI_DRAIN": "0s",
}
# Prompts of agents are longer than the journal keeps by default. The caller's environment wins over these.
_DEFAULTS = {
    "FAKE_OPENAI_JOURNAL_BODY": "1MiB",
    "FAKE_OPENAI_JOURNAL_MEMORY": "256MiB",
}


def binary() -> str:
    """The path of the program that this package has installed, or else of the one in ``PATH``."""
    name = "fake-openai.exe" if os.name == "nt" else "fake-openai"
    user_scheme = {"posix": "posix_user", "nt": "nt_user"}.get(os.name, "posix_user")
    if sys.platform == "darwin" and sysconfig.get_config_var("PYTHONFRAMEWORK"):
        user_scheme = "osx_framework_user"
    package = os.path.dirname(os.path.abspath(__file__))
    folders = [
        sysconfig.get_path("scripts"),
        # `pip install --target` and `--prefix`.
        os.path.join(os.path.dirname(package), "bin"),
        os.path.join(os.path.dirname(package), *[os.pardir] * 3, "bin"),
        sysconfig.get_path("scripts", scheme=user_scheme),
    ]
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return os.path.normpath(path)
    found = shutil.which(name)
    if found is None:
        raise FakeOpenAIError(f"{name}: not found in {', '.join(folders)} nor in PATH; install the package again")
    return found


class FakeOpenAI(Scope):
    """A server of its own, on a free port of this machine.

    ``args`` are flags of ``fake-openai``: ``FakeOpenAI("--rpm", "100")``. Leave it with ``stop()``, or use it as a
    context manager. It also stops when this process ends, however it ends.

    Its methods concern all scopes, except that ``reply``, ``fault`` and ``strict`` concern the default one.
    ``scope(name)`` is a space of its own.
    """

    def __init__(self, *args: str, env: Optional[Mapping[str, str]] = None) -> None:
        environment = {**_DEFAULTS, **os.environ, **_FOR_TESTS, **(env or {})}
        environment.pop("FAKE_OPENAI_PORT_FILE", None)
        self.args = args
        self._log = tempfile.TemporaryFile()
        self._process = _spawn([binary(), *args], environment, self._log)
        assert self._process.stdout is not None
        url = self._process.stdout.readline().decode().strip()
        if not url:
            self.stop()
            command = shlex.join(["fake-openai", *args])
            raise FakeOpenAIError(f"`{command}` did not start:\n{self.log().strip() or 'it printed nothing'}")
        super().__init__(Admin(url, _token(args, environment)), None)
        # Where no supervisor watches the process, as on Windows.
        reference = weakref.ref(self)
        atexit.register(lambda: (server := reference()) and server.stop())

    @classmethod
    def at(cls, url: str, admin_token: Optional[str] = None) -> Scope:
        """A server that runs already, for example in a container. Its admin API needs a token from other machines."""
        return Scope(Admin(url, admin_token), None)

    def log(self) -> str:
        """What the server has written to standard error."""
        # Read by position: the server writes through the same open file.
        size = os.fstat(self._log.fileno()).st_size
        if hasattr(os, "pread"):
            return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def stop(self) -> None:
        """Stops the server. A second call has no effect."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        else:
            process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> FakeOpenAI:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<FakeOpenAI {shlex.join(self.args)}>"


def _spawn(command: list[str], environment: Mapping[str, str], log: Any) -> subprocess.Popen[bytes]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": log, "env": environment}
    if os.name != "posix":
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, **streams)
    # A session of its own: Ctrl-C is for the tests, whose end then stops the server.
    supervised = ["/bin/sh", "-c", _SUPERVISOR, "sh", *command]
    return subprocess.Popen(supervised, stdin=subprocess.PIPE, start_new_session=True, **streams)


def _token(args: tuple[str, ...], environment: Mapping[str, str]) -> Optional[str]:
    """The token of the admin API, which a flag or the environment sets."""
    for index, arg in enumerate(args):
        if arg.startswith("--admin-token="):
            return arg.partition("=")[2]
        if arg == "--admin-token" and index + 1 < len(args):
            return args[index + 1]
    return environment.get("FAKE_OPENAI_ADMIN_TOKEN")
