"""A config from one's own data: written, trained, tested and used, for every task."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightvit_dense import apis
from lightvit_dense.errors import UserError
from lightvit_dense.newdata.files import split
from lightvit_dense.newdata.rules import choose
from lightvit_dense.newdata.start import Start
from lightvit_dense.utils.in_configs import changed, read_classes
from tests.helpers.data_sets import write_image
from tests.helpers.small_dense import write_film
from tests.helpers.tools import call_tool

SMALL = ('--init', 'dmae-dinov2_toyworld')
NAMES = ('a toad', 'a dog', "newt's")


def write_objects(root: Path, count: int = 8, masks: bool = True) -> Path:
    """Write photographs and a COCO file whose annotation ids begin at 0; returns the file."""
    images, notes = [], []
    for number in range(count):
        name = f'photos/{number}.jpg'
        write_image(root / name, (60, 80), number)
        images.append(dict(id=number, file_name=name, width=80, height=60))
        x, y = 5 + number, 8
        note = dict(id=number, image_id=number, category_id=number % 3 + 1, iscrowd=0, area=900)
        mask = dict(segmentation=[[x, y, x + 30, y, x + 30, y + 30, x, y + 30]]) if masks else {}
        notes.append(dict(note, bbox=[x, y, 30, 30], **mask))
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, 1)]
    file = root / 'labels.json'
    file.write_text(json.dumps(dict(images=images, annotations=notes, categories=categories)))
    return file


def write_maps(root: Path, count: int = 6) -> None:
    """Write photographs, and label maps of ids 0 to 2 with a palette."""
    for number in range(count):
        write_image(root / f'images/{number}.jpg', (60, 80), number)
        labels = Image.fromarray((np.indices((60, 80))[1] // 30).astype('u1'))
        labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        (root / 'labels').mkdir(exist_ok=True)
        labels.save(root / f'labels/{number}.png')


def write_classes(root: Path, count: int = 5) -> None:
    """Write class folders."""
    for name in NAMES:
        for number in range(count):
            write_image(root / name / f'{number}.png', (40, 30), number)


def write_videos(root: Path, count: int = 3) -> None:
    """Write videos of 24 frames with boxes."""
    root.mkdir(parents=True)
    for number in range(count):
        write_film(root / f'walk{number}.avi', 24)
        (root / f'walk{number}.txt').write_text('10,12,20,16\n' * 24)


WRITERS = {
    'detection': write_objects,
    'segmentation': write_maps,
    'classification': write_classes,
    'tracking': write_videos,
    'pretraining': write_classes,
}


@pytest.fixture
def new(tmp_path, monkeypatch):
    """Run the tool in a folder of its own; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(task, *words, status=0):
        return call_tool('new_config.py', task, '--out', 'own.py', *words, status=status)

    return run


@pytest.mark.parametrize('task', WRITERS)
def test_from_data_to_results(task, new, tmp_path):
    data = tmp_path / "it's my data"
    WRITERS[task](data)
    options = ['--teacher', SMALL[1]] if task == 'pretraining' else []
    options += [] if task == 'tracking' else ['--size', 64]
    printed = new(task, '--data', data, *SMALL, '--epochs', 1, *options)
    text = (tmp_path / 'own.py').read_text()
    assert len(text.splitlines()) <= 40
    assert not any(name in text for name in NAMES)
    assert 'images' in printed or task == 'tracking'
    call_tool('train.py', 'own.py', '--preflight')
    call_tool('train.py', 'own.py')
    checkpoint = next(Path('work_dirs/own').glob('*_[0-9]*.pth'))
    assert str(checkpoint) in text or task == 'pretraining'
    if task == 'pretraining':
        assert Path('work_dirs/own/backbone.safetensors').is_file()
        return
    call_tool('test.py', 'own.py', checkpoint, '--json', 'metrics.json')
    assert json.loads(Path('metrics.json').read_text())['metrics']
    if task != 'tracking':
        call_tool('infer.py', 'own.py', checkpoint, data, '--recursive', '--out', 'found')


@pytest.mark.parametrize(
    ('names', 'groups', 'fraction', 'chosen'),
    [
        ('abcdefghij', 'xxxxxyyyyz', 0.2, 'ai'),
        ('ab', 'xx', 0.1, 'b'),
        ('abc', 'xyz', 0.4, 'b'),
    ],
)
def test_the_split_takes_a_share_of_every_group(names, groups, fraction, chosen):
    flags = split(list(names), list(groups), fraction, seed=0)
    assert ''.join(name for name, flag in zip(names, flags, strict=True) if flag) == chosen


DETECTION = '0.0001 * (batch / 16) ** 0.5'


@pytest.mark.parametrize(
    ('gpu', 'task', 'start', 'images', 'side', 'given', 'expected'),
    [
        (0, 'detection', Start(), 100, 500, {}, (320, 4, 40, 1000, DETECTION)),
        (80, 'detection', Start(), 100, 500, {}, (512, 16, 167, 1000, DETECTION)),
        (12, 'detection', Start(), 10**5, 900, {}, (640, 8, 8, 90000, DETECTION)),
        (80, 'detection', Start(), 3, 90, {}, (320, 3, 1000, 1000, DETECTION)),
        (
            0,
            'detection',
            Start(),
            9,
            90,
            dict(size=64, batch=2, epochs=1),
            (64, 2, 1, 4, DETECTION),
        ),
        (
            0,
            'segmentation',
            Start('x', patch=8, width=128),
            1,
            90,
            {},
            (96, 2, 1000, 1000, '0.001 * (batch / 8) ** 0.5'),
        ),
        (
            0,
            'pretraining',
            Start(),
            20,
            300,
            {},
            (224, 20, 1000, 1000, '0.0006 * (batch / 256) ** 0.5'),
        ),
    ],
)
def test_the_rules(gpu, task, start, images, side, given, expected, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: gpu > 0)
    monkeypatch.setattr('torch.cuda.mem_get_info', lambda: (0, gpu * 2**30))
    found = choose(task, start, images, [side] * images, **given)
    assert (
        found.size,
        found.batch,
        found.epochs,
        found.steps,
        found.rate,
    ) == expected


def test_classes_are_read_when_a_config_is(tmp_path):
    (tmp_path / 'list.txt').write_text('\ufeffa\n\nb c\n', encoding='utf-8')
    (tmp_path / 'coco.json').write_text(
        json.dumps(dict(categories=[dict(name='b'), dict(name='a')]))
    )
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
    assert changed(steps, Resize=dict(scale=(4, 4))) == [
        dict(type='mmdet.Resize', scale=(4, 4)),
        steps[1],
    ]
    assert steps[0]['scale'] == (8, 8)
    with pytest.raises(UserError, match="Did you mean 'Resize'"):
        changed(steps, Resise={})


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
