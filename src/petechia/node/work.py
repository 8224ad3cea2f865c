"""A study is read: in a process of its own, with limits, from names that nothing can be added to any more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from petechia.errors import (
    EXIT_ENVIRONMENT,
    EXIT_OK,
    EXIT_REFUSED,
    EnvironmentFailure,
    PetechiaError,
    Refusal,
)
from petechia.node.guards import Guards
from petechia.node.spool import ANALYSED, NOT_ANALYSED, Record, Spool, key_of, now_utc
from petechia.store import durable

ReadStudy = Callable[[Path, Path], tuple[Path, ...]]
"""(folder of received images, empty folder for results) -> result objects, in the order to be sent.

Raises Refusal where the study cannot be analysed (objects that say so may lie in the results all the same),
EnvironmentFailure where nothing can be read now."""

MOST_FAILURES = 4  # of one set of images; then it is refused with the code of the last attempt
MOST_BEGUN = 25  # ... without an end, since the node was killed meanwhile: by us, or by what it read
_FAILURES = {"killed", "timeout", "internal-error"}
_CODE = re.compile(r"[a-z0-9-]{1,40}")


def read_one(spool: Spool, study: str, read_study: ReadStudy, guards: Guards) -> Record | None:
    """Read the images of `study` as they are now, and publish what came of it.

    None: nothing to publish, the attempt counted; try again later. Raises EnvironmentFailure, OSError.
    """
    images = spool.images(study)
    key = key_of(images)
    version = len(spool.readings(study)) + 1
    if spool.count(study, key, "begun") > MOST_BEGUN:
        record = Record(version, NOT_ANALYSED, "killed", now_utc(), 0.0, len(images), ())
        return _published(spool, study, key, record, [])
    started = time.monotonic()
    room = durable.private_folder(spool.desk)
    try:
        given, results = room / "study", room / "results"
        folder = spool.study(study) / "instances"
        durable.snapshot([folder / name for name in images], given)
        code, contents = _attempt(read_study, given, results, guards)
    except EnvironmentFailure:
        spool.count(study, key, "begun", -1)
        raise
    finally:
        durable.drop(room, spool.root / "trash")
    if code in _FAILURES and spool.count(study, key, "failed") < MOST_FAILURES:
        return None
    status = NOT_ANALYSED if code else ANALYSED
    seconds = round(time.monotonic() - started, 3)
    record = Record(version, status, code, now_utc(), seconds, len(images), ())
    return _published(spool, study, key, record, contents)


def refuse(spool: Spool, study: str, code: str) -> Record | None:
    """Publish that `study`, as it is now, is not read."""
    images = spool.images(study)
    version = len(spool.readings(study)) + 1
    record = Record(version, NOT_ANALYSED, code, now_utc(), 0.0, len(images), ())
    return _published(spool, study, key_of(images), record, [])


def _published(spool: Spool, study: str, key: str, record: Record, contents: list[bytes]) -> Record | None:
    spool.publish(study, key, record, contents)
    spool.supersede(study, key)
    return spool.record(study, key)


def _attempt(read_study: ReadStudy, given: Path, results: Path, guards: Guards) -> tuple[str, list[bytes]]:
    """("", contents) or (why not, contents of what says so)."""
    code = ""
    try:
        paths = read_study(given, results)
    except Refusal as refusal:
        code, paths = refusal.code, tuple(sorted(results.rglob("*.dcm")))
    if not code and not paths:
        return "no-result", []
    contents = []
    for path in paths:
        if path.is_symlink() or path.stat().st_size > guards.result_bytes:
            return "bad-result", []
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            return "bad-result", []
        contents.append(content)
    return code, contents


def command_reader(command: Sequence[str], guards: Guards) -> ReadStudy:
    """Reads by ``COMMAND STUDY -o RESULTS`` in a process of its own; see `child` for its limits.

    Its output is thrown away but for the code of a refusal, the first word of a line ``code: path: ...``.
    """

    def read_study(given: Path, results: Path) -> tuple[Path, ...]:
        limits = [str(guards.reading_bytes), str(guards.reading_cpu_s), str(os.getpid())]
        launcher = [sys.executable, "-m", "petechia.node.child", *limits]
        with subprocess.Popen(
            [*launcher, *command, str(given), "-o", str(results)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                _, said = process.communicate(timeout=guards.reading_s)
            except subprocess.TimeoutExpired:
                raise _refused("timeout") from None
            finally:
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what it may have left behind
        return _outcome(process.returncode, said, results)

    return read_study


def _outcome(status: int, said: bytes, results: Path) -> tuple[Path, ...]:
    code = _code(said)
    if status == EXIT_OK:
        return tuple(sorted(results.rglob("*.dcm")))
    if status == EXIT_REFUSED:
        raise _refused(code or "refused")
    if status == EXIT_ENVIRONMENT:
        raise EnvironmentFailure(
            code or "environment", "petechia detect", found="it could not run",
            need="disk, memory and weights", remedy="Run it by hand on a study to see why.",
        )  # fmt: skip
    raise _refused("killed" if status < 0 else "internal-error")


def _code(said: bytes) -> str:
    for line in said[-65536:].decode("utf-8", "replace").splitlines():
        word, colon, rest = line.partition(": ")
        if colon and rest and _CODE.fullmatch(word):
            return word
    return ""


def _refused(code: str) -> PetechiaError:
    return Refusal(
        code, "study", found="that it was not analysed", need="a study that can be read",
        remedy="See petechia node status.",
    )  # fmt: skip
