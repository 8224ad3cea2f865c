"""Group A of the fault matrix: bytes and containers."""

from __future__ import annotations

import gzip
import json
import resource
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from builders_head import SHAPE, head, standard_affine, stored
from builders_matrix import OK, FaultCase, matrix, run_case
from builders_nifti import nifti, packed, patched, put, zeros_packed

from petechia.errors import Refusal
from petechia.scan.open import read_bytes
from petechia.types import Outcome

REFUSE, NOTE = Outcome.REFUSE, Outcome.NOTE
SMALL = (16, 14, 12)  # where only the bytes matter
PLAIN = nifti(stored(), standard_affine())
PACKED = packed(PLAIN)
TINY = nifti(stored(shape=SMALL, affine=standard_affine(SMALL, 12.0)), standard_affine(SMALL, 12.0))
TINY_PACKED = packed(TINY)


def file_of(content: bytes, name: str, folder: Path) -> Path:
    return put(folder, content, name)


def make(content: bytes, name: str = "s.nii.gz") -> partial[Path]:
    return partial(file_of, content, name)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345678\n"
ANNEX = b"/annex/objects/SHA256E-s6217021--1e1cf4d4b8d1.nii.gz\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"
MGZ = gzip.compress(struct.pack(">7i", 1, 64, 64, 64, 1, 3, 0) + bytes(300))
NRRD = b"NRRD0005\ntype: short\ndimension: 3\nsizes: 64 64 64\nencoding: raw\n\n" + bytes(400)
DICOM = bytes(128) + b"DICM" + bytes(300)


def flipped_header(byte: int) -> bytes:
    """One header byte changed in a gzip file that stores it unpacked: 10 bytes of gzip, 5 of block."""
    changed = bytearray(packed(PLAIN, level=0))  # long enough that the header is seen before the checksum
    changed[15 + byte] ^= 0x55
    return bytes(changed)


CASES = (
    FaultCase("A00-clean", make(PACKED), OK),
    FaultCase("A00-clean-plain", make(PLAIN, "s.nii"), OK),
    *(
        FaultCase(f"A01-{name}", make(b"", name), REFUSE, "empty-file")
        for name in ("s.nii.gz", "s.nii", "s.dcm")
    ),
    *(
        FaultCase(f"A02-cut-{n}", make(PACKED[:n]), REFUSE, "truncated", ("bytes",))
        for n in (1, 2, 10, 17, 352, len(PACKED) // 2, len(PACKED) - 9)
    ),
    *(FaultCase(f"A03-tail-{n}", make(PACKED[:-n]), REFUSE, "truncated", ("trailer",)) for n in (8, 4, 1)),
    *(
        FaultCase(f"A04-cut-{n}", make(PLAIN[:n], "s.nii"), REFUSE, "truncated", (f"{n} bytes",))
        for n in (1, 3, 100, 347, 348, 352, 400, 5000, len(PLAIN) // 2, len(PLAIN) - 1)
    ),
    FaultCase("A05-crc", make(PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:]), REFUSE, "gzip-crc", ("data check",)),
    FaultCase("A05-isize", make(PACKED[:-4] + b"\1\2\3\4"), REFUSE, "gzip-crc", ("length check",)),
    # damage that turns the header into nonsense is told as damage, not as a bad header
    *(
        FaultCase(f"A05-header-byte-{n}", make(flipped_header(n)), REFUSE, "gzip-crc", ("data check",))
        for n in (0, 40, 42, 70, 108, 254, 344)
    ),
    FaultCase("A06-two-members", make(packed(PLAIN[:5000]) + packed(PLAIN[5000:])), OK),
    FaultCase("A06-header-split", make(packed(PLAIN[:40]) + packed(PLAIN[40:])), OK),
    FaultCase("A06-empty-member", make(packed(b"") + PACKED + packed(b"")), OK),
    FaultCase(
        "A06-second-member-cut", make((packed(PLAIN[:5000]) + packed(PLAIN[5000:]))[:-9]), REFUSE, "truncated"
    ),
    FaultCase(
        "A06-second-member-missing", make(packed(PLAIN[:5000])), REFUSE, "truncated", (f"{len(PLAIN)} bytes",)
    ),
    FaultCase("A06-zeros", make(PACKED + bytes(512)), NOTE, "extra-bytes", ("512 bytes",)),
    FaultCase("A06-one-zero", make(PACKED + b"\0"), NOTE, "extra-bytes", ("1 bytes",)),
    FaultCase("A06-rubbish", make(PACKED + b"some other text"), NOTE, "extra-bytes", ("15 bytes",)),
    FaultCase("A06-inside", make(packed(PLAIN + bytes(77))), NOTE, "extra-bytes", ("77 bytes",)),
    FaultCase("A06-plain", make(PLAIN + bytes(99), "s.nii"), NOTE, "extra-bytes", ("99 bytes",)),
    FaultCase("A07-plain-as-gz", make(PLAIN), NOTE, "name-mismatch", ("plain NIfTI",)),
    FaultCase("A07-gz-as-plain", make(PACKED, "s.nii"), NOTE, "name-mismatch", ("gzip",)),
    FaultCase("A07-upper-case", make(PACKED, "S.NII.GZ"), NOTE, "name-mismatch"),
    FaultCase("A07-no-suffix", make(PACKED, "scan"), NOTE, "name-mismatch"),
    FaultCase("A07-mgz", make(MGZ), REFUSE, "not-nifti", ("MGH",)),
    FaultCase("A07-nrrd", make(NRRD), REFUSE, "not-nifti", ("NRRD",)),
    FaultCase("A07-dicom", make(DICOM), REFUSE, "not-nifti", ("DICOM", "dcm2niix")),
    FaultCase("A07-zip", make(b"PK\3\4" + bytes(500)), REFUSE, "not-nifti", ("zip",)),
    FaultCase("A07-png", make(b"\x89PNG\r\n\x1a\n" + bytes(500), "s.nii"), REFUSE, "not-nifti", ("PNG",)),
    FaultCase("A07-gz-in-gz", make(packed(PACKED)), REFUSE, "not-nifti", ("gzip file",)),
    FaultCase("A07-unknown", make(bytes(range(256)) * 4, "s.nii"), REFUSE, "not-nifti", ("unknown",)),
    FaultCase("A08-html", make(HTML), REFUSE, "not-an-image", ("web page",)),
    FaultCase("A08-lfs", make(LFS), REFUSE, "not-an-image", ("Git-LFS pointer", "git lfs pull")),
    FaultCase("A08-annex", make(ANNEX), REFUSE, "not-an-image", ("git-annex pointer",)),
    FaultCase("A08-annex-relative", make(b"../../.git" + ANNEX), REFUSE, "not-an-image", ("git-annex",)),
    FaultCase(
        "A08-json", make(b'{"EchoTime": 0.02, "Manufacturer": "X"}'), REFUSE, "not-an-image", ("JSON",)
    ),
    FaultCase("A08-text", make(b"see the other folder, please\n" * 20), REFUSE, "not-an-image", ("text",)),
    FaultCase("A08-packed-html", make(packed(HTML * 10)), REFUSE, "not-an-image", ("web page",)),
)


@matrix(CASES, cli=("A05-crc", "A08-lfs"))
def test_group_a(entry: str, case: FaultCase, tmp_path: Path) -> None:
    run_case(entry, case, tmp_path)


def test_clean_bytes_are_the_bytes(tmp_path: Path) -> None:
    import hashlib

    for name, content in (("s.nii.gz", PACKED), ("s.nii", PLAIN)):
        path = put(tmp_path, content, name)
        data, digest, findings = read_bytes(path)
        assert bytes(data) == PLAIN
        assert data.readonly
        assert digest == hashlib.sha256(content).hexdigest()
        assert findings == ()


def test_every_member_is_read_and_hashed(tmp_path: Path) -> None:
    import hashlib

    content = b"".join(packed(PLAIN[n : n + 9999]) for n in range(0, len(PLAIN), 9999)) + b"tail"
    data, digest, _ = read_bytes(put(tmp_path, content, "s.nii.gz"))
    assert bytes(data) == PLAIN
    assert digest == hashlib.sha256(content).hexdigest()


# -- A02: every cut ----------------------------------------------------------------------------------------


def outcome_of(path: Path) -> tuple[str, bytes]:
    try:
        data, _, _ = read_bytes(path)
    except Refusal as refusal:
        return refusal.code, b""
    return "", bytes(data)


@pytest.mark.parametrize(("content", "name"), [(TINY_PACKED, "s.nii.gz"), (TINY, "s.nii")])
def test_a02_a04_every_cut_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    cuts = (
        set(range(1, 400))
        | {len(content) * n // 64 for n in range(1, 64)}
        | set(range(len(content) - 20, len(content)))
    )
    codes = {n: outcome_of(put(tmp_path, content[:n], name))[0] for n in sorted(cuts)}
    assert set(codes.values()) == {"truncated"}, {n: code for n, code in codes.items() if code != "truncated"}


# -- A05: flipped bits -------------------------------------------------------------------------------------


def test_a05_no_flipped_bit_passes_unseen(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    positions = rng.choice(len(TINY_PACKED) * 8, size=2000, replace=False)
    # the header and trailer every time: they are few and the likeliest to be overlooked
    positions = np.union1d(positions, np.r_[0:80, (len(TINY_PACKED) - 8) * 8 : len(TINY_PACKED) * 8])
    path = tmp_path / "s.nii.gz"
    silent, codes = [], set()
    for position in positions:
        changed = bytearray(TINY_PACKED)
        changed[position // 8] ^= 1 << (position % 8)
        path.write_bytes(changed)
        code, data = outcome_of(path)
        codes.add(code)
        if code == "":
            assert data == TINY, f"bit {position}: wrong voxels accepted"
            silent.append(int(position))
    # What passes gave the true image to the last bit: FTEXT, time, XFL and OS of the gzip header, the
    # padding of the last block, and a few bits of its tables that no symbol in use depends on.
    header = {3 * 8, *range(4 * 8, 10 * 8)}
    assert header <= set(silent)
    assert len(set(silent) - header) < 0.01 * len(positions)
    assert codes <= {"", "gzip-crc", "truncated", "not-nifti", "extra-bytes"}
    assert "gzip-crc" in codes


# -- A08, A01: what is no file at all ----------------------------------------------------------------------


def test_dangling_link_says_datalad_get(tmp_path: Path) -> None:
    path = tmp_path / "s.nii.gz"
    path.symlink_to("../.git/annex/objects/xx/yy/SHA256E-s1--00.nii.gz")
    with pytest.raises(Refusal, match="datalad get") as caught:
        read_bytes(path)
    assert caught.value.code == "not-fetched"


def test_link_to_a_real_file_is_read(tmp_path: Path) -> None:
    put(tmp_path, TINY, "real.nii")
    path = tmp_path / "s.nii"
    path.symlink_to("real.nii")
    assert bytes(read_bytes(path)[0]) == TINY


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "absent"])
def test_not_a_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    import os

    path = tmp_path / "s.nii.gz"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    with pytest.raises(Refusal) as caught:
        read_bytes(path)
    expected = {"loop": "unreadable", "absent": "not-found"}.get(kind, "not-a-file")
    assert caught.value.code == expected
    assert str(path) in caught.value.line


# -- A09: bombs, in a child with little room ---------------------------------------------------------------

BASE = bytes(patched(TINY))
_ROOM = 200 * 1024**2
_CHILD = """
import json, resource, sys
from pathlib import Path
import petechia.scan.nifti
from petechia.errors import Refusal
from petechia.types import DetectSettings, ScanFile
for line in open("/proc/self/status"):
    if line.startswith("VmSize"):
        used = int(line.split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
cpu = resource.getrusage(resource.RUSAGE_SELF)
path = Path(sys.argv[1])
try:
    petechia.scan.nifti.read_series(ScanFile(path, "s", Path("s"), False), DetectSettings())
    code, line = "", ""
except Refusal as refusal:
    code, line = refusal.code, refusal.line
now = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"code": code, "line": line, "cpu": now.ru_utime - cpu.ru_utime,
    "grown": now.ru_maxrss - cpu.ru_maxrss}))
"""


def bomb_behind_image() -> bytes:
    return zeros_packed(TINY, 8 * 1024**3)


def bomb_of_zeros() -> bytes:
    return zeros_packed(b"", 8 * 1024**3)


def bomb_with_honest_header() -> bytes:
    header = patched(TINY, dim=(3, 1500, 1200, 2200, 1, 1, 1, 1))[:352]
    return zeros_packed(header, 8 * 1024**3)


def bomb_within_the_cap() -> bytes:
    header = patched(TINY, dim=(3, 1024, 1024, 511, 1, 1, 1, 1), datatype=2, bitpix=8)[:352]
    return zeros_packed(header, 512 * 1024**2)


def huge_dimensions() -> bytes:
    header = patched(TINY, dim=(3, 32767, 32767, 32767, 1, 1, 1, 1))
    return packed(header + bytes(100_000))


def huge_dimensions_plain() -> bytes:
    return patched(TINY, dim=(3, 32767, 32767, 32767, 1, 1, 1, 1)) + bytes(100_000)


def huge_volumes() -> bytes:
    return patched(TINY, dim=(7, 32767, 32767, 32767, 32767, 32767, 32767, 32767)) + bytes(100_000)


def extension_of_2_gb() -> bytes:
    claimed = patched(TINY, extension=b"\1\0\0\0", vox_offset=352.0)
    return claimed[:352] + struct.pack("<2i", 2**31 - 16, 6) + bytes(24) + claimed[352:]


def offset_of_1_gb() -> bytes:
    return patched(TINY, vox_offset=float(2**30)) + bytes(1000)


@pytest.mark.parametrize(
    "bomb",
    [
        bomb_behind_image,
        bomb_of_zeros,
        bomb_with_honest_header,
        bomb_within_the_cap,
        huge_dimensions,
        huge_dimensions_plain,
        huge_volumes,
        extension_of_2_gb,
        offset_of_1_gb,
    ],
)
def test_a09_bombs_are_refused_in_little_memory(bomb: object, tmp_path: Path) -> None:
    path = put(tmp_path, bomb(), "s.nii.gz")  # type: ignore[operator]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), str(_ROOM)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["code"] == "too-large", said
    assert said["grown"] * 1024 < _ROOM
    assert len(said["line"]) <= 300


def test_a09_ordinary_zeros_are_no_bomb(tmp_path: Path) -> None:
    shape = (120, 120, 100)
    content = packed(nifti(np.zeros(shape, "i2"), standard_affine(shape, 1.5)), level=9)
    data, _, _ = read_bytes(put(tmp_path, content, "s.nii.gz"))
    assert len(data) == 352 + 2 * 120 * 120 * 100


def test_the_child_would_notice(tmp_path: Path) -> None:
    """The limit bites: reading a real volume larger than the room fails in the same child."""
    assert resource.RLIMIT_AS
    shape = (512, 512, 220)
    path = tmp_path / "s.nii"
    path.write_bytes(nifti(np.zeros((8, 8, 8), "f4"), standard_affine((8, 8, 8)))[:352])
    with path.open("r+b") as file:
        file.write(patched(path.read_bytes(), dim=(3, *shape, 1, 1, 1, 1)))
        file.truncate(352 + 4 * 512 * 512 * 220)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), str(_ROOM)], capture_output=True, text=True, check=False
    )
    assert "MemoryError" in done.stderr


def test_head_shape_is_what_the_cases_use() -> None:
    assert head().shape == SHAPE
