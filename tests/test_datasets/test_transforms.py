import copy
import gc
import pickle
import traceback
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from PIL import Image, ImageOps
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import functional

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets import (
    CenterResizedCrop,
    DatasetError,
    LoadImage,
    PackImage,
    RandomResizedCrop,
)
from lightvit_dense.datasets.transforms.augment import resize_box
from lightvit_dense.datasets.transforms.jpeg import read_header
from tests.helpers.photos import photo


def picture(height=40, width=60):
    rng = np.random.RandomState(1)
    return cv2.resize(rng.randint(0, 255, (4, 6, 3), np.uint8), (width, height))


def spoil(path, how):
    """Make a file bad in the way that a message must tell."""
    content = {
        'zero bytes': b'',
        'truncated': path.read_bytes()[: path.stat().st_size * 2 // 3],
        'not an image': b'GIF? surely no image' * 9,
    }
    path.unlink()
    if how in content:
        path.write_bytes(content[how])


@pytest.fixture(params=['.jpg', '.png', '.webp', '.bmp'])
def image_file(request, tmp_path):
    path = tmp_path / f'image{request.param}'
    assert cv2.imwrite(str(path), picture())
    return path


@pytest.mark.parametrize('how', ['does not exist', 'zero bytes', 'truncated', 'not an image'])
def test_bad_image_is_named_with_its_reason(image_file, how):
    loader = LoadImage()
    assert loader({'img_path': str(image_file)})['img'].shape == (40, 60, 3)
    spoil(image_file, how)
    with pytest.raises(DatasetError, match=rf'(?s){image_file}: {how}.*max_bad'):
        loader({'img_path': str(image_file)})


def test_thumbnail_does_not_hide_truncation(tmp_path):
    path = tmp_path / 'image.jpg'
    whole = cv2.imencode('.jpg', picture(200, 300))[1].tobytes()
    thumbnail = cv2.imencode('.jpg', picture(8, 8))[1].tobytes()
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    whole = whole[:2] + segment + whole[2:]
    path.write_bytes(whole + b'trailing bytes do no harm')
    assert LoadImage()({'img_path': str(path)})['img'].shape == (200, 300, 3)
    path.write_bytes(whole[:-400])
    with pytest.raises(DatasetError, match='truncated'):
        LoadImage()({'img_path': str(path)})


def bad_folder(tmp_path, bad=2, count=6):
    for number in range(count):
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), picture())
        if number < bad:
            spoil(tmp_path / f'{number}.jpg', 'truncated')
    return tmp_path


def dataset_of(folder, max_bad, **kwargs):
    pipeline = [dict(type='lightvit_dense.LoadImage', max_bad=max_bad)]
    pipeline += [dict(type='lightvit_dense.PackImage')]
    cfg = dict(type='lightvit_dense.ImageFiles', data_root=str(folder), pipeline=pipeline)
    return DATASETS.build({**cfg, **kwargs})


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_images_are_tolerated_up_to_the_limit(tmp_path, workers):
    dataset = dataset_of(bad_folder(tmp_path), 2)
    loader = DataLoader(dataset, 1, num_workers=workers, collate_fn=pseudo_collate)
    for _ in range(2):  # met again, a bad file counts once
        names = [sample['data_samples'][0].img_path for sample in loader]
        assert len(names) == 6
        assert not {str(tmp_path / '0.jpg'), str(tmp_path / '1.jpg')} & set(names)
    found = dataset.pipeline.transforms[0].bad_files()
    assert set(found) == {str(tmp_path / '0.jpg'), str(tmp_path / '1.jpg')}


@pytest.mark.parametrize('workers', [0, 2])
def test_one_bad_image_too_many_stops_and_lists_all(tmp_path, workers):
    # With two workers, each meets fewer than the limit: the count is a common one.
    dataset = dataset_of(bad_folder(tmp_path, bad=4, count=4), 3)
    loader = DataLoader(dataset, 1, num_workers=workers, collate_fn=pseudo_collate)
    with pytest.raises(DatasetError) as caught:
        list(loader)
    # Else the loader would stay in a cycle, and stop its workers slowly.
    traceback.clear_frames(caught.tb)
    for number in range(4):
        assert f'{number}.jpg' in str(caught.value)


def test_test_mode_tolerates_none(tmp_path):
    dataset = dataset_of(bad_folder(tmp_path, bad=1), 5, test_mode=True)
    with pytest.raises(DatasetError, match='test mode'):
        dataset[0]
    assert dataset[1]['inputs'].shape == (3, 40, 60)


def test_copies_share_the_count_and_the_file_is_removed():
    loader = LoadImage(max_bad=1)
    twin, other = copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))
    assert twin({'img_path': 'nowhere/a.jpg'}) is None
    del twin
    gc.collect()
    assert list(loader.bad_files()) == ['nowhere/a.jpg']
    assert loader({'img_path': 'nowhere/a.jpg'}) is None
    with pytest.raises(DatasetError, match=r'nowhere/a\.jpg(.|\n)*nowhere/b\.jpg'):
        other({'img_path': 'nowhere/b.jpg'})
    ledger = Path(loader._ledger)
    assert ledger.exists()
    del loader
    gc.collect()
    assert not ledger.exists()


def test_files_come_from_a_storage_where_there_is_one():
    class Storage:
        def read(self, key):
            if key != 'a':
                raise FileNotFoundError(f'no key {key} in box.lmdb')
            return cv2.imencode('.png', picture())[1].tobytes()

    results = LoadImage()({'img_path': 'a', 'storage': Storage()})
    assert np.array_equal(results['img'], picture())
    with pytest.raises(DatasetError, match=r'no key b in box\.lmdb'):
        LoadImage()({'img_path': 'b', 'storage': Storage()})


def test_a_label_becomes_a_field_of_the_sample():
    packed = PackImage()({'img': picture(), 'img_path': 'a', 'gt_label': np.int64(7)})
    sample = packed['data_samples']
    assert type(sample.gt_label) is int
    assert sample.gt_label == 7
    assert sample.keys() == ['gt_label']
    assert sample.img_path == 'a'
    assert 'gt_label' not in PackImage()({'img': picture()})['data_samples']


def test_channel_order_and_float(tmp_path):
    path = str(tmp_path / 'image.png')
    assert cv2.imwrite(path, picture())
    bgr = LoadImage(to_float32=True)({'img_path': path})['img']
    rgb = LoadImage(color='rgb')({'img_path': path})['img']
    assert bgr.dtype == np.float32
    assert np.array_equal(bgr, picture())
    assert np.array_equal(rgb, picture()[..., ::-1])
    with pytest.raises(ValueError, match='color'):
        LoadImage(color='grey')


@pytest.mark.parametrize(
    ('reduce_to', 'side'), [(None, 160), (90, 160), (80, 80), (30, 40), (5, 20)]
)
def test_reduced_decoding(tmp_path, reduce_to, side):
    path = tmp_path / 'image.jpg'
    cv2.imwrite(str(path), picture(160, 240))
    assert read_header(path.read_bytes())[:2] == (160, 240)
    loader = LoadImage(reduce_to=reduce_to)
    assert loader({'img_path': str(path)})['img'].shape[0] == side
    labelled = loader({'img_path': str(path), 'instances': []})
    assert labelled['img'].shape[0] == 160, 'boxes would no longer fit'


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize('shape', [(40, 60), (5, 9), (1, 1), (200, 3), (3, 200)])
def test_random_resized_crop_has_its_size(shape, backend):
    crop = RandomResizedCrop((24, 32), interpolation='random', backend=backend)
    results = crop({'img': picture(*shape)})
    assert results['img'].shape == (24, 32, 3)
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == (24, 32)


def test_random_resized_crop_keeps_area_and_ratio():
    crop = RandomResizedCrop(24, scale=(0.3, 0.5), ratio=(0.8, 1.25))
    np.random.seed(0)
    shares = []
    for _ in range(500):
        left, top, right, bottom = crop.draw(300, 400)
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        assert 0.78 < (right - left) / (bottom - top) < 1.28
        shares.append((right - left) * (bottom - top) / 120000)
    assert 0.295 < min(shares) < 0.31
    assert 0.49 < max(shares) < 0.505
    assert np.mean(shares) == pytest.approx(0.4, abs=0.01)


def test_random_resized_crop_falls_back_to_the_centre():
    crop = RandomResizedCrop(24, scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    assert crop.draw(30, 300) == (130, 0, 170, 30)
    assert crop.draw(300, 30) == (0, 130, 30, 170)


def test_pillow_filters_like_torchvision():
    image = picture(64, 90)
    pil = Image.fromarray(image)
    mode = functional.InterpolationMode.BICUBIC
    expected = np.asarray(functional.resized_crop(pil, 7, 5, 50, 61, [24, 20], mode))
    ours = resize_box(image, (5, 7, 66, 57), (24, 20), 'bicubic', 'pillow')
    assert np.array_equal(ours, expected)


def texture(width, height):
    """A photograph of bricks, which shows every shift of a resize."""
    grey = Image.fromarray(photo('brick', (width, height)))
    return Image.merge('RGB', [grey, ImageOps.mirror(grey), ImageOps.flip(grey)])


@pytest.mark.parametrize(
    'size',  # of the picture: width, height
    [(500, 375), (333, 500), (295, 669), (690, 257), (256, 256), (257, 255), (64, 48), (31, 97)],
)
@pytest.mark.parametrize('share', [224 / 256, 1.0, 0.9])
def test_evaluation_sees_the_pixels_of_torchvision_and_timm(size, share):
    image = texture(*size)
    results = CenterResizedCrop(224, share)({'img': np.asarray(image)})
    steps = [
        transforms.Resize(int(224 / share), transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
    ]
    assert np.array_equal(results['img'], np.asarray(transforms.Compose(steps)(image)))
    assert results['img_shape'] == (224, 224)
    assert results['img'].flags.c_contiguous
    for side in (224, (192, 256)):  # timm's array is [3, height, width]
        options = dict(interpolation='bicubic', crop_pct=share, use_prefetcher=True)
        theirs = create_transform(side, **options)(image)
        ours = CenterResizedCrop(side, share)({'img': np.asarray(image)})['img']
        assert np.array_equal(ours, np.asarray(theirs).transpose(1, 2, 0))


@pytest.mark.parametrize('backend', ['torch', 'cv2'])
def test_other_backends_look_at_the_same_place(backend):
    small = Image.fromarray(picture(48, 30))
    image = np.asarray(small.resize((333, 500), Image.Resampling.BICUBIC))
    ours = CenterResizedCrop(224, backend=backend)({'img': image})['img'].astype(int)
    assert np.abs(ours - CenterResizedCrop(224)({'img': image})['img']).mean() < 1


@pytest.mark.parametrize(
    'kwargs',
    [dict(interpolation='nearest'), dict(backend='gpu'), dict(scale=(0, 1)), dict(ratio=(2, 1))],
)
def test_wrong_options_are_refused(kwargs):
    with pytest.raises(ValueError):
        RandomResizedCrop(24, **kwargs)
