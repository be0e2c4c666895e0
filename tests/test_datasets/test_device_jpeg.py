"""JPEG files that travel as they are, and are decoded for a batch."""

import io
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lightvit_dense.datasets import DatasetError, SeededIndex, collate_deferred
from lightvit_dense.datasets.transforms import jpeg, loading
from lightvit_dense.errors import UserError
from lightvit_dense.models import ImagePreprocessor, MultiViewPreprocessor
from lightvit_dense.models.preprocessors import jpeg as preprocessor
from lightvit_dense.models.preprocessors.jpeg import decode_batch, missing_decoder
from tests.helpers.data_sets import build
from tests.helpers.fake_cuda import fake_cuda

CPU = torch.device('cpu')
CROP = dict(type='lightvit_dense.RandomResizedCrop', size=16, backend='torch')
ONE = [
    dict(type='lightvit_dense.LoadRandomResizedCrop', size=16, reduce=False, max_bad=1),
    dict(type='lightvit_dense.PackImage'),
]
VIEWS = [
    dict(type='lightvit_dense.LoadImage', color='rgb'),
    dict(type='lightvit_dense.MultiView', views=[dict(count=2, pipeline=[CROP])]),
    dict(type='lightvit_dense.PackViews'),
]


def written(mode: str = 'RGB', size: tuple[int, int] = (57, 43), **options: object) -> bytes:
    """Return smooth noise as a JPEG file, (width, height) px, or in another format."""
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
    picture.save(out, **{'format': 'JPEG'} | options)
    return out.getvalue()


PLAIN = written()
ADOBE = b'\xff\xee\0\x0eAdobe\0\x64\0\0\0\0'  # and one byte for the kind of colours
TURNED = written(exif=b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0')
SUITS = {
    'plain': (PLAIN, True),
    'grey': (written('L'), True),
    'progressive': (written(progressive=True), True),
    '4:4:4': (written(subsampling=0), True),
    '4:2:2': (written(subsampling=1), True),
    'CMYK': (written('CMYK'), False),
    'RGB': (written(keep_rgb=True), False),
    'Adobe, YCbCr': (PLAIN[:2] + ADOBE + b'\x01' + PLAIN[2:], True),
    'Adobe, RGB': (PLAIN[:2] + ADOBE + b'\0' + PLAIN[2:], False),
    '12 bits': (PLAIN.replace(b'\xff\xc0\0\x11\x08', b'\xff\xc0\0\x11\x0c'), False),
    'arithmetic': (PLAIN.replace(b'\xff\xc0\0\x11', b'\xff\xc9\0\x11'), False),
    'odd factors': (PLAIN.replace(b'\x01\x22\0\x02\x11', b'\x01\x22\0\x02\x21'), False),
}


@pytest.mark.parametrize('case', SUITS)
def test_the_header_tells_what_nvjpeg_decodes(case: str) -> None:
    data, suits = SUITS[case]
    header = jpeg.read_header(data)
    assert header is not None
    assert jpeg.suits_gpu(data, header) is suits


@pytest.mark.parametrize('case', ['plain', 'grey', 'progressive', '4:2:2'])
def test_decoded_pixels_are_those_of_the_workers(case: str) -> None:
    data = SUITS[case][0]
    (image,) = decode_batch([torch.frombuffer(bytearray(data), dtype=torch.uint8)], CPU, ['a'])
    expected = loading.decode(data, 'rgb', exif=False)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files for the GPU, and three for the host: of another kind, turned, and no JPEG."""
    files = [PLAIN, SUITS['CMYK'][0], TURNED, written(size=(20, 90)), written(format='PNG')]
    for number, data in enumerate(files):
        (tmp_path / f'{number}{".png" if number == 4 else ".jpg"}').write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    ('steps', 'kind'), [(ONE, ImagePreprocessor), (VIEWS, MultiViewPreprocessor)]
)
def test_views_are_those_of_pixels(folder: Path, steps: list, kind: type) -> None:
    """Repeats of an image travel once."""
    indices = [SeededIndex(index, seed) for seed, index in enumerate([0, 1, 0, 2, 3, 4])]
    made = []
    for encoded in (True, False):
        deferred = dict(type='lightvit_dense.DeferredPipeline', transforms=steps, encoded=encoded)
        data = build('ImageFiles', folder, pipeline=[deferred])
        batch = collate_deferred(data.__getitems__(indices))
        if encoded:
            assert [Path(name).name for name in batch['files'].names] == ['0.jpg', '3.jpg']
        made.append(kind([0.0] * 3, [1.0] * 3)(batch)['inputs'])
    found, expected = (torch.cat(list(views)) for views in made)
    assert torch.equal(found, expected)


def test_bad_files_keep_their_budget(folder: Path) -> None:
    """What is cut short is counted by the worker; what no decoder reads is an error by its name."""
    deferred = dict(type='lightvit_dense.DeferredPipeline', transforms=ONE, encoded=True)
    data = build('ImageFiles', folder, pipeline=[deferred])
    for number in (0, 3):
        (folder / f'{number}.jpg').write_bytes(PLAIN[:-40])
    assert data[SeededIndex(0, 0)]['path'] != str(folder / '0.jpg')
    with pytest.raises(DatasetError, match=r'2 image\(s\) cannot be read[\s\S]*truncated'):
        data[SeededIndex(3, 0)]
    broken = torch.frombuffer(bytearray(PLAIN.replace(b'\xff\xdb', b'\xff\xe7')), dtype=torch.uint8)
    with pytest.raises(UserError, match=r"JPEG file a.jpg: damaged .*engine.jpeg='host'"):
        decode_batch([broken], CPU, ['a.jpg'])


def test_the_host_decodes_what_nvjpeg_refuses(monkeypatch) -> None:
    """On a stand-in for nvJPEG that takes small files alone."""
    real = torchvision.io.decode_jpeg

    def decode(files, mode, device=CPU):
        if torch.device(device).type == 'cpu':
            return real(files, mode)
        if any(len(file) > 1500 for file in files):
            raise RuntimeError('Error while decoding JPEG images')
        return [real(file, mode).to(device, non_blocking=True) for file in files]

    monkeypatch.setattr(torchvision.io, 'decode_jpeg', decode)
    sizes = [(40, 30), (300, 200), (33, 20)]
    files = [torch.frombuffer(bytearray(written(size=size)), dtype=torch.uint8) for size in sizes]
    log = MagicMock()
    monkeypatch.setattr(preprocessor, 'print_log', log)
    with fake_cuda() as machine:
        for name in ('current_stream', 'stream', 'Stream'):
            monkeypatch.setattr(torch.cuda, name, MagicMock())
        monkeypatch.setattr(torch.Tensor, 'record_stream', lambda *_: None)
        images = decode_batch(files, torch.device('cuda'), ['a', 'b', 'c'])
        machine.check(0, 'decode_batch')
    assert [tuple(image.shape) for image in images] == [(3, h, w) for w, h in sizes]
    assert [call.args[0][:32] for call in log.call_args_list] == [
        'JPEG file b: decoded on the host'
    ]


def test_a_missing_decoder_is_named(monkeypatch) -> None:
    missing_decoder.cache_clear()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert missing_decoder() == 'torch sees no CUDA GPU'
    missing_decoder.cache_clear()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert missing_decoder() in ('', 'torchvision was built without nvJPEG')
    missing_decoder.cache_clear()
