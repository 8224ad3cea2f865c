"""The whole way of a department: Orthanc sends a study, `petechia node` reads it, SEG and SR come back."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from whole_path import Scan

from dicom_series import Patient, SeriesLook, as_read, write_series
from node.node_peers import free_port, wait_for
from node.orthanc import needs_orthanc, running_orthanc
from petechia.node.status import node_status
from petechia.types import DISCLAIMER

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
PETECHIA = [sys.executable, "-m", "petechia", "node"]
DSRDUMP, DCIODVFY = "/usr/bin/dsrdump", shutil.which("dciodvfy")


@needs_orthanc
def test_a_study_leaves_orthanc_and_its_reading_comes_back(tmp_path: Path, scan: Scan) -> None:
    voxels, affine = as_read(scan.voxels / scan.voxels.max() * 4000, scan.affine)
    look = SeriesLook("siemens", "swi")
    paths = write_series(tmp_path / "study", voxels, affine, look)
    paths += write_series(tmp_path / "study", voxels[:, :, :9], affine, SeriesLook("siemens", "mip"))
    spool, port = tmp_path / "spool", free_port()
    log = (tmp_path / "log.txt").open("w")
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        stored = [orthanc.put(path.read_bytes()) for path in paths]
        words = ["--port", str(port), "--host", "127.0.0.1", "--spool", str(spool), "--quiet", "1"]
        node = subprocess.Popen(
            [*PETECHIA, *words, "--send-to", orthanc.address],
            stderr=log,
            env=ENVIRONMENT,
            umask=0,
        )
        try:
            wait_for((spool / "node.json").exists, 60)
            orthanc.know("petechia", "PETECHIA", port)
            sent = orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
            assert sent["FailedInstancesCount"] == 0
            wait_for(lambda: node_status(spool).studies and node_status(spool).studies[0].version, 400)
            wait_for(lambda: node_status(spool).unsent == 0, 60)
        finally:
            node.terminate()
            node.wait(30)
            log.close()
        (study,) = node_status(spool).studies
        assert (study.state, study.code, study.images) == ("analysed", "", len(paths))
        check_what_orthanc_has(DICOMwebClient(orthanc.web), look, voxels.shape, tmp_path)
    check_privacy(spool, (tmp_path / "log.txt").read_text(), look.patient)


def check_what_orthanc_has(
    web: DICOMwebClient, look: SeriesLook, shape: tuple[int, ...], folder: Path
) -> None:
    """By QIDO and WADO; opened by other libraries than those that wrote them."""
    gdcm = pytest.importorskip("gdcm")
    found = web.search_for_series(study_instance_uid=look.study_uid)
    modalities = sorted(series["00080060"]["Value"][0] for series in found)
    assert modalities.count("MR") == 2
    assert {"SEG", "SR"} < set(modalities)
    results = [ds for ds in web.retrieve_study(look.study_uid) if ds.Modality != "MR"]
    for ds in results:
        assert (ds.PatientName, ds.PatientID) == (look.patient.name, look.patient.id)
        assert ds.StudyInstanceUID == look.study_uid
        path = folder / f"{ds.Modality}.dcm"
        ds.save_as(path, enforce_file_format=True)
        if DCIODVFY:
            told = subprocess.run([DCIODVFY, str(path)], capture_output=True, text=True, check=False)
            assert not [line for line in told.stderr.splitlines() if line.startswith("Error")], told.stderr
    (segmentation,) = [ds for ds in results if ds.Modality == "SEG"]
    assert segmentation.FrameOfReferenceUID == look.frame_of_reference_uid
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "SEG.dcm"))
    assert reader.Read()
    assert reader.GetImage().GetDimensions()[:2] == [shape[0], shape[1]]
    assert np.frombuffer(segmentation.PixelData, np.uint8).any()
    if Path(DSRDUMP).exists():
        text = subprocess.run([DSRDUMP, str(folder / "SR.dcm")], capture_output=True, text=True, check=True)
        assert "Imaging Measurement Report" in text.stdout


def check_privacy(spool: Path, log: str, patient: Patient) -> None:
    """K01, K05: no canary in a name, log or status; nobody else may read the spool, whatever the umask."""
    status = subprocess.run(
        [*PETECHIA, "status", "--json", "--spool", str(spool)],
        capture_output=True, text=True, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert DISCLAIMER in log
    assert DISCLAIMER in status.stdout
    names = [str(path.relative_to(spool)) for path in spool.rglob("*")]
    for canary in patient.canaries:
        assert canary not in log + status.stdout + "\n".join(names)
    for path in spool.rglob("*"):
        text = "" if path.suffix == ".dcm" or path.is_dir() else path.read_text()
        assert not [canary for canary in patient.canaries if canary in text], path
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert [path for path in spool.rglob("*.dcm") if b"SWI" in path.read_bytes()]  # identity stays in DICOM
