"""Pictures of what a trained network has inside: `crack-train plot features RUN` and `crack-train plot maps RUN`.

Features: after figure 1 of the GAGL paper (Chen et al., CVPR 2022): the features of the held-back patches, laid out by
t-SNE (van der Maaten and Hinton, JMLR 2008), in the colour of their class, the darker the more steps of the attack
FGA-PGD they stand, kappa. Maps: after figure 3 of the Spiral-Net paper (Kobayashi, ACCV 2018): what each module passes
on for one picture, with its weight in the last layer.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch
from torch import nn

from agent.contract.arrays import Bool, Float32, Float64, UInt8
from agent.errors import ConfigError, CrackscoutError, InputError, OutputError
from train.checkpoint import load_checkpoint
from train.data.augment import pad
from train.data.crops import gate_view, readable, to_tensor
from train.data.picture import Picture
from train.data.reading import read_rgb
from train.fit import LAST, RUN_NAME
from train.held_back import patches_of, photos_held_back
from train.losses.gagl import fga_pgd
from train.models.gate import PatchNet
from train.models.spiral_net import SpiralNet
from train.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

FEATURES: Final = "features.png"
FEATURES_TABLE: Final = "features.csv"
MAPS: Final = "maps.png"
PATCHES: Final = 1000  # t-SNE of more is slow and too dense to read
_FEWEST: Final = 4  # points that t-SNE can lay out
_PERPLEXITY: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureCloud:
    """The features of N patches, as a gate sees them."""

    names: tuple[str, ...]
    cracked: Bool  # (N,)
    features: Float32  # (N, D)
    kappa: NDArray[np.int64]  # (N,), 0 is told wrongly as it is, `steps` never told wrongly
    steps: int
    skipped: tuple[str, ...]  # patches that could not be read, one message each


def open_run(run: Path) -> tuple[nn.Module, Settings]:
    """Return the last weights of a run, ready to be asked, and its settings.

    Args:
        run: its folder, or a checkpoint.

    Raises:
        InputError: there is none.
    """
    if run.is_dir() and not (run / LAST).is_file():
        what = "no epoch of it was finished" if (run / RUN_NAME).is_file() else "it is no run of `crack-train fit`"
        raise InputError(f"{run}: holds no {LAST}; {what}")
    net, passport = load_checkpoint(run / LAST if run.is_dir() else run)
    return net, passport.settings


def folder_of(run: Path, out: Path | None) -> Path:
    """Return where a run's pictures go, made if missing: `out`, or `plots` beside its checkpoints.

    Raises:
        OutputError: it cannot be made.
    """
    folder = out or (run if run.is_dir() else run.parent) / "plots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be made ({exc.strerror}); name another with --out DIR") from exc
    return folder


def feature_cloud(net: nn.Module, settings: Settings, *, limit: int = PATCHES) -> FeatureCloud:
    """Return the features of the patches that a gate's run held back, and how far each lies from the class boundary.

    The attack is that of GAGL's training: 10 steps of 0.1 within 1.0, in units of the features' root mean square,
    unless the run's loss options say otherwise.

    Args:
        net: the gate, in eval mode.
        settings: of its run.
        limit: at most so many patches, evenly over the set.

    Raises:
        ConfigError: the run trained no gate, or held back fewer than 4 patches that can be read.
        InputError: a folder is missing.
    """
    if not isinstance(net, PatchNet):
        raise ConfigError(f"{settings.name}: trained a segmenter; features with kappa are of a gate (task: gate)")
    patches = patches_of(photos_held_back(settings))
    chosen = np.unique(np.linspace(0, len(patches) - 1, min(limit, len(patches))).round().astype(int))
    names, cracked, features, skipped = [], [], [], []
    for patch in (patches[i] for i in chosen):
        try:
            image = patch.load()
        except CrackscoutError as exc:
            skipped.append(str(exc))
            continue
        with torch.no_grad():
            features.append(net.answers(to_tensor(gate_view(image, settings.gate)[None])).features[0])
        names.append(patch.name)
        cracked.append(patch.crack)
    if len(features) < _FEWEST:
        raise ConfigError(f"{settings.name}: {len(features)} patches can be read; t-SNE takes {_FEWEST} or more")
    every = torch.stack(features)
    options = settings.loss.options if settings.loss.name == "gagl" else {}
    unit = float(every.square().mean().sqrt()) if options.get("scale", "rms") == "rms" else 1.0
    steps = int(options.get("steps", 10))
    found = fga_pgd(
        every,
        torch.tensor([int(crack) for crack in cracked]),
        net.head,
        steps=steps,
        step_size=unit * float(options.get("step_size", 0.1)),
        radius=unit * float(options.get("radius", 1.0)),
    )
    return FeatureCloud(
        names=tuple(names),
        cracked=np.array(cracked, np.bool_),
        features=every.numpy().astype(np.float32),
        kappa=found.kappa.numpy().astype(np.int64),
        steps=steps,
        skipped=tuple(skipped),
    )


def plot_features(cloud: FeatureCloud, folder: Path, *, title: str) -> tuple[Path, Path]:
    """Draw the cloud into `features.png`, and write its points to `features.csv`; return both.

    The layout is a function of the features alone: t-SNE starts from the principal components, with a fixed seed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and for this alone

    places = _laid_out(cloud.features)
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    ax = figure.subplots()
    for crack, colours, name in ((False, "Blues", "clean"), (True, "Reds", "crack")):
        of = cloud.cracked == crack
        x, y = places[of].T
        drawn = ax.scatter(
            x, y, c=cloud.kappa[of] / cloud.steps, cmap=_dark_half(colours), vmin=0, vmax=1, s=14, linewidths=0
        )
        figure.colorbar(drawn, ax=ax, shrink=0.75, label=f"{name}: kappa / {cloud.steps} steps")
    wrong = cloud.kappa == 0
    x, y = places[wrong].T
    ax.scatter(x, y, s=34, facecolors="none", edgecolors="black", linewidths=0.8, label="told wrongly")
    if wrong.any():
        ax.legend(loc="best", fontsize=8)
    ax.set_xticks([])
    ax.set_yticks([])
    mean = {name: _mean(cloud.kappa[cloud.cracked == crack]) for name, crack in (("crack", True), ("clean", False))}
    ax.set_title(
        f"{title}: {len(cloud.names)} patches, {int(wrong.sum())} told wrongly; "
        f"mean kappa {mean['crack']} crack, {mean['clean']} clean",
        fontsize=9,
    )
    picture, points = folder / FEATURES, folder / FEATURES_TABLE
    figure.savefig(picture, dpi=120)
    with points.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patch", "crack", "kappa", "x", "y"])
        for name, crack, kappa, (x, y) in zip(cloud.names, cloud.cracked, cloud.kappa, places, strict=True):
            writer.writerow([name, int(crack), int(kappa), f"{x:.4f}", f"{y:.4f}"])
    return picture, points


def plot_maps(net: nn.Module, picture: Picture, folder: Path, *, title: str) -> Path:
    """Draw what each module of a Spiral-Net gives for a picture into `maps.png`; return it.

    Args:
        net: in eval mode.
        picture: continued by reflection to the extent that the network takes; its mask is drawn where it has one.
        folder: where the file goes.
        title: of the drawing.

    Raises:
        ConfigError: the network has no modules to show.
    """
    if not isinstance(net, SpiralNet):
        raise ConfigError(
            f"{title}: {type(net).__name__} has no modules that hand on a map; plot maps takes spiral_net"
        )
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and for this alone

    height, width = picture.image_rgb.shape[:2]
    image, _ = pad(picture.image_rgb, None, *(-(-edge // net.stride_px) * net.stride_px for edge in (height, width)))
    with torch.no_grad():
        given = to_tensor(image[None])
        maps = [m[0, 0, :height, :width].numpy() for m in net.maps(given)]
        probability = net(given)[0, 0, :height, :width].sigmoid().numpy()
    weights = net.head.weight.detach().flatten().tolist()
    together = len(weights) == 1  # a sum, or the last map alone
    shown: list[tuple[str, NDArray[np.generic], float | None]] = [("picture", picture.image_rgb, None)]
    if picture.mask is not None:
        shown.append(("truth", picture.mask.astype(np.float32), 1.0))
    shown += [
        (f"module {number}" + ("" if together else f" ({weight:+.2f})"), found, None)
        for number, (found, weight) in enumerate(
            zip(maps, weights * len(maps) if together else weights, strict=True), 1
        )
    ]
    shown.append(("probability", probability, 1.0))
    columns = 5
    figure = Figure(
        figsize=(columns * 2.6, -(-len(shown) // columns) * (2.6 * height / width + 0.4)), layout="constrained"
    )
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, (name, values, highest) in zip(axes, shown, strict=False):
        _show(ax, name, values, highest)
    figure.suptitle(f"{title}: each module's map, its weight in the last layer in brackets", fontsize=9)
    path = folder / MAPS
    figure.savefig(path, dpi=110)
    return path


def held_back_picture(settings: Settings) -> Picture:
    """Return the first photo that a run held back which shows a crack.

    Raises:
        ConfigError: there is none.
        InputError: a folder is missing.
    """
    skipped: list[str] = []
    for part in photos_held_back(settings):
        for picture in readable(part, skipped):
            if picture.mask is not None and picture.mask.any():
                return picture
    raise ConfigError(f"{settings.name}: no photo with a crack was held back; name one with --image FILE")


def given_picture(path: Path) -> Picture:
    """Return a photo of which nothing is known.

    Raises:
        InputError: it cannot be read.
    """
    return Picture(image_rgb=read_rgb(path), mask=None, cracked=False)


def _laid_out(features: Float32) -> Float64:
    from sklearn.manifold import TSNE  # noqa: PLC0415 - heavy, and for this alone

    count = len(features)
    tsne = TSNE(n_components=2, perplexity=min(_PERPLEXITY, (count - 1) / 3), init="pca", random_state=0)
    return np.asarray(tsne.fit_transform(features), np.float64)


def _dark_half(name: str) -> Colormap:
    """Return a colour map without its palest quarter, which would vanish on white."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    return ListedColormap(colormaps[name](np.linspace(0.25, 1, 256)))


def _mean(kappa: NDArray[np.int64]) -> str:
    return f"{kappa.mean():.1f}" if len(kappa) else "none"


def _show(ax: Axes, name: str, values: NDArray[np.generic], highest: float | None) -> None:
    if values.ndim == 3:
        ax.imshow(cast("UInt8", values))
    else:
        ax.imshow(values, cmap="gray", vmin=0, vmax=highest)
    ax.set_title(name, fontsize=8)
