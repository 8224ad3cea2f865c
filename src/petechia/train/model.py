"""The two networks, written out. Batch norm throughout: it folds into the convolutions at export, and a
network trained on patches may then see a whole volume at once.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from petechia.prepared.patches import CHANNELS
from petechia.regions import COARSE_CLASSES, PARCELS, coarse_name
from petechia.simulate.scan import CMB

NEW_CLASS_LOGIT = -4.0  # of a class that the weights started from do not know
FIRST_SAY = 0.1  # of a second look's opinions, with which a close look begins


class Block(nn.Sequential):
    """Two 3x3x3 convolutions with batch norm and leaky ReLU. (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int, leak: float) -> None:
        super().__init__(
            nn.Conv3d(c_in, c_out, 3, padding=1, bias=False),
            nn.BatchNorm3d(c_out),
            nn.LeakyReLU(leak, inplace=True),
            nn.Conv3d(c_out, c_out, 3, padding=1, bias=False),
            nn.BatchNorm3d(c_out),
            nn.LeakyReLU(leak, inplace=True),
        )


class UNet(nn.Module):
    """A 3D U-Net: `widths` channels per level, each level at half the resolution of the one above.

    With `stem` 2 the image is folded space-to-depth first, so the network runs at half resolution and unfolds
    its answer at the end: an eighth of the cost, at the price of 2-voxel cells.
    """

    def __init__(self, classes: int, widths: tuple[int, ...], stem: int, leak: float = 0.0) -> None:
        super().__init__()
        self.stem = stem
        self.down = nn.ModuleList()
        channels = stem**3
        for width in widths:
            self.down.append(Block(channels, width, leak))
            channels = width
        self.pool = nn.MaxPool3d(2)
        self.rise = nn.ModuleList()
        self.up = nn.ModuleList()
        for deep, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.rise.append(nn.ConvTranspose3d(deep, width, 2, stride=2))
            self.up.append(Block(2 * width, width, leak))
        self.head = nn.Conv3d(widths[0], classes * stem**3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, 1, i, j, k), lengths multiples of 16 -> logits (b, classes, i, j, k)."""
        return unfold(self.folded(image), self.stem)

    def folded(self, image: torch.Tensor) -> torch.Tensor:
        """As `forward`, before the answer is unfolded: (b, classes s^3, i/s, j/s, k/s), class slowest."""
        x = fold(image, self.stem)  # (b, s^3, i/s, j/s, k/s)
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            kept.append(x)
        for rise, block, skip in zip(self.rise, self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([rise(x), skip], 1))
        logits: torch.Tensor = self.head(x)
        return logits


class SecondLook(nn.Module):
    """A small classifier of cubes at full resolution: what a candidate is, one by one.

    Dou 2016 (IEEE TMI 35:1182-1195) screens first and discriminates the candidates after; so do we.
    """

    def __init__(
        self, inputs: int, classes: int, widths: tuple[int, ...], leak: float, drop: float = 0.0
    ) -> None:
        super().__init__()
        channels = inputs
        self.drop = nn.Dropout3d(drop)  # of what the last level is shown
        self.levels = nn.ModuleList()
        for width in widths:
            self.levels.append(Block(channels, width, leak))
            channels = width
        self.pool = nn.MaxPool3d(2)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        """cubes (b, inputs, n, n, n) -> logits (b, classes)."""
        x = cubes
        for level, block in enumerate(self.levels):
            x = x if level == 0 else self.pool(x)
            x = block(self.drop(x) if level == len(self.levels) - 1 else x)  # (b, width, n', n', n')
        side = x.shape[-1]
        low, high = side // 2 - 1, side // 2 + 1
        centre = x[..., low:high, low:high, low:high].mean((2, 3, 4))  # what it is
        around = x.mean((2, 3, 4))  # and where it lies
        logits: torch.Tensor = self.head(torch.cat([centre, around], 1))
        return logits


class CloseLook(SecondLook):
    """A second look at finer voxels, begun from one: all but its last level stays as it was.

    What is a dot, a tube, an edge is so at any scale; so few scans would teach the early levels by heart.
    """

    def __init__(self, inputs: int, classes: int, widths: tuple[int, ...], leak: float, drop: float) -> None:
        super().__init__(inputs, classes, widths, leak, drop)
        self.levels[:-1].requires_grad_(False)

    def train(self, mode: bool = True) -> CloseLook:
        """As any module, but what stays keeps its batch statistics too."""
        super().train(mode)
        self.levels[:-1].eval()
        return self


def start_from(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights, also those of a network that knew fewer classes: a new one starts as unlikely.

    Of an anatomy network of COARSE_CLASSES, each is shared out among its parcels instead.
    """
    if len(network.state_dict()["head.bias"]) == len(PARCELS) and not knows_parcels(weights):
        weights = weights | _shared_out(weights)
    for name, low in (("head.weight", 0.0), ("head.bias", NEW_CLASS_LOGIT)):
        if name not in weights:
            continue  # a network of another build has no class to add
        wanted, given = network.state_dict()[name], weights[name]
        extra = given.new_full(
            (len(wanted) - len(given), *given.shape[1:]), low
        )  # class is the slowest index
        weights = weights | {name: torch.cat([given, extra])}
    network.load_state_dict(weights)


def knows_parcels(weights: dict[str, torch.Tensor]) -> bool:
    """Whether an anatomy network's weights tell PARCELS apart; earlier ones told COARSE_CLASSES."""
    return len(weights["head.bias"]) != len(COARSE_CLASSES)


def _shared_out(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The head of a network of COARSE_CLASSES as one of PARCELS, of equal parts within each class."""
    held_by = torch.tensor([COARSE_CLASSES.index(coarse_name(parcel)) for parcel in PARCELS])
    parts = torch.bincount(held_by)[held_by]
    bias = weights["head.bias"][held_by]
    return {
        "head.weight": weights["head.weight"][held_by],
        "head.bias": bias - torch.log(parts.to(bias.dtype)),
    }


def fold(x: torch.Tensor, s: int) -> torch.Tensor:
    """Space to depth: (b, c, i, j, k) -> (b, c s^3, i/s, j/s, k/s)."""
    if s == 1:
        return x
    b, c, i, j, k = x.shape
    x = x.reshape(b, c, i // s, s, j // s, s, k // s, s)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * s**3, i // s, j // s, k // s)


def unfold(x: torch.Tensor, s: int) -> torch.Tensor:
    """Depth to space, the inverse of `fold`."""
    if s == 1:
        return x
    b, c, i, j, k = x.shape
    c //= s**3
    x = x.reshape(b, c, s, s, s, i, j, k)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c, i * s, j * s, k * s)


def build_detector() -> UNet:
    """Seven classes at 0.8 mm, working on 1.6 mm cells; sees about 50 mm around each."""
    return UNet(classes=7, widths=(24, 48, 96), stem=2, leak=0.05)


def build_second_look() -> SecondLook:
    """The detector's classes, for one candidate at 0.8 mm: image and local susceptibility."""
    return SecondLook(inputs=CHANNELS, classes=7, widths=(16, 40, 80), leak=0.05)


def build_close_look() -> CloseLook:
    """The same for one candidate at 0.4 mm, on top of the second look."""
    return CloseLook(inputs=CHANNELS, classes=7, widths=(16, 40, 80), leak=0.05, drop=0.2)


def without_a_say(second_look: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a second look as a close look begins: it sees as much and says next to nothing.

    Its log-odds of a microbleed begin near zero: what is said before stands.
    """
    bias = torch.zeros_like(second_look["head.bias"])
    bias[CMB] = math.log(len(bias) - 1)
    return second_look | {"head.weight": FIRST_SAY * second_look["head.weight"], "head.bias": bias}


def build_anatomy(classes: int = len(PARCELS)) -> UNet:
    """The brain's regions at 2.5 mm, whole head at once. classes: PARCELS, or COARSE_CLASSES as of old."""
    return UNet(classes=classes, widths=(16, 32, 64, 96), stem=1)
