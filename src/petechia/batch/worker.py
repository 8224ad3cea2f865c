"""The child process that reads scans: loads the model once, is replaced when it hangs or dies.

Hostile bytes are parsed there, so a crash, a kill for memory or a hang costs one scan and not the run. The
child writes nothing: it sends finished files to its parent, which alone commits them.

parent -> child   ScanFile
child -> parent   Ready once, then one Read | Stop | Crash for each ScanFile
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from petechia.errors import EnvironmentFailure, PetechiaError, Refusal
from petechia.limits import SCAN_TIMEOUT_S, SHUTDOWN_TIMEOUT_S
from petechia.types import DetectSettings, OutputFile, Reading, ScanFile, Status

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
START_TIMEOUT_S = SCAN_TIMEOUT_S  # imports and model take seconds; on a cold network share, minutes

Outputs = tuple[Reading, tuple[OutputFile, ...]]


@dataclass(frozen=True, slots=True)
class Reader:
    """The three functions a worker calls. `load` gives a value with a `weights_sha256`."""

    load: Callable[[DetectSettings], Any]
    read: Callable[[ScanFile, DetectSettings, Any], Outputs]
    refuse: Callable[[ScanFile, DetectSettings, PetechiaError], Outputs]


ReaderFactory = Callable[[], Reader]  # a module-level function: it crosses to the child by its name


def path_reader() -> Reader:
    """The real path. Imported here and not above, so that only the child pays for it."""
    from petechia import pipeline

    return Reader(pipeline.load_models, pipeline.read_scan, pipeline.refusal_outputs)


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has loaded its model."""

    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Read:
    """The scan was analysed or refused; either way these are its files."""

    status: Status
    count: int | None
    code: str  # of the refusal, "" if analysed
    text: str  # the refusal's line
    input_sha256: str
    outputs: tuple[OutputFile, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """The run cannot go on."""

    error: PetechiaError


@dataclass(frozen=True, slots=True)
class Crash:
    """A mistake of ours; the child lives."""

    summary: str
    trace: str


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the child hung and was killed, or died by itself."""

    code: str  # "timeout" or "killed"
    found: str


Answer = Ready | Read | Stop | Crash | Lost


class Worker:
    """Holds one child process at a time: `with Worker(...) as worker: worker.read(scan)`."""

    def __init__(self, factory: ReaderFactory, settings: DetectSettings, timeout_s: float) -> None:
        self._factory = factory
        self._settings = settings
        self._timeout_s = timeout_s
        self._process: BaseProcess | None = None
        self._channel: Connection | None = None
        self._weights_sha256 = ""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def weights_sha256(self) -> str:
        """Of the model in use; starts the child if there is none. Raises what loading the model raises."""
        self._started()
        return self._weights_sha256

    def read(self, scan: ScanFile) -> Answer:
        """Read one scan, starting a child if there is none. After `Lost` the next call starts a new one."""
        channel = self._started()
        try:
            channel.send(scan)
        except OSError:
            return self._buried()
        return self._answer(channel, self._timeout_s)

    def _started(self) -> Connection:
        if self._channel is not None:
            return self._channel
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._channel = ours
        self._process = context.Process(
            target=serve, args=(theirs, self._factory, self._settings), name="petechia-reader", daemon=True
        )
        resource_tracker.ensure_running()  # it would unblock the signals again if it had to start just now
        with _signals_held():
            self._process.start()
        theirs.close()
        answer = self._answer(ours, START_TIMEOUT_S)
        if isinstance(answer, Ready):
            self._weights_sha256 = answer.weights_sha256
            return ours
        self._kill()
        raise _start_failure(answer)

    def _answer(self, channel: Connection, timeout_s: float) -> Answer:
        """The next message, or what became of the child."""
        if not wait([channel], timeout_s):
            self._kill()
            return Lost("timeout", f"no answer within {timeout_s:g} s")
        try:
            message = channel.recv()
        except (EOFError, OSError):
            return self._buried()
        if not isinstance(message, Ready | Read | Stop | Crash):
            raise TypeError(f"the reading process sent a {type(message).__name__}")
        return message

    def _buried(self) -> Lost:
        """The channel is broken: learn how the child ended."""
        process = self._process
        if process is not None:
            process.join(SHUTDOWN_TIMEOUT_S)
        code = process.exitcode if process is not None else None
        self._kill()
        return Lost("killed", _ending(code))

    def _kill(self) -> None:
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if process is not None and process.pid is not None:
            process.kill()
            process.join(SHUTDOWN_TIMEOUT_S)
        if channel is not None:
            channel.close()


def serve(channel: Connection, factory: ReaderFactory, settings: DetectSettings) -> None:
    """The child's main function: answer until the channel closes."""
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent went away in the middle of an answer
        _serve(channel, factory, settings)


def _serve(channel: Connection, factory: ReaderFactory, settings: DetectSettings) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        reader = factory()
        models = reader.load(settings)
        weights_sha256 = str(models.weights_sha256)
    except PetechiaError as error:
        channel.send(Stop(error))
        return
    except Exception as error:  # noqa: BLE001 - it is told and re-raised in the parent
        channel.send(_crash(error))
        return
    channel.send(Ready(weights_sha256))
    while True:
        try:
            scan = channel.recv()
        except (EOFError, OSError):
            return
        channel.send(_read(reader, scan, settings, models))


def _read(reader: Reader, scan: ScanFile, settings: DetectSettings, models: Any) -> Answer:
    """One scan, every way it can go."""
    try:
        try:
            reading, outputs = reader.read(scan, settings, models)
            return Read(reading.status, reading.count, "", "", reading.provenance.input_sha256, outputs)
        except Refusal as error:
            refusal: PetechiaError = error
        except MemoryError:
            refusal = Refusal(
                "out-of-memory",
                scan.path,
                found="too little memory to read it",
                need="more memory",
                remedy="Close other programs or use a larger machine.",
            )
        reading, outputs = reader.refuse(scan, settings, refusal)
        digest = reading.provenance.input_sha256
        return Read(reading.status, reading.count, refusal.code, refusal.line, digest, outputs)
    except PetechiaError as error:
        return Stop(error)
    except Exception as error:  # noqa: BLE001 - our bug on this scan: told, and the others go on
        return _crash(error)


def _crash(error: Exception) -> Crash:
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    return Crash(summary, "".join(traceback.format_exception(error)))


def _die_with_parent() -> None:
    """A parent that was killed cannot stop its child; so the child watches."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start a child with the stop signals blocked, for good: they reach a whole terminal or job, and only the
    parent may answer. (The child is ended by SIGKILL, which nothing blocks.)

    In the parent they wait until the child is started whole. The mask alone does not see to that: another
    thread may take the signal, and Python then calls the handler in the main thread.
    """
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        for number in [number for number, handler in handlers.items() if callable(handler)]:
            signal.signal(number, lambda number, _frame: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"that reading it was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"that reading it ended with status {code}"


def _start_failure(answer: Answer) -> Exception:
    if isinstance(answer, Stop):
        return answer.error
    if isinstance(answer, Crash):
        return RuntimeError(f"the model could not be loaded: {answer.summary}\n{answer.trace}")
    found = answer.found if isinstance(answer, Lost) else "an answer out of turn"
    return EnvironmentFailure(
        "worker-start",
        "petechia",
        found=found.replace("reading it", "the reading process"),
        need="memory and time to load the model",
        remedy="Close other programs and run again.",
    )
