"""Loading images with a budget for bad ones; crops, also of a window, against torchvision."""

import copy
import gc
import io
import pickle
import traceback
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from PIL import Image, ImageOps
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import functional

from lightvit_dense.datasets import (
    CenterResizedCrop,
    DatasetError,
    LoadImage,
    LoadRandomResizedCrop,
    RandomResizedCrop,
)
from lightvit_dense.datasets.draws import Draws
from lightvit_dense.datasets.transforms import jpeg
from lightvit_dense.registry import TRANSFORMS
from tests.helpers.data_sets import build
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


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'bmp'])
@pytest.mark.parametrize('how', ['does not exist', 'zero bytes', 'truncated', 'not an image'])
def test_bad_image_is_named_with_its_reason(tmp_path, kind, how):
    path, loader = tmp_path / f'image.{kind}', LoadImage()
    assert cv2.imwrite(str(path), picture())
    assert loader({'img_path': str(path)})['img'].shape == (40, 60, 3)
    spoil(path, how)
    with pytest.raises(DatasetError, match=rf'(?s){path}: {how}.*max_bad'):
        loader({'img_path': str(path)})


def test_thumbnail_does_not_hide_truncation():
    whole, thumbnail = encode(picture(200, 300)), encode(picture(8, 8))
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    whole = whole[:2] + segment + whole[2:]
    trailing = stored(whole + b'trailing bytes do no harm')
    assert LoadImage()(trailing)['img'].shape == (200, 300, 3)
    with pytest.raises(DatasetError, match='truncated'):
        LoadImage()(stored(whole[:-400]))


def bad_folder(root, max_bad, bad, count=6, **options):
    """Return a data set whose first images are bad."""
    for number in range(count):
        cv2.imwrite(str(root / f'{number}.jpg'), picture())
        if number < bad:
            spoil(root / f'{number}.jpg', 'truncated')
    load = dict(type='lightvit_dense.LoadImage', max_bad=max_bad)
    return build(
        'ImageFiles', root, pipeline=[load, dict(type='lightvit_dense.PackImage')], **options
    )


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_images_are_tolerated_up_to_the_limit(tmp_path, workers):
    dataset = bad_folder(tmp_path, 2, bad=2)
    bad = {str(tmp_path / '0.jpg'), str(tmp_path / '1.jpg')}
    loader = DataLoader(dataset, 1, num_workers=workers, collate_fn=pseudo_collate)
    for _ in range(2):  # met again, a bad file counts once
        names = [sample['data_samples'][0].img_path for sample in loader]
        assert len(names) == 6
        assert not bad & set(names)
    assert set(dataset.pipeline.transforms[0].bad_files()) == bad


@pytest.mark.parametrize('workers', [0, 2])
def test_one_bad_image_too_many_stops_and_lists_all(tmp_path, workers):
    # With two workers, each meets fewer than the limit: the count is a common one.
    dataset = bad_folder(tmp_path, 3, bad=4, count=4)
    loader = DataLoader(dataset, 1, num_workers=workers, collate_fn=pseudo_collate)
    with pytest.raises(DatasetError) as caught:
        list(loader)
    # Else the loader would stay in a cycle, and stop its workers slowly.
    traceback.clear_frames(caught.tb)
    assert all(f'{number}.jpg' in str(caught.value) for number in range(4))


def test_test_mode_tolerates_none(tmp_path):
    dataset = bad_folder(tmp_path, 5, bad=1, test_mode=True)
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
    data = cv2.imencode('.png', picture())[1].tobytes()
    image = LoadImage(to_float32=True)(stored(data))['img']
    assert image.dtype == np.float32
    assert np.array_equal(image, picture())
    storage = Mock(spec=['read'], read=Mock(side_effect=FileNotFoundError('no key b in box')))
    with pytest.raises(DatasetError, match='no key b in box'):
        LoadImage()({'img_path': 'b', 'storage': storage})


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
        draws, shape = Draws([np.random.randint(2**63)]), np.array([(300, 400)])
        (left, top, right, bottom), _ = crop.window({'draws': draws}, (300, 400))
        box = crop.draw(Draws(draws.seeds).take(crop.slots), shape)[0, :4]
        assert box.tolist() == [top, left, bottom - top, right - left]
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        assert 0.78 < (right - left) / (bottom - top) < 1.28
        shares.append((right - left) * (bottom - top) / 120000)
    assert 0.295 < min(shares) < 0.31
    assert 0.49 < max(shares) < 0.505
    assert np.mean(shares) == pytest.approx(0.4, abs=0.01)


def test_random_resized_crop_falls_back_to_the_centre():
    crop = RandomResizedCrop(24, scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    assert crop.window({}, (30, 300))[0] == (130, 0, 170, 30)
    assert crop.window({}, (300, 30))[0] == (0, 130, 30, 170)


def test_random_resized_crop_draws_what_it_always_drew():
    crop = RandomResizedCrop(24, scale=(0.08, 1.0))
    np.random.seed(0)
    drawn = [crop.window({}, (300, 400))[0] for _ in range(3)]
    assert drawn == [(236, 75, 361, 234), (152, 37, 381, 262), (16, 114, 139, 227)]


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
    ('name', 'options', 'message'),
    [
        ('LoadImage', dict(color='grey'), "color must be 'bgr' or 'rgb', got 'grey'"),
        ('LoadImage', dict(max_bad=-1), 'max_bad must not be negative, got -1'),
        ('RandomResizedCrop', dict(size=8, interpolation='nearest'), "'random'.: 'nearest'"),
        ('CenterResizedCrop', dict(size=8, interpolation='random'), "'bilinear'.: 'random'"),
        ('RandomResizedCrop', dict(size=8, backend='gpu'), "backend must be .* got 'gpu'"),
        ('RandomResizedCrop', dict(size=8, scale=(0, 1)), 'scale and ratio must be positive'),
        ('RandomResizedCrop', dict(size=8, ratio=(2, 1)), r'ascending: .*\(2, 1\)'),
        ('CenterResizedCrop', dict(size=8, ratio=1.1), r'ratio must lie in \(0, 1\], got 1.1'),
        ('LoadRandomResizedCrop', dict(size=8, decoder='pillow'), "one of .*, got 'pillow'"),
        ('LoadRandomResizedCrop', dict(size=8, decoder='simplejpeg'), 'pip install simplejpeg'),
        ('RandomFlipFlag', dict(prob=2), 'prob=2 is no probability'),
        ('ColorJitter', dict(hue=0.6), 'hue <= 0.5'),
        ('ColorJitter', dict(brightness=-1), 'brightness'),
        ('RandomGrayscale', dict(prob=1.1), 'no probability'),
        ('GaussianBlur', dict(sigma=(2.0, 1.0)), 'ascending'),
        ('Solarize', dict(threshold=300), 'threshold=300'),
        ('MultiView', dict(views=[]), 'empty'),
        ('MultiView', dict(views=[dict(count=0, pipeline=[dict(type='x')])]), 'positive count'),
        ('MultiView', dict(views=[dict(count=1)]), 'pipeline'),
        ('RandAugment', dict(interpolation='nearest'), 'interpolation must be one of'),
        *[
            ('RandAugment', dict(policy=policy), "is none of timm's")
            for policy in ('rand-m9-x3', 'augmix-m5', 'rand-mx')
        ],
        ('LoadSegmentationMap', dict(num_classes=256), 'num_classes'),
    ],
)
def test_wrong_options_are_refused(monkeypatch, name, options, message):
    monkeypatch.setattr(jpeg, 'available', lambda decoder: decoder == 'cv2')
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type=f'lightvit_dense.{name}', **options))


# ---------------------------------------------------------------- loading a crop at once

INSTALLED = [name for name in jpeg.DECODERS if jpeg.available(name)]


PICTURES = {name: photo(name, (500, 375)) for name in ('astronaut', 'cat', 'china')}


def encode(image, *options):
    done, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90, *options])
    assert done
    return data.tobytes()


CROP = dict(size=32, scale=(0.08, 1.0), interpolation='random')


def stored(data):
    """Return what a data set gives whose storage has this one file."""
    return {'img_path': 'x', 'storage': SimpleNamespace(read=lambda key: data)}


def fast(data, seed=0, **options):
    np.random.seed(seed)
    return LoadRandomResizedCrop(**CROP | options)(stored(data))


def plain(data, seed=0, **options):
    np.random.seed(seed)
    crop = RandomResizedCrop(**CROP | dict(backend='torch') | options)
    return crop(LoadImage(color='rgb')(stored(data)))


def differences(pairs):
    """Return what pairs of images differ in: pixels on average; means and deviations at most."""
    pairs = [(one.astype(float), other.astype(float)) for one, other in pairs]
    pixels = np.mean([np.abs(one - other).mean() for one, other in pairs])
    means = max(abs(one.mean() - other.mean()) for one, other in pairs)
    return pixels, means, max(abs(one.std() / other.std() - 1) for one, other in pairs)


@pytest.mark.parametrize('decoder', INSTALLED)
@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('restart', [0, 3])
@pytest.mark.parametrize('sampling', ['444', '422', '420', '440', '411', 'grey'])
def test_windows_have_the_pixels_of_the_whole_image(decoder, progressive, restart, sampling):
    image = photo('astronaut', (101, 77))
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    if sampling == 'grey':
        data = cv2.imencode('.jpg', image[..., 0], options)[1].tobytes()
    else:
        factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}')
        data = encode(image, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, *options)
    header = jpeg.read_header(data)
    assert (header.height, header.width, header.orientation) == (77, 101, 1)
    rng = np.random.RandomState(0)
    for reduce in jpeg.REDUCED:
        height, width = -(-77 // reduce), -(-101 // reduce)
        if reduce == 1:
            whole = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
        else:
            whole = jpeg.decode_window(data, header, (0, 0, width, height), reduce, 'cv2')
        for bottom in range(1, height + 1):
            left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
            top = rng.randint(bottom)
            box = (left, top, right, bottom)
            window = jpeg.decode_window(data, header, box, reduce, decoder)
            assert np.array_equal(window, whole[top:bottom, left:right]), (reduce, box)


@pytest.mark.parametrize('decoder', INSTALLED)
@pytest.mark.parametrize('backend', ['torch', 'pillow', 'cv2'])
def test_same_as_loading_then_cropping(decoder, backend):
    data = encode(photo('cat', (240, 180)))
    for seed in range(8):
        one = fast(data, seed, decoder=decoder, backend=backend, reduce=False)
        two = plain(data, seed, backend=backend)
        assert np.array_equal(one['img'], two['img'])
        assert one['img'].flags.c_contiguous  # else packing would have to turn it around
        assert one['img_shape'] == two['img_shape'] == (32, 32)
        assert one['ori_shape'] == two['ori_shape'] == (180, 240)


@pytest.mark.parametrize('name', PICTURES)
@pytest.mark.parametrize('reduce', [False, True])
def test_statistics_are_those_of_torchvision(name, reduce):
    """The same boxes through PIL and torchvision, as the authors load images."""
    data = encode(PICTURES[name])
    decoded = Image.open(io.BytesIO(data))
    crop = RandomResizedCrop(96, (0.08, 1.0), interpolation='random')
    pairs = []
    for seed in range(8):
        ours = fast(data, seed, size=96, reduce=reduce)['img']
        np.random.seed(seed)
        (left, top, right, bottom), method = crop.window({}, (375, 500))
        mode = functional.InterpolationMode(method)
        box = (top, left, bottom - top, right - left)
        pairs.append((ours, np.asarray(functional.resized_crop(decoded, *box, (96, 96), mode))))
    # Reduced decoding filters otherwise, and its grid is off by up to half a pixel.
    limits = (4, 0.6, 0.01) if reduce else (0.02, 0.01, 1e-4)
    assert all(np.less(differences(pairs), limits))


@pytest.mark.parametrize('decoder', [name for name in INSTALLED if name != 'cv2'])
@pytest.mark.parametrize('name', PICTURES)
def test_plain_chroma_and_unfiltered_resize_keep_the_statistics(name, decoder):
    data = encode(PICTURES[name])
    quick = dict(size=224, backend='cv2', smooth_chroma=False, decoder=decoder)
    pairs = [
        (fast(data, seed, **quick)['img'], plain(data, seed, size=224)['img']) for seed in range(8)
    ]
    found = differences(pairs)
    assert found[0] > 0
    assert all(np.less(found, (3, 0.6, 0.02)))


def test_the_decoder_is_one_that_is_there(monkeypatch):
    monkeypatch.setattr(jpeg, 'available', lambda name: name == 'cv2')
    assert LoadRandomResizedCrop(32).decoder == 'cv2'
