"""What the transformer backbones share: the walk through their blocks and what it may leave out."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Encoding(NamedTuple):
    """What an encoder gives; layers count from 1, as in the papers; 0 is the embedding."""

    tokens: Tensor  # after all blocks and the final norm [B, prefix+K, C]
    logits: dict[int, Tensor]  # before the softmax, by layer [B, heads, Q, K]
    hidden: dict[int, Tensor]  # outputs by layer, before any final norm [B, prefix+K, C]


class Backbone(BaseModule):
    """Base of the transformers; subclasses set ``num_layers``, ``out_type`` and ``with_cp``."""

    num_layers: int
    out_type: str
    with_cp: bool
    norm: nn.Module

    def _check_out_type(self) -> None:
        if self.out_type not in ('tokens', 'featmap'):
            raise ValueError(f"out_type is 'tokens' or 'featmap', got '{self.out_type}'")

    def _start(self, image: Tensor, ids_keep: Tensor | None, **options: Any) -> tuple[Tensor, Any]:
        """Return embedded tokens, and what :meth:`run_layer` needs besides."""
        raise NotImplementedError

    def run_layer(
        self, layer: int, x: Tensor, context: Any, need_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Run a layer (1-based); return its output and, if asked, its logits."""
        raise NotImplementedError

    def _logits(self, layer: int, x: Tensor, context: Any) -> Tensor:
        """Return the logits of a layer (1-based) for its input, no more."""
        raise NotImplementedError

    def _flat(self, x: Tensor) -> Tensor:
        """Return what runs through the blocks as tokens [B, N, C]."""
        return x

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        """Run a block, keeping its activations or, with ``with_cp``, computing them again."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _run_blocks(
        self,
        x: Tensor,
        context: Any = None,
        logits_of: Collection[int] = (),
        hidden_of: Collection[int] = (),
        stop: int | None = None,
    ) -> Encoding:
        """Run the first ``stop`` layers (all by default); no final norm, nothing flattened."""
        logits, hidden = {}, {0: x} if 0 in hidden_of else {}
        for layer in range(1, (self.num_layers if stop is None else stop) + 1):
            x, found = self.run_layer(layer, x, context, layer in logits_of)
            if found is not None:
                logits[layer] = found
            if layer in hidden_of:
                hidden[layer] = x
        return Encoding(x, logits, hidden)

    def encode(
        self,
        image: Tensor,
        ids_keep: Tensor | None = None,
        logits_of: Collection[int] = (),
        hidden_of: Collection[int] = (),
        **options: Any,
    ) -> Encoding:
        """Run all blocks and the final norm.

        Raises ValueError if the image is not of whole patches, or units of a Hiera.

        Args:
            image: [B, 3, H, W].
            ids_keep: What is visible [B, K]: patches, or mask units of a Hiera; ``None`` for all.
            logits_of: Layers (1-based, as in the papers) whose pre-softmax logits are wanted.
            hidden_of: Layers (0 for the embedding) whose outputs are wanted.
            **options: What else the backbone's ``embed`` takes.

        Returns:
            Logits of windows have windows and queries in one dimension; hidden outputs have the
            width and resolution of their layer.
        """
        x, logits, hidden = self._run_blocks(
            *self._start(image, ids_keep, **options), logits_of, hidden_of
        )
        hidden = {layer: self._flat(output) for layer, output in hidden.items()}
        return Encoding(self.norm(self._flat(x)), logits, hidden)

    def attention_logits(
        self, image: Tensor, layers: Sequence[int], ids_keep: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Return logits by layer (1-based); nothing runs after the last query-key product."""
        x, context = self._start(image, ids_keep)
        last = max(layers)
        found = self._run_blocks(x, context, layers, stop=last - 1)
        return {**found.logits, last: self._logits(last, found.tokens, context)}


def resolve_indices(indices: Sequence[int], count: int, what: str, parts: str) -> tuple[int, ...]:
    """Return indices of ``count`` parts (negative from the end), sorted and counted from 0."""
    resolved = sorted({i % count for i in indices if -count <= i < count})
    if not indices or len(resolved) != len(indices):
        raise ValueError(
            f'{what}={tuple(indices)} does not name {parts} of 0..{count - 1}, each once'
        )
    return tuple(resolved)
