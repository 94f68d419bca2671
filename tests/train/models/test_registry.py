"""Networks by name."""

from __future__ import annotations

import pytest

from agent.errors import ConfigError
from train import models


@pytest.mark.parametrize("name", list(models.MODELS))
def test_every_network_tells_its_stride_and_receptive_field(name: str) -> None:
    net = models.build(name)
    assert isinstance(net.stride_px, int)
    assert isinstance(net.receptive_field_px, int | None)


def test_an_unknown_network_and_an_unknown_option_are_named() -> None:
    with pytest.raises(ConfigError, match="'resnet' is not one of half_res_unet"):
        models.build("resnet")
    with pytest.raises(ConfigError, match=r"model\.depth: half_res_unet has no such option; it has widths"):
        models.build("half_res_unet", depth=3)
    with pytest.raises(ConfigError, match="refuses its options"):
        models.build("half_res_unet", widths=[3])
