"""The real peer: a study leaves Orthanc for the node, and what was read comes back into Orthanc."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from node.certificates import authority, needs_openssl, signed
from node.node_peers import Study, buffer_of, running_node, wait_for
from node.orthanc import STORESCU, Orthanc, needs_orthanc, needs_storescu, running_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Orthanc:
    with running_orthanc(tmp_path_factory.mktemp("orthanc") / "it") as found:
        yield found


@needs_orthanc
@pytest.mark.parametrize("back", ["C-STORE", "STOW-RS"])
def test_from_orthanc_to_the_node_and_back(tmp_path: Path, orthanc: Orthanc, back: str) -> None:
    study = Study()
    stored = [orthanc.put(buffer_of(ds).getvalue()) for ds in study.instances(12)]
    where = orthanc.address if back == "C-STORE" else orthanc.web
    allow = ["ORTHANC@127.0.0.1"]
    with running_node(tmp_path / "spool", [where], allow=allow) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        orthanc.ask("/modalities/petechia/echo", {})
        sent = orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
        assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (12, 0)
        wait_for(lambda: node.status().studies and node.study().version and not node.status().unsent, 60)
    web = DICOMwebClient(orthanc.web)
    found = web.search_for_instances(study_instance_uid=study.uid, search_filters={"Modality": "SR"})
    assert len(found) == 1
    (report,) = [
        ds for ds in web.retrieve_study(study.uid) if ds.Modality == "SR"
    ]  # fetched by DICOMweb, opened by pydicom
    assert report.ContentSequence[0].TextValue == "images 12"
    assert (report.PatientName, report.PatientID) == (study.instance(0).PatientName, "CANARY-ID")


@needs_orthanc
def test_our_results_sent_back_to_us_start_nothing(tmp_path: Path, orthanc: Orthanc) -> None:
    """An archive that forwards all it gets sends the report to us again: no second reading, no ring."""
    study = Study()
    stored = [orthanc.put(buffer_of(ds).getvalue()) for ds in study.instances(3)]
    with running_node(tmp_path / "spool", [orthanc.address], allow=["ORTHANC@127.0.0.1"]) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        for _ in range(2):
            sent = orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
            assert sent["FailedInstancesCount"] == 0
            wait_for(lambda: node.study().version == 1 and not node.status().unsent, 60)
            time.sleep(1.0)
        assert node.study().version == 1
        assert sent["InstancesCount"] == 4  # three images and our report


@needs_orthanc
def test_orthanc_sends_by_itself_with_the_script_of_our_page(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "node.md").read_text()
    (lua,) = re.findall(r"```lua\n(.*?)```", page, re.DOTALL)
    study = Study()
    with (
        running_orthanc(tmp_path / "orthanc", lua) as orthanc,
        running_node(tmp_path / "spool", [orthanc.address], allow=["ORTHANC@127.0.0.1"]) as node,
    ):
        orthanc.know("petechia", "PETECHIA", node.port)
        for ds in study.instances(4):
            orthanc.put(buffer_of(ds).getvalue())
        wait_for(lambda: len(orthanc.ask("/instances")) == 5, 60)
        time.sleep(4.0)  # stable once more, sent once more
        assert node.study().version == 1
        assert len(orthanc.ask("/instances")) == 5


@needs_orthanc
def test_orthanc_asks_for_storage_commitment(tmp_path: Path, orthanc: Orthanc) -> None:
    study = Study()
    stored = [orthanc.put(buffer_of(ds).getvalue()) for ds in study.instances(3)]
    allow = [f"ORTHANC@127.0.0.1:{orthanc.dicom}"]
    with running_node(tmp_path / "spool", allow=allow) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
        asked = {
            "DicomInstances": [[str(ds.SOPClassUID), str(ds.SOPInstanceUID)] for ds in study.instances(4)]
        }
        transaction = orthanc.ask("/modalities/petechia/storage-commitment", asked)

        def report() -> dict[str, object]:
            answer = orthanc.ask(str(transaction["Path"]))
            assert isinstance(answer, dict)
            return answer

        wait_for(lambda: report()["Status"] != "Pending", 30)
        assert report()["Status"] == "Failure"
        assert {each["SOPInstanceUID"] for each in report()["Success"]} == {
            study.instance_uid(n) for n in range(3)
        }
        (failed,) = report()["Failures"]
        assert failed["SOPInstanceUID"] == study.instance_uid(3)
        assert 0x0112 in failed.values(), failed
        wait_for(lambda: node.status().commits == 0)


@needs_orthanc
def test_orthanc_promises_to_keep_our_report(tmp_path: Path, orthanc: Orthanc) -> None:
    """N-ACTION to Orthanc; its N-EVENT-REPORT comes on an association of its own."""
    study = Study()
    stored = [orthanc.put(buffer_of(ds).getvalue()) for ds in study.instances(3)]
    with running_node(tmp_path / "spool", [orthanc.address], commit_s=3600.0) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
        wait_for(lambda: node.status().studies and node.study().version and not node.study().sending, 90)
        (kept,) = node.spool.glob("studies/*/readings/*/1.dcm.kept-*")
        assert kept.exists()


@needs_orthanc
def test_what_orthanc_lost_is_sent_to_it_again(tmp_path: Path, orthanc: Orthanc) -> None:
    """The report is deleted in the archive after it was acknowledged, and before the node asks."""
    study = Study()
    stored = [orthanc.put(buffer_of(ds).getvalue()) for ds in study.instances(3)]
    with running_node(tmp_path / "spool", [orthanc.address]) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        orthanc.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
        wait_for(lambda: node.status().studies and node.study().version and not node.status().unsent, 60)
    ours = reported_uids(tmp_path / "spool")
    found = orthanc.ask("/instances?expand")
    reports = [each["ID"] for each in found if each["MainDicomTags"]["SOPInstanceUID"] in ours]
    assert len(reports) == 1
    orthanc.delete(f"/instances/{reports[0]}")
    with running_node(tmp_path / "spool", [orthanc.address], commit_s=3600.0) as node:
        orthanc.know("petechia", "PETECHIA", node.port)
        wait_for(lambda: not node.study().sending, 90)
    assert orthanc.ask(f"/instances/{reports[0]}")


def reported_uids(spool: Path) -> set[str]:
    paths = spool.glob("studies/*/readings/*/*.dcm")
    return {str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in paths}


@needs_orthanc
@needs_openssl
def test_with_orthanc_all_by_tls(tmp_path: Path) -> None:
    """Study, report and promise: both sides show certificates, and Orthanc takes nothing in the clear."""
    ca = authority(tmp_path / "tls")
    ours, theirs = signed(ca, "node"), signed(ca, "orthanc")
    study = Study()
    with (
        running_orthanc(tmp_path / "orthanc", tls=theirs) as pacs,
        running_node(tmp_path / "spool", [pacs.address], commit_s=3600.0, tls=ours.files) as node,
    ):
        stored = [pacs.put(buffer_of(ds).getvalue()) for ds in study.instances(3)]
        pacs.know("petechia", "PETECHIA", node.port, tls=True)
        pacs.ask("/modalities/petechia/echo", {})
        sent = pacs.ask("/modalities/petechia/store", {"Resources": [stored[0]["ParentStudy"]]})
        assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (3, 0)
        wait_for(lambda: node.status().studies and node.study().version and not node.study().sending, 90)
        assert len(pacs.ask("/instances")) == 4
        assert list(node.spool.glob("studies/*/readings/*/1.dcm.kept-*"))


@needs_storescu
def test_dcmtk_sends(tmp_path: Path) -> None:
    study = Study()
    for ds in study.instances(5):
        ds.save_as(tmp_path / f"{ds.InstanceNumber}.dcm", enforce_file_format=True)
    files = [str(path) for path in sorted(tmp_path.glob("*.dcm"))]
    with running_node(tmp_path / "spool") as node:
        command = [STORESCU, "-aet", "SCANNER", "-aec", "PETECHIA", "127.0.0.1", str(node.port), *files]
        subprocess.run(command, check=True, timeout=60)
        assert node.study().images == 5
        bad = [STORESCU, "-aet", "STRANGER", "-aec", "PETECHIA", "127.0.0.1", str(node.port), files[0]]
        done = subprocess.run(bad, check=False, timeout=60, capture_output=True, text=True)
        assert done.returncode != 0
        assert "Calling AE Title Not Recognized" in done.stderr + done.stdout
