"""tools/model_converters/convert_checkpoint.py as users run it."""

import hashlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import hiera
import pytest
import timm
import torch
from timm.models.beit import Beit

from lightvit_dense.checkpoints import load_backbone, save_backbone
from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools/model_converters/convert_checkpoint.py'
ARCH = dict(embed_dim=16, depth=2, num_heads=4)


def vit(**kwargs):
    torch.manual_seed(0)
    model = VisionTransformer(ARCH, **{'img_size': 32, 'patch_size': 8, **kwargs})
    torch.nn.init.normal_(model.pos_embed)
    return model


def training_file(folder):
    """Make a file as mae-lite leaves it."""
    state = {f'module.model.{k}': v for k, v in vit().state_dict().items()}
    state['module.model.mask_token'] = torch.zeros(1, 1, 8)
    torch.save({'model': state, 'optimizer': {'lr': 1.0}}, folder / 'last.pth.tar')
    return folder / 'last.pth.tar'


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; return its status and what it printed."""
    main = runpy.run_path(str(TOOL))
    run_tool = main['run_tool']

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, args)])
        status = run_tool(main['main'])
        return status, capsys.readouterr()

    return run


def test_as_a_program(tmp_path):
    path, target = training_file(tmp_path), tmp_path / 'out/backbone.safetensors'
    command = [sys.executable, TOOL, path, target, '--heads', '4', '--img-size', '48', '32']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for part in ('mae-lite', 'ViT: width 16, 2 blocks, patch 8, position grid 4x4', 'as given'):
        assert part in done.stdout
    assert 'pos_embed (1, 17, 16) -> (1, 25, 16)' in done.stdout
    assert 'Wrote' in done.stdout
    metadata = json.loads(target.with_suffix('.json').read_text())
    assert metadata['sha256'] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert metadata['meta']['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata['meta']['converted_from'] == 'last.pth.tar'
    assert metadata['architecture']['arch']['num_heads'] == 4
    model = VisionTransformer(ARCH, img_size=(48, 32), patch_size=8)
    report = load_backbone(model, target, strict=True, verbose=False)
    assert not report.resized


def test_dry_run_writes_nothing(tmp_path, tool):
    path = training_file(tmp_path)
    status, out = tool(path, tmp_path / 'a.safetensors', '--dry-run')
    assert status == 0
    assert 'heads: not in the file' in out.out
    assert '--heads' in out.out
    status, out = tool(path, '--dry-run', '--heads', 4)
    assert 'Nothing was written' in out.out
    assert 'dropped               1: module.model.mask_token' in out.out
    status, out = tool(path, '--dry-run', '--heads', 4, '--json')
    facts = json.loads(out.out)
    assert (facts['source'], facts['container']) == ('mae-lite', 'model')
    assert facts['sizes']['grid'] == [4, 4]
    assert facts['report']['missing'] == []
    assert facts['written'] is None
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('form', ['timm', 'hf'])
def test_from_any_form_to_any_form_and_back(tmp_path, tool, form):
    path = training_file(tmp_path)
    middle = tmp_path / ('hf' if form == 'hf' else 'timm.safetensors')
    assert tool(path, middle, '--to', form, '--heads', 4)[0] == 0
    # Heads are known now, from the file beside it.
    status, out = tool(middle, tmp_path / 'ours.safetensors')
    assert status == 0
    assert 'heads: 4 (from the file beside it)' in out.out
    model = VisionTransformer(ARCH, img_size=32, patch_size=8)
    load_backbone(model, tmp_path / 'ours.safetensors', strict=True, verbose=False)
    assert all(torch.equal(v, vit().state_dict()[k]) for k, v in model.state_dict().items())
    status, out = tool(middle, tmp_path / 'b.safetensors', '--heads', 2)
    assert status == 2
    assert 'the file beside it says 4' in out.err


def test_hiera(tmp_path, tool):
    arch = dict(embed_dim=8, stages=(1, 2, 1), num_heads=1)
    model = Hiera(arch, img_size=32, q_pool=2, mask_unit_attn=(True, True, False))
    torch.save({'model_state': model.state_dict()}, tmp_path / 'a.pth')
    status, out = tool(tmp_path / 'a.pth', '--dry-run')
    assert status == 0
    assert 'Hiera: width 8, 4 blocks in stages 1-2-1, patch 7, position grid 8x8' in out.out


def test_vitdet(tmp_path, tool):
    options = dict(
        cls_token=False,
        window=dict(size=2, global_blocks=[1]),
        rel_pos=dict(kind='decomposed', size=32),
    )
    state = vit(final_norm=False, **options).state_dict()
    torch.save({'model': {f'backbone.net.{k}': v for k, v in state.items()}}, tmp_path / 'a.pth')
    status, out = tool(tmp_path / 'a.pth', tmp_path / 'b.safetensors')
    assert status == 0
    assert 'heads: 4 (from the relative position tables)' in out.out
    status, out = tool(tmp_path / 'a.pth', tmp_path / 'c.safetensors', '--to', 'timm')
    assert status == 2
    assert 'relative positions, which timm cannot express' in out.err
    assert not (tmp_path / 'c.safetensors').exists()


def test_what_would_be_lost_is_refused(tmp_path, tool):
    torch.save({**vit().state_dict(), 'reg_token': torch.ones(1, 2, 16)}, tmp_path / 'a.pth')
    target = tmp_path / 'b.safetensors'
    status, out = tool(tmp_path / 'a.pth', target, '--heads', 4)
    assert status == 2
    assert 'unexpected            1: reg_token' in out.err
    assert not target.exists()
    status, out = tool(tmp_path / 'a.pth', target, '--heads', 4, '--lossy')
    assert status == 0
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
def test_plain_errors(tmp_path, tool, args, message):
    path = training_file(tmp_path)
    status, out = tool(path, tmp_path / 'a.safetensors', *args)
    assert status == 2
    assert out.err.startswith('error: ')
    assert re.search(message, out.err), out.err
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_name_and_foreign_file(tmp_path, tool):
    path = training_file(tmp_path)
    status, out = tool(path, tmp_path / 'a.pth', '--heads', 4)
    assert (status, 'must end in .safetensors' in out.err) == (2, True)
    torch.save({'conv.weight': torch.zeros(2)}, tmp_path / 'b.pth')
    status, out = tool(tmp_path / 'b.pth', '--dry-run')
    assert (status, 'holds no backbone that is known here' in out.err) == (2, True)
    save_backbone(vit(), tmp_path / 'c.safetensors', {})
    status, out = tool(tmp_path / 'c.safetensors', '--dry-run', '--arch', 'vit-tiny')
    assert status == 2
    with pytest.raises(SystemExit):
        tool(path)


def test_a_classifier_comes_in_and_goes_out_with_its_head(tmp_path, tool):
    """mae-lite's classifier with relative positions -> ours -> timm's BEiT, the same scores."""
    torch.manual_seed(0)
    sizes = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=5)
    theirs = Beit(**sizes, use_rel_pos_bias=True).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = {f'module.model.{k}': v for k, v in theirs.state_dict().items()}
    torch.save({'model': state}, tmp_path / 'last.pth.tar')
    ours, timms = tmp_path / 'classifier.pth', tmp_path / 'timm.safetensors'
    status, out = tool(tmp_path / 'last.pth.tar', ours, '--with-head')
    assert status == 0, out.err
    assert 'reads the mean as the file tells' in out.out
    assert 'dropped               0' in out.out
    config = json.loads(ours.with_suffix('.json').read_text())['model']
    assert config['head'] == dict(num_classes=5, pool='mean', norm=True)
    model = MODELS.build(config).eval()
    model.load_state_dict(torch.load(ours, weights_only=True)['state_dict'], strict=True)
    status, out = tool(ours, timms, '--with-head', '--to', 'timm')
    assert status == 0, out.err
    assert 'reads the mean as the file tells' in out.out
    call = json.loads(timms.with_suffix('.json').read_text())['timm']['call']
    again = eval(call.replace(repr(timms.name), repr(str(timms))), {'timm': timm}).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for scores in (model(image), again(image)):
            torch.testing.assert_close(scores, theirs(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_authors_fine_tuned_hiera_keeps_its_order(tmp_path, tool):
    torch.manual_seed(0)
    theirs = hiera.Hiera(
        input_size=(64, 64), embed_dim=8, num_heads=1, stages=(1, 1, 1, 1), num_classes=5
    ).train()  # in evaluation it returns probabilities
    theirs.head.projection.weight.normal_()
    state = {f'module.model.{k}': v for k, v in theirs.state_dict().items()}
    torch.save({'model': state}, tmp_path / 'last.pth.tar')
    ours = tmp_path / 'classifier.pth'
    status, out = tool(tmp_path / 'last.pth.tar', ours, '--with-head', '--heads', 1)
    assert status == 0, out.err
    assert 'reads the mean as the file tells' in out.out
    config = json.loads(ours.with_suffix('.json').read_text())['model']
    assert config['backbone']['final_norm'] is False
    model = MODELS.build(config).eval()
    model.load_state_dict(torch.load(ours, weights_only=True)['state_dict'], strict=True)
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(image), theirs(image), atol=2e-5, rtol=1e-5)


def test_with_head_wants_a_head_and_says_what_it_guesses(tmp_path, tool):
    target = tmp_path / 'a.pth'
    status, out = tool(training_file(tmp_path), target, '--with-head', '--heads', 4)
    assert status == 2
    assert 'has no classifier that is known here. Leave --with-head out' in out.err
    head = {'head.weight': torch.randn(3, 16), 'head.bias': torch.randn(3)}
    torch.save({**vit().state_dict(), **head}, tmp_path / 'b.pth')
    status, out = tool(tmp_path / 'b.pth', target, '--with-head', '--heads', 4)
    assert 'reads the class token, a guess: --pool sets it' in out.out
    status, out = tool(
        tmp_path / 'b.pth', target, '--with-head', '--heads', 4, '--pool', 'mean', '--json'
    )
    assert status == 0
    assert json.loads(target.with_suffix('.json').read_text())['model']['head']['pool'] == 'mean'
    torch.save(
        {**vit().state_dict(), **head, 'head_dist.weight': torch.zeros(3, 16)}, tmp_path / 'c.pth'
    )
    status, out = tool(tmp_path / 'c.pth', tmp_path / 'd.pth', '--with-head', '--heads', 4)
    assert status == 2
    assert 'a second head of distillation' in out.err
    assert not (tmp_path / 'd.pth').exists()
