"""The papers' tables: every row's file can be trained, and a table is trained, scored and printed."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from agent.errors import ConfigError, InputError
from tests.support.commands import crack
from tests.support.training import write_pairs
from train.checkpoint import load_checkpoint
from train.fit import LAST, RUN_NAME, fit
from train.held_back import photos_held_back
from train.judge import judge_pairs, open_model
from train.objectives import build_network, build_objective
from train.settings import Augment, load
from train.tables import GAP, chosen_rows, read_table, run_table
from train.tables_shown import drawn, save_csv, save_picture
from train.validation import segment

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
PAPERS = CONFIGS / "papers"
ROWS = sorted(path for path in PAPERS.glob("*/*.yaml") if path.name != "table.yaml")
TABLES = sorted(path.parent for path in PAPERS.glob("*/table.yaml"))
# by network: narrow enough for a step in a test
NARROW = {
    "spiral_net": "model.options={width: 0.0625}",
    "vanilla_unet": "model.options={width: 0.0625}",
    "hed": "model.options={width: 0.0625}",
    "revised_unet": "model.options={channels: 4, levels: 3}",
    "vgg_unet": "model.options={width: 0.0625}",
    "dru": "model.options={channels: 4}",
    "crackformer": "model.options={width: 0.0625}",
    "jtfn": "model.options={width: 0.0625}",
    "modified_unet": "model.options={channels: 4}",
    **dict.fromkeys(("rcf", "fcn8s", "segnet", "deepcrack"), "model.options={width: 0.0625}"),
    "u_cliquenet": "model.options={growth: 2}",
    **dict.fromkeys(("deeplab_v3_plus", "crackseg"), "model={name: revised_unet, options: {channels: 4, levels: 3}}"),
    "deeplab_v3": "model={name: revised_unet, options: {channels: 4, levels: 3}}",  # it has no narrow form
}
PHASES = {
    "gagl": ["loss.options={burn_in_epochs: 1}"],
    "cirl": ["loss.options={first: 1, second: 1}"],
    "nnclr": ["loss.options={first: 1, second: 1, support_size: 64}"],
}


def tiny(path: Path, photos: Path, out: Path) -> list[str]:
    """Return what makes a step of a row affordable; what it says of loss, optimiser and data stays."""
    raw = yaml.safe_load(path.read_text())
    gate = raw["task"] == "gate"
    crop = {"spiral_net": 256, "vanilla_unet": 256, "crackformer": 32}.get(raw["model"]["name"], 64)
    phases = PHASES.get(raw["loss"]["name"], [])
    if raw["loss"].get("options", {}).get("second") == 0:
        phases = ["loss.options={first: 2, second: 0}"]
    sources = []
    for number, source in enumerate(raw["data"]["sources"]):
        at = f"data.sources.{number}"
        if 0 < source["validation"] < 0.1:
            sources += [f"{at}.validation=0.1"]  # one of ten photos
        sources += [f"{at}.folder={'classes' if gate else 'pairs'}"]
        sources += [f"{at}.crack=[crack]", f"{at}.clean=[clean]"] if gate else [f"{at}.layout=plain"]
    return [
        f"data.root={photos}",
        *sources,
        *(["gate={tile_px: 64, downscale: 1}"] if gate else []),
        *phases,
        f"data.crop_px={crop}",
        f"optimiser.batch={2 if not gate else 4}",
        f"optimiser.epochs={2 if phases else 1}",
        "optimiser.steps_per_epoch=1",
        NARROW[raw["model"]["name"]] if not gate else "model.options.backbone=convnet",
        f"out={out}",
    ]


PLANS = sorted(CONFIGS.rglob("*plan.yaml"))


@pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.rglob("*.yaml")) - set(PLANS)), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_settings_file_loads(path: Path) -> None:
    if path.name == "table.yaml":
        read_table(path.parent)
    else:
        assert load(path).name


@pytest.mark.parametrize("path", ROWS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_step_of_every_row_can_be_taken(path: Path, photos: Path, tmp_path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert f"crack-train fit configs/train/papers/{path.parent.name}/{path.name}" in path.read_text()
    assert fit(load(path, tiny(path, photos, tmp_path / "run"))).epochs >= 1


STILL = Augment(
    scale=(1, 1), flip=False, rotate=False, seek=0, gamma=0, brightness=0, contrast=0, colour=0, grey=0, blur_px=0,
    noise=0, jpeg=0,
)  # fmt: skip
PRINTED = {  # what each paper says it varies, section by section; random crops come with every crop
    "adaptive_wce": {"turn_deg", "shift", "scale", "flip", "flip_vertical", "shear_deg", "border"},  # III-B
    "spiral_net": {"flip", "flip_vertical"},  # 3: "flipping either horizontally or vertically"
    "cirl": {"flip", "rotate"},  # 4.1: mirrored left for right, by 90, 180 and 270 degrees
    "deeplab_focal": {"flip", "flip_vertical", "blur_px", "hue", "saturation", "brightness", "contrast"},  # 3.3
    "gagl": {"flip"},  # 4.1; and patches from a generator network, which are not made here
}


@pytest.mark.parametrize("path", ROWS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_row_varies_its_crops_as_its_paper_says_and_in_no_other_way(path: Path) -> None:
    chosen = load(path).data.augment
    varied = {name for name in Augment.model_fields if getattr(chosen, name) != getattr(STILL, name)}
    paper = next(name for name in PRINTED if path.parent.name.startswith(name))
    printed = PRINTED[paper] | ({"noise"} if path.parent.name == "adaptive_wce_aiglern" else set())  # IV-B
    assert varied - {"seek"} == printed


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_every_row_of_a_table_loads_as_quick_changes_it(folder: Path) -> None:
    table = read_table(folder)
    assert len(chosen_rows(table, quick=True, only=[])) >= 2
    for row in table.rows:
        assert set(row.paper) <= set(table.metrics)
        assert all((-1 if name.startswith(GAP) else 0) <= value <= 1 for name, value in row.paper.items())
    for row in chosen_rows(table, quick=True, only=[]):
        assert row.config is not None
        settings = load(
            folder / row.config, [*table.quick, *row.quick_settings, f"optimiser.epochs={table.quick_epochs}"]
        )
        assert settings.optimiser.steps_per_epoch <= 300
        build_objective(settings, build_network(settings))  # its options fit the network and the fewer epochs
    files = {row.config for row in table.rows if row.config is not None}
    assert files == {path.name for path in ROWS if path.parent == folder}


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_the_figures_to_reach_stand_in_the_head_of_each_rows_file(folder: Path) -> None:
    """A table and its files are written apart; as shares of 1 or per cent, however many digits are printed."""
    for row in read_table(folder).rows:
        if row.config is None:
            continue
        head = [line for line in (folder / row.config).read_text().splitlines() if line.startswith("#")]
        printed = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", " ".join(head))]
        for name, value in row.paper.items():
            assert any(value in (pytest.approx(p), pytest.approx(p / 100)) for p in printed), f"{row.label}: {name}"


@pytest.fixture
def small_table(photos: Path, tmp_path: Path) -> Path:
    """Two rows of tiny runs, one of them not for --quick."""
    folder = tmp_path / "papers" / "small"
    folder.mkdir(parents=True)
    for name, loss in (("a", "cross_entropy"), ("b", "dice")):
        raw = yaml.safe_load((PAPERS / "adaptive_wce" / "xie.yaml").read_text())
        raw |= {"name": name, "model": {"name": "revised_unet", "options": {"channels": 4, "levels": 3}}}
        raw["loss"] = {"name": loss, "options": {}}
        raw["data"] |= {"root": str(photos), "crop_px": 64}
        raw["data"]["sources"][0] |= {"name": "pairs", "folder": "pairs"}
        raw["optimiser"] |= {"epochs": 3, "steps_per_epoch": 2, "batch": 2}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    (folder / "table.yaml").write_text(
        yaml.safe_dump(
            {
                "title": "Small",
                "source": "nobody, table 0",
                "note": "made up",
                "metrics": {"strict.ods": "ODS, strict"},
                "quick": ["optimiser.steps_per_epoch=1"],
                "quick_epochs": 1,
                "rows": [
                    {"label": "cross-entropy", "config": "a.yaml", "paper": {"strict.ods": 0.5}},
                    {"label": "dice", "config": "b.yaml", "epochs": 2, "paper": {}, "quick": False},
                ],
            }
        )
    )
    return folder


def test_a_table_trains_each_row_once_per_seed_and_keeps_what_is_there(small_table: Path, tmp_path: Path) -> None:
    told: list[str] = []
    table, results = run_table(small_table, tmp_path / "out", seeds=2, told=told.append)
    assert [result.row.label for result in results] == ["cross-entropy", "dice"]
    assert [len(result.values["strict.ods"]) for result in results] == [2, 2]
    assert [result.epochs for result in results] == [3, 2]
    assert len(told) == 4
    assert all(
        result.parameters > 0 and result.multiply_adds > 0 and result.frames_per_second > 0 for result in results
    )
    records = sorted((tmp_path / "out").glob(f"*/{RUN_NAME}"))
    before = [path.stat().st_mtime_ns for path in records]
    _, again = run_table(small_table, tmp_path / "out", seeds=2)
    assert [path.stat().st_mtime_ns for path in records] == before
    assert [result.values for result in again] == [result.values for result in results]

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn(table, results))
    text = console.export_text()
    assert "0.5000" in text
    assert "nobody, table 0" in text
    save_csv(table, results, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["row"] for line in lines] == ["cross-entropy", "dice"]
    values = results[0].values["strict.ods"]
    assert float(lines[0]["strict.ods mean"]) == pytest.approx(sum(values) / 2, abs=1e-6)
    assert lines[1]["strict.ods paper"] == ""
    save_picture(table, results, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 2000


def test_quick_leaves_rows_out_and_shortens_the_others(small_table: Path, tmp_path: Path) -> None:
    _, results = run_table(small_table, tmp_path / "out", quick=True)
    assert [(result.row.label, result.epochs) for result in results] == [("cross-entropy", 1)]
    (record,) = (tmp_path / "out").glob(f"*/{RUN_NAME}")
    assert json.loads(record.read_text())["settings"]["optimiser"]["steps_per_epoch"] == 1


def test_a_row_can_be_quick_in_its_own_way_and_says_if_it_is_a_reconstruction(
    small_table: Path, tmp_path: Path
) -> None:
    file = small_table / "table.yaml"
    content = yaml.safe_load(file.read_text())
    content["rows"][0] |= {"quick_settings": ["optimiser.steps_per_epoch=3"], "reconstruction": True}
    file.write_text(yaml.safe_dump(content))
    table, results = run_table(small_table, tmp_path / "out", quick=True)
    (record,) = (tmp_path / "out").glob(f"*/{RUN_NAME}")
    assert json.loads(record.read_text())["settings"]["optimiser"]["steps_per_epoch"] == 3
    save_csv(table, results, tmp_path / "t.csv")
    assert "cross-entropy (reconstruction)" in (tmp_path / "t.csv").read_text()


def test_data_is_the_folder_of_the_sets_or_the_rows_one_set(small_table: Path, photos: Path, tmp_path: Path) -> None:
    _, above = run_table(small_table, tmp_path / "above", quick=True, data=photos)
    _, itself = run_table(small_table, tmp_path / "itself", quick=True, data=photos / "pairs")
    assert [result.values for result in above] == [result.values for result in itself]
    with pytest.raises(InputError, match="classes"):
        run_table(small_table, tmp_path / "neither", quick=True, data=photos / "classes")


def test_the_multiply_adds_of_a_convolution_are_counted_by_hand(small_table: Path, tmp_path: Path) -> None:
    """First stage of the revised U-Net at 4 channels, 3 levels, on 64 x 64 px: against a sum over its layers."""
    _, (result,) = run_table(small_table, tmp_path / "out", quick=True)

    def conv(inputs: int, outputs: int, edge: int, kernel: int = 9) -> int:
        return inputs * outputs * kernel * edge**2

    down = conv(3, 4, 64) + conv(4, 4, 64) + conv(4, 8, 32) + conv(8, 8, 32) + conv(8, 16, 16) + conv(16, 16, 16)
    # a transposed convolution of 2 x 2 px, stride 2, writes each of its results once
    up = conv(16, 8, 32, 1) + conv(16, 8, 32) + conv(8, 8, 32) + conv(8, 4, 64, 1) + conv(8, 4, 64) + conv(4, 4, 64)
    assert result.multiply_adds == down + up + conv(4, 1, 64, 1)


def test_a_setting_can_be_changed_for_every_row_and_the_note_says_so(small_table: Path, tmp_path: Path) -> None:
    table, results = run_table(
        small_table, tmp_path / "out", quick=True, overrides=["optimiser.epochs=2", "optimiser.batch=1"]
    )
    assert [result.epochs for result in results] == [2]
    assert table.note == "made up Changed here: optimiser.epochs=2, optimiser.batch=1."
    (record,) = (tmp_path / "out").glob(f"*/{RUN_NAME}")
    assert json.loads(record.read_text())["settings"]["optimiser"]["batch"] == 1


def test_rows_are_chosen_by_their_labels(small_table: Path, tmp_path: Path) -> None:
    _, results = run_table(small_table, tmp_path / "out", only=["dic"], overrides=["optimiser.epochs=1"])
    assert [result.row.label for result in results] == ["dice"]
    with pytest.raises(ConfigError, match=r"--rows 'focal': no row's label holds it; there are cross-entropy; dice"):
        run_table(small_table, tmp_path / "none", only=["dice", "focal"])
    with pytest.raises(ConfigError, match="none of them is for --quick; those are cross-entropy"):
        run_table(small_table, tmp_path / "none", only=["dice"], quick=True)


def test_a_table_whose_time_is_over_gives_the_rows_that_are_done_and_goes_on(small_table: Path, tmp_path: Path) -> None:
    def told(line: str) -> None:
        lines.append(line)

    lines: list[str] = []
    run_table(small_table, tmp_path / "out", only=["cross-entropy"])
    _, results = run_table(small_table, tmp_path / "out", until=time.monotonic() - 1, told=told)
    assert [result.row.label for result in results] == ["cross-entropy"]
    assert len(lines) == 2, "the second row was begun"
    _, results = run_table(small_table, tmp_path / "out")
    assert [result.row.label for result in results] == ["cross-entropy", "dice"]


def changed(folder: Path, rows: list[dict[str, Any]], **table: Any) -> None:
    """Rewrite table.yaml with other rows."""
    file = folder / "table.yaml"
    file.write_text(json.dumps({**yaml.safe_load(file.read_text()), **table, "rows": rows}))  # YAML without aliases


def test_a_quoted_row_shows_the_papers_figures_and_is_not_trained(small_table: Path, tmp_path: Path) -> None:
    forest = {"label": "forest", "quoted": "it is no network", "paper": {"strict.ods": 0.7949}}
    net = {"label": "net", "config": "a.yaml", "paper": {}}
    changed(small_table, [forest, net])
    told: list[str] = []
    table, results = run_table(small_table, tmp_path / "out", quick=True, told=told.append)
    assert [result.row.label for result in results] == ["net"]
    assert len(told) == 1
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn(table, results))
    text = console.export_text()
    assert re.search(r"forest \(quoted\)\s*│\s*-\s*│\s*0\.7949", text), text
    assert "forest: quoted, it is no network." in " ".join(text.split())
    save_csv(table, results, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["row"], first["strict.ods mean"], first["strict.ods paper"]) == ("forest (quoted)", "", "0.7949")
    assert (first["epochs"], first["quoted"], second["quoted"]) == ("", "it is no network", "")
    assert second["epochs"] == "1"
    save_picture(table, results, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 2000
    table, _ = run_table(small_table, tmp_path / "out", quick=True, only=["net"])
    assert [row.label for row in table.rows] == ["net"]
    with pytest.raises(ConfigError, match="only quoted from the paper; trained are net"):
        run_table(small_table, tmp_path / "out", only=["forest"])


def test_rows_of_one_file_share_a_run_and_are_judged_on_sets_of_their_own(
    small_table: Path, photos: Path, tmp_path: Path
) -> None:
    """Against `crack-train evaluate` of the same checkpoint on the other set."""
    root = tmp_path / "data"
    shutil.copytree(photos / "pairs", root / "pairs")
    other = {"kind": "pairs", "name": "other", "folder": "other", "weight": 1, "licence": "none"}
    row = {"config": "a.yaml", "paper": {}}
    changed(
        small_table,
        [{**row, "label": "held back"}, {**row, "label": "elsewhere", "judged_on": "other"}],
        sets={"other": other},
    )
    with pytest.raises(InputError, match="other"):  # before anything is trained
        run_table(small_table, tmp_path / "out", data=root)
    assert not (tmp_path / "out").exists()
    write_pairs(root / "other", 3)
    _, (held_back, elsewhere) = run_table(small_table, tmp_path / "out", data=root)
    (run,) = (tmp_path / "out").iterdir()
    judged = judge_pairs(open_model(str(run / LAST)), root / "other" / "images", root / "other" / "masks")
    assert elsewhere.values["strict.ods"] == [next(m.value for m in judged.metrics if m.name == "strict.ods")]
    assert elsewhere.values != held_back.values
    assert elsewhere.seconds == held_back.seconds


def test_a_gap_is_what_a_row_has_more_than_another_seed_by_seed(small_table: Path, tmp_path: Path) -> None:
    rows = [
        {"label": "one", "config": "a.yaml", "paper": {}},
        {"label": "two", "config": "b.yaml", "paper": {}, "against": "one"},
    ]
    changed(small_table, rows, metrics={"strict.ods": "ODS", "gap strict.ods": "gap of ODS"})
    _, (one, two) = run_table(small_table, tmp_path / "out", quick=True, seeds=2)
    ours = zip(two.values["strict.ods"], one.values["strict.ods"], strict=True)
    assert two.values["gap strict.ods"] == pytest.approx([b - a for a, b in ours])
    assert one.values["gap strict.ods"] == []
    _, (alone,) = run_table(small_table, tmp_path / "out", quick=True, seeds=2, only=["two"])
    assert alone.values["gap strict.ods"] == []


def test_a_table_that_stretches_judges_maps_of_0_to_1(small_table: Path, tmp_path: Path) -> None:
    """Balanced focal, section 3.3: counts of the stretched maps at 0.5, pooled, by hand."""
    rows = [{"label": "net", "config": "a.yaml", "paper": {}}]
    changed(small_table, rows, stretched=True, metrics={"strict.recall": "recall at 0.5"})
    _, (result,) = run_table(small_table, tmp_path / "out", quick=True)
    (run,) = (tmp_path / "out").iterdir()
    net, passport = load_checkpoint(run / LAST)
    hit = sought = plain = 0
    for part in photos_held_back(passport.settings):
        for index in part.indices:
            picture = part.source.load(index)
            assert picture.mask is not None
            found = segment(net, picture.image_rgb, stride_px=passport.stride_px, device=torch.device("cpu")) / 255.0
            plain += int((found[picture.mask] >= 0.5).sum())
            level = np.rint((found - found.min()) / (found.max() - found.min()) * 255)
            hit += int((level[picture.mask] >= 128).sum())
            sought += int(picture.mask.sum())
    assert hit != plain, "the maps fill the range as they are, so this shows nothing"
    assert result.values["strict.recall"] == pytest.approx([hit / sought])


def test_where_a_row_was_trained_is_no_part_of_it(small_table: Path, tmp_path: Path) -> None:
    """Begun on one machine, taken up on another."""
    _, first = run_table(small_table, tmp_path / "out", quick=True, overrides=["compute.threads=1"])
    _, again = run_table(small_table, tmp_path / "out", quick=True, overrides=["compute.checkpoint_gradients=true"])
    assert [result.seconds for result in again] == [result.seconds for result in first]


def test_a_folder_with_another_run_is_not_taken_for_this_one(small_table: Path, tmp_path: Path) -> None:
    run_table(small_table, tmp_path / "out", quick=True)
    config = small_table / "a.yaml"
    config.write_text(config.read_text().replace("batch: 2", "batch: 1"))
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        run_table(small_table, tmp_path / "out", quick=True)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"rows": []}, "rows"),
        ({"colour": "red"}, "colour"),
        ({"metrics": {"strict.beauty": "?"}}, "'strict.beauty' is none"),
        ({"rows": [{"label": "x", "config": "absent.yaml", "paper": {}}]}, "absent.yaml: not beside it"),
        ({"rows": [{"label": "x", "paper": {}}]}, "give either config, or quoted"),
        ({"rows": [{"label": "x", "config": "a.yaml", "quoted": "why", "paper": {}}]}, "give either config, or quoted"),
        ({"rows": [{"label": "x", "quoted": "why", "epochs": 3, "paper": {}}]}, "a quoted row has no epochs"),
        ({"rows": [{"label": "x", "config": "a.yaml", "paper": {}, "judged_on": "moon"}]}, "moon is none of sets"),
        ({"rows": [{"label": "x", "config": "a.yaml", "paper": {}, "against": "y"}]}, "'y' is no row's label"),
        ({"rows": [{"label": "x", "config": "a.yaml", "paper": {}} for _ in range(2)]}, "two rows are called x"),
    ],
)
def test_a_table_that_does_not_fit_is_told(
    small_table: Path, tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    file = small_table / "table.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    with pytest.raises(ConfigError, match=fault):
        run_table(small_table, tmp_path / "out", quick=True)


def test_the_command_prints_the_table_and_says_where_it_is(small_table: Path, tmp_path: Path) -> None:
    done = crack("crack-train", "table", small_table, "--quick", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "ODS, strict: ours" in done.stdout
    assert (tmp_path / "out" / "quick.csv").is_file()
    assert "cross-entropy, seed 0" in done.stderr


def test_the_command_says_what_it_left_undone_when_its_minutes_are_over(small_table: Path, tmp_path: Path) -> None:
    """Exit 130, as after Ctrl-C: the same command goes on."""
    command = ("crack-train", "table", small_table, "--out", tmp_path / "out")
    done = crack(*command, "--rows", "cross-entropy", "optimiser.epochs=1")
    assert done.returncode == 0, done.stderr
    done = crack(*command, "optimiser.epochs=1", "--minutes", "0")
    assert done.returncode == 130, done.stderr
    assert "1 of 2 rows; the same command goes on" in done.stderr
    assert "cross-entropy" in done.stdout


def test_an_unknown_table_is_told_which_there_are(small_table: Path) -> None:
    shutil.copytree(small_table, small_table.parent / "other")
    with pytest.raises(ConfigError, match="there are other, small in"):
        read_table(small_table.parent / "third")
