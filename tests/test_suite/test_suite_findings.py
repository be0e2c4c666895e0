"""Findings: the rules at known intervals, every verdict, what is missing, and bad names."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from lightvit_dense.errors import UserError
from lightvit_dense.suite.findings import check_findings, judge_findings, t_interval
from lightvit_dense.suite.results import Results, Run
from lightvit_dense.suite.table import make_table

from .suite_results import DETECTION, cell, metric, pretrain


def results_of(det, seg=None, states=None):
    """Return a suite's results: init -> box AP of each seed in percent; the same for mIoU."""
    tasks = [DETECTION]
    runs = [cell(i, 'det', s, box=v / 100) for i in det for s, v in enumerate(det[i])]
    if seg:
        tasks.append({'name': 'seg', 'title': 'segmentation', 'metrics': [metric('mIoU', 'mIoU')]})
        runs += [cell(i, 'seg', s, miou=v) for i in seg for s, v in enumerate(seg[i])]
    for place, state in (states or {}).items():
        runs = [run for run in runs if (run.init, run.task, run.seed) != place]
        runs.append(cell(*place, state))
    inits = list(dict.fromkeys([*det, *(seg or {})]))
    return Results(
        name='try',
        title='Try',
        inits=[{'name': i, 'title': i.upper(), 'pretrain': i} for i in inits],
        tasks=tasks,
        runs=[pretrain('sup', 'supervised'), *runs],
    )


def judge_one(finding, results, root='.'):
    about = {'title': 'It is so', 'source': 'Fig. 1'}
    (judged,) = judge_findings([about | finding], results, make_table(results), root)
    assert judged.items() >= (about | {'type': finding['type']}).items()
    json.dumps(judged)
    return judged


AT_LEAST = {'type': 'at_least', 'init': 'dmae', 'base': 'mae'}
BOX_OF_DET = {'task': 'det', 'metric': 'coco/bbox_mAP'}


@pytest.mark.parametrize('count', [2, 3, 5, 20])
@pytest.mark.parametrize('confidence', [0.8, 0.95])
def test_the_interval_is_students(count, confidence):
    values = np.random.default_rng(count).normal(3, 2, count).tolist()
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert t_interval(values, confidence) == pytest.approx(expected, rel=1e-10)
    assert t_interval(values[:1], confidence) == (-math.inf, math.inf)


LOSS_ON_SEG = {'mae': [50, 51, 52], 'dmae': [47, 48, 49.1]}


@pytest.mark.parametrize(
    ('mae', 'dmae', 'seg', 'options', 'verdict'),
    [
        ([20, 24, 22], [22, 27, 26], None, {}, 'appears'),
        ([20, 24, 22], [18, 21, 18], None, {}, 'does not appear'),
        ([20, 24, 22], [22, 24, 23], None, {}, 'undecided'),  # differences 2, 0, 1: (-1.48, 3.48)
        ([20, 24, 22], [20, 24, 22], None, {}, 'undecided'),  # the same is no gain
        ([10, 40, 25], [11.0, 41.1, 26.0], None, {}, 'appears'),  # pairs hardly differ
        ([20], [90], None, {}, 'undecided'),  # one seed never decides
        # A margin makes a small loss level, less confidence narrows.
        ([20, 24, 22], [19.9, 23.8, 21.9], None, {}, 'undecided'),
        ([20, 24, 22], [19.9, 23.8, 21.9], None, {'margin': 1.0}, 'appears'),
        ([20, 24, 22], [19.9, 23.8, 21.9], None, {'confidence': 0.8}, 'does not appear'),
        # Better on one task, worse on the other; a choice of tasks counts.
        ([20, 24, 22], [22, 27, 26], LOSS_ON_SEG, {}, 'undecided'),
        ([20, 24, 22], [22, 27, 26], LOSS_ON_SEG, {'tasks': ['seg']}, 'does not appear'),
        ([20, 24, 22], [22, 27, 26], LOSS_ON_SEG, {'tasks': [BOX_OF_DET]}, 'appears'),
    ],
)
def test_intervals_of_pairs_by_seed_decide(mae, dmae, seg, options, verdict):
    judged = judge_one(AT_LEAST | options, results_of({'mae': mae, 'dmae': dmae}, seg))
    assert judged['verdict'] == verdict
    for number in judged['comparisons']:
        ours, theirs = (seg['dmae'], seg['mae']) if number['task'] == 'seg' else (dmae, mae)
        assert number['values'] == pytest.approx(np.subtract(ours, theirs))
        assert number['mean'] == pytest.approx(np.mean(number['values']))
        assert (number['interval'] is None) == (len(mae) == 1)
        if len(set(number['values'])) > 1:
            expected = stats.ttest_rel(ours, theirs).confidence_interval(number['confidence'])
            assert number['interval'] == pytest.approx(expected)


@pytest.mark.parametrize(
    ('finding', 'reason'),
    [
        (AT_LEAST, 'segmentation, mIoU of DMAE: failed'),
        (AT_LEAST | {'base': 'other'}, 'the results have no other'),
        ({'type': 'ordering', 'inits': ['mae', 'dmae']}, 'segmentation, mIoU of DMAE: failed'),
        (AT_LEAST | {'tasks': ['cls']}, "no figure {'task': 'cls'}"),
    ],
)
def test_missing_and_failed_cells_are_not_run(finding, reason):
    states = {('dmae', 'seg', 0): 'failed', ('dmae', 'seg', 1): 'not run'}
    results = results_of(
        {'mae': [20, 24], 'dmae': [22, 27]}, {'mae': [5, 6], 'dmae': [5, 6]}, states
    )
    judged = judge_one(finding, results)
    assert (judged['verdict'], judged['comparisons']) == ('not run', [])
    assert reason in judged['reason']


@pytest.mark.parametrize(
    ('low', 'middle', 'high', 'verdict'),
    [
        ([10, 11, 12], [12, 13, 14], [15, 16, 17.1], 'appears'),
        ([15, 16, 17.1], [12, 13, 14], [10, 11, 12], 'does not appear'),
        ([10, 11, 12], [16, 17, 18], [15, 16, 17.1], 'does not appear'),  # the last pair is clear
        ([10, 11, 12], [14, 13, 18], [14, 14, 14], 'undecided'),  # upwards, but not in order
        ([10, 12, 11], [12, 10, 11.5], [12, 12, 12], 'undecided'),
    ],
)
def test_an_order_needs_its_slope_and_its_means(low, middle, high, verdict):
    finding = {'type': 'ordering', 'inits': ['a', 'b', 'c']}
    judged = judge_one(finding, results_of({'a': low, 'b': middle, 'c': high}))
    assert judged['verdict'] == verdict
    values = np.array([low, middle, high])
    slopes = [np.polyfit([0, 1, 2], values[:, seed], 1)[0] for seed in range(3)]
    (number,) = judged['comparisons']
    assert number['values'] == pytest.approx(slopes)
    assert number['means'] == pytest.approx(dict(zip('abc', values.mean(1), strict=True)))


MATRIX = np.array([[1.0, 0.9, 0.1], [0.9, 0.6, 0.2], [0.1, 0.4, 0.3]])


@pytest.fixture
def inside(tmp_path):
    """Return results with analyses: CKA of two models to a third, statistics of two, agreement."""
    results = results_of({'mae': [1], 'dmae': [1]})

    def add(name, tool, models, *contents):
        folder = tmp_path / 'work' / name
        folder.mkdir(parents=True)
        files = []
        for content in contents:
            files.append(f'{content["kind"]}_{len(files)}.json')
            (folder / files[-1]).write_text(json.dumps(content))
        run = Run(kind='analysis', name=name, title=name, state='measured', tool=tool)
        run.models, run.folder, run.files = models, f'work/{name}', [*files, 'x.png']
        results.runs.append(run)

    def attention(model, distance, entropy):
        layers = [
            {'layer': i + 1, 'distance': [d - 1, d + 1], 'entropy': [e, e], 'max_entropy': 4.0}
            for i, (d, e) in enumerate(zip(distance, entropy, strict=True))
        ]
        described = {'title': '?', 'checkpoint': f'/x/pretrain_{model}/backbone.safetensors'}
        return {'kind': 'attention', 'model': described, 'layers': layers}

    for name, matrix in (('cka_mae', MATRIX), ('cka_dmae', MATRIX + 0.1)):
        models = [name[4:], 'sup']
        add(name, 'cka', models, {'kind': 'cka', 'models': [], 'matrix': matrix.tolist()})
    supervised = attention('sup', [40, 40, 60, 60], [3, 3, 3.5, 3.5])
    ours = attention('mae', [40, 44, 20, 22], [3, 3, 2, 2])
    add('attention', 'attention_stats', ['mae', 'sup'], supervised, ours)
    pairs = [{'student': s, 'teacher': 2, 'kl': 3.0 - s, 'attention_r2': s / 4} for s in (1, 2)]
    add('agreement', 'attention_agreement', ['dmae', 'mae'], {'kind': 'agreement', 'pairs': pairs})
    fourier = {'kind': 'fourier', 'relative_log_amplitude': [[0, -1], [0, -2], [0, -4]]}
    add('fourier', 'fourier', ['mae'], fourier | {'model': {'title': 'MAE', 'checkpoint': 'b.pth'}})
    return results, tmp_path


def compare(left, right, relation='<', **options):
    common = {'type': 'compare_analysis', 'left': left, 'right': right, 'relation': relation}
    return common | options


CKA = compare(dict(analysis='cka_dmae', quantity='cka'), dict(analysis='cka_mae'), '>', margin=0.02)
DIAGONAL = dict(analysis='cka_mae', quantity='cka_diagonal', layers='all')
DISTANCE = dict(analysis='attention', quantity='distance', model='mae')
SUP = DISTANCE | dict(model='sup')
ENTROPY = DISTANCE | dict(quantity='relative_entropy', layers='all')
LOCAL = compare(
    DISTANCE, [dict(layers='lower'), dict(model='sup')], '<', margin=0.05, relative=True
)
KL = dict(analysis='agreement', quantity='kl', layers='last')
R2 = dict(analysis='agreement', quantity='attention_r2', layers='all')
FOURIER = dict(analysis='fourier', quantity='high_frequency', model='mae', layers='embedding')
UPPER = MATRIX[1:, 1:].mean()


@pytest.mark.parametrize(
    ('finding', 'values', 'verdict'),
    [
        # Three layers, depth 2: only the last is above half. CKA 0.4 against 0.3.
        (CKA, [[0.4, 0.3]], 'appears'),
        (CKA | {'relation': '<'}, [[0.4, 0.3]], 'does not appear'),
        (CKA | {'margin': 0.2}, [[0.4, 0.3]], 'undecided'),
        (CKA | {'left': CKA['left'] | {'layers': [1, 2]}}, [[UPPER + 0.1, UPPER]], 'appears'),
        (LOCAL, [[21.0, 42.0], [21.0, 60.0]], 'appears'),
        (LOCAL | {'left': SUP, 'right': [dict(model='mae')]}, [[60.0, 21.0]], 'does not appear'),
        # Half as far as its lower layers, but nothing lower than its own upper ones.
        (LOCAL | {'right': [dict(layers='lower'), {}]}, [[21.0, 42.0], [21.0, 21.0]], 'undecided'),
        (LOCAL | {'margin': 0.8}, [[21.0, 42.0], [21.0, 60.0]], 'undecided'),  # of the right figure
        (compare(KL, 1.5), [[1.0, 1.5]], 'appears'),
        (compare(KL, dict(layers='first'), '>'), [[1.0, 2.0]], 'does not appear'),
        (compare(R2, 0.3, '>'), [[0.375, 0.3]], 'appears'),
        (compare(FOURIER, dict(layers='last'), '>'), [[-1.0, -4.0]], 'appears'),
        (compare(ENTROPY, dict(model='sup')), [[2.5 / 4, 3.25 / 4]], 'appears'),
        (compare(DIAGONAL, {}), [[1.9 / 3, 1.9 / 3]], 'undecided'),
    ],
)
def test_numbers_of_analyses_are_compared(inside, finding, values, verdict):
    judged = judge_one(finding, *inside)
    found = judged['comparisons']
    assert [number['values'] for number in found] == [pytest.approx(pair) for pair in values]
    assert [n['difference'] for n in found] == pytest.approx([a - b for a, b in values])
    assert judged['verdict'] == verdict


def test_comparisons_are_told_in_words(inside):
    (number,) = judge_one(CKA, *inside)['comparisons']
    assert number['label'] == (
        'CKA, DMAE and supervised, layers: upper, against CKA, MAE and supervised, layers: upper'
    )
    (number,) = judge_one(AT_LEAST, results_of({'mae': [20, 24], 'dmae': [22, 26.1]}))[
        'comparisons'
    ]
    assert number['label'] == 'detection, box AP: DMAE \N{MINUS SIGN} MAE'
    assert (number['outcome'], number['std']) == ('better', pytest.approx(0.1 / math.sqrt(2)))


@pytest.mark.parametrize('content', [None, '{"kind": "cka", "matr', '[1]', '{"kind": "cka"}'])
def test_analyses_that_are_missing_or_damaged_are_not_run(inside, content):
    results, root = inside
    run = next(run for run in results.runs if run.name == 'cka_mae')
    file = root / run.folder / run.files[0]
    file.unlink() if content is None else file.write_text(content)
    judged = judge_one(CKA, results, root)
    assert judged['verdict'] == 'not run'
    assert 'cka_mae' in judged['reason']
    run.state = 'failed'
    assert 'is not measured: failed' in judge_one(CKA, results, root)['reason']


def test_layers_that_were_not_measured_and_smoke_runs_say_nothing(inside):
    results, root = inside
    smoke = results.model_copy(update={'smoke': True})
    for told, right, reason in ((results, [2, 7], '[7]'), (smoke, 'last', 'smoke')):
        judged = judge_one(CKA | {'right': {'layers': right}}, told, root)
        assert judged['verdict'] == 'not run'
        assert reason in judged['reason']


def check(finding):
    task = SimpleNamespace(metrics=[SimpleNamespace(**m) for m in DETECTION['metrics']])
    analyses = {
        'cka_mae': SimpleNamespace(tool='cka', models=('mae', 'sup')),
        'cka_dmae': SimpleNamespace(tool='cka', models=('dmae', 'sup')),
        'attention': SimpleNamespace(tool='attention_stats', models=('mae', 'sup')),
    }
    check_findings([{'title': 'x', **finding}], ['mae', 'dmae', 'scratch'], {'det': task}, analyses)


def test_right_findings_pass():
    check(AT_LEAST | {'tasks': [{'task': 'det', 'metric': 'coco/segm_mAP'}]})
    check({'type': 'ordering', 'inits': ['scratch', 'mae', 'dmae']})


@pytest.mark.parametrize(
    ('finding', 'words'),
    [
        ({'type': 'at_lest'}, "Did you mean 'at_least'"),
        ({}, 'a dict with a type'),
        (AT_LEAST | {'init': 'dmea'}, "Did you mean 'dmae'"),
        (AT_LEAST | {'base': ['mae', 'scrach']}, "Did you mean 'scratch'"),
        (AT_LEAST | {'base': 'dmae'}, 'with itself'),
        (AT_LEAST | {'tasks': ['dett']}, "Did you mean 'det'"),
        (AT_LEAST | {'tasks': 'det'}, 'tasks: Input should be a valid list'),
        (AT_LEAST | {'tasks': [{'task': 'det', 'metric': 'mIoU'}]}, "metric of det names 'mIoU'"),
        (AT_LEAST | {'tasks': [{'metric': 'mIoU'}]}, 'neither a name nor'),
        (AT_LEAST | {'confidence': 95}, 'confidence: Input should be less than 1'),
        (AT_LEAST | {'magin': 1}, "Did you mean 'margin'"),
        ({'type': 'at_least', 'init': 'mae'}, 'base: Field required'),
        ({'type': 'ordering', 'inits': ['mae']}, 'at least 2 items'),
        ({'type': 'ordering', 'inits': ['mae', 'mae']}, 'different'),
        (CKA | {'right': {'analysis': 'cka_mea'}}, "Did you mean 'cka_mae'"),
        (CKA | {'right': {'analysis': 'attention'}}, 'this needs one by cka'),
        (CKA | {'right': {'layers': 'uper'}}, "Did you mean 'upper'"),
        (CKA | {'right': {'model': 'mae'}}, 'of two models, leave out model'),
        (LOCAL | {'right': {'model': 'dmae'}}, "'dmae', which is unknown; there are mae, sup"),
        (compare(DISTANCE | {'quantity': 'entropi'}, 1), 'entropy'),
        (compare(DISTANCE | {'model': None}, 1), 'needs a model'),
        (compare(DISTANCE, {'layer': [1]}), "mean 'layers'"),
        (compare(DISTANCE, 1, '='), 'relation'),
    ],
)
def test_wrong_findings_are_errors_that_name_the_place(finding, words):
    with pytest.raises(UserError) as caught:
        check(finding)
    assert 'findings[0]' in str(caught.value)
    assert words in str(caught.value)
