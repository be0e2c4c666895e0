"""The joint blocks as OSTrack runs them: explicit softmax over all, prune, go on with the rest."""

import math

import torch

from lightvit_dense.models.backbones.hiera_tokens import from_units, to_units


def straight_line(blocks, first, z, x, elimination, selected, keep=0.7):
    """Run blocks in raster order, writing down all attention.

    Args:
        blocks: The joint blocks, the first of which has the number ``first``.
        z: Template tokens [B, Z, C].
        x: Search tokens [B, X, C].
        elimination: Blocks that prune.
        selected: Template tokens that rank: their numbers, or bool [Z].
        keep: Part that stays.

    Returns:
        Search tokens in their order, NaN where they were pruned, before any norm; and for each
        block the softmax over all tokens, the raster numbers of the K search tokens [B, K], and
        those that it drops, a set an image.
    """
    tokens, template, told = torch.cat([z, x], 1), z.shape[1], []
    index = torch.arange(x.shape[1]).expand(len(x), -1)
    for number, block in enumerate(blocks, start=first):
        y, heads = block.norm1(tokens), block.attn.num_heads
        q, k, v = (
            part.unflatten(2, (heads, -1)).transpose(1, 2)
            for part in block.attn.qkv(y).chunk(3, dim=-1)
        )
        attention = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        out = block.attn.proj((attention @ v).transpose(1, 2).flatten(2))
        widen = getattr(block, 'proj', None)
        tokens, before = (tokens if widen is None else widen(y)) + out, index
        if number in elimination:
            rank = attention[:, :, :template, template:][:, :, selected].mean((1, 2))
            count = math.ceil(keep * index.shape[1])
            best = rank.sort(dim=1, descending=True).indices[:, :count].sort(1).values
            rest = [row[kept] for row, kept in zip(tokens[:, template:], best, strict=True)]
            tokens = torch.cat([tokens[:, :template], torch.stack(rest)], 1)
            index = index.gather(1, best)
        dropped = [set(a) - set(b) for a, b in zip(before.tolist(), index.tolist(), strict=True)]
        told.append((attention, before, dropped))
        tokens = tokens + block.mlp(block.norm2(tokens))
    found = tokens.new_full((*x.shape[:2], tokens.shape[2]), torch.nan)
    return found.scatter(
        1, index[..., None].expand_as(tokens[:, template:]), tokens[:, template:]
    ), told


def embedded(model, template, search):
    """Return the tokens of both images in raster order as they enter the joint blocks."""
    if not hasattr(model, 'mask_unit'):
        return (
            model.patch_embed(template)[0] + model.pos_embed_z,
            model.patch_embed(search)[0] + model.pos_embed,
        )

    def early(image, table):
        x = model.patch_embed(image)
        x = to_units(x + table.reshape(1, *x.shape[1:]), 8)
        for block in model.blocks[: model.first_joint]:
            x = block(x)[0]
        side = image.shape[-1] // 32
        return from_units(x, (side, side)).flatten(1, 2)

    return early(template, model.pos_embed_z), early(search, model.pos_embed)
