"""A process that commits readings in children which may be killed. One order a line: FIRST ROUNDS NTH ROOT.

Answers with the child's pid, and when it has ended with its wait status. Round n writes a reading of key
"kn"; NTH > 0: in each round the child kills itself before that call to the disk.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from petechia.store.disk import DISK, Disk
from petechia.store.files import commit, sweep
from petechia.store.lock import hold
from petechia.store.manifest import Stamp
from petechia.store.resume import is_current
from petechia.types import OutputFile


def deadly(nth: int) -> Disk:
    """A disk that kills its own process at the nth call (from 1), before doing it."""
    calls = 0

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    names = ("open", "write", "fsync", "replace", "unlink", "mkdir")
    return Disk(**{name: wrap(getattr(DISK, name)) for name in names})  # type: ignore[arg-type]


def commits(root: Path, first: int, rounds: int, nth: int) -> None:
    with hold(root):
        for n in range(first, rounds):
            files = [OutputFile(f"f{i}", bytes([n % 251, i]) * 40_000) for i in range(3 + n % 2)]
            sweep(root / "s", "s")
            if not is_current(root / "s", "s", f"k{n}"):
                commit(root / "s", files, Stamp("s", f"k{n}"), deadly(nth))


def main() -> None:
    for line in sys.stdin:
        first, rounds, nth, root = line.strip().split(" ", 3)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                commits(Path(root), int(first), int(rounds), int(nth))
                code = 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
