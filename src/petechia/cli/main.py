"""The command `petechia`: hand the words to a command, turn what comes back into an exit code.

0 all analysed · 1 our own mistake · 2 usage · 3 at least one scan refused · 4 the environment failed ·
130 interrupted · 143 told to stop (SIGTERM, SIGHUP)
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petechia import __version__
from petechia.cli.terminal import Stopped, complain, settle, stoppable
from petechia.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, PetechiaError

if TYPE_CHECKING:
    from cyclopts import App

HELP = """Find, measure and report cerebral microbleeds in SWI and T2*-GRE brain MRI.

Research software. Not a medical device.
Not for diagnosis or treatment decisions.

Try it, with no patient's scan at hand:

  petechia simulate -o heads -n 1
  petechia detect heads -o readings
  petechia evaluate readings heads

`petechia COMMAND --help` tells of one command.

Exit codes: 0 all analysed; 1 a mistake of ours; 2 usage; 3 a scan was
refused; 4 disk, lock, memory or weights; 130 interrupted.
"""

_COMMANDS = {
    "detect": "Read scans: find their microbleeds, write mask, table and report.",
    "simulate": "Make labelled scans from physics, for trying, testing and training.",
    "evaluate": "Score readings against known lesions.",
    "train": "Train a model on simulated scans, or go on from one with your labels.",
    "active-learning": "Rank unlabelled scans by what a label would teach.",
    "benchmark": "Compare models: the same scans, the same scorer, one page.",
    "models": "List the models: inputs, training data, licence, figures, size, limits.",
    "convert": "Bring labelled scans of other formats into the layout that is scored.",
    "points-to-masks": "Turn centre points into lesion masks.",
    "node": "Sit in the network: take DICOM studies in, read them, send the results back.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and give its exit code. Never raises."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stoppable(last=arguments is None):
            code = _run(words)
    except PetechiaError as error:
        complain(error.line)
        code = error.exit_code
    except KeyboardInterrupt as error:
        resumes = words[:1] in (["detect"], ["benchmark"])
        complain(f"interrupted{': finished scans are kept; the same command goes on from there' * resumes}")
        code = error.exit_code if isinstance(error, Stopped) else EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop of our own mistakes: shown whole, exit 1
        complain(traceback.format_exc().rstrip())
        complain(f"internal-error: {type(error).__name__}: a mistake in petechia; the traceback is above")
        code = EXIT_BUG
    settle()
    return code


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    app = build(words[0] if words else "")
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        command = f"petechia {words[0]}" if words and words[0] in _COMMANDS else "petechia"
        complain(f"usage: {command}: {' '.join(str(error).split())} See {command} --help.")
        return EXIT_USAGE
    return result if isinstance(result, int) else EXIT_OK


def build(chosen: str = "") -> App:
    """The commands by name; only the chosen one is imported, and tells of itself at length."""
    from cyclopts import App

    app = App(
        name="petechia",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for place, (name, line) in enumerate(_COMMANDS.items()):
        short = None if name == chosen else line
        function = name.replace("-", "_")
        app.command(f"petechia.cli.{function}:{function}", name=name, help=short, sort_key=place)
    return app
