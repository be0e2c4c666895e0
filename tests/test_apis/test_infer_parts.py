"""What inference takes and says of what it cannot take, and how results are painted."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightvit_dense.apis.inference.painting import draw_result
from lightvit_dense.apis.inference.results import (
    Classification,
    Detections,
    Failure,
    Result,
    Segmentation,
)
from lightvit_dense.apis.inference.sources import InferenceError, Picture, Sources, check_array
from lightvit_dense.apis.inference.writer import ResultWriter
from tests.helpers.small_dense import picture, write_film


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(8, 10, seed)).save(path)
    return path


def test_arrays_are_rgb() -> None:
    pixels = picture(6, 5)
    np.testing.assert_array_equal(check_array(pixels), pixels)
    grey = pixels[:, :, 0]
    for given in (grey, grey[:, :, None]):
        found = check_array(given)
        assert found.shape == (6, 5, 3)
        np.testing.assert_array_equal(found, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.zeros((4, 4, 3), np.float32), r'float32 is no picture: pixels are uint8 in 0\.\.255'),
        (np.full((4, 4, 3), np.nan), 'float64 with values that are not finite is no picture'),
        (np.zeros((4, 4, 3), np.int64), 'an array of int64 is no picture'),
        (np.zeros((4, 4, 4), np.uint8), r'shape \(4, 4, 4\) is no picture'),
        (np.zeros((2, 4, 4, 3), np.uint8), r'shape \(2, 4, 4, 3\) is no picture'),
        (np.zeros((0, 4, 3), np.uint8), 'has no pixels'),
        (3, 'a int is no input'),
    ],
)
def test_other_arrays_are_refused(array: object, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        check_array(array)


def test_folders_files_and_names(tmp_path: Path) -> None:
    folder = tmp_path / 'folder'
    save(folder / 'b.PNG')
    save(folder / 'a.jpg')
    save(folder / 'a.png')
    save(folder / 'deep' / 'a.jpg')
    (folder / 'notes.txt').write_text('no picture')
    flat, deep = Sources(folder), Sources(folder, recursive=True)
    assert [item.name for item in flat] == ['a', 'a.png', 'b']
    assert [item.name for item in deep] == ['a', 'a.png', 'b', 'deep/a']
    assert (flat.total(), deep.total()) == (3, 4)
    # Once more: names do not depend on what was read before.
    assert [item.name for item in flat] == ['a', 'a.png', 'b']
    mixed = Sources([folder / 'a.jpg', str(folder / 'deep' / 'a.jpg'), picture(3, 4), folder])
    assert [item.name for item in mixed] == [
        'a', 'a.jpg', 'array_000002', 'a.jpg-2', 'a.png', 'b',
    ]  # fmt: skip
    assert mixed.total() == 6
    assert Sources(iter([picture(3, 4)])).total() is None
    np.testing.assert_array_equal(next(iter(Sources(folder / 'a.png'))).pixels, picture(8, 10))


def test_pictures_are_turned_upright_and_made_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(picture(8, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.jpg', exif=exif)
    Image.fromarray(picture(8, 10)[:, :, 0]).save(tmp_path / 'grey.png')
    image.convert('P').save(tmp_path / 'palette.png')
    shapes = {item.name: item.pixels.shape for item in Sources(tmp_path)}
    assert shapes == dict(turned=(10, 8, 3), grey=(8, 10, 3), palette=(8, 10, 3))
    (stored,) = Sources(tmp_path / 'turned.jpg', exif=False)
    assert stored.pixels.shape == (8, 10, 3)


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = save(tmp_path / 'good.jpg')
    whole = good.read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'empty.png').write_bytes(b'')
    (tmp_path / 'text.png').write_text('hello')
    (tmp_path / 'none').mkdir()
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'link.jpg').symlink_to(tmp_path / 'gone.jpg')
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / '._good.jpg').write_bytes(b'of a Mac')
    header = b'\x00\x00\x00\x0dIHDR' + struct.pack('>IIBBBBB', 10**6, 10**6, 8, 2, 0, 0, 0)
    (tmp_path / 'huge.png').write_bytes(b'\x89PNG\r\n\x1a\n' + header + b'\0' * 12 + b'IEND')
    (tmp_path / 'film.mp4').write_bytes(b'no film')
    reasons = {
        tmp_path / 'cut.jpg': 'truncated after',
        tmp_path / 'empty.png': 'zero bytes',
        tmp_path / 'absent.jpg': 'does not exist',
        tmp_path / 'none': 'no image in it',
        tmp_path / 'text.png': 'not an image',
        tmp_path / 'film.mp4': 'not a video',
        'https://example.org/a.jpg': 'download the file',
        tmp_path / 'huge.png': 'not ',
        tmp_path / 'link.jpg': 'does not exist',
        tmp_path / 'pipe.jpg': 'not a regular file',
        tmp_path / 'folder.jpg': 'no image in it',
    }
    items = list(Sources([*reasons, np.zeros((2, 2, 3)), good]))
    failures = [item for item in items if isinstance(item, Failure)]
    for failure, reason in zip(failures, [*reasons.values(), 'float64 is no picture'], strict=True):
        assert reason in failure.reason
    assert failures[0].name == str(tmp_path / 'cut.jpg')
    assert failures[-1].name == 'input 11'
    assert [item.name for item in items if isinstance(item, Picture)] == ['good']
    for recursive in (False, True):
        items = list(Sources(tmp_path, recursive))
        assert len([item for item in items if isinstance(item, Failure)]) == 6
        assert [item.name for item in items if isinstance(item, Picture)] == ['good']


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    """Same names in other folders, other endings, other writings of a number."""
    files = ['1.png', '001.png', 'a.jpg', 'a.png', 'a/1.png', 'b/1.png', 'b/a.b.png', 'c/001.png']
    for seed, file in enumerate(files):
        save(tmp_path / 'in' / file, seed)
    write_film(tmp_path / 'a.avi', 3)
    pictures = list(Sources([tmp_path / 'in', tmp_path / 'a.avi'], recursive=True))
    names, colors = tuple('abcdefghijk'), [RED] * 11
    with ResultWriter(tmp_path / 'out', names, colors) as writer:
        for seed, one in enumerate(pictures):
            label_map = np.full(one.pixels.shape[:2], seed, np.uint8)
            about = (one.name, *one.pixels.shape[:2], one.path, one.frame)
            writer.write(one, Segmentation(*about, label_map=label_map, names=names))
    entries = json.loads((tmp_path / 'out' / 'images.json').read_text())
    frames = [f'a.avi/00000{number}' for number in range(3)]
    ids = [1, '1', 'a/1', 'a', 'a.png', 'b/1', 'b/a.b', 'c/001', *frames]
    assert [entry['id'] for entry in entries] == ids
    assert [Path(entry['file_name']) for entry in entries[:8]] == sorted(tmp_path.glob('in/**/*.*'))
    for seed, one in enumerate(pictures):
        labels = np.asarray(Image.open(tmp_path / 'out' / 'labels' / f'{one.name}.png'))
        assert (labels == seed).all()
    assert len(list((tmp_path / 'out' / 'pictures').rglob('*.jpg'))) == len(files)


def test_frames_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    write_film(path, 20)
    frames = list(Sources(path))
    assert Sources(path).total() == 20
    assert [frame.frame for frame in frames] == list(range(20))
    assert frames[0].fps == pytest.approx(10)
    # MJPG loses something, but the colours are those that went in.
    difference = frames[7].pixels.astype(int) - picture(48, 64, 7)
    assert np.abs(difference).mean() < 8
    swapped = frames[7].pixels[:, :, ::-1].astype(int) - picture(48, 64, 7)
    assert np.abs(swapped).mean() > 20
    write_film(tmp_path / 'none.avi', 0)
    (failure,) = Sources(tmp_path / 'none.avi')
    assert isinstance(failure, Failure)
    assert 'film' not in failure.reason


def test_a_truncated_video_gives_its_frames_and_a_complaint(tmp_path: Path) -> None:
    write_film(tmp_path / 'film.avi', 40)
    data = (tmp_path / 'film.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(data[: len(data) // 2])
    *frames, failure = Sources(tmp_path / 'cut.avi')
    assert 10 < len(frames) < 30
    assert all(isinstance(frame, Picture) for frame in frames)
    assert f'ends after {len(frames)} of 40 frames' in failure.reason


RED, BLUE = (250, 0, 0), (0, 0, 240)
PIXELS = np.random.default_rng(0).integers(0, 256, (100, 300, 3)).astype(np.uint8)


def test_the_best_object_is_drawn_on_top_in_the_colour_of_its_class() -> None:
    result = Detections(
        'x', 100, 300,
        boxes=np.array([[90, 40, 200, 80], [90, 40, 250, 80]], np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.array([1, 0]), names=('cup', 'cat'), masks=np.ones((2, 100, 300), bool),
    )  # fmt: skip
    drawn = draw_result(PIXELS, result, [RED, BLUE])
    assert (drawn[45:75, 90] == BLUE).all()
    assert (drawn[45:75, 249] == RED).all()
    under = 0.5 * PIXELS[90, 5] + 0.5 * np.array(RED)
    np.testing.assert_allclose(drawn[90, 5], 0.5 * under + 0.5 * np.array(BLUE), atol=1)
    np.testing.assert_array_equal(draw_result(PIXELS, Detections('x', 100, 300), [RED]), PIXELS)


def test_classes_are_written_and_nothing_else_is_drawn() -> None:
    result = Classification('x', 100, 300, scores=np.array([0.1, 0.9]), names=('cat', 'dog'))
    painted = draw_result(PIXELS, result, [])
    assert (painted[:30, :60] == 0).all(axis=2).any()
    np.testing.assert_array_equal(painted[:, 150:], PIXELS[:, 150:])
    with pytest.raises(TypeError, match='nothing is drawn of a Result'):
        draw_result(PIXELS, Result('x', 60, 200), [])
