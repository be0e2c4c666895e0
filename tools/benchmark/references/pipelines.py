"""From files to inputs as others do it: torchvision's crops, OSTrack's pairs (Ye et al. 2022)."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from lightvit_dense.datasets.toyworld.assets import load_photos
from lightvit_dense.utils.constants import IMAGENET_MEAN, IMAGENET_STD
from lightvit_dense_runtime.crops import CropWindow, crop_window

NORMALIZE = transforms.Normalize(*([v / 255 for v in x] for x in (IMAGENET_MEAN, IMAGENET_STD)))


def photographs(size: Sequence[int]) -> list[bytes]:
    """Make JPEG files of the photographs that installed packages carry, (width, height) px."""
    files = []
    for photo in (*load_photos('train'), *load_photos('val')):
        out = io.BytesIO()
        picture = ImageOps.fit(Image.fromarray(photo.image), tuple(size), Image.Resampling.LANCZOS)
        picture.save(out, 'JPEG', quality=90)
        files.append(out.getvalue())
    return files


def random_crop_reference(crop: int, scale: tuple[float, float]) -> Callable[[Any], torch.Tensor]:
    """Return MAE's pipeline by Pillow and torchvision: a file or its path to normalised floats."""
    modes = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
    flip = transforms.RandomHorizontalFlip()
    finish = transforms.Compose([flip, transforms.ToTensor(), NORMALIZE])

    def run(file: Any) -> torch.Tensor:
        picture = Image.open(file).convert('RGB')
        box = transforms.RandomResizedCrop.get_params(picture, scale, (3 / 4, 4 / 3))
        mode = modes[int(torch.randint(2, ()))]
        return finish(functional.resized_crop(picture, *box, (crop, crop), mode))

    return run


def center_crop_reference(crop: int) -> Callable[[Any], torch.Tensor]:
    """Return evaluation's view by Pillow and torchvision: a file to normalised floats."""
    resize = transforms.Resize(int(crop * 256 / 224), InterpolationMode.BICUBIC)
    view = [resize, transforms.CenterCrop(crop), transforms.ToTensor(), NORMALIZE]
    run = transforms.Compose(view)
    return lambda file: run(Image.open(file).convert('RGB'))


def cut_out(image: np.ndarray, window: CropWindow, out: int, border: int = 0) -> np.ndarray:
    """Cut a window as OSTrack does: lay out its padding in memory, then resize it to a side."""
    left, top = window.x, window.y
    right, bottom = left + window.side, top + window.side
    across = (max(0, -left), max(right - image.shape[1], 0))
    down = (max(0, -top), max(bottom - image.shape[0], 0))
    inner = image[top + down[0] : bottom - down[1], left + across[0] : right - across[1]]
    square = cv2.copyMakeBorder(inner, *down, *across, cv2.BORDER_CONSTANT, value=[border] * 3)
    return cv2.resize(square, (out, out))


def cut_with_mask(image: np.ndarray, box: np.ndarray, spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cut the crop of a shaken box, and the mask of its padding."""
    window = crop_window(spec.shake(box), spec.factor)
    mask = cut_out(np.zeros(image.shape[:2]), window, spec.size, border=1)
    return cut_out(image, window, spec.size), mask.astype(bool)


def pair_reference(pairs: Any) -> Callable[[Any], object]:
    """Return OSTrack's pipeline to a :class:`PairDataset`'s crops: whole frames are changed."""

    def finish(crop: np.ndarray) -> torch.Tensor:
        image = torch.from_numpy(crop.transpose(2, 0, 1).copy()).float()
        image = image.mul(np.random.uniform(0.8, 1.2) / 255).clamp(0, 1)
        return NORMALIZE(image.flip(2) if np.random.random() < 0.5 else image)

    def run(index: Any) -> object:
        sequence = pairs.sets[0][int(np.random.randint(len(pairs.sets[0])))]
        chosen = pairs.choice.draw(sequence.visible)
        gray, flip = np.random.random() < 0.05, np.random.random() < 0.5
        found = []
        for frame, spec in zip(chosen, (pairs.template, pairs.search), strict=True):
            image = cv2.cvtColor(cv2.imread(sequence.frames.name(frame)), cv2.COLOR_BGR2RGB)
            box = np.array(sequence.boxes[frame])
            if gray:
                image = np.dstack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3)
            if flip:
                image = np.fliplr(image).copy()
                box[0] = image.shape[1] - box[0] - box[2]
            crop, mask = cut_with_mask(image, box, spec)
            found.append((finish(crop), torch.from_numpy(mask)))
        return found

    return run
