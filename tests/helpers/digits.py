"""Photographs of handwritten digits 0 to 2 as class folders, and a classifier's config for them."""

from pathlib import Path
from typing import Any

import cv2
from mmengine.config import Config
from sklearn.datasets import load_digits

from tests.helpers.models import vit

BACKBONE = vit(embed_dim=16, num_heads=2, img_size=16, pos_embed='learned')
PACK = dict(type='lightvit_dense.PackImage', meta_keys=('img_path',))


def write_digits(root: Path, train: int, val: int) -> None:
    """Write so many pictures of each digit below ``train/`` and ``val/``."""
    images, labels = load_digits(return_X_y=True)
    for digit in range(3):
        chosen = images[labels == digit][: train + val].reshape(-1, 8, 8)
        for number, image in enumerate(chosen):
            folder = root / ('train' if number < train else 'val') / f'digit{digit}'
            folder.mkdir(parents=True, exist_ok=True)
            picture = cv2.resize((image * 15).astype('u1'), (20, 20))
            assert cv2.imwrite(str(folder / f'{number}.png'), picture)


def digits_config(root: Path, **backbone: Any) -> Config:
    """Return the config of a small ViT, whose training crops and flips at random."""
    collate = dict(type='lightvit_dense.collate_images')
    loader = dict(batch_size=7, num_workers=0, collate_fn=collate)
    dataset = dict(type='lightvit_dense.ImageNet', data_root=str(root))
    crop = dict(type='lightvit_dense.LoadRandomResizedCrop', size=16)
    flip = dict(type='lightvit_dense.RandomFlipFlag', prob=0.5)
    fixed = [
        dict(type='lightvit_dense.LoadImage', color='rgb'),
        dict(type='lightvit_dense.CenterResizedCrop', size=16, ratio=1.0),
        PACK,
    ]
    pixels = dict(type='lightvit_dense.ImagePreprocessor', mean=[127.5] * 3, std=[60.0] * 3)
    backbone = BACKBONE | dict(final_norm=False, drop_path_rate=0.3) | backbone
    model = dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=dict(num_classes=3))
    train = dict(loader, dataset=dict(dataset, img_dir='train', pipeline=[crop, flip, PACK]))
    train |= dict(sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True), drop_last=True)
    val = dict(loader, dataset=dict(dataset, img_dir='val', classes='train', pipeline=fixed))
    val |= dict(sampler=dict(type='mmengine.DefaultSampler', shuffle=False))
    cfg = dict(
        default_scope='lightvit_dense',
        model=dict(model, data_preprocessor=pixels),
        train_dataloader=train,
        val_dataloader=val,
        test_dataloader=val,
        test_evaluator=dict(type='lightvit_dense.Accuracy', topk=(1,)),
        test_cfg=dict(),
    )
    return Config(cfg)
