"""What a source of checkpoints is."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from torch import Tensor

STEM = 'patch_embed.proj.weight'
_WIDER = re.compile(r'blocks\.\d+\.proj\.')

State = dict[str, Tensor]


@dataclass
class Context:
    """What a rewriting step is told, and where it says what it did.

    Attributes:
        wanted: Names of the model to be loaded; None if there is no model.
        dropped: Names of what was left out.
        notes: One line for each change of values or meaning.
    """

    wanted: frozenset[str] | None = None
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wants(self, name: str) -> bool:
        """Tell whether the model has a parameter of this name."""
        return self.wanted is not None and name in self.wanted

    def drop(self, state: State, names: Collection[str]) -> None:
        """Take tensors out of a state dict and record it."""
        for name in names:
            del state[name]
            self.dropped.append(name)


def is_hiera(names: Iterable[str]) -> bool:
    """Tell by our names of parameters whether they are a Hiera's: some blocks change the width."""
    return any(_WIDER.match(name) for name in names)


Step = Callable[[State, Context], State]
"""Turns names and values into ours; may change its argument."""


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint.

    Attributes:
        name: How reports call it.
        prefix: What stands before the backbone's names; what does not start with it is dropped.
        drop: Pattern of names, prefix removed, that are no part of a backbone.
        marks: Patterns each of which must match the beginning of some name of the file.
        stem: The patch embedding's kernel, by which a backbone is found; after the prefix.
        also: Pattern of names outside the prefix that are the backbone's nevertheless.
        steps: What must be done to the names and values that remain.
    """

    name: str
    prefix: str = ''
    drop: str | None = None
    marks: tuple[str, ...] = ()
    stem: str = STEM
    also: str | None = None
    steps: tuple[Step, ...] = ()

    def recognises(self, names: Collection[str]) -> bool:
        """Tell whether a file with these parameter names is of this kind."""
        if self.prefix + self.stem not in names:
            return False
        return all(any(re.match(mark, name) for name in names) for mark in self.marks)

    def short(self, name: str) -> str | None:
        """Return a file's name without the prefix, None if it is no part of the backbone."""
        if self.also and re.match(self.also, name):
            return name
        if not name.startswith(self.prefix):
            return None
        short = name[len(self.prefix) :]
        return None if self.drop and re.match(self.drop, short) else short


def rename(state: State, rules: Collection[tuple[str, str]]) -> State:
    """Apply regular expressions to names, each name by all rules in order.

    Args:
        state: Tensors by name.
        rules: Pairs of a pattern and its replacement.

    Returns:
        The tensors by their new names.
    """
    renamed: State = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
