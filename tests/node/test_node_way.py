"""The way of a study through the node: in, read, out; and its states after every accident on the way."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.node_peers import CANARY, Study, archive, call, echo, running_node, send, wait_for


def test_a_study_goes_in_and_its_report_comes_back(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        assert echo(node.port)
        assert send(node.port, study.instances(5)) == [0] * 5
        wait_for(lambda: pacs.got)
        wait_for(lambda: not node.study().sending)
        found = node.study()
        assert (found.images, found.state, found.version) == (5, "analysed", 1)
    (report,) = pacs.got
    assert report.StudyInstanceUID == study.uid
    assert report.PatientID == "CANARY-ID"
    assert report.ContentSequence[0].TextValue == "images 5"


def test_a_study_sent_twice_is_read_once(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        send(node.port, study.instances(4))
        wait_for(lambda: pacs.got)
        assert send(node.port, study.instances(4)) == [0] * 4
        send(node.port, Study().instances(1))  # a second study, to know when the first would have been read
        wait_for(lambda: len(pacs.got) == 2)
    assert len([ds for ds in pacs.got if ds.StudyInstanceUID == study.uid]) == 1


def test_a_late_slice_makes_a_new_version(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        send(node.port, study.instances(4))
        wait_for(lambda: pacs.got)
        send(node.port, [study.instance(4)])
        wait_for(lambda: len(pacs.got) == 2)
        wait_for(lambda: not node.study().sending)
        assert node.study().version == 2
    assert [ds.ContentSequence[0].TextValue for ds in pacs.got] == ["images 4", "images 5"]


def test_a_transfer_that_is_broken_off_waits_for_the_rest(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        with call(node.port) as association:
            for ds in study.instances(4):
                assert association.send_c_store(ds).Status == 0
            association.abort()
        wait_for(lambda: node.study().state == "broken-off")
        send(node.port, Study().instances(2))
        wait_for(lambda: len(pacs.got) == 1)
        assert pacs.got[0].StudyInstanceUID != study.uid
        send(node.port, study.instances(7))
        wait_for(lambda: len(pacs.got) == 2)
    assert pacs.got[1].ContentSequence[0].TextValue == "images 7"


def test_what_stays_broken_off_is_refused_and_never_read(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], hold_s=1.0) as node:
        with call(node.port) as association:
            association.send_c_store(Study().instance(0))
            association.abort()
        wait_for(lambda: node.study().code == "incomplete-transfer")
        assert node.study().state == "not_analysed"
    assert pacs.got == []


def test_k01_k05_no_identity_beside_the_objects_and_no_word_to_anybody_else(tmp_path: Path) -> None:
    """Refusals, clashes, an archive that refuses: whatever is said of a study, it names no patient."""
    study, refused, other = Study(), Study(description="refuse missing-slice"), Study()
    changed = other.instance(0)
    changed.PixelData = bytes(len(changed.PixelData))
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        pacs.answer = lambda _ds: 0xC000
        for datasets in (study.instances(2), refused.instances(2), [other.instance(0), changed]):
            send(node.port, datasets)
        echo(node.port, CANARY[:16])
        wait_for(lambda: [each for each in node.status().studies if each.code == "missing-slice"], 60)
        wait_for(lambda: [one for each in node.status().studies for one in each.sending if one.code])
        shown = repr(node.status())
        names = [str(path.relative_to(tmp_path)) for path in (tmp_path / "spool").rglob("*")]
        texts = [
            path.read_text()
            for path in (tmp_path / "spool").rglob("*")
            if path.is_file() and path.suffix != ".dcm"
        ]
    said = "\n".join([shown, *names, *texts, *node.lines])
    uids = [each for one in (study, refused, other) for each in (one.uid, one.series, one.instance_uid(0))]
    for canary in ["Canaryson", "Quillfeather", "CANARY", "19481127", *uids]:
        assert canary not in said
    connected_to = {line for line in node.lines if line.startswith("connects: ")}
    assert connected_to == {f"connects: ('127.0.0.1', {pacs.port})\n"}


def test_storage_commitment_is_reported_on_the_caller_s_own_association(tmp_path: Path) -> None:
    """A caller whose port nobody told us hears on the association on which it asked (PS3.4 J.3.3)."""
    study = Study()
    reports: list[Dataset] = []

    def reported(event: evt.Event) -> tuple[int, None]:
        reports.append(event.event_information)
        return 0, None

    asked = Dataset()
    asked.TransactionUID = "1.2.3.4.5"
    asked.ReferencedSOPSequence = []
    for n in (0, 1, 7):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, study.instance_uid(n)
        asked.ReferencedSOPSequence.append(item)
    with running_node(tmp_path / "spool") as node:
        send(node.port, study.instances(2))
        entity = AE("SCANNER")
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            "127.0.0.1", node.port, ae_title="PETECHIA", evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)]
        )
        status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        assert status.Status == 0
        wait_for(lambda: reports, 10)
        wait_for(lambda: node.status().commits == 0, 10)
        del asked.ReferencedSOPSequence
        nothing, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        assert nothing.Status == 0x0115
        association.release()
    (report,) = reports
    assert report.TransactionUID == "1.2.3.4.5"
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [
        study.instance_uid(n) for n in (0, 1)
    ]
    (failed,) = report.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (study.instance_uid(7), 0x0112)
