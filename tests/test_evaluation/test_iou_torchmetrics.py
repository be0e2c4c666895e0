"""torchmetrics as an oracle: its macro Jaccard index pools the pixels of all images."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from lightvit_dense.evaluation import IoUMetric


def batches(classes, images, seed, used=None):
    """Label maps and predictions that are often right; ``used`` are the classes that occur."""
    generator = torch.Generator().manual_seed(seed)
    used = classes if used is None else used
    for _ in range(images):
        size = tuple(torch.randint(8, 60, (2,), generator=generator).tolist())
        truth = torch.randint(0, used, size, generator=generator)
        guess = torch.randint(0, used, size, generator=generator)
        predicted = torch.where(torch.rand(size, generator=generator) < 0.7, truth, guess)
        ignored = torch.rand(size, generator=generator) < 0.15
        yield predicted, truth.masked_fill(ignored, 255)


@pytest.mark.parametrize(('classes', 'used'), [(2, 2), (19, 19), (150, 150), (150, 20)], ids=str)
def test_pooled_jaccard_index(classes, used):
    ours = IoUMetric(classwise=False)
    ours.dataset_meta = dict(classes=[str(i) for i in range(classes)])
    each = MulticlassJaccardIndex(classes, average=None, ignore_index=255)
    mean = MulticlassJaccardIndex(classes, average='macro', ignore_index=255)
    for predicted, truth in batches(classes, 6, seed=classes, used=used):
        fields = dict(pred_sem_seg=dict(data=predicted[None]), gt_sem_seg=dict(data=truth[None]))
        ours.process({}, [fields])
        each.update(predicted, truth)
        mean.update(predicted, truth)
    figures = ours.evaluate(6)
    assert 20 < figures['mIoU'] < 90
    # Theirs is computed in float32.
    assert figures['mIoU'] == pytest.approx(100 * mean.compute().item(), abs=2e-5)
    found = np.array([row['IoU'] for row in ours.class_table])
    expected = 100 * each.compute().numpy()
    np.testing.assert_allclose(np.nan_to_num(found), expected, atol=2e-5)
    assert np.isnan(found).sum() == classes - used
