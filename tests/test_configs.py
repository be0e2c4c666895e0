"""Every shipped config loads, is documented, builds, dumps, and trains one step at a small size.

Configs that differ in initial weights or length alone train the same step, so one of them does it.
"""

import ast
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer
from PIL import Image
from torch.nn import GroupNorm, LayerNorm, SyncBatchNorm

from lightvit_dense.models import LayerNorm2d
from lightvit_dense.registry import DATASETS, FUNCTIONS, HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from tests.helpers.models import rates_and_decays

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    p for p in (ROOT / 'configs').rglob('*.py') if not {'_base_', 'suites'} & set(p.parts)
)
METHODS = ('mae', 'dmae', 'd2mae', 'simmim', 'mocov3', 'dino')
NORMS = (GroupNorm, LayerNorm, SyncBatchNorm)
NAMES = [str(p.relative_to(ROOT / 'configs')) for p in CONFIGS]


def load(path: Path) -> Config:
    cfg = Config.fromfile(path)
    drop_checkpoints(cfg.model)
    return cfg


def drop_checkpoints(node: Any) -> None:
    """Remove what names files that a test has not got."""
    if isinstance(node, dict):
        if 'checkpoint' in (node.get('init_cfg') or {'checkpoint': None}):
            node.pop('init_cfg', None)
        for value in node.values():
            drop_checkpoints(value)


def distinct(paths: list[Path]) -> list[Path]:
    """Return one config of each group that differ in data, initial weights or length alone."""
    found: dict[str, Path] = {}
    for path in paths:
        cfg = load(path)
        pipeline = cfg.train_dataloader.dataset.get('pipeline')
        kind = cfg.train_dataloader.dataset.type
        parts = (cfg.model, cfg.optim_wrapper, pipeline, kind)
        found.setdefault(repr(parts), path)
    return list(found.values())


STEPPED = distinct(CONFIGS)


def test_the_collection_is_complete() -> None:
    """Those of coco, ade20k, imagenet and transfer are in the tables of their recipes."""
    assert {
        *(f'pretrain/{m}_vit-tiny.py' for m in METHODS),
        *(f'pretrain/{m}_hiera-tiny.py' for m in METHODS[:3]),
        *(f'pretrain/{m}_vit-small.py' for m in METHODS[:2]),
        'pretrain/seed_efficientnet-b0.py',
        *(f'pretrain/ablation/dmae_layer-{i}_vit-tiny.py' for i in (3, 6, 9)),
        *(f'toyworld/{m}.py' for m in ('mae_teacher', 'dmae_student', 'dmae_dinov2', 'seed')),
        *(f'toyworld/maskrcnn_{m}.py' for m in ('scratch', 'dmae')),
        *(f'lasot/ostrack256_{m}_tiny.py' for m in ('scratch', 'deit', 'mae', 'dmae', 'd2mae')),
        'lasot/ostrack256_dmae_hiera-tiny.py',
        'lasot/ostrack256_dmae_tiny_got10k.py',
        *(f'toyworld/ostrack_{m}.py' for m in ('scratch', 'mae', 'dmae')),
    } <= set(NAMES)


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_the_docstring_says_what_where_from_and_how(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    for word in ('What', 'Source', 'Run'):
        assert f'\n{word} ' in text, f'{path} does not say: {word}'
    command = next(line for line in text.splitlines() if line.startswith('Run')).split()[1:]
    assert (ROOT / command[0]).is_file()
    assert command[1] == str(path.relative_to(ROOT))


def bases_of(file: Path) -> list[Path]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            bases = ast.literal_eval(node.value)
            bases = [bases] if isinstance(bases, str) else bases
            return [(file.parent / base).resolve() for base in bases]
    return []


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_two_levels_of_base_in_each_of_which_a_file_may_vary_another(path: Path) -> None:
    def depth(file: Path, varies: bool = False) -> int:
        levels = [0]
        for base in bases_of(file):
            sibling = base.parent == file.parent and '_base_' in file.parts
            assert not (sibling and varies), f'{file} varies a file that varies another'
            levels.append(depth(base, sibling) + (not sibling))
        return max(levels)

    assert depth(path) <= 2


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_no_leaf_extends_one_of_another_initialisation(path: Path) -> None:
    def initial(file: Path) -> Any:
        model = Config.fromfile(file).model
        return (model.get('init_cfg') or model.backbone.get('init_cfg') or {}).get('checkpoint')

    for base in bases_of(path):
        assert '_base_' in base.parts or initial(base) == initial(path)


def test_no_override_by_place() -> None:
    for path in (ROOT / 'configs').rglob('*.py'):
        found = re.findall(r'_base_\.\w+\[-?\d*:|custom_hooks\.\d', path.read_text())
        assert not found, f'{path}: {found}'


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_it_dumps_and_loads_again(path: Path, tmp_path: Path) -> None:
    cfg = Config.fromfile(path)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_data_hooks_and_schedule_are_known(path: Path) -> None:
    cfg = load(path)
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


@pytest.fixture(scope='module')
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture for the pipelines to read."""
    path = tmp_path_factory.mktemp('images') / 'chelsea.jpg'
    Image.fromarray(skimage.data.chelsea()).save(path)
    return path


@pytest.fixture(scope='module')
def label_map(tmp_path_factory: pytest.TempPathFactory, photograph: Path) -> Path:
    """Return the label map of that picture: bands of five classes."""
    path = tmp_path_factory.mktemp('labels') / 'chelsea.png'
    with Image.open(photograph) as image:
        rows = np.arange(image.height) * 5 // image.height + 1
        Image.fromarray(np.repeat(rows[:, None], image.width, 1).astype(np.uint8)).save(path)
    return path


def detection_batch(cfg: Config) -> dict:
    """Return two random images with boxes and masks, on a small pad_shape."""
    side = {16: 160, 8: 96}.get(cfg.model.backbone.get('patch_size'), 128)
    cfg.model.pad_shape = side
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.model.train_cfg.rpn_proposal.nms_pre = 100
    classes = cfg.model.roi_head.bbox_head.num_classes
    shapes = [[3, side, side]] * 2
    return demo_mm_inputs(2, shapes, num_items=[2, 1], num_classes=classes, with_mask=True)


def tracking_batch(cfg: Config, photograph: Path) -> dict:
    """Return two pairs of crops, cut as the config says out of a video of one picture."""
    folder = photograph.parent / 'videos'
    if not folder.exists():
        (folder / 'cat').mkdir(parents=True)
        for number in range(20):
            os.link(photograph, folder / 'cat' / f'{number:08d}.jpg')
        (folder / 'cat/groundtruth.txt').write_text('130,60,150,110\n' * 20)
    dataset = cfg.train_dataloader.dataset
    dataset.sets = [dict(type='tracking.CustomSequences', data_root=str(folder))]
    dataset.ratios = [1]
    pairs = DATASETS.build(dataset)
    return FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)([pairs[0], pairs[1]])


def small_batch(cfg: Config, photograph: Path, label_map: Path) -> dict:
    """Return two images: by the config's own pipeline and collation, but for detection."""
    if cfg.default_scope == 'mmdet':
        return detection_batch(cfg)
    if cfg.model.type == 'tracking.OneStreamTracker':
        return tracking_batch(cfg, photograph)
    transforms = cfg.train_dataloader.dataset.pipeline
    if cfg.default_scope == 'mmseg':
        side = min(160, cfg.crop_size[0])
        cfg.model.data_preprocessor.size = (side, side)
        for transform in transforms:
            if transform.type == 'mmcv.RandomResize':
                transform.scale = (4 * side, side)
            if transform.type == 'mmseg.RandomCrop':
                transform.crop_size = (side, side)
    given = dict(img_path=str(photograph), seg_map_path=str(label_map), seg_fields=[])
    given |= dict(reduce_zero_label=True, label_map=None)
    pipeline = Compose(transforms)
    samples = [pipeline(dict(given, gt_label=label, seg_fields=[])) for label in range(2)]
    collate = dict(cfg.train_dataloader.get('collate_fn', dict(type='pseudo_collate')))
    return FUNCTIONS.get(collate.pop('type'))(samples, **collate)


@pytest.mark.parametrize(
    'path', STEPPED, ids=[str(p.relative_to(ROOT / 'configs')) for p in STEPPED]
)
def test_it_builds_and_trains_a_step(path: Path, photograph: Path, label_map: Path) -> None:
    cfg = load(path)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    batch = small_batch(cfg, photograph, label_map)
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
    cfg = Config.fromfile(ROOT / 'configs/coco/maskrcnn_dmae_tiny.py')
    backbone = cfg.model.backbone
    assert backbone.window == dict(size=14, global_blocks=(2, 5, 8, 11))
    assert backbone.rel_pos.size == cfg.model.pad_shape == 640
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.param_scheduler[1].milestones == [163888, 177546]
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[0].start_factor) == (250, 0.001)


@pytest.mark.parametrize('name', ['-li2021_dmae_tiny', '_dmae_hiera-tiny', '_dmae_tiny'])
def test_norms_that_detectron2_knows_are_not_decayed(name: str) -> None:
    """It knows no channel-first LayerNorm: those of pyramid and heads are decayed."""
    cfg = load(ROOT / f'configs/coco/maskrcnn{name}.py')
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


def test_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LIGHTVIT_DATA', '/elsewhere')
    cfg = Config.fromfile(ROOT / 'configs/coco/maskrcnn_dmae_tiny.py')
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere/coco/'
    assert cfg.val_evaluator.ann_file.startswith('/elsewhere/coco/annotations/')
