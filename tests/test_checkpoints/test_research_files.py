"""Files as research code writes them, made after its naming schemes from a backbone of ours."""

import argparse
import pickle
import re
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch

from lightvit_dense.checkpoints import CheckpointError, load_backbone, resize_pos_embed
from lightvit_dense.models.backbones import Hiera, VisionTransformer

ARCH = dict(embed_dim=16, depth=2, num_heads=4)


def vit(seed=0, arch=ARCH, **kwargs):
    model = VisionTransformer(arch, **{'img_size': 32, 'patch_size': 8, **kwargs})
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def named(model, prefix):
    return {prefix + k: v for k, v in model.state_dict().items()}


def junk(*names):
    return {name: torch.ones(2) for name in names}


def save(tmp_path, content, name='a.pth.tar'):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def check(path, source, expected, model=None, **kwargs):
    """Load and compare with the backbone that the file was made from."""
    model = model or vit(seed=9)
    report = load_backbone(model, path, strict=True, verbose=False, **kwargs)
    assert report.source == source
    state = expected.state_dict()
    assert len(report.matched) == len(state)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    return report


MAE_DECODER = ('decoder_embed.weight', 'mask_token', 'decoder_pos_embed', 'decoder_pred.bias')


def test_mae_lite_mae(tmp_path):
    decoder = junk(*(f'module.model.{n}' for n in MAE_DECODER))
    content = {'start_epoch': 400, 'model': {**named(vit(), 'module.model.'), **decoder}}
    content |= {'optimizer': {'state': {}}, 'scheduler': {}, 'scaler': {}}
    report = check(save(tmp_path, content), 'mae-lite', vit())
    assert sorted(report.dropped) == sorted(decoder)
    assert report.container == 'model'


def d2_file():
    """Make a file of decoupled distillation: 13th block, teacher, adapter, and an EMA."""
    last = {
        f'module.model.blocks.2.{n}': vit(5).state_dict()[f'blocks.1.{n}']
        for n in ('norm1.weight', 'norm1.bias', 'attn.qkv.weight', 'attn.qkv.bias')
    }
    state = {**named(vit(), 'module.model.'), **last}
    state |= named(vit(1), 'module.tch_model.')
    state |= named(vit(2), 'module.ema_model.module.')
    state |= junk('module.attn_adapter.adapter11.weight', 'module.hidden_adapter.adapter3.weight')
    return {'model': state}, last


def test_mae_lite_decoupled_distillation(tmp_path):
    content, last = d2_file()
    path = save(tmp_path, content)
    report = check(path, 'mae-lite', vit())
    assert 'block 3 has queries and keys only' in report.notes[0]
    assert {n.removeprefix('module.model.') for n in last} <= set(report.dropped)
    assert 'module.attn_adapter.adapter11.weight' in report.dropped
    check(path, 'plain backbone (ours or timm)', vit(1), key='tch_model')
    report = check(path, 'plain backbone (ours or timm)', vit(2), key='ema_model')
    assert report.container == 'model.ema_model'


def test_mae_lite_hiera(tmp_path):
    arch = dict(embed_dim=8, stages=(1, 1), num_heads=1)
    model, target = (Hiera(arch, img_size=32, q_pool=1, mask_unit_attn=(1, 0)) for _ in range(2))
    state = {
        name.replace('model.norm.', 'model.encoder_norm.'): tensor
        for name, tensor in named(model, 'module.model.').items()
    }
    fusion = junk(
        'module.model.multi_scale_fusion_heads.0.weight', 'module.model.decoder_norm.bias'
    )
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
        state |= junk('decode_head.conv_seg.weight')
        content = {'state_dict': state}
    else:
        state |= junk('decoder_embed.weight', 'module.ema_model.module.norm.bias', 'mask_token')
        content = state | {n: t for n, t in vit().state_dict().items() if 'patch_embed' in n}
    report = check(save(tmp_path, content), 'OpenMMLab', vit())
    assert set(report.dropped) == set(state) & set(
        junk('decoder_embed.weight', 'module.ema_model.module.norm.bias', 'mask_token')
        | junk('decode_head.conv_seg.weight')
    )


@pytest.mark.parametrize('decoder', [True, False])
def test_mae(tmp_path, decoder):
    extra = junk(*MAE_DECODER) if decoder else {}
    content = {'model': {**vit().state_dict(), **extra}, 'args': argparse.Namespace(lr=1.0)}
    source = 'MAE' if decoder else 'plain backbone (ours or timm)'
    check(save(tmp_path, content, 'mae.pth'), source, vit())


def test_moco_v3(tmp_path):
    state = named(vit(), 'module.base_encoder.') | named(vit(1), 'module.momentum_encoder.')
    extra = junk(
        'module.base_encoder.head.0.weight',
        'module.momentum_encoder.head.0.weight',
        'module.predictor.0.weight',
    )
    content = {'epoch': 300, 'arch': 'vit_base', 'state_dict': {**state, **extra}}
    path = save(tmp_path, content)
    report = check(path, 'MoCo-v3', vit())
    assert set(extra) <= set(report.dropped)
    check(path, 'plain backbone (ours or timm)', vit(1), key='momentum_encoder')


def test_dino(tmp_path):
    head = ('head.mlp.0.weight', 'head.last_layer.weight_g', 'head.last_layer.weight_v')
    content = {
        'student': {**named(vit(), 'module.backbone.'), **junk(*(f'module.{n}' for n in head))},
        'teacher': {**named(vit(1), 'backbone.'), **junk(*head)},
        'optimizer': {'state': {}},
        'args': argparse.Namespace(arch='vit_small'),
        'dino_loss': junk('center'),
    }
    path = save(tmp_path, content, 'checkpoint.pth')
    report = check(path, 'DINO', vit(1))
    assert (report.container, report.others) == ('teacher', ['student', 'dino_loss'])
    assert 'the file also holds student, dino_loss, not loaded' in str(report)
    assert check(path, 'DINO', vit(), key='student').container == 'student'
    check(save(tmp_path, vit(2).state_dict()), 'plain backbone (ours or timm)', vit(2))


class CfgNode(dict):
    """Stands for yacs' class, by whose name it is pickled."""


@pytest.fixture
def yacs(monkeypatch):
    package, module = types.ModuleType('yacs'), types.ModuleType('yacs.config')
    module.CfgNode = CfgNode
    monkeypatch.setattr(CfgNode, '__module__', 'yacs.config')
    monkeypatch.setitem(sys.modules, 'yacs', package)
    monkeypatch.setitem(sys.modules, 'yacs.config', module)


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
    return {prefix + k: v for k, v in {**state, **tables}.items()}, list(tables.values())


@pytest.mark.parametrize('shared', [True, False])
def test_simmim(tmp_path, yacs, shared):
    state, tables = beit_file('encoder.', shared)
    config = CfgNode(DATA=CfgNode(IMG_SIZE=224))
    config.frozen = True
    extra = junk('encoder.mask_token', 'decoder.0.weight', 'decoder.0.bias')
    path = save(tmp_path, {'model': {**state, **extra}, 'config': config}, 'simmim.pth')
    for name in ('yacs', 'yacs.config'):
        del sys.modules[name]  # nothing of it is needed to read the file
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
        joined = torch.cat([q, torch.zeros(16), v])
        assert torch.equal(own[f'blocks.{i}.attn.qkv.bias'], joined)
        assert torch.equal(
            own[f'blocks.{i}.attn.proj.weight'], 0.5 * source[f'blocks.{i}.attn.proj.weight']
        )
        assert torch.equal(
            own[f'blocks.{i}.mlp.fc2.bias'], 1.0 * source[f'blocks.{i}.mlp.fc2.bias']
        )
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


class Settings:
    """Stands for OSTrack's class, by whose name it is pickled."""


def test_ostrack(tmp_path, monkeypatch):
    for name in ('lib', 'lib.train', 'lib.train.admin', 'lib.train.admin.settings'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules['lib.train.admin.settings'].Settings = Settings
    monkeypatch.setattr(Settings, '__module__', 'lib.train.admin.settings')
    state = named(vit(), 'backbone.') | junk('box_head.conv1_ctr.0.weight')
    search, template = torch.randn(1, 36, 16), torch.randn(1, 9, 16)
    state |= {'backbone.pos_embed_x': search, 'backbone.pos_embed_z': template}
    settings = Settings()
    settings.lr = 0.1
    content = {'epoch': 300, 'net_type': 'OSTrack', 'net': OrderedDict(state)}
    path = save(tmp_path, {**content, 'stats': OrderedDict(), 'settings': settings})
    for name in [n for n in sys.modules if n == 'lib' or n.startswith('lib.')]:
        monkeypatch.delitem(sys.modules, name)
    model = vit(9, img_size=48)
    report = load_backbone(model, path, strict=True, verbose=False)
    assert (report.source, report.container) == ('OSTrack', 'net')
    assert torch.equal(model.pos_embed, torch.cat([vit().pos_embed[:, :1], search], dim=1))
    assert report.notes == ['pos_embed is pos_embed_x, the trained positions of the search image']
    assert set(report.dropped) == {'box_head.conv1_ctr.0.weight', 'pos_embed_x', 'pos_embed_z'}
    # A tracker that has both tables gets both.
    model.pos_embed_x = torch.nn.Parameter(torch.zeros(1, 36, 16))
    model.pos_embed_z = torch.nn.Parameter(torch.zeros(1, 9, 16))
    report = load_backbone(model, path, strict=True, verbose=False)
    assert torch.equal(model.pos_embed_z, template)
    assert report.resized == {'pos_embed': ((1, 17, 16), (1, 37, 16))}


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
    assert all(torch.equal(model.state_dict()[k], v) for k, v in expected.items())


class Evil:
    def __reduce__(self):
        return exec, ('raise SystemExit',)


def build_on_function():
    # GLOBAL numpy.core.multiarray._reconstruct, then BUILD with attributes to set on it.
    return b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.'


@pytest.mark.parametrize(
    'data',
    [
        pickle.dumps({'model': {'a': np.zeros(2)}, 'x': Evil()}),
        pickle.dumps({'model': {'a': np.array([Evil()], dtype=object)}}),
        b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
        build_on_function(),
        pickle.dumps({'model': {'a': np.zeros(99)}})[:-30],
    ],
)
def test_pickles_give_data_and_nothing_else(tmp_path, data):
    (tmp_path / 'a.pkl').write_bytes(data)
    with pytest.raises(CheckpointError, match=r'a\.pkl: (refused|truncated)'):
        load_backbone(vit(), tmp_path / 'a.pkl')


def test_detectron2_pickle_of_tensors(tmp_path):
    content = {'model': vit().state_dict(), '__author__': 'somebody'}
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(content))
    check(tmp_path / 'a.pkl', 'plain backbone (ours or timm)', vit())


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


def test_unknown_key(tmp_path):
    path = save(tmp_path, {'model': named(vit(), 'module.backbone.')})
    with pytest.raises(CheckpointError, match=r"no network 'teacher'.*model.*backbone"):
        load_backbone(vit(), path, key='teacher')


@pytest.mark.parametrize('depth', [1, 3])
def test_other_depth_is_refused(tmp_path, depth):
    path = save(tmp_path, vit(arch=dict(ARCH, depth=depth)).state_dict())
    model = vit(9)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf'has {depth} blocks, the model 2(.|\n)*any_depth'):
        load_backbone(model, path)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    report = load_backbone(model, path, any_depth=True, verbose=False)
    assert report.missing or report.unexpected
