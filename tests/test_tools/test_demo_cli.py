"""The demo as `make demo` runs it: everything in it, with few iterations and images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = 'configs/suites/demo.py'


def run_demo(folder):
    words = [SUITE, '--jobs', '2', '--smoke', '--work-dir', str(folder)]
    env = {key: value for key, value in os.environ.items() if key != 'LIGHTVIT_DATA'}
    env['TEST_PROCESS_SECONDS'] = '600'  # it runs every stage
    command = [sys.executable, 'tools/run_benchmark.py', *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A finished smoke run: its folder and what it printed."""
    folder = tmp_path_factory.mktemp('demo')
    done = run_demo(folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder, done.stdout


def test_make_demo_runs_this_suite():
    assert f'tools/run_benchmark.py {SUITE} --jobs 2' in (ROOT / 'Makefile').read_text()


def test_numbers_and_page(demo):
    folder, printed = demo
    results = json.loads((folder / 'results.json').read_text())
    cells = {(run['task'], run['init']): run for run in results['runs'] if run['kind'] == 'cell'}
    assert {cell['state'] for cell in cells.values()} == {'measured'}
    for init in ('scratch', 'dmae'):
        detection = cells['detection', init]['metrics']
        for key in ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50'):
            assert 0 <= detection[f'coco/{key}'] <= 1
        segmentation = cells['segmentation', init]['metrics']
        assert 0 <= segmentation['mIoU'] <= segmentation['aAcc'] <= 100
        for key in ('success', 'precision', 'norm_precision'):
            assert 0 <= cells['tracking', init]['metrics'][key] <= 100
        assert cells['detection', init]['peak_memory_mb'] > 100
    assert results['smoke'] is True
    page = (folder / 'report.html').read_text()
    assert 'src="http' not in page
    assert page.count('data:image/') >= 4  # detections, label maps, tracks, reconstructions
    assert 'Smoke run' in printed
    assert (folder / 'data/toyworld').is_dir()  # little data is not where the real belongs


def test_progress_is_readable_without_a_terminal(demo):
    lines = demo[1].splitlines()
    assert any(line.startswith('[1/15] Toy world: ') for line in lines)
    assert any(line.startswith('[15/15] ') and ' left' in line for line in lines)
    assert '\x1b' not in demo[1]


def test_all_three_started_from_the_student(demo):
    folder, _ = demo
    checkpoint = folder / 'pretrain_dmae/backbone.safetensors'
    assert checkpoint.is_file()
    option = f'model.backbone.init_cfg.checkpoint={checkpoint}'
    for task in ('detection', 'segmentation', 'tracking'):
        scratch, dmae = (
            json.loads((folder / f'{task}_{init}_seed-0/stage.json').read_text())['command']
            for init in ('scratch', 'dmae')
        )
        assert option in dmae
        assert not any('checkpoint=' in word for word in scratch)


def test_second_call_does_nothing_twice_and_a_lost_stage_is_repeated(demo):
    folder, _ = demo
    (folder / 'detection_dmae_seed-0_test/metrics.json').unlink()
    shutil.rmtree(folder / 'segmentation_scratch_seed-0_test')
    (folder / 'report.html').unlink()
    again = run_demo(folder)
    assert again.returncode == 0, again.stderr
    assert '13 of 15 runs were done before' in again.stdout
    assert (folder / 'report.html').is_file()
