"""The toy world's detector and segmentor made tiny, and a dozen images for either to learn from."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'toyworld'
SIDE = 64
ARCH = dict(embed_dim=16, depth=2, num_heads=2)


def write_coco(root: Path, count: int = 12) -> None:
    """Write images of noise with one to three rectangles each, in COCO's layout."""
    images, annotations = [], []
    for number in range(1, count + 1):
        image, boxes = _noise_with_boxes(number)
        _write(root / 'train2017' / f'{number}.png', image)
        size = dict(height=image.shape[0], width=image.shape[1])
        images.append(dict(size, id=number, file_name=f'{number}.png'))
        for label, (x, y, w, h) in boxes:
            place = dict(bbox=[x, y, w, h], area=w * h, iscrowd=0)
            place['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            ids = dict(id=len(annotations) + 1, image_id=number, category_id=label + 1)
            annotations.append(ids | place)
    names = Config.fromfile(CONFIGS / 'maskrcnn_scratch.py').metainfo.classes
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    path = root / 'annotations' / 'instances_train2017.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def write_ade(root: Path, count: int = 12) -> None:
    """Write the same images in ADE20K's layout; an unlabelled strip at the left of each."""
    for number in range(1, count + 1):
        image, boxes = _noise_with_boxes(number)
        labels = np.ones(image.shape[:2], np.uint8)
        for label, (x, y, w, h) in boxes:
            labels[y : y + h, x : x + w] = 2 + label
        labels[:, :4] = 0
        _write(root / 'images/training' / f'{number}.jpg', image)
        _write(root / 'annotations/training' / f'{number}.png', labels)


def _noise_with_boxes(number: int) -> tuple[np.ndarray, list[tuple[int, tuple[int, ...]]]]:
    generator = np.random.default_rng(number)
    height, width = SIDE, SIDE + 4 * (number % 5)
    image = generator.integers(0, 255, (height, width, 3), np.uint8)
    boxes = []
    for _ in range(1 + number % 3):
        x, y = (int(v) for v in generator.integers(4, 36, 2))
        w, h = (int(v) for v in generator.integers(12, 24, 2))
        label = int(generator.integers(6))
        image[y : y + h, x : x + w] = 40 * label
        boxes.append((label, (x, y, w, h)))
    return image, boxes


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def detector_config(root: Path, iterations: int) -> Config:
    """Return the toy world's Mask R-CNN at tiny size, with drop path, without validation."""
    cfg = Config.fromfile(CONFIGS / 'maskrcnn_scratch.py')
    cfg.model.pad_shape = SIDE
    cfg.model.train_cfg.rpn.sampler.num = 32
    cfg.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=16)
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.model.backbone.window = dict(size=4, global_blocks=(1,))
    cfg.model.backbone.rel_pos = dict(kind='decomposed', size=SIDE)
    _shrink(cfg, root, iterations)
    cfg.model.neck.in_channels = ARCH['embed_dim']
    return cfg


def segmentor_config(root: Path, iterations: int) -> Config:
    """Return the toy world's UperNet at tiny size, with drop path, without validation."""
    cfg = Config.fromfile(CONFIGS / 'upernet_scratch.py')
    cfg.model.data_preprocessor.size = (SIDE, SIDE)
    width = ARCH['embed_dim']
    cfg.model.backbone.out_indices = (0, 1, 2, 3)
    cfg.model.neck.embed_dim = width
    # Of ADE20K's 150 classes the first seven occur.
    names = ('wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road', 'bed ')
    cfg.train_dataloader.dataset.metainfo = dict(classes=names)
    cfg.model.decode_head.update(in_channels=[width] * 4, channels=8, num_classes=8)
    cfg.model.auxiliary_head.update(in_channels=width, channels=8, num_classes=8)
    _shrink(cfg, root, iterations)
    cfg.model.backbone.arch = dict(ARCH, depth=4)  # a tap from each block
    return cfg


def _shrink(cfg: Config, root: Path, iterations: int) -> None:
    cfg.model.backbone.update(arch=ARCH, img_size=SIDE, drop_path_rate=0.3)
    cfg.train_dataloader.batch_size = 2
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(root)
    for step in dataset.pipeline:
        for key in ('scale', 'crop_size'):
            if key in step:
                step[key] = (SIDE, SIDE)
    for part in ('dataloader', 'evaluator', 'cfg'):
        cfg[f'val_{part}'] = cfg[f'test_{part}'] = None
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    cfg.param_scheduler = [
        dict(type='mmengine.LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=8)
    ]
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    cfg.default_hooks.pop('visualization')
