"""From the parameter names found in the wild to ours.

Each :class:`Source` says how its files are recognised and which names in them are the backbone's.
A new source is one more row of :data:`SOURCES`; the first that recognises a file takes it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

STEM = 'patch_embed.proj.weight'
# Wrappers put these before every name: DistributedDataParallel, torch.compile.
WRAPPERS = ('module.', '_orig_mod.')


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint.

    Attributes:
        name: How reports call it.
        prefix: What stands before the backbone's names; what does not start with it is dropped.
        drop: Pattern of names, prefix removed, that are no part of a backbone.
        marks: Patterns of which at least one must occur among the names, prefix removed.
    """

    name: str
    prefix: str = ''
    drop: str | None = None
    marks: tuple[str, ...] = field(default=())

    def recognises(self, names: Collection[str]) -> bool:
        """Tell whether a file with these parameter names is of this kind."""
        if self.prefix + STEM not in names:
            return False
        if not self.marks:
            return True
        inner = [n[len(self.prefix) :] for n in names if n.startswith(self.prefix)]
        return any(re.match(mark, n) for mark in self.marks for n in inner)


_MAE_EXTRAS = r'decoder_|mask_token$|decoder\.'
SOURCES = (
    Source('full model', prefix='backbone.'),
    Source('mae-lite', prefix='module.model.', drop=_MAE_EXTRAS),
    Source('mae-lite', prefix='model.', drop=_MAE_EXTRAS),
    Source('mae-lite encoder', prefix='module.model.encoder.', drop=_MAE_EXTRAS),
    Source('mae-lite encoder', prefix='model.encoder.', drop=_MAE_EXTRAS),
    Source('encoder of a pre-trainer', prefix='encoder.', drop=_MAE_EXTRAS),
    Source('MAE', drop=_MAE_EXTRAS, marks=(r'decoder_', r'mask_token$')),
    Source('plain backbone (ours or timm)'),
)


@dataclass
class Converted:
    """A state dict under our names.

    Attributes:
        source: Kind of checkpoint, None if it was not recognised.
        state: Tensors by our names; of an unrecognised file by the file's own.
        dropped: The file's names of what is no part of the backbone.
    """

    source: str | None
    state: dict[str, Tensor]
    dropped: list[str]


def find_source(names: Collection[str]) -> Source | None:
    """Tell the kind of checkpoint from its parameter names."""
    names = set(names)
    return next((source for source in SOURCES if source.recognises(names)), None)


def convert(state: Mapping[str, Tensor]) -> Converted:
    """Rename the parameters of a checkpoint to ours.

    Args:
        state: Tensors by the names they have in the file.

    Returns:
        The backbone's tensors by our names (timm's), and what was left out.
    """
    ours = {name: name for name in state}
    source = find_source(ours.values())
    while source is None:
        # Every name in a wrapper: look inside it.
        wrapper = next(
            (w for w in WRAPPERS if ours and all(n.startswith(w) for n in ours.values())), ''
        )
        if not wrapper:
            return Converted(None, dict(state), [])
        ours = {name: inner[len(wrapper) :] for name, inner in ours.items()}
        source = find_source(ours.values())
    kept, dropped = {}, []
    for name, inner in ours.items():
        short = inner[len(source.prefix) :]
        if not inner.startswith(source.prefix) or (source.drop and re.match(source.drop, short)):
            dropped.append(name)
        else:
            kept[short] = state[name]
    return Converted(source.name, kept, dropped)
