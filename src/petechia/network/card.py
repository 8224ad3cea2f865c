"""A model's card: what it is, what it was trained on, how it is to be used. JSON beside the weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petechia.errors import EnvironmentFailure

CARD_VERSION = 2
DEFAULT = "default"
SYSTEMS = (DEFAULT, "rodeja-unet3d", "kim-rpn", "deepmir", "hassanzadeh-cnn-yolo")
WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """One network of a model, and what its input must look like."""

    file: str
    sha256: str
    classes: tuple[str, ...]
    spacing_mm: float
    multiple: int


@dataclass(frozen=True, slots=True)
class Card:
    """The facts that the path needs; the rest of the JSON is for people."""

    name: str
    version: str
    folder: Path
    anatomy: NetworkFacts
    detector: NetworkFacts
    second_look: NetworkFacts | None  # None: the detector's peak alone decides
    contrasts: tuple[str, ...]  # that the model was trained on: swi, gre, qsm
    calibration: tuple[float, float, float]  # slopes on the logits of peak and second look, intercept
    shifts: tuple[tuple[str, float], ...]  # contrast, and what the intercept changes by on it
    alone: tuple[float, float]  # second slope, intercept: their change where no phase tells iron from calcium
    burden: tuple[float, float, float]  # of lesions.probability.BurdenLaw; 1, 0, 0 changes nothing
    points: tuple[tuple[str, str, float, float], ...]  # name, kind of image or "", definite, possible from
    count: tuple[float, float]  # spread of the logits within one scan, share of microbleeds missed
    system: str = DEFAULT  # of SYSTEMS: whose way from the scan to the scores
    inputs: tuple[str, ...] = ()  # what it reads beside the scan: phase, qsm, t2w
    localised: bool = True  # findings in places where no microbleed can be are taken out
    reads_own_map: bool = False  # of a QSM: what lies beyond the greys that it is turned to
    spots_on: tuple[str, ...] = ()  # contrasts on which the second look has learned spots
    close_look: NetworkFacts | None = None  # at the scan's own voxels, on top of the second look
    close_on: tuple[str, ...] = ()  # contrasts on which the close look has a say
    map_look: NetworkFacts | None = None  # a second look that has learned from maps alone; only on these
    anatomy_folder: Path | None = None  # of the anatomy network where it is another model's; None: its own

    def point(self, name: str, image: str) -> tuple[float, float]:
        """From which probability a finding is definite and possible, on a kind of image.

        One without a point of its own has that of its contrast, or else the one for all.
        """
        points = {known[:2]: known[2:] for known in self.points}
        if (name, "") not in points:
            raise ValueError(f"{self.name} has no operating point {name!r}")
        contrast = image.partition(" ")[0]
        return points.get((name, image)) or points.get((name, contrast)) or points[name, ""]

    def thresholds(self, image: str) -> tuple[tuple[str, float], ...]:
        """By operating point, from which probability a finding counts on a kind of image."""
        names = dict.fromkeys(each[0] for each in self.points)
        return tuple((name, self.point(name, image)[0]) for name in names)

    def looks_for_spots(self, contrast: str | None) -> bool:
        """Whether the second look is shown the spots of an image; of an unknown contrast as of SWI."""
        return (contrast or "swi") in self.spots_on

    def looks_closely(self, contrast: str | None) -> bool:
        """Whether the close look has a say on an image; of an unknown contrast as of SWI."""
        return (contrast or "swi") in self.close_on

    @property
    def networks(self) -> tuple[NetworkFacts, ...]:
        """Those that the model has, in the order in which they are asked."""
        every = (self.anatomy, self.detector, self.second_look, self.close_look, self.map_look)
        return tuple(each for each in every if each)

    @property
    def weights_sha256(self) -> str:
        """One hash for all that decides a reading: the networks in order, and the numbers that weigh them."""
        numbers = (
            self.calibration, self.shifts, self.alone, self.burden, self.points, self.count, self.localised,
            self.reads_own_map, self.spots_on, *([self.close_on] if self.close_on else []),
        )  # fmt: skip
        facts = [[each.sha256 for each in self.networks], numbers]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def model_names() -> tuple[str, ...]:
    """The models that ship with the package."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/card.json")))


def load_card(name: str) -> Card:
    """Read the card of a model that ships with the package, or of a folder that `petechia train` wrote.

    Raises EnvironmentFailure `no-model` where there is none of that name, `weights-version` where the card
    was written for another version of this code.
    """
    path = WEIGHTS / name / "card.json" if name in model_names() else Path(name) / "card.json"
    if not path.is_file():
        raise EnvironmentFailure(
            "no-model",
            path,
            found=f"no model called {name!r}",
            need=f"one of {', '.join(model_names()) or 'none'}, or a folder with a card.json",
            remedy="Choose with --model, or reinstall petechia.",
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["card_version"] != CARD_VERSION:
            raise _damaged(path, f"card version {content['card_version']}", f"version {CARD_VERSION}")
        networks = content["networks"]
        system = content.get("system", DEFAULT)
        if system not in SYSTEMS:
            raise _damaged(path, f"a system {str(system)[:40]!r}", f"one of {', '.join(SYSTEMS)}")
        shared = None if "anatomy" in networks or name == DEFAULT else load_card(DEFAULT)
        return Card(
            name=content["name"],
            version=content["version"],
            folder=path.parent,
            anatomy=shared.anatomy if shared else _facts(networks["anatomy"]),
            detector=_facts(networks["detector"]),
            second_look=_facts(networks["second_look"]) if "second_look" in networks else None,
            contrasts=tuple(content["contrasts"]),
            calibration=(
                float(content["calibration"]["slope"]),
                float(content["calibration"]["second_slope"]),
                float(content["calibration"]["intercept"]),
            ),
            shifts=tuple(
                (key, float(value)) for key, value in content["calibration"].get("shifts", {}).items()
            ),
            alone=_alone(content["calibration"]),
            burden=_burden(content["calibration"]),
            points=_points(content["operating_points"]),
            count=(float(content["count"]["logit_spread"]), float(content["count"]["missed_share"])),
            system=system,
            inputs=tuple(content.get("channels", ())),
            localised=bool(content.get("localised", True)),
            reads_own_map=bool(content.get("reads_own_map", False)),
            spots_on=tuple(content.get("spots_on", ())),
            close_look=_facts(networks["close_look"]) if "close_look" in networks else None,
            close_on=tuple(content.get("close_on", ())),
            map_look=_facts(networks["map_look"]) if "map_look" in networks else None,
            anatomy_folder=shared.folder if shared else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"an unreadable card ({error})", "the card as shipped") from error


def read_weights(card: Card, facts: NetworkFacts) -> bytes:
    """A network's ONNX bytes, their hash checked before anything looks inside."""
    borrowed = card.anatomy_folder if facts is card.anatomy else None
    path = (borrowed or card.folder) / facts.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentFailure(
            "weights-missing", path, found=f"no file ({error.strerror})", need="the weights as shipped",
            remedy="Reinstall petechia.",
        ) from error  # fmt: skip
    found = hashlib.sha256(content).hexdigest()
    if found != facts.sha256:
        raise EnvironmentFailure(
            "weights-hash",
            path,
            found=f"sha256 {found[:12]}",
            need=f"{facts.sha256[:12]}",
            remedy="Reinstall petechia; never use weights that fail this check.",
        )
    return content


def _alone(calibration: dict[str, Any]) -> tuple[float, float]:
    change = calibration.get("alone", {"second_slope": 0.0, "intercept": 0.0})
    return float(change["second_slope"]), float(change["intercept"])


def _burden(calibration: dict[str, Any]) -> tuple[float, float, float]:
    law = calibration.get("burden", {"own": 1.0, "others": 0.0, "intercept": 0.0})
    return float(law["own"]), float(law["others"]), float(law["intercept"])


def _points(named: dict[str, Any]) -> tuple[tuple[str, str, float, float], ...]:
    points = []
    for name, point in named.items():
        for image, value in {"": point, **point.get("by_image", {})}.items():
            points.append((name, image, float(value["definite"]), float(value["possible"])))
    return tuple(points)


def _facts(entry: dict[str, Any]) -> NetworkFacts:
    return NetworkFacts(
        entry["file"],
        entry["sha256"],
        tuple(entry["classes"]),
        float(entry["spacing_mm"]),
        int(entry["multiple"]),
    )


def _damaged(path: Path, found: str, need: str) -> EnvironmentFailure:
    return EnvironmentFailure("weights-version", path, found=found, need=need, remedy="Reinstall petechia.")
