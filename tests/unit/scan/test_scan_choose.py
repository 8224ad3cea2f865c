"""Which scans an input holds, and the names of their outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dicom_series import Patient, SeriesLook, write_series
from petechia.errors import EnvironmentFailure, Refusal, UsageError
from petechia.scan.choose import find_scans
from petechia.scan.sidecar import stem


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def dataset(root: Path, *names: str, **echo_times_s: float) -> Path:
    """A BIDS dataset of empty images. names: sub-01/anat/sub-01_T2starw.nii.gz, ..."""
    touch(root / "dataset_description.json", b"{}")
    for name in names:
        touch(root / name)
    return root


def names(root: Path, *participants: str) -> list[str]:
    return [scan.name for scan in find_scans(root, participants)]


# -- files and folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("scan.nii.gz", "scan"),
        ("scan.nii", "scan"),
        ("SCAN.NII.GZ", "SCAN"),
        ("a.b.nii.gz", "a.b"),
        ("no suffix", "no_suffix"),
        ("my scan (1).nii.gz", "my_scan__1_"),
        ("Müller.nii", "M_ller"),
        ("x" * 64 + ".nii", "x" * 64),
    ],
)
def test_a_file_is_itself(file: str, name: str, tmp_path: Path) -> None:
    path = touch(tmp_path / file)
    (scan,) = find_scans(path)
    assert (scan.path, scan.name, scan.folder, scan.bids) == (path, name, Path(name), False)


@pytest.mark.parametrize("file", ["-rf.nii", ".hidden.nii.gz", "x" * 65 + ".nii", ".nii.gz"])
def test_a_file_without_a_usable_name(file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_scans(touch(tmp_path / file))
    assert caught.value.code == "bad-id"


def test_a_folder_gives_its_nifti_files_in_order(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii", "C.NII.GZ", "notes.txt", "a.json", "._a.nii", "deep/d.nii"):
        touch(tmp_path / name)
    (tmp_path / "folder.nii").mkdir()
    assert names(tmp_path) == ["C", "a", "b"]


def test_dangling_links_are_listed_so_that_the_reader_can_say_why(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to("nowhere")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a.nii.gz") == ["a"]


@pytest.mark.parametrize(
    ("first", "second"), [("a.nii", "a.nii.gz"), ("a b.nii", "a_b.nii"), ("A.nii", "a.nii.gz")]
)
def test_two_inputs_with_one_output_name(first: str, second: str, tmp_path: Path) -> None:
    touch(tmp_path / first)
    touch(tmp_path / second)
    with pytest.raises(UsageError) as caught:
        find_scans(tmp_path)
    assert caught.value.code == "name-collision"
    assert first in caught.value.line
    assert second in caught.value.line


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\*\.nii") as caught:
        find_scans(tmp_path)
    assert caught.value.code == "no-scan"
    with pytest.raises(UsageError) as caught:
        find_scans(tmp_path / "absent")
    assert caught.value.code == "no-input"


def test_what_only_looks_like_dicom(tmp_path: Path) -> None:
    dicom = touch(tmp_path / "series" / "IM0001", bytes(128) + b"DICM" + bytes(20))
    for given in (dicom, dicom.parent):
        with pytest.raises(Refusal, match="broken-file"):
            find_scans(given)
    touch(tmp_path / "named" / "1.dcm", b"")
    with pytest.raises(UsageError, match="no-scan"):
        find_scans(tmp_path / "named")


def test_a_series_is_asked_for_by_label_number_or_uid(tmp_path: Path) -> None:
    swi = SeriesLook(series_number=5)
    gre = SeriesLook(kind="gre", series_number=7)
    for look in (swi, gre):
        write_series(tmp_path / "in", np.ones((8, 8, 9)), np.diag([1.0, 1.0, 2.0, 1.0]), look)
    wishes = (None, "5", "7", gre.series_uid)
    chosen = {wanted: find_scans(tmp_path / "in", (), wanted)[0].name for wanted in wishes}
    label = chosen["7"].removeprefix("gre-")
    assert chosen[None] == chosen["5"] != chosen["7"] == chosen[gre.series_uid]
    assert find_scans(tmp_path / "in", (), label)[0].name == chosen["7"]
    with pytest.raises(UsageError, match=rf"no-series.*{label}"):
        find_scans(tmp_path / "in", (), "99")
    touch(tmp_path / "nifti" / "a.nii")
    with pytest.raises(UsageError, match="no-series"):
        find_scans(tmp_path / "nifti", (), "5")


def test_each_study_of_a_folder_is_a_scan_of_its_own(tmp_path: Path) -> None:
    for study in ("one", "two"):
        look = SeriesLook(study=study)
        write_series(tmp_path / "in" / study, np.ones((8, 8, 9)), np.diag([1.0, 1.0, 2.0, 1.0]), look)
    write_series(
        tmp_path / "in" / "three", np.ones((8, 8, 9)), np.eye(4), SeriesLook(kind="t1", study="three")
    )
    scans = find_scans(tmp_path / "in")
    assert len({scan.name for scan in scans}) == 3
    assert [scan.dicom.refusal is None for scan in scans if scan.dicom] == [False, True, True]
    for scan in scans:
        for words in (*Patient().canaries, SeriesLook(study="one").series_uid):
            assert words not in repr(scan)


def test_a_pipe_in_the_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no-scan"):
        find_scans(tmp_path)
    os.mkfifo(tmp_path / "a.nii")
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(EnvironmentFailure, match="unreadable-folder"):
            find_scans(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# -- BIDS --------------------------------------------------------------------------------------------------

SIMULATED = (
    "sub-01/anat/sub-01_acq-swi_T2starw.nii.gz",
    "sub-01/anat/sub-01_acq-gre_T2starw.nii.gz",
    "sub-01/anat/sub-01_part-mag_T2starw.nii.gz",
    "sub-01/anat/sub-01_part-phase_T2starw.nii.gz",
    "sub-01/anat/sub-01_Chimap.nii.gz",
    "sub-01/anat/sub-01_T2w.nii.gz",
)


def test_bids_simulated_subject(tmp_path: Path) -> None:
    scans = find_scans(dataset(tmp_path, *SIMULATED))
    assert [scan.name for scan in scans] == ["sub-01_acq-gre", "sub-01_acq-swi"]
    assert {scan.folder for scan in scans} == {Path("sub-01/anat")}
    assert all(scan.bids for scan in scans)


@pytest.mark.parametrize("file", ["T2starw", "swi", "GRE", "MEGRE"])
@pytest.mark.parametrize("folder", ["anat", "swi"])
@pytest.mark.parametrize("session", ["", "ses-b"])
def test_bids_names_that_are_read(file: str, folder: str, session: str, tmp_path: Path) -> None:
    stem_ = "_".join(part for part in ("sub-01", session) if part)
    root = dataset(tmp_path, f"{Path('sub-01', session)}/{folder}/{stem_}_{file}.nii.gz")
    (scan,) = find_scans(root)
    assert scan.name == stem_
    assert scan.folder == Path("sub-01") / session / "anat"


@pytest.mark.parametrize(
    "file",
    [
        "sub-01_part-phase_T2starw",
        "sub-01_part-real_T2starw",
        "sub-01_part-imag_GRE",
        "sub-01_minIP",
        "sub-01_acq-minIP_T2starw",
        "sub-01_rec-MinIP_swi",
        "sub-01_part-phase_Chimap",
        "sub-01_T1w",
        "sub-01_bold",
    ],
)
def test_bids_names_that_are_not_read(file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="_T2starw") as caught:
        find_scans(dataset(tmp_path, f"sub-01/anat/{file}.nii.gz"))
    assert caught.value.code == "no-scan"


def test_a_susceptibility_map_is_read_where_nothing_else_can_be(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        "sub-01/anat/sub-01_Chimap.nii.gz",
        "sub-01/anat/sub-01_part-phase_T2starw.nii.gz",
        "sub-02/anat/sub-02_Chimap.nii.gz",
        "sub-02/anat/sub-02_T2starw.nii.gz",
    )
    assert [scan.path.name for scan in find_scans(root)] == ["sub-01_Chimap.nii.gz", "sub-02_T2starw.nii.gz"]


def test_asked_for_maps_a_dataset_gives_them_and_nothing_else(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        *SIMULATED,
        "sub-02/anat/sub-02_T2starw.nii.gz",
        "sub-03/anat/sub-03_acq-qsm_Chimap.nii.gz",
        "sub-03/anat/sub-03_acq-swi_T2starw.nii.gz",
    )
    found = [scan.path.name for scan in find_scans(root, maps=True)]
    assert found == ["sub-01_Chimap.nii.gz", "sub-03_acq-qsm_Chimap.nii.gz"]
    (alone,) = find_scans(root, ("03",), maps=True)
    assert alone.name == "sub-03_acq-qsm"


def test_bids_magnitude_counts_where_there_is_no_swi(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        "sub-01/anat/sub-01_run-1_part-mag_T2starw.nii.gz",
        "sub-01/anat/sub-01_run-2_part-mag_T2starw.nii.gz",
        "sub-01/anat/sub-01_run-2_swi.nii.gz",
        "sub-02/anat/sub-02_part-mag_T2starw.nii.gz",
    )
    assert names(root) == ["sub-01_run-1_part-mag", "sub-01_run-2", "sub-02_part-mag"]


def echoes(root: Path, times_s: list[float | None]) -> Path:
    dataset(root)
    for number, time in enumerate(times_s, 1):
        path = touch(root / f"sub-01/anat/sub-01_echo-{number}_part-mag_MEGRE.nii.gz")
        if time is not None:
            path.with_name(stem(path.name) + ".json").write_text(json.dumps({"EchoTime": time}))
    return root


@pytest.mark.parametrize(
    ("times_s", "chosen"),
    [
        ([0.005, 0.012, 0.022, 0.030], "echo-3"),
        ([0.004, 0.008, 0.012], "echo-3"),
        ([0.024, 0.04], "echo-1"),
        ([None, None, None], "echo-3"),
        ([0.022, None, 0.04], "echo-3"),
        ([*[None] * 11], "echo-11"),
    ],
)
def test_bids_one_echo_is_read(times_s: list[float | None], chosen: str, tmp_path: Path) -> None:
    (scan,) = find_scans(echoes(tmp_path, times_s))
    assert scan.name == f"sub-01_{chosen}_part-mag"


def test_bids_two_suffixes_stay_apart(tmp_path: Path) -> None:
    root = dataset(tmp_path, "sub-01/anat/sub-01_acq-a_T2starw.nii.gz", "sub-01/swi/sub-01_acq-a_swi.nii.gz")
    assert sorted(names(root)) == ["sub-01_acq-a_mod-T2starw", "sub-01_acq-a_mod-swi"]


def test_bids_mod_takes_its_place_in_the_order(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        "sub-01/anat/sub-01_run-1_echo-2_GRE.nii.gz",
        "sub-01/anat/sub-01_run-1_echo-2_MEGRE.nii.gz",
    )
    assert names(root) == ["sub-01_run-1_mod-GRE_echo-2", "sub-01_run-1_mod-MEGRE_echo-2"]


def test_bids_one_image_twice_is_a_collision(tmp_path: Path) -> None:
    root = dataset(tmp_path, "sub-01/anat/sub-01_T2starw.nii", "sub-01/anat/sub-01_T2starw.nii.gz")
    with pytest.raises(UsageError, match="name-collision"):
        find_scans(root)


def test_bids_participants(tmp_path: Path) -> None:
    root = dataset(tmp_path, *(f"sub-{n}/anat/sub-{n}_T2starw.nii.gz" for n in ("01", "02", "03")))
    assert names(root) == ["sub-01", "sub-02", "sub-03"]
    assert names(root, "02") == ["sub-02"]
    assert names(root, "sub-03", "01") == ["sub-01", "sub-03"]
    with pytest.raises(UsageError, match="sub-04") as caught:
        find_scans(root, ("01", "04"))
    assert caught.value.code == "no-participant"


def test_bids_derivatives_and_source_data_are_left_alone(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        "sub-01/anat/sub-01_T2starw.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T2starw.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T2starw.nii.gz",
    )
    assert names(root) == ["sub-01"]


@pytest.mark.parametrize("file", ["sub-02_T2starw", "sub-011_T2starw", "T2starw", "sub-01_run-a b_T2starw"])
def test_bids_name_that_does_not_fit_its_folder(file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bad-id"):
        find_scans(dataset(tmp_path, f"sub-01/anat/{file}.nii.gz"))


# -- phase -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "phases", "chosen"),
    [
        ("sub-1_acq-swi_T2starw", ["sub-1_acq-swi_part-phase_T2starw"], 0),
        ("sub-1_part-mag_T2starw", ["sub-1_part-phase_T2starw"], 0),
        ("sub-1_run-1_swi", ["sub-1_run-2_part-phase_swi", "sub-1_run-1_part-phase_GRE"], 1),
        ("sub-1_swi", ["sub-1_part-phase_GRE", "sub-1_part-phase_swi"], 1),
        ("sub-1_echo-2_T2starw", ["sub-1_echo-1_part-phase_T2starw"], None),
        ("sub-1_acq-gre_T2starw", ["sub-1_acq-swi_part-phase_T2starw"], None),
    ],
)
def test_the_phase_of_the_same_acquisition_comes_along(
    image: str, phases: list[str], chosen: int | None, tmp_path: Path
) -> None:
    root = dataset(tmp_path, *(f"sub-1/anat/{name}.nii.gz" for name in (image, *phases)))
    (scan,) = find_scans(root)
    assert scan.path.name == f"{image}.nii.gz"
    expected = None if chosen is None else root / "sub-1" / "anat" / f"{phases[chosen]}.nii.gz"
    assert scan.phase == expected
