"""The demo as a subprocess: everything that it runs, with few iterations and images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*words, **options):
    command = [sys.executable, str(ROOT / 'tools/demo.py'), *map(str, words)]
    env = {key: value for key, value in os.environ.items() if key != 'LIGHTVIT_DATA'}
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
    minutes = summary['minutes']
    parts = [minutes[name] for name in ('world', 'teacher', 'student')]
    # The detectors, and their tests, ran side by side.
    parts.append(max(minutes['scratch'], minutes['dmae']))
    parts.append(max(minutes['test_scratch'], minutes['test_dmae']))
    assert minutes['total'] == pytest.approx(sum(parts))
    assert summary['smoke'] is True
    assert summary['data']['unlabelled_images'] == 12
    page = (folder / 'report.html').read_text()
    assert 'Smoke run' in page
    assert 'http' not in page
    assert page.count('<svg') == 7
    assert page.count('data:image/jpeg;base64,') == 3
    assert 'Mask R-CNN from D-MAE' in printed
    assert summary['verdict'] in printed.replace('\n', ' ')


def test_progress_is_readable_without_a_terminal(demo):
    _, printed = demo
    lines = printed.splitlines()
    for index, title in enumerate(('Toy world', 'Teacher by MAE', 'Student by D-MAE'), 1):
        assert any(line.startswith(f'[{index}/8] {title}: done in') for line in lines)
    assert '\x1b' not in printed


def test_detector_started_from_the_student(demo):
    folder, _ = demo
    summary = json.loads((folder / 'summary.json').read_text())
    checkpoint = folder / 'student' / 'backbone.safetensors'
    assert checkpoint.is_file()
    option = f'model.backbone.init_cfg.checkpoint={checkpoint}'
    assert option in summary['commands']['dmae']
    assert not any('checkpoint=' in word for word in summary['commands']['scratch'])


def test_second_call_does_nothing_twice_and_a_lost_stage_is_repeated(demo):
    folder, _ = demo
    (folder / 'test_dmae' / 'results.bbox.json').unlink()
    (folder / 'report.html').unlink()
    again = run_demo('--smoke', '--work-dir', folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count('done before') == 4  # the detectors are one step
    assert again.stdout.count('done in') == 1
    assert (folder / 'report.html').is_file()


def test_failing_stage_is_reported(tmp_path):
    """A file where the world's folder should be makes the first stage fail."""
    blocked = tmp_path / 'data'
    blocked.mkdir()
    (blocked / 'toyworld').write_text('in the way')
    done = run_demo('--smoke', '--work-dir', tmp_path / 'work', '--data-root', blocked)
    assert done.returncode == 1
    assert "Stage 'world' failed" in done.stderr
    assert f'Full log: {tmp_path / "work" / "world" / "stage.log"}' in done.stderr
    assert 'Traceback' not in done.stderr.split('Full log:')[1]


def test_unknown_stage_is_refused(tmp_path):
    done = run_demo('--smoke', '--work-dir', tmp_path, '--stages', 'techer')
    assert done.returncode == 1
    assert 'unknown stage(s) techer; there are: world, teacher' in done.stderr
