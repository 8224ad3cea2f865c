"""What the user sees, and the signals by which the user stops us."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from petechia.errors import EXIT_INTERRUPTED

EXIT_TOLD_TO_STOP = 143
_STOP_SIGNALS = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TOLD_TO_STOP,
    signal.SIGHUP: EXIT_TOLD_TO_STOP,
}


class Stopped(KeyboardInterrupt):
    """A signal asked us to stop. KeyboardInterrupt, so that whatever cleans up after Ctrl-C does so here."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


@contextmanager
def stoppable(*, last: bool = False) -> Iterator[None]:
    """Within, Ctrl-C, SIGTERM and SIGHUP raise Stopped, once: while we clean up, further ones do nothing.

    A signal that was ignored from outside (nohup, a background job) stays ignored. last: the process ends
    after this; signals then do nothing any more, so that none breaks into its last steps.
    """
    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(_STOP_SIGNALS[signal.Signals(number)])

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_IGN if last else before[number])


def say(text: str) -> None:
    """A line of results, to stdout. If nobody listens any more (`| head`), the work goes on in silence."""
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """A line about the run, to stderr."""
    _print(text, sys.stderr)


def settle() -> None:
    """Flush both streams, so that the interpreter finds nothing to fail on when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def plain(text: str) -> str:
    """`text` without control characters: a file name must not drive the terminal or break a line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError):
        _silence(stream)


def _silence(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
