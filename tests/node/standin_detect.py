"""`standin_detect.py STUDY -o RESULTS`: stands in for `petechia detect` on a folder of instances.

Writes one structured report that names study, patient and how many images it was made from. What the first
image's SeriesDescription says is done instead: "refuse CODE", "environment", "hang", "slow", "crash",
"memory", "loud".
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, generate_uid


def main(study: Path, results: Path) -> int:
    paths = sorted(study.iterdir())
    source = dcmread(paths[0], stop_before_pixels=True)
    wish, _, word = str(source.get("SeriesDescription", "")).partition(" ")
    if wish == "hang":
        time.sleep(600)
    if wish == "slow":
        time.sleep(2)
    if wish == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if wish == "memory":
        held = bytearray(64 * 1024**3)  # over the limit of address space
        return len(held) and 1
    if wish == "loud":
        print(source.PatientName, file=sys.stderr)
        return 1
    if wish == "refuse":
        print(f"{word}: {study}: found {source.PatientName}; need none. Nothing.", file=sys.stderr)
        return 3
    if wish == "environment":
        print(f"disk-full: {results}: found 0; need 1. Free some.", file=sys.stderr)
        return 4
    folder = results / "swi-0123456789"
    folder.mkdir(parents=True)
    report(source, len(paths)).save_as(folder / "sr.dcm", enforce_file_format=True)
    return 0


def report(source: Dataset, images: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for word in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        setattr(ds, word, source.get(word, ""))
    for word in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(ds, word, source.get(word, ""))
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "SR", 900, 1
    ds.Manufacturer = "petechia tests"
    ds.ContentDate, ds.ContentTime = "20260101", "120000"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = "126000", "DCM"
    title.CodeMeaning = "Imaging Measurement Report"
    ds.ConceptNameCodeSequence = [title]
    text, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    text.RelationshipType, text.ValueType, text.ConceptNameCodeSequence = "CONTAINS", "TEXT", [name]
    text.TextValue = f"images {images}"
    ds.ContentSequence = [text]
    return ds


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[3])))
