"""The linear probe: a frozen backbone below a head with BatchNorm."""

import copy

import pytest
import torch

from tests.helpers.models import classifier, labelled

LABELLED = labelled(i % 5 for i in range(6))


def build(**head: object) -> torch.nn.Module:
    head = dict(pool='cls', norm=False, batch_norm=True, init_std=0.01) | head
    return classifier(dict(drop_path_rate=0.5), head=head, freeze_backbone=True)


@pytest.mark.parametrize('pool', ['cls', 'mean'])
def test_features_are_standardised_before_the_linear_layer(pool: str) -> None:
    model = build(pool=pool).train()
    images = torch.randn(6, 3, 32, 32)
    tokens = model.backbone.encode(images).tokens
    x = tokens[:, 0] if pool == 'cls' else tokens[:, 1:].sum(1) / 16
    standard = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
    expected = standard @ model.head.fc.weight.T + model.head.fc.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    # Running statistics after one batch: 0.9 of the initial ones and 0.1 of the batch's.
    torch.testing.assert_close(model.head.bn.running_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(model.head.bn.running_var, 0.9 + 0.1 * x.var(0))
    assert list(model.head.state_dict()) == [
        'bn.running_mean', 'bn.running_var', 'bn.num_batches_tracked', 'fc.weight', 'fc.bias',
    ]  # fmt: skip


def test_only_the_linear_layer_learns() -> None:
    model = build()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ['head.fc.weight', 'head.fc.bias']
    model.train()
    assert model.head.bn.training
    assert not any(module.training for module in model.backbone.modules())
    before = copy.deepcopy(model.backbone.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    images = torch.randn(6, 3, 32, 32)
    # No drop-path, and no graph through the backbone to pay for.
    assert torch.equal(model.extract_feat(images), model.extract_feat(images))
    assert not model.extract_feat(images).requires_grad
    first = model(images, LABELLED, mode='loss')['loss_class']
    first.backward()
    optimizer.step()
    assert model(images, LABELLED, mode='loss')['loss_class'] < first
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_at_the_start_are_the_published_ones() -> None:
    weight = build(num_classes=4000).head.fc.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert weight.abs().max() < 2.0
