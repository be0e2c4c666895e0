"""The tools around an evaluation, on a tiny world: test, evaluate again, confusion, browse, ..."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense import apis
from lightvit_dense.datasets.toyworld import WorldSpec, build_world
from tests.helpers.digits import digits_config, write_digits
from tests.helpers.tools import call_tool

ROOT = Path(__file__).parents[2]
TASKS = {
    'det': ('maskrcnn_scratch', "('coco/bbox_mAP', 0.99, 0.001)"),
    'seg': ('upernet_scratch', "('mIoU', 99, 0.1)"),
}
PYCOCOTOOLS = ['--cfg-options', 'test_evaluator.backend=pycocotools']
IMAGES = 3


def tool(name, *words, **options):
    return call_tool(f'analysis_tools/{name}.py', *words, **options)


def read(path):
    return json.loads(path.read_text())


def write_config(folder, task, expected=''):
    name, wrong = TASKS[task]
    path = folder / f'{task}{"_expected" if expected else ""}.py'
    path.write_text(
        f"_base_ = '{ROOT}/configs/toyworld/{name}.py'\n"
        f'expected = [{expected or wrong}]\n'
        'test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n'
        'val_dataloader = test_dataloader\n'
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
        torch.manual_seed(0)
        model = apis.build_model(config, device='cpu')
        torch.save({'state_dict': model.state_dict()}, world / f'{task}.pth')
        out = world / task
        words = ['--out', out / 'p.pkl', '--json', out / 'r.json', '--work-dir', out / 'w']
        words += ['--show-dir', out / 'show', '--show-max', 2, '--verify']
        # What the config expects is far off.
        call_tool('test.py', config, world / f'{task}.pth', *words, status=1)
    return world


@pytest.mark.parametrize(
    ('task', 'metric', 'count', 'key', 'mean', 'picture'),
    [
        ('det', 'CocoMetric', 6, 'bbox_mAP', 'coco/bbox_mAP', '{:012d}.png'),
        ('seg', 'IoUMetric', 150, 'IoU', 'mIoU', 'ADE_val_{:08d}.png'),
    ],
)
def test_the_json_tells_all_and_pictures_are_named(tested, task, metric, count, key, mean, picture):
    content = read(tested / task / 'r.json')
    assert content['config'] == str(tested / f'{task}.py')
    assert content['checkpoint'] == str(tested / f'{task}.pth')
    assert {len(content[f'{name}_sha256']) for name in ('config', 'checkpoint')} == {64}
    ((name, table),) = content['class_tables'].items()
    assert (name, len(table)) == (metric, count)
    kept = [row[key] for row in table if row[key] is not None and row[key] >= 0]
    assert np.mean(kept) == pytest.approx(content['metrics'][mean])
    assert content['environment']['versions']['onedl-mmengine']
    names = sorted(path.name for path in (tested / task / 'show').iterdir())
    assert names == [picture.format(number) for number in (1, 2)]
    height, width, _ = cv2.imread(str(tested / task / 'show' / names[0])).shape
    assert width == 2 * 480 + 4  # enlarged, side by side
    assert height > 480


@pytest.mark.parametrize(
    ('task', 'name', 'rare', 'options'),
    [
        ('det', 'coco/bbox_mAP', 'mousetrap', []),
        ('det', 'coco/bbox_mAP', 'mousetrap', PYCOCOTOOLS),
        ('seg', 'mIoU', 'windowpane', []),
    ],
)
def test_evaluating_again_gives_the_same(tested, task, name, rare, options, tmp_path):
    measured = read(tested / task / 'r.json')
    config = write_config(tmp_path, task, f'({name!r}, {measured["metrics"][name]}, 1e-9)')
    words = [tested / task / 'p.pkl', '--verify', *options]
    out = tool('eval_metric', config, *words, '--classes', '--json', tmp_path / 'r.json')
    assert 'ok' in out
    assert rare in out
    content = read(tmp_path / 'r.json')
    assert content['metrics'] == pytest.approx(measured['metrics'], abs=1e-12)
    assert content['class_tables'] == measured['class_tables']
    assert len(content['predictions_sha256']) == 64
    tool('eval_metric', tested / f'{task}.py', *words, status=1)


@pytest.mark.parametrize('task', TASKS)
def test_confusion_matrix(tested, task, tmp_path):
    words = [tested / f'{task}.py', tested / task / 'p.pkl', '--out', tmp_path, '--score-thr', 0.1]
    assert 'Most frequent confusions' in tool('confusion_matrix', *words)
    content = read(tmp_path / 'confusion.json')
    counts = np.array(content['counts'])
    truth = counts.sum(1)
    (table,) = read(tested / task / 'r.json')['class_tables'].values()
    if task == 'det':
        assert truth[:-1].tolist() == [row['instances'] for row in table]
        assert (content['classes'][-1], content['score_thr']) == ('background', 0.1)
    else:
        assert truth.tolist() == [row['pixels'] for row in table]
        assert counts.sum() < IMAGES * 64 * 64  # the unlabelled rim does not count
    rows = (tmp_path / 'confusion.csv').read_text().splitlines()[1:]
    assert sum(int(cell) for row in rows for cell in row.split(',')[1:]) == counts.sum()
    assert cv2.imread(str(tmp_path / 'confusion.png')) is not None


def test_predictions_of_other_images_are_refused(tested, tmp_path):
    predictions = pickle.loads((tested / 'seg/p.pkl').read_bytes())
    predictions[1]['img_path'] = 'elsewhere/x.jpg'
    path = tmp_path / 'p.pkl'
    path.write_bytes(pickle.dumps(predictions))
    for name, words in (('eval_metric', ()), ('confusion_matrix', ('--out', tmp_path))):
        out = tool(name, tested / 'seg.py', path, *words, status=2)
        assert 'elsewhere/x.jpg: was predicted, but is not among' in out


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
        tool('browse_dataset', path, *words, tmp_path / folder)
        sheets.append(cv2.imread(str(tmp_path / folder / f'{config}_{split}.png')))
    assert (sheets[0] == sheets[1]).all()  # the augmentations are seeded
    assert sheets[0].shape[1] == width
    assert sheets[0].std() > 20


def test_browse_shows_what_is_asked_for(world, tmp_path):
    path = ROOT / 'configs/toyworld/maskrcnn_scratch.py'
    words = ['--n', 2, '--start', 1, '--draws', 3, '--side', 100, '--out', tmp_path]
    tool('browse_dataset', path, *words)
    sheet = cv2.imread(str(tmp_path / 'maskrcnn_scratch_train.png'))
    assert sheet.shape[1] == 3 * 108 - 8
    out = tool('browse_dataset', path, '--start', 99, '--out', tmp_path, status=2)
    assert '--start 99: the train data set has 4 items' in out
    config = ROOT / 'configs/toyworld/mae_teacher.py'
    out = tool('browse_dataset', config, '--split', 'test', '--out', tmp_path, status=2)
    assert 'has no test_dataloader.dataset; it has the splits train' in out


def test_get_flops(tmp_path):
    config = ROOT / 'configs/toyworld/upernet_scratch.py'
    out = tool('get_flops', config, '--shape', 64, '--json', tmp_path / 'f.json')
    assert 'training only' in out
    (found,) = read(tmp_path / 'f.json')['models']
    assert found['shape'] == [64, 64]
    assert found['flops'] == sum(part['flops'] for part in found['parts'] if part['used'])
    assert found['macs'] * 2 == found['flops']
    out = tool('get_flops', config, '--cfg-options', 'model.decode_head.chanels=3', status=2)
    assert "Did you mean 'channels'" in out


def write_log(folder, records):
    log = folder / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return log


def test_curves_of_two_runs_are_drawn_and_listed(tmp_path):
    for run, factor in (('one', 1.0), ('two', 2.0)):
        records = [{'step': i, 'agreement/layer_2': factor * i, 'loss': 1 / i} for i in (1, 2, 3)]
        records[0]['agreement/layer_10'] = 0.5
        log = write_log(tmp_path / run, [dict(lr=0.1, time=1.0) | record for record in records])
    out = tmp_path / 'deep' / 'agreement.svg'
    words = ['plot_curve', f'A={tmp_path / "one"}', tmp_path / 'two', '--out', out, '--keys']
    found = tool('analyze_logs', *words, 'agreement')
    lines = [line for line in found.splitlines() if 'layer' in line]
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
        assert message in tool('analyze_logs', *words, *more, status=2)
    tool('analyze_logs', 'cal_train_time', log)
    assert 'svg, line 1: not a JSON' in tool('analyze_logs', 'cal_train_time', out, status=2)
    found = tool('analyze_logs', 'plot_curve', tmp_path / 'three', '--out', out, status=2)
    assert 'three: no vis_data/scalars.json below it' in found


def test_a_second_probe_starts_from_the_files_of_the_first(tmp_path):
    write_digits(tmp_path, train=30, val=10)
    config, out = tmp_path / 'config.py', tmp_path / 'out'
    # Initial weights that the config names are not read.
    absent = dict(type='lightvit_dense.PretrainedBackbone', checkpoint='absent.pth')
    arch = dict(embed_dim=32, depth=2, num_heads=2)
    digits_config(tmp_path, arch=arch, patch_size=4, init_cfg=absent).dump(config)
    words = [config, 'none', '--cache', tmp_path / 'cache', '--device', 'cpu']
    nearest = ['--out', out, '--method', 'knn', '--k', 5, '--layer', 1, 2]
    assert tool('probe', *words, *nearest).count('images, computed') == 2
    metadata = read(out / 'probe.json')
    assert metadata['images'] == {'train': 90, 'val': 30}
    assert metadata['network']['weights'] == 'random, seed 0'
    methods = [f'{row["features"]}: {row["method"]}' for row in metadata['results']]
    assert methods == ['none: most frequent class', 'cls_layer1: knn', 'cls_layer2: knn']
    chance, _, knn = (row['top1'] for row in metadata['results'])
    # Three digits in 90 examples: nearest neighbours tell them apart even of random features.
    assert (chance, knn > 60) == (pytest.approx(100 / 3), True)
    assert f'{knn:.2f}' in (out / 'probe.md').read_text()
    assert len((out / 'probe.csv').read_text().splitlines()) == 4
    assert cv2.imread(str(out / 'layers.png')).std() > 5

    words += ['--out', tmp_path / 'again', '--layer', '2']
    words += ['--method', 'logistic']
    assert tool('probe', *words).count('images, from the cache') == 2
    results = read(tmp_path / 'again/probe.json')['results']
    settings = [(row['method'], row['setting']) for row in results[1:]]
    assert settings == [('logistic', 'C 1')]
    assert results[1]['top1'] > 60
