"""Pre-training steps to compare with: ours as the papers write it, Hugging Face's and Meta's.

The papers' code does not do what this library does: attention is explicit; every patch is embedded
before most are dropped; the teacher runs to its end; the decoder predicts all patches and the loss
is masked.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_dense.models.pretraining.mae import patchify

from ..harness import Applied


def explicit_attention(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attend to [B, N, C] explicitly; return tokens, logits and weights [B, heads, N, N]."""
    batch, tokens, width = x.shape
    heads = attention.num_heads
    # [B, N, 3*C] -> [3, B, heads, N, d]
    qkv = attention.qkv(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    logits = qkv[0] @ qkv[1].transpose(-2, -1) * attention.scale
    weights = logits.softmax(-1)
    # [B, heads, N, d] -> [B, N, C]
    out = (weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, width)
    return attention.proj(out), logits, weights


def _run_block(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the block's output and its logits."""
    out, logits, _ = explicit_attention(block.attn, block.norm1(x))
    x = x + out
    return x + block.mlp(block.norm2(x)), logits


def _encode(vit: Any, image: Tensor, ids_keep: Tensor, last: int | None) -> tuple[Tensor, ...]:
    """Return the decoder's input and the last block's output, both [B, 1+K, C], and its logits."""
    x, _ = vit.patch_embed(image)
    x = x + vit.pos_embed[:, 1:]
    x = torch.gather(x, 1, ids_keep.unsqueeze(-1).repeat(1, 1, x.shape[-1]))
    cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(x), -1, -1)
    x, latent, logits = torch.cat((cls, x), dim=1), None, x
    for layer, block in enumerate(vit.blocks, start=1):
        x, logits = _run_block(block, x)
        if layer == last:
            latent = vit.norm(x)
    return vit.norm(x) if latent is None else latent, x, logits


class MAEReference(nn.Module):
    """The sum of the losses of a :class:`MAE`, with or without a distiller of one pair."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the sum for normalised images [B, 3, H, W]; noise [B, N] repeats a masking."""
        model, distiller = self.model, self.model.distiller
        masking = model._mask(images, noise)
        latent, last, student = _encode(
            model.backbone, images, masking.ids_keep, model.reconstruct_after
        )
        mask = torch.ones_like(masking.ids_restore, dtype=images.dtype)
        mask.scatter_(1, masking.ids_keep, 0.0)
        target = patchify(images, model.backbone.patch_size)
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6) ** 0.5
        error = (self._decode(latent, masking) - target).pow(2).mean(-1)
        loss = (error * mask).sum() / mask.sum()
        if distiller is None:
            return loss
        with torch.no_grad():
            *_, teacher = _encode(distiller.teacher, images, masking.ids_keep, None)
        extra = distiller.query_key_block
        mapped = distiller.head_maps[0](student if extra is None else extra.logits(last))
        return loss + distiller.loss_weight * F.mse_loss(mapped.float(), teacher.float())

    def _decode(self, latent: Tensor, masking: Any) -> Tensor:
        decoder = self.model.decoder
        x = decoder.embed(latent)
        hidden = masking.ids_restore.shape[1] + 1 - x.shape[1]
        tokens = torch.cat([x[:, 1:], decoder.mask_token.repeat(len(x), hidden, 1)], dim=1)
        ids = masking.ids_restore.unsqueeze(-1).repeat(1, 1, x.shape[2])
        x = torch.cat([x[:, :1], torch.gather(tokens, 1, ids)], dim=1) + decoder.pos_embed
        for block in decoder.blocks:
            x, _ = _run_block(block, x)
        return decoder.pred(decoder.norm(x))[:, 1:].float()


def huggingface(name: str, **config: Any) -> nn.Module:
    """Return a pre-trainer of Hugging Face by the name of its family."""
    import transformers

    settings = getattr(transformers, f'{name}Config')(**config)
    model = getattr(transformers, f'{name}ForPreTraining')(settings)
    return Applied(model, lambda inner, images: inner(images).loss)


def meta_hiera(**config: Any) -> nn.Module:
    """Return Meta's Hiera-MAE, which hides 40% of the mask units."""
    from hiera.hiera_mae import MaskedAutoencoderHiera

    model = MaskedAutoencoderHiera(**config)
    return Applied(model, lambda inner, images: inner(images, mask_ratio=0.4)[0])


_VIT: dict[str, Any] = dict(
    hidden_size=192, num_hidden_layers=12, num_attention_heads=12, intermediate_size=768
)
_VIT |= dict(decoder_hidden_size=96, decoder_num_hidden_layers=1, decoder_num_attention_heads=3)
_VIT |= dict(decoder_intermediate_size=384, norm_pix_loss=True)
_HIERA: dict[str, Any] = dict(
    embed_dim=46, depths=[1, 2, 7, 2], num_heads=[1, 2, 4, 8], num_query_pool=2
)
_HIERA |= dict(decoder_hidden_size=96, decoder_depth=1, decoder_num_heads=3)
_HIERA |= dict(mask_ratio=0.4, normalize_pixel_loss=True)
_META: dict[str, Any] = dict(embed_dim=46, num_heads=1, stages=(1, 2, 7, 2), q_pool=2)
_META |= dict(decoder_embed_dim=96, decoder_depth=1, decoder_num_heads=3)
RIVALS: dict[tuple[str, str], Callable[[], nn.Module]] = {
    ('mae', 'huggingface'): partial(huggingface, 'ViTMAE', **_VIT),
    ('hiera', 'huggingface'): partial(huggingface, 'Hiera', **_HIERA),
    ('hiera', 'meta'): partial(meta_hiera, **_META),
}
"""Others' models at the size of ours, by our method and the variant's name."""
