"""Any vision transformer of timm as a teacher."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...registry import MODELS, WEIGHT_INITIALIZERS
from ..backbones import Encoding
from ..timm_models import create_timm_model


class _Stop(Exception):
    """All that was asked for has been seen."""


class _AttentionWatcher(TorchFunctionMode):
    """Compute the logits of chosen calls of fused attention, from the very q and k it is given.

    Whatever a model does to its queries and keys before (norms, rotary positions, biases) is thus
    in the logits, without a line of code for the model. Calls are counted from 1; with ``stop`` the
    forward pass ends after the last of ``layers``.
    """

    def __init__(self, layers: Collection[int], stop: bool) -> None:
        super().__init__()
        self.layers, self.stop = set(layers), stop
        self.calls = 0
        self.logits: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.calls += 1
            if self.calls in self.layers:
                q, k = args[0], args[1]
                scale = kwargs.get('scale') or q.shape[-1] ** -0.5
                self.logits[self.calls] = (q * scale) @ k.transpose(-2, -1)
                if self.stop and self.calls == max(self.layers):
                    raise _Stop
        return func(*args, **kwargs)


class _KeepPatches(nn.Module):
    """Stands where timm drops random patches; keeps ``prefix`` tokens and those it is told to."""

    def __init__(self, prefix: int, with_ids: bool) -> None:
        super().__init__()
        self.prefix, self.with_ids = prefix, with_ids
        self.ids: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        """Keep the patches ``ids`` [B, K] of x [B, prefix+N, C]."""
        if self.ids is not None:
            patches = x[:, self.prefix :]
            kept = patches.gather(1, self.ids[..., None].expand(-1, -1, x.shape[-1]))
            x = torch.cat([x[:, : self.prefix], kept], dim=1)
        return (x, self.ids) if self.with_ids else x


@MODELS.register_module()
class TimmTeacher(BaseModule):
    """A vision transformer of timm, by its name there: MAE, DINOv2, DINOv3, CLIP, supervised.

    Its attention need not be written for it: queries and keys are taken where timm hands them to
    fused attention. Raises ValueError for networks without global attention in every block (Swin,
    CaiT, ...).

    Args:
        name: timm's name, e.g. 'vit_base_patch16_224.mae' or 'vit_small_patch14_dinov2'.
        img_size: (height, width) or side of its images, giving as many patches as the student has;
            ``None`` for timm's default. Tell the distiller's ``teacher_input`` the same.
        pretrained: Whether timm fetches its own weights (from the network or its cache).
        init_cfg: ``dict(type='lightvit_dense.PretrainedBackbone', checkpoint=...)`` for a file with
            timm's or its authors' names.
    """

    def __init__(
        self,
        name: str,
        img_size: int | Sequence[int] | None = None,
        pretrained: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size: dict[str, Any] = {} if img_size is None else {'img_size': img_size}
        self.name, self.pretrained = name, pretrained
        try:
            self.model = create_timm_model(name, pretrained, num_classes=0, **size)
        except TypeError as error:
            raise ValueError(f'{name} takes no img_size, so it cannot be a teacher') from error
        self.blocks = getattr(self.model, 'blocks', ())
        self.num_prefix_tokens = int(getattr(self.model, 'num_prefix_tokens', 0))
        self._check_kind()
        self.patch_size: int = self.model.patch_embed.patch_size[0]
        self.grid_size = tuple(self.model.patch_embed.grid_size)
        self.num_layers = len(self.blocks)
        self.embed_dims: int = self.model.num_features
        for block in self.blocks:
            block.attn.fused_attn = True
        # timm's Eva (DINOv3 among others) rotates queries by position, so it has to know the ids.
        self.keep = _KeepPatches(
            self.num_prefix_tokens, getattr(self.model, 'rope', None) is not None
        )
        self.model.patch_drop = self.keep
        self._check_attention()

    def _check_kind(self) -> None:
        parts = all(hasattr(self.model, part) for part in ('patch_embed', 'patch_drop'))
        if not parts or not all(
            hasattr(getattr(b, 'attn', None), 'num_heads') for b in self.blocks
        ):
            raise ValueError(
                f'{self.name} is no plain vision transformer of timm (patch_embed, patch_drop and '
                'blocks with attn.num_heads are needed)'
            )

    def _check_attention(self) -> None:
        """Look whether every block attends globally, once, on a black image."""
        size = [side * self.patch_size for side in self.grid_size]
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens
        training = self.model.training
        with torch.no_grad(), _AttentionWatcher(range(1, self.num_layers + 1), False) as watcher:
            self.model.eval().forward_features(torch.zeros(1, 3, *size))
        self.model.train(training)
        shapes = {tuple(x.shape[-2:]) for x in watcher.logits.values()}
        if watcher.calls != self.num_layers or shapes != {(tokens, tokens)}:
            raise ValueError(
                f'{self.name}: {watcher.calls} fused attentions of {sorted(shapes)} tokens in '
                f'{self.num_layers} blocks, expected one of {(tokens, tokens)} in each'
            )

    @property
    def norm(self) -> nn.Module:
        """The norm behind the last block, an ``Identity`` where the network has none."""
        return self.model.norm

    @property
    def mask_grid(self) -> tuple[int, ...]:
        """(rows, columns) of patches."""
        return self.grid_size

    def heads_of(self, layer: int) -> int:
        """Return the number of heads of a layer (1-based)."""
        return self.blocks[layer - 1].attn.num_heads

    def width_of(self, layer: int) -> int:
        """Return the width of the tokens that leave a layer."""
        return self.embed_dims

    def attention_shape(self, layer: int) -> tuple[int, ...]:
        """Return the shape of one head's logits of a layer for a whole image."""
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens
        return (tokens, tokens)

    def init_weights(self) -> None:
        """Load the checkpoint that ``init_cfg`` names."""
        checkpoint = (self.init_cfg or {}).get('checkpoint')
        if checkpoint:
            load = dict(type='lightvit_dense.TimmWeights', checkpoint=checkpoint, name=self.name)
            WEIGHT_INITIALIZERS.build(load)(self.model)

    def attention_logits(
        self, image: Tensor, layers: Sequence[int], ids_keep: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Return pre-softmax logits by layer; see :meth:`Backbone.attention_logits`."""
        return self._run(image, ids_keep, layers, (), stop=True).logits

    def encode(
        self,
        image: Tensor,
        ids_keep: Tensor | None = None,
        logits_of: Sequence[int] = (),
        hidden_of: Collection[int] = (),
    ) -> Encoding:
        """Run the network; see :meth:`Backbone.encode`."""
        return self._run(image, ids_keep, logits_of, hidden_of, stop=False)

    @torch.compiler.disable
    def _run(
        self,
        image: Tensor,
        ids_keep: Tensor | None,
        logits_of: Collection[int],
        hidden_of: Collection[int],
        stop: bool,
    ) -> Encoding:
        tokens, self.keep.ids = image.new_empty(0), ids_keep
        try:
            watcher = _AttentionWatcher(logits_of, stop)
            with self._outputs(hidden_of) as hidden, suppress(_Stop), watcher:
                tokens = self.model.forward_features(image)
        finally:
            self.keep.ids = None
        return Encoding(tokens, watcher.logits, hidden)

    @contextmanager
    def _outputs(self, layers: Collection[int]) -> Iterator[dict[int, Tensor]]:
        """Collect the outputs of blocks while the block of code runs."""
        found: dict[int, Tensor] = {}
        handles = [
            self.blocks[layer - 1].register_forward_hook(
                lambda _module, _args, out, layer=layer: found.__setitem__(layer, out)
            )
            for layer in layers
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()
