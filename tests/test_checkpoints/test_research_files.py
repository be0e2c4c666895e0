"""Files as research code writes them, made after its naming schemes, and AugReg's in JAX."""

import argparse
import pickle
import re
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer as TimmViT

from lightvit_dense.apis import load_config
from lightvit_dense.apis.configs import prepare_scope
from lightvit_dense.checkpoints import CheckpointError, load_backbone
from lightvit_dense.checkpoints.resize import resize_pos_embed
from lightvit_dense.models import VisionTransformer
from lightvit_dense.registry import MODELS

from .builders import ARCH, PLAIN, equal, image, named, our_hiera, randomise, refused, save, vit


def junk(*names, prefix=''):
    return {prefix + name: torch.ones(2) for name in names}


def check(path, source, expected, model=None, **options):
    """Load and compare with the backbone that the file was made from."""
    model = model or vit(9)
    report = load_backbone(model, path, strict=True, verbose=False, **options)
    assert report.source == source
    assert len(report.matched) == len(expected.state_dict())
    assert equal(expected, model)
    return report


TRAINED = {'optimizer': {'state': {}}, 'scheduler': {}, 'args': argparse.Namespace(lr=1.0)}


def test_one_of_several_networks_is_chosen_by_key(tmp_path):
    """Decoupled distillation: 13th block, teacher, adapter, EMA; and MoCo's two encoders."""
    last = {
        f'module.model.blocks.2.{n}': vit(5).state_dict()[f'blocks.1.{n}']
        for n in ('norm1.weight', 'norm1.bias', 'attn.qkv.weight', 'attn.qkv.bias')
    }
    state = {**named(vit(), 'module.model.'), **last}
    state |= named(vit(1), 'module.tch_model.')
    state |= named(vit(2), 'module.ema_model.module.')
    state |= junk('attn_adapter.adapter11.weight', 'hidden_adapter.adapter3.bias', prefix='module.')
    path = save(tmp_path, {'model': state})
    report = check(path, 'mae-lite', vit())
    assert 'block 3 has queries and keys only' in report.notes[0]
    assert {n.removeprefix('module.model.') for n in last} <= set(report.dropped)
    assert 'module.attn_adapter.adapter11.weight' in report.dropped
    check(path, PLAIN, vit(1), key='tch_model')
    assert check(path, PLAIN, vit(2), key='ema_model').container == 'model.ema_model'
    state = named(vit(), 'module.base_encoder.') | named(vit(1), 'module.momentum_encoder.')
    check(save(tmp_path, {'state_dict': state}), PLAIN, vit(1), key='momentum_encoder')
    message = r"no network 'teacher'.*state_dict.*base_encoder"
    with pytest.raises(CheckpointError, match=message):
        load_backbone(vit(), tmp_path / 'a.pth.tar', key='teacher')


def test_mae_lite_hiera(tmp_path):
    options = dict(arch=dict(embed_dim=8, stages=(1, 1), num_heads=1), img_size=32, q_pool=1)
    model, target = (our_hiera(i, **options, mask_unit_attn=(1, 0)) for i in (0, 1))
    state = {
        name.replace('model.norm.', 'model.encoder_norm.'): tensor
        for name, tensor in named(model, 'module.model.').items()
    }
    fusion = junk('multi_scale_fusion_heads.0.weight', 'decoder_norm.bias', prefix='module.model.')
    report = check(save(tmp_path, {'model': {**state, **fusion}}), 'mae-lite', model, target)
    assert len(report.dropped) == 2


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmsegmentation(tmp_path, prefix):
    """What mae-lite's converter writes, which keeps all other names, and a trained segmentor."""
    rules = (
        (r'blocks', 'layers'),
        (r'(layers\.\d+)\.norm', r'\1.ln'),
        (r'mlp\.fc1', 'ffn.layers.0.0'),
        (r'mlp\.fc2', 'ffn.layers.1'),
        (r'patch_embed\.proj\.', 'patch_embed.projection.'),
    )
    state = {}
    for name, tensor in vit().state_dict().items():
        for rule in rules:
            name = re.sub(*rule, name)
        state[prefix + name] = tensor
    if prefix:
        extra = junk('decode_head.conv_seg.weight')
        content = {'state_dict': state | extra}
    else:
        extra = junk('decoder_embed.weight', 'module.ema_model.module.norm.bias', 'mask_token')
        content = state | extra
        content |= {n: t for n, t in vit().state_dict().items() if 'patch_embed' in n}
    report = check(save(tmp_path, content), 'OpenMMLab', vit())
    assert set(extra) == set(report.dropped) & set(state | extra)


def test_dino(tmp_path):
    head = ('head.mlp.0.weight', 'head.last_layer.weight_g', 'head.last_layer.weight_v')
    content = {
        'student': {**named(vit(), 'module.backbone.'), **junk(*head, prefix='module.')},
        'teacher': {**named(vit(1), 'backbone.'), **junk(*head)},
        **TRAINED,
        'dino_loss': junk('center'),
    }
    path = save(tmp_path, content, 'checkpoint.pth')
    report = check(path, 'DINO', vit(1))
    assert (report.container, report.others) == ('teacher', ['student', 'dino_loss'])
    assert 'the file also holds student, dino_loss, not loaded' in str(report)
    assert check(path, 'DINO', vit(), key='student').container == 'student'


def foreign(monkeypatch, module, name, base):
    """Make a class that is pickled by its name, in a module that is there for a while."""
    parts = module.split('.')
    for count in range(1, len(parts) + 1):
        place = '.'.join(parts[:count])
        monkeypatch.setitem(sys.modules, place, types.ModuleType(place))
    cls = type(name, (base,), {'__module__': module})
    setattr(sys.modules[module], name, cls)
    return cls


def beit_file(prefix, shared):
    """Make a file with BEiT's biases, LayerScale and relative positions."""
    state, tables = {}, {}
    for name, tensor in vit(pos_embed='learned').state_dict().items():
        if name == 'pos_embed':
            continue  # SimMIM's ViT has none
        if name.endswith('qkv.bias'):
            head, parts = name[: -len('qkv.bias')], tensor.chunk(3)
            state |= {f'{head}q_bias': parts[0], f'{head}v_bias': parts[2]}
        else:
            state[name] = tensor
    for block in range(2):
        state |= {f'blocks.{block}.gamma_{i}': torch.full((16,), 0.5 * i) for i in (1, 2)}
        table = torch.randn(7 * 7 + 3, 4)
        where = 'rel_pos_bias' if shared else f'blocks.{block}.attn'
        tables[f'{where}.relative_position_bias_table'] = table
        state[f'{where}.relative_position_index'] = torch.zeros(17, 17, dtype=torch.long)
    return named({**state, **tables}, prefix), list(tables.values())


@pytest.mark.parametrize('shared', [True, False])
def test_simmim(tmp_path, monkeypatch, shared):
    state, tables = beit_file('encoder.', shared)
    extra = junk('encoder.mask_token', 'decoder.0.weight', 'decoder.0.bias')
    with monkeypatch.context() as patch:
        node = foreign(patch, 'yacs.config', 'CfgNode', dict)
        config = node(DATA=node(IMG_SIZE=224))
        config.frozen = True
        path = save(tmp_path, {'model': {**state, **extra}, 'config': config}, 'simmim.pth')
    model = vit(9)
    report = load_backbone(model, path, verbose=False)
    assert report.source == 'SimMIM'
    assert set(report.missing) == {'pos_embed'}
    assert report.unexpected == [f'blocks.{i}.attn.relative_position_bias_table' for i in (0, 1)]
    assert 'the model lacks' in report.notes[-1]
    assert {'encoder.mask_token', 'decoder.0.weight'} <= set(report.dropped)
    source, own = vit().state_dict(), model.state_dict()
    for i in (0, 1):
        q, _, v = source[f'blocks.{i}.attn.qkv.bias'].chunk(3)
        expected = {
            'attn.qkv.bias': torch.cat([q, torch.zeros(16), v]),
            'attn.proj.weight': 0.5 * source[f'blocks.{i}.attn.proj.weight'],
            'mlp.fc2.bias': 1.0 * source[f'blocks.{i}.mlp.fc2.bias'],
        }
        assert equal(expected, {name: own[f'blocks.{i}.{name}'] for name in expected})
    # A model that has LayerScales and such tables gets them, resized to its own grid.
    model = vit(9, layer_scale=1.0)
    for block in model.blocks:
        block.attn.relative_position_bias_table = torch.nn.Parameter(torch.zeros(52, 4))
    load_backbone(model, path, verbose=False)
    for i, table in enumerate(tables * 2 if shared else tables):
        block, name = model.blocks[i], f'blocks.{i}.attn.proj.weight'
        assert torch.equal(block.attn.relative_position_bias_table, table)
        assert torch.equal(block.attn.proj.weight, source[name])
        assert (block.ls1.gamma.unique().item(), block.ls2.gamma.unique().item()) == (0.5, 1.0)


def test_ostrack(tmp_path, monkeypatch):
    state = named(vit(), 'backbone.') | junk('box_head.conv1_ctr.0.weight')
    search, template = torch.randn(1, 36, 16), torch.randn(1, 9, 16)
    state |= {'backbone.pos_embed_x': search, 'backbone.pos_embed_z': template}
    content = {'epoch': 300, 'net_type': 'OSTrack', 'net': OrderedDict(state)}
    with monkeypatch.context() as patch:
        settings = foreign(patch, 'lib.train.admin.settings', 'Settings', object)()
        settings.lr = 0.1
        path = save(tmp_path, {**content, 'stats': OrderedDict(), 'settings': settings})
    model = vit(9, img_size=48)
    report = load_backbone(model, path, strict=True, verbose=False)
    assert (report.source, report.container) == ('OSTrack', 'net')
    assert torch.equal(model.pos_embed, torch.cat([vit().pos_embed[:, :1], search], dim=1))
    assert report.notes == ['pos_embed is pos_embed_x, the trained positions of the search image']
    assert set(report.dropped) == {'box_head.conv1_ctr.0.weight', 'pos_embed_x', 'pos_embed_z'}


@pytest.mark.parametrize('suffix', ['.pkl', '.pth'])
@pytest.mark.parametrize('arrays', [True, False])
def test_detectron2(tmp_path, suffix, arrays):
    windows = dict(
        cls_token=False,
        window=dict(size=2, global_blocks=[1]),
        rel_pos=dict(kind='decomposed', size=32),
    )
    source = vit(final_norm=False, **windows)
    state = named(source, 'backbone.net.')
    positions = torch.randn(1, 17, 16)  # with the row of a class token
    state['backbone.net.pos_embed'] = positions
    state |= junk('backbone.simfp_2.0.weight', 'roi_heads.box_head.fc1.weight')
    if arrays:
        state = {k: v.numpy() for k, v in state.items()}
    content = {'model': state, '__author__': 'somebody', 'matching_heuristics': True}
    path = tmp_path / f'model{suffix}'
    if suffix == '.pkl':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    model = vit(9, **windows)
    report = load_backbone(model, path, verbose=False)
    assert report.source == 'detectron2 ViTDet'
    assert report.missing == ['norm.weight', 'norm.bias']
    assert report.resized == {'pos_embed': ((1, 17, 16), (1, 16, 16))}
    assert sorted(report.dropped) == ['backbone.simfp_2.0.weight', 'roi_heads.box_head.fc1.weight']
    expected = source.state_dict() | {'pos_embed': resize_pos_embed(positions, (4, 4), 0)}
    assert equal(expected, {name: model.state_dict()[name] for name in expected})


def test_our_full_models(tmp_path):
    state = named(vit(), 'backbone.') | named(vit(1), 'momentum_backbone.')
    state |= junk('distiller.teacher.norm.weight', 'decoder.pos_embed')
    content = {'meta': {}, 'state_dict': state}
    # mmengine's EMA hook leaves the averaged weights in state_dict, the last ones beside it.
    content['ema_state_dict'] = named(vit(2), 'module.backbone.') | {'steps': torch.tensor(3)}
    path = save(tmp_path, content, 'iter_3.pth')
    report = check(path, 'full model', vit())
    assert report.others == ['ema_state_dict']
    assert 'momentum_backbone.norm.bias' in report.dropped
    report = check(path, 'full model', vit(2), key='ema_state_dict')
    assert report.dropped == ['steps']


@pytest.mark.parametrize('depth', [1, 3])
def test_other_depth_is_refused(tmp_path, depth):
    path, model = save(tmp_path, vit(arch=dict(ARCH, depth=depth)).state_dict()), vit(9)
    with refused(model, rf'has {depth} blocks, the model 2(.|\n)*any_depth'):
        load_backbone(model, path)
    report = load_backbone(model, path, any_depth=True, verbose=False)
    assert report.missing or report.unexpected


CLASSES = 21843
TINY = dict(embed_dim=192, depth=12, num_heads=3)


@pytest.fixture(scope='module')
def published() -> torch.nn.Module:
    """Return timm's network of `vit_tiny_patch16_224.augreg_in21k` with random weights."""
    model = timm.create_model('vit_tiny_patch16_224.augreg_in21k', num_classes=CLASSES)
    return randomise(model, std=0.1)


def as_flax(model: torch.nn.Module, heads: int) -> dict[str, np.ndarray]:
    """Return a timm ViT by the names and in the layout of Google's JAX code."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    width = state['pos_embed'].shape[-1]
    arrays = {
        'cls': state['cls_token'],
        'embedding/kernel': state['patch_embed.proj.weight'].transpose(2, 3, 1, 0),
        'embedding/bias': state['patch_embed.proj.bias'],
        'Transformer/posembed_input/pos_embedding': state['pos_embed'],
        'Transformer/encoder_norm/scale': state['norm.weight'],
        'Transformer/encoder_norm/bias': state['norm.bias'],
        'head/kernel': state['head.weight'].T,
        'head/bias': state['head.bias'],
    }
    for i in range(len(model.blocks)):
        ours, theirs = f'blocks.{i}', f'Transformer/encoderblock_{i}'
        for number in (0, 1):
            norm, dense = f'{theirs}/LayerNorm_{2 * number}', f'{theirs}/MlpBlock_3/Dense_{number}'
            arrays[f'{norm}/scale'] = state[f'{ours}.norm{number + 1}.weight']
            arrays[f'{norm}/bias'] = state[f'{ours}.norm{number + 1}.bias']
            arrays[f'{dense}/kernel'] = state[f'{ours}.mlp.fc{number + 1}.weight'].T
            arrays[f'{dense}/bias'] = state[f'{ours}.mlp.fc{number + 1}.bias']
        attention = f'{theirs}/MultiHeadDotProductAttention_1'
        kernels = np.split(state[f'{ours}.attn.qkv.weight'], 3)
        biases = np.split(state[f'{ours}.attn.qkv.bias'], 3)
        for part, kernel, bias in zip(('query', 'key', 'value'), kernels, biases, strict=True):
            arrays[f'{attention}/{part}/kernel'] = kernel.T.reshape(width, heads, -1)
            arrays[f'{attention}/{part}/bias'] = bias.reshape(heads, -1)
        proj = state[f'{ours}.attn.proj.weight'].T.reshape(heads, -1, width)
        arrays[f'{attention}/out/kernel'] = proj
        arrays[f'{attention}/out/bias'] = state[f'{ours}.attn.proj.bias']
    return arrays


@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
def test_the_published_network_computes_the_same(published, tmp_path, ending) -> None:
    path = tmp_path / f'tiny.{ending}'
    oracle = published
    if ending == 'npz':
        np.savez(path, **as_flax(published, 3))
        oracle = timm.create_model('vit_tiny_patch16_224', num_classes=CLASSES).eval()
        oracle.load_pretrained(str(path))  # timm reads the file for itself
        # The shapes after loading would be the same, and all features wrong.
        with pytest.raises(CheckpointError, match='trained with 3 heads, the model has 12'):
            load_backbone(VisionTransformer('tiny'), path)
    else:
        save_file(published.state_dict(), path)
    ours = VisionTransformer(TINY).eval()
    report = load_backbone(ours, path, strict=True, verbose=False)
    assert set(report.dropped) == {'head.weight', 'head.bias'}
    assert len(report.matched) == len(ours.state_dict())
    with torch.no_grad():
        x = image(224, count=1)
        torch.testing.assert_close(ours(x)[-1], oracle.forward_features(x))


def test_other_arrays_and_objects_are_refused(tmp_path) -> None:
    np.savez(tmp_path / 'other.npz', weights=np.ones(3))
    np.savez(tmp_path / 'object.npz', **{'cls': np.array([print], dtype=object)})
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'other.npz').read_bytes()[:60])
    damaged = r'no \.npz file of arrays, or damaged'
    messages = {'other': r'none of Google.*weights', 'object': damaged, 'cut': damaged}
    for name, message in messages.items():
        with pytest.raises(CheckpointError, match=message):
            load_backbone(VisionTransformer('tiny'), tmp_path / f'{name}.npz')


CONFIG = Path(__file__).parents[2] / 'configs/transfer/cifar100_vit-tiny.py'
AFTER_BEIT = {'model.head.init_std': 2e-5}
OPTIONS = {
    'BEiT': {'model.backbone.layer_scale': 0.1} | AFTER_BEIT,
    'BootMAE': AFTER_BEIT,
    'MaskFeat': {},
}
EXTRAS = {
    'BEiT': ('mask_token', 'lm_head.weight', 'lm_head.bias'),
    'BootMAE': (
        'mask_token', 'mask_token_1', 'de_pos_embed', 'down.weight', 'down_1.bias',
        'lm_head.proj.weight', 'lm_head_1.weight', 'decode_norm.weight', 'decode_norm_1.bias',
        'decode_blocks.0.attn.q_bias', 'decode_blocks.0.c_attn.kv.weight',
        'decode_blocks_1.1.mlp.fc1.weight',
    ),
    'MaskFeat': ('mask_token', 'pred_head.projections.0.weight'),
}  # fmt: skip


def network(kind):
    """Build timm's: it names tensors as the authors do. MaskFeat's is a plain ViT."""
    sizes = dict(embed_dim=192, depth=12, num_heads=12, num_classes=100, global_pool='avg')
    scales = dict(init_values=0.1 if kind == 'BEiT' else None)
    theirs = TimmViT(**sizes) if kind == 'MaskFeat' else Beit(**sizes, **scales)
    for name, value in randomise(theirs, std=0.05).named_parameters():
        value.data += ('norm' in name and name.endswith('weight')) + 0.1 * ('gamma' in name)
    return theirs


@torch.no_grad()
@pytest.mark.parametrize('kind', list(OPTIONS))
def test_the_transfer_config_computes_as_the_authors(tmp_path, kind):
    theirs, extras = network(kind), {name: torch.ones(2) for name in EXTRAS[kind]}
    state = {n: v for n, v in theirs.state_dict().items() if not n.startswith(('fc_norm', 'head'))}
    state |= {f'norm.{name}': torch.ones(192) for name in ('weight', 'bias')}
    path = save(tmp_path, {'model': state | extras, 'start_epoch': 400})
    checkpoint = {'model.init_cfg.checkpoint': str(path)}
    cfg = load_config(CONFIG, OPTIONS[kind] | checkpoint)
    prepare_scope(cfg)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    model.head.fc.weight.normal_()
    for own, other in ((theirs.fc_norm, model.head.fc_norm), (theirs.head, model.head.fc)):
        own.load_state_dict(other.state_dict())
    x = image(224)
    expected = theirs(x)
    assert expected.std() > 1
    torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-5)

    report = load_backbone(model.backbone, path, verbose=False)
    assert report.source == kind
    assert not report.missing
    assert not report.added
    # Mean pooling has a norm of its own, and theirs is left out too.
    assert report.unexpected == ['norm.weight', 'norm.bias']
    assert set(report.dropped) == set(extras)
    if kind == 'BEiT':  # trained on as they are, not folded
        assert torch.equal(model.backbone.blocks[3].ls2.gamma, state['blocks.3.gamma_2'])
        plain = MODELS.build(dict(cfg.model.backbone, layer_scale=None, init_cfg=None)).eval()
        report = load_backbone(plain, path, verbose=False)
        assert '24 LayerScales were folded' in report.notes[-1]
        torch.testing.assert_close(plain(x), model.backbone(x), atol=1e-4, rtol=1e-5)
