"""A command with limits, ended with the process that started it.

`python -m petechia.node.child BYTES CPU_SECONDS PARENT COMMAND...` sets them and becomes COMMAND.
BYTES: of address space. PARENT: process id.
Done here and not between fork and exec, where a process with threads must not run Python.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def main(words: Sequence[str]) -> None:
    """Never returns."""
    memory, cpu, parent = map(int, words[:3])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the patient
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(1)
    os.execvp(words[3], list(words[3:]))


if __name__ == "__main__":
    main(sys.argv[1:])
