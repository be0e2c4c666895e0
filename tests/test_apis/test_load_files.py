"""Files as lightvit_dense.load finds them, and the config in one: data that never acts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

from lightvit_dense.apis.files import find, find_config, in_folder
from lightvit_dense.apis.loading import load
from lightvit_dense.apis.recorded import read_text, recorded_config
from lightvit_dense.errors import UserError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with two groups of configs and an empty folder of checkpoints."""
    monkeypatch.chdir(tmp_path)
    for path in ('_base_/x.py', 'coco/det.py', 'coco/both.py', 'ade/both.py', 'pre/deep/mae.py'):
        file = tmp_path / 'configs' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('model = dict()')
    (tmp_path / 'weights').mkdir()
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(tmp_path / 'weights'))
    return tmp_path


def _touch(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')
        os.utime(path, (number, number))


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        *((name, 'coco/det') for name in ('det', 'coco/det', 'configs/coco/det.py')),
        *((name, 'pre/deep/mae') for name in ('mae', 'deep/mae', 'configs/pre/deep/mae')),
        ('ade/both', 'ade/both'),
    ],
)
def test_names_of_configs(place, name, path):
    assert find(name).config.as_posix() == f'configs/{path}.py'


@pytest.mark.parametrize(
    ('name', 'folder', 'match'),
    [
        ('both', 'weights', r"'both'.*(ade/both.*coco/both|coco/both.*ade/both)"),
        ('coco/dett', 'weights', r"'coco/dett' is neither a file.*Did you mean 'coco/det'"),
        ('runs/b.pth', 'weights', 'runs/b.pth: does not exist; runs has a.pth'),
        ('weights', 'weights', 'has no weights; looked for best_'),
        ('det', 'nowhere', r'\$LIGHTVIT_CHECKPOINTS: nowhere is no folder'),
        ('det', None, 'LIGHTVIT_CHECKPOINTS, which is not set'),
    ],
)
def test_names_of_nothing(place, monkeypatch, name, folder, match):
    _touch(place, 'runs/a.pth')
    if folder is None:
        monkeypatch.delenv('LIGHTVIT_CHECKPOINTS')
    else:
        monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', folder)
    with pytest.raises(UserError, match=match):
        load(name)


def test_shipped_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_config('ostrack256_dmae_tiny')
    assert found.parts[-3:] == ('configs', 'lasot', 'ostrack256_dmae_tiny.py')
    assert found.is_file()


def test_weights_of_a_name_and_their_order(place):
    run = place / 'work_dirs' / 'det'
    _touch(run, 'epoch_2.pth')
    assert [w.as_posix() for w in find('det').weights] == ['work_dirs/det/epoch_2.pth']
    _touch(place / 'weights', 'det.pth', 'det.safetensors', 'coco/det.pth', 'both.pth')
    names = [w.as_posix() for w in find('coco/det').weights]
    folder = str(place / 'weights')
    assert names == [
        f'{folder}/coco/det.pth',
        f'{folder}/det.safetensors',
        f'{folder}/det.pth',
        'work_dirs/det/epoch_2.pth',
    ]


def test_no_weights_says_where_they_were_looked_for(place):
    parts = [f'{place}/weights/{name}.safetensors or .pth' for name in ('coco/det', 'det')]
    parts += ['work_dirs/det/', 'tools/train.py configs/coco/det.py', 'Nothing is downloaded']
    with pytest.raises(UserError) as error:
        load('coco/det')
    assert [part for part in parts if part not in str(error.value)] == []


def test_the_best_weights_of_a_run_come_first(tmp_path):
    _touch(tmp_path, 'best_old.pth', 'best_new.pth', 'iter_9.pth', 'iter_10.pth', 'other.pth')
    _touch(tmp_path, 'backbone.safetensors')
    (tmp_path / 'last_checkpoint').write_text('/moved/away/iter_9.pth')
    assert [file.name for file in in_folder(tmp_path)] == [
        'best_new.pth',
        'best_old.pth',
        'iter_9.pth',
        'iter_10.pth',
        'backbone.safetensors',
    ]


CONFIGS = Path(__file__).parents[2] / 'configs'
SHIPPED = (
    'pretrain/dmae_vit-tiny',
    'pretrain/dino_vit-tiny',
    'pretrain/d2mae_hiera-tiny',
    'imagenet/finetune_mae_vit-tiny_hard-distillation_300e',
    'coco/maskrcnn_dmae_hiera-tiny',
    'coco/maskrcnn-li2021_dmae_tiny',
    'ade20k/upernet_dmae_tiny',
    'ade20k/semfpn_dmae_hiera-tiny',
    'lasot/ostrack256_dmae_hiera-tiny',
)
HEAD = "type='lightvit_dense.ImageClassifier'"
TESTED = f'model = dict({HEAD})\ntest_dataloader = dict(%s)'


def _values(node, left_out=('init_cfg', 'checkpoint', 'pretrained')):
    if isinstance(node, dict):
        return {k: _values(v) for k, v in node.items() if k not in left_out}
    return [_values(v) for v in node] if isinstance(node, (list, tuple)) else node


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_configs_are_read_back_whole(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    found = recorded_config(cfg.pretty_text, 'FILE')
    assert _values(found.model.to_dict()) == _values(cfg.model.to_dict())
    assert found.default_scope == cfg.default_scope
    assert 'init_cfg' not in str(found.model)
    if 'test_dataloader' in cfg:
        want = cfg.test_dataloader.dataset.to_dict()
        got = found.test_dataloader.dataset
        assert _values(got.get('pipeline')) == _values(want.get('pipeline'))
        assert got.type == want['type']


def test_formatted_text_and_odd_values_are_read(monkeypatch):
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', FormatCode)
    cfg = Config(
        dict(
            default_scope='lightvit_dense',
            model=dict(
                type='lightvit_dense.MAE',
                backbone={'type': 'lightvit_dense.Hiera', '1-2': [(), {}], 'x': -float('inf')},
                note="a 'quoted' \\ line\nand another " * 20,
            ),
        )
    )
    found = recorded_config(cfg.pretty_text, 'FILE').model
    assert found.to_dict() == cfg.model.to_dict()


@pytest.mark.parametrize(
    'value',
    [
        "__import__('pathlib').Path('MARK').touch()",
        'open("MARK", "w")',
        'dict(**{"type": 1})',
        'dict([("type", "x")])',
        '[x for x in (1,)]',
        '(lambda: 1)()',
        "f'{1}'",
        'print',
        "'a'.join([])",
        '1 + 1',
        'dict(type=torch.nn.Linear)',
    ],
)
def test_anything_but_literals_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'bad.pth.*plain data.*is no literal.*config='):
        recorded_config(f'model = dict(a=[{value}])', 'bad.pth')
    assert not (tmp_path / 'MARK').exists()


def test_other_statements_are_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "import os\nopen('MARK', 'w')\nwork_dir = open('MARK', 'w')\nmodel = dict(a=1)\n"
    assert read_text(text, 'FILE') == dict(model=dict(a=1))
    assert not (tmp_path / 'MARK').exists()


@pytest.mark.parametrize('text', ['model = (', '(' * 5000, 'model = "\0"'])
def test_broken_text_is_one_error(text):
    with pytest.raises(UserError, match='cannot be read as plain data'):
        recorded_config(text, 'FILE')


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ("model = dict(type='os.system', command='true')", 'os.system'),
        ("model = dict(type='mmengine.dump', obj=1, file='x')", 'mmengine.dump'),
        ("model = dict(type='mmdet.LAD', teacher_config='x.py')", 'mmdet.LAD'),
        ("model = dict(type='lightvit_dense.MEA')", "Did you mean 'MAE'"),
        ("model = dict(type='lightvit_dense.errors.run_tool')", 'lightvit_dense.errors.run_tool'),
        (f"model = dict({HEAD}, x=[dict(type='antigravity.X')])", 'antigravity'),
        (f"model = dict({HEAD}, _scope_='antigravity')", 'antigravity'),
        (f"model = dict({HEAD}, nms=dict(type='print(1)'))", r'print\(1\)'),
        (f'model = dict({HEAD}, x=dict(type=3))', 'type=3'),
        (f"default_scope = 'antigravity'\nmodel = dict({HEAD})", 'default_scope'),
        (TESTED % "dataset=dict(pipeline=[dict(type='os.x')])", 'os.x'),
        (TESTED % "dataset=dict(pipeline=[]), collate_fn=dict(type='os.x')", 'os.x'),
        (f"model = dict({HEAD}, x=dict(type='TimmTeacher', name='hf-hub:a/b'))", 'hf-hub:a/b'),
        ('x = 1', 'has no model'),
        ('model = 3', 'has no model'),
    ],
)
def test_what_a_file_may_not_build_is_refused(text, match):
    with pytest.raises(UserError, match=match):
        recorded_config(text, 'FILE')


def test_the_type_of_a_foreign_data_set_is_left_out():
    text = TESTED % "dataset=dict(type='evil.Set', data_root='/', pipeline=[])"
    assert recorded_config(text, 'FILE').test_dataloader == dict(dataset=dict(pipeline=[]))


def test_a_fresh_process_knows_every_name_of_the_shipped_configs() -> None:
    """Names must not depend on what was imported before, as it is in this process."""
    code = (
        'from lightvit_dense.apis.recorded import _registered\n'
        "print(*_registered('lightvit_dense', 'file'))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    texts = [path.read_text() for path in CONFIGS.rglob('*.py')]
    names = {name for text in texts for name in re.findall(r"type='lightvit_dense\.(\w+)'", text)}
    assert len(names) > 50
    assert names - set(done.stdout.split()) == set()
