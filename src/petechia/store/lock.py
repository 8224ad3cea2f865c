"""One run per output root. The kernel's lock (flock) ends with its process: a dead run never blocks the next.

The lock file tells who holds it. Where the last holder ran on another host and did not leave, flock may not
reach that far (some network file systems), so its lock counts until it has been silent for `STALE_S`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from petechia.errors import EnvironmentFailure
from petechia.limits import SCAN_TIMEOUT_S
from petechia.store.files import make_folder, told

STALE_S = 2 * SCAN_TIMEOUT_S  # a live run beats before every scan, and no scan lasts longer than its timeout
_POLL_S = 0.05


@contextmanager
def hold(
    root: Path, part: str = "run", *, shared: bool = False, wait_s: float = 0.0
) -> Iterator[Callable[[], None]]:
    """Hold the lock `part` of output root `root` (made if missing); yields a function to call now and then.

    shared: several may hold it together (the shards of one run), but none together with an unshared holder.
    Raises EnvironmentFailure `locked-by` (pid, host, start of the holder), `lock-unsupported`, `output-path`.
    """
    path = root / f".petechia-{part}.lock"
    opened: list[
        int
    ] = []  # at most one descriptor; a list, so that an interrupt at any point can be tidied up
    try:
        with told(root):
            make_folder(root)
            _acquire(path, shared, time.monotonic() + wait_s, opened)
        yield lambda: os.utime(opened[0])
    finally:
        for descriptor in opened:
            _release(path, descriptor)


def _acquire(path: Path, shared: bool, deadline: float, opened: list[int]) -> None:
    """Leave in `opened` a locked descriptor of the file that `path` names now."""
    while True:
        opened.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666))
        holder = _try(path, opened[0], shared)
        if holder is None:
            return
        os.close(opened.pop())
        if holder and time.monotonic() >= deadline:
            raise _locked(path, holder)
        time.sleep(_POLL_S if holder else 0)


def _try(path: Path, descriptor: int, shared: bool) -> str | None:
    """None: we hold it. Otherwise who does, or "" if the file was removed under us: worth another go."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    except OSError as error:
        raise EnvironmentFailure(
            "lock-unsupported",
            path,
            found=f"a file system without locks ({error.strerror})",
            need="one lock per output folder",
            remedy="Choose an output folder on a local disk with -o.",
        ) from error
    if not _same_file(path, descriptor):
        return ""
    if not shared and _lives_elsewhere(descriptor):
        return _holder(descriptor)
    _sign(descriptor)
    return None


def _release(path: Path, descriptor: int) -> None:
    """The last holder removes the file; whoever opened it meanwhile notices, see `_same_file`.

    Called as well by one who never got the lock: then the first line fails and the file stays.
    """
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(path, descriptor):
                os.unlink(path)
    finally:
        os.close(descriptor)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    record = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, record.encode(), 0)


def _record(descriptor: int) -> dict[str, object]:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _holder(descriptor: int) -> str:
    record = _record(descriptor)
    if not record:
        return "another run"
    return f"pid {record.get('pid')} on {record.get('host')} since {record.get('since')}"


def _lives_elsewhere(descriptor: int) -> bool:
    host = _record(descriptor).get("host")
    silent_s = time.time() - os.fstat(descriptor).st_mtime
    return host is not None and host != socket.gethostname() and silent_s < STALE_S


def _locked(path: Path, holder: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        "locked-by",
        path.parent,
        found=f"a run by {holder}",
        need="one run per output folder",
        remedy=f"Wait for it, or delete {path.name} there if it is gone.",
    )
