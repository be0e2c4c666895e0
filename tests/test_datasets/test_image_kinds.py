"""Images of every kind that ImageNet-like data hold, through both loaders, against Pillow."""

import io
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config, ConfigDict
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from lightvit_dense.datasets import DatasetError, SeededIndex, collate_deferred
from lightvit_dense.datasets.checking.report import open_image
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.datasets.storage import read_file
from lightvit_dense.datasets.transforms import jpeg, loading
from lightvit_dense.datasets.transforms.loading import BadImage, decode
from lightvit_dense.engine import options
from lightvit_dense.errors import UserError
from lightvit_dense.models import ImagePreprocessor
from lightvit_dense.models.preprocessors import jpeg as batch_jpeg
from lightvit_dense.registry import TRANSFORMS
from tests.helpers.data_sets import build
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.photos import photo as real_photo

SIZE = (120, 150)  # height, width


def photo():
    return Image.fromarray(real_photo('astronaut', SIZE[::-1]))


def save(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ink():
    """The photograph as cyan, magenta, yellow and some black."""
    planes = np.array(photo().convert('CMYK'))
    planes[..., 3] = 60
    return Image.fromarray(planes, 'CMYK')


def ycck():
    """Adobe's YCCK: luma and chroma in place of cyan, magenta and yellow, and a mark of it."""
    planes = np.asarray(ink())
    chroma = np.asarray(Image.fromarray(planes[..., :3]).convert('YCbCr'))
    # Pillow writes ink inverted, as Adobe does.
    stored = np.dstack([255 - chroma, planes[..., 3]])
    data = bytearray(save(Image.fromarray(stored, 'CMYK'), 'JPEG', quality=95))
    data[data.find(b'Adobe') + 11] = 2
    return bytes(data)


def sixteen(channels):
    image = np.asarray(photo() if channels > 1 else photo().convert('L')).astype(np.uint16) * 257
    if channels > 1:
        image = image[..., ::-1]
    if channels == 4:
        image = np.dstack([image, np.full(SIZE, 30000, np.uint16)])
    return cv2.imencode('.png', np.ascontiguousarray(image))[1].tobytes()


def clear():
    """The photograph with a part that is transparent, whose colours stay."""
    planes = np.array(photo().convert('RGBA'))
    planes[:40, :, 3], planes[40:80, :, 3] = 0, 128
    return Image.fromarray(planes)


def turned(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(photo(), kind, exif=exif)


KINDS = {
    'colour': lambda: save(photo(), 'JPEG'),
    'grey': lambda: save(photo().convert('L'), 'JPEG'),
    'progressive': lambda: save(photo(), 'JPEG', progressive=True),
    'cmyk': lambda: save(ink(), 'JPEG', quality=95),
    'ycck': ycck,
    'png': lambda: save(photo(), 'PNG'),
    'png-grey': lambda: save(photo().convert('L'), 'PNG'),
    'png-grey-alpha': lambda: save(photo().convert('LA'), 'PNG'),
    'png-bits': lambda: save(photo().convert('1'), 'PNG'),
    'png-palette': lambda: save(photo().quantize(200), 'PNG'),
    'png-palette-clear': lambda: save(photo().quantize(200), 'PNG', transparency=3),
    'png-alpha': lambda: save(clear(), 'PNG'),
    'png-16-grey': lambda: sixteen(1),
    'png-16-colour': lambda: sixteen(3),
    'png-16-alpha': lambda: sixteen(4),
    'gif': lambda: save(photo().quantize(200), 'GIF'),
    'webp': lambda: save(photo(), 'WEBP', lossless=True),
    'webp-alpha': lambda: save(clear(), 'WEBP', lossless=True, exact=True),
    'tiff': lambda: save(photo(), 'TIFF'),
    'tiff-cmyk': lambda: save(photo().convert('CMYK'), 'TIFF'),
    'exif-8-png': lambda: turned('PNG', 8),
} | {f'exif-{number}': partial(turned, 'JPEG', number) for number in range(1, 9)}
TURNED = [name for name in KINDS if name.startswith('exif') and name != 'exif-1']


def by_pillow(data, exif=True):
    """Decode as torchvision's ``ImageFolder`` does, upright if asked; 16-bit grey is scaled."""
    image = Image.open(io.BytesIO(data))
    image = ImageOps.exif_transpose(image) if exif else image
    if image.mode.startswith('I;16'):  # whose conversion by Pillow would cut all values at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return np.asarray(image.convert('RGB')).astype(int)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Each kind in a class of its own, all under the name of a JPEG, as ImageNet has its PNG."""
    root = tmp_path_factory.mktemp('kinds')
    for name, make in KINDS.items():
        (root / 'train' / name).mkdir(parents=True)
        (root / f'train/{name}/{name}.JPEG').write_bytes(make())
    write_lmdb(root, root / 'imagenet.lmdb')
    return root


def pixels(world, source, load, name):
    dataset = build('ImageNet', world, source=source, test_mode=True, pipeline=[load])
    item = dataset[sorted(KINDS).index(name)]
    assert Path(item['img_path']).stem == name
    return item['img']


def loaders(height, width, **options):
    """Configs of every way to load a whole image."""
    whole = dict(size=(height, width), scale=(1.0, 1.0), ratio=(width / height,) * 2, **options)
    crop = dict(type='lightvit_dense.LoadRandomResizedCrop', **whole)
    decoders = [name for name in jpeg.DECODERS if jpeg.available(name)]
    assert decoders
    load = dict(type='lightvit_dense.LoadImage', color='rgb', **options)
    return [load, *(dict(crop, decoder=decoder) for decoder in decoders)]


@pytest.mark.parametrize('source', ['folder', 'lmdb'])
@pytest.mark.parametrize('name', list(KINDS))
def test_pixels_are_pillows(world, source, name):
    expected = by_pillow((world / f'train/{name}/{name}.JPEG').read_bytes())
    # Ink is converted to light by integers of another precision.
    tolerance = 2 if 'cmyk' in name or name == 'ycck' else 0
    for load in loaders(*expected.shape[:2]):
        found = pixels(world, source, load, name)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= tolerance, load


@pytest.mark.parametrize('name', TURNED)
def test_exif_false_leaves_pictures_as_torchvision_and_timm_do(world, name):
    data = (world / f'train/{name}/{name}.JPEG').read_bytes()
    expected = by_pillow(data, exif=False)
    assert not np.array_equal(by_pillow(data), expected)
    for load in loaders(*SIZE, exif=False):
        assert np.array_equal(pixels(world, 'folder', load, name), expected), load


@pytest.mark.parametrize(
    'config', ['imagenet/finetune_mae_vit-tiny_300e', 'transfer/pets_vit-tiny']
)
@pytest.mark.parametrize('name', ['colour', 'grey', 'progressive', 'png-palette', 'exif-6'])
def test_recipes_evaluate_on_torchvisions_pixels(world, config, name):
    """From the file to the network's input, as ``ImageFolder`` and the authors' transforms."""
    cfg = Config.fromfile(Path(__file__).parents[2] / f'configs/{config}.py')
    pipelines = [loader.dataset.pipeline for loader in (cfg.val_dataloader, cfg.test_dataloader)]
    if 'extra_tests' in cfg:
        pipelines.append(cfg.extra_tests.v2.dataloader.dataset.pipeline)
    path = world / f'train/{name}/{name}.JPEG'
    resize = transforms.Resize(256, transforms.InterpolationMode.BICUBIC)
    view = transforms.Compose([resize, transforms.CenterCrop(224), transforms.PILToTensor()])
    expected = view(default_loader(str(path)))
    for pipeline in pipelines:
        item = Compose([TRANSFORMS.build(step) for step in pipeline])({'img_path': str(path)})
        assert item['inputs'].equal(expected)


JPEGS = ['colour', 'grey', 'progressive', 'cmyk', 'exif-6']
NOISE = np.random.default_rng(0).bytes(3000) + b'\xff\xda\xff'


@pytest.mark.parametrize('name', JPEGS)
@pytest.mark.parametrize('tail', [b'\0' * 9, NOISE, NOISE + b'\xff\xd9', KINDS['colour']()[:-90]])
def test_what_follows_a_jpeg_does_no_harm_and_hides_no_truncation(name, tail):
    data = KINDS[name]()
    assert np.array_equal(decode(data + tail), decode(data))
    for cut in (2, len(data) // 3, len(data) * 2 // 3):
        with pytest.raises(BadImage, match='truncated'):
            decode(data[:-cut])


@pytest.mark.parametrize('name', ['colour', 'grey', 'progressive', 'exif-6'])
def test_what_libjpeg_warns_of_is_told(name):
    """200 bytes are overwritten in the picture's data: the decoder loses its place in them."""
    data, rng, told, logged = KINDS[name](), np.random.default_rng(1), 0, 0
    first = data.find(b'\xff\xda') + 14
    for _ in range(30):
        place = int(rng.integers(first, len(data) - 202))
        broken = data[:place] + rng.bytes(200) + data[place + 200 :]
        try:
            decode(broken)
        except BadImage:
            told += 1
            with suppress(BadImage):  # where no part is known to be lost, a line in the log
                decode(broken, path='a.jpg')
                logged += 1
    # By chance the decoder may find its place again without a word.
    assert told >= 25
    assert logged < 12


def test_a_doubt_is_logged_once_and_a_verdict_of_the_check(tmp_path, monkeypatch):
    data = KINDS['colour']()
    path, shown = tmp_path / 'a.jpg', []
    path.write_bytes(data[:-2] + b'left over' + data[-2:])
    monkeypatch.setattr(loading, 'print_log', lambda text, **_: shown.append(text))
    step = TRANSFORMS.build(dict(type='lightvit_dense.LoadImage', color='rgb'))
    for _ in range(2):
        assert np.array_equal(step({'img_path': str(path)})['img'], decode(data, 'rgb'))
    doubt = r'damaged \(Corrupt JPEG data: \d extraneous bytes before marker 0xd9\)'
    (line,) = shown
    assert re.fullmatch(f'image {path}: possibly {doubt}', line)
    with pytest.raises(BadImage, match=f'a.jpg: {doubt}'):
        open_image(read_file, str(path))


@pytest.mark.parametrize('kind', ['float32', 'float64'])
def test_pictures_of_floats_are_refused(kind):
    data = cv2.imencode('.tiff', np.full((*SIZE, 3), 0.5, kind))[1].tobytes()
    with pytest.raises(BadImage, match=f'values of the type {kind}; write 8 or 16 bits'):
        decode(data, 'rgb')


@pytest.mark.parametrize(('kind', 'channels'), [('png', 1), ('png', 3), ('tiff', 1), ('ppm', 3)])
@pytest.mark.parametrize(('bits', 'dark'), [(8, True), (10, True), (12, True), (14, False)])
def test_twelve_bits_in_sixteen_are_not_read_as_black(kind, channels, bits, dark):
    image = real_photo('astronaut', SIZE[::-1]).astype(np.uint16)[..., :channels] << (bits - 8)
    data = cv2.imencode(f'.{kind}', image)[1].tobytes()
    if dark:
        with pytest.raises(BadImage, match=rf'has 16 bits .*multiply it by {2 ** (16 - bits)},'):
            decode(data)
    else:
        expected = np.broadcast_to(image >> 8, (*SIZE, 3))
        assert np.array_equal(decode(data), expected)
    black = cv2.imencode(f'.{kind}', image * 0)[1].tobytes()
    assert not decode(black).any()


def no_scan():
    data = KINDS['colour']()
    return data[: data.find(b'\xff\xda')] + b'\xff\xd9'


@pytest.mark.parametrize('source', ['folder', 'lmdb'])
@pytest.mark.parametrize('kind', ['LoadImage', 'LoadRandomResizedCrop'])
@pytest.mark.parametrize(
    'content',
    [no_scan(), b'\xff\xd8 no image \xff\xd9', b'<html>404</html>', b'', KINDS['png']()[:300]],
    ids=range(5),
)
def test_files_without_an_image_are_named(tmp_path, source, kind, content):
    (tmp_path / 'train/a').mkdir(parents=True)
    (tmp_path / 'train/a/x_1.JPEG').write_bytes(content)
    (tmp_path / 'train/a/x_2.JPEG').write_bytes(KINDS['colour']())
    write_lmdb(tmp_path, tmp_path / 'imagenet.lmdb')
    load = dict(type=f'lightvit_dense.{kind}', max_bad=1)
    options = dict(source=source, pipeline=[load | (dict(size=8) if 'Crop' in kind else {})])
    reason = rf'(?s)x_1\.JPEG: (not an image|zero|trunc).*max_bad of lightvit_dense\.{kind} '
    with pytest.raises(DatasetError, match=reason):
        build('ImageNet', tmp_path, test_mode=True, **options)[0]
    assert build('ImageNet', tmp_path, **options)[0]['img_path'] == 'train/a/x_2.JPEG'


def test_what_nvjpeg_knows_travels_as_a_file_once(world):
    """On the CPU, where libjpeg decodes the batch, crops are those of the workers."""
    load = dict(type='lightvit_dense.LoadRandomResizedCrop', size=16, reduce=False)
    steps, made = [load, dict(type='lightvit_dense.PackImage')], []
    for encoded in (False, True):
        deferred = dict(type='lightvit_dense.DeferredPipeline', transforms=steps, encoded=encoded)
        data = build('ImageNet', world, with_labels=False, pipeline=[deferred])
        indices = [SeededIndex(n % len(KINDS), n) for n in range(2 * len(KINDS))]
        batch = collate_deferred(data.__getitems__(indices))
        made.append(ImagePreprocessor([0.0] * 3, [1.0] * 3)(batch)['inputs'])
    names = [Path(name).stem for name in batch['files'].names]
    assert names == ['colour', 'exif-1', 'grey', 'progressive']
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ('old', 'new', 'suits'),
    [
        (b'\xff\xd8', b'\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01', True),
        (b'\xff\xd8', b'\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0', False),  # colours are RGB
        (b'\xff\xc0\0\x11', b'\xff\xc9\0\x11', False),  # arithmetic code
        (b'\x01\x22\0\x02\x11', b'\x01\x22\0\x02\x21', False),  # odd subsampling
    ],
)
def test_the_header_tells_what_nvjpeg_knows(old, new, suits):
    data = KINDS['colour']().replace(old, new, 1)
    assert jpeg.suits_gpu(data, jpeg.read_header(data)) is suits


def test_the_host_decodes_what_nvjpeg_refuses(monkeypatch):
    file, log = torch.frombuffer(bytearray(KINDS['colour']()), dtype=torch.uint8), Mock()
    answers = [RuntimeError('one of them'), ['a'], RuntimeError('this one'), ['c']]
    monkeypatch.setattr(batch_jpeg, '_on_gpu', Mock(side_effect=answers))
    monkeypatch.setattr(batch_jpeg, 'print_log', log)
    with fake_cuda():
        images = batch_jpeg.decode_batch([file] * 3, torch.device('cuda'), [*'abc'])
    assert (images[0], images[1].shape, images[2]) == ('a', (3, *SIZE), 'c')
    log.assert_called_once_with('JPEG file b: decoded on the host (this one)', 'current', 30)
    file[2:40] = 0
    with pytest.raises(UserError, match=r"JPEG file b is damaged .*engine.jpeg='host'"):
        batch_jpeg.decode_batch([file], torch.device('cpu'), ['b'])


@pytest.mark.parametrize(
    ('gpu', 'answer', 'reason'),
    [
        (False, '', 'torch sees no CUDA GPU'),
        (True, 'not compiled with nvJPEG support', 'torchvision was built without nvJPEG'),
        (True, 'Expected the device parameter to be a cuda device', ''),
    ],
)
def test_without_a_decoder_on_the_gpu_the_workers_decode(monkeypatch, gpu, answer, reason):
    log, pipeline, refuse = Mock(), ConfigDict(), Mock(side_effect=RuntimeError(answer))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.ops.image, 'decode_jpegs_cuda', refuse)
    monkeypatch.setattr(options, 'print_log', log)
    options._leave_jpeg_to_gpu(pipeline)
    assert pipeline.encoded is (not reason)
    assert not reason or f"engine.jpeg='device': {reason}; the wor" in log.call_args.args[0]
