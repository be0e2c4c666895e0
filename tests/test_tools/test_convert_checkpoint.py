"""tools/model_converters/convert_checkpoint.py as users run it."""

import hashlib
import json
import re
from functools import partial

import pytest
import torch
from timm.models.beit import Beit

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.registry import MODELS
from tests.helpers.tools import call_tool
from tests.test_checkpoints.builders import (
    equal,
    from_timm,
    image,
    named,
    our_hiera,
    randomise,
    save,
    timm_sizes,
    vit,
)

tool = partial(call_tool, 'model_converters/convert_checkpoint.py')


def training_file(folder, model=None):
    """Make a file as mae-lite leaves it."""
    extra = {} if model else {'module.model.mask_token': torch.zeros(1, 1, 8)}
    state = named(model or vit(), 'module.model.') | extra
    return save(folder, {'model': state, 'optimizer': {'lr': 1.0}}, 'last.pth.tar')


def built(path):
    """Build the classifier of a .json and load the .pth beside it."""
    config = json.loads(path.with_suffix('.json').read_text())['model']
    model = MODELS.build(config).eval()
    model.load_state_dict(torch.load(path, weights_only=True)['state_dict'], strict=True)
    return model, config


def test_a_file_is_recognised_converted_and_described(tmp_path):
    path, target = training_file(tmp_path), tmp_path / 'out/backbone.safetensors'
    out = tool(path, target, '--heads', 4, '--img-size', 48, 32)
    for part in ('mae-lite', 'ViT: width 16, 2 blocks, patch 8, position grid 4x4', 'as given'):
        assert part in out
    assert re.search(r'pos_embed \(1, 17, 16\) -> \(1, 25, 16\).*Wrote', out, re.S)
    metadata = json.loads(target.with_suffix('.json').read_text())
    hashes = [metadata['sha256'], metadata['meta']['sha256']]
    assert hashes == [hashlib.sha256(file.read_bytes()).hexdigest() for file in (target, path)]
    assert metadata['meta']['converted_from'] == 'last.pth.tar'
    assert metadata['architecture']['arch']['num_heads'] == 4
    assert not load_backbone(vit(img_size=(48, 32)), target, strict=True, verbose=False).resized


def test_dry_run_writes_nothing(tmp_path):
    path = training_file(tmp_path)
    out = tool(path, tmp_path / 'a.safetensors', '--dry-run')
    assert re.search('heads: not in the file.*--heads', out, re.S)
    out = tool(path, '--dry-run', '--heads', 4)
    assert 'Nothing was written' in out
    assert 'dropped               1: module.model.mask_token' in out
    facts = json.loads(tool(path, '--dry-run', '--heads', 4, '--json'))
    assert facts | dict(source='mae-lite', container='model', written=None) == facts
    assert (facts['sizes']['grid'], facts['report']['missing']) == ([4, 4], [])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('form', ['timm', 'hf'])
def test_from_any_form_to_any_form_and_back(tmp_path, form):
    middle = tmp_path / ('hf' if form == 'hf' else 'timm.safetensors')
    tool(training_file(tmp_path), middle, '--to', form, '--heads', 4)
    # Heads are known now, from the file beside it.
    out = tool(middle, tmp_path / 'ours.safetensors')
    assert 'heads: 4 (from the file beside it)' in out
    model = vit(9)
    load_backbone(model, tmp_path / 'ours.safetensors', strict=True, verbose=False)
    assert equal(model, vit())
    out = tool(middle, tmp_path / 'b.safetensors', '--heads', 2, status=2)
    assert 'the file beside it says 4' in out


def test_hiera_and_vitdet_are_recognised(tmp_path):
    arch = dict(embed_dim=8, stages=(1, 2, 1), num_heads=1)
    model = our_hiera(arch=arch, img_size=32, q_pool=2, mask_unit_attn=(True, True, False))
    out = tool(save(tmp_path, {'model_state': model.state_dict()}), '--dry-run')
    assert 'Hiera: width 8, 4 blocks in stages 1-2-1, patch 7, position grid 8x8' in out
    options = dict(cls_token=False, window=dict(size=2, global_blocks=[1]), final_norm=False)
    options |= dict(rel_pos=dict(kind='decomposed', size=32))
    path = save(tmp_path, {'model': named(vit(**options), 'backbone.net.')}, 'a.pth')
    out = tool(path, tmp_path / 'b.safetensors')
    assert 'heads: 4 (from the relative position tables)' in out
    out = tool(path, tmp_path / 'c.safetensors', '--to', 'timm', status=2)
    assert 'relative positions, which timm cannot express' in out
    assert not (tmp_path / 'c.safetensors').exists()


def test_what_would_be_lost_is_refused(tmp_path):
    path = save(tmp_path, {**vit().state_dict(), 'reg_token': torch.ones(1, 2, 16)})
    target = tmp_path / 'b.safetensors'
    assert 'unexpected            1: reg_token' in tool(path, target, '--heads', 4, status=2)
    assert not target.exists()
    tool(path, target, '--heads', 4, '--lossy')
    assert json.loads(target.with_suffix('.json').read_text())['meta']['lost'] == ['reg_token']


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--arch', 'vit-tiny'], r'is not vit-tiny \(family, width, blocks .*192'),
        (['--arch', 'vit-giant'], "arch 'vit-giant' is unknown; choose from .*vit-tiny"),
        (['--heads', '3'], 'heads'),
        (['--heads', '4', '--img-size', '30'], 'not a multiple'),
        (['--key', 'teacher', '--heads', '4'], "no network 'teacher'"),
        ([], 'Give --heads'),
    ],
)
def test_plain_errors(tmp_path, args, message):
    path = training_file(tmp_path)
    out = tool(path, tmp_path / 'a.safetensors', *args, status=2)
    assert 'error: ' in out
    assert re.search(message, out), out
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_name_and_foreign_file(tmp_path):
    path = training_file(tmp_path)
    out = tool(path, tmp_path / 'a.pth', '--heads', 4, status=2)
    assert 'must end in .safetensors' in out
    foreign = save(tmp_path, {'conv.weight': torch.zeros(2)}, 'b.pth')
    assert 'holds no backbone that is known here' in tool(foreign, '--dry-run', status=2)
    broken = save(tmp_path, named(vit(), '') | {'norm.bias': torch.full((16,), torch.nan)}, 'c.pth')
    assert 'c.pth: ' in (out := tool(broken, '--heads', 4, '--dry-run', status=2))
    assert 'hold NaN or infinite values (norm.bias)' in out
    tool(path, status=2)


@torch.no_grad()
def test_a_classifier_comes_in_and_goes_out_with_its_head(tmp_path):
    """mae-lite's classifier with relative positions -> ours -> timm's BEiT, the same scores."""
    theirs = randomise(Beit(**timm_sizes(use_rel_pos_bias=True)), std=0.3)
    ours, timms = tmp_path / 'classifier.pth', tmp_path / 'timm.safetensors'
    out = tool(training_file(tmp_path, theirs), ours, '--with-head')
    assert 'reads the mean as the file tells' in out
    assert 'dropped               0' in out
    model, config = built(ours)
    assert config['head'] == dict(num_classes=5, pool='mean', norm=True)
    out = tool(ours, timms, '--with-head', '--to', 'timm')
    assert 'reads the mean as the file tells' in out
    for scores in (model(image()), from_timm(timms)(image())):
        torch.testing.assert_close(scores, theirs(image()), atol=1e-5, rtol=1e-5)


def test_with_head_wants_a_head_and_says_what_it_guesses(tmp_path):
    target, options = tmp_path / 'a.pth', ('--with-head', '--heads', 4)
    out = tool(training_file(tmp_path), target, *options, status=2)
    assert 'has no classifier that is known here. Leave --with-head out' in out
    state = {**vit().state_dict(), 'head.weight': torch.ones(3, 16), 'head.bias': torch.ones(3)}
    path = save(tmp_path, state, 'b.pth')
    assert 'reads the class token, a guess: --pool sets it' in tool(path, target, *options)
    tool(path, target, *options, '--pool', 'mean', '--json')
    assert json.loads(target.with_suffix('.json').read_text())['model']['head']['pool'] == 'mean'
    path = save(tmp_path, {**state, 'head_dist.weight': torch.zeros(3, 16)}, 'c.pth')
    assert 'a second head of distillation' in tool(path, tmp_path / 'd.pth', *options, status=2)
    assert not (tmp_path / 'd.pth').exists()
