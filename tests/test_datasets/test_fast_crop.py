import io
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from lightvit_dense.datasets import (
    DatasetError,
    ImageFiles,
    LoadImage,
    LoadRandomResizedCrop,
    RandomResizedCrop,
    SeededIndex,
)
from lightvit_dense.datasets.transforms import jpeg
from lightvit_dense.datasets.transforms.fast_crop import choose_reduction
from tests.helpers.photos import photo

INSTALLED = [name for name in jpeg.DECODERS if jpeg.available(name)]


def waves(size=(500, 375)):
    """Slow waves of a size (width, height)."""
    y, x = np.mgrid[: size[1], : size[0]] / 60.0
    planes = [np.sin(x + k) * np.cos(y * (1 + k / 3)) for k in range(3)]
    return np.uint8(128 + 100 * np.stack(planes, -1))


PICTURES = {'waves': waves} | {
    name: partial(photo, name, (500, 375)) for name in ('astronaut', 'cat', 'china')
}


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
    for reduce in (1, 2, 4, 8):
        height, width = -(-77 // reduce), -(-101 // reduce)
        if reduce == 1:
            whole = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
        else:
            whole = jpeg.decode_window(data, header, (0, 0, width, height), reduce, 'cv2')
        for _ in range(6):
            left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
            top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
            box = (left, top, right, bottom)
            window = jpeg.decode_window(data, header, box, reduce, decoder)
            assert np.array_equal(window, whole[top:bottom, left:right]), (reduce, box)


@pytest.mark.parametrize('decoder', INSTALLED)
def test_same_as_loading_then_cropping(decoder):
    data = encode(photo('cat', (240, 180)))
    for seed in range(20):
        one, two = fast(data, seed, decoder=decoder, reduce=False), plain(data, seed)
        assert np.array_equal(one['img'], two['img'])
        assert one['img'].flags.c_contiguous  # else packing would have to turn it around
        assert one['img_shape'] == two['img_shape'] == (32, 32)
        assert one['ori_shape'] == two['ori_shape'] == (180, 240)


@pytest.mark.parametrize('name', list(PICTURES))
@pytest.mark.parametrize('reduce', [False, True])
def test_statistics_are_those_of_torchvision(name, reduce):
    """The same boxes through PIL and torchvision, as the authors load images."""
    data = encode(PICTURES[name]())
    decoded = Image.open(io.BytesIO(data))
    crop = RandomResizedCrop(96, (0.08, 1.0), interpolation='random')
    pairs = []
    for seed in range(8):
        ours = fast(data, seed, size=96, reduce=reduce)['img']
        np.random.seed(seed)
        left, top, right, bottom = crop.draw(375, 500)
        mode = functional.InterpolationMode(crop.draw_method())
        box = (top, left, bottom - top, right - left)
        pairs.append((ours, np.asarray(functional.resized_crop(decoded, *box, (96, 96), mode))))
    # Reduced decoding filters otherwise, and its grid is off by up to half a pixel.
    limits = (4, 0.6, 0.01) if reduce else (0.02, 0.01, 1e-4)
    assert all(np.less(differences(pairs), limits))


@pytest.mark.parametrize('decoder', [name for name in INSTALLED if name != 'cv2'])
@pytest.mark.parametrize('name', list(PICTURES))
def test_plain_chroma_and_unfiltered_resize_keep_the_statistics(name, decoder):
    data = encode(PICTURES[name]())
    quick = dict(size=224, backend='cv2', smooth_chroma=False, decoder=decoder)
    pairs = [
        (fast(data, seed, **quick)['img'], plain(data, seed, size=224)['img']) for seed in range(8)
    ]
    found = differences(pairs)
    assert found[0] > 0
    assert all(np.less(found, (3, 0.6, 0.02)))


def test_shrinking_by_torch_is_pillows_to_one_grey_level():
    image = photo('astronaut', (150, 110))
    for seed in range(10):
        data = cv2.imencode('.png', image[..., ::-1])[1].tobytes()
        torch_way = plain(data, seed)['img'].astype(int)
        assert np.abs(torch_way - plain(data, seed, backend='pillow')['img']).max() <= 1


def test_reduction_covers_the_wanted_size():
    assert choose_reduction((0, 0, 500, 375), (224, 224)) == 1
    assert choose_reduction((0, 0, 448, 448), (224, 224)) == 2
    assert choose_reduction((10, 10, 1000, 457), (224, 224)) == 1
    assert choose_reduction((0, 0, 5000, 4000), (224, 224)) == 8


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_other_backends_are_those_of_the_plain_crop(backend):
    data = encode(photo('cat', (120, 80)))
    one, two = fast(data, 1, backend=backend, reduce=False), plain(data, 1, backend=backend)
    assert np.array_equal(one['img'], two['img'])


def turned(data, orientation):
    picture = Image.open(io.BytesIO(data))
    exif = picture.getexif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, 'JPEG', exif=exif)
    return out.getvalue()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_turns_the_picture_before_the_crop(orientation):
    data = turned(encode(photo('cat', (120, 80))), orientation)
    assert jpeg.read_header(data).orientation == orientation
    one, two = fast(data, 3, reduce=False), plain(data, 3)
    assert one['ori_shape'] == two['ori_shape'] == ((80, 120) if orientation < 5 else (120, 80))
    assert np.array_equal(one['img'], two['img'])


def test_bad_files_are_named_and_counted(tmp_path):
    data = encode(photo('cat', (120, 80)))
    files = {
        'cut.jpg': (data[: len(data) // 2], 'truncated'),
        'empty.jpg': (b'', 'zero bytes'),
        'foreign.jpg': (b'\xff\xd8 no image \xff\xd9', 'not an image'),
    }
    loader = LoadRandomResizedCrop(32, max_bad=3)
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        assert loader({'img_path': str(tmp_path / name)}) is None
        assert reason in loader.bad_files()[str(tmp_path / name)]
    with pytest.raises(DatasetError, match=r'(?s)gone\.jpg: does not exist.*LoadRandomResizedCrop'):
        loader({'img_path': str(tmp_path / 'gone.jpg')})


def test_depends_on_the_seed_of_the_index_alone(tmp_path):
    for number in range(3):
        (tmp_path / f'{number}.jpg').write_bytes(encode(photo('cat', (120 + number, 80))))
    pipeline = [
        dict(type='lightvit_dense.LoadRandomResizedCrop', size=16, interpolation='random'),
        dict(type='lightvit_dense.RandomFlipFlag'),
        dict(type='lightvit_dense.PackImage'),
    ]
    dataset = ImageFiles(str(tmp_path), pipeline=pipeline)
    one, two = dataset[SeededIndex(1, 77)], dataset[SeededIndex(1, 77)]
    assert one['flip'] is two['flip']
    assert one['inputs'].equal(two['inputs'])
    assert any(not dataset[SeededIndex(1, k)]['inputs'].equal(one['inputs']) for k in range(3))
    assert {dataset[SeededIndex(1, k)]['flip'] for k in range(20)} == {True, False}


def test_unknown_or_absent_decoders_are_refused(monkeypatch):
    with pytest.raises(ValueError, match='pillow'):
        LoadRandomResizedCrop(32, decoder='pillow')
    monkeypatch.setattr(jpeg, 'available', lambda name: name == 'cv2')
    assert LoadRandomResizedCrop(32).decoder == 'cv2'
    with pytest.raises(ValueError, match='pip install simplejpeg'):
        LoadRandomResizedCrop(32, decoder='simplejpeg')
