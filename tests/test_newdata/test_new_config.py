"""What is chosen for one's own data, and what is told of data that cannot be used."""

import json
import re
import shutil
import sys
from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from lightvit_dense import apis
from lightvit_dense.errors import UserError
from lightvit_dense.newdata.files import split
from lightvit_dense.newdata.rules import choose
from lightvit_dense.newdata.start import Start
from lightvit_dense.utils.config_helpers import read_classes, update_pipeline
from tests.helpers.data_sets import write_image
from tests.helpers.own_data import NAMES, write_classes, write_maps, write_objects
from tests.helpers.tools import call_tool

SMALL = ('--init', 'dmae-dinov2_toyworld')


@pytest.fixture
def new(tmp_path, monkeypatch):
    """Run the tool in a folder of its own; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(task, *words, status=0):
        return call_tool('new_config.py', task, '--out', 'own.py', *words, status=status)

    return run


@pytest.mark.parametrize(
    ('names', 'groups', 'fraction', 'chosen'),
    [('abcdefghij', 'xxxxxyyyyz', 0.2, 'ai'), ('ab', 'xx', 0.1, 'b'), ('abc', 'xyz', 0.4, 'b')],
)
def test_the_split_takes_a_share_of_every_group(names, groups, fraction, chosen):
    args = Namespace(val_fraction=fraction, seed=0)
    assert ''.join(split(list(names), names, list(groups), args)['val']) == chosen


DETECTION = '0.0001 * (batch / 16) ** 0.5'
SEGMENTATION, PRETRAINING = '0.001 * (batch / 8) ** 0.5', '0.0006 * (batch / 256) ** 0.5'
SHORT, NARROW = dict(size=64, batch=2, epochs=1), Start('x', patch=8, width=128)


@pytest.mark.parametrize(
    ('gpu', 'task', 'start', 'images', 'side', 'given', 'expected'),
    [
        (0, 'detection', Start(), 100, 500, {}, (320, 4, 40, 1000, DETECTION)),
        (80, 'detection', Start(), 100, 500, {}, (512, 16, 167, 1000, DETECTION)),
        (12, 'detection', Start(), 10**5, 900, {}, (640, 8, 8, 90000, DETECTION)),
        (80, 'detection', Start(), 3, 90, {}, (320, 3, 1000, 1000, DETECTION)),
        (0, 'detection', Start(), 9, 90, SHORT, (64, 2, 1, 4, DETECTION)),
        (0, 'segmentation', NARROW, 1, 90, {}, (96, 2, 1000, 1000, SEGMENTATION)),
        (0, 'pretraining', Start(), 20, 300, {}, (224, 20, 1000, 1000, PRETRAINING)),
    ],
)
def test_the_rules(gpu, task, start, images, side, given, expected, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: gpu > 0)
    monkeypatch.setattr('torch.cuda.mem_get_info', lambda: (0, gpu * 2**30))
    found = choose(task, start, images, [side] * images, **given)
    assert (found.size, found.batch, found.epochs, found.steps, found.rate) == expected


def test_classes_are_read_when_a_config_is(tmp_path):
    (tmp_path / 'list.txt').write_text('\ufeffa\n\nb c\n', encoding='utf-8')
    (tmp_path / 'coco.json').write_text('{"categories": [{"name": "b"}, {"name": "a"}]}')
    for name in ('folder/b', 'folder/a', 'empty'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'double.txt').write_text('a\na\n')
    found = {
        name: read_classes(str(tmp_path / name)) for name in ('list.txt', 'coco.json', 'folder')
    }
    assert found == {'list.txt': ('a', 'b c'), 'coco.json': ('b', 'a'), 'folder': ('a', 'b')}
    for name, words in dict(
        none='cannot be read', empty='no class', **{'double.txt': "'a' twice"}
    ).items():
        with pytest.raises(UserError, match=words):
            read_classes(str(tmp_path / name))


def test_pipelines_are_changed_by_name():
    steps = [dict(type='mmdet.Resize', scale=(8, 8)), dict(type='Pad')]
    assert update_pipeline(steps, Resize=dict(scale=(4, 4))) == [
        dict(type='mmdet.Resize', scale=(4, 4)),
        steps[1],
    ]
    assert steps[0]['scale'] == (8, 8)
    with pytest.raises(UserError, match="Did you mean 'Resize'"):
        update_pipeline(steps, Resise={})


def test_a_config_inherits_from_the_package(tmp_path, monkeypatch):
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'lightvit_dense::coco/maskrcnn_dmae_tiny.py'\n")
    shipped = apis.load_config(Path(__file__).parents[2] / 'configs/coco/maskrcnn_dmae_tiny.py')
    assert apis.load_config(own).to_dict() == shipped.to_dict()
    installed = tmp_path / 'site'
    (installed / '.mim/configs/coco').mkdir(parents=True)
    (installed / '.mim/configs/coco/maskrcnn_dmae_tiny.py').write_text('seen = 1\n')
    monkeypatch.setattr('lightvit_dense.compat.package_configs._PACKAGE', installed)
    assert apis.load_config(own).seen == 1


def write_two_kinds(root: Path) -> None:
    """Write objects in COCO's format beside those of labelme."""
    write_objects(root)
    (root / 'more').mkdir()
    (root / 'more/a.json').write_text('{"shapes": []}')


def write_copies(root: Path) -> None:
    """Write a COCO file whose images are there twice."""
    write_objects(root / 'one')
    shutil.copytree(root / 'one/photos', root / 'two/photos')


def write_grey(root: Path) -> None:
    write_maps(root, 2)
    for path in (root / 'labels').iterdir():
        Image.new('L', (80, 60)).save(path)


def write_few_names(root: Path) -> None:
    write_maps(root)
    (root / 'classes.txt').write_text('a\nb\n')


def write_table(root: Path, text: str = 'a.jpg,b\nb.jpg\n') -> None:
    """Write a table, by default with a line too short."""
    write_image(root / 'a.jpg')
    (root / 'table.csv').write_text(text)


def write_labelme(root: Path) -> None:
    root.mkdir(exist_ok=True)
    (root / 'a.json').write_text('{"shapes": []}')


ERRORS = [
    ('detection', None, [], 'does not exist'),
    ('detection', write_classes, [], 'holds no annotations: needs a COCO file'),
    ('detection', write_two_kinds, [], 'several kinds, give one place of .*labels.json'),
    ('detection', write_copies, [], '2 folders may have the images of train, .*one, .*two'),
    ('detection', lambda root: write_objects(root, 1), [], 'cannot split 1 image or sequence'),
    ('detection', write_objects, ['--val-fraction', 1], '--val-fraction 1.0: must lie between'),
    ('detection', write_objects, ['--size', 50], '--size 50: must be a multiple of 32, such as 64'),
    ('detection', write_objects, ['--batch-size', 0], '--batch-size 0: must be at least 1'),
    ('detection', write_objects, ['--init', 'dmae_vit_tiny'], "Did you mean 'dmae_vit-tiny'"),
    ('detection', write_objects, ['--teacher', 'x'], '--teacher is for pre-training'),
    ('detection', write_labelme, [], 'pip install "supervision'),
    ('segmentation', write_classes, [], 'no folder of label maps'),
    ('segmentation', write_grey, [], r'hold the ids \[0\] alone'),
    ('segmentation', write_few_names, [], 'names 2 classes, but the label maps hold the id 2'),
    ('classification', write_maps, ['--val', 'none'], 'none: this folder does not exist'),
    ('classification', write_table, [], r"the line \['b.jpg'\] lacks a column"),
    ('classification', partial(write_table, text='a.jpg;b\nb.jpg;\n'), [], 'or no class. Fill'),
    ('classification', partial(write_table, text='a.jpg,b\nb.jpg,b\n'), [], "of the class 'b'"),
    ('pretraining', write_labelme, [], 'holds no image'),
    ('pretraining', write_classes, ['--teacher', 'scratch'], 'must be the weights of a plain ViT'),
    ('tracking', write_classes, [], 'groundtruth.txt'),
]


@pytest.mark.parametrize(('task', 'write', 'words', 'expected'), ERRORS)
def test_what_cannot_be_used_is_told(task, write, words, expected, new, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    if write:
        write(tmp_path / 'data')
    printed = new(task, '--data', tmp_path / 'data', *words, status=2)
    assert re.search(expected, ' '.join(printed.split())), printed
    assert not (tmp_path / 'own.py').exists()


def test_a_config_is_not_written_over(new, tmp_path):
    (tmp_path / 'own.py').write_text('mine')
    assert 'own.py exists' in new('detection', '--data', tmp_path, status=2)


def test_parts_are_told_by_their_names(new, tmp_path):
    data = tmp_path / 'data'
    for part in ('train2017', 'val2017', 'unlabeled2017'):
        write_objects(data / part, 3, masks=False)
        (data / 'annotations').mkdir(exist_ok=True)
        shutil.move(data / part / 'labels.json', data / f'annotations/instances_{part}.json')
    (data / 'annotations/instances_unlabeled2017.json').unlink()
    new('detection', '--data', data)
    cfg = apis.load_config('own.py')
    found = [
        (Path(loader.dataset.ann_file).name, Path(loader.dataset.data_prefix.img).name)
        for loader in (cfg.train_dataloader, cfg.val_dataloader)
    ]
    assert found == [(f'instances_{part}.json', part) for part in ('train2017', 'val2017')]
    assert cfg.model.roi_head.mask_head is None
    assert cfg.model.backbone.init_cfg is None
    assert not (tmp_path / 'own_data').exists()
    assert cfg.val_evaluator.metric == ['bbox']


@pytest.mark.parametrize('change', [list.reverse, list.pop])
def test_parts_may_list_their_categories_differently(new, tmp_path, change):
    for part in ('train', 'val'):
        write_objects(tmp_path / 'data' / part, 4, masks=False)
    path = tmp_path / 'data/val/labels.json'
    content = json.loads(path.read_text())
    order = [c['name'] for c in content['categories']]
    change(content['categories'])
    kept = {c['id'] for c in content['categories']}
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] in kept]
    path.write_text(json.dumps(content))
    new('detection', '--data', tmp_path / 'data')
    parts = [json.loads(Path(f'own_data/{part}.json').read_text()) for part in ('train', 'val')]
    assert [[c['name'] for c in part['categories']] for part in parts] == [order, order]


@pytest.mark.parametrize('sign', [',', ';', '\t'])
def test_a_table_names_the_classes(new, tmp_path, sign):
    write_classes(tmp_path / 'data')
    paths = sorted((tmp_path / 'data').rglob('*.png'))
    lines = [f'{path}{sign}{path.parent.name.upper()}' for path in paths]
    lines[0] = '../' + lines[0].removeprefix(f'{tmp_path}/')
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists/table.csv').write_text(f'File name{sign}Label\n' + '\n'.join(lines))
    new('classification', '--data', tmp_path / 'lists/table.csv', *SMALL)
    assert apis.load_config('own.py').train_dataloader.dataset.classes == tuple(
        sorted(n.upper() for n in NAMES)
    )


@pytest.mark.skipif(not find_spec('supervision'), reason='needs the package supervision')
def test_other_formats_are_converted(new, tmp_path):
    """labelme's polygons become masks, and train and val get the same categories."""
    for part, label in (('train', 'b'), ('val', 'a')):
        write_image(tmp_path / f'data/{part}/1.jpg', (60, 80))
        shape = dict(label=label, shape_type='polygon', points=[[5, 5], [40, 5], [40, 50]])
        entry = dict(shapes=[shape], imagePath='1.jpg', imageWidth=80, imageHeight=60)
        (tmp_path / f'data/{part}/1.json').write_text(json.dumps(entry))
    new('detection', '--data', tmp_path / 'data', *SMALL)
    contents = [
        json.loads((tmp_path / f'own_data/{part}.json').read_text()) for part in ('train', 'val')
    ]
    assert [[c['name'] for c in content['categories']] for content in contents] == [['b', 'a']] * 2
    assert [content['annotations'][0]['category_id'] for content in contents] == [1, 2]
    assert all(len(content['annotations'][0]['segmentation'][0]) >= 6 for content in contents)
