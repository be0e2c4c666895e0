"""Heads that treat a batch at once give what mmdet's do image by image, and draw as they do."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.structures.mask import BitmapMasks, PolygonMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from lightvit_dense.models.detectors import sampling
from lightvit_dense.models.detectors.masks import CroppedMasks, mask_targets
from lightvit_dense.registry import TASK_UTILS, TRANSFORMS

SIZES = [(64, 64), (50, 60), (64, 40)]
ALL = {  # every anchor and every proposal is taken
    f'train_cfg.{name}.sampler.{key}': value
    for name in ('rpn', 'rcnn')
    for key, value in dict(num=20000, pos_fraction=0.5).items()
}
MMDET = {
    'rpn_head.type': 'mmdet.RPNHead',
    'roi_head.type': 'mmdet.StandardRoIHead',
    'roi_head.bbox_roi_extractor.type': 'mmdet.SingleRoIExtractor',
}
THEIRS = MMDET | {'roi_head.mask_roi_extractor.type': 'mmdet.SingleRoIExtractor'}


def boxes_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 50, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(2, 40, (count, 2), generator=generator)], 1)


RPN = dict(type='lightvit_dense.MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.0)
ASSIGNERS = [
    RPN,
    dict(RPN, min_pos_iou=0.3, neg_iou_thr=(0.1, 0.3)),
    dict(
        RPN, type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False
    ),
]


@pytest.mark.parametrize('most', [2**26, 1])
@pytest.mark.parametrize('config', ASSIGNERS)
def test_matches_are_those_of_the_assigner(monkeypatch, config: dict, most: int) -> None:
    monkeypatch.setattr(sampling, '_MOST', most)
    assigner = TASK_UTILS.build(config)
    truths = [boxes_of(count, seed).float() for seed, count in enumerate((5, 0, 1, 12))]
    priors = torch.stack([boxes_of(300, 9 + seed).float() for seed in range(4)])
    found = sampling.match(assigner, *sampling._stack(truths), priors)
    for own, boxes, result in zip(priors, truths, found, strict=True):
        truth = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes)).long())
        assert torch.equal(result, assigner.assign(InstanceData(priors=own), truth).gt_inds)


@pytest.mark.parametrize(
    ('options', 'counts'),
    [
        (dict(num=8, pos_fraction=0.5), [(3, 5), (4, 4), (0, 8)]),
        (dict(num=40, pos_fraction=0.5), [(3, 17), (10, 8), (0, 20)]),
        (dict(num=8, pos_fraction=0.5, neg_pos_ub=1), [(3, 3), (4, 4), (0, 1)]),
    ],
)
def test_as_many_are_drawn_as_by_mmdet(options: dict, counts: list) -> None:
    sampler = RandomSampler(**options, add_gt_as_proposals=False)
    found = torch.zeros(3, 20).long()
    found[0, 4:7], found[1, :10], found[1, 10:12] = 1, 1, -1
    times, drawn = torch.zeros(3 * 20), []
    torch.manual_seed(0)
    for _ in range(400):
        places, drawn = sampling.sample(sampler, found)
        assert len(places.unique()) == len(places) == sum(map(sum, drawn))
        times[places] += 1
    assert drawn == counts
    for (positives, negatives), kinds, often in zip(
        counts, found, times.view(3, 20) / 400, strict=True
    ):
        for kind, count in ((kinds > 0, positives), (kinds == 0, negatives)):
            if kind.any():
                expected = torch.full_like(often[kind], count / int(kind.sum()))
                torch.testing.assert_close(often[kind], expected, rtol=0, atol=0.1)
        assert not often[kinds < 0].any()


def losses(model, batch: dict) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    found = model.train()(**data, mode='loss')
    return {
        name: torch.as_tensor(sum(x) if isinstance(x, list) else x) for name, x in found.items()
    }


def assert_equal_training(ours, theirs, batch: dict, **tolerance: float) -> None:
    theirs.load_state_dict(ours.state_dict())
    found, expected = losses(ours, batch), losses(theirs, batch)
    torch.testing.assert_close(
        {name: value.squeeze() for name, value in found.items()},
        {name: value.squeeze() for name, value in expected.items()}, **tolerance
    )  # fmt: skip
    for model, values in ((ours, found), (theirs, expected)):
        model.parse_losses(values)[0].backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            p.grad, q.grad, msg=lambda text, n=name: f'{n}: {text}', **tolerance
        )


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'roi_head.mask_head.class_agnostic': True, 'roi_head.bbox_head.reg_class_agnostic': True},
    ],
    ids=['usual', 'agnostic'],
)
@pytest.mark.parametrize('kind', ['bitmaps', 'polygons', 'none'])
def test_losses_and_gradients_are_mmdets(build_detector, detection_batch, kind, changes) -> None:
    boxes = [(4, 6, 30, 25), (10, 10, 28, 40), (33, 30, 40, 50)]
    batch = detection_batch(SIZES, boxes if kind != 'none' else [])
    if kind != 'none':
        batch['data_samples'][1] = detection_batch(SIZES, [])['data_samples'][1]
    for sample in batch['data_samples'] if kind == 'polygons' else ():
        shapes = [
            [np.array([a, b, c, b, c, d, (a + c) / 2, d + 0.3])]
            for a, b, c, d in sample.gt_instances.bboxes.tolist()
        ]
        sample.gt_instances.masks = PolygonMasks(shapes, *sample.img_shape)
    ours = build_detector('vit', ALL | changes)
    assert ours.rpn_head._is_plain()
    assert ours.roi_head._is_plain()
    theirs = build_detector('vit', ALL | changes | THEIRS)
    if kind == 'none':  # mmdet's box loss without a box is another zero
        expected = losses(theirs, batch)
        assert losses(ours, batch).keys() >= expected.keys()
    assert_equal_training(ours, theirs, batch, rtol=1e-4, atol=1e-6)


OTHER_PARTS = {
    'train_cfg.rpn.assigner.type': 'mmdet.MaxIoUAssigner',
    'train_cfg.rcnn.sampler.type': 'mmdet.InstanceBalancedPosSampler',
}


def test_with_other_parts_mmdet_runs(build_detector, detection_batch) -> None:
    ours = build_detector('vit', OTHER_PARTS)
    assert not ours.rpn_head._is_plain()
    assert not ours.roi_head._is_plain()
    batch = detection_batch(SIZES)
    assert_equal_training(ours, build_detector('vit', OTHER_PARTS | THEIRS), batch, rtol=0, atol=0)


@pytest.mark.parametrize('least', [0, 9, -1])
def test_proposals_are_mmdets(build_detector, least: int) -> None:
    changes = {'test_cfg.rpn.min_bbox_size': least, 'test_cfg.rpn.nms_pre': 50}
    ours, theirs = (build_detector('vit', changes | other).rpn_head for other in ({}, THEIRS))
    sides = (16, 8, 4, 2, 1)
    scores = [torch.randn(3, 3, side, side) for side in sides]
    deltas = [torch.randn(3, 12, side, side) * 2 for side in sides]
    metas = [dict(img_shape=size) for size in SIZES]
    results = [
        head.predict_by_feat(scores, deltas, batch_img_metas=metas) for head in (ours, theirs)
    ]
    for found, expected in zip(*results, strict=True):
        assert len(expected) > 10
        for key in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(found[key], expected[key], rtol=1e-6, atol=1e-6)


def blobs(count: int, height: int, width: int) -> BitmapMasks:
    masks = np.zeros((count, height, width), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes_of(count).tolist(), strict=True):
        mask[top:bottom, left:right] = (
            np.random.default_rng(0).random((bottom - top, right - left)) < 0.7
        )
    masks[-1] = 0
    masks[0, -1, -1] = 1
    return BitmapMasks(masks[:, :height, :width], height, width)


@pytest.mark.parametrize('soft', [False, True])
def test_targets_of_cropped_masks_are_mmdets(soft: bool) -> None:
    whole = [blobs(7, 90, 100), blobs(3, 90, 100), blobs(3, 90, 100)]
    counts, cfg = [40, 0, 11], ConfigDict(mask_size=28, soft_mask_target=soft)
    boxes = [boxes_of(count, count) * 1.5 - 4.3 for count in counts]
    owners = [torch.arange(count) % len(own) for count, own in zip(counts, whole, strict=True)]
    regions = torch.cat([torch.cat(boxes), torch.cat(owners)[:, None]], 1)
    cropped = [CroppedMasks.of(own) for own in whole]
    found = mask_targets(regions, counts, cropped, cfg)
    assert torch.equal(found, mask_target(boxes, owners, whole, cfg))
    assert torch.equal(found, mask_target(boxes, owners, cropped, cfg))
    assert np.array_equal(cropped[0].whole().numpy(), whole[0].masks)


def test_bitmaps_are_packed_cropped_and_polygons_as_they_are() -> None:
    pack = TRANSFORMS.build(dict(type='lightvit_dense.PackDetection'))
    image, boxes = np.zeros((90, 100, 3), np.uint8), np.zeros((7, 4), np.float32)
    given = dict(img=image, gt_bboxes=boxes, gt_ignore_flags=np.arange(7) > 4)
    sample = pack(dict(given, gt_masks=blobs(7, 90, 100)))['data_samples']
    assert [len(x.masks) for x in (sample.gt_instances, sample.ignored_instances)] == [5, 2]
    assert isinstance(sample.gt_instances.masks, CroppedMasks)
    assert sample.gt_instances.masks.pixels.nbytes < 5 * 90 * 100 / 2
    polygons = PolygonMasks([[np.array([1.0, 1, 5, 1, 5, 4])]] * 7, 90, 100)
    sample = pack(dict(given, gt_masks=polygons))['data_samples']
    assert isinstance(sample.gt_instances.masks, PolygonMasks)
