"""Results go back: by C-STORE, or by STOW-RS where the destination is a web address.

An object keeps its SOP Instance UID through all attempts, so that an archive which had it before its answer
was lost has it once. It leaves the queue only when the destination has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from petechia.node.calling import Tls, Us, associated
from petechia.node.peers import Destination

Acknowledged = Callable[[str], None]

_CONNECT_S, _ANSWER_S = 10.0, 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0


def pause_s(tries: int) -> float:
    """How long to wait after the n-th failure in a row: 5 s, twice as long each time, up to ten minutes."""
    return min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 20), LONGEST_PAUSE_S)


def deliver(files: Sequence[Path], destination: Destination, us: Us, acknowledged: Acknowledged) -> str:
    """Send `files`, calling `acknowledged(name)` for each that the destination has taken.

    Returns "" when all were taken, else why the first that was not was not: `unreachable`,
    `association-refused`, `no-context`, `no-answer`, `status-a700`, `http-503`, `stow-0110`, ...
    """
    if destination.url:
        return _stow(files, destination.url, us.tls, acknowledged)
    return _store(files, destination, us, acknowledged)


def _store(files: Sequence[Path], destination: Destination, us: Us, acknowledged: Acknowledged) -> str:
    peer = (destination.aet, destination.host, destination.port)
    assoc = associated(us, peer, sorted({_kind(path) for path in files}), _ANSWER_S)
    if not assoc.is_established:
        return "association-refused" if assoc.is_rejected else "unreachable"
    first = ""
    try:
        for path in files:
            why = _store_one(assoc, path)
            if not why:
                acknowledged(path.name)
            first = first or why
            if why == "no-answer":
                break
    finally:
        if assoc.is_established:
            assoc.release()
    return first


def _store_one(assoc: Any, path: Path) -> str:
    try:
        status = assoc.send_c_store(path)
    except ValueError:
        return "no-context"
    except RuntimeError:
        return "no-answer"
    if not status:
        return "no-answer"
    taken = status.Status == 0 or status.Status >> 12 == 0xB  # PS3.7 C: Bxxx is a warning, the object is kept
    return "" if taken else f"status-{status.Status:04x}"


def _kind(path: Path) -> tuple[str, str]:
    from pydicom.filereader import dcmread

    meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def _stow(files: Sequence[Path], url: str, tls: Tls | None, acknowledged: Acknowledged) -> str:
    import requests
    from dicomweb_client.api import DICOMwebClient
    from pydicom.filereader import dcmread

    first = ""
    with requests.Session() as session:
        session.request = _hurried(session.request, tls)  # type: ignore[method-assign]
        client = DICOMwebClient(url, session=session)
        client.set_http_retry_params(retry=False)  # the queue tries again, and tells why
        for path in files:
            try:
                answer = client.store_instances([dcmread(path)])
            except requests.HTTPError as error:
                first = first or f"http-{error.response.status_code if error.response is not None else 0}"
                continue
            except (requests.RequestException, OSError):
                return first or "unreachable"
            except Exception:  # noqa: BLE001 - a web server may answer anything at all
                first = first or "bad-answer"
                continue
            failed = answer.get("FailedSOPSequence")
            if failed:
                first = first or f"stow-{int(failed[0].get('FailureReason', 0)):04x}"
            else:
                acknowledged(path.name)
    return first


def _hurried(request: Callable[..., Any], tls: Tls | None) -> Callable[..., Any]:
    """A session's `request` that does not wait for ever, and shows and trusts what the node was given."""
    always: dict[str, Any] = {"timeout": (_CONNECT_S, _ANSWER_S)}
    if tls is not None:  # with each request: a session's own give way to REQUESTS_CA_BUNDLE
        always |= {"verify": str(tls.trusted), "cert": (str(tls.certificate), str(tls.key))}

    def call(*words: Any, **named: Any) -> Any:
        return request(*words, **{**named, **always})

    return call
