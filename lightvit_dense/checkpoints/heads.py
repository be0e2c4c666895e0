"""The classifier's head in a checkpoint, by the names of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .convert import Converted
from .sources.base import is_hiera

# What training code and wrappers put before the names of a whole classifier.
_WRAPPERS = re.compile(r'^(?:(?:module|_orig_mod)\.)*(?:model\.)?')
_OURS = re.compile(rf'{_WRAPPERS.pattern}backbone\.')
_HUGGING_FACE = re.compile(r'\bembeddings\.patch_embeddings\.')
_NAMES = (
    (r'head\.(fc|fc_norm|bn)\.', r'\1.'),  # ours; timm's Hiera has head.fc too
    (r'head\.projection\.', 'fc.'),  # Meta's Hiera
    (r'(?:head|classifier|cls_classifier)\.(?=weight$|bias$)', 'fc.'),  # timm, MAE; Hugging Face
    (r'fc_norm\.', 'fc_norm.'),  # timm, MAE
    (r'(?:\w+\.)?pooler\.layernorm\.', 'fc_norm.'),  # Hugging Face's BEiT and Hiera
    (r'(?:head_dist|distillation_classifier)\.(?=weight$|bias$)', 'dist.'),  # DeiT
)


@dataclass
class Head:
    """A classifier's head as a file has it.

    Attributes:
        state: Tensors by the names of :class:`~lightvit_dense.ClassificationHead`: ``fc.*``,
            ``fc_norm.*``, ``bn.*``; and ``dist.*``, DeiT's second linear layer.
        names: The file's names of these, with and without what wrappers put before them.
        final_norm: Whether a LayerNorm precedes the pooling.
        pool: 'mean' or 'cls' where the kind of file tells it, else ``None``.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    final_norm: bool = False
    pool: str | None = None

    @property
    def classes(self) -> int | None:
        """Number of classes, ``None`` if there is no linear layer."""
        return self.state['fc.weight'].shape[0] if 'fc.weight' in self.state else None

    @property
    def reading(self) -> dict[str, bool]:
        """Which norms stand between the blocks and the linear layer, as options of ours."""
        return {
            'backbone.final_norm': self.final_norm,
            'head.norm': 'fc_norm.weight' in self.state,
            'head.batch_norm': 'bn.running_mean' in self.state,
        }


def read_head(state: Mapping[str, Tensor], converted: Converted) -> Head:
    """Find the head of a classifier.

    Args:
        state: Tensors by the names of the file.
        converted: The same file's backbone.

    Returns:
        The head; without ``fc.weight`` the file is no classifier of images.
    """
    head = Head(final_norm='norm.weight' in converted.state)
    for name, tensor in state.items():
        short = _WRAPPERS.sub('', name)
        for pattern, ours in _NAMES:
            if re.match(pattern, short):
                head.state[re.sub(rf'^{pattern}', ours, short)] = tensor
                head.names |= {name, short}
                break
    linear = head.state.get('fc.weight')
    if linear is None or linear.ndim != 2:
        return Head(final_norm=head.final_norm)
    if any(_OURS.match(name) for name in state):  # may pool either way, with norms at either place
        return head
    if is_hiera(converted.state):  # its only norm follows the pooling, whatever it is called
        taken = {n: t for n, t in converted.state.items() if n.startswith('norm.')}
        head.state |= {f'fc_{name}': tensor for name, tensor in taken.items()}
        head.names |= set(taken)
        head.final_norm = False
    if 'fc_norm.weight' in head.state:
        head.pool = 'mean'
    elif any(_HUGGING_FACE.search(name) for name in state):
        head.pool = 'cls'
    return head
