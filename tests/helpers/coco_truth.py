"""Truth in COCO's layout, predictions that are worse than it in chosen ways, and their figures."""

import json
from collections import Counter

import numpy as np
import torch
from mmengine.registry import METRICS
from pycocotools import mask as mask_utils

import lightvit_dense  # noqa: F401

CLASSES = ('cat', 'dog', 'bird')
SIDE = 160
PIXELS = np.arange(SIDE) + 0.5


def mask_of(box):
    """An ellipse in a box, so that masks and boxes overlap differently."""
    left, top, width, height = box
    if width <= 0:
        return np.zeros((SIDE, SIDE), bool)
    middle = left + width / 2, top + height / 2
    x, y = (PIXELS - middle[0]) / (width / 2), (PIXELS - middle[1]) / (height / 2)
    return (x**2)[None] + (y**2)[:, None] <= 1


def ground_truth(seed=0, images=6, crowd=False, foreign_areas=False):
    rng = np.random.RandomState(seed)
    annotations = []
    for image in range(1, images + 1):
        for _ in range(rng.randint(0, 7)):
            width, height = np.exp(rng.uniform(np.log(8), np.log(120), 2))
            left, top = rng.uniform(0, SIDE - width), rng.uniform(0, SIDE - height)
            box = [float(v) for v in (left, top, width, height)]
            rle = mask_utils.encode(np.asfortranarray(mask_of(box).astype(np.uint8)))
            note = dict(id=len(annotations) + 1, image_id=image, bbox=box)
            note['category_id'] = int(rng.choice([3, 7, 5]))
            # The size of an object is what the file says, whatever its box.
            note['area'] = float(rng.uniform(1, 20000) if foreign_areas else mask_utils.area(rle))
            note['iscrowd'] = int(crowd and rng.rand() < 0.3)
            note['segmentation'] = {'size': rle['size'], 'counts': rle['counts'].decode()}
            annotations.append(note)
    size = dict(width=SIDE, height=SIDE)
    listed = [dict(size, id=i, file_name=f'{i}.jpg') for i in range(1, images + 1)]
    # Ids neither from one nor ascending: labels must go by name.
    categories = [dict(id=i, name=n) for i, n in zip((7, 3, 5), CLASSES, strict=True)]
    return dict(images=listed, annotations=annotations, categories=categories)


LABEL = {7: 0, 3: 1, 5: 2}


def perturb(truth, seed, shift=0.0, scale=0.0, double=0, ties=False, noise=0, **chances):
    """Make predictions of the truth; chances are of drop, wrong, drop_images, outside, empty."""
    chances = Counter(chances)
    rng = np.random.RandomState(seed)
    samples = []
    for image in truth['images']:
        boxes, labels, scores = [], [], []
        entries = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        if rng.rand() < chances['drop_images']:
            entries = []
        for entry in entries:
            for _ in range(1 + double):
                if rng.rand() < chances['drop']:
                    continue
                left, top, width, height = entry['bbox']
                width, height = np.array([width, height]) * np.exp(rng.uniform(-scale, scale, 2))
                left += rng.uniform(-shift, shift) * width
                top += rng.uniform(-shift, shift) * height
                if rng.rand() < chances['outside']:
                    left -= width / 2 + left
                if rng.rand() < chances['empty']:
                    width = 0.0
                boxes.append([left, top, width, height])
                label = LABEL[entry['category_id']]
                labels.append(rng.randint(3) if rng.rand() < chances['wrong'] else label)
                scores.append(rng.rand())
        for _ in range(noise):
            boxes.append([*rng.uniform(0, 100, 2), *rng.uniform(5, 60, 2)])
            labels.append(rng.randint(3))
            scores.append(rng.rand())
        scores = np.round(scores, 1) if ties else scores
        scores = np.full(len(scores), 0.5) if ties is None else scores
        masks = np.array([mask_of(box) for box in boxes]).reshape(-1, SIDE, SIDE)
        xyxy = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        xyxy[:, 2:] += xyxy[:, :2]
        predicted = dict(
            bboxes=torch.from_numpy(xyxy),
            labels=torch.tensor(labels, dtype=torch.int64),
            scores=torch.tensor(np.array(scores), dtype=torch.float32),
            masks=torch.from_numpy(masks.astype(bool)),
        )
        samples.append(dict(img_id=image['id'], pred_instances=predicted))
    return samples


def make_metric(folder, truth, **kwargs):
    """Write the truth to a file and build the metric of it."""
    path = folder / 'truth.json'
    path.write_text(json.dumps(truth))
    cfg = dict(type='lightvit_dense.CocoMetric', ann_file=str(path), metric=['bbox', 'segm'])
    metric = METRICS.build({**cfg, **kwargs})
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def evaluate(folder, truth, samples, **kwargs):
    metric = make_metric(folder, truth, **kwargs)
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))
