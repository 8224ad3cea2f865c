"""A node as `petechia node` runs it, with `standin_detect.py` for a reader: what follows is its JSON options.

Every address it connects to goes to stderr as "connects: ...". Prints its port on stdout once it answers. For
the tests only: waits of tenths of a second, small guards.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from petechia.cli.terminal import complain, stoppable
from petechia.errors import PetechiaError
from petechia.node.calling import load_tls
from petechia.node.guards import DEFAULT_GUARDS
from petechia.node.peers import allow_list, parse_destination
from petechia.node.receive import Listen
from petechia.node.run import NodeOptions, run_node
from petechia.node.work import command_reader


def main(options: dict[str, object]) -> int:
    guards = replace(DEFAULT_GUARDS, **{"spare_disk_bytes": 0, **options.get("guards", {})})
    commit_s = float(options.get("commit_s", 0))
    destinations = tuple(replace(parse_destination(text), commit_s=commit_s) for text in options["send_to"])
    tls = load_tls(*map(Path, options["tls"])) if "tls" in options else None
    listen = Listen("PETECHIA", "127.0.0.1", int(options.get("port", 0)),
                    allow_list(options["allow"], destinations), guards, tls)  # fmt: skip
    node = NodeOptions(
        Path(options["spool"]),
        listen,
        destinations,
        float(options.get("quiet_s", 0.5)),
        float(options.get("hold_s", 3600)),
        float(options.get("keep_s", 3600)),
    )
    reader = command_reader([sys.executable, str(Path(__file__).parent / "standin_detect.py")], guards)
    sys.addaudithook(told_connections)
    with stoppable(last=True):
        run_node(node, reader, complain, lambda port: print(port, flush=True))
    return 0


def told_connections(event: str, words: tuple[object, ...]) -> None:
    if event == "socket.connect":
        complain(f"connects: {words[1]}")


if __name__ == "__main__":
    try:
        sys.exit(main(json.loads(sys.argv[1])))
    except PetechiaError as error:
        complain(error.line)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
