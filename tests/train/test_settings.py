"""One YAML file per run, all of its faults told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from train.settings import ClassSource, RenderedSource, load

MINIMAL = """\
name: run
task: segment
data:
  sources:
    - {kind: rendered, weight: 1}
model: {name: half_res_unet}
loss: {name: holistic}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def test_what_a_file_leaves_out_has_a_default(config: Path) -> None:
    settings = load(config)
    assert settings.folder == Path("runs/run")
    assert settings.optimiser.batch == 8
    assert isinstance(settings.data.sources[0], RenderedSource)


def test_key_value_overrides_the_file_and_reaches_into_lists(config: Path) -> None:
    settings = load(
        config,
        [
            "optimiser.learning_rate=1e-3",
            "data.sources.0.count=5",
            "out=here",
            "loss.options.a=0.5",
            "data.root=/photos",
        ],
    )
    assert settings.optimiser.learning_rate == 0.001
    assert isinstance(settings.data.sources[0], RenderedSource)
    assert settings.data.sources[0].count == 5
    assert settings.folder == Path("here")
    assert settings.loss.options == {"a": 0.5}
    assert settings.data.root == Path("/photos")


def test_the_kind_of_a_source_decides_what_it_may_say(config: Path) -> None:
    source = "{kind: classes, name: c, folder: c, licence: CC0, weight: 1, groups: {rule: blocks, size: 50}}"
    settings = load(config, [f"data.sources=[{source}]"])
    assert isinstance(settings.data.sources[0], ClassSource)
    assert settings.data.sources[0].groups.size == 50


def test_all_faults_are_told_in_one_message_that_names_the_file_the_value_and_a_way_out(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config, ["optimizer.batch=4", "optimiser.epochs=0", "data.sources.0.conut=3", "data.augment.flpi=true"])
    message = str(caught.value)
    assert message.startswith(f"{config}: 4 to fix")
    assert "optimizer: not a setting, did you mean optimiser?" in message
    assert "optimiser.epochs=0" in message
    assert "data.sources.0.conut: not a setting, did you mean count?" in message
    assert "data.augment.flpi: not a setting, did you mean flip?" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        pytest.param("optimiser.batch", "section.key=value", id="no value"),
        pytest.param("data.sources.4.count=1", "items 0 to 0", id="a list item that is not there"),
        pytest.param("name.first=1", "no parts", id="inside a plain value"),
        pytest.param("name=[", "not a YAML value", id="a value that is not YAML"),
        pytest.param("data.augment.scale=[2, 1]", "must rise", id="a range upside down"),
        pytest.param("data.crop_px=100", "data.crop_px=100", id="a crop that is no multiple of 32"),
    ],
)
def test_an_override_that_does_not_fit_is_named(config: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"to fix|is no setting|:") as caught:
        load(config, [override])
    assert told in str(caught.value)


def test_two_sources_of_one_name_are_refused(config: Path) -> None:
    source = "{kind: rendered, weight: 1}"
    with pytest.raises(ConfigError, match="two sources are called rendered"):
        load(config, [f"data.sources=[{source}, {source}]"])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_a_key_given_twice_is_a_fault(config: Path) -> None:
    config.write_text(MINIMAL + "name: other\n")
    with pytest.raises(ConfigError, match="given twice"):
        load(config)
