"""Checks of data sets: what is there, what is missing, and what is damaged."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from lightvit_dense.datasets import DatasetError
from lightvit_dense.datasets.checking import CHECKS, Request
from lightvit_dense.datasets.checking.coco import ANNOTATIONS
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from tests.helpers import data_sets
from tests.helpers.data_sets import write_image
from tests.helpers.toy_world import build


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root, sizes = tmp_path_factory.mktemp('toy') / 'world', dict(train=6, val=7, portraits=12)
    return build(root, 'coco', 'imagenet', 'ade20k', seed=4, image_size=48, **sizes).root


@pytest.fixture
def root(world, tmp_path):
    return shutil.copytree(world, tmp_path / 'world')


def check(name, root, **kwargs):
    return CHECKS[name](str(root), Request(**kwargs))


def state(report):
    return {row.part: (row.found, row.expected, row.opened, row.state) for row in report.rows}


def test_samples_are_spread_evenly():
    assert Request(samples=3).places(11) == [0, 5, 10]
    assert Request(samples=1).places(11) == [0]
    assert Request(samples=0).places(11) == []
    assert Request(samples=20).places(3) == Request(samples=1, full=True).places(3) == [0, 1, 2]


def test_a_whole_set_is_a_subset_of_the_published_one(world):
    told = []
    for name in ('coco', 'imagenet', 'ade20k'):
        tell = lambda *args: told.append(args)  # noqa: E731
        report = check(name, world / name, full=True, progress=tell)
        assert report.ok, report.problems
        json.dumps(report.to_dict())
    assert ('opening images of train2017', 6, 6) in told


def test_real_names_are_held_against_published_numbers(world):
    coco, ade20k, imagenet = (
        state(check(name, world / name, samples=2)) for name in ('coco', 'ade20k', 'imagenet')
    )
    assert coco['images of train2017'] == (6, 118287, 2, 'a subset')
    assert coco['annotations of val2017'][1:] == (ANNOTATIONS['val'], 0, 'a subset')
    assert ade20k['images of training'] == (6, 20210, 2, 'a subset')
    assert imagenet['images of val'] == (7, 50000, 2, 'a subset')
    assert imagenet['classes of train'][:2] == (6, 1000)


@pytest.mark.parametrize('name', CHECKS)
def test_an_empty_folder_lacks_everything(tmp_path, name):
    report = check(name, tmp_path)
    assert not report.ok
    assert {problem.kind for problem in report.problems} == {'missing'}
    assert all(problem.remedy for problem in report.problems)
    assert all(row.state == 'missing' for row in report.rows)


# ---------------------------------------------------------------- COCO


def edit(root, change, split='train'):
    path = root / f'coco/annotations/instances_{split}2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_coco_missing_and_damaged_files(root):
    coco = root / 'coco'
    (coco / 'train2017/000000000002.jpg').unlink()
    whole = (coco / 'train2017/000000000003.jpg').read_bytes()
    (coco / 'train2017/000000000003.jpg').write_bytes(whole[:-200])
    write_image(coco / 'val2017/000000000001.jpg', (10, 20))
    (coco / 'val2017/more.jpg').write_bytes(whole)
    report = check('coco', coco, full=True)
    damaged, missing, size = report.problems
    assert (missing.kind, missing.files) == ('missing', ('000000000002.jpg',))
    assert '1 of 6 images that the annotations list' in missing.what
    assert damaged.kind == 'damaged'
    assert '000000000003.jpg: truncated' in damaged.files[0]
    assert 'has the size (10, 20), its annotations are for (48, 48)' in size.files[0]
    assert any('1 files that the annotations do not list' in note for note in report.notes)
    assert state(report)['images of train2017'][:3] == (5, 118287, 5)


def test_coco_damaged_annotations(root):
    coco = root / 'coco'
    edit(root, lambda c: c['annotations'][2]['segmentation'].update(size=[1, 2]))
    (coco / 'annotations/instances_val2017.json').unlink()
    report = check('coco', coco)
    assert [problem.kind for problem in report.problems] == ['damaged', 'missing']
    assert 'annotation 3: its run lengths' in report.problems[0].what
    assert 'instances_val2017.json' in report.problems[1].what
    assert 'annotations_trainval2017.zip' in report.problems[1].remedy


def test_coco_notes_what_training_leaves_out(root):
    def change(content):
        first, second, third, *_ = notes = content['annotations']
        first['iscrowd'], second['bbox'], third['bbox'] = 1, [60, 0, 10, 10], [5, 5, 0, 10]
        bare = content['images'][-1]['id']
        content['annotations'] = [note for note in notes if note['image_id'] != bare]

    edit(root, change)
    report = check('coco', root / 'coco')
    assert report.ok
    note, _ = report.notes
    left_out = ('1 objects outside of the image; 1 objects marked as crowds', '1 images without')
    assert all(words in note for words in ('1 objects of a box below a pixel', *left_out))


LEAVE_NOTHING = {
    'no usable objects in 6 images. Left out:': dict(area=0),
    'objects in 6 images. Left out:': dict(iscrowd=1),
    'boxes are fractions': dict(bbox=[0.1, 0.1, 0.5, 0.5]),
    "has the iscrowd '0'": dict(iscrowd='0'),
    "has the category_id '1'": dict(category_id='1'),
}


@pytest.mark.parametrize('words', LEAVE_NOTHING)
def test_coco_is_refused_as_training_refuses_it(root, words):
    changed = LEAVE_NOTHING[words]
    edit(root, lambda content: [note.update(changed) for note in content['annotations']])
    (problem,) = check('coco', root / 'coco', splits=('train',)).problems
    assert problem.kind == 'damaged'
    assert words in problem.what
    notes = 'annotations/instances_train2017.json'
    names = [
        entry['name'] for entry in json.loads((root / 'coco' / notes).read_text())['categories']
    ]
    with pytest.raises(DatasetError, match=re.escape(words)):
        data_sets.build(
            'CocoDataset',
            root / 'coco',
            ann_file=notes,
            data_prefix=dict(img='train2017'),
            metainfo=dict(classes=names),
            pipeline=[],
        )


# ---------------------------------------------------------------- ADE20K


def test_ade20k_missing_and_damaged_files(root):
    ade = root / 'ade20k'
    maps = ade / 'annotations/training'
    (maps / 'ADE_train_00000001.png').unlink()
    (ade / 'images/validation/ADE_val_00000002.jpg').unlink()
    wrong = [np.full((48, 48), 151), np.ones((48, 40)), np.ones((48, 48, 3))]
    for number, labels in enumerate(wrong, 2):
        Image.fromarray(labels.astype(np.uint8)).save(maps / f'ADE_train_{number:08d}.png')
    (maps / 'ADE_train_00000005.png').write_bytes(b'')
    table = ade / 'objectInfo150.txt'
    table.write_text(table.read_text().replace('person', 'cat'))
    report = check('ade20k', ade)
    (damaged,) = [p for p in report.problems if p.kind == 'damaged' and p.files]
    assert damaged.what.startswith('4 of 5 pairs of training')
    reasons = ('holds the id 151', 'size (48, 40)', "kind 'RGB'", 'cannot be read')
    assert all(map(str.__contains__, damaged.files, reasons))
    text = ' '.join(map(str, report.problems))
    assert 'annotations/training: 1 of 6 files (ADE_train_00000001)' in text
    assert 'images/validation: 1 of 7 files (ADE_val_00000002)' in text
    assert "class 13 is 'cat'" in text
    table.unlink()
    assert any('order of the classes' in note for note in check('ade20k', ade).notes)


def test_ade20k_labels_that_teach_nothing(root):
    ade = root / 'ade20k'
    notes = check('ade20k', ade).notes
    assert any(re.fullmatch(r'.*validation: \d+ pixels of \d+ classes', note) for note in notes)
    for path in (ade / 'annotations/training').iterdir():
        Image.fromarray(np.full((48, 48), 1, np.uint8)).save(path)
    (problem,) = check('ade20k', ade).problems
    assert "all labelled pixels are of the class 'wall'" in problem.what


# ---------------------------------------------------------------- classification


def test_imagenet_missing_and_damaged_files(root):
    imagenet = root / 'imagenet'
    for path in (imagenet / 'train/book').iterdir():
        path.unlink()
    (imagenet / 'val/new').mkdir()
    (imagenet / 'val/new/a.JPEG').write_bytes(b'\xff\xd8none')
    text = ' '.join(map(str, check('imagenet', imagenet).problems))
    assert 'the images of 1 classes (book)' in text
    assert 'classes that only one of train and val has (new)' in text
    assert 'new/a.JPEG: truncated' in text


def test_imagenet_in_an_lmdb_and_flat(root):
    imagenet = root / 'imagenet'
    write_lmdb(str(imagenet), str(imagenet / 'imagenet.lmdb'))
    before = state(check('imagenet', imagenet, full=True))
    shutil.rmtree(imagenet / 'train')
    report = check('imagenet', imagenet, full=True)
    assert report.ok
    assert state(report) == before
    folders = list((imagenet / 'val').iterdir())
    for folder in folders:
        for path in folder.iterdir():
            path.rename(imagenet / 'val' / path.name)
        folder.rmdir()
    report = check('imagenet', imagenet, splits=('val',))
    assert report.ok
    assert state(report)['images of val'][0] == 7
    assert 'lie in no class folders' in report.notes[0]


def test_a_transfer_set(tmp_path):
    (tmp_path / 'annotations').mkdir()
    for split, name, label in (('trainval', 'Abyssinian', 1), ('test', 'beagle', 2)):
        stems = [f'{name}_{number}' for number in range(4)]
        for stem in stems:
            write_image(tmp_path / f'images/{stem}.jpg')
        lines = [f'{stem} {label} 1 1\n' for stem in stems]
        (tmp_path / f'annotations/{split}.txt').write_text(''.join(lines))
    report = check('pets', tmp_path)
    assert report.ok, report.problems
    assert state(report)['images of train'] == (4, 3680, 4, 'a subset')
    (tmp_path / 'images/Abyssinian_2.jpg').write_bytes(b'')
    (tmp_path / 'images/beagle_1.jpg').unlink()
    train, test = check('pets', tmp_path).problems
    assert (train.kind, test.kind) == ('damaged', 'damaged')
    assert 'Abyssinian_2.jpg: zero bytes' in train.files[0]
    assert 'beagle_1' in test.what
