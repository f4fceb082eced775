"""SGLang as a child: started, watched until it answers, ended with its parent.

The child gets a process group of its own, so that Ctrl-C reaches only the parent, which then ends the whole group: first
SIGTERM, then SIGKILL after a time of grace. Should the parent be killed itself, the kernel kills the child, and a guard, which
waits for nothing else, the rest of the group: SGLang's own processes ask to die with their parent only once they have loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

from rsagent.errors import EngineError, SettingsError
from rsagent.serving.sglang.http import is_healthy

_KEPT = 40  # lines of the server's output that are remembered
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_GUARD = """
import contextlib, os, signal, sys
sys.stdin.buffer.read()  # ends with the process that holds the other end
with contextlib.suppress(ProcessLookupError):
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""
_STEPS = (
    ("server_args=", "reading the arguments"),
    ("Init torch distributed begin", "starting the workers"),
    ("Load weight begin", "loading the LLM"),
    ("Load weight end", "the LLM is loaded"),
    ("Using triton as backend of LoRA", "loading the adapters"),
    ("LoRA manager ready", "the adapters are loaded"),
    ("KV Cache is allocated", "the cache is allocated"),
    ("Capture cuda graph begin", "capturing CUDA graphs"),
    ("Uvicorn running", "the HTTP server is up"),
)
"""A piece of a line of SGLang's output -> what it means for people."""
_FATAL = (
    "Ignore import error when loading rsagent_sglang",  # it would go on without the plugin, and fail later of something else
    "SIGQUIT received",  # a part of it has died; it would wait a minute for diagnostics, and answer nobody meanwhile
)


class Server:
    """A running SGLang server. Use it in a `with` block, or call `stop`."""

    def __init__(self, line: Sequence[str], variables: dict[str, str], log: Path, *, verbose: bool = False) -> None:
        """Start the command `line` with `variables` added to the environment; what it prints goes to `log`.

        Raises:
            EngineError: it cannot be started, or the log cannot be written.
        """
        self.log = log
        self.step = "starting Python"
        self.last: deque[str] = deque(maxlen=_KEPT)
        self._verbose = verbose
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._written = log.open("wb", buffering=0)  # what a full disk refuses is not kept to be refused again
            started: Future[subprocess.Popen[bytes]] = Future()
            arguments = (line, {**os.environ, **variables}, started)
            self._reader = threading.Thread(target=self._run, args=arguments, name="rsagent-sglang-log", daemon=True)
            self._reader.start()
            self._process = started.result()
            self._guard = _guard(self._process)
        except OSError as error:
            raise EngineError(f"SGLang cannot be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process id of the server's front process, which is also its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the front process, which ends when any other of the server's does, still runs."""
        return self._process.poll() is None

    def wait_ready(self, url: str, timeout_s: float, tell: Callable[[str], None]) -> None:
        """Wait until the server answers, telling each new step.

        Raises:
            EngineError: it ended, or did not answer in time.
        """
        ends, told = time.monotonic() + timeout_s, ""
        while not is_healthy(url):
            if (code := self._process.poll()) is not None:
                self._reader.join(5)
                raise EngineError(f"SGLang ended with code {code} before it was ready: {self.reason()} (all of it: {self.log})")
            if time.monotonic() > ends:
                raise EngineError(f"SGLang is not ready after {timeout_s:g} s, at: {self.step} (its output: {self.log})")
            if self.step != told:
                told = self.step
                tell(told)
            time.sleep(0.5)

    def wait(self) -> int:
        """Wait until the server ends by itself; gives its exit code."""
        return self._process.wait()

    def reason(self) -> str:
        """The line of its output that most likely says why it ended."""
        telling = [line for line in self.last if "Error" in line or "error" in line or "No module" in line]
        return (telling or list(self.last) or ["it said nothing"])[-1].strip()[:300]

    def stop(self, grace_s: float = 10.0) -> None:
        """End the server and everything it started; after `grace_s` seconds by force. Idempotent."""
        _signal_group(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        _signal_group(self.pid, signal.SIGKILL)  # also what the front process may have left behind
        self._process.wait()
        self._guard.kill()  # before its pipe is closed: the group's number may be somebody else's some day
        self._guard.communicate()
        self._reader.join(5)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, line: Sequence[str], environment: dict[str, str], started: Future[subprocess.Popen[bytes]]) -> None:
        """Start the server, and be there until it ends: for the kernel its parent is the thread that started it."""
        try:
            process = subprocess.Popen(
                line,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_dies_with_parent(),
            )
        except BaseException as error:  # it belongs to whoever waits for the server
            started.set_exception(error)
            return
        started.set_result(process)
        try:
            self._read(process)
        finally:
            process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Copy the output to the log, and notice what it means; in a thread, so that a full pipe never stops the server."""
        assert process.stdout is not None
        with process.stdout as output, self._written as log:
            for raw in output:
                line = raw.decode("utf-8", "replace")
                self.last.append(line)
                self._note(line, process.pid)
                with contextlib.suppress(OSError):  # a full disk must not stop what runs
                    log.write(raw)
                if self._verbose:
                    print("".join(c if c.isprintable() else " " for c in line), file=sys.stderr, flush=True)

    def _note(self, line: str, group: int) -> None:
        if any(sign in line for sign in _FATAL):
            _signal_group(group, signal.SIGKILL)
        for sign, meaning in _STEPS:
            if sign in line:
                self.step = meaning


def check_port(host: str, port: int) -> None:
    """That nobody listens there yet.

    Raises:
        SettingsError: the port is taken, or may not be used.
    """
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(place[0], place[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place[4])
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(f"{host}:{port} cannot be listened on ({reason}): choose another --port") from error


def end_on_terminate() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, so that `with` blocks are left as for Ctrl-C."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)


def _dies_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # found before the fork, after which little is safe
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask


def _guard(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A process that kills the group of `process` when this one is gone, however it went."""
    command = [sys.executable, "-I", "-S", "-c", _GUARD, str(process.pid)]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        _signal_group(process.pid, signal.SIGKILL)
        raise


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
