"""Names, folders and files as lightvit_dense.load finds them."""

import os

import pytest

from lightvit_dense.apis import files
from lightvit_dense.apis.files import find, find_config, in_folder
from lightvit_dense.apis.loading import load
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


def test_without_any_configs_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files.lightvit_dense, '__file__', str(tmp_path / 'site/x/__init__.py'))
    with pytest.raises(UserError, match=r'not part of an installed package.*config='):
        find('det')


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
    with pytest.raises(UserError) as error:
        load('coco/det')
    text = str(error.value)
    for part in (
        f'{place}/weights/coco/det.safetensors or .pth',
        f'{place}/weights/det.safetensors or .pth',
        'work_dirs/det/',
        'tools/train.py configs/coco/det.py',
        'Nothing is downloaded',
    ):
        assert part in text


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
