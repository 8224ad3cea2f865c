"""`petechia node`: the DICOM node, and its status."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, UsageError
from petechia.types import DISCLAIMER

if TYPE_CHECKING:
    from petechia.node.calling import Tls
    from petechia.node.peers import Destination
    from petechia.node.status import NodeStatus

_WHERE = "petechia node"
_SPOOL = Path("petechia-spool")

node = App(name="node", help_format="plaintext")


@node.default
def serve(
    *,
    send_to: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    allow: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    aet: str = "PETECHIA",
    port: int = 11112,
    host: str = "0.0.0.0",
    spool: Path = _SPOOL,
    quiet: float = 60.0,
    hold: float = 3600.0,
    keep: float = 24.0,
    commit: Annotated[bool, Parameter(negative=())] = False,
    commit_wait: float = 24.0,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_ca: Path | None = None,
    model: str = "default",
) -> int:
    """Sit in the network: take studies in, read them, send the results back.

    Answers C-ECHO, C-STORE and storage commitment. A study is read when its
    transfer has ended and nothing new came for --quiet seconds; SEG, SR and
    pictures go to every --send-to, queued on disk and retried until they are
    acknowledged. Only hosts and titles of --allow and --send-to may call.
    Stop it at any time, in any way: the same command goes on from there.

    Examples:

      petechia node --aet PETECHIA --port 11112 --send-to PACS@10.1.2.3:104

      petechia node --allow MR1@10.1.2.11 --send-to https://pacs.example/dicom-web

      petechia node --send-to PACS@pacs.example:2762 --commit \\
          --tls-cert node.pem --tls-key node.key --tls-ca hospital.pem

      petechia node status

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    send_to
        Where results go: AET@host:port, or a DICOMweb address for STOW-RS. May be repeated.
    allow
        Who may call: AET@host, AET@network/24, or AET@host:port to report storage commitment to.
        May be repeated; those of --send-to may call as well, nobody else.
    aet
        Our AE title, at most 16 characters.
    port
        TCP port to listen on; 0 takes a free one.
    host
        Address of this machine to listen on; all by default.
    spool
        Folder for the queue; made if missing. Holds patients' images: keep it private.
    quiet
        Seconds without a new instance before a study is read.
    hold
        Seconds to wait for the rest of a transfer that was broken off; then it is refused.
    keep
        Hours a study stays in the spool after its results were sent.
    commit
        Ask the archives of --send-to AET@host:port to promise that they keep the results (storage
        commitment). What an archive says it does not have is sent again.
    commit_wait
        Hours to wait for the promise; then the status says commitment-timeout.
    tls_cert
        Our certificate, PEM. With it no DICOM goes in the clear, neither way: callers and archives
        must show a certificate too.
    tls_key
        Its key, PEM, without passphrase.
    tls_ca
        Certificates we trust, PEM: those of callers and archives, or of who signed them.
    model
        Name of the model that reads.
    """
    from petechia.node.guards import DEFAULT_GUARDS
    from petechia.node.peers import allow_list, check_aet
    from petechia.node.receive import Listen
    from petechia.node.run import NodeOptions, run_node
    from petechia.node.work import command_reader

    _check_numbers(port, (quiet, hold, keep, commit_wait))
    tls = _tls(tls_cert, tls_key, tls_ca)
    destinations = _destinations(send_to, commit_wait * 3600.0 if commit else 0.0, tls is not None)
    listen = Listen(check_aet(aet), host, port, allow_list(allow, destinations), DEFAULT_GUARDS, tls)
    options = NodeOptions(spool, listen, destinations, quiet, hold, keep * 3600.0)
    command = [sys.executable, "-m", "petechia", "detect", "--model", model]

    def started(port: int) -> None:
        how = "by TLS" if tls else "in the clear"
        complain(f"{aet} listens on {host}:{port} {how}, spool {plain(str(spool))}. {DISCLAIMER}")

    run_node(options, command_reader(command, DEFAULT_GUARDS), lambda line: complain(plain(line)), started)
    return EXIT_OK


@node.command
def status(*, spool: Path = _SPOOL, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Tell what the node has in hand.

    Studies go by the first digits of a hash; no line names a patient.

    Examples:

      petechia node status --spool /var/lib/petechia

    Parameters
    ----------
    spool
        The folder given to petechia node.
    json
        Print it for a program.
    """
    from json import dumps

    from petechia.node.status import node_status

    found = node_status(spool)
    if json:
        say(dumps(asdict(found) | {"disclaimer": DISCLAIMER}, indent=1))
    else:
        _show(found)
    return EXIT_OK


def _check_numbers(port: int, times: tuple[float, ...]) -> None:
    if not (0 <= port <= 65535 and all(0 <= time < float("inf") for time in times)):
        raise UsageError(
            "bad-option", _WHERE, found="a number out of range", need="port 0 to 65535, times from 0",
            remedy="See petechia node --help.",
        )  # fmt: skip


def _destinations(send_to: tuple[str, ...], commit_s: float, by_tls: bool) -> tuple[Destination, ...]:
    """Where results go. commit_s: 0 where no promise is asked for. Raises UsageError."""
    from petechia.node.peers import parse_destination

    found = [parse_destination(text) for text in send_to]
    if not found:
        raise UsageError(
            "no-destination", _WHERE, found="no --send-to", need="where results go",
            remedy="Example: --send-to PACS@10.1.2.3:104.",
        )  # fmt: skip
    for each in found:
        if by_tls and each.url.startswith("http:"):
            raise UsageError(
                "bad-peer", _WHERE, found=f"{each} beside --tls-cert", need="https",
                remedy="With TLS nothing goes in the clear: give https://, or AET@host:port.",
            )  # fmt: skip
    if commit_s and all(each.url for each in found):
        raise UsageError(
            "no-destination", _WHERE, found="--commit without a DICOM archive",
            need="AET@host:port in --send-to", remedy="Leave --commit out: STOW-RS has none.",
        )  # fmt: skip
    return tuple(replace(each, commit_s=0.0 if each.url else commit_s) for each in found)


def _tls(certificate: Path | None, key: Path | None, trusted: Path | None) -> Tls | None:
    """All three or none. Raises UsageError."""
    if certificate is None and key is None and trusted is None:
        return None
    if certificate is None or key is None or trusted is None:
        raise UsageError(
            "tls-files", _WHERE, found="some of --tls-cert, --tls-key, --tls-ca", need="all three or none",
            remedy="See docs/node.md, TLS.",
        )  # fmt: skip
    from petechia.node.calling import load_tls

    return load_tls(certificate, key, trusted)


def _show(found: NodeStatus) -> None:
    say(f"{found.aet}: {'running' if found.running else 'not running'}, last sign {found.beat_utc}")
    for study in found.studies:
        state = study.state + (f" ({study.code})" if study.code else "")
        say("\t".join([study.study, f"{study.images} images", state, f"version {study.version}"]))
        for each in study.sending:
            why = f", {each.tries} tries, last {each.code} at {each.last_utc}" if each.tries else ""
            if each.objects:
                say(f"\t{each.objects} objects wait for {plain(each.destination)}{why}")
            if each.commitment:
                number = f"{each.uncommitted} objects " if each.uncommitted else ""
                say(f"\t{number}not committed by {plain(each.destination)}: {each.commitment}")
    refused = {
        name: count for name, count in found.counts.items() if not name.startswith(("stored-0000", "rel"))
    }
    if refused:
        say("turned away or failed since its start: " + ", ".join(f"{k} {v}" for k, v in refused.items()))
    say(
        f"{len(found.studies)} studies, {found.unsent} objects to send, {found.uncommitted} to be committed, "
        f"{found.commits} commitments to report"
    )
    say(DISCLAIMER)
