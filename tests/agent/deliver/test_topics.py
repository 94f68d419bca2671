from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.ids import SEGMENT_PATTERN
from agent.deliver import Topics, slug
from agent.errors import ConfigError


def test_a_topic_names_prefix_version_and_device() -> None:
    assert Topics("site/north", "cart_1").of("crack") == "site/north/v1/cart_1/crack"


@pytest.mark.parametrize("name", ["", "A", "a b", "+", "#", "$SYS", "-a", "ä", "a\n", "a\0", "a" * 65, "\ud800"])
def test_a_hostile_name_is_a_fault_of_the_settings(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be part of a topic"):
        Topics("crackscout", name)
    with pytest.raises(ConfigError, match="cannot be part of a topic"):
        Topics(f"site/{name}", "cart")


def test_a_device_is_one_segment() -> None:
    with pytest.raises(ConfigError, match="device 'a/b': 'a/b' cannot be part of a topic"):
        Topics("crackscout", "a/b")


def test_a_slug_is_the_name_where_that_will_do_and_else_readable() -> None:
    assert slug("crown-2") == "crown-2"
    assert re.fullmatch("north-pier-2-[0-9a-f]{8}", slug("North Pier #2"))


@given(st.text(st.characters(), max_size=200))
def test_every_name_has_a_slug_that_is_a_segment(name: str) -> None:
    assert re.fullmatch(SEGMENT_PATTERN, slug(name))
    assert Topics("crackscout", slug(name)).device == slug(name)


@given(st.lists(st.text(max_size=10), unique=True, max_size=20))
def test_slugs_keep_names_apart(names: list[str]) -> None:
    assert len({slug(name) for name in names}) == len(names)
