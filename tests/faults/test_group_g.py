"""Fault catalogue, group G: outputs, crashes, concurrency."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from standin_reader import WEIGHTS, scans_in, standin

from petechia import __version__
from petechia.batch import BatchOptions, BatchSummary, ScanResult, read_many
from petechia.errors import EnvironmentFailure
from petechia.store.disk import DISK, Disk
from petechia.store.files import commit, verified
from petechia.store.manifest import Stamp
from petechia.store.resume import is_current, key, scan_sha256
from petechia.types import DetectSettings, OutputFile, ScanFile, Status

HERE = Path(__file__).parent
HANG_S = 300.0  # far more than anything here takes, even on a machine that is busy with other work
SETTINGS = DetectSettings()
OPTIONS = BatchOptions(reader=standin)
FILES = tuple(OutputFile(f"{n}.bin", bytes([n]) * size) for n, size in enumerate((1_200_000, 0, 300_000)))
STAMP = Stamp("scan", "new", "analysed", 3)


def quiet(index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
    pass


def run(scans: list[ScanFile], out: Path, options: BatchOptions = OPTIONS) -> BatchSummary:
    return read_many(scans, out, SETTINGS, options, quiet)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too, and what is in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STANDIN_LOG", str(tmp_path / "log"))
    (tmp_path / "log").write_text("")
    return tmp_path / "log"


# -- G01: the disk is full ---------------------------------------------------------------------------------


def failing(nth: int, kinds: tuple[str, ...], number: int = errno.ENOSPC) -> tuple[Disk, list[str]]:
    """A disk whose nth call (from 1) of `kinds` fails, and the list of calls made."""
    calls: list[str] = []

    def wrap(kind: str) -> Callable[..., object]:
        real = getattr(DISK, kind)

        def call(*arguments: object) -> object:
            if kind in kinds:
                calls.append(kind)
                if len(calls) == nth:
                    raise OSError(number, os.strerror(number))
            return real(*arguments)

        return call

    shim = {kind: wrap(kind) for kind in ("open", "write", "fsync", "replace", "unlink", "mkdir")}
    return Disk(**shim), calls  # type: ignore[arg-type]


ALL = ("open", "write", "fsync", "replace", "unlink", "mkdir")


def failure_of(step: Callable[[], None]) -> EnvironmentFailure | None:
    try:
        step()
    except EnvironmentFailure as error:
        return error
    return None


@pytest.mark.parametrize("kinds", [("write",), ALL], ids=["writes", "every-call"])
@pytest.mark.parametrize("older", [False, True], ids=["first-reading", "over-an-older"])
def test_g01_disk_full_at_every_call(tmp_path: Path, kinds: tuple[str, ...], older: bool) -> None:
    """Fail the n-th call, n = 1, 2, ... until a commit needs fewer: no half reading, others untouched."""
    neighbour = (OutputFile("other.bin", b"o"), OutputFile("other.tsv", b"t"))
    expected = {file.name: file.content for file in (*FILES, *neighbour)}
    for nth in range(1, 200):
        folder = tmp_path / f"n{nth}" / "sub" / "anat"
        commit(folder, neighbour, Stamp("other", "k"))
        if older:
            commit(folder, [OutputFile("0.bin", b"old"), OutputFile("z.bin", b"z")], Stamp("scan", "old"))
        disk, calls = failing(nth, kinds)
        failure = failure_of(lambda folder=folder, disk=disk: commit(folder, FILES, STAMP, disk))
        if failure is None:
            assert len(calls) < nth
            break
        assert failure.code == "disk-full"
        assert str(folder) in failure.line
        assert "1,500,000 bytes" in failure.need
        assert "bytes free" in failure.found
        if not is_current(folder, "scan", "old"):
            left = {
                name for name in tree(folder) if not name.startswith((".petechia-reading-other", "other"))
            }
            assert left == set()
        assert is_current(folder, "other", "k")
        commit(folder, FILES, STAMP)  # space was made
        after = {
            name: data for name, data in tree(folder).items() if not name.startswith(".petechia-reading-")
        }
        assert after == expected
    else:
        pytest.fail("the sweep did not end")
    assert nth > (20 if kinds == ALL else 5)


def test_g01_the_run_stops_and_keeps_what_was_done(tmp_path: Path) -> None:
    scans = scans_in(tmp_path / "in", ["ok 1", "ok 2", "ok 3"])
    written = 0

    def fill(descriptor: int, data: memoryview) -> int:
        nonlocal written
        written += len(data)
        if written > 4_000_000:  # into the second scan's mask
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    with pytest.raises(EnvironmentFailure) as caught:
        run(scans, tmp_path / "out", replace(OPTIONS, disk=replace(DISK, write=fill)))
    assert caught.value.code == "disk-full"
    assert caught.value.exit_code == 4
    assert verified(tmp_path / "out" / "s00", "s00") is not None
    assert tree(tmp_path / "out" / "s01") == {}
    assert not (tmp_path / "out" / "s02").exists()
    summary = run(scans, tmp_path / "out")
    assert [result.skipped for result in summary.results] == [True, False, False]


def test_g01_a_real_full_disk(tmp_path: Path) -> None:
    """A 2 MB tmpfs in a mount namespace of its own, where the machine lets us make one."""
    code = (
        "import sys; from pathlib import Path\n"
        "from petechia.store.files import commit\n"
        "from petechia.store.manifest import Stamp\n"
        "from petechia.types import OutputFile\n"
        "from petechia.errors import EnvironmentFailure\n"
        "out = Path(sys.argv[1])\n"
        "commit(out / 'a', [OutputFile('a', b'a')], Stamp('a', 'k'))\n"
        "try:\n    commit(out / 'b', [OutputFile('b', bytes(3_000_000))], Stamp('b', 'k'))\n"
        "except EnvironmentFailure as error:\n    print(error.line)\n"
        "print(sorted(p.name for p in out.rglob('*') if p.is_file()))\n"
    )
    script = f'mount -t tmpfs -o size=2m tmpfs "$1" && exec "{sys.executable}" -c "$2" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), code],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and not done.stdout:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    line, left = done.stdout.strip().split("\n")
    assert line.startswith("disk-full: ")
    assert "3,000,000 bytes" in line
    assert left == "['.petechia-reading-a.json', 'a']"


# -- G02: kill -9 ------------------------------------------------------------------------------------------

KILLS = 60


def finals(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".petechia-")}


@pytest.fixture
def committer() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(HERE / "commit_loop.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def test_g02_kill_before_every_call(tmp_path: Path, committer: subprocess.Popen[str]) -> None:
    """The n-th call to the disk never happens, n = 1, 2, ... until a recommit needs fewer."""
    assert commit_in_child(committer, f"1 2 0 {tmp_path / 'once'}") == 0
    wanted = tree(tmp_path / "once")
    states = []
    for nth in range(1, 200):
        root = tmp_path / f"n{nth}"
        assert commit_in_child(committer, f"0 1 0 {root}") == 0  # an older reading
        status = commit_in_child(committer, f"1 2 {nth} {root}")
        states.append(check_after_kill(root / "s"))
        assert commit_in_child(committer, f"1 2 0 {root}") == 0
        assert unlocked(root) == wanted
        if status == 0:
            break
        assert status == signal.SIGKILL
    assert states[0] is states[-1] is True
    assert 5 <= states.count(False) <= len(states) - 10


def test_g02_kill_at_random_instants(tmp_path: Path, committer: subprocess.Popen[str]) -> None:
    """A reading is replaced over and over; whenever the kill comes, files are whole; the next run mends."""
    root = tmp_path / "root"
    draw = random.Random(0)
    assert commit_in_child(committer, f"0 1 0 {tmp_path / 'once'}") == 0
    wanted = tree(tmp_path / "once")
    started = time.monotonic()
    assert commit_in_child(committer, f"0 1 0 {tmp_path / 'again'}") == 0
    some_s = min(3 * (time.monotonic() - started), 0.3)  # of a few commits, however slow the disk
    for _ in range(KILLS):
        order = f"0 100000 0 {root}"
        assert commit_in_child(committer, order, draw.uniform(0, some_s)) == signal.SIGKILL
        check_after_kill(root / "s")
        if draw.random() < 0.3:
            assert commit_in_child(committer, f"0 1 0 {root}") == 0
            assert unlocked(root) == wanted


def unlocked(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(root).items() if name != ".petechia-run.lock"}


def commit_in_child(parent: subprocess.Popen[str], order: str, kill_after_s: float | None = None) -> int:
    """The wait status of a child that commits as ordered; 0 if it came to its end."""
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(order + "\n")
    parent.stdin.flush()
    pid = int(parent.stdout.readline())
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    return int(parent.stdout.readline())


def check_after_kill(folder: Path) -> bool:
    """No partial file under a final name, no mix under a manifest; True if there is a reading."""
    for name, data in finals(folder).items():
        assert len(data) == 80_000, name
        assert data == data[:2] * 40_000, name
        assert data[1] == int(name[1:])
    complete = verified(folder, "s") is not None
    if complete:
        assert len({data[0] for data in finals(folder).values()}) == 1
    return complete


def test_g02_killed_run_resumes(tmp_path: Path) -> None:
    """kill -9 of a whole run: the worker goes with it; the next run gives the bytes of an unbroken one."""
    scans_in(tmp_path / "in", ["slow 0.05"] * 8)
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in"), "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    whole = tree(tmp_path / "whole")
    draw = random.Random(1)
    for _ in range(4):
        (tmp_path / "log").write_text("")
        with subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.PIPE) as child:
            wait_for(lambda: "read" in (tmp_path / "log").read_text() or child.poll() is not None)
            time.sleep(draw.uniform(0, 0.15))
            child.kill()
        assert_gone(workers(tmp_path / "log"))
    done = subprocess.run([*command, str(tmp_path / "out")], check=True, capture_output=True, text=True)
    assert "8 analysed" in done.stdout
    assert tree(tmp_path / "out") == whole


# -- G04: two runs, one output -----------------------------------------------------------------------------


def test_g04_the_second_run_is_told_and_touches_nothing(tmp_path: Path) -> None:
    scans_in(tmp_path / "in", ["hang"])
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in"), "-o"]
    first = subprocess.Popen(
        [*command, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: "hang" in (tmp_path / "log").read_text())
        before = tree(tmp_path / "out")
        second = subprocess.run(
            [*command, str(tmp_path / "out")], capture_output=True, text=True, check=False
        )
        assert second.returncode == 4
        assert second.stderr.startswith("locked-by: ")
        assert f"pid {first.pid} on " in second.stderr
        assert second.stderr.count("\n") == 1
        assert tree(tmp_path / "out") == before
    finally:
        first.kill()
        first.communicate()
    assert_gone(workers(tmp_path / "log"))
    scans = scans_in(tmp_path / "in", ["ok 1"])
    assert run(scans, tmp_path / "out").exit_code == 0  # the dead run's lock was taken over


def test_g04_shards_work_side_by_side(tmp_path: Path) -> None:
    scans_in(tmp_path / "in", ["slow 0.02"] * 9)
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in"), "-o"]
    out = tmp_path / "out"
    shards = [
        subprocess.Popen([*command, str(out), "--shard", f"{i}/3"], stdout=subprocess.PIPE) for i in (1, 2, 3)
    ]
    for shard in shards:
        text, _ = shard.communicate()
        assert shard.returncode == 0
        assert b"3 analysed" in text
    assert sum(line.startswith("read") for line in (tmp_path / "log").read_text().split("\n")) == 9
    assert {path.name for path in out.iterdir()} == {f"s{n:02}" for n in range(9)}
    with pytest.raises(EnvironmentFailure, match="locked-by"):
        hold_and_run_shard(out, tmp_path)


def hold_and_run_shard(out: Path, tmp_path: Path) -> None:
    from petechia.store.lock import hold

    scans = scans_in(tmp_path / "in", ["ok 1", "ok 1"])
    with hold(out, shared=True), hold(out, "shard-1-of-2"):
        run(scans, out, replace(OPTIONS, shard=(1, 2)))


# -- G05: rerun --------------------------------------------------------------------------------------------


def reads(log: Path) -> list[str]:
    return [line.removeprefix("read ") for line in log.read_text().split("\n") if line.startswith("read ")]


def test_g05_unchanged_is_skipped_with_a_note(tmp_path: Path, log: Path) -> None:
    scans = scans_in(tmp_path / "in", ["ok 2", "refuse nan", "ok 0"])
    first = run(scans, tmp_path / "out")
    before = tree(tmp_path / "out")
    log.write_text("")
    again = run(scans, tmp_path / "out")
    assert reads(log) == []
    assert tree(tmp_path / "out") == before
    assert all(result.skipped and "NOTE" in result.text for result in again.results)
    assert [(r.status, r.count, r.code, r.report) for r in again.results] == [
        (r.status, r.count, r.code, r.report) for r in first.results
    ]
    assert again.exit_code == first.exit_code == 3  # a skipped refusal is still a refusal


def test_g05_whatever_decides_a_reading_makes_it_stale(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    scans = scans_in(tmp_path / "in", ["ok 2", "ok 3"])
    run(scans, out)

    def again(settings: DetectSettings = SETTINGS, options: BatchOptions = OPTIONS) -> list[str]:
        log.write_text("")
        read_many(scans, out, settings, options, quiet)
        return reads(log)

    assert again() == []
    scans[1].path.write_text("ok 4")  # another scan under the same name
    assert again() == ["s01"]
    assert again(replace(SETTINGS, operating_point="screening")) == ["s00", "s01"]
    assert again() == ["s00", "s01"]  # and back: one reading, not two
    monkeypatch.setenv("STANDIN_WEIGHTS", "cd" * 32)
    assert again() == ["s00", "s01"]
    monkeypatch.delenv("STANDIN_WEIGHTS")
    monkeypatch.setattr("petechia.batch.run.__version__", "9.9")
    assert again() == ["s00", "s01"]
    assert again() == []
    assert again(options=replace(OPTIONS, force=True)) == ["s00", "s01"]


@pytest.mark.parametrize("damage", ["manifest", "mask", "missing", "extra-manifest-byte"])
def test_g05_a_damaged_reading_is_not_current(tmp_path: Path, log: Path, damage: str) -> None:
    out = tmp_path / "out"
    scans = scans_in(tmp_path / "in", ["ok 2"])
    run(scans, out)
    before = tree(out)
    manifest = out / "s00" / ".petechia-reading-s00.json"
    if damage == "missing":
        (out / "s00" / "mask.nii.gz").unlink()
    elif damage == "mask":
        mask = out / "s00" / "mask.nii.gz"
        mask.write_bytes(mask.read_bytes()[:-1])
    elif damage == "manifest":
        manifest.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes() + b"x")
    log.write_text("")
    if damage == "missing":
        assert run(scans, out).exit_code == 0
        assert reads(log) == ["s00"]
        assert tree(out) == before
    else:  # not as we left it: it may be the user's work, so it stays and the run says so
        with pytest.raises(EnvironmentFailure, match="output-path"):
            run(scans, out)


def test_g05_never_a_mix(tmp_path: Path) -> None:
    """Analysed before, refused now: no table and no mask of the old reading stay behind, and back."""
    out = tmp_path / "out"
    scans = scans_in(tmp_path / "in", ["ok 2"])
    run(scans, out)
    scans[0].path.write_text("refuse nan")
    assert run(scans, out).exit_code == 3
    assert set(tree(out / "s00")) == {".petechia-reading-s00.json", "reading.json", "report.html"}
    scans[0].path.write_text("ok 2")
    assert run(scans, out).exit_code == 0
    assert "lesions.tsv" in tree(out / "s00")


def test_g05_the_key_is_that_of_the_bytes_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    scans = scans_in(tmp_path / "in", ["ok 2"])
    run(scans, out)
    wanted = key(scan_sha256(scans[0].path), SETTINGS, WEIGHTS, __version__)
    assert is_current(out / "s00", "s00", wanted)


# -- G06: leftovers ----------------------------------------------------------------------------------------


def test_g06_stale_temp_files_are_removed_and_never_read(tmp_path: Path) -> None:
    import hashlib

    out = tmp_path / "out"
    tag = hashlib.sha256(b"s00").hexdigest()[:12]
    (out / "s00").mkdir(parents=True)
    (out / "s00" / f".petechia-tmp-{tag}-0123456789abcdef").write_text("half a mask")
    (out / "s00" / ".petechia-intent-s00.json").write_text("{broken")
    (out / "s00" / "notes.txt").write_text("mine")
    scans = scans_in(tmp_path / "in", ["ok 1"])
    run(scans, out)
    assert set(tree(out / "s00")) == {
        ".petechia-reading-s00.json",
        "lesions.tsv",
        "mask.nii.gz",
        "reading.json",
        "report.html",
        "notes.txt",
    }


def test_g06_leftovers_beside_a_complete_reading(tmp_path: Path, log: Path) -> None:
    """Killed after the manifest, before the tidying: skipped, and tidied."""
    import hashlib

    scans = scans_in(tmp_path / "in", ["ok 1"])
    run(scans, tmp_path / "out")
    before = tree(tmp_path / "out")
    folder = tmp_path / "out" / "s00"
    (folder / f".petechia-tmp-{hashlib.sha256(b's00').hexdigest()[:12]}-ff").write_text("half")
    (folder / ".petechia-intent-s00.json").write_bytes(before["s00/.petechia-reading-s00.json"])
    log.write_text("")
    run(scans, tmp_path / "out")
    assert reads(log) == []
    assert tree(tmp_path / "out") == before


def test_g06_temp_names_are_never_used_twice(tmp_path: Path) -> None:
    seen: list[str] = []

    def note(path: str, flags: int, mode: int) -> int:
        assert flags & os.O_EXCL
        seen.append(path)
        return os.open(path, flags, mode)

    for _ in range(3):
        commit(tmp_path, FILES, STAMP, replace(DISK, open=note))
    assert len(set(seen)) == len(seen) == 3 * (len(FILES) + 2)


@pytest.mark.parametrize(("word", "how"), [("leave", "status 0"), ("abort", "SIGABRT")])
def test_g06_a_child_that_ends_silently_is_no_success(tmp_path: Path, word: str, how: str) -> None:
    """Nothing of the scan before it is taken for its answer."""
    summary = run(scans_in(tmp_path / "in", ["ok 7", word, "ok 1"]), tmp_path / "out")
    assert [result.count for result in summary.results] == [7, None, 1]
    assert summary.results[1].code == "killed"
    assert how in summary.results[1].text
    assert summary.exit_code == 3


# -- G07: one bad scan among many --------------------------------------------------------------------------


def test_g07_bad_hanging_and_killed_scans_cost_only_themselves(tmp_path: Path, log: Path) -> None:
    texts = ["ok 1"] * 20
    faults = {
        4: ("refuse nan", "nan"),
        9: ("hang", "timeout"),
        14: ("kill", "killed"),
        19: ("memory", "out-of-memory"),
    }
    for index, (text, _) in faults.items():
        texts[index] = text
    events: list[tuple[int, int, bool]] = []

    def note(index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
        events.append((index, total, result is None))

    scans = scans_in(tmp_path / "in", texts)
    summary = read_many(scans, tmp_path / "out", SETTINGS, replace(OPTIONS, timeout_s=4.0), note)
    assert [result.scan.name for result in summary.results] == [scan.name for scan in scans]
    assert events == [(i, 20, start) for i in range(20) for start in (True, False)]
    for index, result in enumerate(summary.results):
        folder = tmp_path / "out" / result.scan.folder
        if index in faults:
            assert (result.status, result.count) == (Status.NOT_ANALYSED, None)
            assert result.code == faults[index][1]
            assert str(result.scan.path) in result.text
            assert set(finals(folder)) == {"reading.json", "report.html"}
        else:
            assert (result.status, result.count, result.code) == (Status.ANALYSED, 1, "")
            assert set(finals(folder)) == {"lesions.tsv", "mask.nii.gz", "reading.json", "report.html"}
        assert result.report == folder / "report.html"
    assert summary.exit_code == 3
    assert log.read_text().count("load") == 3  # one long-lived worker, replaced after the hang and the kill
    assert_gone(workers(log))


def test_g07_a_hang_and_a_kill_are_tried_again(tmp_path: Path, log: Path) -> None:
    scans = scans_in(tmp_path / "in", ["kill", "refuse nan"])
    run(scans, tmp_path / "out")
    log.write_text("")
    run(scans, tmp_path / "out")
    assert reads(log) == ["s00"]  # the refusal would come again and is kept


def test_g07_our_own_bug_on_one_scan_is_told_and_the_rest_goes_on(tmp_path: Path, log: Path) -> None:
    summary = run(scans_in(tmp_path / "in", ["ok 1", "bug", "ok 2"]), tmp_path / "out")
    assert [result.count for result in summary.results] == [1, None, 2]
    assert summary.results[1].code == "internal-error"
    assert "KeyError" in summary.results[1].trace
    assert summary.exit_code == 1
    assert set(finals(tmp_path / "out" / "s01")) == {"reading.json", "report.html"}
    assert log.read_text().count("load") == 1


def test_g07_an_environment_failure_stops_the_run(tmp_path: Path, log: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="network-output"):
        run(scans_in(tmp_path / "in", ["ok 1", "stop", "ok 2"]), tmp_path / "out")
    assert reads(log) == ["s00", "s01"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"s00"}
    assert_gone(workers(log))


@pytest.mark.parametrize(
    ("model", "kind", "text"),
    [
        ("none", EnvironmentFailure, "weights-hash"),
        ("kill", EnvironmentFailure, r"worker-start.*SIGKILL"),
        ("bug", RuntimeError, "no such model table"),
    ],
)
def test_g07_a_model_that_cannot_be_loaded(
    tmp_path: Path, log: Path, model: str, kind: type[Exception], text: str
) -> None:
    scans = scans_in(tmp_path / "in", ["ok 1"])
    with pytest.raises(kind, match=text):
        read_many(scans, tmp_path / "out", DetectSettings(model=model), OPTIONS, quiet)
    assert_gone(workers(log))


# -- G08: signals, closed terminals and pipes --------------------------------------------------------------


def workers(log: Path) -> list[int]:
    return [int(line.split()[1]) for line in log.read_text().split("\n") if line.startswith("load")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG_S
    while not ready():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def assert_gone(pids: list[int]) -> None:
    wait_for(lambda: not any(alive(pid) for pid in pids))


def as_in_a_terminal() -> None:
    """In a child before it starts: nohup and a shell's `&` ignore these, and children inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def busy(tmp_path: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, its first scan done and its worker busy with the second."""
    scans_in(tmp_path / "in", ["ok 1", "hang", "ok 1"])
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in")]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,  # noqa: PLW1509 - no other thread runs here
    )
    try:
        wait_for(lambda: "hang" in log.read_text())
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("whole_group", [False, True], ids=["one-process", "terminal"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_g08_a_signal_ends_the_run_cleanly(
    busy: subprocess.Popen[str], tmp_path: Path, log: Path, number: int, code: int, whole_group: bool
) -> None:
    (os.killpg if whole_group else os.kill)(busy.pid, number)
    out, err = busy.communicate(timeout=HANG_S)
    assert busy.returncode == code
    assert "Traceback" not in out + err
    assert err == "interrupted: finished scans are kept; the same command goes on from there\n"
    assert out.startswith("s00\tanalysed\t1\t")
    assert "Not a medical device" in out
    assert_gone(workers(log))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"s00"}
    assert verified(tmp_path / "out" / "s00", "s00") is not None
    assert not [name for name in tree(tmp_path / "out") if "tmp" in name or "intent" in name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_g08_the_worker_leaves_stopping_to_its_parent(tmp_path: Path, log: Path, number: int) -> None:
    """Ctrl-C and job systems signal the whole group; a reading in progress must not turn into `killed`."""
    scans = scans_in(tmp_path / "in", ["slow 0.5"])
    thread = threading.Thread(
        target=lambda: (wait_for(lambda: "read" in log.read_text()), os.kill(workers(log)[0], number))
    )
    thread.start()
    summary = run(scans, tmp_path / "out")
    thread.join()
    assert summary.exit_code == 0


def test_g08_an_impatient_user(busy: subprocess.Popen[str], log: Path) -> None:
    for _ in range(500):  # all through the cleaning up
        if busy.poll() is not None:
            break
        os.killpg(busy.pid, signal.SIGINT)
        time.sleep(0.001)
    out, err = busy.communicate(timeout=HANG_S)
    assert busy.returncode == 130
    assert "Traceback" not in out + err
    assert_gone(workers(log))


def test_g08_at_random_instants(tmp_path: Path, log: Path) -> None:
    """While the worker starts, while files are committed, at the end: never a traceback or a leftover."""
    scans_in(tmp_path / "in", ["slow 0.02"] * 6)
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in"), "--force"]
    draw = random.Random(2)
    for _ in range(7):
        process = subprocess.Popen(
            [*command, "-o", str(tmp_path / "out")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=as_in_a_terminal,  # noqa: PLW1509 - no other thread runs here
        )
        wait_for((tmp_path / "out" / ".petechia-run.lock").exists)
        time.sleep(draw.uniform(0, 0.8))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=HANG_S)
        assert process.returncode in {0, 130}, err
        assert "Traceback" not in out + err
        assert not [name for name in tree(tmp_path / "out") if "tmp" in name or "intent" in name]
        assert not (tmp_path / "out" / ".petechia-run.lock").exists()
    assert_gone(workers(log))


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM"])
def test_g08_a_signal_that_was_ignored_stays_ignored(tmp_path: Path, log: Path, name: str) -> None:
    """nohup, or a shell's `&`: neither the run nor its worker is stopped, and the others still stop it."""
    scans_in(tmp_path / "in", ["slow 0.5", "hang"])
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in")]
    shell = f"trap '' {name}; exec {' '.join(command)} -o {tmp_path / 'out'}"
    process = subprocess.Popen(
        ["sh", "-c", shell],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,  # noqa: PLW1509 - no other thread runs here
    )
    try:
        wait_for(lambda: "read" in log.read_text())
        os.killpg(process.pid, signal.Signals[f"SIG{name}"])
        wait_for(lambda: "hang" in log.read_text() or process.poll() is not None)
        assert process.poll() is None  # the first scan was finished, and the next begun
        os.killpg(process.pid, signal.SIGHUP if name == "INT" else signal.SIGINT)
        out, err = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == (143 if name == "INT" else 130)
    assert out.startswith("s00\tanalysed\t1\t")
    assert err == "interrupted: finished scans are kept; the same command goes on from there\n"
    assert_gone(workers(log))


@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
def test_g08_a_closed_pipe_does_not_stop_the_work(tmp_path: Path, stream: str) -> None:
    """`petechia detect ... | head -1`, or a pager that was quit."""
    scans_in(tmp_path / "in", ["ok 1", "refuse nan", "ok 1", "ok 1"])
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in")]
    end, start = os.pipe()
    os.close(end)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pipes |= {"stdout": start} if stream != "stderr" else {}
    pipes |= {"stderr": start} if stream != "stdout" else {}
    done = subprocess.run([*command, "-o", str(tmp_path / "out")], **pipes, text=True, check=False)  # type: ignore[call-overload]
    os.close(start)
    assert done.returncode == 3
    assert "Traceback" not in (done.stdout or "") + (done.stderr or "")
    assert "BrokenPipe" not in (done.stderr or "")
    for name in ("s00", "s01", "s02", "s03"):
        assert verified(tmp_path / "out" / name, name) is not None


# -- G09: where outputs must not go ------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["in", "in/out", ".", "in/s00.nii.gz", "file", "file/out"])
def test_g09_output_path(tmp_path: Path, log: Path, out: str) -> None:
    scans_in(tmp_path / "in", ["ok 1"])
    (tmp_path / "file").write_text("mine")
    before = tree(tmp_path)
    done = detect(tmp_path / "in", tmp_path / out)
    assert done.returncode == 4
    assert done.stderr.startswith(f"output-path: {tmp_path / out}: found ")
    assert done.stderr.count("\n") == 1
    assert tree(tmp_path) == before  # and so the model was not even loaded


def test_g09_a_read_only_place(tmp_path: Path, log: Path) -> None:
    scans_in(tmp_path / "in", ["ok 1"])
    out = Path("/proc/petechia-out")  # where nobody, root included, can make a folder
    if not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    done = detect(tmp_path / "in", out)
    assert done.returncode == 4
    assert done.stderr.startswith(f"output-path: {out}: ")
    assert log.read_text() == ""


def test_g09_a_users_file_of_the_same_name(tmp_path: Path, log: Path) -> None:
    scans_in(tmp_path / "in", ["ok 1", "ok 1"])
    (tmp_path / "out" / "s01").mkdir(parents=True)
    (tmp_path / "out" / "s01" / "lesions.tsv").write_text("mine")
    before = tree(tmp_path)
    done = detect(tmp_path / "in", tmp_path / "out")
    assert done.returncode == 4
    assert done.stderr.startswith(f"output-path: {tmp_path / 'out' / 's01' / 'lesions.tsv'}: ")
    assert tree(tmp_path) == before


def test_g09_a_users_file_in_a_bids_folder(tmp_path: Path) -> None:
    """There the names are known only with the reading: the run stops, and the file is as it was."""
    scans = scans_in(tmp_path / "in", ["ok 1", "ok 1"], bids=True)
    mine = tmp_path / "out" / "sub-01" / "anat" / "s01_desc-cmb_mask.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(EnvironmentFailure, match="output-path"):
        run(scans, tmp_path / "out")
    assert mine.read_text() == "mine"
    assert verified(mine.parent, "s00") is not None
    assert verified(mine.parent, "s01") is None


def test_g09_other_files_in_the_output_are_left_alone(tmp_path: Path) -> None:
    scans = scans_in(tmp_path / "in", ["ok 1"])
    for name in ("dataset.json", "s00/plans.json", "s00/lesions.tsv.bak", "s99/reading.json"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("mine")
    run(scans, tmp_path / "out")
    run(scans, tmp_path / "out", replace(OPTIONS, force=True))
    mine = {name for name, data in tree(tmp_path / "out").items() if data == b"mine"}
    assert mine == {"dataset.json", "s00/plans.json", "s00/lesions.tsv.bak", "s99/reading.json"}


def test_g09_root_files_once_and_never_over_the_users(tmp_path: Path) -> None:
    scans = scans_in(tmp_path / "in", ["ok 1"], bids=True)
    options = replace(OPTIONS, root_files=(OutputFile("dataset_description.json", b"{}"),))
    run(scans, tmp_path / "out", options)
    stamp = (tmp_path / "out" / "dataset_description.json").stat().st_ino
    run(scans, tmp_path / "out", options)
    assert (tmp_path / "out" / "dataset_description.json").stat().st_ino == stamp
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "dataset_description.json").write_text("mine")
    with pytest.raises(EnvironmentFailure, match="output-path"):
        run(scans, tmp_path / "out2", options)
    assert tree(tmp_path / "out2") == {"dataset_description.json": b"mine"}


def detect(given: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(given), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
