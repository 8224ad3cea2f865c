"""Made-up labelled scans in other people's formats."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import nibabel as nib
import numpy as np

# LPS, 1 x 1 x 2 mm, off centre: x_mm = 30 - i, y_mm = 40 - j, z_mm = 2 k - 20
AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1.0, 0, 40], [0, 0, 2.0, -20], [0, 0, 0, 1]])
SHAPE = (40, 48, 20)


def voxels(dots: list[tuple[int, int, int]], seed: int = 0) -> np.ndarray:
    """Noise around 1000 and a plus of seven dark voxels around each dot."""
    image = np.random.default_rng(seed).normal(1000, 20, SHAPE)
    for dot in dots:
        image[dot] = 200
        for axis in range(3):
            for step in (-1, 1):
                place = list(dot)
                place[axis] += step
                if 0 <= place[axis] < SHAPE[axis]:
                    image[tuple(place)] = 300
    return image.astype(np.int16)


def write_image(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """With a patient's name where headers have room for one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"DOE JANE"
    image.header["db_name"] = b"DOE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE JANE 1930"))
    nib.save(image, path)
    return path


def write_xlsx(path: Path, rows: list[list[object]]) -> Path:
    """A workbook as Excel writes it: shared strings, empty cells left out, relations by id."""
    texts: list[str] = []
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = []
        for column, value in enumerate(row):
            reference = f"{letters(column)}{number}"
            if value is None:
                continue
            if isinstance(value, str):
                texts.append(value)
                cells.append(f'<c r="{reference}" t="s"><v>{len(texts) - 1}</v></c>')
            else:
                cells.append(f'<c r="{reference}" s="1"><v>{value}</v></c>')
        lines.append(f'<row r="{number}" spans="1:60">{"".join(cells)}</row>')
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>'
        '<sheet name="Points" sheetId="3" r:id="rId7"/><sheet name="Other" sheetId="4" r:id="rId8"/>'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        'relationships"><Relationship Id="rId8" Type="x" Target="worksheets/sheet2.xml"/>'
        '<Relationship Id="rId7" Type="x" Target="worksheets/sheet9.xml"/></Relationships>',
        "xl/worksheets/sheet9.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(lines)}</sheetData>'
        "</worksheet>",
        "xl/worksheets/sheet2.xml": f'<worksheet xmlns="{main}"><sheetData><row r="3"><c t="inlineStr"><is>'
        "<t>inline</t></is></c></row></sheetData></worksheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{main}">'
        + "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
        + "</sst>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, head + text)
    return path


def letters(column: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    return letters(column // 26 - 1) + chr(65 + column % 26) if column >= 26 else chr(65 + column)


def csiro_rows(scans: dict[str, list[tuple[int, int, int]]], triplets: int = 20) -> list[list[object]]:
    """As in CSIRO's workbook: a name, then triplets of which only the first column has a header."""
    header: list[object] = ["NIFTI File Name "]
    for number in range(1, triplets + 1):
        header += [f"Location CMB # {number}", None, None]
    rows = [header]
    for name, points in scans.items():
        cells = [value for point in points for value in point]
        rows.append([name, *cells, *[" "] * (3 * triplets - len(cells))])
    return rows
