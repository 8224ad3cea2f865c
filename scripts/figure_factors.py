"""Pictures of what each factor of the simulated world does: the same head, one factor at a time.

    python scripts/figure_factors.py HEAD.nii.gz FOLDER

HEAD is a label map (FreeSurfer codes, 1 mm). Writes world_scanner.png, world_artefacts.png,
world_handling.png and world_head.png; the first tile of each sheet is the plain scan.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from figure_simulated import TILE_PX, tile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from petechia.geometry import spacing_mm
from petechia.simulate.ageing import Ageing
from petechia.simulate.anatomy import HeadLabels, load_head
from petechia.simulate.artefacts import Artefacts
from petechia.simulate.handling import Handling
from petechia.simulate.head import HeadModel, HeadOptions, build_head
from petechia.simulate.microbleeds import draw_planting
from petechia.simulate.pathology import Pathology
from petechia.simulate.plan import ScanPlan
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.scan import simulate_scan
from petechia.simulate.veins import draw_veins
from petechia.simulate.weighting import Weighting
from petechia.store.files import write_file
from petechia.volume.susceptibility import turn_map

COLUMNS = 5
LEVEL = 0.53  # of the slab, from below: through the deep nuclei
PLAIN = ScanPlan(ScanProtocol("swi", "3d", voxel_mm=(0.75, 0.75, 1.5), snr=35.0))

Change = tuple[str, dict[str, object]]  # caption, fields

SCANNER: tuple[Change, ...] = (
    ("SWI, 3 T, TE 20 ms", {}),
    ("1.5 T, TE 40 ms", {"field_strength_t": 1.5, "echo_times_s": (0.04,)}),
    ("7 T, TE 15 ms", {"field_strength_t": 7.0, "echo_times_s": (0.015,)}),
    ("TE 8 ms", {"echo_times_s": (0.008,)}),
    ("TE 40 ms", {"echo_times_s": (0.04,)}),
    ("three echoes, averaged", {"echo_times_s": (0.01, 0.02, 0.03)}),
    ("mask to the 2nd power", {"mask_power": 2}),
    ("mask to the 6th power", {"mask_power": 6}),
    ("mask of the wrong hand", {"wrong_handed": True}),
    ("narrow high-pass filter", {"highpass_fraction": 0.1}),
    ("wide high-pass filter", {"highpass_fraction": 0.45}),
    ("1.2 mm in plane, 3 mm slices", {"voxel_mm": (1.2, 1.2, 3.0)}),
    ("tilted slab", {"tilt_deg": (-25.0, 8.0)}),
    ("signal-to-noise 8", {"snr": 8.0}),
    ("ringing: no k-space filter", {"k_window": 0.0, "voxel_mm": (1.1, 1.1, 1.5)}),
    ("strong coil shading", {"shading": 1.1}),
    ("T2*-GRE, 5 mm slices", {"contrast": "gre", "readout": "2d", "voxel_mm": (0.9, 0.9, 5.0)}),
    ("QSM, thresholded k-space", {"contrast": "qsm"}),
    ("QSM, Tikhonov", {"contrast": "qsm", "inversion": "tikhonov", "inversion_strength": 0.08}),
    ("QSM, over-smoothed", {"contrast": "qsm", "inversion": "smooth", "inversion_strength": 0.3}),
)
ARTEFACTS: tuple[Change, ...] = (
    ("plain", {}),
    ("motion ghosts", {"ghosts": 0.4}),
    ("head shifts", {"motion_mm": 3.0}),
    ("wrap-around", {"wrap_around": 0.25}),
    ("k-space spikes", {"spikes": 3}),
    ("zipper", {"zipper": 2.0}),
    ("g-factor noise", {"g_factor": 2.0, "snr": 15.0}),
    ("filtered noise", {"correlated_noise": 1.0, "snr": 10.0}),
)
HANDLING: tuple[Change, ...] = (
    ("plain", {}),
    ("brightest 2 % clipped", {"clipped_percent": 2.0}),
    ("stored in 255 steps", {"stored_levels": 255}),
    ("offset", {"offset": 0.2}),
    ("skull-strip", {"skull_strip": "good"}),
    ("too tight", {"skull_strip": "tight"}),
    ("leaky", {"skull_strip": "leaky"}),
    ("ragged", {"skull_strip": "ragged"}),
    ("defaced", {"defaced": True}),
    ("bias field taken out", {"bias_corrected": 1.0, "shading": 1.1}),
    ("re-sliced to 1 mm", {"resampled_mm": 1.0}),
    ("smoothed, 1.5 mm", {"smoothed_mm": 1.5}),
    ("median filter", {"median_filtered": True}),
    ("histogram matched", {"matched_histogram": 0.4}),
    ("minimum over 8 mm", {"slab_mip_mm": 8.0}),
)
HEADS: tuple[Change, ...] = (
    ("plain", {}),
    ("atrophy", {"atrophy_mm": 1.5}),
    ("large ventricles", {"ventricle_growth_mm": 4.0}),
    ("mineralised nuclei", {"mineralised_nuclei": 0.2}),
    ("white matter lesions", {"white_matter_lesions_ml": 30.0}),
    ("lacunes", {"lacunes": 6}),
    ("perivascular spaces", {"perivascular_spaces": 80}),
    ("siderosis", {"siderosis": 4}),
    ("old haemorrhage", {"old_haemorrhages": 2}),
    ("cavernoma", {"cavernomas": 2}),
    ("venous anomaly", {"venous_anomalies": 2}),
    ("haemorrhagic infarct", {"infarct_rims": 2}),
    ("implant", {"implants": 1}),
    ("thrombosed vein", {"thrombosed_veins": 2}),
    ("draining veins", {"veins": True}),
    ("many microbleeds", {"plant": True}),
)


def planned(changes: dict[str, object]) -> ScanPlan:
    """The plain plan with some fields changed, whichever group they belong to."""
    groups = {
        "protocol": PLAIN.protocol,
        "weighting": Weighting(),
        "artefacts": Artefacts(1),
        "handling": Handling(1),
    }
    changed = {}
    for name, group in groups.items():
        mine = {key: value for key, value in changes.items() if hasattr(group, key)}
        changed[name] = replace(group, **mine)  # type: ignore[type-var]
    return ScanPlan(**changed)  # type: ignore[arg-type]


def built(labels: HeadLabels, changes: dict[str, object]) -> HeadModel:
    """The plain head with some fields changed."""
    rng = np.random.default_rng(5)
    age = {key: value for key, value in changes.items() if key in Ageing.__dataclass_fields__}
    ill = {key: value for key, value in changes.items() if key in Pathology.__dataclass_fields__}
    options = HeadOptions(
        deform=False, ageing=Ageing(ageing_seed=1, **age), pathology=Pathology(pathology_seed=4, **ill)  # type: ignore[arg-type]
    )  # fmt: skip
    if "veins" in changes:
        options = replace(options, veins=replace(draw_veins(rng), vein_amount=1.6))
    if "plant" in changes:
        options = replace(options, plant=replace(draw_planting(rng), microbleeds=60, cluster_fraction=0.5))
    return build_head(labels, options, 3)


def shown(head: HeadModel, plan: ScanPlan, kinds: tuple[str, ...] = ()) -> Image.Image:
    """One axial plane of the scan: through the first planted thing of `kinds`, else at LEVEL."""
    scan = simulate_scan(head, plan, 7)
    image: NDArray[np.floating] = scan.image
    if plan.protocol.contrast == "qsm":
        image, _ = turn_map(image, Path("qsm"))
    k = int(LEVEL * image.shape[2])
    for lesion in scan.lesions:
        if lesion.planted.kind in kinds:
            k = round((np.linalg.inv(scan.affine_ras) @ [*lesion.centre_ras_mm, 1.0])[2])
            break
    k = int(np.clip(k, 0, image.shape[2] - 1))
    return tile(
        image[:, :, k].astype(float),
        spacing_mm(scan.affine_ras)[:2],
        (0.0, float(np.percentile(image, 98.5))),
    )


def sheet(tiles: list[tuple[str, Image.Image]], path: Path) -> None:
    """Tiles in rows of COLUMNS, captions in white on black."""
    rows = -(-len(tiles) // COLUMNS)
    canvas = Image.new("L", (COLUMNS * TILE_PX, rows * TILE_PX))
    draw = ImageDraw.Draw(canvas)
    for number, (caption, picture) in enumerate(tiles):
        x, y = (number % COLUMNS) * TILE_PX, (number // COLUMNS) * TILE_PX
        canvas.paste(picture, (x, y))
        draw.rectangle((x, y, x + 7 * len(caption) + 10, y + 18), fill=0)
        draw.text((x + 5, y + 3), caption, fill=255)
    content = io.BytesIO()
    canvas.save(content, "PNG", optimize=True)
    write_file(path, content.getvalue())


def main(label_map: Path, folder: Path) -> None:
    """Draw the four sheets."""
    labels = load_head(label_map)
    plain = built(labels, {})
    for name, changes in (("scanner", SCANNER), ("artefacts", ARTEFACTS), ("handling", HANDLING)):
        tiles = [(caption, shown(plain, planned(fields))) for caption, fields in changes]
        sheet(tiles, folder / f"world_{name}.png")
        print(f"drew {folder / f'world_{name}.png'}")
    ill = {
        "siderosis": "siderosis", "old_haemorrhages": "old_haemorrhage", "cavernomas": "cavernoma",
        "venous_anomalies": "venous_anomaly", "infarct_rims": "infarct_rim", "implants": "implant",
        "thrombosed_veins": "thrombosed_vein", "lacunes": "lacune",
    }  # fmt: skip
    tiles = []
    for caption, fields in HEADS:
        kinds = tuple(ill[key] for key in fields if key in ill)
        tiles.append((caption, shown(built(labels, fields), PLAIN, kinds)))
    sheet(tiles, folder / "world_head.png")
    print(f"drew {folder / 'world_head.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
