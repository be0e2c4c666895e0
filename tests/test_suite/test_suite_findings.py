"""Findings: the rules at known intervals, every verdict, what is missing, and bad names."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from lightvit_dense.errors import UserError
from lightvit_dense.suite.findings import TYPES, check_findings, judge_findings
from lightvit_dense.suite.findings_analyses import QUANTITIES, WORDS
from lightvit_dense.suite.findings_rules import joint_verdict, t_interval

MIOU = {'key': 'mIoU', 'title': 'mIoU', 'scale': 1.0, 'digits': 1}
AP = {'key': 'coco/bbox_mAP', 'title': 'box AP', 'scale': 100.0, 'digits': 1}
MASK = {'key': 'coco/segm_mAP', 'title': 'mask AP', 'scale': 100.0, 'digits': 1}


def make_results(det, seg=None, states=None):
    """Return a suite's results: init -> box AP of each seed in percent; the same for mIoU."""
    tasks = [{'name': 'det', 'title': 'detection', 'metrics': [AP, MASK]}]
    cells = [cell(i, 'det', s, {'coco/bbox_mAP': v / 100}) for i in det for s, v in each(det[i])]
    if seg:
        tasks.append({'name': 'seg', 'title': 'segmentation', 'metrics': [MIOU]})
        cells += [cell(i, 'seg', s, {'mIoU': v}) for i in seg for s, v in each(seg[i])]
    for (init, task, seed), state in (states or {}).items():
        cells = [c for c in cells if (c['init'], c['task'], c['seed']) != (init, task, seed)]
        cells.append(cell(init, task, seed, {}, state))
    inits = list(dict.fromkeys([*det, *(seg or {})]))
    return {
        'inits': [{'name': i, 'title': i.upper(), 'pretrain': i} for i in inits],
        'tasks': tasks,
        'cells': cells,
        'pretrains': [{'name': 'sup', 'title': 'supervised'}],
        'analyses': [],
    }


def each(values):
    return enumerate(values)


def cell(init, task, seed, metrics, state='measured'):
    return {'init': init, 'task': task, 'seed': seed, 'metrics': metrics, 'state': state}


def judge_one(finding, results, root='.'):
    (judged,) = judge_findings(
        [{'title': 'It is so', 'source': 'Fig. 1', **finding}], results, root
    )
    assert (judged['title'], judged['source'], judged['type']) == (
        'It is so',
        'Fig. 1',
        finding['type'],
    )
    return judged


AT_LEAST = {'type': 'at_least', 'init': 'dmae', 'base': 'mae'}


@pytest.mark.parametrize('count', [2, 3, 5, 20])
@pytest.mark.parametrize('confidence', [0.8, 0.95])
def test_the_interval_is_students(count, confidence):
    values = np.random.default_rng(count).normal(3, 2, count).tolist()
    error = stats.sem(values)
    expected = stats.t.interval(confidence, count - 1, loc=np.mean(values), scale=error)
    assert t_interval(values, confidence) == pytest.approx(expected, rel=1e-10)


def test_the_interval_of_one_seed_is_without_end_and_covers_as_often_as_it_says():
    assert t_interval([5.0]) == (-math.inf, math.inf)
    samples = np.random.default_rng(0).normal(size=(1000, 3))
    held = np.mean([low < 0 < high for low, high in map(t_interval, samples.tolist())])
    assert held == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ('outcomes', 'verdict'),
    [
        (['better', 'unclear'], 'appears'),
        (['worse', 'unclear'], 'does not appear'),
        (['better', 'worse'], 'undecided'),
        (['unclear', 'unclear'], 'undecided'),
    ],
)
def test_several_comparisons_make_one_verdict(outcomes, verdict):
    assert joint_verdict(outcomes) == verdict


def test_a_clear_gain_appears_with_its_numbers():
    # Differences 2, 3, 4: mean 3, deviation 1, half width 4.3027 / sqrt(3) = 2.484.
    judged = judge_one(AT_LEAST, make_results({'mae': [20, 24, 22], 'dmae': [22, 27, 26]}))
    assert judged['verdict'] == 'appears'
    (number,) = judged['numbers']
    assert number['values'] == pytest.approx([2, 3, 4])
    assert (number['mean'], number['deviation']) == pytest.approx((3, 1))
    assert number['interval'] == pytest.approx([3 - 2.48414, 3 + 2.48414], abs=1e-4)
    assert 'DMAE minus MAE, mean of 3 seeds [95% interval]' in judged['sentence']
    assert 'detection, box AP +3.0 [+0.5, +5.5], ahead in 3 of 3' in judged['sentence']
    json.dumps(judged)


@pytest.mark.parametrize(
    ('dmae', 'verdict'),
    [
        ([22, 27, 26], 'appears'),
        ([18, 21, 18], 'does not appear'),
        ([22, 24, 23], 'undecided'),  # differences 2, 0, 1: interval (-1.48, 3.48)
        ([20, 24, 22], 'undecided'),  # the same to the last digit is no gain
    ],
)
def test_pairs_by_seed_decide(dmae, verdict):
    judged = judge_one(AT_LEAST, make_results({'mae': [20, 24, 22], 'dmae': dmae}))
    assert judged['verdict'] == verdict


def test_pairing_removes_what_seeds_share():
    # The seeds differ by 30 points, the pairs by almost nothing.
    results = make_results({'mae': [10, 40, 25], 'dmae': [11.0, 41.1, 26.0]})
    assert judge_one(AT_LEAST, results)['verdict'] == 'appears'


def test_tasks_that_disagree_are_undecided_and_a_choice_of_tasks_counts():
    results = make_results(
        {'mae': [20, 24, 22], 'dmae': [22, 27, 26]}, {'mae': [50, 51, 52], 'dmae': [47, 48, 49.1]}
    )
    judged = judge_one(AT_LEAST, results)
    assert judged['verdict'] == 'undecided'
    assert 'better in 1, unclear in 0, worse in 1' in judged['sentence']
    assert judge_one(AT_LEAST | {'tasks': ['seg']}, results)['verdict'] == 'does not appear'
    chosen = [{'task': 'det', 'metric': 'coco/bbox_mAP'}]
    assert judge_one(AT_LEAST | {'tasks': chosen}, results)['verdict'] == 'appears'


def test_a_margin_makes_a_small_loss_level_and_confidence_narrows():
    results = make_results({'mae': [20, 24, 22], 'dmae': [19.9, 23.8, 21.9]})
    assert judge_one(AT_LEAST, results)['verdict'] == 'undecided'
    assert judge_one(AT_LEAST | {'margin': 1.0}, results)['verdict'] == 'appears'
    assert judge_one(AT_LEAST | {'confidence': 0.8}, results)['verdict'] == 'does not appear'


def test_one_seed_never_decides():
    judged = judge_one(AT_LEAST, make_results({'mae': [20], 'dmae': [90]}))
    assert judged['verdict'] == 'undecided'
    assert 'one seed, from which nothing can be said of chance' in judged['sentence']
    assert judged['numbers'][0]['interval'] is None
    assert 'inf' not in judged['sentence']


def test_only_seeds_that_both_have_are_compared():
    states = {('mae', 'det', 1): 'failed', ('dmae', 'det', 2): 'not run'}
    results = make_results({'mae': [20, 0, 22, 21], 'dmae': [21, 1, 0, 22]}, states=states)
    (number,) = judge_one(AT_LEAST, results)['numbers']
    assert number['values'] == pytest.approx([1, 1])


def test_missing_and_failed_cells_are_not_run_and_the_rest_is_told():
    states = {('dmae', 'seg', 0): 'failed', ('dmae', 'seg', 1): 'not run'}
    results = make_results(
        {'mae': [20, 24], 'dmae': [22, 27]}, {'mae': [5, 6], 'dmae': [5, 6]}, states
    )
    judged = judge_one(AT_LEAST, results)
    assert judged['verdict'] == 'not run'
    assert judged['sentence'].startswith('Segmentation, mIoU of DMAE: failed. ')
    assert 'detection, box AP +2.5' in judged['sentence']
    absent = judge_one(AT_LEAST | {'base': 'other'}, results)
    assert absent['verdict'] == 'not run'
    assert absent['sentence'].startswith('The results have no other')


def test_a_smoke_run_says_nothing():
    results = make_results({'mae': [20, 24, 22], 'dmae': [22, 27, 26]}) | {'smoke': True}
    judged = judge_one(AT_LEAST, results)
    assert judged['verdict'] == 'not run'
    assert 'smoke' in judged['sentence']


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
    results = make_results({'a': low, 'b': middle, 'c': high})
    judged = judge_one(finding, results)
    assert judged['verdict'] == verdict
    values = np.array([low, middle, high])
    slopes = [np.polyfit([0, 1, 2], values[:, seed], 1)[0] for seed in range(3)]
    assert judged['numbers'][0]['values'] == pytest.approx(slopes)
    assert judged['numbers'][0]['means'] == pytest.approx(
        dict(zip('abc', values.mean(1), strict=True))
    )


def test_an_order_with_a_hole_is_not_run():
    states = {('b', 'det', 0): 'failed'}
    results = make_results({'a': [1], 'b': [2], 'c': [3]}, states=states)
    judged = judge_one({'type': 'ordering', 'inits': ['a', 'b', 'c']}, results)
    assert judged['verdict'] == 'not run'


def test_the_small_study_is_other_evidence(tmp_path):
    finding = AT_LEAST | {'results': 'small_study', 'tasks': ['digits']}
    results = make_results({'mae': [1]})
    judged = judge_one(finding, results, tmp_path)
    assert judged['verdict'] == 'not run'
    assert 'small_study' in judged['sentence']
    runs = [
        {'setting': 'digits', 'init': init, 'seed': seed, 'top1': top1 + seed}
        for init, top1 in (('mae', 70.0), ('dmae', 75.0))
        for seed in (0, 1, 2)
    ]
    study = {
        'settings': [{'name': 'digits', 'title': 'digits, 10% of labels'}],
        'runs': runs,
        'seeds': [0, 1, 2],
    }
    path = tmp_path / 'work_dirs/small_study/results.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(study | {'smoke': True}))
    assert judge_one(finding, results, tmp_path)['verdict'] == 'not run'
    path.write_text(json.dumps(study))
    judged = judge_one(finding, results, tmp_path)
    assert judged['verdict'] == 'appears'
    assert 'digits, 10% of labels, top-1 +5.0 [+5.0, +5.0]' in judged['sentence']
    path.write_text(json.dumps(study)[:40])
    assert 'half-written' in judge_one(finding, results, tmp_path)['sentence']


MATRIX = np.array([[1.0, 0.9, 0.1], [0.9, 0.6, 0.2], [0.1, 0.4, 0.3]])


@pytest.fixture
def inside(tmp_path):
    """Return results with analyses: CKA of two models to a third, statistics of two, agreement."""
    results = make_results({'mae': [1], 'dmae': [1]})

    def add(name, tool, models, *contents):
        folder = tmp_path / 'work' / name
        folder.mkdir(parents=True)
        files = []
        for content in contents:
            files.append(f'{content["kind"]}_{len(files)}.json')
            (folder / files[-1]).write_text(json.dumps(content))
        entry = {'name': name, 'tool': tool, 'models': models, 'state': 'measured'}
        results['analyses'].append(entry | {'folder': f'work/{name}', 'files': [*files, 'x.png']})

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
    add(
        'attention',
        'attention_stats',
        ['mae', 'sup'],
        attention('sup', [40, 40, 60, 60], [3, 3, 3.5, 3.5]),
        attention('mae', [40, 44, 20, 22], [3, 3, 2, 2]),
    )
    pairs = [{'student': s, 'teacher': 2, 'kl': 3.0 - s} for s in (1, 2)]
    add('agreement', 'attention_agreement', ['dmae', 'mae'], {'kind': 'agreement', 'pairs': pairs})
    fourier = {'kind': 'fourier', 'relative_log_amplitude': [[0, -1], [0, -2], [0, -4]]}
    add('fourier', 'fourier', ['mae'], fourier | {'model': {'title': 'MAE', 'checkpoint': 'b.pth'}})
    return results, tmp_path


CKA = {'type': 'cka_rises', 'analysis': 'cka_dmae', 'base': 'cka_mae'}


def test_cka_rises_in_the_upper_half(inside):
    judged = judge_one(CKA, *inside)
    assert judged['verdict'] == 'appears'
    # Three layers, depth 2: only the last is above half. CKA 0.4 against 0.3.
    assert judged['numbers'][0]['values'] == pytest.approx([0.4, 0.3])
    assert 'those of supervised: DMAE 0.400, MAE 0.300, difference +0.100' in judged['sentence']
    swapped = {'analysis': 'cka_mae', 'base': 'cka_dmae'}
    assert judge_one(CKA | swapped, *inside)['verdict'] == 'does not appear'
    assert judge_one(CKA | {'margin': 0.2}, *inside)['verdict'] == 'undecided'


def test_cka_of_chosen_layers_is_the_mean_of_the_block_and_of_its_diagonal(inside):
    judged = judge_one(CKA | {'layers': [1, 2]}, *inside)
    assert judged['numbers'][0]['values'][1] == pytest.approx(MATRIX[1:, 1:].mean())
    assert judged['numbers'][1]['values'][1] == pytest.approx((0.6 + 0.3) / 2)
    beyond = judge_one(CKA | {'layers': [2, 7]}, *inside)
    assert beyond['verdict'] == 'not run'
    assert '[7]' in beyond['sentence']


LOCAL = {'type': 'local_upper_layers', 'analysis': 'attention', 'model': 'mae', 'base': 'sup'}


def test_local_upper_layers(inside):
    judged = judge_one(LOCAL, *inside)
    assert judged['verdict'] == 'appears'
    assert 'distance 21.00 px against 42.00 in its lower layers' in judged['sentence']
    assert (
        'entropy 2.00 nats against 3.50 in the upper layers of supervised' in (judged['sentence'])
    )
    swapped = {'model': 'sup', 'base': 'mae'}
    assert judge_one(LOCAL | swapped, *inside)['verdict'] == 'does not appear'
    # Against itself: half as far as its lower layers, but nothing lower than the other's.
    assert judge_one(LOCAL | {'base': 'mae'}, *inside)['verdict'] == 'undecided'


@pytest.mark.parametrize(
    ('left', 'right', 'relation', 'values', 'verdict'),
    [
        (dict(analysis='agreement', quantity='kl', layers='last'), 1.5, '<', [1.0, 1.5], 'appears'),
        (
            dict(analysis='agreement', quantity='kl', layers='last'),
            dict(layers='first'),
            '>',
            [1.0, 2.0],
            'does not appear',
        ),
        (
            dict(analysis='fourier', quantity='high_frequency', model='mae', layers='embedding'),
            dict(layers='last'),
            '>',
            [-1.0, -4.0],
            'appears',
        ),
        (
            dict(analysis='attention', quantity='relative_entropy', model='mae', layers='all'),
            dict(model='sup'),
            '<',
            [2.5 / 4, 3.25 / 4],
            'appears',
        ),
        (
            dict(analysis='cka_mae', quantity='cka_diagonal', layers='all'),
            dict(analysis='cka_mae'),
            '<',
            [1.9 / 3, 1.9 / 3],
            'undecided',
        ),
    ],
)
def test_any_number_of_an_analysis_is_compared(inside, left, right, relation, values, verdict):
    finding = {'type': 'compare_analysis', 'left': left, 'right': right, 'relation': relation}
    judged = judge_one(finding, *inside)
    assert judged['numbers'][0]['values'] == pytest.approx(values)
    assert judged['verdict'] == verdict
    assert f'{values[0]:.3f}' in judged['sentence']
    assert WORDS[left['quantity']][1:] in judged['sentence']


def test_every_quantity_has_words():
    assert set(WORDS) == set(QUANTITIES)


@pytest.mark.parametrize('harm', ['state', 'absent', 'half', 'other', 'lacks'])
def test_analyses_that_are_missing_or_damaged_are_not_run(inside, harm):
    results, root = inside
    entry = results['analyses'][0]
    file = root / entry['folder'] / entry['files'][0]
    if harm == 'state':
        entry['state'] = 'failed'
    elif harm == 'absent':
        file.unlink()
    elif harm == 'half':
        file.write_text(file.read_text()[:-9])
    elif harm == 'other':
        file.write_text('[1]')
    else:
        file.write_text('{"kind": "cka", "matrix": null}')
    judged = judge_one(CKA, results, root)
    assert judged['verdict'] == 'not run'
    assert 'cka_mae' in judged['sentence']


@dataclass
class Named:
    """What the check reads of metrics, tasks and analyses."""

    key: str = ''
    metrics: tuple = ()
    tool: str = ''
    models: tuple = ()


def check(finding):
    check_findings(
        [{'title': 'x', **finding}],
        ['mae', 'dmae', 'scratch'],
        {'det': Named(metrics=(Named('coco/bbox_mAP'), Named('coco/segm_mAP')))},
        {
            'cka_mae': Named(tool='cka', models=('mae', 'sup')),
            'cka_dmae': Named(tool='cka', models=('dmae', 'sup')),
            'cka_other': Named(tool='cka', models=('dmae', 'mae')),
            'attention': Named(tool='attention_stats', models=('mae', 'sup')),
        },
    )


KL = dict(analysis='attention', quantity='entropy', model='mae')


@pytest.mark.parametrize(
    'finding',
    [
        AT_LEAST | {'base': ['mae', 'scratch'], 'tasks': ['det']},
        AT_LEAST | {'tasks': [{'task': 'det', 'metric': 'coco/segm_mAP'}]},
        AT_LEAST | {'results': 'small_study', 'tasks': ['fashion-1']},
        AT_LEAST | {'results': 'suites/distilled_layers', 'init': 'layer6'},
        {'type': 'ordering', 'inits': ['scratch', 'mae', 'dmae']},
        CKA,
        LOCAL,
        {'type': 'compare_analysis', 'left': KL, 'right': 2.0},
    ],
)
def test_right_findings_pass(finding):
    check(finding)


@pytest.mark.parametrize(
    ('finding', 'words'),
    [
        ({'type': 'at_lest'}, "Did you mean 'at_least'"),
        ({}, 'lacks a type'),
        (AT_LEAST | {'init': 'dmea'}, "Did you mean 'dmae'"),
        (AT_LEAST | {'base': ['mae', 'scrach']}, "Did you mean 'scratch'"),
        (AT_LEAST | {'base': 'dmae'}, 'with itself'),
        (AT_LEAST | {'tasks': ['dett']}, "Did you mean 'det'"),
        (AT_LEAST | {'tasks': 'det'}, 'must be a list'),
        (AT_LEAST | {'tasks': [{'task': 'det', 'metric': 'mIoU'}]}, "metric of 'det' 'mIoU'"),
        (AT_LEAST | {'tasks': [{'task': 'det'}]}, 'neither a name nor'),
        (AT_LEAST | {'confidence': 95}, 'confidence must be a number'),
        (AT_LEAST | {'magin': 1}, "Did you mean 'margin'"),
        (AT_LEAST | {'results': 'small_study', 'tasks': ['digit']}, "Did you mean 'digits'"),
        ({'type': 'at_least', 'init': 'mae'}, "lacks 'base'"),
        ({'type': 'ordering', 'inits': ['mae']}, 'at least two'),
        ({'type': 'ordering', 'inits': ['mae', 'mae']}, 'different'),
        (CKA | {'base': 'cka_mea'}, "Did you mean 'cka_mae'"),
        (CKA | {'base': 'attention'}, 'this needs one by cka'),
        (CKA | {'base': 'cka_other'}, 'share the reference'),
        (CKA | {'layers': 'uper'}, "Did you mean 'upper'"),
        (LOCAL | {'model': 'dmae'}, "model 'dmae' is unknown; there are mae, sup"),
        (LOCAL | {'base': None, 'lower': False}, 'compares with nothing'),
        ({'type': 'compare_analysis', 'left': KL | {'quantity': 'entropi'}, 'right': 1}, 'entropy'),
        ({'type': 'compare_analysis', 'left': KL | {'model': None}, 'right': 1}, 'needs a model'),
        ({'type': 'compare_analysis', 'left': KL, 'right': {'layer': [1]}}, "mean 'layers'"),
        ({'type': 'compare_analysis', 'left': KL, 'right': 1, 'relation': '='}, 'relation'),
    ],
)
def test_wrong_findings_are_errors_that_name_the_place(finding, words):
    with pytest.raises(UserError) as caught:
        check(finding)
    assert 'findings[0]' in str(caught.value)
    assert words in str(caught.value)


def test_every_type_tells_its_rule():
    for kind in TYPES.values():
        text = ' '.join(kind.__doc__.split())
        assert all(f'*{word}*' in text for word in ('appears', 'does not appear', 'undecided'))
