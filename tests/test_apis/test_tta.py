"""Test-time augmentation: views from the test pipeline, and what is made of them."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from lightvit_dense import apis
from lightvit_dense.apis.tta import make_views
from lightvit_dense.errors import UserError
from tests.helpers.small_dense import detector_config, picture, write_coco

PIPELINE = [
    dict(type='lightvit_dense.LoadImage', color='bgr'),
    dict(type='mmdet.Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'scale_factor')),
]
FLIP = ((1.0,), True)


def test_views_are_made_of_the_test_pipeline() -> None:
    load, augment = make_views(PIPELINE, (0.5, 1.0), flip=True)
    assert load == PIPELINE[0]
    sizes, mirrors, truth, pack = augment.transforms
    assert [step.scale for step in sizes] == [(666, 400), (1333, 800)]
    assert all(step.keep_ratio for step in sizes)
    assert [step.prob for step in mirrors] == [0.0, 1.0]
    assert truth == [PIPELINE[2]]
    assert pack[0].meta_keys == ('img_id', 'scale_factor', 'flip', 'flip_direction')
    assert PIPELINE[3]['meta_keys'] == ('img_id', 'scale_factor')
    _, augment = make_views(PIPELINE, (1.0,), flip=False)
    assert [len(choices) for choices in augment.transforms] == [1, 1, 1, 1]
    without = [PIPELINE[0], *PIPELINE[2:]]
    load, augment = make_views(without, (1.0,), flip=True)
    assert load == PIPELINE[0]
    assert [len(choices) for choices in augment.transforms] == [2, 1, 1]
    factor = [PIPELINE[0], dict(type='mmdet.Resize', scale_factor=(0.5, 2.0)), PIPELINE[3]]
    _, augment = make_views(factor, (1.5,), flip=False)
    assert augment.transforms[0][0].scale_factor == (0.75, 3.0)


def test_pipelines_that_cannot_be_augmented_are_refused() -> None:
    with pytest.raises(UserError, match='positive numbers, got'):
        make_views(PIPELINE, (1.0, 0.0), flip=True)
    with pytest.raises(UserError, match='needs a Resize in the test pipeline, which has LoadIm'):
        make_views([PIPELINE[0], PIPELINE[3]], (0.5, 1.0), flip=True)
    with pytest.raises(UserError, match='for detection and segmentation'):
        make_views([PIPELINE[0], dict(type='lightvit_dense.PackImage')], (1.0,), flip=True)


def test_the_configs_own_augmentation_comes_first() -> None:
    cfg = detector_config()
    cfg.tta_model = dict(type='mmdet.DetTTAModel', tta_cfg=dict(max_per_img=7))
    cfg.tta_pipeline = [PIPELINE[0], PIPELINE[3]]
    own = apis.apply_tta(cfg.copy())
    assert own.test_dataloader.dataset.pipeline == cfg.tta_pipeline
    assert own.custom_hooks[-1].tta_cfg == cfg.tta_model
    cfg.tta_model = None
    made = apis.apply_tta(cfg.copy(), scales=(1.0,), flip=False)
    assert made.test_dataloader.dataset.pipeline[1].type == 'mmcv.TestTimeAug'
    assert made.custom_hooks[-1].tta_cfg.tta_cfg == dict(
        nms=cfg.model.test_cfg.rcnn.nms, max_per_img=8
    )


def objects(detector, tta, pixels):
    cfg, model = detector
    return apis.DetectionInferencer(cfg, model=model, tta=tta, score_thr=0)([pixels])[0]


def regions(segmentor, tta, pixels):
    cfg, model = segmentor
    return apis.SegmentationInferencer(cfg, model=model, tta=tta)([pixels])[0].label_map


def test_one_view_is_no_augmentation(detector, segmentor) -> None:
    pixels, one = picture(64, 48), ((1.0,), False)
    plain, found = (objects(detector, tta, pixels) for tta in (False, one))
    for name in ('boxes', 'scores', 'labels', 'masks'):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    plain, found = (regions(segmentor, tta, pixels) for tta in (False, one))
    np.testing.assert_array_equal(found, plain)


def test_probabilities_of_views_are_averaged(segmentor) -> None:
    _cfg, model = segmentor
    pixels = picture(64, 64)
    found, scores = regions(segmentor, FLIP, pixels), []
    for view in (pixels, pixels[:, ::-1]):
        # [H, W, 3] -> [3, H, W] in the order that the model is given
        image = torch.from_numpy(view[:, :, ::-1].copy()).permute(2, 0, 1)
        data = model.data_preprocessor(dict(inputs=[image], data_samples=None), False)
        model.keep_scores = True
        with torch.no_grad():
            scores.append(model.predict(data['inputs'])[0].seg_logits.data.softmax(0))
        model.keep_scores = False
    expected = (scores[0] + scores[1].flip(-1)).argmax(0)
    np.testing.assert_array_equal(found, expected.numpy())
    assert (found != regions(segmentor, False, pixels)).any()
    assert regions(segmentor, (None, None), pixels).shape == (64, 64)
    # As the config has it: scores are kept for the merging only.
    regions(segmentor, True, pixels)
    assert model.keep_scores is False


def test_a_mirrored_picture_gives_mirrored_objects(detector) -> None:
    pixels = picture(64, 64)
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    found, other = (objects(detector, FLIP, image) for image in (pixels, mirrored))
    assert len(found) == len(other) == 8
    np.testing.assert_allclose(other.scores, found.scores, atol=1e-5)
    np.testing.assert_array_equal(other.labels, found.labels)
    boxes = found.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [64, 0, 64, 0]
    np.testing.assert_allclose(other.boxes, boxes, atol=1e-3)
    assert found.masks.any()
    assert (other.masks != found.masks[:, :, ::-1]).mean() < 1e-3
    assert not np.allclose(objects(detector, False, pixels).boxes, found.boxes, atol=0.1)


def test_masks_are_averaged_over_views(detector) -> None:
    """The mask head sees the merged boxes in both views, by hand."""
    from mmdet.structures.bbox import bbox2roi

    _cfg, model = detector
    pixels = picture(64, 64)
    found = objects(detector, FLIP, pixels)
    boxes, labels = torch.from_numpy(found.boxes), torch.from_numpy(found.labels)
    probabilities = []
    for flip in (False, True):
        view = pixels[:, ::-1] if flip else pixels
        image = torch.from_numpy(view[:, :, ::-1].copy()).permute(2, 0, 1)
        data = model.data_preprocessor(dict(inputs=[image], data_samples=None), False)
        seen = torch.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], 1)
        with torch.no_grad():
            maps = model.extract_feat(data['inputs'])
            rois = bbox2roi([seen if flip else boxes])
            masks = model.roi_head._mask_forward(maps, rois)['mask_preds'].sigmoid()
        masks = masks[torch.arange(len(labels)), labels]
        probabilities.append(masks.flip(-1) if flip else masks)
    mean = (probabilities[0] + probabilities[1]) / 2
    for box, mask, small in zip(found.boxes, found.masks, mean, strict=True):
        # Paste by sampling the mean at the pixel centres inside of the box.
        left, top, right, bottom = box
        centres = torch.arange(64) + 0.5
        x = (centres - left) / (right - left) * 2 - 1
        y = (centres - top) / (bottom - top) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing='ij')[::-1], -1)[None]
        pasted = torch.nn.functional.grid_sample(small[None, None], grid, align_corners=False)
        assert ((pasted[0, 0] >= 0.5).numpy() != mask).mean() < 2e-3


def test_nothing_found_is_a_result(detector, monkeypatch) -> None:
    monkeypatch.setattr(detector[1].roi_head.test_cfg, 'score_thr', 1.1)
    found = objects(detector, True, picture(40, 64))
    assert len(found) == 0
    assert found.masks.shape == (0, 40, 64)


def test_the_test_loop_evaluates_the_augmented_predictions(tmp_path) -> None:
    """Through the Runner, as tools/test.py --tta does it."""
    root = tmp_path / 'data'
    paths = write_coco(root)
    cfg = apis.apply_tta(detector_config(root), scales=(1.0, 1.5), flip=True)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.default_hooks.logger = None
    runner = Runner.from_cfg(cfg)
    model = runner.model
    seen = {}

    class Watch:
        dataset_meta = None

        def process(self, data_samples, data_batch):
            for sample in data_samples:
                seen[sample.img_id] = sample.pred_instances

        def evaluate(self, size):
            return dict(size=size)

    loop = runner.build_test_loop(cfg.test_cfg)
    loop.evaluator = Watch()
    assert loop.run() == dict(size=3)
    assert type(runner.model).__name__ == 'DetectionTTA'
    inferencer = apis.DetectionInferencer(
        detector_config(root), model=model.eval(), score_thr=0, tta=((1.0, 1.5), True)
    )
    for path, result in zip(paths, inferencer(paths), strict=True):
        expected = seen[int(path.stem)]
        assert len(result) > 0
        np.testing.assert_allclose(result.boxes, expected.bboxes.numpy(), atol=1e-3)
        np.testing.assert_array_equal(result.masks, expected.masks.numpy())
