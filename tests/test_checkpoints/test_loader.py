import pytest
import torch
from torch import nn

from lightvit_dense.checkpoints import CheckpointError, fit_checkpoint, load_backbone, save_backbone
from lightvit_dense.checkpoints.resize import resize_patch_embed, resize_pos_embed
from lightvit_dense.models.backbones import VisionTransformer

from .builders import BIAS, SMALL, equal, our_hiera, refused, save, snapshot, vit


def small(seed=0, grid=(4, 4), patch=4, arch=SMALL, **options):
    size = (grid[0] * patch, grid[1] * patch)
    return vit(seed, arch, img_size=size, patch_size=patch, **options)


def from_file(path, **options):
    return dict(type='lightvit_dense.PretrainedBackbone', checkpoint=str(path), **options)


def test_report():
    source = small(0, grid=(4, 4)).state_dict()
    del source['norm.bias']
    source |= {f'extra.{i}': torch.zeros(1) for i in range(7)}
    full = {f'backbone.{k}': v for k, v in source.items()} | {'decoder.weight': torch.zeros(1)}
    target = small(1, grid=(6, 6))
    target.blocks[0].attn.rel_pos_h = nn.Parameter(torch.ones(3, 4))
    report = load_backbone(target, full, verbose=False)
    assert report.source == 'full model'
    assert report.resized == {'pos_embed': ((1, 17, 8), (1, 37, 8))}
    assert report.missing == ['norm.bias']
    assert report.added == ['blocks.0.attn.rel_pos_h']
    assert report.dropped == ['decoder.weight']
    assert target.blocks[0].attn.rel_pos_h.min() == 1
    text = str(report)
    assert 'pos_embed (1, 17, 8) -> (1, 37, 8)' in text
    assert 'extra.4, ... (2 more)' in text
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(('value', 'group'), [(1.0, 'added'), (0.1, 'missing')])
def test_layer_scale_is_added_if_it_changes_nothing(value, group):
    options = dict(img_size=16, patch_size=8)
    model = VisionTransformer(SMALL, **options, layer_scale=value)
    state = VisionTransformer(SMALL, **options).state_dict()
    report = load_backbone(model, state, verbose=False)
    scales = [f'blocks.{i}.ls{n}.gamma' for i in (0, 1) for n in (1, 2)]
    assert getattr(report, group) == scales
    assert report.missing + report.added == scales


@pytest.mark.parametrize('cls_token', [True, False])
def test_positions_go_to_another_grid_and_lose_the_prefix(cls_token):
    source = small(0).state_dict()
    target = small(1, grid=(3, 7), cls_token=cls_token)
    report = load_backbone(target, source)
    expected = resize_pos_embed(source['pos_embed'], (3, 7), int(cls_token))
    assert torch.equal(target.pos_embed, expected)
    assert report.unexpected == ([] if cls_token else ['cls_token'])


def test_oblong_positions():
    source = small(0, grid=(3, 7)).state_dict()
    target = small(1, grid=(4, 4))
    with pytest.raises(CheckpointError, match=r'pos_embed has shape \(1, 22, 8\)'):
        load_backbone(target, source)
    same = small(2, grid=(3, 7), cls_token=False)
    load_backbone(same, source)
    assert torch.equal(same.pos_embed, source['pos_embed'][:, 1:])


def test_what_does_not_fit_leaves_the_model_alone():
    target = small(1)
    with refused(target, r'none of its 1 tensors fits(.|\n)*layer1'):
        load_backbone(target, {'layer1.weight': torch.zeros(2)})
    with refused(target, r'pos_embed has shape \(1, 17, 12\), the model needs \(1, 17, 8\)'):
        load_backbone(target, small(arch=dict(SMALL, embed_dim=12)).state_dict())


def test_strict():
    source, target = small().state_dict(), small(1)
    with pytest.raises(CheckpointError, match='unexpected: head'):
        load_backbone(target, {**source, 'head': torch.zeros(1)}, strict=True)
    target.blocks[0].attn.rel_pos_h = nn.Parameter(torch.ones(3, 4))
    load_backbone(target, source, strict=True)
    del source['norm.bias']
    with pytest.raises(CheckpointError, match=r'Missing: norm\.bias'):
        load_backbone(target, source, strict=True)


@pytest.mark.parametrize(
    ('value', 'half'), [(torch.nan, False), (torch.inf, False), (1e6, True)], ids=str
)
def test_values_that_are_no_numbers_are_named_and_leave_the_model_alone(tmp_path, value, half):
    state, model = small(0).state_dict(), small(1)
    model = model.half() if half else model
    state['norm.bias'][2] = state['blocks.1.mlp.fc1.weight'][0, 0] = value
    state['unused'] = torch.full((2,), torch.nan)
    before, path = snapshot(model), save(tmp_path, state)
    words = r'a\.pth.*: 2 of its tensors hold NaN.*\(blocks\.1\.mlp\.fc1\.weight, norm\.bias\)'
    with pytest.raises(CheckpointError, match=words):
        load_backbone(model, path)
    assert equal(snapshot(model), before)
    # What fills a whole model is looked through, too, whoever loads it.
    with pytest.raises(CheckpointError, match=words):
        fit_checkpoint(model, dict(state_dict=state), path)


def test_precision_follows_the_model():
    source, target = {k: v.half() for k, v in small().state_dict().items()}, small(1)
    load_backbone(target, source)
    assert equal(target, {k: v.float() for k, v in source.items()})


def test_patch_kernel_and_positions_are_resized_and_listed():
    source, target = small(patch=8), small(1, grid=(3, 3), patch=16)
    report = load_backbone(target, source.state_dict(), strict=True, verbose=False)
    assert report.resized == {
        'pos_embed': ((1, 17, 8), (1, 10, 8)),
        'patch_embed.proj.weight': ((8, 3, 8, 8), (8, 3, 16, 16)),
    }
    kernel = resize_patch_embed(source.patch_embed.proj.weight, (16, 16))
    assert torch.equal(target.patch_embed.proj.weight, kernel)
    assert 'patch_embed.proj.weight (8, 3, 8, 8) -> (8, 3, 16, 16)' in str(report)


STAGES = dict(arch=dict(embed_dim=8, stages=(1, 2, 1), num_heads=1), q_pool=2)
STAGES['mask_unit_attn'] = (True, True, False)


def test_initializer_on_our_backbone(tmp_path):
    source, path = small(patch=8), tmp_path / 'a.safetensors'
    save_backbone(source, path, {})
    options = dict(cls_token=False, window=dict(size=3, global_blocks=[1]))
    options |= dict(rel_pos=dict(kind='decomposed', size=48), init_cfg=from_file(path))
    # As built: relative positions, which the file lacks, are zero and count as added.
    target = VisionTransformer(SMALL, img_size=48, patch_size=8, **options)
    target.init_weights()
    own, state = target.state_dict(), source.state_dict()
    assert torch.equal(own['blocks.1.mlp.fc2.weight'], state['blocks.1.mlp.fc2.weight'])
    assert torch.equal(own['pos_embed'], resize_pos_embed(state['pos_embed'], (6, 6), 0))
    again = load_backbone(target, path)
    assert again.missing == []
    assert len(again.added) == 4
    assert again.unexpected == ['cls_token']


@pytest.mark.parametrize('count', [0, 1, 2, 3])
def test_reserved_blocks_are_loaded_and_the_rest_stays_at_random(count):
    options = dict(arch=dict(SMALL, depth=3), **BIAS)
    source, target = small(**options), small(1, **options)
    state, before = source.state_dict(), snapshot(target)
    report = load_backbone(target, state, num_pretrained_blocks=count, verbose=False)
    taken = {'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    blocks = tuple(f'blocks.{i}.' for i in range(count))
    taken |= {name for name in state if name.startswith(blocks) or count == 3}
    assert equal(target, {name: (state if name in taken else before)[name] for name in state})
    assert set(report.matched) == taken
    assert set(report.random) == set(before) - taken
    assert report.missing == report.added == report.unexpected == []
    assert ('as initialised  ' in str(report)) == (count < 3)
    if count < 3:
        assert f'the first {count} of 3 blocks were taken' in str(report)


def test_skipped_parameters_stay_as_initialised():
    source, target = small(0), small(1)
    state, before = source.state_dict(), snapshot(target)
    report = load_backbone(target, state, strict=True, skip='qkv.bias', verbose=False)
    skipped = {f'blocks.{i}.attn.qkv.bias' for i in range(2)}
    assert equal(target, {n: (before if n in skipped else state)[n] for n in state})
    assert set(report.random) == skipped
    assert set(report.matched) == set(before) - skipped
    assert 'as initialised        2: blocks.0.attn.qkv.bias' in str(report)
    assert "note: skip='qkv.bias': blocks.0.attn.qkv.bias, blocks.1" in str(report)
    errors = {'qkv_bias': 'names nothing of the', '.': 'names all of the', '(': 'no regular expr'}
    for wrong, message in errors.items():
        with pytest.raises(CheckpointError, match=message):
            load_backbone(target, state, skip=wrong)


def test_reserving_counts_hieras_blocks_across_stages(tmp_path):
    source = our_hiera(**STAGES)
    cfg = from_file(save(tmp_path, source.state_dict()), num_pretrained_blocks=2)
    target = our_hiera(1, **STAGES, init_cfg=cfg)
    target.init_weights()
    same = {
        n.split('.attn')[0].split('.mlp')[0].split('.norm')[0]
        for n, p in target.named_parameters()
        if torch.equal(p, source.get_parameter(n))
    }
    assert same == {
        'patch_embed.proj.weight', 'patch_embed.proj.bias', 'pos_embed', 'blocks.0', 'blocks.1',
        'blocks.1.proj.weight', 'blocks.1.proj.bias',
    }  # fmt: skip


def test_reserving_what_is_not_there():
    source, target = small(0).state_dict(), small(1)
    for count in (-1, 3):
        message = rf'num_pretrained_blocks={count} .*2 blocks, so give 0 .* to 2'
        with pytest.raises(CheckpointError, match=message):
            load_backbone(target, source, num_pretrained_blocks=count)
    deep = small(1, arch=dict(SMALL, depth=4))
    message = 'has 2 blocks, num_pretrained_blocks=3 asks for more'
    with pytest.raises(CheckpointError, match=message):
        load_backbone(deep, source, num_pretrained_blocks=3, any_depth=True)
    assert load_backbone(deep, source, num_pretrained_blocks=2, any_depth=True).missing == []
