"""One run per output root; the dead never block the living."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from petechia.errors import EnvironmentFailure
from petechia.store import lock
from petechia.store.lock import STALE_S, hold

LOCK = ".petechia-run.lock"


def holder(root: Path, then: str = "time.sleep(60)", shared: bool = False) -> subprocess.Popen[str]:
    """A process that holds the lock of `root` and says so."""
    code = f"""
    import sys, time
    from pathlib import Path
    from petechia.store.lock import hold
    with hold(Path(sys.argv[1]), shared={shared}):
        print("held", flush=True)
        {then}
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_the_second_learns_who_holds_it(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(EnvironmentFailure) as caught, hold(tmp_path):
            pass
    finally:
        end(process)
    assert caught.value.code == "locked-by"
    assert f"pid {process.pid} on {socket.gethostname()} since 20" in caught.value.line
    assert str(tmp_path) in caught.value.line


def test_a_dead_holder_is_taken_over(tmp_path: Path) -> None:
    end(holder(tmp_path))
    assert (tmp_path / LOCK).exists()
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_two_roots_do_not_meet(tmp_path: Path) -> None:
    with hold(tmp_path / "a"), hold(tmp_path / "b"):
        assert (tmp_path / "a" / LOCK).exists()


def test_released_when_the_body_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path):
        raise KeyError
    with hold(tmp_path):
        pass


def test_shards_share_and_a_whole_run_does_not(tmp_path: Path) -> None:
    with hold(tmp_path, shared=True):
        with hold(tmp_path, shared=True):
            pass
        assert (tmp_path / LOCK).exists()  # the first still holds it
        with pytest.raises(EnvironmentFailure, match="locked-by"), hold(tmp_path):
            pass
    assert not (tmp_path / LOCK).exists()
    with hold(tmp_path), pytest.raises(EnvironmentFailure, match="locked-by"), hold(tmp_path, shared=True):
        pass


def test_waiting_for_a_holder_that_ends(tmp_path: Path) -> None:
    process = holder(tmp_path, then="time.sleep(0.3)")
    with hold(tmp_path, wait_s=60):
        pass
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()


def test_never_two_at_once(tmp_path: Path) -> None:
    """Many short holders, each unlinking the file: whoever got in was alone."""
    inside = 0
    most = 0
    entered = 0

    def run() -> None:
        nonlocal inside, most, entered
        for _ in range(20):
            with hold(tmp_path, wait_s=60):
                inside += 1
                most = max(most, inside)
                entered += 1
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, entered) == (1, 80)


def test_a_file_removed_between_open_and_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last holder unlinks the file that we have just opened: a lock on it would lock nobody out."""
    real, calls = lock.fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        real(descriptor, how)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with hold(tmp_path):
        assert len(calls) == 2
        with pytest.raises(EnvironmentFailure, match="locked-by"), hold(tmp_path):
            pass


def foreign_record(root: Path, silent_s: float) -> None:
    path = root / LOCK
    path.write_text(json.dumps({"pid": 1, "host": "another-host", "since": "2001"}))
    then = time.time() - silent_s
    os.utime(path, (then, then))


def test_another_host_counts_until_it_was_silent_for_long(tmp_path: Path) -> None:
    foreign_record(tmp_path, STALE_S - 60)
    with pytest.raises(EnvironmentFailure, match=r"pid 1 on another-host since 2001.*delete"), hold(tmp_path):
        pass
    assert "another-host" in (tmp_path / LOCK).read_text()  # untouched
    with hold(tmp_path, shared=True):  # shards run on many hosts
        pass
    foreign_record(tmp_path, STALE_S + 60)
    with hold(tmp_path):
        pass


def test_beating_keeps_it_fresh(tmp_path: Path) -> None:
    with hold(tmp_path) as beat:
        os.utime(tmp_path / LOCK, (0, 0))
        beat()
        assert time.time() - (tmp_path / LOCK).stat().st_mtime < 60


@pytest.mark.parametrize("text", ["", "not json", "[1]", "[" * 3000])
def test_a_lock_file_with_anything_in_it(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with hold(tmp_path):
        pass


def test_a_linked_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / LOCK).symlink_to("theirs")
    with pytest.raises(EnvironmentFailure, match="output-path"), hold(tmp_path):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.raises(EnvironmentFailure, match=r"lock-unsupported.*No locks"), hold(tmp_path):
        pass


def test_a_file_in_place_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(EnvironmentFailure, match="output-path"), hold(tmp_path / "f"):
        pass
