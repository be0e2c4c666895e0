"""The tools around an evaluation, on a tiny world: test, evaluate again, confusion, browse, ..."""

import csv
import json
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import lightvit_dense  # noqa: F401
from lightvit_dense import apis
from lightvit_dense.datasets.toyworld import WorldSpec, build_world
from lightvit_dense.errors import run_tool
from tests.helpers.toy_engine import clear_globals

ROOT = Path(__file__).parents[2]
TASKS = {
    'det': ('maskrcnn_scratch', "('coco/bbox_mAP', 0.99, 0.001)"),
    'seg': ('upernet_scratch', "('mIoU', 99, 0.1)"),
}
IMAGES = 3


def tool(name, *words):
    """Run a tool's main in this process; return its exit status."""
    clear_globals()
    path = next((ROOT / 'tools').glob(f'**/{name}.py'))
    main = runpy.run_path(str(path))['main']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [path.name, *map(str, words)])
        try:
            return run_tool(main)
        finally:
            clear_globals()


def write_config(folder, task, expected=''):
    name, wrong = TASKS[task]
    path = folder / f'{task}{"_expected" if expected else ""}.py'
    path.write_text(
        f"_base_ = '{ROOT}/configs/toyworld/{name}.py'\n"
        f'expected = [{expected or wrong}]\n'
        'val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n'
        'test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n'
    )
    return path


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with a toy world of three validation images, where configs look for it."""
    root = tmp_path_factory.mktemp('world')
    spec = WorldSpec(seed=1, image_size=64, train=4, val=IMAGES, unlabeled=12)
    layouts = ['coco', 'ade20k', 'imagenet']
    build_world(root / 'toyworld', spec, layouts, workers=0, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('LIGHTVIT_DATA', str(root))
        yield root


@pytest.fixture(scope='module')
def tested(world):
    """Results of tools/test.py with an untrained model of each task."""
    for task in TASKS:
        config = write_config(world, task)
        clear_globals()
        torch.manual_seed(0)
        model = apis.build_model(config, device='cpu')
        torch.save({'state_dict': model.state_dict()}, world / f'{task}.pth')
        out = world / task
        words = ['--out', out / 'p.pkl', '--json', out / 'r.json', '--work-dir', out / 'w']
        words += ['--show-dir', out / 'show', '--show-max', 2, '--verify']
        # What the config expects is far off.
        assert tool('test', config, world / f'{task}.pth', *words) == 1
    return world


@pytest.mark.parametrize('task', TASKS)
def test_the_json_tells_all(tested, task):
    content = json.loads((tested / task / 'r.json').read_text())
    assert content['config'] == str(tested / f'{task}.py')
    assert content['checkpoint'] == str(tested / f'{task}.pth')
    assert {len(content[f'{name}_sha256']) for name in ('config', 'checkpoint')} == {64}
    names = {'det': 'CocoMetric', 'seg': 'IoUMetric'}
    (table,) = content['class_tables'].values()
    assert list(content['class_tables']) == [names[task]]
    assert len(table) == {'det': 6, 'seg': 150}[task]
    key = {'det': 'bbox_mAP', 'seg': 'IoU'}[task]
    kept = [row[key] for row in table if row[key] is not None and row[key] >= 0]
    mean = content['metrics'][{'det': 'coco/bbox_mAP', 'seg': 'mIoU'}[task]]
    assert np.mean(kept) == pytest.approx(mean)
    assert content['environment']['versions']['onedl-mmengine']


@pytest.mark.parametrize('task', TASKS)
def test_pictures_are_named_after_the_images(tested, task):
    names = sorted(path.name for path in (tested / task / 'show').iterdir())
    stems = {'det': '{:012d}.png', 'seg': 'ADE_val_{:08d}.png'}
    assert names == [stems[task].format(number) for number in (1, 2)]
    picture = cv2.imread(str(tested / task / 'show' / names[0]))
    assert picture.shape[1] == 2 * 480 + 4  # enlarged, side by side
    assert picture.shape[0] > 480


@pytest.mark.parametrize('task', TASKS)
def test_evaluating_again_gives_the_same(tested, task, tmp_path, capsys):
    measured = json.loads((tested / task / 'r.json').read_text())
    name = {'det': 'coco/bbox_mAP', 'seg': 'mIoU'}[task]
    config = write_config(tmp_path, task, f'({name!r}, {measured["metrics"][name]}, 1e-9)')
    words = [config, tested / task / 'p.pkl', '--json', tmp_path / 'r.json', '--verify']
    assert tool('eval_metric', *words, '--classes') == 0
    out = capsys.readouterr().out
    assert 'ok' in out
    assert {'det': 'mousetrap', 'seg': 'windowpane'}[task] in out
    content = json.loads((tmp_path / 'r.json').read_text())
    assert content['metrics'] == pytest.approx(measured['metrics'], abs=1e-12)
    assert content['class_tables'] == measured['class_tables']
    assert len(content['predictions_sha256']) == 64
    assert tool('eval_metric', tested / f'{task}.py', tested / task / 'p.pkl', '--verify') == 1


def test_options_of_the_evaluator_can_be_changed(tested, tmp_path):
    out = tmp_path / 'r.json'
    words = ['--json', out, '--cfg-options', 'test_evaluator.backend=pycocotools']
    assert tool('eval_metric', tested / 'det.py', tested / 'det/p.pkl', *words) == 0
    measured = json.loads((tested / 'det/r.json').read_text())
    assert json.loads(out.read_text())['metrics'] == pytest.approx(measured['metrics'], abs=1e-12)


@pytest.mark.parametrize('task', TASKS)
def test_confusion_matrix(tested, task, tmp_path, capsys):
    words = [tested / f'{task}.py', tested / task / 'p.pkl', '--out', tmp_path, '--score-thr', 0.1]
    assert tool('confusion_matrix', *words) == 0
    assert 'Most frequent confusions' in capsys.readouterr().out
    content = json.loads((tmp_path / 'confusion.json').read_text())
    counts = np.array(content['counts'])
    truth = counts.sum(1)
    table = next(iter(json.loads((tested / task / 'r.json').read_text())['class_tables'].values()))
    if task == 'det':
        assert truth[:-1].tolist() == [row['instances'] for row in table]
        assert content['classes'][-1] == 'background'
        assert content['score_thr'] == 0.1
    else:
        assert truth.tolist() == [row['pixels'] for row in table]
        assert counts.sum() < IMAGES * 64 * 64  # the unlabelled rim does not count
    with (tmp_path / 'confusion.csv').open() as file:
        rows = list(csv.reader(file))
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == counts.sum()
    assert cv2.imread(str(tmp_path / 'confusion.png')) is not None


def test_predictions_of_other_images_are_refused(tested, tmp_path, capsys):
    predictions = pickle.loads((tested / 'seg/p.pkl').read_bytes())
    predictions[1]['img_path'] = 'elsewhere/x.jpg'
    path = tmp_path / 'p.pkl'
    path.write_bytes(pickle.dumps(predictions))
    for name, words in (('eval_metric', ()), ('confusion_matrix', ('--out', tmp_path))):
        assert tool(name, tested / 'seg.py', path, *words) == 2
        assert 'elsewhere/x.jpg: was predicted, but is not among' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('config', 'split', 'width'),
    [
        ('maskrcnn_scratch', 'train', 2 * 108 - 8),
        ('upernet_scratch', 'train', 2 * 100 + 4),  # the image beside the label map
        ('upernet_scratch', 'val', 2 * 100 + 4),
        ('deit', 'train', 2 * 108 - 8),
        ('dino', 'train', 6 * 104 - 4),  # all views
        ('mae_teacher', 'train', 2 * 108 - 8),
    ],
)
def test_browse(world, tmp_path, config, split, width):
    path = ROOT / 'configs' / 'toyworld' / f'{config}.py'
    words = ['--n', 3, '--columns', 2, '--side', 100, '--split', split, '--out']
    sheets = []
    for folder in ('a', 'b'):
        assert tool('browse_dataset', path, *words, tmp_path / folder) == 0
        sheets.append(cv2.imread(str(tmp_path / folder / f'{config}_{split}.png')))
    assert (sheets[0] == sheets[1]).all()  # the augmentations are seeded
    assert sheets[0].shape[1] == width
    assert sheets[0].std() > 20


def test_browse_shows_what_is_asked_for(world, tmp_path, capsys):
    path = ROOT / 'configs/toyworld/maskrcnn_scratch.py'
    words = ['--n', 2, '--start', 1, '--draws', 3, '--side', 100, '--out', tmp_path]
    assert tool('browse_dataset', path, *words) == 0
    sheet = cv2.imread(str(tmp_path / 'maskrcnn_scratch_train.png'))
    assert sheet.shape[1] == 3 * 108 - 8
    assert tool('browse_dataset', path, '--start', 99, '--out', tmp_path) == 2
    assert '--start 99: the train data set has 4 items' in capsys.readouterr().err
    config = ROOT / 'configs/toyworld/mae_teacher.py'
    assert tool('browse_dataset', config, '--split', 'test', '--out', tmp_path) == 2
    assert 'has no test_dataloader.dataset; it has the splits train' in capsys.readouterr().err


def test_get_flops(tmp_path, capsys):
    config = ROOT / 'configs/toyworld/upernet_scratch.py'
    words = [config, '--shape', 64, '--json', tmp_path / 'f.json']
    assert tool('get_flops', *words) == 0
    assert 'training only' in capsys.readouterr().out
    (found,) = json.loads((tmp_path / 'f.json').read_text())['models']
    assert found['shape'] == [64, 64]
    assert found['flops'] == sum(part['flops'] for part in found['parts'] if part['used'])
    assert found['macs'] * 2 == found['flops']
    assert tool('get_flops', config, '--cfg-options', 'model.decode_head.chanels=3') == 2
    assert "Did you mean 'channels'" in capsys.readouterr().err


def write_log(folder, records):
    log = folder / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return log


def test_analyze_logs(tmp_path):
    """As a process of its own: mistakes end with status 2 and one plain line."""
    records = [dict(lr=0.1, time=1.0 + i / 10, loss=5.0 - i, step=10 * i) for i in range(1, 5)]
    log = write_log(tmp_path / 'run', [*records, {'coco/bbox_mAP': 0.25, 'step': 40}])
    out = tmp_path / 'new' / 'c.png'
    words = ['plot_curve', tmp_path / 'run', '--keys', 'loss', 'bbox_mAP', '--out', out]
    assert tool('analyze_logs', *words, '--legend', 'a', 'b') == 0
    assert cv2.imread(str(out)).shape[1] > 500
    assert tool('analyze_logs', 'cal_train_time', log) == 0
    command = [sys.executable, ROOT / 'tools/analysis_tools/analyze_logs.py', 'cal_train_time', out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert 'Traceback' not in done.stderr


def test_curves_of_two_runs_are_drawn_and_listed(tmp_path, capsys):
    for run, factor in (('one', 1.0), ('two', 2.0)):
        records = [{'step': i, 'agreement/layer_2': factor * i, 'loss': 1 / i} for i in (1, 2, 3)]
        records[0]['agreement/layer_10'] = 0.5
        write_log(tmp_path / run, records)
    out = tmp_path / 'deep' / 'agreement.svg'
    words = ['plot_curve', f'A={tmp_path / "one"}', tmp_path / 'two', '--out', out, '--keys']
    assert tool('analyze_logs', *words, 'agreement') == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if 'layer' in line]
    rows = [[cell.strip() for cell in line.split('│')[1:-1]] for line in lines]
    assert rows[0] == ['A: agreement/layer_2', '1', '3', '1', '3', '3']
    assert rows[1] == ['A: agreement/layer_10', '0.5', '0.5', '0.5', '0.5', '1']
    assert rows[2] == ['two: agreement/layer_2', '2', '6', '2', '6', '3']
    assert out.read_text().startswith('<svg')
    for more, message in (
        (['accuracy'], "has no scalar 'accuracy'. There are agreement/layer_10"),
        (['loss', '--legend', 'a'], '--legend has 1 names for 2 curves'),
        (['loss', '--start-iter', '9'], 'has no loss from iteration 9 on'),
    ):
        assert tool('analyze_logs', *words, *more) == 2
        assert message in capsys.readouterr().err
    assert tool('analyze_logs', 'plot_curve', tmp_path / 'three', '--out', out) == 2
    assert 'three: no vis_data/scalars.json below it' in capsys.readouterr().err
