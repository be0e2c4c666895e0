"""Heads that treat a batch at once give what mmdet's do image by image, and draw as they do."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.structures.mask import BitmapMasks, PolygonMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from lightvit_dense.models.detectors import batched, sampling
from lightvit_dense.models.detectors.masks import CroppedMasks, mask_targets
from lightvit_dense.registry import TASK_UTILS, TRANSFORMS

SIZES = [(64, 64), (50, 60), (64, 40)]
OPTIONS = dict(num=20000, pos_fraction=0.5)  # every anchor and every proposal is taken
ALL = {f'train_cfg.{x}.sampler.{k}': v for x in ('rpn', 'rcnn') for k, v in OPTIONS.items()}
THEIRS = {
    'data_preprocessor.type': 'mmdet.DetDataPreprocessor',
    'rpn_head.type': 'mmdet.RPNHead',
    'roi_head.type': 'mmdet.StandardRoIHead',
    'roi_head.bbox_roi_extractor.type': 'mmdet.SingleRoIExtractor',
    'roi_head.mask_roi_extractor.type': 'mmdet.SingleRoIExtractor',
}
AGNOSTIC = {
    'roi_head.mask_head.class_agnostic': True,
    'roi_head.bbox_head.reg_class_agnostic': True,
}
BOXES = {'roi_head.mask_head': None}
OTHER = {
    'train_cfg.rpn.assigner.type': 'mmdet.MaxIoUAssigner',
    'train_cfg.rcnn.sampler.type': 'mmdet.InstanceBalancedPosSampler',
}
IOU = dict(iou_calculator=dict(type='mmdet.BboxOverlaps2D'))  # in any default scope
RPN = dict(IOU, type='lightvit_dense.MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3)
RPN['min_pos_iou'] = 0.0
RCNN = dict(IOU, type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)
RCNN['match_low_quality'] = False


def boxes_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 50, (count, 2), generator=generator)
    sides = torch.randint(2, 40, (count, 2), generator=generator)
    return torch.cat([corner, corner + sides], 1).float()


@pytest.mark.parametrize('most', [2**26, 1])
@pytest.mark.parametrize('config', [RPN, dict(RPN, min_pos_iou=0.3, neg_iou_thr=(0.1, 0.3)), RCNN])
def test_matches_are_those_of_the_assigner(monkeypatch, config: dict, most: int) -> None:
    monkeypatch.setattr(sampling, '_MOST', most)
    assigner = TASK_UTILS.build(config)
    truths = [boxes_of(count, seed) for seed, count in enumerate((5, 0, 1, 12))]
    priors = torch.stack([boxes_of(300, 9 + seed) for seed in range(4)])
    found = sampling.match(assigner, *sampling._stack(truths), priors)
    for own, boxes, result in zip(priors, truths, found, strict=True):
        truth = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes)).long())
        assert torch.equal(result, assigner.assign(InstanceData(priors=own), truth).gt_inds)


@pytest.mark.parametrize(
    ('options', 'counts'),
    [
        (dict(num=8), [(3, 5), (4, 4), (0, 8)]),
        (dict(num=40), [(3, 17), (10, 8), (0, 20)]),
        (dict(num=8, neg_pos_ub=1), [(3, 3), (4, 4), (0, 1)]),
    ],
)
def test_draws_are_as_many_as_mmdets_and_uniform(options: dict, counts: list) -> None:
    sampler = RandomSampler(**options, pos_fraction=0.5, add_gt_as_proposals=False)
    found = torch.zeros(3, 20).long()
    found[0, 4:7], found[1, :10], found[1, 10:12] = 1, 1, -1
    often = torch.zeros(60)
    for _ in range(400):
        places, drawn = sampling.sample(sampler, found)
        assert drawn == counts
        assert len(places.unique()) == len(places) == sum(map(sum, counts))
        often[places] += 1 / 400
    kinds = torch.stack([found > 0, found == 0], 2).float()  # [images, places, kinds]
    parts = torch.tensor(counts)[:, None] / kinds.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(often.view(3, 20), (kinds * parts).sum(2), rtol=0, atol=0.1)


def losses(model, batch: dict) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    found = model.train()(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
    return {k: (sum(x) if isinstance(x, list) else x).squeeze() for k, x in found.items()}


@pytest.mark.parametrize(
    ('kind', 'changes', 'calls'),
    [('bitmaps', ALL, 2), ('polygons', ALL, 2), ('bitmaps', ALL | AGNOSTIC, 2),
     ('bitmaps', ALL | BOXES, 2), ('none', ALL, 2), ('bitmaps', OTHER, 0)],
)  # fmt: skip
def test_losses_and_gradients_are_mmdets(
    build_detector, detection_batch, monkeypatch, kind: str, changes: dict, calls: int
) -> None:
    draws: list = []
    draw = sampling.draw
    monkeypatch.setattr(batched, 'draw', lambda *args: draws.append(args) or draw(*args))
    boxes = [(4, 6, 30, 25), (10, 10, 28, 40), (33, 30, 40, 50)]
    batch = detection_batch(SIZES, [] if kind == 'none' else boxes)
    batch['data_samples'][1] = detection_batch(SIZES, [])['data_samples'][1]
    for sample in batch['data_samples'] if kind == 'polygons' else ():
        corners = sample.gt_instances.bboxes.tolist()
        shapes = [[np.array([a, b, c, b, c, d, (a + c) / 2, d + 0.3])] for a, b, c, d in corners]
        sample.gt_instances.masks = PolygonMasks(shapes, *sample.img_shape)
    models = [build_detector('vit', changes), build_detector('vit', changes | THEIRS)]
    models[1].load_state_dict(models[0].state_dict())
    found, expected = (losses(model, batch) for model in models)
    assert len(draws) == calls
    exact = dict(rtol=1e-4, atol=1e-6) if calls else dict(rtol=0, atol=0)
    torch.testing.assert_close(found, expected, **exact)
    for model, values in zip(models, (found, expected), strict=True):
        model.parse_losses(values)[0].backward()
    for parameter, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(parameter.grad, theirs.grad, **exact)


@pytest.mark.parametrize('least', [0, 9, -1])
def test_proposals_are_mmdets(build_detector, least: int) -> None:
    changes = {'test_cfg.rpn.min_bbox_size': least, 'test_cfg.rpn.nms_pre': 50}
    heads = [build_detector('vit', changes | other).rpn_head for other in ({}, THEIRS)]
    scores = [torch.randn(3, 3, side, side) for side in (16, 8, 4, 2, 1)]
    deltas = [torch.randn(3, 12, side, side) * 2 for side in (16, 8, 4, 2, 1)]
    metas = [dict(img_shape=size) for size in SIZES]
    results = [head.predict_by_feat(scores, deltas, batch_img_metas=metas) for head in heads]
    for found, expected in zip(*results, strict=True):
        assert len(expected) > 10
        for key in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(found[key], expected[key], rtol=1e-6, atol=1e-6)


def blobs(count: int) -> BitmapMasks:
    masks = np.zeros((count, 90, 100), np.uint8)
    for mask, box in zip(masks, boxes_of(count).int().tolist(), strict=True):
        part = mask[box[1] : box[3], box[0] : box[2]]
        part[:] = np.random.default_rng(0).random(part.shape) < 0.7
    masks[-1], masks[0, -1, -1] = 0, 1
    return BitmapMasks(masks, 90, 100)


@pytest.mark.parametrize('soft', [False, True])
def test_targets_of_cropped_masks_are_mmdets(soft: bool) -> None:
    whole, counts = [blobs(7), blobs(3), blobs(3)], [40, 0, 11]
    boxes = [boxes_of(count, count) * 1.5 - 4.3 for count in counts]
    owners = [torch.arange(count) % len(own) for count, own in zip(counts, whole, strict=True)]
    regions = torch.cat([torch.cat(boxes), torch.cat(owners)[:, None]], 1)
    cropped, cfg = (
        [CroppedMasks.of(x) for x in whole],
        ConfigDict(mask_size=28, soft_mask_target=soft),
    )
    expected = mask_target(boxes, owners, whole, cfg)
    assert torch.equal(mask_targets(regions, counts, cropped, cfg), expected)
    assert torch.equal(mask_target(boxes, owners, cropped, cfg), expected)
    assert np.array_equal(cropped[0].to_ndarray(), whole[0].masks)


def test_bitmaps_are_packed_cropped() -> None:
    pack = TRANSFORMS.build(dict(type='lightvit_dense.PackDetection'))
    given = dict(img=np.zeros((90, 100, 3), np.uint8), gt_ignore_flags=np.arange(7) > 4)
    sample = pack(dict(given, gt_masks=blobs(7)))['data_samples']
    assert {len(x.masks) for x in sample.values()} == {5, 2}
    assert sample.gt_instances.masks.pixels.nbytes < 5 * 90 * 100 / 2
