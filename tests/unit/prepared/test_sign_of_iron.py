"""The sign that iron has in a phase: told by veins and by cortex over white matter, each within the brain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia.prepared import phase
from petechia.prepared.phase import by_cortex, by_veins, iron_beside
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.regions import PARCEL_CLASSES
from petechia.types import Channel, FloatArray, Phase, Protocol, ScoreMap, Volume

SIDE = 40  # voxels of 2 mm, a cube of brain in the middle
BRAIN = slice(5, 35)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LEFT = slice(5, 20)  # cortex; the other half is white matter
INNER = (slice(22, 30), slice(10, 18), slice(10, 18))  # 512 voxels
EDGE = (slice(5, 6), BRAIN, BRAIN)  # the outermost layer: 900 voxels


def brain() -> np.ndarray:
    mask = np.zeros((SIDE,) * 3, bool)
    mask[BRAIN, BRAIN, BRAIN] = True
    return mask


def anatomy() -> ScoreMap:
    """Cortex on one side, white matter on the other; the veins lie in CSF."""
    probability = np.zeros((len(PARCEL_CLASSES), SIDE, SIDE, SIDE), np.float32)
    probability[0] = ~brain()
    for name, half in (("frontal_cortex", LEFT), ("parietal_white", slice(20, 35))):
        probability[PARCEL_CLASSES.index(name), half, BRAIN, BRAIN] = 0.8
    probability[PARCEL_CLASSES.index("csf")][INNER] = 0.9
    return ScoreMap(PARCEL_CLASSES, probability, AFFINE, 2.0)


def seen_veins(*blocks: tuple[slice, slice, slice]) -> ScoreMap:
    probability = np.zeros((2, SIDE, SIDE, SIDE), np.float32)
    for block in blocks:
        probability[1][block] = 0.9
    return ScoreMap(("background", "vessel"), probability, AFFINE, 2.0)


def chi_map(vein: float = 0.0, cortex: float = 0.0, edge: float = 0.0) -> LocalSusceptibility:
    """The map with a little noise; `edge` on the whole outermost layer."""
    values = np.random.default_rng(0).normal(0, 0.01, (SIDE,) * 3)
    values[LEFT] += cortex
    values[INNER] += vein
    shell = brain()
    shell[6:34, 6:34, 6:34] = False
    values[shell] += edge
    return LocalSusceptibility((values * brain()).astype(np.float32), AFFINE)


def deep() -> np.ndarray:
    mask = np.zeros((SIDE,) * 3, bool)
    mask[6:34, 6:34, 6:34] = True
    return mask


def test_each_is_the_mean_inside_whatever_the_edge_of_the_brain_shows() -> None:
    for edge in (0.0, -8.0):
        chi = chi_map(vein=1.5, cortex=0.4, edge=edge)
        assert by_veins(chi, deep(), AFFINE, seen_veins(INNER, EDGE)) == pytest.approx(1.5, abs=0.01)
        assert by_cortex(chi, deep(), anatomy()) == pytest.approx(0.4, abs=0.01)


def test_too_few_voxels_say_nothing() -> None:
    few = (slice(22, 27), slice(10, 16), slice(10, 16))  # 180
    assert by_veins(chi_map(vein=2.0), deep(), AFFINE, seen_veins(few)) == 0.0
    assert by_veins(chi_map(vein=2.0), deep(), AFFINE, seen_veins()) == 0.0
    slab = np.zeros((SIDE,) * 3, bool)
    slab[20:34, 6:34, 6:34] = True  # white matter alone
    assert by_cortex(chi_map(cortex=0.4), slab, anatomy()) == 0.0
    nothing = np.zeros((SIDE,) * 3, bool)
    assert by_cortex(chi_map(cortex=0.4), nothing, anatomy()) == 0.0


def read_sign(monkeypatch: pytest.MonkeyPatch, chi: LocalSusceptibility, veins: ScoreMap) -> tuple[int, str]:
    """+1 or -1 as it was turned, 0 where it was left out, and the code of the note."""
    monkeypatch.setattr(phase, "local_susceptibility", lambda *_: chi)
    empty: FloatArray = np.zeros((SIDE,) * 3, np.float32)
    volume = Volume("s", Path("s"), "", empty, AFFINE, True)
    volume = replace(volume, phase=Phase(empty, AFFINE, "rad", ""), protocol=Protocol())
    turned, (note,) = iron_beside(volume, brain(), anatomy(), veins)
    if turned is None:
        return 0, note.code
    return (1 if np.allclose(turned.voxels, chi.voxels) else -1), note.code


@pytest.mark.parametrize("sign", [1, -1])
def test_either_tells_the_sign_alone_and_an_edge_does_not_turn_it(
    sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = (sign, "phase-used")
    for vein, cortex in ((2.0, 0.0), (0.0, 0.2), (-0.5, 0.25), (2.0, -0.03)):
        for edge in (0.0, -8.0, 8.0):
            chi = chi_map(sign * vein, sign * cortex, edge)
            assert read_sign(monkeypatch, chi, seen_veins(INNER, EDGE)) == used, (vein, cortex, edge)


def test_where_they_contradict_or_say_nothing_the_phase_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = (0, "phase-undecided")
    assert read_sign(monkeypatch, chi_map(), seen_veins(INNER)) == left_out
    assert read_sign(monkeypatch, chi_map(vein=0.5), seen_veins(INNER)) == left_out
    assert read_sign(monkeypatch, chi_map(vein=2.0, cortex=-0.1), seen_veins(INNER)) == left_out


def beside(
    monkeypatch: pytest.MonkeyPatch, of_phase: LocalSusceptibility | None, of_map: LocalSusceptibility | None
) -> tuple[LocalSusceptibility | None, list[str]]:
    """What is read beside a scan whose phase, if any, and QSM, if any, give these maps."""
    monkeypatch.setattr(phase, "local_susceptibility", lambda *_: of_phase)
    monkeypatch.setattr(phase, "susceptibility_of_map", lambda *_: of_map)
    empty: FloatArray = np.zeros((SIDE,) * 3, np.float32)
    volume = Volume("s", Path("s"), "", empty, AFFINE, True)
    volume = replace(
        volume,
        phase=Phase(empty, AFFINE, "rad", "") if of_phase else None,
        channels=(Channel("qsm", empty, AFFINE, ""),) if of_map else (),
    )
    chi, notes = iron_beside(volume, brain(), anatomy(), seen_veins(INNER))
    return chi, [note.code for note in notes]


def test_a_qsm_is_read_where_no_phase_tells_and_turned_where_iron_is_negative_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear, unclear, reversed_map = chi_map(2.0, 0.2), chi_map(), chi_map(-2.0, 0.2)
    chi, codes = beside(monkeypatch, clear, unclear)
    assert (chi.voxels == clear.voxels).all()  # type: ignore[union-attr]
    assert codes == ["phase-used"]
    chi, codes = beside(monkeypatch, unclear, clear)
    assert (chi.voxels == clear.voxels).all()  # type: ignore[union-attr]
    assert codes == ["phase-undecided", "qsm-used"]
    for plain in (unclear, chi_map(0.0, -0.3)):  # a QSM shows iron bright: only veins may say otherwise
        chi, codes = beside(monkeypatch, None, plain)
        assert (chi.voxels == plain.voxels).all()  # type: ignore[union-attr]
        assert codes == ["qsm-used"]
    chi, codes = beside(monkeypatch, None, reversed_map)
    assert (chi.voxels == -reversed_map.voxels).all()  # type: ignore[union-attr]
    assert beside(monkeypatch, None, None) == (None, ["phase-missing"])
