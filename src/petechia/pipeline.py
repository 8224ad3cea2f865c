"""THE PATH, on one screen: a scan goes in, a reading comes out. Only this file knows the order.

scan -> series -> volume -> prepared -> scores -> lesions -> reading -> files
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petechia import __version__, geometry, limits, regions
from petechia.errors import PetechiaError, Refusal
from petechia.lesions.count import CountModel, count_interval_90
from petechia.lesions.find import (
    Candidate,
    OperatingPoint,
    find_candidates,
    kind_of_image,
    places_of,
    with_spots,
)
from petechia.lesions.holes import without_holes
from petechia.lesions.measure import measure_all
from petechia.lesions.mirrors import Look, agreed, likeliest, looked_at_closely, over_mirrors
from petechia.lesions.place import learn_places, where_possible
from petechia.lesions.probability import BurdenLaw, Calibration, calibration_on, weigh
from petechia.network.card import DEFAULT, SYSTEMS, Card, NetworkFacts, load_card, read_weights
from petechia.network.runtime import Network, classify, compile_network, finite, score
from petechia.prepared import prepare
from petechia.prepared.close import close_cubes
from petechia.prepared.lookup import nearest_on_grid, nearest_on_volume
from petechia.prepared.patches import cubes, cubes_with_susceptibility
from petechia.prepared.phase import iron_beside
from petechia.prepared.spots import spots_of
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.prepared.systems import prepared_for
from petechia.report.dataset import dataset_files
from petechia.report.dicom import dicom_outputs
from petechia.report.files import render
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import source_headers
from petechia.scan.series import series_of
from petechia.store.files import write_file
from petechia.systems import deepmir, hassanzadeh, kim, rodeja
from petechia.types import (
    DetectSettings,
    Finding,
    FloatArray,
    Geometry,
    Lesion,
    LesionClass,
    Outcome,
    OutputFile,
    Prepared,
    Protocol,
    Provenance,
    Reading,
    ScanFile,
    ScoreMap,
    SeriesChoice,
    Status,
    Volume,
)
from petechia.volume.build import build
from petechia.volume.checks import check_brain, check_content, require

_LISTED = {  # the mimic that gets a row of its own
    system: LesionClass.IRON if system == "deepmir" else LesionClass.CALCIFICATION for system in SYSTEMS
}

__all__ = ["Models", "dataset_files", "find_scans", "load_models", "read_scan", "refusal_outputs"]


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is loaded once and used for every scan."""

    card: Card
    anatomy: Network
    detector: Network
    second_look: Network | None
    close_look: Network | None
    map_look: Network | None

    @property
    def weights_sha256(self) -> str:
        """Identifies the weights in every output."""
        return self.card.weights_sha256


@dataclass(slots=True)
class _Clock:
    """Seconds per stage of one scan."""

    started_utc: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    cpu_start: float = field(default_factory=time.process_time)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def load_models(settings: DetectSettings, threads: int = limits.INFERENCE_THREADS) -> Models:
    """Load, verify, compile a model. Raises EnvironmentFailure `no-model`, `weights-hash`, `no-runtime`."""
    card = load_card(settings.model)

    def compiled(facts: NetworkFacts) -> Network:
        return compile_network(read_weights(card, facts), facts.classes, threads)

    looks = [compiled(each) if each else None for each in (card.second_look, card.close_look, card.map_look)]
    return Models(card, compiled(card.anatomy), compiled(card.detector), *looks)


def read_scan(
    scan: ScanFile, settings: DetectSettings, models: Models
) -> tuple[Reading, tuple[OutputFile, ...]]:
    """Read one scan. Raises Refusal where it cannot be analysed, EnvironmentFailure where nothing can."""
    clock = _Clock()
    with clock.stage("read"):
        volume = _built(scan, settings, models.card)
        _require_trained(volume, models.card)
        findings = volume.findings + check_content(volume) + _told_of_channels(volume, models.card)
        require(findings, scan.path)
    with clock.stage("anatomy"):
        anatomy = score(models.anatomy, prepare.for_anatomy(volume))
        findings += check_brain(volume, regions.coarse(anatomy))
        require(findings, scan.path)
        brain = prepare.brain_mask(anatomy)
    with clock.stage("prepare"):
        prepared = prepared_for(models.card.system, volume, anatomy, brain)
    with clock.stage("detect"):
        scores = _scores(prepared, anatomy, brain, models)
    with clock.stage("look again"):
        candidates = find_candidates(scores, _LISTED[models.card.system])
        if not models.card.reads_own_map:
            volume = replace(volume, chi_ppm=None)  # weights that have learned without it
        if models.card.looks_for_spots(volume.protocol.contrast):
            spots = spots_of(volume, brain, anatomy.affine_ras).centres_ras_mm
            candidates = with_spots(candidates, geometry.nearest_voxels(scores.affine_ras, spots), scores)
        if models.card.localised:
            is_map = volume.protocol.contrast == "qsm"
            candidates = where_possible(candidates, scores, anatomy, is_map)
            candidates = without_holes(candidates, scores, volume, prepared)
        candidates, told, alone = _weighed(candidates, prepared, (volume, brain, anatomy, scores), models)
        findings += told
        slabs = "minip-suspected" in {each.code for each in findings}
        image = kind_of_image(volume.protocol.contrast, alone, slabs)
    with clock.stage("measure"):
        places = learn_places(anatomy, brain, volume.sides_known)
        point = OperatingPoint(*models.card.point(settings.operating_point, image))
        burden = BurdenLaw(*models.card.burden)
        lesions = measure_all(candidates, point, burden, scores, volume, places)
    provenance = _provenance(clock, settings, models.card, volume)
    reading = _reading(volume, lesions, findings, provenance, settings, CountModel(*models.card.count))
    with clock.stage("report"):
        reading = replace(reading, series=_choices(scan), thresholds=models.card.thresholds(image))
        on_volume = nearest_on_volume(brain, anatomy.affine_ras, volume)
        made = _dicom_files(scan, reading, volume, on_volume)
        reading = replace(reading, findings=reading.findings + _exported(scan, made, settings, on_volume))
        files = render(reading, volume, scan.bids, on_volume) + made
    return reading, files


def _built(scan: ScanFile, settings: DetectSettings, card: Card) -> Volume:
    """The scan and what the model reads beside it; where a QSM can only help, a bad one is left out."""
    helps = card.system == DEFAULT and card.second_look is not None and not settings.ignore_phase
    wanted = (*card.inputs, "qsm") if helps else card.inputs
    scan = replace(scan, channels=tuple(each for each in scan.channels if each.name in wanted))
    try:
        series = series_of(scan, settings)
        return build(replace(series, phase=None) if settings.ignore_phase else series, settings)
    except Refusal as refusal:
        if not helps or refusal.path not in {each.path for each in scan.channels}:
            raise
        text = f"found {refusal.found} in the QSM beside it; need {refusal.need}. The scan was read without."
        volume = build(series_of(replace(scan, channels=()), settings), settings)
        return replace(volume, findings=(*volume.findings, Finding("qsm-not-used", Outcome.WARN, text)))


def _exported(
    scan: ScanFile, made: tuple[OutputFile, ...], settings: DetectSettings, brain: NDArray[np.bool_]
) -> tuple[Finding, ...]:
    """Write the de-identified copies that were asked for; a warning where the series cannot be exported."""
    if settings.export is None or scan.dicom is None:
        return ()
    from petechia.report.dicom.export import ExportOptions, export_folder, research_export  # rarely needed

    options = ExportOptions(bytes.fromhex(settings.export.secret_hex), keep_face=settings.export.keep_face)
    dicom = scan.dicom
    try:
        folder = Path(settings.export.root) / export_folder(dicom.files[0], options)
        for file in research_export(dicom.files, made, options, frames=dicom.frames, brain=brain):
            write_file(folder / file.name, file.content)
    except Refusal as refusal:
        text = f"found {refusal.found}; need {refusal.need}. The series was read, and not exported."
        return (Finding(refusal.code, Outcome.WARN, text),)
    text = "found --research-export; need none. A de-identified copy was written, without the patient's name."
    return (Finding("exported", Outcome.NOTE, text),)


def _choices(scan: ScanFile) -> tuple[SeriesChoice, ...]:
    return () if scan.dicom is None else scan.dicom.choices


def _dicom_files(
    scan: ScanFile, reading: Reading, volume: Volume | None, brain: NDArray[np.bool_] | None = None
) -> tuple[OutputFile, ...]:
    """The same reading as DICOM objects that point back at their source; none for what was no DICOM."""
    if scan.dicom is None:
        return ()
    return dicom_outputs(reading, volume, source_headers(scan.dicom), frames=scan.dicom.frames, brain=brain)


def _scores(prepared: Prepared, anatomy: ScoreMap, brain: NDArray[np.bool_], models: Models) -> ScoreMap:
    """What a model's detector makes of the prepared scan, by its own system."""
    if models.card.system == DEFAULT:
        return score(models.detector, prepared)
    shape = prepared.image.shape[1:]
    inside = nearest_on_grid(brain, anatomy.affine_ras, shape, prepared.affine_ras)
    run = finite(models.detector)
    match models.card.system:
        case "rodeja-unet3d":
            return rodeja.scores(prepared, inside, run)
        case "kim-rpn":
            return kim.scores(prepared, inside, run)
        case "deepmir":
            return deepmir.scores(prepared, inside, run, models.detector.classes)
        case _:
            return hassanzadeh.scores(prepared, inside, run)


def _weighed(
    candidates: list[Candidate],
    prepared: Prepared,
    seen: tuple[Volume, NDArray[np.bool_], ScoreMap, ScoreMap],
    models: Models,
) -> tuple[list[Candidate], tuple[Finding, ...], bool]:
    """Candidates with their probabilities, what is noted, and whether nothing tells iron from calcium.

    seen: volume, brain, anatomy, scores.
    """
    chi: LocalSusceptibility | None = None
    told: tuple[Finding, ...] = ()
    if models.card.system == DEFAULT and models.second_look is not None:
        chi, told = iron_beside(*seen)
    contrast = seen[0].protocol.contrast
    alone = chi is None and contrast != "qsm"  # a QSM tells iron from calcium by itself
    second = _second_look(candidates, prepared, (seen[0], chi), models)
    weighed = weigh(candidates, second, _calibration(models.card, contrast, alone))
    return weighed, told, alone


def _told_of_channels(volume: Volume, card: Card) -> tuple[Finding, ...]:
    """What a model reads beside the scan and was not given."""
    given = {channel.name for channel in volume.channels} | ({"phase"} if volume.phase else set())
    missing = [name for name in card.inputs if name not in given]
    if not missing:
        return ()
    text = f"found no {' and no '.join(missing)}; need what {card.name} learned with. Read without it."
    return (Finding("channel-missing", Outcome.WARN, text),)


def _second_look(
    candidates: list[Candidate], prepared: Prepared,
    seen: tuple[Volume, LocalSusceptibility | None], models: Models,
) -> FloatArray:  # fmt: skip
    """Microbleed by the looks that a model has for such a scan, (n,); undecided where it has none."""
    network, close = models.second_look, models.close_look
    if network is None:
        return np.full(len(candidates), 0.5)
    is_map = seen[0].protocol.contrast == "qsm"
    places, whose = places_of(candidates, spots=is_map and models.map_look is not None)
    if models.card.system != DEFAULT:
        return _look(network)(cubes(prepared.image[0], places))
    volume, chi = seen
    given = cubes_with_susceptibility(prepared.image[0], prepared.affine_ras, places, chi)
    looks = [_look(each) for each in (network, models.map_look if is_map else None) if each]
    second = likeliest(over_mirrors(agreed(looks), given), whose, len(candidates))
    if close is None or not models.card.looks_closely(volume.protocol.contrast):
        return second
    return looked_at_closely(
        second, _look(close), lambda which: close_cubes(volume, prepared, places[which], chi)
    )


def _look(network: Network) -> Look:
    """How likely cubes are microbleeds to one network."""
    cmb = network.classes.index("cmb")
    return lambda cubes: classify(network, cubes)[:, cmb]


def _require_trained(volume: Volume, card: Card) -> None:
    """Refusal `contrast-not-trained`: a model speaks of contrasts it has learned from, of no other."""
    contrast = volume.protocol.contrast
    if contrast is not None and contrast not in card.contrasts:
        raise Refusal(
            "contrast-not-trained", volume.path, found=f"contrast {contrast}",
            need=f"one that the model {card.name} was trained on: {', '.join(card.contrasts)}",
            remedy="Give another image of the same session, or another --model.",
        )  # fmt: skip


def refusal_outputs(
    scan: ScanFile, settings: DetectSettings, error: PetechiaError
) -> tuple[Reading, tuple[OutputFile, ...]]:
    """What is written for a scan that was not analysed: a reading that says so and why, and no table."""
    reason = Finding(error.code, Outcome.REFUSE, f"found {error.found}; need {error.need}. {error.remedy}")
    reading = Reading(
        name=scan.name,
        status=Status.NOT_ANALYSED,
        findings=(reason,),
        protocol=Protocol(),
        provenance=_provenance(_Clock(), settings, None, None),
        operating_point=settings.operating_point,
        series=_choices(scan),
    )
    return reading, render(reading, None, scan.bids) + _dicom_files(scan, reading, None)


def _reading(
    volume: Volume,
    lesions: tuple[Lesion, ...],
    findings: tuple[Finding, ...],
    provenance: Provenance,
    settings: DetectSettings,
    count_model: CountModel,
) -> Reading:
    count = sum(lesion.kind is LesionClass.CMB for lesion in lesions)
    likely = [
        lesion.probability for lesion in lesions if lesion.kind in (LesionClass.CMB, LesionClass.POSSIBLE)
    ]
    if len(lesions) > limits.MAX_CANDIDATES:
        findings += (_too_many(len(lesions)),)
    i, j, k = volume.voxels.shape
    return Reading(
        name=volume.name,
        status=Status.ANALYSED,
        findings=findings,
        protocol=volume.protocol,
        provenance=provenance,
        lesions=lesions,
        count=count,
        count_interval_90=count_interval_90(np.array(likely), count, count_model),
        geometry=Geometry(
            (i, j, k),
            geometry.spacing_mm(volume.affine_ras),
            geometry.axis_codes(volume.affine_ras),
            volume.sides_known,
        ),
        operating_point=settings.operating_point,
    )


def _too_many(found: int) -> Finding:
    return Finding(
        "outside-tested-range",
        Outcome.WARN,
        f"found {found} findings; need at most {limits.MAX_CANDIDATES}. The list is complete but untested.",
    )


def _provenance(
    clock: _Clock, settings: DetectSettings, card: Card | None, volume: Volume | None
) -> Provenance:
    return Provenance(
        version=__version__,
        model=f"{card.name} {card.version}" if card else settings.model,
        weights_sha256=card.weights_sha256 if card else "",
        input_sha256=volume.sha256 if volume else "",
        settings={name: value for name, value in asdict(settings).items() if name != "export"},
        started_utc=clock.started_utc,
        seconds=clock.seconds,
        cpu_seconds=round(time.process_time() - clock.cpu_start, 2),
        phase_sha256=volume.phase.sha256 if volume and volume.phase else "",
        echoes=volume.echoes if volume else (),
        channels_sha256=tuple((each.name, each.sha256) for each in volume.channels) if volume else (),
    )


def _calibration(card: Card, contrast: str | None, alone: bool) -> Calibration:
    """The card's calibration on one contrast; that of SWI where the contrast is not known.

    alone: nothing tells iron from calcium, and the second look knows less.
    """
    change = card.alone if alone else (0.0, 0.0)
    return calibration_on(Calibration(*card.calibration), card.shifts, contrast, change)
