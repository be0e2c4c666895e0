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

from .builders import ARCH, PLAIN, equal, named, our_hiera, refused, save, vit


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


MAE_DECODER = ('decoder_embed.weight', 'mask_token', 'decoder_pos_embed', 'decoder_pred.bias')
MOMENTUM = 'momentum_encoder.'
TRAINED = {'optimizer': {'state': {}}, 'scheduler': {}, 'args': argparse.Namespace(lr=1.0)}
FILES = {
    # container, prefix, source, further names by prefix, which are left out
    'mae-lite': ('model', 'module.model.', 'mae-lite', {'module.model.': MAE_DECODER}),
    'MAE': ('model', '', 'MAE', {'': MAE_DECODER}),
    'MAE, encoder alone': ('model', '', PLAIN, {}),
    'MoCo-v3': (
        'state_dict', 'module.base_encoder.', 'MoCo-v3',
        {
            'module.base_encoder.': ('head.0.weight',), 'module.predictor.': ('0.weight',),
            'module.momentum_encoder.': ('head.0.weight', 'norm.bias'),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize('kind', list(FILES))
def test_files_of_one_network(tmp_path, kind):
    container, prefix, source, further = FILES[kind]
    extra = {}
    for start, names in further.items():
        extra |= junk(*names, prefix=start)
    path = save(tmp_path, {container: named(vit(), prefix) | extra, 'epoch': 300, **TRAINED})
    report = check(path, source, vit())
    assert sorted(report.dropped) == sorted(extra)
    assert report.container == container


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


def forget(monkeypatch, *modules):
    """Let classes of modules that are not there be pickled; return a function that removes them."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    def remove():
        for name in modules:
            del sys.modules[name]  # nothing of it is needed to read the file

    return remove


class CfgNode(dict):
    """Stands for yacs' class, by whose name it is pickled."""


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
    remove = forget(monkeypatch, 'yacs', 'yacs.config')
    sys.modules['yacs.config'].CfgNode = CfgNode
    monkeypatch.setattr(CfgNode, '__module__', 'yacs.config')
    state, tables = beit_file('encoder.', shared)
    config = CfgNode(DATA=CfgNode(IMG_SIZE=224))
    config.frozen = True
    extra = junk('encoder.mask_token', 'decoder.0.weight', 'decoder.0.bias')
    path = save(tmp_path, {'model': {**state, **extra}, 'config': config}, 'simmim.pth')
    remove()
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


class Settings:
    """Stands for OSTrack's class, by whose name it is pickled."""


def test_ostrack(tmp_path, monkeypatch):
    parts = ('lib', 'lib.train', 'lib.train.admin', 'lib.train.admin.settings')
    remove = forget(monkeypatch, *parts)
    sys.modules['lib.train.admin.settings'].Settings = Settings
    monkeypatch.setattr(Settings, '__module__', 'lib.train.admin.settings')
    state = named(vit(), 'backbone.') | junk('box_head.conv1_ctr.0.weight')
    search, template = torch.randn(1, 36, 16), torch.randn(1, 9, 16)
    state |= {'backbone.pos_embed_x': search, 'backbone.pos_embed_z': template}
    settings = Settings()
    settings.lr = 0.1
    content = {'epoch': 300, 'net_type': 'OSTrack', 'net': OrderedDict(state)}
    path = save(tmp_path, {**content, 'stats': OrderedDict(), 'settings': settings})
    remove()
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
    assert equal(expected, {name: model.state_dict()[name] for name in expected})


class Evil:
    def __reduce__(self):
        return exec, ('raise SystemExit',)


@pytest.mark.parametrize(
    'data',
    [
        pickle.dumps({'model': {'a': np.zeros(2)}, 'x': Evil()}),
        pickle.dumps({'model': {'a': np.array([Evil()], dtype=object)}}),
        b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
        # GLOBAL numpy.core.multiarray._reconstruct, then BUILD with attributes to set on it.
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.',
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
    check(tmp_path / 'a.pkl', PLAIN, vit())


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
