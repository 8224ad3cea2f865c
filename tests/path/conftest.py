"""One simulated scan and one loaded model for the tests of the whole path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from whole_path import SETTINGS, Scan, read

from petechia import pipeline
from petechia.store.lock import hold
from petechia.types import Reading


@pytest.fixture(scope="session")
def models() -> pipeline.Models:
    return pipeline.load_models(SETTINGS)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural head with twelve microbleeds; made once however many workers run."""
    from petechia.simulate.dataset import DatasetOptions, write_dataset

    root = tmp_path_factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    out = root / "simulated"
    with _one_at_a_time(root / "simulated.lock"):
        if not (out / "participants.tsv").exists():
            options = DatasetOptions(
                n=1, seed=7, contrasts=("swi",), microbleeds=12, lesion_free_fraction=0.0
            )
            write_dataset(out, options, lambda _done, _total: None)
    return out


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    with hold(folder, wait_s=600.0):
        yield


@pytest.fixture(scope="session")
def scan(dataset: Path) -> Scan:
    path = dataset / "sub-0001" / "anat" / "sub-0001_acq-swi_T2starw.nii.gz"
    image = nib.load(path)
    return Scan(path, np.asarray(image.dataobj), image.affine)


@pytest.fixture(scope="session")
def reference(scan: Scan, models: pipeline.Models) -> Reading:
    """The scan alone, as it is and as users read it."""
    reading = read(scan.path, models)
    assert reading.count is not None
    assert reading.count >= 3, "the reference scan must have findings for these tests to mean anything"
    return reading
