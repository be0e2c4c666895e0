"""The demo as `make demo` runs it, in part: few cells, iterations and images."""

import json
import re
import shutil

import pytest

from tests.helpers.tiny_suite import fork_stages
from tests.helpers.tools import ROOT, call_tool

SUITE = 'configs/suites/demo.py'
# Of the nine cells, five: each task, and each initialisation.
CELLS = [('detection', 'mae'), ('segmentation', 'mae'), ('tracking', 'mae')]
CELLS += [('detection', 'dmae'), ('tracking', 'scratch')]
WORDS = [ROOT / SUITE, '--jobs', 2, '--smoke', '--cfg-options']
WORDS += ['inits.scratch.tasks=[tracking]', 'inits.dmae.tasks=[detection]', '--work-dir']


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A finished smoke run, a fork for every stage: its folder and what it printed."""
    folder = tmp_path_factory.mktemp('demo')
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('LIGHTVIT_DATA', raising=False)
        patch.setenv('TEST_PROCESS_SECONDS', '600')  # of every stage
        with pytest.MonkeyPatch.context() as forked:
            fork_stages(forked, ROOT)
            printed = call_tool('run_benchmark.py', *WORDS, folder)
        yield folder, printed


def test_numbers_and_page_of_what_make_demo_runs(demo):
    assert f'tools/run_benchmark.py {SUITE} --jobs 2' in (ROOT / 'Makefile').read_text()
    folder, printed = demo
    results = json.loads((folder / 'results.json').read_text())
    cells = {(run['task'], run['init']): run for run in results['runs'] if run['kind'] == 'cell'}
    assert {cell['state'] for cell in cells.values()} == {'measured'}
    assert set(cells) == set(CELLS)
    for (task, _), cell in cells.items():
        found = cell['metrics']
        assert cell['peak_memory_mb'] > 100
        if task == 'segmentation':
            assert 0 <= found['mIoU'] <= found['aAcc'] <= 100
        for key in ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50'):
            assert task != 'detection' or 0 <= found[f'coco/{key}'] <= 1
        for key in ('success', 'precision', 'norm_precision'):
            assert task != 'tracking' or 0 <= found[key] <= 100
    assert results['smoke'] is True
    page = (folder / 'report.html').read_text()
    assert 'src="http' not in page
    drawn = re.findall('alt="([^"]*)"', page)
    for words in ('right: ground truth', 'right: image', 'overlap', 'Success of', 'what it sees'):
        assert any(words in caption for caption in drawn), words
    assert 'Smoke run' in printed
    assert (folder / 'data/toyworld').is_dir()  # little data is not where the real belongs
    # Progress is readable without a terminal.
    assert re.search(r'^\[1/12\] Toy world: .*^\[12/12\] .* left', printed, re.M | re.S)
    assert '\x1b' not in printed


def test_tasks_start_from_what_is_pretrained_and_what_is_shipped(demo):
    folder, _ = demo
    exported = folder / 'pretrain_mae/backbone.safetensors'
    assert exported.is_file()
    weights = dict(mae=exported, dmae='dmae-dinov2_toyworld')
    for task, init in CELLS:
        stage = json.loads((folder / f'{task}_{init}_seed-0/stage.json').read_text())
        found = [word for word in stage['command'] if 'checkpoint=' in word]
        key = 'model.backbone.init_cfg.checkpoint'
        assert found == ([f'{key}={weights[init]}'] if init in weights else [])


def test_second_call_does_nothing_twice_and_a_lost_stage_is_repeated(demo):
    folder, _ = demo
    (folder / 'detection_dmae_seed-0_test/metrics.json').unlink()
    shutil.rmtree(folder / 'segmentation_mae_seed-0_test')
    (folder / 'report.html').unlink()
    again = call_tool('run_benchmark.py', *WORDS, folder)
    assert '10 of 12 runs were done before' in again
    assert (folder / 'report.html').is_file()
