"""Child processes that never outlive this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streams.errors import OperatorError

# Linux sends the PR_SET_PDEATHSIG signal when the *thread* that created the process ends: this one lives as long as
# this process.
_keeper = ThreadPoolExecutor(1, "child-keeper")

STOP_PATIENCE = 10.0
"""How many seconds a child has to end by itself after SIGTERM."""

_TAIL_BYTES = 64 * 1024

# Runs in the child before it becomes the real program. Without prctl (macOS), a SIGKILL of this process leaves the
# child running.
_TIE_TO_PARENT = """
import ctypes, os, signal, sys
if prctl := getattr(ctypes.CDLL(None), "prctl", None):
    prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildEnded(OperatorError):
    """A child has ended that should keep running; the message has the end of its log."""


class Child:
    """A program that writes to a log file, in a session of its own, so that Ctrl-C reaches only this process.

    Whatever ends this process, even a SIGKILL, ends the child (on Linux).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
        shares_stdout: bool = False,
    ) -> None:
        """Start `command`, its program given by an absolute path; its output is appended to `log`.

        `environment` replaces the inherited one. The child inherits the file descriptors `keep_open` and, with
        `shares_stdout`, stdout.
        """
        self.name = name
        self.log = log
        wrapper = [sys.executable, "-I", "-S", "-c", _TIE_TO_PARENT, str(os.getpid())]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = _keeper.submit(
                subprocess.Popen,
                [*wrapper, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=None if shares_stdout else output,
                stderr=output,
                start_new_session=True,
                env=environment,
                pass_fds=keep_open,
            ).result()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while the child runs, then its exit code (if negative, minus the signal that killed it)."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the child has ended already."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it has ended."""
        self._process.kill()
        self._process.wait()

    def stop(self, patience: float = STOP_PATIENCE) -> int:
        """SIGTERM, after `patience` seconds SIGKILL; the exit code."""
        self.signal(signal.SIGCONT)  # a stopped process would not receive the SIGTERM
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def check(self) -> None:
        """Raise ChildEnded if it has ended, with any exit code."""
        if (code := self.exit_code()) is not None:
            raise ChildEnded(
                f"{self.name} ended (exit code {code}); the end of {self.log}:\n{self.last_lines()}"
            )

    def wait(self) -> None:
        """Wait until it ends; raises ChildEnded unless its exit code is 0."""
        if self._process.wait():
            self.check()

    def last_lines(self, count: int = 15) -> str:
        """The last lines that it wrote to its log, indented."""
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-count:])
