"""Configs of a small detector, segmentor and classifier, and a little data for them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from PIL import Image
from torch import nn

from lightvit_dense import apis
from tests.helpers.models import vit

CONFIGS = Path(__file__).parents[2] / 'configs'
SIDE = 64
SIZES = ((48, 64), (64, 64), (64, 40))


def detector_config(root: Path | None = None) -> Config:
    """Return the toy world's Mask R-CNN made smaller, on the images of :func:`write_coco`."""
    cfg = apis.load_config(CONFIGS / 'toyworld' / 'maskrcnn_scratch.py')
    _shrink(cfg.model.backbone, depth=2)
    cfg.model.pad_shape = SIDE
    cfg.model.backbone.window = dict(size=4, global_blocks=(1,))
    cfg.model.backbone.rel_pos = dict(kind='decomposed', size=SIDE)
    cfg.model.neck.in_channels = 32
    cfg.model.roi_head.bbox_head.type = 'lightvit_dense.BoxHead'  # the COCO recipe's
    cfg.model.roi_head.mask_head.type = 'lightvit_dense.MaskHead'
    cfg.model.test_cfg.rpn.update(nms_pre=100, max_per_img=30)
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=8)
    data = cfg.test_dataloader.dataset
    data.pipeline[1].scale = (SIDE, SIDE)
    if root is not None:
        data.update(data_root=str(root), ann_file='val.json', data_prefix=dict(img='images/'))
        cfg.test_evaluator.ann_file = str(root / 'val.json')
    cfg.test_dataloader.update(batch_size=3, num_workers=0, persistent_workers=False)
    return cfg


def segmentor_config(root: Path | None = None) -> Config:
    """Return the toy world's UperNet made smaller, on the images of :func:`write_ade`."""
    cfg = apis.load_config(CONFIGS / 'toyworld' / 'upernet_scratch.py')
    _shrink(cfg.model.backbone, depth=4)
    cfg.model.backbone.out_indices = (0, 1, 2, 3)
    cfg.model.pad_shape = None
    cfg.model.neck.embed_dim = 32
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=32, channels=16)
    data = cfg.test_dataloader.dataset
    data.pipeline[1].scale = (SIDE, SIDE)
    if root is not None:
        data.data_root = str(root)
    cfg.test_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    return cfg


def classifier_config() -> Config:
    """Return a small classifier of three classes."""
    cfg = apis.load_config(CONFIGS / 'toyworld' / 'deit.py')
    mean, std = [120.0, 115.0, 100.0], [58.0] * 3
    cfg.model = ConfigDict(
        type='lightvit_dense.ImageClassifier',
        data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', mean=mean, std=std),
        backbone=vit(24, 1, 2, pos_embed='learned', final_norm=False),
        head=dict(num_classes=3),
    )
    data = cfg.test_dataloader.dataset
    data.metainfo = dict(classes=('cat', 'dog', 'newt'))
    data.pipeline[1].size = 32
    return cfg


def build(cfg: Config) -> Any:
    """Build a model whose output depends on the image; the same one each time."""
    torch.manual_seed(0)
    model = apis.build_model(cfg, device='cpu')
    for parameter in model.parameters():
        if parameter.ndim > 1 and parameter.std() < 0.05:
            nn.init.normal_(parameter, std=0.1)
    return model


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth random RGB picture, uint8 [H, W, 3]."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def write_pictures(folder: Path, count: int = len(SIZES)) -> list[Path]:
    """Write pictures of several sizes."""
    folder.mkdir(parents=True)
    paths = [folder / f'{1001 + number:012d}.jpg' for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(*SIZES[number % len(SIZES)], seed=number)).save(path)
    return paths


def write_coco(root: Path, count: int = len(SIZES)) -> list[Path]:
    """Write pictures of an object each with an annotation file in COCO's format."""
    paths = write_pictures(root / 'images', count)
    names = detector_config().test_dataloader.dataset.metainfo.classes
    categories = [dict(id=number, name=name) for number, name in enumerate(names, 1)]
    square = dict(bbox=[4, 4, 26, 26], area=676, segmentation=[[4, 4, 30, 4, 30, 30, 4, 30]])
    images, objects = [], []
    for number, path in enumerate(paths):
        height, width = SIZES[number % len(SIZES)]
        images.append(dict(id=int(path.stem), file_name=path.name, height=height, width=width))
        ids = dict(id=number + 1, image_id=int(path.stem), category_id=number % len(names) + 1)
        objects.append(dict(square, **ids, iscrowd=0))
    content = dict(images=images, annotations=objects, categories=categories)
    (root / 'val.json').write_text(json.dumps(content))
    return paths


def write_ade(root: Path) -> list[Path]:
    """Write pictures with label maps in ADE20K's layout."""
    paths = write_pictures(root / 'images' / 'validation')
    (root / 'annotations' / 'validation').mkdir(parents=True)
    for path, size in zip(paths, SIZES, strict=True):
        labels = np.full(size, 7, np.uint8)
        Image.fromarray(labels).save(root / 'annotations' / 'validation' / f'{path.stem}.png')
    return paths


def _shrink(backbone: ConfigDict, depth: int) -> None:
    backbone.update(arch=dict(embed_dim=32, depth=depth, num_heads=2), img_size=SIDE)


def write_film(path: Path, frames: int, fps: float = 10, size: tuple = (64, 48)) -> None:
    """Write a video of so many of :func:`picture`, of a width and a height."""
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), fps, size)
    for seed in range(frames):
        film.write(cv2.cvtColor(picture(*size[::-1], seed), cv2.COLOR_RGB2BGR))
    film.release()
