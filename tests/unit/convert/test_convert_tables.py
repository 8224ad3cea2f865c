"""Points tables: the layouts that are read, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from made_up import csiro_rows, letters, write_xlsx

from petechia.convert.mat import read_mat
from petechia.convert.sheet import read_points
from petechia.convert.xlsx import read_workbook
from petechia.errors import Refusal


def positions(path: Path, **options: object) -> list[tuple[str, tuple[float, float, float], bool]]:
    return [(p.name, p.position, p.in_mm) for p in read_points(path, **options)]  # type: ignore[arg-type]


def test_a_workbook_cell_by_cell(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a & b", None, 3], [], [None, 1.5, "x"], [*[None] * 27, "far"]]
    read = read_workbook(write_xlsx(tmp_path / "t.xlsx", rows))
    assert read == [["a & b", "", "3"], [], ["", "1.5", "x"], [*[""] * 27, "far"]]
    assert letters(27) == "AB"
    assert read_workbook(tmp_path / "t.xlsx", "Other") == [[], [], ["inline"]]


def test_csiros_workbook(tmp_path: Path) -> None:
    """One row a scan, twenty triplets, blanks as single spaces; a scan without points has no row here."""
    scans = {"1_T1.nii.gz": [(10, 20, 5), (11, 21, 6)], "2_T3.nii.gz": [(1, 2, 3)], "3_T1.nii.gz": []}
    path = write_xlsx(tmp_path / "rCMBInformationInfo.xlsx", csiro_rows(scans))
    assert positions(path) == [
        ("1_T1.nii.gz", (10, 20, 5), False),
        ("1_T1.nii.gz", (11, 21, 6), False),
        ("2_T3.nii.gz", (1, 2, 3), False),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "NIFTI File Name,SubjectID,x_position,y_position,z_position\na.nii.gz,1,4,5,6\n"),
        ("t.csv", "z;scan;x;y\n6;a.nii.gz;4;5\n"),
        ("t.tsv", "k\tj\ti\tfile\n6\t5\t4\ta.nii.gz\n\n"),
    ],
)
def test_one_row_a_point(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert positions(tmp_path / name) == [("a.nii.gz", (4, 5, 6), False)]


def test_our_own_truth_table_gives_its_microbleeds_in_millimetres(tmp_path: Path) -> None:
    text = "id\tx_mm\ty_mm\tz_mm\tkind\n1\t-4\t5.5\t6\tmicrobleed\n2\t9\t9\t9\tiron\n"
    (tmp_path / "a_lesions.tsv").write_text(text)
    assert positions(tmp_path / "a_lesions.tsv") == [("", (-4, 5.5, 6), True)]


def test_columns_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("who,slice,col,row,x,y,z\na,7,8,9,1,1,1\n")
    assert positions(tmp_path / "t.csv", columns=("who", "col", "row", "slice")) == [("a", (8, 9, 7), False)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no header"),
        ("name,x,y,z\na,1,2,\n", "'1 2 ' in row 2"),
        ("name,x,y,z\na,1,2,inf\n", "inf"),
        ("name,x,y,z\n,1,2,3\n", "row 2 without a name"),
        ("name,p\na,1,2\n", "'1 2 ' in row 2"),
        ("name,p,,\na,1,2,x\n", "'1 2 x'"),
        ("name,p,,\n,1,2,3\n", "row 2 without a name"),
        ("name,p,,\na,,,\n", "no coordinates"),
        ("x,y,z\n1,2,3\n,,\n4,,5\n", "'4  5' in row 4"),
    ],
)
def test_a_broken_table_is_refused_with_its_row(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(Refusal, match="bad-table") as caught:
        read_points(path)
    assert found in caught.value.line
    assert str(path) in caught.value.line


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c,d\n1,2,3,4\n")
    with pytest.raises(Refusal, match="0 columns 'e'"):
        read_points(tmp_path / "t.csv", columns=("a", "b", "c", "E"))


def test_a_damaged_workbook_is_refused(tmp_path: Path) -> None:
    whole = write_xlsx(tmp_path / "t.xlsx", [["a", 1, 2, 3]]).read_bytes()
    cases = {"cut": whole[:200], "text": b"not a workbook", "empty": b""}
    for name, content in cases.items():
        path = tmp_path / f"{name}.xlsx"
        path.write_bytes(content)
        with pytest.raises(Refusal, match="bad-table"):
            read_points(path)
    with pytest.raises(Refusal, match="sheets Points, Other"):
        read_workbook(tmp_path / "t.xlsx", "None")


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
ENTITY = f'<!DOCTYPE sst [<!ENTITY a "aaaa">]><sst xmlns="{MAIN}"><si><t>&a;</t></si></sst>'


@pytest.mark.parametrize(
    ("member", "content", "found"),
    [
        ("xl/sharedStrings.xml", ENTITY.encode(), "a document type"),
        ("xl/sharedStrings.xml", ENTITY.encode("utf-16"), "UTF-16"),
        ("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}"/>'.encode(), "text number 0 of 0"),
        ("xl/worksheets/sheet9.xml", b"<worksheet", "broken workbook"),
        ("xl/workbook.xml", b"<workbook/>", "sheets none"),
    ],
)
def test_a_hostile_or_broken_member_is_refused(
    tmp_path: Path, member: str, content: bytes, found: str
) -> None:
    source, path = write_xlsx(tmp_path / "s.xlsx", [["a", 1, 2, 3]]), tmp_path / "t.xlsx"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == member else old.read(name))
    with pytest.raises(Refusal, match="bad-table") as caught:
        read_workbook(path)
    assert found in caught.value.line


def test_matlab_points(tmp_path: Path) -> None:
    path = tmp_path / "01.mat"
    scipy.io.savemat(path, {"cen": np.array([[1, 2, 3], [40, 48, 20]], np.uint16), "gt_num": 2.0})
    assert [(p.name, p.position, p.in_mm) for p in read_mat(path)] == [
        ("01", (1, 2, 3), False), ("01", (40, 48, 20), False),
    ]  # fmt: skip
    scipy.io.savemat(path, {"cen": np.zeros((0, 0))})
    assert read_mat(path) == ()
    scipy.io.savemat(path, {"where": np.ones((2, 3)), "other": np.ones((2, 2))})
    assert len(read_mat(path)) == 2
    assert len(read_mat(path, "where")) == 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"cen": np.ones((3, 2))}, "shape"),
        ({"cen": np.array([[1, 2, np.nan]])}, "finite"),
        ({"cen": np.ones((2, 3)), "gt_num": 3}, "gt_num says 3"),
        ({"a": np.ones((2, 3)), "b": np.ones((2, 3))}, "a (2, 3), b (2, 3)"),
        ({"text": "abc"}, "variables text"),
    ],
)
def test_other_matlab_content_is_refused(tmp_path: Path, content: dict[str, object], found: str) -> None:
    path = tmp_path / "01.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(Refusal, match="bad-table") as caught:
        read_mat(path)
    assert found in caught.value.line


@pytest.mark.parametrize("content", [b"", b"hello, no matlab file at all" * 20])
def test_what_is_no_matlab_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "01.mat"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="bad-table"):
        read_mat(path)


def test_a_cut_matlab_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "01.mat"
    scipy.io.savemat(path, {"cen": np.ones((200, 3))}, do_compression=True)
    whole = path.read_bytes()
    for length in (20, 130, 140, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(Refusal, match="bad-table"):
            read_mat(path)
