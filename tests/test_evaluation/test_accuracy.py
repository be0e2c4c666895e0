import pytest
import torch
from mmengine.registry import METRICS

import lightvit_dense  # noqa: F401


def evaluate(scores, labels, topk=(1, 5), batch=3):
    metric = METRICS.build(dict(type='lightvit_dense.Accuracy', topk=topk))
    samples = [dict(pred_score=s, gt_label=n) for s, n in zip(scores, labels, strict=True)]
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('size', [(7, 6), (50, 20)])
def test_agrees_with_sorting(size):
    torch.manual_seed(0)
    scores, labels = torch.randn(size), torch.randint(size[1], size[:1])
    order = scores.argsort(1, descending=True)
    found = evaluate(scores, labels, (1, 2, 5))
    for k in (1, 2, 5):
        right = (order[:, :k] == labels[:, None]).any(1).double().mean().item()
        assert found[f'accuracy/top{k}'] == pytest.approx(100 * right)


def test_a_model_that_tells_nothing_apart_is_at_chance():
    scores, labels = torch.ones(8, 4), torch.arange(8) % 4
    assert evaluate(scores, labels, (1, 4)) == {'accuracy/top1': 25.0, 'accuracy/top4': 100.0}
    assert evaluate(scores * torch.nan, labels, (1,)) == {'accuracy/top1': 0.0}


def test_wrong_options():
    with pytest.raises(ValueError, match='topk must be positive'):
        evaluate(torch.ones(1, 3), [0], (0,))
    with pytest.raises(ValueError, match='asks for more than the 3 classes'):
        evaluate(torch.ones(1, 3), [0], (1, 5))
