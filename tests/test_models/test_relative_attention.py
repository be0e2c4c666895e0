"""Decomposed relative position: all implementations agree, and with Hugging Face and timm."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lightvit_dense.deploy import compare_onnx, export_onnx, onnx_session
from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.layers import relative_attention
from lightvit_dense.models.layers.relative_position import axis_table
from tools.benchmark.references.vitdet import (
    VitDetSize,
    build_backbone,
    common_weights,
    huggingface_name,
)

WINDOWED = dict(
    arch=dict(embed_dim=24, depth=3, num_heads=3), img_size=40, patch_size=4, cls_token=False,
    out_type='featmap', final_norm=False, window=dict(size=3, global_blocks=(1,)),
    rel_pos=dict(kind='decomposed', size=40),
)  # fmt: skip


def inputs(grid: tuple[int, int], dtype: torch.dtype = torch.double) -> list[torch.Tensor]:
    torch.manual_seed(0)
    tokens, width = grid[0] * grid[1], 4
    shapes = [(2, 3, tokens, width)] * 3 + [(side, side, width) for side in grid]
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def windowed(**options: object) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**{**WINDOWED, **options})
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name or name.endswith('bias'):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


# A tile of one logit is a query a time; of 50, some queries; of 10000, everything.
@pytest.mark.parametrize('tile', [1, 50, 800, 10_000])
@pytest.mark.parametrize('grid', [(3, 5), (4, 4), (1, 7)])
@pytest.mark.parametrize('kept', [0, 256])
def test_all_implementations_give_the_same_values_and_gradients(
    grid: tuple[int, int], tile: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relative_attention, 'TILE', tile)
    monkeypatch.setattr(relative_attention, 'KEPT_TOKENS', kept)
    given = inputs(grid)
    found = {}
    for name, attend in relative_attention.REL_POS_IMPLS.items():
        out = attend(*given, 0.5)
        found[name] = [out, *torch.autograd.grad(out.pow(3).sum(), given)]
    for name in ('folded', 'tiled'):
        for mine, explicit in zip(found[name], found['explicit'], strict=True):
            torch.testing.assert_close(mine, explicit, rtol=1e-10, atol=1e-10)


def test_numeric_gradients_through_resized_tables() -> None:
    table = torch.randn(7, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: axis_table(x, 4), (table,))
    single = table.detach().float().requires_grad_()  # resizing computes in fp32
    axis_table(single, 3).square().sum().backward()
    assert single.grad.abs().min() > 0


def test_large_logits_stay_exact() -> None:
    given = [100 * x.detach() for x in inputs((3, 4), torch.float32)]
    explicit = relative_attention.explicit_attention(*given, 1.0)
    tiled = relative_attention.tiled_attention(*given, 1.0)
    assert torch.isfinite(tiled).all()
    torch.testing.assert_close(tiled, explicit, rtol=1e-4, atol=1e-2)


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
    assert kept['explicit'] == 2 * 3 * 272 * 272
    assert kept['tiled'] == 2 * 3 * 272 * 4


@pytest.mark.parametrize('image', [(40, 40), (40, 28), (24, 52), (4, 4)])
def test_the_whole_backbone_is_the_same_by_every_implementation(
    image: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = windowed().double()
    images = torch.randn(2, 3, *image, dtype=torch.double)
    found = []
    for name in ('explicit', 'folded', 'tiled'):
        monkeypatch.setattr(relative_attention, 'choose_rel_pos_impl', lambda _, name=name: name)
        (out,) = model(images)
        found.append([out, *torch.autograd.grad(out.pow(3).sum(), list(model.parameters()))])
    for other in found[1:]:
        for mine, explicit in zip(other, found[0], strict=True):
            # The tables are resized in fp32.
            torch.testing.assert_close(mine, explicit, rtol=1e-9, atol=1e-9)


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


def test_nothing_is_added_to_the_state_dict_and_models_can_be_copied() -> None:
    model = windowed()
    names = set(model.state_dict())
    images = torch.randn(1, 3, 40, 28)
    (out,) = model(images)
    assert set(model.state_dict()) == names
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images)[0], out)


def test_what_inference_leaves_behind_can_be_trained_with() -> None:
    model = windowed()
    images = torch.randn(1, 3, 44, 36)
    with torch.inference_mode():
        (out,) = model(images)
    (again,) = model(images)
    again.sum().backward()
    # What a training keeps for later is computed in another order.
    torch.testing.assert_close(out.clone(), again.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('image', [(40, 40), (28, 40)])
def test_a_traced_backbone_computes_the_same_in_onnx_runtime(
    image: tuple[int, int], tmp_path: Path
) -> None:
    model = windowed().eval()
    path = export_onnx(model, tmp_path / 'model.onnx', torch.randn(2, 3, *image), ['map'])
    session = onnx_session(path, threads=1)
    for batch in (1, 3):
        assert compare_onnx(session, model, torch.randn(batch, 3, *image)).relative < 1e-5


def test_an_exported_program_computes_the_same() -> None:
    model = windowed().eval()
    images = torch.randn(1, 3, 40, 28)
    program = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(program(images)[0], model(images)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('threads', 'batch', 'tokens'), [(1, 5, 7), (2, 5, 300), (3, 2, 1500)])
def test_tiles_cover_all_logits_once(
    threads: int, batch: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    monkeypatch.setattr(relative_attention, 'TILE', 20_000)
    covered = torch.zeros(batch, tokens)
    for some, part in relative_attention._tiles(batch, tokens):
        covered[some, part] += 1
        assert covered[some, part].numel() * tokens <= threads * 20_000
    assert (covered == 1).all()
