import os
import pickle

import numpy as np
import pytest
from mmengine.registry import DATASETS
from sklearn.datasets import load_sample_images

from lightvit_dense.datasets import CIFAR100, DatasetError, LoadImage, LoadRandomResizedCrop
from lightvit_dense.datasets.classification.cifar import read_pickle

NAMES = sorted(f'class_{n:02d}' for n in range(100))


def patches(count):
    """Pieces of real photographs, uint8 [N, 32, 32, 3]."""
    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    corners = [(n % 2, rng.integers(0, 390), rng.integers(0, 600)) for n in range(count)]
    return np.stack([photos[n][y : y + 32, x : x + 32] for n, y, x in corners])


def planes(images):
    """[N, 32, 32, 3] -> [N, 3*32*32], colour by colour, as the published files have them."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def pickled(count, label):
    return pickle.dumps({'data': planes(patches(count)), 'fine_labels': [label]})


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Both versions of the same 12 images to train and 5 to test."""
    root = tmp_path_factory.mktemp('cifar')
    python, binary = root / 'cifar-100-python', root / 'cifar-100-binary'
    python.mkdir()
    binary.mkdir()
    images, labels = patches(17), [5, 99, 0, 5, 42, 7, 7, 0, 99, 5, 1, 2, 3, 99, 5, 0, 8]
    meta = {'fine_label_names': NAMES, 'coarse_label_names': ['a', 'b']}
    (python / 'meta').write_bytes(pickle.dumps(meta, protocol=2))
    (binary / 'fine_label_names.txt').write_text('\n'.join(NAMES) + '\n\n')
    for split, part in (('train', slice(12)), ('test', slice(12, 17))):
        rows, fine = planes(images[part]), labels[part]
        besides = dict(coarse_labels=[n % 2 for n in fine], filenames=[b'%d' % n for n in fine])
        content = dict(besides, data=rows, fine_labels=fine, batch_label=split)
        (python / split).write_bytes(pickle.dumps(content, protocol=2))
        head = np.array([[n % 2, n] for n in fine], np.uint8)
        (binary / f'{split}.bin').write_bytes(np.concatenate([head, rows], 1).tobytes())
    return root, images, labels


def build(root, split='train', **kwargs):
    cfg = dict(type='lightvit_dense.CIFAR100', data_root=str(root), split=split)
    return DATASETS.build(cfg | kwargs)


@pytest.mark.parametrize('folder', ['', 'cifar-100-python', 'cifar-100-binary'])
def test_pixels_and_labels_of_both_versions(world, folder):
    root, images, labels = world
    for split, part in (('train', slice(12)), ('test', slice(12, 17))):
        dataset = build(root / folder, split, pipeline=[dict(type='lightvit_dense.LoadImage')])
        assert dataset.labels().tolist() == labels[part]
        assert dataset.metainfo['classes'] == tuple(NAMES)
        for number, image in enumerate(images[part]):
            item = dataset[number]
            assert np.array_equal(item['img'][..., ::-1], image)
            assert item['img_path'] == f'{split}/{number:05d}.ppm'
            assert item['gt_label'] == labels[part][number]


def test_both_loaders_know_the_images(world):
    root, images, _ = world
    info = build(root).get_data_info(3)
    assert np.array_equal(LoadImage(color='rgb')(dict(info))['img'], images[3])
    whole = LoadRandomResizedCrop(32, scale=(1, 1), ratio=(1, 1))(dict(info))
    assert np.array_equal(whole['img'], images[3])
    assert whole['ori_shape'] == (32, 32)


def test_subsets_share_the_images(world):
    root, images, labels = world
    dataset = build(root, pipeline=[dict(type='lightvit_dense.LoadImage', color='rgb')])
    part = dataset.get_subset([8, 2])
    assert part.storage is dataset.storage
    assert np.array_equal(part[0]['img'], images[8])
    small = build(root, fraction=0.34)
    assert sorted(small.labels().tolist()) == sorted(set(labels[:12]))
    again = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(again[11]['img'], images[11])
    with pytest.raises(FileNotFoundError, match='has no image'):
        dataset.storage.read('train/00012.ppm')


class Evil:
    def __reduce__(self):
        return os.system, ('touch hacked',)


@pytest.mark.parametrize('thing', [Evil(), os.getcwd, np.float64])
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_pickles_cannot_run_code(thing, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'train'
    path.write_bytes(pickle.dumps({'data': thing}, protocol=protocol))
    with pytest.raises(DatasetError, match=r'train: is (not opened|no pickle)'):
        read_pickle(path)
    assert not (tmp_path / 'hacked').exists()


def test_pickles_cannot_change_a_class(tmp_path):
    (tmp_path / 'train').write_bytes(b'cnumpy\nndarray\n}b.')  # sets the state of the class
    with pytest.raises(DatasetError, match=r'the state of .*ndarray.* was not allowed'):
        read_pickle(tmp_path / 'train')


@pytest.mark.parametrize(
    ('name', 'make', 'message'),
    [
        ('train', lambda old: old[:900], 'is no pickle, or truncated|damaged'),
        ('train', lambda old: b'', 'is no pickle, or truncated'),
        ('train', lambda old: pickle.dumps([1]), "has no 'data'"),
        ('train', lambda old: pickle.dumps({'data': 1}), "has no 'fine_labels'"),
        ('train', lambda old: pickled(2, 1), r'images are uint8 \(2, 3072\) for 1 labels'),
        (
            'train',
            lambda old: pickled(1, 100),
            '00000.ppm has the label 100, out of the range',
        ),
        ('meta', lambda old: pickle.dumps({}), "has no 'fine_label_names'"),
    ],
)
def test_damaged_pickles(world, tmp_path, name, make, message):
    for each in ('train', 'meta'):
        content = (world[0] / 'cifar-100-python' / each).read_bytes()
        (tmp_path / each).write_bytes(make(content) if each == name else content)
    with pytest.raises(DatasetError, match=message):
        build(tmp_path)


def test_a_truncated_binary(world, tmp_path):
    for name in ('train.bin', 'fine_label_names.txt'):
        content = (world[0] / 'cifar-100-binary' / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-5] if name == 'train.bin' else content)
    with pytest.raises(DatasetError, match=r'36883 bytes are no whole number of images'):
        build(tmp_path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r'cifar-100-python/meta: this file of CIFAR-100 does'):
        build(tmp_path)
    files = CIFAR100.required_files(str(tmp_path), 'test')
    assert [name.rpartition('/')[2] for name in files] == ['meta', 'test']
