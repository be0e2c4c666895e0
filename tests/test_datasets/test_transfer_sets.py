"""The six transfer sets in the layouts that their makers publish, with real photographs."""

import gc
import json
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from scipy.io import savemat

from lightvit_dense.datasets import DatasetError
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from tests.helpers.photos import photo

PIPELINE = [
    dict(type='lightvit_dense.LoadRandomResizedCrop', size=24),
    dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
    dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
]


def put(path, name, shift=0):
    """Write a part of a photograph, another one for each shift."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.ascontiguousarray(photo(name)[10 + 3 * shift :, 5 * shift :][:60, :80, ::-1])
    assert cv2.imwrite(str(path), image)


def build(kind, root, split='train', **kwargs):
    cfg = dict(type=f'lightvit_dense.{kind}', data_root=str(root), split=split, **kwargs)
    return DATASETS.build(cfg)


def listed(dataset):
    infos = [dataset.get_data_info(place) for place in range(len(dataset))]
    return [(info['img_path'], info['gt_label']) for info in infos]


def structs(**columns):
    """A MATLAB structure array."""
    count = len(next(iter(columns.values())))
    array = np.empty(count, dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        array[name] = values
    return array


@pytest.fixture
def log(monkeypatch):
    """The lines that are logged."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'log', lambda level, text, *args: lines.append(text))
    return lines


def write_flowers(root):
    # Images 1..8 of classes 1..102, out of order as published.
    labels = np.array([[77, 1, 102, 77, 2, 1, 1, 2]], np.uint8)
    savemat(root / 'imagelabels.mat', dict(labels=labels))
    parts = dict(trnid=[[6, 3]], valid=[[2, 5]], tstid=[[1, 4, 7, 8]])
    savemat(root / 'setid.mat', {k: np.array(v, np.uint16) for k, v in parts.items()})
    for number in range(1, 9):
        put(root / f'jpg/image_{number:05d}.jpg', 'flower', number)
    train = [(6, 0), (3, 101), (2, 0), (5, 1)]
    test = [(1, 76), (4, 76), (7, 0), (8, 1)]
    return [[(f'jpg/image_{n:05d}.jpg', label) for n, label in part] for part in (train, test)]


def write_pets(root):
    train = ['Abyssinian_100 1 1 1', 'american_bulldog_7 2 2 1', 'yorkshire_terrier_3 37 2 25']
    lists = dict(trainval=train, test=['Abyssinian_201 1 1 1', 'yorkshire_terrier_40 37 2 25'])
    out = []
    for name, lines in lists.items():
        path = root / f'annotations/{name}.txt'
        path.parent.mkdir(exist_ok=True)
        path.write_text(''.join(f'{line}\n' for line in lines))
        out.append([(f'images/{w[0]}.jpg', int(w[1]) - 1) for w in map(str.split, lines)])
        for key, label in out[-1]:
            put(root / key, 'cat', label)
    return out


def write_aircraft(root):
    data = root / 'data'
    data.mkdir()
    (data / 'variants.txt').write_text('707-320\n727-200\nDC-9-30 B\nF/A-18\n')
    parts = dict(
        trainval=[('1025794', '707-320'), ('0034309', 'F/A-18'), ('0062765', 'DC-9-30 B')],
        train=[('1025794', '707-320'), ('0034309', 'F/A-18')],
        val=[('0062765', 'DC-9-30 B')],
        test=[('0481847', '727-200')],
    )
    order = ['707-320', '727-200', 'DC-9-30 B', 'F/A-18']
    found = {}
    for name, rows in parts.items():
        text = ''.join(f'{number} {variant}\n' for number, variant in rows)
        (data / f'images_variant_{name}.txt').write_text(text)
        found[name] = [(f'data/images/{n}.jpg', order.index(v)) for n, v in rows]
        for key, label in found[name]:
            put(root / key, 'rocket', label)
    return [found['trainval'], found['test']]


CAR_NAMES = np.array([f'Maker Type {n} 2012' for n in range(1, 197)], object)


def write_cars(root):
    """The layout of one file."""
    rows = [(f'car_ims/{n:06d}.jpg', *row) for n, row in enumerate([(1, 0), (196, 1), (5, 0)], 1)]
    names, labels, test = zip(*rows, strict=True)
    columns = {'relative_im_path': names, 'bbox_x1': [3, 4, 5], 'class': labels, 'test': test}
    entries = structs(**columns)
    savemat(root / 'cars_annos.mat', dict(annotations=entries, class_names=CAR_NAMES))
    for name, label, _ in rows:
        put(root / name, 'coffee', label % 7)
    return [[(name, label - 1) for name, label, flag in rows if flag == which] for which in (0, 1)]


def write_cars_kit(root):
    """The layout of the development kit."""
    kit = root / 'devkit'
    kit.mkdir()
    savemat(kit / 'cars_meta.mat', dict(class_names=CAR_NAMES))
    train = structs(fname=['00001.jpg', '00002.jpg'], bbox_x1=[1, 2], **{'class': [14, 196]})
    test = structs(fname=['00001.jpg'], bbox_x1=[1], **{'class': [181]})
    savemat(kit / 'cars_train_annos.mat', dict(annotations=train))
    savemat(root / 'cars_test_annos_withlabels.mat', dict(annotations=test))
    for folder, count in (('cars_train', 2), ('cars_test', 1)):
        for number in range(1, count + 1):
            put(root / folder / f'{number:05d}.jpg', 'coffee', number)
    found = [('cars_train/00001.jpg', 13), ('cars_train/00002.jpg', 195)]
    return [found, [('cars_test/00001.jpg', 180)]]


def write_inaturalist(root):
    categories = [dict(id=n, name=str(n), supercategory='Aves') for n in (7, 0, 3)]  # any order
    names = [dict(id=n, name=f'Species {n}', kingdom='Animalia') for n in (0, 3, 7)]
    (root / 'categories.json').write_text(json.dumps(names))
    out = []
    for split, rows in (('train', [(0, 7), (1, 0), (2, 3), (3, 7)]), ('val', [(4, 3)])):
        images = [
            dict(id=n, file_name=f'train_val2018/Aves/{c}/{n:032x}.jpg', width=80, height=60)
            for n, c in rows
        ]
        shown = [dict(id=n, image_id=n, category_id=c) for n, c in reversed(rows)]
        content = dict(images=images, annotations=shown, categories=categories, licenses=[])
        (root / f'{split}2018.json').write_text(json.dumps(content))
        labels = [[0, 3, 7].index(c) for _, c in rows]
        out.append([(i['file_name'], n) for i, n in zip(images, labels, strict=True)])
        for key, label in out[-1]:
            put(root / key, 'cat', label)
    return out


SETS = {
    'Flowers102': write_flowers,
    'OxfordPets': write_pets,
    'FGVCAircraft': write_aircraft,
    'StanfordCars': write_cars,
    'StanfordCars kit': write_cars_kit,
    'INaturalist2018': write_inaturalist,
}
FOLDERS = pytest.mark.parametrize('name', list(SETS))


@FOLDERS
@pytest.mark.parametrize('source', ['folder', 'lmdb'])
def test_images_and_labels_of_the_published_layout(name, source, tmp_path, log):
    expected = SETS[name](tmp_path)
    if source == 'lmdb':
        write_lmdb(tmp_path, tmp_path / 'images.lmdb')
    for split, records in zip(('train', 'test'), expected, strict=True):
        dataset = build(name.split()[0], tmp_path, split, source=source, pipeline=PIPELINE)
        assert listed(dataset) == records
        item = dataset[0]
        assert item['inputs'].shape == (3, 24, 24)
        assert item['data_samples'].gt_label == records[0][1]
        assert item['data_samples'].img_path == records[0][0]
        content = dataset.get_data_info(0)['storage'].read(records[0][0])
        assert content == (tmp_path / records[0][0]).read_bytes()
    assert any('are published; it is used as it is' in line for line in log)


@pytest.mark.parametrize(
    ('name', 'count', 'some'),
    [
        ('Flowers102', 102, {0: 'pink primrose', 76: 'passion flower', 101: 'blackberry lily'}),
        ('OxfordPets', 37, {0: 'Abyssinian', 1: 'american bulldog', 36: 'yorkshire terrier'}),
        ('FGVCAircraft', 4, {2: 'DC-9-30 B', 3: 'F/A-18'}),
        ('StanfordCars', 196, {0: 'Maker Type 1 2012', 195: 'Maker Type 196 2012'}),
        ('INaturalist2018', 3, {0: 'Species 0', 1: 'Species 3', 2: 'Species 7'}),
    ],
)
def test_classes_have_their_names(name, count, some, tmp_path):
    SETS[name](tmp_path)
    classes = build(name, tmp_path).metainfo['classes']
    assert len(classes) == count
    assert {place: classes[place] for place in some} == some


def test_published_parts_for_the_choice_of_hyper_parameters(tmp_path):
    (tmp_path / 'flowers').mkdir()
    (tmp_path / 'aircraft').mkdir()
    for kind, write in (('Flowers102', write_flowers), ('FGVCAircraft', write_aircraft)):
        root = tmp_path / ('flowers' if kind == 'Flowers102' else 'aircraft')
        train, _ = write(root)
        parts = [listed(build(kind, root, split)) for split in ('fit', 'val')]
        assert parts[0] + parts[1] == train
        assert all(parts)
    # The root may also be the inner folder.
    inner = build('FGVCAircraft', tmp_path / 'aircraft/data')
    assert listed(inner)[0] == ('images/1025794.jpg', 0)


def test_counts_that_are_not_the_published_ones_are_told(tmp_path, log):
    write_flowers(tmp_path)
    build('Flowers102', tmp_path)
    assert any('4 images of 102 classes, where 2040 of 102 are published' in line for line in log)
    assert any('99 of 102 classes have no image, such as canterbury bells' in line for line in log)


@FOLDERS
def test_a_missing_file_is_named_with_its_origin(name, tmp_path):
    kind = name.split()[0]
    with pytest.raises(DatasetError, match=r'does not exist\. The set .*LIGHTVIT_DATA'):
        build(kind, tmp_path)
    SETS[name](tmp_path)
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
    SETS[name](tmp_path)
    for path in map(Path, build(name.split()[0], tmp_path).required_files(str(tmp_path))):
        content = path.read_bytes()
        broken = {'half': content[: len(content) // 2], 'text': b'no' * 99, 'empty': b''}
        path.write_bytes(broken[damage])
        with pytest.raises(DatasetError, match=rf'{path.name}: (is no MATLAB|has no var)'):
            build(name.split()[0], tmp_path)
        path.write_bytes(content)


def test_labels_out_of_range(tmp_path):
    write_flowers(tmp_path)
    savemat(tmp_path / 'imagelabels.mat', dict(labels=np.array([[1, 0, 1, 1, 1, 103, 1, 1]])))
    with pytest.raises(DatasetError, match=r'image_00006\.jpg has the label 102, out of .* 102 cl'):
        build('Flowers102', tmp_path)
    savemat(tmp_path / 'imagelabels.mat', dict(labels=np.array([[1, 1, 1]])))
    with pytest.raises(DatasetError, match=r'setid\.mat: names image 6, .* has labels of 1\.\.3'):
        build('Flowers102', tmp_path)


def test_other_wrong_lists(tmp_path):
    for folder in ('pets', 'aircraft', 'cars', 'inat'):
        (tmp_path / folder).mkdir()
    write_pets(tmp_path / 'pets')
    path = tmp_path / 'pets/annotations/trainval.txt'
    for text, message in (
        ('Abyssinian_100 1 1\n', 'is not "name class species breed"'),
        ('Abyssinian_100 1 1 1\nBengal_1 1 1 2\n', r"class 1 is 'Abyssinian' and also 'Bengal'"),
        ('Abyssinian_100 38 1 1\n', 'label 37, out of the range of 37 classes'),
        ('', 'lists no image'),
    ):
        path.write_text(text)
        with pytest.raises(DatasetError, match=message):
            build('OxfordPets', tmp_path / 'pets')
    write_aircraft(tmp_path / 'aircraft')
    (tmp_path / 'aircraft/data/images_variant_test.txt').write_text('0481847 747\n')
    with pytest.raises(DatasetError, match=r"names the variant '747', which .*variants\.txt"):
        build('FGVCAircraft', tmp_path / 'aircraft', 'test')
    write_cars_kit(tmp_path / 'cars')
    unlabelled = structs(fname=['00001.jpg'], bbox_x1=[1])
    savemat(tmp_path / 'cars/cars_test_annos_withlabels.mat', dict(annotations=unlabelled))
    with pytest.raises(DatasetError, match="entries have no field 'class', only fname, bbox_x1"):
        build('StanfordCars', tmp_path / 'cars', 'test')
    write_inaturalist(tmp_path / 'inat')
    path = tmp_path / 'inat/val2018.json'
    text = path.read_text()
    for broken, message in (
        (text[:-40], 'is no JSON, or truncated'),
        ('[]', 'has no images, annotations and categories'),
        (text.replace('"category_id": 3', '"category_id": 4'), '1 images have no category'),
    ):
        path.write_text(broken)
        with pytest.raises(DatasetError, match=message):
            build('INaturalist2018', tmp_path / 'inat', 'test')


def test_wrong_options(tmp_path):
    with pytest.raises(DatasetError, match=r"Pets is one of \['train', 'test'\], got 'val'"):
        build('OxfordPets', tmp_path, 'val')
    with pytest.raises(ValueError, match="source must be 'folder' or 'lmdb', got 'zip'"):
        build('OxfordPets', tmp_path, source='zip')


def test_many_records_take_little_memory(tmp_path):
    """Like iNaturalist's: entries are slimmed as they are read and packed afterwards."""
    count, folder = 6000, 'train_val2018/Plantae/7477'
    images = [
        dict(id=n, file_name=f'{folder}/{n:032x}.jpg', width=800, height=600, license=3,
             rights_holder='somebody with a long name')
        for n in range(count)
    ]  # fmt: skip
    shown = [dict(id=n, image_id=n, category_id=n % 5) for n in range(count)]
    categories = [dict(id=n, name=str(n), supercategory='Plantae') for n in range(5)]
    content = json.dumps(dict(images=images, annotations=shown, categories=categories))
    (tmp_path / 'train2018.json').write_text(content)
    (tmp_path / folder).mkdir(parents=True)
    for n in range(count):
        (tmp_path / folder / f'{n:032x}.jpg').symlink_to('nowhere')
    del images, shown
    gc.collect()
    tracemalloc.start()
    dataset = build('INaturalist2018', tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) == count
    assert dataset.labels().tolist() == [n % 5 for n in range(count)]
    assert kept < 110 * count
    assert peak - len(content) < 700 * count
