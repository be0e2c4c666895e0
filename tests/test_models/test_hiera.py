"""The Hiera backbone against timm, Meta's package, a straight-line reference, and itself."""

import math

import hiera as meta
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_dense.models.backbones import Hiera
from lightvit_dense.models.backbones.hiera_tokens import from_units
from tests.helpers.models import assert_same_gradients, randomise

SMALL = dict(embed_dim=8, stages=(1, 2, 3, 2), num_heads=1)
SHORT = dict(embed_dim=8, stages=(1, 1, 2), num_heads=2, mask_unit=4, patch_stride=2)
SHORT_OPTIONS = dict(q_pool=2, mask_unit_attn=(True, True, False))


def units_of(batch: int, units: int, keep: int, seed: int = 0) -> Tensor:
    """Return sorted unit numbers [B, K]: Meta keeps units in raster order."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, units, generator=generator)
    return noise.argsort(1)[:, :keep].sort(1).values


def meta_model(arch: dict, **options: object) -> nn.Module:
    options |= {k: arch[k] for k in ('embed_dim', 'stages', 'num_heads')}
    stride, unit = arch.get('patch_stride', 4), arch.get('mask_unit', 8)
    patch = dict(patch_stride=stride, patch_kernel=2 * stride - 1, patch_padding=stride - 1)
    sides = {k: (v, v) for k, v in dict(patch, mask_unit_size=unit).items()}
    return randomise(meta.Hiera(num_classes=2, **sides, **options))


def body(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a reference's names to ours: timm keeps the final norm in its head."""
    state = {k.replace('head.norm.', 'norm.'): v for k, v in state.items()}
    return {k: v for k, v in state.items() if not k.startswith('head.')}


@pytest.mark.parametrize(
    ('name', 'theirs'), [('meta_tiny', 'tiny'), ('small', 'small'), ('base', 'base')]
)
def test_sizes_are_timms(name: str, theirs: str) -> None:
    with torch.device('meta'):
        reference = timm.create_model(f'hiera_{theirs}_224', num_classes=0).state_dict()
        ours = Hiera(name).state_dict()
    expected = {k: v.shape for k, v in body(reference).items()}
    assert {k: v.shape for k, v in ours.items()} == expected


@pytest.mark.parametrize(
    ('arch', 'options'), [(SMALL, dict(q_pool=3)), (SMALL, dict(q_pool=2)), (SHORT, SHORT_OPTIONS)]
)
@pytest.mark.parametrize('keep', [None, 2])
def test_equals_metas_with_and_without_a_mask(arch: dict, options: dict, keep: int | None) -> None:
    ours = Hiera(arch, img_size=(64, 96), **options).eval()
    reference = meta_model(arch, input_size=(64, 96), **options)
    ours.load_state_dict(body(reference.state_dict()), strict=True)
    image, units = torch.randn(2, 3, 64, 96), math.prod(ours.mask_grid)
    ids, mask = None, None
    if keep is not None:
        ids = units_of(2, units, keep)
        mask = torch.zeros(2, units, dtype=torch.bool).scatter(1, ids, True)
    ends = [sum(arch['stages'][: s + 1]) for s in range(len(arch['stages']))]
    with torch.no_grad():
        _, theirs = reference(image, mask, return_intermediates=True)
        hidden = ours.encode(image, ids, hidden_of=ends).hidden
    for layer, other in zip(ends, theirs, strict=True):
        kept = units if keep is None else keep
        mine = hidden[layer].unflatten(1, (kept, -1))
        if keep is None:
            mine = from_units(mine, ours.mask_grid)
        else:  # [B, K, rows, columns, C] of each unit by itself
            mine = from_units(mine.flatten(0, 1)[:, None], (1, 1)).unflatten(0, (2, kept))
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


def _reference(model: Hiera, image: Tensor) -> list[Tensor]:
    """One image, written down from the paper: ragged windows on a map, no order of tokens."""

    def attend(block: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads, shape = block.attn.num_heads, query.shape
        query, key, value = (t.reshape(-1, heads, t.shape[-1] // heads) for t in
                             (query, key, value))  # fmt: skip
        scores = torch.einsum('qhd,khd->hqk', query, key) / math.sqrt(query.shape[-1])
        return torch.einsum('hqk,khd->qhd', scores.softmax(-1), value).reshape(shape)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x.permute(2, 0, 1)[None], 2, ceil_mode=True)[0].permute(1, 2, 0)

    x = model.patch_embed.proj(image[None])[0].permute(1, 2, 0)
    table = model.pos_embed.reshape(1, *model.grid_size, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table.float(), x.shape[:2], mode='bicubic', align_corners=False)
    x, outputs, side = x + table[0].permute(1, 2, 0), [], model.mask_unit
    for layer, block in enumerate(model.blocks, start=1):
        y = block.norm1(x)
        q, k, v = block.attn.qkv(y).chunk(3, -1)
        pooled = block.attn.q_stride > 1
        if block.proj is not None:
            x = pool(block.proj(y)) if pooled else block.proj(y)
        q, small = (pool(q), side // 2) if pooled else (q, side)
        if not block.attn.mask_unit:
            side = small = max(y.shape)
        out = torch.zeros_like(q)
        for i in range(math.ceil(q.shape[0] / small)):
            for j in range(math.ceil(q.shape[1] / small)):
                a = (slice(i * small, (i + 1) * small), slice(j * small, (j + 1) * small))
                b = (slice(i * side, (i + 1) * side), slice(j * side, (j + 1) * side))
                out[a] = attend(block, q[a], k[b], v[b])
        side = small
        x = x + block.attn.proj(out)
        x = x + block.mlp(block.norm2(x))
        if layer in torch.tensor(model.stages).cumsum(0):
            outputs.append(model.norm(x) if layer == model.num_layers else x)
    return outputs


@pytest.mark.parametrize('size', [(64, 64), (70, 101), (33, 17), (5, 64)])
def test_any_size_equals_ragged_windows_values_and_gradients(size: tuple[int, int]) -> None:
    stages = dict(out_indices=(0, 1, 2, 3), out_type='featmap')
    model = randomise(Hiera(SMALL, img_size=64, **stages).double())
    image = torch.randn(2, 3, *size, dtype=torch.double)
    maps = model(image)
    reference = [torch.stack(m) for m in zip(*(_reference(model, x) for x in image), strict=True)]
    for mine, other in zip(maps, reference, strict=True):
        torch.testing.assert_close(mine, other.permute(0, 3, 1, 2))
    ours, theirs = (sum(m.sin().sum() for m in found) for found in (maps, reference))
    # Tables are resized in fp32, here as in the reference.
    assert_same_gradients(ours, theirs, model, atol=1e-5, rtol=1e-5)


def test_the_order_of_visible_units_is_free() -> None:
    model = randomise(Hiera(SMALL, img_size=64, q_pool=2))
    image, ids = torch.randn(2, 3, 64, 64), torch.tensor([[2, 0], [1, 3]])
    one, other = (model.encode(image, x).tokens.unflatten(1, (2, -1)) for x in (ids, ids.flip(1)))
    torch.testing.assert_close(other.flip(1), one, atol=1e-5, rtol=1e-5)
