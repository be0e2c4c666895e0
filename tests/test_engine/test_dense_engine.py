"""Engine options on a detector and a segmentor: what changes nothing, and what does."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from lightvit_dense.engine import apply_engine_options
from tests.helpers.tiny_dense import detector_config, segmentor_config, write_ade, write_coco

TASKS = {'detection': (detector_config, write_coco), 'segmentation': (segmentor_config, write_ade)}


@pytest.fixture(params=TASKS)
def task(request, tmp_path) -> tuple[str, Config, dict]:
    """Return name, config and a batch of four images of a task."""
    make, write = TASKS[request.param]
    write(tmp_path, count=6)
    cfg = make(tmp_path, iterations=1)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = Runner.build_dataloader(cfg.train_dataloader, seed=0).dataset
        torch.manual_seed(0)
        items = [dataset[i] for i in range(4)]
    return request.param, cfg, items


def build(cfg: Config) -> nn.Module:
    """Build a model with the same weights each time."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(1)
        model = MODELS.build(copy.deepcopy(cfg.model))
        model.init_weights()
    return model


def gradients(model: nn.Module, items: list, seed: int = 2) -> tuple[dict, dict]:
    """Add the gradients of a batch to the model's; return its losses and all gradients."""
    torch.manual_seed(seed)
    data = model.data_preprocessor(copy.deepcopy(pseudo_collate(items)), training=True)
    losses = model(**data, mode='loss')
    total, numbers = model.parse_losses(losses)
    total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return numbers, found


def test_activation_checkpointing_changes_no_loss_and_no_gradient(task) -> None:
    """Drop path is drawn anew when a block is computed again, and must be the same."""
    _, cfg, items = task
    results = []
    for checkpointing in (False, True):
        cfg.engine.activation_checkpointing = checkpointing
        model = build(apply_engine_options(cfg.copy())).train()
        assert model.backbone.with_cp is checkpointing
        results.append(gradients(model, items))
    (losses, grads), (losses_again, grads_again) = results
    assert losses.keys() == losses_again.keys()
    assert all(torch.equal(value, losses_again[name]) for name, value in losses.items())
    assert all(torch.equal(value, grads_again[name]) for name, value in grads.items())
    # Another draw gives another result: randomness was at work.
    model.zero_grad()
    _, other = gradients(model, items, seed=3)
    name = 'backbone.blocks.1.mlp.fc1.weight'
    assert not torch.allclose(other[name], grads[name])


def without_chance(cfg: Config, norm: dict) -> Config:
    """Leave out dropout, drop path and batch statistics."""
    cfg = cfg.copy()
    cfg.model.backbone.drop_path_rate = 0.0
    for name in ('neck', 'decode_head', 'auxiliary_head'):
        cfg.model[name].norm_cfg = norm
        if 'head' in name:
            cfg.model[name].dropout_ratio = 0.0
    return cfg


def accumulated(model: nn.Module, items: list, parts: int) -> dict:
    """Return the gradients of a step whose batch comes in parts, as OptimWrapper scales them."""
    model.zero_grad()
    size = len(items) // parts
    for start in range(0, len(items), size):
        _, found = gradients(model, items[start : start + size])
    return {name: value / parts for name, value in found.items()}


@pytest.mark.parametrize('task', ['segmentation'], indirect=True)
@pytest.mark.parametrize(
    ('norm', 'equal'),
    [(dict(type='GN', num_groups=4), True), (dict(type='BN'), False)],
    ids=['group norm', 'batch norm'],
)
def test_accumulation_in_segmentation_is_the_larger_batch_but_for_batch_norm(
    task, norm, equal
) -> None:
    """mmseg's loss divides by all pixels, ignored ones too, so images weigh the same."""
    _, cfg, items = task
    model = build(without_chance(cfg, norm)).train()
    whole, parts = (accumulated(model, items, count) for count in (1, 2))
    close = [torch.allclose(whole[name], parts[name], rtol=1e-3, atol=1e-6) for name in whole]
    assert all(close) == equal


@pytest.mark.parametrize('task', ['detection'], indirect=True)
def test_accumulation_in_detection_is_not_the_larger_batch(task) -> None:
    """Boxes and masks are averaged over those of the batch: fewer of them weigh more each."""
    _, cfg, items = task
    cfg.model.backbone.drop_path_rate = 0.0
    # All candidates are taken, so that chance chooses none.
    cfg.model.train_cfg.rpn.sampler.num = cfg.model.train_cfg.rcnn.sampler.num = 100_000
    model = build(cfg).train()
    whole, again, parts = (accumulated(model, items, count) for count in (1, 1, 2))
    name = 'roi_head.mask_head.conv_logits.weight'
    assert torch.equal(whole[name], again[name])
    assert not torch.allclose(whole[name], parts[name], rtol=1e-3, atol=1e-6)
