"""Groups of pictures that show the same place, and a split that never parts one.

A random split of overlapping tiles measures memory, not skill.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from train.settings import Grouping


def group_names(stems: Sequence[str], grouping: Grouping) -> tuple[str, ...]:
    """Return the group of each file, by the longest number in its name (of equals the last).

    `runs`: numbers that follow each other in steps of at most `gap` under one prefix are a group. `blocks`: `size`
    consecutive numbers from 1 are a group. `photo`: what `pattern` finds in the names is the group, or the whole name
    where it finds nothing. `file`, and names without a number: each on its own.
    """
    if grouping.rule == "file":
        return tuple(stems)
    if grouping.rule == "photo":
        return tuple(found[1] if (found := re.search(grouping.pattern, stem)) else stem for stem in stems)
    groups = dict.fromkeys(stems, "")
    numbered: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for stem in stems:
        numbers = list(re.finditer(r"\d+", stem))
        if not numbers:
            groups[stem] = stem
            continue
        longest = max(numbers, key=lambda found: (len(found[0]), found.start()))
        numbered[stem[: longest.start()]].append((int(longest[0]), stem))
    for prefix, members in numbered.items():
        first = previous = None
        for number, stem in sorted(members):
            if grouping.rule == "blocks":
                first = (number - 1) // grouping.size * grouping.size + 1
            elif previous is None or number - previous > grouping.gap:
                first = number
            previous = number
            groups[stem] = f"{prefix}{first}"
    return tuple(groups[stem] for stem in stems)


def folded(groups: Sequence[str], folds: int, fold: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices for training and for validation, which is part `fold` of `folds`.

    Groups are dealt out, the largest first, equals in a seeded order, each to the part with the fewest pictures, so
    that the parts are the same whichever of them is asked for, and together they are everything.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    names = sorted(members)
    names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts: list[list[int]] = [[] for _ in range(folds)]
    for name in sorted(names, key=lambda name: -len(members[name])):
        min(parts, key=len).extend(members[name])
    return sorted(i for at, part in enumerate(parts) if at != fold for i in part), sorted(parts[fold])


def split(groups: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices for training and for validation.

    Groups are drawn in a seeded order, and each goes to validation while that brings its size closer to `share`.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names))
    wanted = share * len(groups)
    held: list[int] = []
    for name in (names[i] for i in order):
        if abs(len(held) + len(members[name]) - wanted) < abs(len(held) - wanted):
            held += members[name]
    chosen = set(held)
    return [i for i in range(len(groups)) if i not in chosen], sorted(held)
