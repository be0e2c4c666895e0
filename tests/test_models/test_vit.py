"""The plain ViT against timm and Hugging Face; implementations of decomposed relative position."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.layers import relative_attention
from tests.helpers.vitdet import (
    VitDetSize,
    build_backbone,
    common_weights,
    huggingface_name,
)


def test_base_has_the_papers_size() -> None:
    found = sum(p.numel() for p in VisionTransformer('base').parameters())
    assert found == 86_567_656 - 769_000  # without the head of 1000 classes


def inputs(grid: tuple[int, int], dtype: torch.dtype = torch.double) -> list[torch.Tensor]:
    torch.manual_seed(0)
    tokens, width = grid[0] * grid[1], 4
    shapes = [(2, 3, tokens, width)] * 3 + [(side, side, width) for side in grid]
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


# A tile of one logit is a query a time; of 50, some queries; of 10000, everything.
@pytest.mark.parametrize('tile', [1, 50, 800, 10_000])
@pytest.mark.parametrize('grid', [(3, 5), (4, 4), (1, 7)])
@pytest.mark.parametrize(('kept', 'threads'), [(0, 1), (256, 1), (0, 4)])
def test_all_implementations_give_the_same_values_and_gradients(
    grid: tuple[int, int], tile: int, kept: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relative_attention, 'TILE', tile)
    monkeypatch.setattr(relative_attention, 'KEPT_TOKENS', kept)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    given = inputs(grid)
    found = {}
    for name, attend in relative_attention.REL_POS_IMPLS.items():
        out = attend(*given, 0.5)
        found[name] = [out, *torch.autograd.grad(out.pow(3).sum(), given)]
    for name in ('folded', 'tiled'):
        for mine, explicit in zip(found[name], found['explicit'], strict=True):
            torch.testing.assert_close(mine, explicit, rtol=1e-10, atol=1e-10)


def test_the_tile_is_all_the_memory_that_logits_take() -> None:
    """Nothing as large as the logits is kept for the backward pass."""
    given = inputs((16, 17), torch.float32)
    kept: dict[str, int] = {}
    for name in ('tiled', 'explicit'):
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            relative_attention.REL_POS_IMPLS[name](*given, 0.5)
        kept[name] = max(sizes)
    assert kept == {'explicit': 2 * 3 * 272 * 272, 'tiled': 2 * 3 * 272 * 4}


@pytest.mark.parametrize(
    ('rival', 'image', 'window'),
    [
        ('huggingface', (80, 80), 5),  # windows divide
        ('huggingface', (96, 48), 5),  # they do not, the image is no square, tables are resized
        ('timm', (80, 80), 4),
    ],
)
def test_equals_other_libraries_given_the_same_weights(
    rival: str, image: tuple[int, int], window: int
) -> None:
    size = VitDetSize(80, 24, 4, 3, window=window, global_blocks=(1, 3), patch=8)
    state = common_weights(size)
    found = []
    for variant in ('ours', rival):
        model = build_backbone(variant, size, state).train()
        torch.manual_seed(1)
        images = torch.randn(2, 3, *image, requires_grad=True)
        (out,) = model(images)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        (out * weights).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()} | {'images': images.grad}
        found.append((out.detach(), gradients))
    (ours, mine), (theirs, others) = found
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())
    for name, gradient in mine.items():
        theirs_name = huggingface_name(name) if rival == 'huggingface' else name
        other = others[name if name == 'images' else f'model.{theirs_name}']
        if name == 'pos_embed':
            # Hugging Face's has a row for a class token, timm's is a map.
            other = other.reshape(1, -1, 24)[:, -100:]
        limit = 1e-5 * other.abs().max().item()
        torch.testing.assert_close(gradient, other, rtol=0, atol=limit, msg=name)


@pytest.mark.parametrize('reentrant', [True, False])
def test_tiles_work_in_a_checkpoint(reentrant: bool) -> None:
    attend, found = relative_attention.tiled_attention, []
    for saving in (False, True):
        given = [*inputs((3, 3)), 0.5]
        out = checkpoint(attend, *given, use_reentrant=reentrant) if saving else attend(*given)
        out.pow(3).sum().backward()
        found.append([out, *(x.grad for x in given[:-1])])
    # A reentrant one's first pass has no gradients and keeps no weights.
    limit = 1e-10 if reentrant else 0
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=limit, atol=limit)
