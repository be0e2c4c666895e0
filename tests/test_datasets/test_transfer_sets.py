"""The six transfer sets in the layouts that their makers publish, and mistakes in them."""

import json
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from scipy.io import savemat

from lightvit_dense.datasets import CIFAR100, DatasetError, LoadRandomResizedCrop
from lightvit_dense.datasets.classification.cifar import read_pickle
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from tests.helpers import data_sets
from tests.helpers.data_sets import listed, write_image

PIPELINE = [
    dict(type='lightvit_dense.LoadRandomResizedCrop', size=24),
    dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
    dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
]


def build(kind, root, split='train', **options):
    return data_sets.build(kind, root, split=split, **options)


def structs(**columns):
    """A MATLAB structure array."""
    count = len(next(iter(columns.values())))
    array = np.empty(count, dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        array[name] = values
    return array


def write_flowers(root):
    # Images 1..8 of classes 1..102, out of order as published.
    savemat(root / 'imagelabels.mat', dict(labels=[[77, 1, 102, 77, 2, 1, 1, 2]]))
    savemat(root / 'setid.mat', dict(trnid=[[6, 3]], valid=[[2, 5]], tstid=[[1, 4, 7, 8]]))
    train = [(6, 0), (3, 101), (2, 0), (5, 1)]
    test = [(1, 76), (4, 76), (7, 0), (8, 1)]
    return [[(f'jpg/image_{n:05d}.jpg', label) for n, label in part] for part in (train, test)]


def write_pets(root):
    train = ['Abyssinian_100 1 1 1', 'american_bulldog_7 2 2 1', 'yorkshire_terrier_3 37 2 25']
    test = ['Abyssinian_201 1 1 1', 'yorkshire_terrier_40 37 2 25']
    (root / 'annotations').mkdir()
    for name, lines in (('trainval', train), ('test', test)):
        (root / f'annotations/{name}.txt').write_text('\n'.join(lines))
    rows = [[line.split() for line in lines] for lines in (train, test)]
    return [[(f'images/{row[0]}.jpg', int(row[1]) - 1) for row in part] for part in rows]


def write_aircraft(root):
    order = ['707-320', '727-200', 'DC-9-30 B', 'F/A-18']
    train, val, test = {'1025794': 0, '0034309': 3}, {'0062765': 2}, {'0481847': 1}
    parts = dict(trainval=train | val, train=train, val=val, test=test)
    (root / 'data').mkdir()
    (root / 'data/variants.txt').write_text('\n'.join(order))
    for name, labels in parts.items():
        lines = [f'{number} {order[label]}\n' for number, label in labels.items()]
        (root / f'data/images_variant_{name}.txt').write_text(''.join(lines))
    found = (parts['trainval'], test)
    return [[(f'data/images/{n}.jpg', label) for n, label in part.items()] for part in found]


CAR_NAMES = np.array([f'Maker Type {n} 2012' for n in range(1, 197)], object)


def write_cars(root):
    """The layout of one file."""
    rows = [(f'car_ims/{n:06d}.jpg', *row) for n, row in enumerate([(1, 0), (196, 1), (5, 0)], 1)]
    names, labels, test = zip(*rows, strict=True)
    columns = {'relative_im_path': names, 'bbox_x1': [3, 4, 5], 'class': labels, 'test': test}
    content = dict(annotations=structs(**columns), class_names=CAR_NAMES)
    savemat(root / 'cars_annos.mat', content)
    return [[(name, label - 1) for name, label, flag in rows if flag == which] for which in (0, 1)]


def write_cars_kit(root):
    """The layout of the development kit."""
    (root / 'devkit').mkdir()
    savemat(root / 'devkit/cars_meta.mat', dict(class_names=CAR_NAMES))
    train = structs(fname=['00001.jpg', '00002.jpg'], bbox_x1=[1, 2], **{'class': [14, 196]})
    test = structs(fname=['00001.jpg'], bbox_x1=[1], **{'class': [181]})
    savemat(root / 'devkit/cars_train_annos.mat', dict(annotations=train))
    savemat(root / 'cars_test_annos_withlabels.mat', dict(annotations=test))
    found = [('cars_train/00001.jpg', 13), ('cars_train/00002.jpg', 195)]
    return [found, [('cars_test/00001.jpg', 180)]]


def write_inaturalist(root):
    categories = [dict(id=n, name=str(n), supercategory='Aves') for n in (7, 0, 3)]  # any order
    names = [dict(id=n, name=f'Species {n}', kingdom='Animalia') for n in (0, 3, 7)]
    (root / 'categories.json').write_text(json.dumps(names))
    found = []
    for split, rows in (('train', [(0, 7), (1, 0), (2, 3), (3, 7)]), ('val', [(4, 3)])):
        keys = [f'train_val2018/Aves/{c}/{n:032x}.jpg' for n, c in rows]
        images = [dict(id=n, file_name=key) for (n, _), key in zip(rows, keys, strict=True)]
        shown = [dict(id=n, image_id=n, category_id=c) for n, c in reversed(rows)]
        content = dict(images=images, annotations=shown, categories=categories, licenses=[])
        (root / f'{split}2018.json').write_text(json.dumps(content))
        found.append([(key, [0, 3, 7].index(c)) for (_, c), key in zip(rows, keys, strict=True)])
    return found


SETS = {
    'Flowers102': write_flowers,
    'OxfordPets': write_pets,
    'FGVCAircraft': write_aircraft,
    'StanfordCars': write_cars,
    'StanfordCars kit': write_cars_kit,
    'INaturalist2018': write_inaturalist,
}
NAMES = {
    # their number, and some of them by label
    'Flowers102': (102, {0: 'pink primrose', 76: 'passion flower', 101: 'blackberry lily'}),
    'OxfordPets': (37, {0: 'Abyssinian', 1: 'american bulldog', 36: 'yorkshire terrier'}),
    'FGVCAircraft': (4, {2: 'DC-9-30 B', 3: 'F/A-18'}),
    'StanfordCars': (196, {0: 'Maker Type 1 2012', 195: 'Maker Type 196 2012'}),
    'INaturalist2018': (3, {0: 'Species 0', 1: 'Species 3', 2: 'Species 7'}),
}


def write(name, root):
    """Write a set with its images; return their keys and labels, to train and to test."""
    found = SETS[name](root)
    for number, (key, _) in enumerate(found[0] + found[1]):
        write_image(root / key, seed=number)
    return found


FOLDERS = pytest.mark.parametrize('name', list(SETS))


@FOLDERS
@pytest.mark.parametrize('source', ['folder', 'lmdb'])
def test_images_labels_and_names_of_the_published_layout(name, source, tmp_path):
    kind, expected = name.split()[0], write(name, tmp_path)
    if source == 'lmdb':
        write_lmdb(tmp_path, tmp_path / 'images.lmdb')
    options = dict(source=source, pipeline=PIPELINE)
    datasets = [build(kind, tmp_path, split, **options) for split in ('train', 'test')]
    classes, (count, some) = datasets[0].metainfo['classes'], NAMES[kind]
    assert (len(classes), {place: classes[place] for place in some}) == (count, some)
    for dataset, records in zip(datasets, expected, strict=True):
        assert listed(dataset) == records
        item = dataset[0]
        assert item['inputs'].shape == (3, 24, 24)
        assert (item['data_samples'].img_path, item['data_samples'].gt_label) == records[0]
        content = dataset.get_data_info(0)['storage'].read(records[0][0])
        assert content == (tmp_path / records[0][0]).read_bytes()


@pytest.mark.parametrize('name', ['Flowers102', 'FGVCAircraft'])
def test_published_parts_for_the_choice_of_hyper_parameters(name, tmp_path):
    train, _ = write(name, tmp_path)
    parts = [listed(build(name, tmp_path, split)) for split in ('fit', 'val')]
    assert parts[0] + parts[1] == train
    assert all(parts)
    if name == 'FGVCAircraft':  # the root may also be the inner folder
        assert listed(build(name, tmp_path / 'data'))[0] == ('images/1025794.jpg', 0)


def test_counts_that_are_not_the_published_ones_are_told(tmp_path, monkeypatch):
    log = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'log', lambda level, text, *args: log.append(text))
    write('Flowers102', tmp_path)
    build('Flowers102', tmp_path)
    assert any('4 images of 102 classes, where 2040 of 102 are published' in line for line in log)
    assert any('99 of 102 classes have no image, such as canterbury bells' in line for line in log)


@FOLDERS
def test_a_missing_file_is_named_with_its_origin(name, tmp_path):
    kind = name.split()[0]
    with pytest.raises(DatasetError, match=r'does not exist\. The set .*LIGHTVIT_DATA'):
        build(kind, tmp_path)
    write(name, tmp_path)
    dataset = build(kind, tmp_path, 'test')
    for path in dataset.required_files(str(tmp_path), 'test'):
        content = Path(path).read_bytes()
        Path(path).unlink()
        with pytest.raises(DatasetError, match='does not exist'):
            build(kind, tmp_path, 'test')
        Path(path).write_bytes(content)
    image = tmp_path / listed(dataset)[0][0]
    image.unlink()
    with pytest.raises(DatasetError, match=rf'1 of \d listed images are not in.*{image.name}'):
        build(kind, tmp_path, 'test')


@pytest.mark.parametrize('name', ['Flowers102', 'StanfordCars', 'StanfordCars kit'])
@pytest.mark.parametrize('damage', ['half', 'text', 'empty'])
def test_damaged_matlab_files(name, damage, tmp_path):
    write(name, tmp_path)
    for path in map(Path, build(name.split()[0], tmp_path).required_files(str(tmp_path))):
        content = path.read_bytes()
        broken = {'half': content[: len(content) // 2], 'text': b'no' * 99, 'empty': b''}
        path.write_bytes(broken[damage])
        with pytest.raises(DatasetError, match=rf'{path.name}: (is no MATLAB|has no var)'):
            build(name.split()[0], tmp_path)
        path.write_bytes(content)


WRONG = {
    ('Flowers102', 'imagelabels.mat'): [
        (dict(labels=[[1, 0, 1, 1, 1, 103, 1, 1]]), r'00006\.jpg has the label 102, out of .* 102'),
        (dict(labels=[[1, 1, 1]]), r'setid\.mat: names image 6, .* has labels of 1\.\.3'),
    ],
    ('StanfordCars kit', 'devkit/cars_train_annos.mat'): [
        (dict(annotations=structs(fname=['1.jpg'], bbox_x1=[1])), "no field 'class', only fname, ")
    ],
    ('OxfordPets', 'annotations/trainval.txt'): [
        ('a_100 1 1\n', 'is not "name class species breed"'),
        ('Pug_1 1 1 1\nBengal_1 1 1 2\n', "class 1 is 'Pug' and also 'Bengal'"),
        ('Abyssinian_100 38 1 1\n', 'label 37, out of the range of 37 classes'),
        ('', 'lists no image'),
    ],
    ('FGVCAircraft', 'data/images_variant_trainval.txt'): [
        ('0481847 747\n', r"names the variant '747', which .*variants\.txt")
    ],
    ('INaturalist2018', 'train2018.json'): [
        (lambda text: text[:-40], 'is no JSON, or truncated'),
        ('[]', 'has no images, annotations and categories'),
        (lambda text: text.replace('y_id": 3', 'y_id": 4'), '1 images have no category'),
    ],
}


@pytest.mark.parametrize(
    ('name', 'file', 'content', 'message'),
    [(*place, *row) for place, rows in WRONG.items() for row in rows],
)
def test_wrong_lists(name, file, content, message, tmp_path):
    write(name, tmp_path)
    if isinstance(content, dict):
        savemat(tmp_path / file, content)
    else:
        old = (tmp_path / file).read_text()
        (tmp_path / file).write_text(content if isinstance(content, str) else content(old))
    with pytest.raises(DatasetError, match=message):
        build(name.split()[0], tmp_path)


def test_an_unknown_split(tmp_path):
    with pytest.raises(DatasetError, match=r"Pets is one of \['train', 'test'\], got 'val'"):
        build('OxfordPets', tmp_path, 'val')


def test_many_records_take_little_memory(tmp_path):
    """Like iNaturalist's: entries are slimmed as they are read and packed afterwards."""
    count, keys = 6000, [f'train_val2018/Plantae/7477/{n:032x}.jpg' for n in range(6000)]
    more = dict(width=800, height=600, license=3, rights_holder='somebody with a long name')
    content = dict(
        images=[dict(id=n, file_name=key, **more) for n, key in enumerate(keys)],
        annotations=[dict(id=n, image_id=n, category_id=n % 5) for n in range(count)],
        categories=[dict(id=n, name=str(n), supercategory='Plantae') for n in range(5)],
    )
    size = (tmp_path / 'train2018.json').write_text(json.dumps(content))
    (tmp_path / keys[0]).parent.mkdir(parents=True)
    for key in keys:
        (tmp_path / key).symlink_to('nowhere')
    tracemalloc.start()
    dataset = build('INaturalist2018', tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dataset.labels().tolist() == [n % 5 for n in range(count)]
    assert kept < 110 * count
    assert peak - size < 700 * count


# ---------------------------------------------------------------- CIFAR-100

LOAD = dict(type='lightvit_dense.LoadImage', color='rgb')
FINE = sorted(f'class_{n:02d}' for n in range(100))


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def planes(images):
    """[N, 32, 32, 3] -> [N, 3*32*32], colour by colour, as the published files have them."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def pickled(count, label):
    return pickle.dumps({'data': planes(noise(count)), 'fine_labels': [label]})


@pytest.fixture(scope='module')
def cifar(tmp_path_factory):
    """The Python version of 12 images to train and 5 to test."""
    root = tmp_path_factory.mktemp('cifar')
    python = root / 'cifar-100-python'
    python.mkdir()
    images, labels = noise(17), [5, 99, 0, 5, 42, 7, 7, 0, 99, 5, 1, 2, 3, 99, 5, 0, 8]
    meta = {'fine_label_names': FINE, 'coarse_label_names': ['a', 'b']}
    (python / 'meta').write_bytes(pickle.dumps(meta, protocol=2))
    for split, part in (('train', slice(12)), ('test', slice(12, 17))):
        rows, fine = planes(images[part]), labels[part]
        besides = dict(coarse_labels=[n % 2 for n in fine], filenames=[b'%d' % n for n in fine])
        content = dict(besides, data=rows, fine_labels=fine, batch_label=split)
        (python / split).write_bytes(pickle.dumps(content, protocol=2))
    return root, images, labels


@pytest.mark.parametrize('folder', ['', 'cifar-100-python'])
def test_pixels_and_labels_of_cifar(cifar, folder):
    root, images, labels = cifar
    for split, part in (('train', slice(12)), ('test', slice(12, 17))):
        dataset = build('CIFAR100', root / folder, split, pipeline=[LOAD])
        assert dataset.labels().tolist() == labels[part]
        assert dataset.metainfo['classes'] == tuple(FINE)
        names = [f'{split}/{number:05d}.ppm' for number in range(len(dataset))]
        assert listed(dataset) == list(zip(names, labels[part], strict=True))
        for item, image in zip(dataset, images[part], strict=True):
            assert np.array_equal(item['img'], image)


def test_loaders_and_subsets_of_cifar_share_the_images(cifar):
    root, images, labels = cifar
    dataset = build('CIFAR100', root, pipeline=[LOAD])
    whole = LoadRandomResizedCrop(32, scale=(1, 1), ratio=(1, 1))(dataset.get_data_info(3))
    assert np.array_equal(whole['img'], images[3])
    assert whole['ori_shape'] == (32, 32)
    part, again = dataset.get_subset([8, 2]), pickle.loads(pickle.dumps(dataset))
    assert part.storage is dataset.storage
    assert np.array_equal(part[0]['img'], images[8])
    assert np.array_equal(again[11]['img'], images[11])
    some = build('CIFAR100', root, fraction=0.34).labels()
    assert sorted(some.tolist()) == sorted(set(labels[:12]))
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
        ('train', lambda old: pickled(1, 100), '00000.ppm has the label 100, out of the range'),
        ('meta', lambda old: pickle.dumps({}), "has no 'fine_label_names'"),
    ],
)
def test_damaged_pickles(cifar, tmp_path, name, make, message):
    for each in ('train', 'meta'):
        content = (cifar[0] / 'cifar-100-python' / each).read_bytes()
        (tmp_path / each).write_bytes(make(content) if each == name else content)
    with pytest.raises(DatasetError, match=message):
        build('CIFAR100', tmp_path)


def test_files_of_cifar_that_are_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r'cifar-100-python/meta: this file of CIFAR-100 does'):
        build('CIFAR100', tmp_path)
    files = CIFAR100.required_files(str(tmp_path), 'test')
    assert [name.rpartition('/')[2] for name in files] == ['meta', 'test']
