"""Reading -> DICOM objects that lie beside the scan: segmentation, structured report, page of pictures.

These objects carry the identity of the patient, as the source does; nothing else that petechia writes may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from petechia.types import OutputFile, Reading, Volume

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset


def dicom_outputs(
    reading: Reading,
    volume: Volume | None,
    headers: tuple[Dataset, ...],
    *,
    frames: Sequence[int] = (),
    brain: NDArray[np.bool_] | None = None,
) -> tuple[OutputFile, ...]:
    """`seg.dcm`, `sr.dcm` and `pictures.dcm` of one reading: see `outputs.make_outputs`."""
    from petechia.report.dicom.outputs import make_outputs  # late: highdicom takes half a second

    return make_outputs(reading, volume, headers, frames=frames, brain=brain)
