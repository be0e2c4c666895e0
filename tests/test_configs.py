"""Every shipped config loads, is documented, builds, dumps, and trains one step at a small size.

Configs that differ in initial weights or length alone train the same step, so one of them does it.
"""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer
from torch.nn import GroupNorm, LayerNorm, SyncBatchNorm

from lightvit_dense.models import LayerNorm2d
from lightvit_dense.registry import DATASETS, HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from tests.helpers.models import rates_and_decays
from tests.helpers.shipped_configs import CONFIGS, FOUND, ROOT, batch_of, load, name_of, read

NORMS = (GroupNorm, LayerNorm, SyncBatchNorm)


def step_of(path: Path) -> str:
    """Return what a step follows from: not the data, the initial weights or the length."""
    cfg = load(path)
    data = cfg.train_dataloader.dataset
    return repr((cfg.model, cfg.optim_wrapper, data.get('pipeline'), data.type))


STEPPED = [*{step_of(path): path for path in CONFIGS}.values()]


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_the_docstring_says_what_where_from_and_how(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    for word in ('What', 'Source', 'Run'):
        assert f'\n{word} ' in text, f'{path} does not say: {word}'
    tool, config = re.search(r'^Run\s+(\S+)\s+(\S+)', text, re.M).groups()
    assert (ROOT / tool).is_file()
    assert config == str(path.relative_to(ROOT))


def bases_of(file: Path) -> list[Path]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            bases = ast.literal_eval(node.value)
            bases = [bases] if isinstance(bases, str) else bases
            return [(file.parent / base).resolve() for base in bases]
    return []


def initial_weights(file: Path) -> Any:
    model = read(file).model
    return (model.get('init_cfg') or model.backbone.get('init_cfg') or {}).get('checkpoint')


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_two_levels_of_base_in_each_of_which_a_file_may_vary_another(path: Path) -> None:
    """No leaf extends one of another initialisation."""

    def depth(file: Path, varies: bool = False) -> int:
        levels = [0]
        for base in bases_of(file):
            sibling = base.parent == file.parent and '_base_' in file.parts
            assert not (sibling and varies), f'{file} varies a file that varies another'
            levels.append(depth(base, sibling) + (not sibling))
        return max(levels)

    assert depth(path) <= 2
    for base in bases_of(path):
        assert '_base_' in base.parts or initial_weights(base) == initial_weights(path)


def test_no_override_by_place() -> None:
    for path in FOUND:
        found = re.findall(r'_base_\.\w+\[-?\d*:|custom_hooks\.\d', path.read_text())
        assert not found, f'{path}: {found}'


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_it_dumps_and_its_data_hooks_and_schedule_are_known(path: Path, tmp_path: Path) -> None:
    cfg = read(path)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    init_default_scope(cfg.default_scope)
    Visualizer.get_instance('configs')  # hooks that draw ask for the current one
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        HOOKS.build(hook)
    for name in ('train_dataloader', 'val_dataloader'):
        if name in cfg:
            dataset = cfg[name].dataset
            assert DATASETS.get(dataset.type) is not None
            for transform in dataset.get('pipeline', ()):
                TRANSFORMS.build(transform)
    length = cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))
    schedules = cfg.param_scheduler
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        # mmengine ends a schedule with the training where the config does not say.
        assert schedule.get('end', length) <= length
        assert schedule.get('warmup', 0) < length
        assert PARAM_SCHEDULERS.get(schedule.type) is not None


def detection_batch(cfg: Config) -> dict:
    """Return two random images with boxes and masks, on a small pad_shape."""
    side = {16: 160, 8: 96}.get(cfg.model.backbone.get('patch_size'), 128)
    cfg.model.pad_shape = side
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.model.train_cfg.rpn_proposal.nms_pre = 100
    classes = cfg.model.roi_head.bbox_head.num_classes
    shapes = [[3, side, side]] * 2
    return demo_mm_inputs(2, shapes, num_items=[2, 1], num_classes=classes, with_mask=True)


def small_batch(cfg: Config, photograph: Path) -> dict:
    """Return two images: by the config's own pipeline and collation, but for detection."""
    if cfg.default_scope == 'mmdet':
        return detection_batch(cfg)
    if cfg.default_scope == 'mmseg':
        side = min(96, cfg.crop_size[0])
        cfg.model.data_preprocessor.size = (side, side)
        for head in ('decode_head', 'auxiliary_head'):
            cfg.model.get(head, {})['channels'] = 32  # which take longer than all the rest
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform.type == 'lightvit_dense.RandomScaleCrop':
                transform.update(scale=(4 * side, side), crop_size=(side, side))
    return batch_of(cfg, photograph)


@pytest.mark.parametrize('path', STEPPED, ids=name_of)
def test_it_builds_and_trains_a_step(path: Path, photograph: Path) -> None:
    cfg = load(path)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    batch = small_batch(cfg, photograph)
    model = MODELS.build(cfg.model).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    optimizer.step()
    changed = [n for n, p in model.named_parameters() if n in before and (p != before[n]).any()]
    assert len(changed) > 0.8 * len(before)


def test_the_paper_recipe_of_detection_is_exact() -> None:
    cfg = read('coco/maskrcnn_dmae_tiny')
    backbone = cfg.model.backbone
    assert backbone.window == dict(size=14, global_blocks=(2, 5, 8, 11))
    assert backbone.rel_pos.size == cfg.model.pad_shape == 640
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.param_scheduler[1].milestones == [163888, 177546]
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[0].start_factor) == (250, 0.001)


@pytest.mark.parametrize('name', ['-li2021_dmae_tiny', '_dmae_hiera-tiny', '_dmae_tiny'])
def test_norms_that_detectron2_knows_are_not_decayed(name: str) -> None:
    """It knows no channel-first LayerNorm: those of pyramid and heads are decayed."""
    cfg = load(f'coco/maskrcnn{name}')
    init_default_scope(cfg.default_scope)
    model, usual = MODELS.build(cfg.model), cfg.optim_wrapper.optimizer
    groups = rates_and_decays(model, cfg.optim_wrapper)
    for key, (_, decay) in groups.items():
        norm = model.get_submodule(key.rpartition('.')[0])
        known = isinstance(norm, NORMS) and not isinstance(norm, LayerNorm2d)
        exempt = known or key == 'backbone.pos_embed'
        assert decay == (0.0 if exempt else usual.weight_decay), key
    if name == '_dmae_tiny':
        assert Counter(groups.values()) == {(usual.lr, 0.05): 196, (usual.lr, 0.0): 49}
