"""The cards of models as people read them: what each takes, learned from, is worth and weighs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from petechia.benchmark.values import BYTES_PER_MB, Sheet
from petechia.errors import PetechiaError
from petechia.network.card import WEIGHTS, load_card, model_names

NOT_STATED = "not stated"


def all_sheets() -> tuple[Sheet, ...]:
    """Every model that ships, `default` first."""
    return tuple(read_sheet(name) for name in ordered(model_names()))


def ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """`default` first, the others by name."""
    return tuple(sorted(names, key=lambda name: (name != "default", name)))


def read_sheet(name: str) -> Sheet:
    """The card of one model, by name or folder. Never raises for a bad card: `problem` says what is wrong."""
    folder = WEIGHTS / name if name in model_names() else Path(name)
    try:
        content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        body: dict[str, Any] = content if isinstance(content, dict) else {}
    except (OSError, ValueError, RecursionError):
        body = {}
    problem, weights = _problem(name, folder, body)
    return Sheet(
        name=name if name in model_names() else folder.resolve().name,
        version=_text(body.get("version")),
        inputs=_text(body.get("inputs")),
        contrasts=_words(body.get("contrasts")),
        training=_training(body),
        licence=_text(body.get("licence")),
        figures=tuple(_figure(each) for each in _items(body.get("figures"))),
        limits=tuple(_text(each) for each in _items(body.get("limits"))),
        size_mb=_size_mb(folder),
        weights_sha256=weights,
        problem=problem,
    )


def _problem(name: str, folder: Path, body: dict[str, Any]) -> tuple[str, str]:
    """Why the model cannot be used ("": it can), and the hash of its weights ("" where it has none)."""
    if body.get("trained") is False:
        return "not trained yet", ""
    if not (folder / "card.json").is_file():
        return "no model of that name, and no folder with a card.json", ""
    try:
        card = load_card(name)
    except PetechiaError as error:
        return f"{error.code}: found {error.found}; need {error.need}", ""
    for facts in _networks(body):
        path = folder / str(facts.get("file"))
        if not path.is_file():
            return f"no file {path.name}", ""
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts.get("sha256"):
            return f"{path.name} is not the file of the card", ""
    return "", card.weights_sha256


def _networks(body: dict[str, Any]) -> list[dict[str, Any]]:
    networks = body.get("networks")
    entries = networks.values() if isinstance(networks, dict) else []
    return [each for each in entries if isinstance(each, dict)]


def _training(body: dict[str, Any]) -> str:
    """`simulated scans only; no patient data; 84 scans, seed 1`."""
    training = body.get("training")
    if not isinstance(training, dict):
        return _text(training)
    parts = [_text(training.get("data"))]
    if "scans" in training:
        told = str(training["scans"])  # a number of settings, or words
        parts.append(f"{told} scans" if told.isdigit() else told)
    if "seed" in training:
        parts.append(f"seed {training['seed']}")
    return "; ".join(part for part in parts if part)


def _figure(entry: object) -> str:
    """`sensitivity at 1 FP/scan 0.75 [0.57, 0.90] (24 simulated scans)`."""
    if not isinstance(entry, dict):
        return _text(entry)
    interval = f" [{entry['low']}, {entry['high']}]" if {"low", "high"} <= set(entry) else ""
    source = f" ({_text(entry['data'])})" if "data" in entry else ""
    return f"{_text(entry.get('what'))} {_text(entry.get('value'))}{interval}{source}".strip()


def _items(value: object) -> list[object]:
    """A list as it is, an object as `name value` entries, one value as a list of it."""
    if isinstance(value, list):
        return list(value)
    if isinstance(value, dict):
        return [{"what": key, "value": each} for key, each in value.items()]
    return [] if value is None else [value]


def _words(value: object) -> tuple[str, ...]:
    return tuple(_text(each) for each in value) if isinstance(value, list) else ()


def _text(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def _size_mb(folder: Path) -> float:
    files = folder.glob("*") if folder.is_dir() else ()
    return sum(path.stat().st_size for path in files if path.is_file()) / BYTES_PER_MB
