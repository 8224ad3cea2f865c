"""E01-E14: DICOM folders and files, each with the good neighbour it could be taken for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import htj2k_frames
import numpy as np
import pydicom
import pytest
from builders_dicom import (
    AFFINE,
    SHAPE,
    VOXELS,
    also,
    bytes_of,
    cut,
    deflated_bomb,
    meta,
    moved,
    nested,
    packed_by_pydicom,
    put,
    recoded,
    rewritten,
    series,
    then,
    without,
    zipped,
)
from builders_matrix import OK, FaultCase, matrix, run_case
from pydicom.dataset import Dataset

from dicom_series import Patient, SeriesLook, instances, write_series
from petechia.errors import Refusal, UsageError
from petechia.scan.choose import find_scans
from petechia.scan.dicom.guard import inflated
from petechia.scan.dicom.read import read_dicom
from petechia.types import Outcome

NOTE, WARN, REFUSE = Outcome.NOTE, Outcome.WARN, Outcome.REFUSE
PATIENT = Patient()
CANARIES = PATIENT.canaries


def setting(**values: object):
    """A change that sets attributes; None deletes."""

    def apply(ds: Dataset, _n: int) -> None:
        for name, value in values.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return apply


def case(id: str, builder, outcome, code: str = "", must_say: tuple[str, ...] = ()) -> FaultCase:
    return FaultCase(id, builder, outcome, code, must_say, ("Traceback", "Error(", *CANARIES))


def copy_with(change, number: int = 6):
    """One slice written once more under another name, changed."""

    def apply(study: Path) -> None:
        ds = pydicom.dcmread(bytes_of(study, number))
        change(ds)
        ds.save_as(study / "copy.dcm")

    return apply


def new_uid(ds: Dataset) -> None:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()


def other_pixels(ds: Dataset) -> None:
    ds.PixelData = bytes(len(ds.PixelData))


def shuffled(study: Path) -> None:
    """E07: names and instance numbers in any order."""
    paths = sorted(study.glob("*.dcm"))
    for n, place in enumerate(np.random.default_rng(3).permutation(len(paths))):
        ds = pydicom.dcmread(paths[n])
        ds.InstanceNumber = int(place) + 1
        ds.save_as(study / f"z{place:04d}.ima")
        paths[n].unlink()


def shift_sideways(ds: Dataset, millimetres: float) -> None:
    place = np.array(ds.ImagePositionPatient, float)
    place += millimetres * np.array(ds.ImageOrientationPatient[:3], float)
    ds.ImagePositionPatient = [pydicom.valuerep.format_number_as_ds(float(x)) for x in place]


def rescaled(ds: Dataset, n: int) -> None:
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1 + n / 4, -n, "US"


def keep_every(step: int):
    """E04: what is left stands at even distances."""

    def apply(study: Path) -> None:
        for n, path in enumerate(sorted(study.glob("*.dcm"))):
            if n % step:
                path.unlink()

    return apply


def localiser_inside(study: Path) -> None:
    """E03: three pictures of another matrix under the same series UID."""
    look = SeriesLook(series="first", echo=1)
    for n, ds in enumerate(instances(np.zeros((32, 32, 3)), AFFINE, look)):
        new_uid(ds)
        ds.save_as(study / f"extra{n}.dcm", enforce_file_format=True)


LONG = np.zeros((*SHAPE[:2], 30))
TWINS = SeriesLook(series="first"), SeriesLook(series="second", series_number=8)
E_ROWS = [
    case("E01-tie", then(series(look=TWINS[0]), also(TWINS[1])), REFUSE, "ambiguous-series", ("--series",)),
    case("E01-longer-wins", then(series(look=TWINS[0]), also(TWINS[1], shape=(36, 40, 11))), OK),
    case("E03-localiser-inside", then(series(look=TWINS[0]), localiser_inside), OK),
    case("E04-one-missing", without(6), REFUSE, "missing-slice", ("1 slice missing of 12", "mm")),
    case("E04-two-missing", without(6, 7), REFUSE, "missing-slice", ("2 slices missing",)),
    case("E04-two-apart", without(4, 9), REFUSE, "missing-slice", ("2 slices missing",)),
    case("E04-every-second", without(*range(2, 13, 2)), REFUSE, "not-a-volume"),
    case(
        "E04-every-third-of-30",
        then(series(voxels=LONG), keep_every(3)),
        REFUSE,
        "missing-slice",
        ("of every 3",),
    ),
    case("E04-first-missing", without(1), WARN, "end-slice-missing", ("12",)),
    case("E04-last-missing", without(12), WARN, "end-slice-missing", ("12",)),
    case(
        "E05-same-bytes",
        then(series(), lambda study: put(study, "again.dcm", bytes_of(study, 5).read_bytes())),
        OK,
    ),
    case("E05-uid-clash", then(series(), copy_with(other_pixels)), REFUSE, "uid-clash"),
    case(
        "E05-same-place",
        then(series(), copy_with(new_uid)),
        REFUSE,
        "duplicate-position",
        ("at one position",),
    ),
    case("E06-jump", series(moved(0.5, 7, 8, 9, 10, 11, 12)), REFUSE, "irregular-slices"),
    case("E06-one-off", series(moved(0.1, 7)), REFUSE, "irregular-slices"),
    case("E06-within-a-percent", series(moved(0.005, 7)), OK),
    case(
        "E06-lean", series(lambda ds, n: shift_sideways(ds, 0.1 * n)), REFUSE, "irregular-slices", ("leans",)
    ),
    case(
        "E06-aside", series(rewritten(lambda ds, n: shift_sideways(ds, 0.5), 6)), REFUSE, "irregular-slices"
    ),
    case("E07-shuffled", then(series(), shuffled), OK),
    case("E07-equal-numbers", series(setting(InstanceNumber=1)), OK),
    case(
        "E08-two-patients",
        series(rewritten(setting(PatientID="SECONDCANARY", PatientName="Canaryson^Other"), 5)),
        REFUSE,
        "two-patients",
    ),
    case(
        "E08-two-frames-of-reference",
        series(rewritten(setting(FrameOfReferenceUID="1.2.3"), 5)),
        REFUSE,
        "mixed-slices",
    ),
    case("E09-no-spacing", series(setting(PixelSpacing=None)), REFUSE, "no-geometry", ("pixel spacing",)),
    case("E09-zero-spacing", series(setting(PixelSpacing=[0, 0])), REFUSE, "no-geometry", ("pixel spacing",)),
    case("E09-no-position", series(setting(ImagePositionPatient=None)), REFUSE, "no-geometry", ("position",)),
    case(
        "E09-no-orientation",
        series(setting(ImageOrientationPatient=None)),
        REFUSE,
        "no-geometry",
        ("orientation",),
    ),
    case(
        "E09-skew-orientation",
        series(setting(ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0])),
        REFUSE,
        "no-geometry",
    ),
    case("E09-thickness", series(setting(SliceThickness=3.0)), NOTE, "slice-thickness", ("3 mm",)),
    case("E10-per-slice-scale", series(rescaled), NOTE, "slice-scaling"),
    case("E10-window-only", series(setting(WindowCenter=40, WindowWidth=80)), OK),
    case(
        "E11-cut-in-pixels",
        then(series(), lambda study: cut(study, 6, 0.9)),
        REFUSE,
        "short-pixels",
        ("_0006.dcm",),
    ),
    case("E11-rows", series(rewritten(setting(NumberOfFrames=1), 1), voxels=VOXELS), OK),
    case("E11-rows-too-many", series(setting(Rows=80)), REFUSE, "short-pixels", ("bytes of pixels",)),
    case("E11-colour", series(setting(SamplesPerPixel=3, Rows=4, Columns=4)), REFUSE, "colour"),
]


@matrix(E_ROWS)
def test_group_e(entry: str, case: FaultCase, tmp_path: Path) -> None:
    answer = run_case("dicom" if entry == "library" else entry, case, tmp_path)
    if case.outcome in (OK, NOTE) and case.id != "E10-per-slice-scale":
        assert answer.volume is not None
        assert np.array_equal(answer.volume.voxels, VOXELS)
        assert np.allclose(answer.volume.affine_ras, AFFINE, atol=0.006)


def test_e10_each_slice_by_its_own_scale(tmp_path: Path) -> None:
    (scan,) = find_scans(series(rescaled)(tmp_path))
    read = read_dicom(scan)
    k = np.arange(SHAPE[2])
    assert np.allclose(read.stored * read.slope + read.intercept, VOXELS * (1 + k / 4) - k)


@pytest.mark.parametrize("signed", [False, True])
def test_e10_junk_above_the_stored_bits(tmp_path: Path, signed: bool) -> None:
    """12 of 16 bits, with an overlay and other junk in the four above."""
    true = np.random.default_rng(8).integers(-2048 if signed else 0, 2048 if signed else 4096, SHAPE)

    def dirty(ds: Dataset, n: int) -> None:
        bits = (true[:, :, n].T & 0xFFF) | np.random.default_rng(n).integers(
            0, 16, true[:, :, n].T.shape
        ) << 12
        ds.PixelData = bits.astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, int(signed)

    (scan,) = find_scans(series(dirty)(tmp_path))
    assert np.array_equal(read_dicom(scan).stored, true)


# -- E11: files that end too early -------------------------------------------------------------------------


def test_e11_cut_before_the_pixels_and_the_rest_is_listed(tmp_path: Path) -> None:
    study = then(series(), also(SeriesLook(kind="t1", series_number=9)))(tmp_path)
    path = bytes_of(study, 6)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - SHAPE[0] * SHAPE[1] * 2 - 12])
    (scan,) = find_scans(study)
    assert scan.dicom is not None
    assert len(scan.dicom.choices) == 2
    with pytest.raises(Refusal, match=r"short-pixels: .*_0006.dcm: found no pixels"):
        read_dicom(scan)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.4])
def test_e11_cut_in_the_header_never_gives_a_shorter_volume_silently(tmp_path: Path, share: float) -> None:
    study = then(series(), lambda study: cut(study, 6, share))(tmp_path)
    (scan,) = find_scans(study)
    with pytest.raises(Refusal, match=r"missing-slice|short-pixels"):
        read_dicom(scan)


def test_e11_a_thousand_million_frames(tmp_path: Path) -> None:
    study = series(setting(NumberOfFrames=999_999_999))(tmp_path)
    tracemalloc.start()
    with pytest.raises(Refusal, match=r"hostile-file: .*999999999 frames"):
        find_scans(study)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_e11_a_length_of_four_gigabytes_in_a_short_file(tmp_path: Path) -> None:
    body = b"\x08\x00\x08\x00OB\0\0\xf0\xff\xff\xff" + b"abc"
    put(tmp_path / "study", "a.dcm", meta() + body)
    with pytest.raises(Refusal, match=r"broken-file: .*ends at 42"):
        find_scans(tmp_path / "study")


# -- E12: transfer syntaxes --------------------------------------------------------------------------------

PACKED = {
    "jpeg-lossless-sv1": recoded("dcmcjpeg", "+e1"),
    "jpeg-lossless": recoded("dcmcjpeg", "+el"),
    "jpeg-ls": recoded("dcmcjpls", "+el"),
    "rle": recoded("dcmcrle"),
    "deflated": recoded("dcmconv", "+td"),
    "big-endian": recoded("dcmconv", "+tb"),
    "implicit": recoded("dcmconv", "+ti"),
    "j2k-lossless": packed_by_pydicom("1.2.840.10008.1.2.4.90"),
    "jpeg-ls-pydicom": packed_by_pydicom("1.2.840.10008.1.2.4.80"),
}
no_dcmtk = pytest.mark.skipif(not Path("/usr/bin/dcmcjpeg").exists(), reason="dcmtk is not installed")


@no_dcmtk
@pytest.mark.parametrize("syntax", PACKED)
@pytest.mark.parametrize("vendor", ["siemens", "ge"])
def test_e12_every_syntax_gives_the_same_numbers(tmp_path: Path, syntax: str, vendor: str) -> None:
    """Unsigned and signed: GE's phase is read as the image itself here."""
    signed = vendor == "ge"
    values = VOXELS - 2000 if signed else VOXELS

    def sign(ds: Dataset, n: int) -> None:
        ds.PixelData = values[:, :, n].T.astype("<i2").tobytes()
        ds.PixelRepresentation = int(signed)

    study = then(series(sign), PACKED[syntax])(tmp_path)
    (scan,) = find_scans(study)
    read = read_dicom(scan)
    assert np.array_equal(read.stored, values)
    assert "lossy" not in {finding.code for finding in read.findings}


@pytest.mark.parametrize(
    ("syntax", "lossy"),
    [
        ("1.2.840.10008.1.2.4.201", False),
        ("1.2.840.10008.1.2.4.202", False),
        ("1.2.840.10008.1.2.4.203", True),
    ],
)
def test_e12_high_throughput_jpeg_2000(tmp_path: Path, syntax: str, lossy: bool) -> None:
    """Written by another encoder from a formula; the last syntax may lose detail, and did."""
    from pydicom.encaps import encapsulate

    true = np.repeat(htj2k_frames.image().T[:, :, None], 10, axis=2)  # (i, j, k)
    folder = tmp_path / "study"
    write_series(folder, true, AFFINE, SeriesLook())
    for path in sorted(folder.glob("*.dcm")):
        ds = pydicom.dcmread(path)
        ds.PixelData = encapsulate([htj2k_frames.LOSSY if lossy else htj2k_frames.LOSSLESS])
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 0
        ds.file_meta.TransferSyntaxUID = syntax
        ds.LossyImageCompression = "01" if lossy else "00"
        ds.save_as(path)
    (scan,) = find_scans(folder)
    read = read_dicom(scan)
    off = np.abs(read.stored.astype(int) - true)
    assert off.max() < 100 if lossy else off.max() == 0
    assert ("lossy" in {finding.code for finding in read.findings}) == lossy


def test_e12_high_throughput_without_its_package_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders import HTJ2KDecoder

    def high(study: Path) -> None:
        for path in sorted(study.glob("*.dcm")):
            ds = pydicom.dcmread(path)
            ds.PixelData = encapsulate([htj2k_frames.LOSSLESS])
            ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.203"
            ds.Rows, ds.Columns = 24, 20
            ds.save_as(path)

    (scan,) = find_scans(then(series(), high)(tmp_path))
    monkeypatch.setattr(HTJ2KDecoder, "_available", {})
    with pytest.raises(Refusal, match=r"codec: .*High-Throughput.*pip install pylibjpeg-openjpeg"):
        read_dicom(scan)


def eight_bit(ds: Dataset, n: int) -> None:
    ds.PixelData = (VOXELS[:, :, n].T // 16).astype(np.uint8).tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds["PixelData"].VR = "OB"


@no_dcmtk
def test_e12_lost_detail_is_told(tmp_path: Path) -> None:
    study = then(series(eight_bit), recoded("dcmcjpeg", "+eb", "+q", "95"))(tmp_path)
    (scan,) = find_scans(study)
    read = read_dicom(scan)
    assert {f.outcome for f in read.findings if f.code == "lossy"} == {WARN}
    assert np.abs(read.stored.astype(int) - VOXELS // 16).mean() < 25  # noise, through JPEG


def test_e12_eight_bits_are_read(tmp_path: Path) -> None:
    (scan,) = find_scans(series(eight_bit)(tmp_path))
    assert np.array_equal(read_dicom(scan).stored, VOXELS // 16)


@no_dcmtk
def test_e12_what_no_decoder_supports_is_no_corruption(tmp_path: Path) -> None:
    """JPEG extended with 12 bits: the frames are whole, we cannot unpack them."""
    study = then(series(setting(BitsStored=12, HighBit=11)), recoded("dcmcjpeg", "+ee", "+q", "95"))(tmp_path)
    (scan,) = find_scans(study)
    with pytest.raises(Refusal, match=r"codec: .*JPEG Extended"):
        read_dicom(scan)


def test_e12_near_lossless_jpeg_ls_is_told(tmp_path: Path) -> None:
    def lossy(study: Path) -> None:
        for path in sorted(study.glob("*.dcm")):
            ds = pydicom.dcmread(path)
            ds.compress("1.2.840.10008.1.2.4.81", jls_error=3)
            ds.LossyImageCompression = "01"
            ds.save_as(path)

    (scan,) = find_scans(then(series(), lossy)(tmp_path))
    assert {f.outcome for f in read_dicom(scan).findings if f.code == "lossy"} == {WARN}


def test_e12_an_unknown_syntax_names_what_is_missing(tmp_path: Path) -> None:
    def video(study: Path) -> None:
        for path in sorted(study.glob("*.dcm")):
            ds = pydicom.dcmread(path)
            ds.compress("1.2.840.10008.1.2.5")
            ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
            ds.save_as(path)

    (scan,) = find_scans(then(series(), video)(tmp_path))
    with pytest.raises(Refusal, match=r"codec: .*MPEG-4"):
        read_dicom(scan)


def test_e12_a_missing_plug_in_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    (scan,) = find_scans(then(series(), PACKED["j2k-lossless"])(tmp_path))
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    with pytest.raises(Refusal, match=r"codec: .*pip install pylibjpeg-openjpeg"):
        read_dicom(scan)


@pytest.mark.parametrize("syntax", ["j2k-lossless", "jpeg-ls-pydicom"])
def test_e12_a_corrupt_frame_is_named(tmp_path: Path, syntax: str) -> None:
    def corrupt(study: Path) -> None:
        path = bytes_of(study, 4)
        content = bytearray(path.read_bytes())
        start = content.rindex(b"\xff\x93" if syntax.startswith("j2k") else b"\xff\xda") + 6
        content[start:-12] = b"\xff" * (len(content) - 12 - start)
        path.write_bytes(bytes(content))

    (scan,) = find_scans(then(series(), PACKED[syntax])(tmp_path))
    corrupt(scan.path)
    with pytest.raises(Refusal, match=r"(corrupt-frame|short-pixels): .*_0004.dcm: .*frame 1"):
        read_dicom(scan)


def test_e12_a_codestream_of_another_size_is_never_decoded(tmp_path: Path) -> None:
    """A 36 x 40 image whose JPEG 2000 header claims 40,000 x 40,000: 6 GB in the codec."""
    (scan,) = find_scans(then(series(), PACKED["j2k-lossless"])(tmp_path))
    path = bytes_of(scan.path, 4)
    content = bytearray(path.read_bytes())
    siz = content.index(b"\xff\x4f\xff\x51")
    content[siz + 8 : siz + 16] = (40_000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(content))
    with pytest.raises(Refusal, match=r"corrupt-frame: .*claims 40000 x 40000"):
        read_dicom(scan)


# -- E14: junk and attacks ---------------------------------------------------------------------------------


def test_e14_junk_is_skipped_and_counted(tmp_path: Path) -> None:
    study = series()(tmp_path)
    put(study, "report.pdf", b"%PDF-1.4 " + bytes(300))
    put(study, ".DS_Store", b"junk")
    put(study, "Thumbs.db", b"junk" * 100)
    put(study, "DICOMDIR", meta() + b"junk")
    zipped(study, study / "all.zip")
    (scan,) = find_scans(study)
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    (note,) = [finding for finding in read.findings if finding.code == "other-files"]
    assert "found 4 files" in note.text


@pytest.mark.parametrize("head", [b"MZ", b"\x7fELF"])
def test_e14_a_program_in_the_preamble_is_no_concern_of_ours(tmp_path: Path, head: bytes) -> None:
    study = series()(tmp_path)
    path = bytes_of(study, 3)
    path.write_bytes(head + path.read_bytes()[len(head) :])
    (scan,) = find_scans(study)
    assert np.array_equal(read_dicom(scan).stored, VOXELS)


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("depth", [17, 300, 3000])
def test_e14_deep_nesting_is_left_alone_and_the_others_go_on(
    tmp_path: Path, defined: bool, depth: int
) -> None:
    study = series()(tmp_path)
    put(study, "deep.dcm", nested(depth, defined))
    (scan,) = find_scans(study)
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    (warning,) = [finding for finding in read.findings if finding.code == "hostile-file"]
    assert warning.outcome is WARN


def test_e14_sixteen_deep_is_still_a_file(tmp_path: Path) -> None:
    study = series()(tmp_path)
    put(study, "deep.dcm", nested(15, True))
    (scan,) = find_scans(study)
    assert "hostile-file" not in {finding.code for finding in read_dicom(scan).findings}


PRIVATE_512_MB = b"\x09\x00\x10\x10OB\0\0\0\0\0\x20"
EIGHT_PIXELS = b"\xe0\x7f\x10\x00OW\0\0\x10\0\0\0" + bytes(16)


@pytest.mark.parametrize(
    ("head", "code"), [(b"", "broken-file"), (PRIVATE_512_MB, "broken-file"), (EIGHT_PIXELS, "hostile-file")]
)
def test_e14_a_deflated_bomb_is_never_unpacked(tmp_path: Path, head: bytes, code: str) -> None:
    """Zeros alone; a header that promises 512 MB of private data; eight pixels and then 256 MB of zeros."""
    content = deflated_bomb(head, 256 << 20)
    assert len(content) < 300_000
    tracemalloc.start()
    with pytest.raises(Refusal, match=f"^{code}: "):
        inflated(content, tmp_path / "bomb.dcm")
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_e14_a_dicomdir_that_points_outside(tmp_path: Path) -> None:
    for reference in (["..", "..", "etc", "passwd"], ["/etc/passwd"], ["..\\up"], [""]):
        path = dicomdir(tmp_path, [reference])
        with pytest.raises((Refusal, UsageError), match=r"hostile-file|no-scan"):
            find_scans(path)


def test_e14_a_dicomdir_names_its_files(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "IMAGES", VOXELS, AFFINE)
    path = dicomdir(tmp_path, [["IMAGES", each.name] for each in paths] + [["IMAGES", "GONE"]])
    (scan,) = find_scans(path)
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    assert "other-files" in {finding.code for finding in read.findings}


def dicomdir(folder: Path, references: list[list[str]]) -> Path:
    ds = Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    ds.FileSetID = "TEST"
    records = []
    for reference in references:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        element = pydicom.dataelem.DataElement(0x00041500, "CS", None, validation_mode=0)
        element._value = pydicom.multival.MultiValue(str, reference) if len(reference) > 1 else reference[0]
        record.add(element)
        records.append(record)
    ds.DirectoryRecordSequence = records
    ds.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_e14_ten_thousand_tiny_files(tmp_path: Path) -> None:
    study = series()(tmp_path)
    for n in range(10_000):
        (study / f"tiny{n:05d}").write_bytes(b"x")
    (scan,) = find_scans(study)
    assert scan.dicom is not None
    assert any("10000 files" in finding.text for finding in scan.dicom.findings)


def test_e14_a_wrong_character_set(tmp_path: Path) -> None:
    study = series()(tmp_path)
    for path in study.glob("*.dcm"):
        path.write_bytes(
            path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999").replace(b"Quill", b"\xff\xfe\xe9ll")
        )
    (scan,) = find_scans(study)
    assert np.array_equal(read_dicom(scan).stored, VOXELS)


# -- zips --------------------------------------------------------------------------------------------------


def test_a_zip_is_read_without_unpacking_to_disk(tmp_path: Path) -> None:
    study = series()(tmp_path / "made")
    path = zipped(study, tmp_path / "study.zip", {"notes.txt": b"hello", "__MACOSX/._x": b"x"})
    before = sorted(tmp_path.rglob("*"))
    (scan,) = find_scans(path)
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../up.dcm", "/etc/passwd", "a\\..\\b.dcm", "c:/x.dcm", "a/../../x"])
def test_e14_a_zip_that_leads_outside(tmp_path: Path, name: str) -> None:
    study = series()(tmp_path / "made")
    path = zipped(study, tmp_path / "study.zip", {name: b"x"})
    with pytest.raises(Refusal, match="hostile-file"):
        find_scans(path)


def test_e14_a_zip_bomb(tmp_path: Path) -> None:
    study = series()(tmp_path / "made")
    path = zipped(study, tmp_path / "study.zip", {"zeros": bytes(20 << 20)})
    with pytest.raises(Refusal, match=r"hostile-file: .*1000 times"):
        find_scans(path)


def test_a_damaged_zip_member_is_no_volume(tmp_path: Path) -> None:
    study = series()(tmp_path / "made")
    path = zipped(study, tmp_path / "study.zip")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises((Refusal, UsageError)):
        read_dicom(*find_scans(path))
