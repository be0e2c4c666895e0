"""Which settings of a training differ between two configs, by key."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.runner import Runner

from lightvit_dense.utils.literals import read_assignments

_ELSEWHERE = {
    *('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name', 'visualizer', 'log_level'),
    *('test_dataloader', 'test_cfg', 'test_evaluator', 'default_scope', 'cfg', 'self'),
}
SECTIONS = {*inspect.signature(Runner).parameters, 'engine', 'compile', 'sync_bn'} - _ELSEWHERE
"""What a training reads; other top-level names are of tests, or variables of the config."""


def find_changes(before: str, now: str) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ between the texts of two configs, None for an absent one.

    Keys are dotted; the items of a list of typed dicts go by the names of their types.

    Raises:
        ValueError: If a setting is no literal.
    """
    old, new = (dict(list_settings(read_assignments(text, SECTIONS))) for text in (before, now))
    pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def list_settings(node: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Walk over the values of a part of a config, with their keys."""
    typed = isinstance(node, (list, tuple)) and all(
        isinstance(i, dict) and 'type' in i for i in node
    )
    if typed:
        names: list[str] = []
        for item in node:
            name = str(item['type']).rpartition('.')[2]
            names.append(f'{name}#{len(names)}' if name in names else name)
        yield place, names
        node = dict(zip(names, node, strict=True))
    if isinstance(node, dict):
        for key, value in node.items():
            yield from list_settings(value, f'{place}.{key}' if place else key)
    else:
        yield place, list(node) if isinstance(node, tuple) else node
