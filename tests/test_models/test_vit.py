"""The plain ViT against timm and Hugging Face; implementations of decomposed relative position."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import VitDetBackbone, VitDetConfig

from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.layers import relative_attention

SIDE, PATCH, WIDTH, DEPTH, HEADS, GLOBAL = 80, 8, 24, 4, 3, (1, 3)
State = dict[str, Tensor]


def our_backbone(window: int) -> VisionTransformer:
    return VisionTransformer(
        dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS),
        img_size=SIDE,
        patch_size=PATCH,
        cls_token=False,
        out_type='featmap',
        final_norm=False,
        window=dict(size=window, global_blocks=GLOBAL),
        rel_pos=dict(kind='decomposed', size=SIDE),
    )


def common_weights(window: int) -> State:
    """Return random weights for all, by our names; no position is zero."""
    generator = torch.Generator().manual_seed(0)
    state = our_backbone(window).state_dict()
    for name, tensor in state.items():
        if 'rel_pos' in name or name == 'pos_embed':
            tensor.normal_(std=0.1, generator=generator)
        elif name.endswith('weight') and tensor.ndim > 1:
            # Logits with a deviation near 1: attention is neither flat nor of one key.
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
        elif name.endswith('bias'):
            tensor.normal_(std=0.02, generator=generator)
    return state


def huggingface_name(name: str) -> str:
    """Return what Hugging Face calls a parameter of ours."""
    if name == 'pos_embed':
        return 'embeddings.position_embeddings'
    name = name.replace('patch_embed.proj', 'embeddings.projection')
    return name.replace('blocks.', 'encoder.layer.').replace('.attn.', '.attention.')


def huggingface_backbone(window: int, state: State) -> tuple[nn.Module, Callable]:
    """Return Hugging Face's ``VitDetBackbone`` with weights by our names, and its forward pass."""
    config = VitDetConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=SIDE,
        pretrain_image_size=SIDE,
        patch_size=PATCH,
        window_size=window,
        window_block_indices=[i for i in range(DEPTH) if i not in GLOBAL],
        use_relative_position_embeddings=True,
        out_features=[f'stage{DEPTH}'],
    )
    model = VitDetBackbone(config)
    theirs = {huggingface_name(name): tensor for name, tensor in state.items()}
    # Their table has a row for a class token, which is cut off again.
    name = 'embeddings.position_embeddings'
    theirs[name] = torch.cat([theirs[name].new_zeros(1, 1, WIDTH), theirs[name]], dim=1)
    model.load_state_dict(theirs)
    return model, lambda images: model(images).feature_maps[0]


def timm_backbone(window: int, state: State) -> tuple[nn.Module, Callable]:
    """Return timm's ViT of Segment Anything, its nearest to ViTDet, and its forward pass."""
    model = VisionTransformerSAM(
        img_size=SIDE,
        patch_size=PATCH,
        num_classes=0,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=GLOBAL,
        neck_chans=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.neck = nn.Identity()  # the norm behind the blocks is not in what is compared
    # [1, N, C] -> [1, rows, columns, C]
    model.load_state_dict({**state, 'pos_embed': state['pos_embed'].unflatten(1, (10, 10))})
    last = partial(model.forward_intermediates, indices=[DEPTH - 1], intermediates_only=True)
    return model, lambda images: last(images)[0]


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
    state, ours = common_weights(window), our_backbone(window)
    ours.load_state_dict(state)
    build = huggingface_backbone if rival == 'huggingface' else timm_backbone
    found = []
    for model, run in ((ours, lambda images: ours(images)[0]), build(window, state)):
        model.train()
        torch.manual_seed(1)
        images = torch.randn(2, 3, *image, requires_grad=True)
        out = run(images)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        (out * weights).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()} | {'images': images.grad}
        found.append((out.detach(), gradients))
    (tokens, mine), (theirs, others) = found
    torch.testing.assert_close(tokens, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())
    for name, gradient in mine.items():
        other = others[huggingface_name(name) if rival == 'huggingface' else name]
        if name == 'pos_embed':
            # Hugging Face's has a row for a class token, timm's is a map.
            other = other.reshape(1, -1, WIDTH)[:, -100:]
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
