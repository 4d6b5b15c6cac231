"""One worker as the supervisor sees it: its process, its link, and what it has told."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping

from mooring_runtime.errors import FatalError
from mooring_runtime.workers.link import Answer, Link, Told, error_of


class Worker:
    """One process from its start to its end; another takes its place under the same `number`."""

    def __init__(self, number: int, answers: Mapping[str, Answer], listeners: Mapping[str, Told]) -> None:
        self.number = number
        self.ready = False
        """It answers requests."""
        self.current = False
        """It has done what clients have asked of all."""
        self.gone = False
        """The process has ended."""
        self.fatal: FatalError | None = None
        """Why it has ended, when it has told."""
        self.link = Link(answers, {**listeners, "fatal": self._fatal})
        self._process: asyncio.subprocess.Process | None = None
        self._talk: asyncio.Task[None] | None = None

    async def start(self, variables: Mapping[str, str], *, early: bool) -> None:
        """Start the process with these environment variables beside those of this one; `early`: it listens at once.

        Raises OSError when the system has no room for it.
        """
        ours, theirs = socket.socketpair()
        words = ("-m", "mooring_runtime.workers", str(theirs.fileno()), str(self.number), "early" if early else "late")
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *words,
                    env={**os.environ, **variables},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Else a terminal's Ctrl-C would reach it beside our own signal.
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._talk = asyncio.ensure_future(self.link.run(ours))

    async def ended(self) -> int:
        """Wait for the end of the process; its exit code, negative for a signal. What it had told is known then."""
        code = 1 if self._process is None else await self._process.wait()
        self.ready = False
        self.gone = True
        if self._talk is not None:
            await self._talk  # The other end is closed, so this ends with what was still on the way.
        return code

    @property
    def pid(self) -> int:
        """Of the process; 0 when there was none."""
        return 0 if self._process is None else self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _fatal(self, wire: list[str]) -> None:
        error = error_of(wire)
        self.fatal = error if isinstance(error, FatalError) else FatalError(str(error))
