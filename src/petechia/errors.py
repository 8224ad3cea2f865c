"""Errors a caller may meet, split by cause.

PetechiaError            base; one line, one code, the path, found / need / do
 ├─ UsageError           the command or its arguments are wrong             exit 2
 ├─ Refusal              this scan cannot be analysed; others go on         exit 3
 └─ EnvironmentFailure   disk, lock, weights, memory: the run cannot go on  exit 4

Anything else that escapes is our own bug (exit 1). Each cause has its own `code`; codes are stable.
"""

from __future__ import annotations

from pathlib import Path

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_ENVIRONMENT = 4
EXIT_INTERRUPTED = 130


class PetechiaError(Exception):
    """`code: path: found <fact>; need <fact>. <remedy>` on one line."""

    exit_code = EXIT_BUG

    def __init__(self, code: str, path: Path | str, *, found: str, need: str, remedy: str) -> None:
        self.code = code
        self.path = Path(path)
        self.found = found
        self.need = need
        self.remedy = remedy
        super().__init__(self.line)

    @property
    def line(self) -> str:
        """The whole message on one line of at most 300 characters; the path is never cut."""
        tail = f": found {self.found}; need {self.need}. {self.remedy}"
        head = f"{self.code}: {self.path}"
        room = max(300 - len(head), 60)
        text = head + (tail if len(tail) <= room else tail[: room - 1] + "…")
        return text.replace("\n", " ").replace("\r", " ")

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword-only arguments need help to cross a process border."""
        return _rebuild, (type(self), self.code, str(self.path), self.found, self.need, self.remedy)


class UsageError(PetechiaError):
    """The command line or an argument is wrong."""

    exit_code = EXIT_USAGE


class Refusal(PetechiaError):
    """This scan is not analysed; the reason is one line."""

    exit_code = EXIT_REFUSED


class EnvironmentFailure(PetechiaError):
    """The machine, the disk or the installation cannot do the work."""

    exit_code = EXIT_ENVIRONMENT


def _rebuild(
    cls: type[PetechiaError], code: str, path: str, found: str, need: str, remedy: str
) -> PetechiaError:
    return cls(code, path, found=found, need=need, remedy=remedy)
