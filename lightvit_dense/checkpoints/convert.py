"""From the parameter names found in the wild to ours, by the rows of :data:`SOURCES`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .key_mapping import STEPS, Context, refuse_foreign
from .sources import SOURCES, Source

# Wrappers put these before every name: DistributedDataParallel, torch.compile.
WRAPPERS = ('module.', '_orig_mod.')
# What averaging models keep beside the network: mmengine's, torch's.
COUNTERS = ('steps', 'n_averaged')


@dataclass
class Converted:
    """A state dict under our names."""

    source: str | None  # kind of checkpoint, None if it was not recognised
    state: dict[str, Tensor]  # by our names; of an unrecognised file by its own
    dropped: list[str]  # names of what is no part of the backbone
    notes: list[str] = field(default_factory=list)  # what was done to values


def find_source(names: Collection[str]) -> tuple[Source | None, dict[str, str]]:
    """Return the kind of checkpoint, if known, and each name without the wrapper before all."""
    inner = {name: name for name in names if name not in COUNTERS}
    while True:
        found = set(inner.values())
        source = next((source for source in SOURCES if source.recognises(found)), None)
        wrapper = next((w for w in WRAPPERS if all(n.startswith(w) for n in found)), '')
        if source is not None or not found or not wrapper:
            return source, inner
        inner = {name: rest[len(wrapper) :] for name, rest in inner.items()}


def _same_network(state: Mapping[str, Tensor], wanted: Collection[str]) -> Converted | None:
    """Find a network of another kind by the model's own names, all behind the same beginning."""
    needed = [name for name in wanted if not name.endswith('num_batches_tracked')]
    ends = {n[: -len(needed[0])] for n in state if n.endswith(needed[0])} if needed else set()
    for start in sorted(ends, key=len):
        if all(start + name in state for name in needed):
            taken = {start + name: name for name in wanted if start + name in state}
            kept = {ours: state[name] for name, ours in taken.items()}
            return Converted('the same network', kept, [n for n in state if n not in taken])
    return None


def convert(state: Mapping[str, Tensor], wanted: Collection[str] | None = None) -> Converted:
    """Rename the parameters of a checkpoint to ours (timm's), and bring variants to our form.

    ``wanted`` are the names of the model that shall be loaded: what it has under a foreign name is
    kept as it is, and classifiers that it lacks are left out.

    Raises:
        CheckpointError: If the names belong to a network that our backbones cannot be.
    """
    source, ours = find_source(state)
    if source is None:
        same = _same_network(state, wanted or ())
        if same is not None:
            return same
        refuse_foreign(dict(state), wanted or ())
        return Converted(None, dict(state), [])
    context = Context(None if wanted is None else frozenset(wanted))
    context.dropped += [name for name in COUNTERS if name in state]
    kept: dict[str, Tensor] = {}
    for name, inner in ours.items():
        short = source.short(inner)
        if short is None:
            context.dropped.append(name)
        else:
            kept[short] = state[name]
    refuse_foreign(kept, wanted or ())
    for step in (*source.steps, *STEPS):
        kept = step(kept, context)
    return Converted(source.name, kept, context.dropped, context.notes)
