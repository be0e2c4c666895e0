"""The demo as users run it: everything in it, with few iterations and images."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*words, **options):
    command = [sys.executable, str(ROOT / 'tools/demo.py'), *map(str, words)]
    env = {key: value for key, value in os.environ.items() if key != 'LIGHTVIT_DATA'}
    env['TEST_PROCESS_SECONDS'] = '600'  # it runs every stage
    return subprocess.run(
        command, capture_output=True, text=True, cwd=options.get('cwd', ROOT), env=env, check=False
    )


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A finished smoke run: its folder and what it printed."""
    folder = tmp_path_factory.mktemp('demo')
    done = run_demo('--smoke', '--work-dir', folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder, done.stdout


def test_numbers_page_and_table(demo):
    folder, printed = demo
    summary = json.loads((folder / 'summary.json').read_text())
    for name in ('scratch', 'dmae'):
        for key in ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50'):
            assert 0 <= summary[name][key] <= 1
        assert summary['peak_memory_mb'][name] > 100
    for name in ('upernet_scratch', 'upernet_dmae'):
        assert 0 <= summary[name]['mIoU'] <= summary[name]['aAcc'] <= 100
    for name in ('tracker_scratch', 'tracker_dmae'):
        for key in ('success', 'precision', 'norm_precision'):
            assert 0 <= summary[name][key] <= 100
    minutes = summary['minutes']
    parts = [minutes[name] for name in ('world', 'teacher', 'student')]
    # The two models of a task, and their tests, ran side by side.
    for task in ('', 'upernet_', 'tracker_'):
        for stage in (task, f'test_{task}'):
            parts.append(max(minutes[f'{stage}scratch'], minutes[f'{stage}dmae']))
    assert minutes['total'] == pytest.approx(sum(parts))
    assert summary['smoke'] is True
    assert summary['data']['unlabelled_images'] == 12
    assert (summary['data']['label_maps'], summary['data']['val_label_maps']) == (8, 6)
    assert (summary['data']['videos'], summary['data']['test_videos']) == (6, 2)
    page = (folder / 'report.html').read_text()
    assert 'Smoke run' in page
    assert 'http' not in page
    assert page.count('<svg') == 13
    assert page.count('data:image/jpeg;base64,') == 5
    for title in ('Mask R-CNN from D-MAE', 'UperNet from D-MAE', 'Tracker from D-MAE'):
        assert title in printed
    for part in (summary, summary['segmentation'], summary['tracking']):
        assert part['verdict'] in printed.replace('\n', ' ')


def test_progress_is_readable_without_a_terminal(demo):
    _, printed = demo
    lines = printed.splitlines()
    for index, title in enumerate(('Toy world', 'Teacher by MAE', 'Student by D-MAE'), 1):
        assert any(line.startswith(f'[{index}/16] {title}: done in') for line in lines)
    assert '\x1b' not in printed


def test_all_three_started_from_the_student(demo):
    folder, _ = demo
    summary = json.loads((folder / 'summary.json').read_text())
    checkpoint = folder / 'student' / 'backbone.safetensors'
    assert checkpoint.is_file()
    option = f'model.backbone.init_cfg.checkpoint={checkpoint}'
    for task in ('', 'upernet_', 'tracker_'):
        assert option in summary['commands'][f'{task}dmae']
        assert not any('checkpoint=' in word for word in summary['commands'][f'{task}scratch'])


def test_second_call_does_nothing_twice_and_a_lost_stage_is_repeated(demo):
    folder, _ = demo
    (folder / 'test_dmae' / 'results.bbox.json').unlink()
    shutil.rmtree(folder / 'test_upernet_scratch' / 'results')
    shutil.rmtree(folder / 'test_tracker_dmae' / 'results')
    (folder / 'report.html').unlink()
    again = run_demo('--smoke', '--work-dir', folder)
    assert again.returncode == 0, again.stderr
    # The models of a task are one step, and so are their tests.
    assert again.stdout.count('done before') == 6
    assert again.stdout.count('done in') == 3
    assert (folder / 'report.html').is_file()


@pytest.fixture
def call_demo(call_tool, monkeypatch):
    """Run the demo in this process, which gets back what the demo sets for its own."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('LIGHTVIT_DATA', 'set by the demo')
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield partial(call_tool, 'demo.py', '--smoke')
    logger.setLevel(level)


def test_failing_stage_is_reported(tmp_path, call_demo):
    """A file where the world's folder should be makes the first stage fail."""
    blocked = tmp_path / 'data'
    blocked.mkdir()
    (blocked / 'toyworld').write_text('in the way')
    status, _, errors = call_demo('--work-dir', tmp_path / 'work', '--data-root', blocked)
    assert status == 1
    assert "Stage 'world' failed" in errors
    assert f'Full log: {tmp_path / "work" / "world" / "stage.log"}' in errors
    assert 'Traceback' not in errors.split('Full log:')[1]


def test_unknown_stage_is_refused(tmp_path, call_demo):
    status, _, errors = call_demo('--work-dir', tmp_path, '--stages', 'techer')
    assert status == 1
    assert 'unknown stage(s) techer; there are: world, teacher' in errors
