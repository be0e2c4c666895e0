"""Pre-training steps to compare with: ours as the papers write it, Hugging Face's and Meta's.

The papers' code does not do what this library does: attention is explicit and logits are caught by
hooks on a placeholder; every patch is embedded before most are dropped; the teacher runs to its
end; the decoder predicts all patches and the loss is masked.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_dense.models.pretraining.mae import patchify

from ..steps import Loss


class _LogitsTap(nn.Identity):
    """A placeholder before the softmax, for a hook to stand on."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.empty(0)
        self.register_forward_hook(lambda _, args, out: setattr(self, 'logits', out))


def explicit_attention(
    attention: Any, x: Tensor, tap: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """Attend with all logits written out; ``tap`` is called with them.

    Takes tokens [B, N, C]; returns tokens [B, N, C] and the weights [B, heads, N, N].
    """
    batch, tokens, width = x.shape
    heads = attention.num_heads
    # [B, N, 3*C] -> [3, B, heads, N, d]
    qkv = attention.qkv(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    logits = qkv[0] @ qkv[1].transpose(-2, -1) * attention.scale
    weights = (logits if tap is None else tap(logits)).softmax(-1)
    # [B, heads, N, d] -> [B, N, C]
    out = (weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, width)
    return attention.proj(out), weights


def _run_block(block: Any, x: Tensor, tap: nn.Module | None = None) -> Tensor:
    x = x + explicit_attention(block.attn, block.norm1(x), tap)[0]
    return x + block.mlp(block.norm2(x))


def _encode(
    vit: Any, image: Tensor, ids_keep: Tensor, tap: nn.Module, last: int | None
) -> tuple[Tensor, Tensor]:
    """Return the decoder's input and the last block's output, both [B, 1+K, C]."""
    x, _ = vit.patch_embed(image)
    x = x + vit.pos_embed[:, 1:]
    x = torch.gather(x, 1, ids_keep.unsqueeze(-1).repeat(1, 1, x.shape[-1]))
    cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(x), -1, -1)
    x = torch.cat((cls, x), dim=1)
    latent = None
    for layer, block in enumerate(vit.blocks, start=1):
        x = _run_block(block, x, tap if layer == len(vit.blocks) else None)
        if layer == last:
            latent = vit.norm(x)
    return vit.norm(x) if latent is None else latent, x


class MAEReference(nn.Module):
    """The sum of the losses of a :class:`MAE`, with or without a distiller of one pair."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.student_tap, self.teacher_tap = _LogitsTap(), _LogitsTap()

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the sum for normalised images [B, 3, H, W]; noise [B, N] repeats a masking."""
        model = self.model
        masking = model._mask(images, noise)
        latent, last = _encode(
            model.backbone, images, masking.ids_keep, self.student_tap, model.reconstruct_after
        )
        mask = torch.ones_like(masking.ids_restore, dtype=images.dtype)
        mask.scatter_(1, masking.ids_keep, 0.0)
        error = (self._decode(latent, masking) - self._target(images)).pow(2).mean(-1)
        loss = (error * mask).sum() / mask.sum()
        return loss if model.distiller is None else loss + self._distill(images, last, masking)

    def _decode(self, latent: Tensor, masking: Any) -> Tensor:
        decoder = self.model.decoder
        x = decoder.embed(latent)
        hidden = masking.ids_restore.shape[1] + 1 - x.shape[1]
        tokens = torch.cat([x[:, 1:], decoder.mask_token.repeat(len(x), hidden, 1)], dim=1)
        ids = masking.ids_restore.unsqueeze(-1).repeat(1, 1, x.shape[2])
        x = torch.cat([x[:, :1], torch.gather(tokens, 1, ids)], dim=1) + decoder.pos_embed
        for block in decoder.blocks:
            x = _run_block(block, x)
        return decoder.pred(decoder.norm(x))[:, 1:].float()

    def _target(self, images: Tensor) -> Tensor:
        target = patchify(images, self.model.backbone.patch_size)
        if not self.model.norm_pix_loss:
            return target
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        return (target - mean) / (variance + 1e-6) ** 0.5

    def _distill(self, images: Tensor, last: Tensor, masking: Any) -> Tensor:
        distiller = self.model.distiller
        with torch.no_grad():
            _encode(distiller.teacher, images, masking.ids_keep, self.teacher_tap, None)
        extra = distiller.query_key_block
        student = self.student_tap.logits if extra is None else extra.logits(last)
        mapped, target = distiller.head_maps[0](student), self.teacher_tap.logits
        return distiller.loss_weight * F.mse_loss(mapped.float(), target.float())


def huggingface(name: str, config: dict[str, Any]) -> nn.Module:
    """Return a pre-trainer of Hugging Face by the name of its family."""
    import transformers

    settings = getattr(transformers, f'{name}Config')(**config)
    model = getattr(transformers, f'{name}ForPreTraining')(settings)
    return Loss(model, lambda inner, images: inner(images).loss)


def meta_hiera(config: dict[str, Any]) -> nn.Module:
    """Return Meta's Hiera-MAE."""
    from hiera.hiera_mae import MaskedAutoencoderHiera

    model = MaskedAutoencoderHiera(**config)
    # Of the mask units 40% are hidden.
    return Loss(model, lambda inner, images: inner(images, mask_ratio=0.4)[0])


_VIT_ENCODER = dict(hidden_size=192, num_hidden_layers=12, num_attention_heads=12)
_VIT_DECODER = dict(
    decoder_hidden_size=96, decoder_num_hidden_layers=1, decoder_num_attention_heads=3
)
_VIT = dict(intermediate_size=768, decoder_intermediate_size=384, norm_pix_loss=True)
_HIERA_ENCODER = dict(embed_dim=46, depths=[1, 2, 7, 2], num_heads=[1, 2, 4, 8], num_query_pool=2)
_HIERA_DECODER = dict(decoder_hidden_size=96, decoder_depth=1, decoder_num_heads=3)
_HIERA = dict(mask_ratio=0.4, normalize_pixel_loss=True)
_META_ENCODER = dict(embed_dim=46, num_heads=1, stages=(1, 2, 7, 2), q_pool=2)
_META_DECODER = dict(decoder_embed_dim=96, decoder_depth=1, decoder_num_heads=3)
RIVALS: dict[tuple[str, str], Callable[[], nn.Module]] = {
    ('mae', 'huggingface'): partial(huggingface, 'ViTMAE', _VIT_ENCODER | _VIT_DECODER | _VIT),
    ('hiera', 'huggingface'): partial(
        huggingface, 'Hiera', _HIERA_ENCODER | _HIERA_DECODER | _HIERA
    ),
    ('hiera', 'meta'): partial(meta_hiera, _META_ENCODER | _META_DECODER),
}
"""Others' models at the size of ours, by our method and the variant's name."""
