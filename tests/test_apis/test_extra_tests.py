"""Further tests of the same model, and numbers that are expected of them."""

import json

import pytest
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.apis.configs import built_runner
from lightvit_dense.apis.extra_tests import add_extra_tests, choose_extras
from lightvit_dense.errors import UserError
from tests.helpers.tools import call_tool
from tests.helpers.toy_engine import ToyRegressor, clear_globals

EXTRA = """
_more = dict(test_dataloader, dataset=dict(type='lightvit_dense.ToyPoints', length=5))
extra_tests = dict(
    same=dict(evaluator=dict(type='lightvit_dense.ToyMetric')),
    other=dict(dataloader=_more, evaluator=[dict(type='lightvit_dense.ToyMetric')]),
    none=None)
"""
ONE = '\nextra_tests = dict(a=dict(%s))\n'


@pytest.fixture
def trained(write, tmp_path):
    apis.train(write(length=1), work_dir=tmp_path / 'w')
    clear_globals()
    return tmp_path / 'w/epoch_1.pth'


@pytest.mark.parametrize(
    ('extra', 'expected'),
    [
        ((), {'seen': 8}),
        (('same',), {'seen': 8, 'same/seen': 8}),
        (('other',), {'seen': 8, 'other/seen': 5}),
        (('other', 'same'), {'seen': 8, 'same/seen': 8, 'other/seen': 5}),
        (('all',), {'seen': 8, 'same/seen': 8, 'other/seen': 5}),
    ],
)
def test_metrics_of_what_is_asked_for(write, trained, tmp_path, monkeypatch, extra, expected):
    built = []
    original = ToyRegressor.__init__
    counted = lambda self, *a, **k: built.append(original(self, *a, **k))  # noqa: E731
    monkeypatch.setattr(ToyRegressor, '__init__', counted)
    out = tmp_path / 'p.pkl'
    config = write(extra=EXTRA)
    metrics = apis.test(config, trained, work_dir=tmp_path / 't', extra=extra, out=out)
    assert metrics == expected
    assert len(built) == 1
    (logged,) = (tmp_path / 't').glob('*/2*.json')
    assert {k: v for k, v in json.loads(logged.read_text()).items() if k in metrics} == expected


def test_the_runner_stays_as_it_was_made(write, trained, tmp_path):
    """It can test again, and its own data are those of the main test."""
    cfg = apis.load_config(write(extra=EXTRA))
    cfg.update(work_dir=str(tmp_path / 't'), load_from=str(trained))
    add_extra_tests(cfg, choose_extras(cfg, ['all']))
    with built_runner(cfg) as runner:
        before = runner._test_dataloader, runner._test_evaluator
        first, second = runner.test(), runner.test()
        assert (runner._test_dataloader, runner._test_evaluator) == before
    assert first == second == {'seen': 8, 'same/seen': 8, 'other/seen': 5}
    assert [len(loop.dataloader.dataset) for loop in runner.test_loop.loops] == [8, 5]


def test_the_tool_writes_and_verifies_them(write, trained, tmp_path):
    config = write(extra=EXTRA + "\nexpected = [('same/seen', 8, 0), ('other/seen', 5, 0)]\n")
    file = tmp_path / 'out/metrics.json'
    words = [config, trained, '--work-dir', tmp_path / 't', '--extra', 'all', '--verify']
    assert call_tool('test.py', *words, '--json', file).count(' ok') == 2
    content = json.loads(file.read_text())
    assert content['metrics'] == {'seen': 8, 'same/seen': 8, 'other/seen': 5}
    assert (content['config'], content['checkpoint']) == (str(config), str(trained))


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        (EXTRA, 'othr', r"has no such test; it has same, other\. Did you mean 'other'"),
        (EXTRA, 'none', r'has no such test; it has same, other'),
        ('', 'all', r'has no such test; it has none'),
        (ONE % 'dataloader={}', 'a', r'extra_tests\.a must be dict\('),
        (ONE % 'evaluatr=1', 'a', r"tests\.a\.evaluatr is not known\..* 'evaluator'"),
        (ONE % 'dataloader=dict(batchsize=2)', 'a', r"a\.dataloader\.batchsize .* 'batch_size'"),
        ('\nextra_test = dict()\n', 'a', r"'extra_test', which nothing reads.*'extra_tests'"),
    ],
)
def test_mistakes(write, tmp_path, text, name, message):
    (tmp_path / 'x.pth').touch()
    with pytest.raises(UserError, match=message):
        apis.test(write(extra=text), tmp_path / 'x.pth', work_dir=tmp_path / 't', extra=[name])


def test_preflight_asks_only_for_what_is_to_run(write, tmp_path):
    (tmp_path / 'x.pth').touch()
    flowers = dict(type='lightvit_dense.Flowers102', data_root=str(tmp_path / 'flowers'))
    extra = (
        f'\nextra_tests = dict(real=dict(evaluator=dict(ann_file={str(tmp_path / "real.json")!r})),'
        f'\n  flowers=dict(dataloader=dict(dataset={flowers!r}), evaluator=dict(type="x")))\n'
    )
    config = write(extra=extra)
    assert 'all 1 local' in apis.check_testing(config, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'real\.json  \(extra_tests\.real\.evaluator\.ann_file\)'):
        apis.check_testing(config, tmp_path / 'x.pth', extra=['real'])
    message = r'(?s)setid\.mat  \(extra_tests\.flowers\.dataloader\..*site of the Visual Geometry'
    with pytest.raises(UserError, match=message):
        apis.test(config, tmp_path / 'x.pth', work_dir=tmp_path / 't', extra=['flowers'])


@pytest.mark.parametrize(
    ('measured', 'status'), [(0.42, 0), (0.428, 0), (0.429, 1), (0.411, 1), (float('nan'), 1)]
)
def test_intervals(capsys, measured, status) -> None:
    rows = [('coco/bbox_mAP', 0.423, 0.0051), ('coco/segm_mAP', 0.4, 0.1)]
    assert apis.verify({'coco/bbox_mAP': measured, 'coco/segm_mAP': 0.45}, rows) == status
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3
    assert table[1].endswith('FAILED' if status else 'ok')
    assert table[2].endswith('ok')


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([('x', 1.0, 0.1)], r"'x' was not measured \(measured: y\)"),
        ([('x', 1.0)], 'triple'),
        ([(1, 1.0, 0.1)], 'triple'),
        ([('x', '1', 0.1)], 'triple'),
        (None, 'nothing to verify'),
    ],
)
def test_what_cannot_be_verified_is_an_error(rows, message) -> None:
    with pytest.raises(UserError, match=message):
        apis.verify({'y': 1.0}, apis.read_expected(Config(dict(expected=rows))))
