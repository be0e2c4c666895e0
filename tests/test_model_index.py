"""The model index is OpenMMLab's format, complete, and holds no figure of unknown origin."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from lightvit_dense import apis
from lightvit_dense.apis.configs import prepare_scope
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.flops import count_cost
from tests.helpers.shipped_configs import ROOT, read

FOLDERS = ('pretrain', 'imagenet', 'transfer', 'coco', 'ade20k', 'lasot')
MODEL = {'Name', 'In Collection', 'Config', 'Metadata'}
SIZES = {'Parameters', 'FLOPs', 'Image Size'}
# Metric of the index: our key, and what a percent of it is.
METRICS = {'box AP': ('coco/bbox_mAP', 100), 'mask AP': ('coco/segm_mAP', 100)}
METRICS |= {'mIoU': ('mIoU', 1), 'AUC': ('success', 1)}


@cache
def metafiles() -> dict[str, dict]:
    paths = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    return {path: yaml.safe_load((ROOT / path).read_text()) for path in paths}


def entries(kind: str) -> dict[str, dict]:
    """Return the ``Collections`` or ``Models`` by name, each of which is there once."""
    found = [entry for file in metafiles().values() for entry in file[kind]]
    by_name = {entry['Name']: entry for entry in found}
    assert len(by_name) == len(found)
    return by_name


def test_every_metafile_is_imported_and_every_config_has_an_entry() -> None:
    there = {f'configs/{folder}/metafile.yml' for folder in FOLDERS}
    assert set(metafiles()) == there
    assert {str(p.relative_to(ROOT)) for p in (ROOT / 'configs').rglob('metafile.yml')} == there
    leaves = [p for folder in FOLDERS for p in (ROOT / 'configs' / folder).rglob('*.py')]
    named = {m['Config'] for m in entries('Models').values()}
    assert named == {str(p.relative_to(ROOT)) for p in leaves}


def test_entries_have_the_fields_of_the_format_and_files_that_exist() -> None:
    for entry in entries('Collections').values():
        assert set(entry) == {'Name', 'Metadata', 'Paper', 'README', 'Code'}
        assert set(entry['Metadata']) == {'Training Data', 'Training Techniques', 'Architecture'}
        assert set(entry['Paper']) == {'Title', 'URL'}
        assert re.match(r'https://(arxiv\.org/abs|proceedings\.mlr\.press)/', entry['Paper']['URL'])
        assert (ROOT / entry['README']).is_file()
        assert (ROOT / entry['Code']['URL']).is_file()
    models, known = entries('Models'), entries('Collections')
    for entry in models.values():
        # Nothing to download.
        assert MODEL <= set(entry) <= MODEL | {'Results', 'Downstream'}, entry['Name']
        assert entry['In Collection'] in known
        assert entry['Name'] == Path(entry['Config']).stem
        metadata = entry['Metadata']
        assert SIZES | {'Training Data', 'Architecture', 'Batch Size'} <= set(metadata)
        assert all(isinstance(metadata[key], int) for key in SIZES)
        assert set(entry.get('Downstream') or ()) <= set(models)
        for result in entry.get('Results') or ():
            assert set(result) == {'Task', 'Dataset', 'Metrics', 'Source'}
            assert result['Source'] == 'paper'
            assert all(isinstance(value, float) for value in result['Metrics'].values())


@pytest.mark.parametrize('folder', ['imagenet', 'coco', 'ade20k', 'lasot'])
def test_lengths_batches_and_expected_figures_are_those_of_the_configs(folder: str) -> None:
    for entry in metafiles()[f'configs/{folder}/metafile.yml']['Models']:
        cfg, metadata = read(ROOT / entry['Config']), entry['Metadata']
        assert metadata['Batch Size'] == cfg.auto_scale_lr.base_batch_size
        length = {'Epochs': cfg.train_cfg.get('max_epochs')}
        if 'Iterations' in metadata:
            length = {'Iterations': cfg.train_cfg.max_iters}
        assert length.items() <= metadata.items()
        expected = {key: value for key, value, _ in cfg.get('expected') or ()}
        told = [pair for r in entry.get('Results') or () for pair in r['Metrics'].items()]
        told = [(*METRICS[name], value) for name, value in told if name in METRICS]
        assert {key: value / percent for key, percent, value in told} == pytest.approx(expected)


def test_downstream_names_what_starts_from_a_pretraining() -> None:
    entry = entries('Models')['dmae_vit-tiny']
    known = {'maskrcnn_dmae_tiny', 'ostrack256_dmae_tiny', 'flowers_vit-tiny'}
    assert known <= set(entry['Downstream'])
    cfg = read(ROOT / entries('Models')[entry['Downstream'][0]]['Config'])
    assert 'work_dirs/dmae_vit-tiny/' in cfg.model.backbone.init_cfg.checkpoint


@pytest.mark.parametrize(
    'name',
    [
        'finetune_mae_vit-tiny_300e',
        'finetune_d2mae_vit-tiny-rpe_1000e',
        'finetune_dmae_hiera-tiny_300e',
        'flowers_vit-tiny',
        'semfpn_d2mae_tiny',
        'maskrcnn_dmae_tiny',
        'upernet_dmae_tiny',
    ],
)
def test_parameters_and_operations_are_the_built_models(name: str) -> None:
    entry = entries('Models')[name]
    cfg = apis.load_config(str(ROOT / entry['Config']))
    prepare_scope(cfg)
    cfg.model.backbone.init_cfg = cfg.model.init_cfg = None
    cost, metadata = count_cost(cfg), entry['Metadata']
    assert (cost.used_params, cost.flops // 2) == (metadata['Parameters'], metadata['FLOPs'])
    assert cost.shape == (metadata['Image Size'],) * 2


@pytest.mark.parametrize(
    'name', ['mae_vit-tiny', 'dmae_vit-small', 'mae_hiera-tiny', 'd2simmim_swin-tiny']
)
def test_parameters_of_pretraining_are_the_backbones(name: str) -> None:
    cfg = read(ROOT / entries('Models')[name]['Config'])
    backbone = MODELS.build(cfg.model.backbone)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == entries('Models')[name]['Metadata']['Parameters']


def test_sizes_of_dense_models_are_those_of_the_documents() -> None:
    text = (ROOT / 'docs/dense.md').read_text()
    pattern = r'^\| (.+?) \| (\d+) \| ([\d.]+) M.*? \| ([\d.]+) \| [\d.]+ \|$'
    rows = {title: numbers for title, *numbers in re.findall(pattern, text, re.M)}
    pairs = {
        'Mask R-CNN, ViT-Tiny': 'maskrcnn_dmae_tiny',
        'Mask R-CNN, Hiera-Tiny': 'maskrcnn_dmae_hiera-tiny',
        'Mask R-CNN, Swin-Tiny of width 48': 'maskrcnn_d2simmim_swin-tiny',
        'Mask R-CNN of Li et al. 2021, ViT-Tiny': 'maskrcnn-li2021_dmae_tiny',
        'UperNet, ViT-Tiny': 'upernet_dmae_tiny',
        'UperNet, Hiera-Tiny': 'upernet_dmae_hiera-tiny',
        'Semantic FPN, ViT-Tiny': 'semfpn_dmae_tiny',
    }
    for title, name in pairs.items():
        told = entries('Models')[name]['Metadata']
        millions, billions = told['Parameters'] / 1e6, told['FLOPs'] / 1e9
        assert [f'{told["Image Size"]}', f'{millions:.2f}', f'{billions:.1f}'] == rows[title]
