"""Tiny sets of sequences as published, and a tracker that finds its template by correlation."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from lightvit_dense.datasets.errors import DatasetError
from tracking.datasets.sequence import VideoSequence
from tracking.runtime.tracker import Tracker


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """An RGB picture that tells frames apart."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def write_picture(path: Path, image: int | np.ndarray) -> None:
    """Write an image, or that of a seed, without loss; readers go by the content, not the name."""
    image = picture(image) if isinstance(image, int) else image
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', image[..., ::-1])[1].tobytes())


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), fps, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_rows(path: Path, rows: np.ndarray, separator: str = ',') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(separator.join(f'{v:g}' for v in row) + '\n' for row in rows))


def some_boxes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 60, (count, 4)).astype(np.float64)


def write_lasot_sequence(
    root: Path, name: str, boxes: np.ndarray, occluded=(), away=(), frames=None
) -> Path:
    folder = root / name.rpartition('-')[0] / name
    for frame, image in enumerate(range(len(boxes)) if frames is None else frames):
        write_picture(folder / 'img' / f'{frame + 1:08d}.jpg', image)
    write_rows(folder / 'groundtruth.txt', boxes)
    for file, gone in (('full_occlusion.txt', occluded), ('out_of_view.txt', away)):
        flags = ['1' if frame in gone else '0' for frame in range(len(boxes))]
        (folder / file).write_text(','.join(flags))
    return folder


def write_attributes(root: Path, name: str, given: tuple[int, ...]) -> None:
    """Say which of LaSOT's 14 attributes a sequence has."""
    (root / 'att').mkdir(exist_ok=True)
    flags = ['1' if place in given else '0' for place in range(14)]
    (root / 'att' / f'{name}.txt').write_text(','.join(flags))


def write_frames(folder: Path, count: int, first: int = 1, digits: int = 8) -> None:
    for frame in range(count):
        write_picture(folder / f'{frame + first:0{digits}d}.jpg', frame)


def write_got10k(root: Path) -> np.ndarray:
    """Five training videos and a test video; returns the boxes of the first."""
    names = [f'GOT-10k_Train_{number:06d}' for number in (1, 2, 5, 6, 12)]
    for number, name in enumerate(names):
        folder = root / 'train' / name
        write_frames(folder, 4)
        write_rows(folder / 'groundtruth.txt', some_boxes(4, number) + 0.1234)
        (folder / 'absence.label').write_text('0\n1\n0\n0\n')
        (folder / 'cover.label').write_text('8\n3\n0\n1\n')
        (folder / 'meta_info.ini').write_text('[METAINFO]\nanno_fps: 10\nobject_class: brown bear')
    (root / 'train' / 'list.txt').write_text('\n'.join(names) + '\n')
    folder = root / 'test' / 'GOT-10k_Test_000001'
    write_frames(folder, 7)
    write_rows(folder / 'groundtruth.txt', some_boxes(1))
    (root / 'test' / 'list.txt').write_text('GOT-10k_Test_000001\n')
    return np.array([[float(f'{v:g}') for v in row] for row in some_boxes(4, 0) + 0.1234])


def write_trackingnet(root: Path) -> dict[str, np.ndarray]:
    """Three training videos in two sets and a test video; returns the boxes of all."""
    boxes = {'aa': some_boxes(3), 'bb': some_boxes(12, 1), 'cc': some_boxes(2, 2)}
    parts = {'aa': 'TRAIN_0', 'bb': 'TRAIN_0', 'cc': 'TRAIN_10', 'dd': 'TEST'}
    boxes['dd'] = some_boxes(1, 3)
    for name, part in parts.items():
        count = 5 if name == 'dd' else len(boxes[name])
        write_frames(root / part / 'frames' / name, count, 0, 1)
        write_rows(root / part / 'anno' / f'{name}.txt', boxes[name])
    return boxes


def write_coco(root: Path) -> None:
    """Two images; two objects are larger than 50 px, one is a crowd, one is smaller."""
    for seed, name in enumerate(('one.jpg', 'two.jpg')):
        write_picture(root / 'train2017' / name, seed)
    boxes = {1: [5, 6, 70, 80], 2: [5, 6, 50, 80], 3: [5, 6, 90, 90], 5: [0.5, 1.25, 60.75, 50.5]}
    annotations = [
        dict(id=n, image_id=2 if n == 5 else 1, category_id=7, bbox=box, iscrowd=int(n == 3))
        for n, box in boxes.items()
    ]
    images = [dict(id=1, file_name='one.jpg'), dict(id=2, file_name='two.jpg')]
    content = dict(images=images, annotations=annotations, categories=[dict(id=7, name='cat')])
    path = root / 'annotations' / 'instances_train2017.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def same(a, b):
    """Expect the same sequences of two sets."""
    assert a.names == b.names
    assert len(a) > 0
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.visible, other.visible)
        assert one.gone.keys() == other.gone.keys()
        assert (one.class_name, len(one)) == (other.class_name, len(other))
        for frame in (0, len(one) - 1):
            np.testing.assert_array_equal(one.frames.read(frame), other.frames.read(frame))


class SizesOnly(nn.Module):
    """What the runtime asks a model: its sizes."""

    template_size, search_size = 64, 128
    template_factor, search_factor = 2.0, 4.0


class Correlation:
    """A frame network: the place where the target of the template fits best."""

    def set_templates(self, crops, boxes):
        x, y, self.width, self.height = np.rint(boxes[0]).astype(int)
        self.target = crops[0][y : y + self.height, x : x + self.width]

    def find_all(self, crops):
        fits = cv2.matchTemplate(crops[0], self.target, cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(fits)
        return [(np.array([x, y, self.width, self.height], np.float64), (1 + best) / 2)]


def correlation_tracker(monkeypatch) -> Tracker:
    monkeypatch.setattr('tracking.runtime.tracker.build_network', lambda *_: Correlation())
    return Tracker(SizesOnly())


@dataclass
class ArrayFrames:
    frames: list
    missing: tuple[int, ...] = ()
    folder: str = 'img'

    def __len__(self):
        return len(self.frames)

    def read(self, index):
        if index in self.missing:
            raise DatasetError(f'{self.name(index)} does not exist')
        return self.frames[index]

    def name(self, index):
        return f'{self.folder}/{index:08d}.jpg'


def moving_target(count=12, size=(120, 160), seed=0):
    """A textured square of 24x20 pixels on a curve over a smooth background; exact boxes."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    background = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    target = random.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    target = cv2.GaussianBlur(target, (3, 3), 0)
    frames, boxes = [], []
    for step in range(count):
        x, y = 20 + 8 * step, round(50 + 30 * np.sin(step / 3))
        frame = background.copy()
        frame[y : y + 20, x : x + 24] = target
        frames.append(frame)
        boxes.append((x, y, 24, 20))
    return frames, np.array(boxes, np.float64)


def sequence_of(frames, boxes, name='square-1', missing=()):
    visible = np.ones(len(boxes), bool)
    return VideoSequence(name, ArrayFrames(frames, missing), boxes, visible)


def write_folder(folder, frames, names=None):
    for index, frame in enumerate(frames):
        write_picture(folder / (names[index] if names else f'{index}.png'), frame)
    return folder
