"""The runs of a suite: their order, what is done again and what not, devices, failures, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite import SuitePlan, collect, read_suite, run_suite
from lightvit_dense.suite.run import device_slots
from lightvit_dense.suite.stages import is_done, read_record

SUITE = """
seeds = [0, 1]
pretrains = dict(
    teacher=dict(config='c.py'),
    dmae=dict(config='c.py', needs={'model.teacher': 'teacher'}, options={'x': 3}),
)
inits = dict(scratch=dict(), dmae=dict(pretrain='dmae'), old=dict(checkpoint='old.pth'))
tasks = dict(
    det=dict(configs=dict(default='c.py'), metrics=[dict(key='AP', title='AP', scale=100.0)]),
)
"""
# Stand for the tools: write what they would write, note that they ran.
TOOL = """
import json, os, sys, time
from pathlib import Path
args = sys.argv[1:]
folder = Path(args[args.index('--work-dir') + 1])
folder.mkdir(parents=True, exist_ok=True)
with open('trace', 'a') as file:
    file.write(json.dumps([folder.name, os.environ.get('CUDA_VISIBLE_DEVICES'), args]) + '\\n')
if (Path('fail') / folder.name).exists():
    sys.exit('the dog ate it')
time.sleep(float(Path('sleep').read_text()) if Path('sleep').exists() else 0)
if '--json' in args:
    text = json.dumps(dict(metrics=dict(AP=0.25, name='x')))
    Path(args[args.index('--json') + 1]).write_text(text)
else:
    for name in ('iter_9.pth', 'backbone.safetensors'):
        (folder / name).write_text('weights')
"""


def read_config(path, options):
    return {'path': path, 'options': dict(options), 'train_cfg': {'max_iters': 9}}


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'tools').mkdir()
    for name in ('train', 'test'):
        (tmp_path / f'tools/{name}.py').write_text(TOOL)
    (tmp_path / 'c.py').write_text('')
    (tmp_path / 'old.pth').write_text('old')
    (tmp_path / 'suite.py').write_text(SUITE)
    (tmp_path / 'fail').mkdir()
    return tmp_path


@pytest.fixture
def plan(root):
    def plan(reader=read_config, gpus=0, **chosen):
        suite = read_suite(root / 'suite.py', root, **chosen)
        return SuitePlan(suite, root / 'work', root, root / 'data', reader, gpus)

    return plan


@pytest.fixture
def trace(root):
    def trace():
        path = root / 'trace'
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    return trace


def run(plan, **options):
    finished = []
    status = run_suite(
        plan, lambda: finished.append(True), tell=lambda line: None, poll=0.02, **options
    )
    return status, finished


def states(plan):
    cells = collect(plan, {})['cells']
    return {f'{c["init"]} {c["seed"]}': c['state'] for c in cells}


def test_what_is_needed_comes_first_and_values_arrive(plan, root):
    stages = {stage.name: stage for stage in plan().in_order()}
    names = list(stages)
    assert names[:2] == ['pretrain_teacher', 'pretrain_dmae']
    for stage in stages.values():
        assert all(names.index(need) < names.index(stage.name) for need in stage.after)
    teacher = root / 'work/pretrain_teacher/backbone.safetensors'
    assert f'model.teacher={teacher}' in stages['pretrain_dmae'].command
    assert 'x=3' in stages['pretrain_dmae'].command
    words = stages['det_dmae_seed-1'].command
    student = root / 'work/pretrain_dmae/backbone.safetensors'
    assert f'model.backbone.init_cfg.checkpoint={student}' in words
    assert 'randomness.seed=1' in words
    assert 'model.backbone.init_cfg.checkpoint=old.pth' in stages['det_old_seed-0'].command
    assert not any('init_cfg' in word for word in stages['det_scratch_seed-0'].command)
    assert str(root / 'work/det_old_seed-0/iter_9.pth') in stages['det_old_seed-0_test'].command


def test_everything_runs_once(plan, trace):
    status, finished = run(plan(), jobs=2)
    assert (status, finished) == (0, [True])
    assert len(trace()) == 2 + 2 * 3 * 2
    found = collect(plan(), {'cpu': 'one'})
    assert {c['state'] for c in found['cells']} == {'measured'}
    assert found['cells'][0]['metrics'] == {'AP': 0.25}
    assert found['environment'] == {'cpu': 'one'}
    assert json.loads(json.dumps(found))['tasks'][0]['metrics'][0]['scale'] == 100.0
    assert run(plan())[0] == 0
    assert trace() == []


def test_a_change_reaches_what_follows_from_it_and_no_more(plan, trace, root):
    run(plan())
    trace()
    (root / 'old.pth').write_text('other weights')
    assert states(plan()) == {
        **{f'{init} {seed}': 'measured' for init in ('scratch', 'dmae') for seed in (0, 1)},
        **{f'old {seed}': 'not run' for seed in (0, 1)},
    }

    def changed(path, options):
        return read_config(path, options) | {'teacher': 'x' not in options and len(options) == 0}

    run(plan(changed))
    ran = {name for name, *_ in trace()}
    assert {'pretrain_teacher', 'pretrain_dmae', 'det_dmae_seed-0', 'det_old_seed-0'} <= ran


def test_a_failure_leaves_the_others_and_says_why(plan, trace, root, capsys):
    (root / 'fail/det_old_seed-0').touch()
    (root / 'fail/pretrain_teacher').touch()
    status, finished = run(plan())
    assert (status, finished) == (1, [True])
    assert 'the dog ate it' in capsys.readouterr().err
    found = {(c['init'], c['seed']): c for c in collect(plan(), {})['cells']}
    assert found['old', 0]['state'] == 'failed'
    assert found['old', 0]['error'] == 'the dog ate it'
    assert found['dmae', 0]['state'] == 'not run'
    assert found['scratch', 1]['state'] == found['old', 1]['state'] == 'measured'
    for path in (root / 'fail').iterdir():
        path.unlink()
    trace()
    assert run(plan())[0] == 0
    assert len(trace()) == 2 + 2 + 4  # the pre-trainings, one old cell, two of D-MAE
    assert set(states(plan()).values()) == {'measured'}


@pytest.mark.parametrize('text', ['{"metrics": {"AP"', '[]', '{"metrics": 3}', ''])
def test_a_half_written_result_is_measured_again(plan, trace, root, text):
    run(plan(inits=['scratch']))
    trace()
    (root / 'work/det_scratch_seed-1_test/metrics.json').write_text(text)
    run(plan(inits=['scratch']))
    assert [name for name, *_ in trace()] == ['det_scratch_seed-1_test']
    assert set(states(plan(inits=['scratch'])).values()) == {'measured'}


def test_a_metric_that_the_task_does_not_report_is_named(plan, root):
    (root / 'suite.py').write_text(SUITE.replace("key='AP'", "key='mAP'"))
    run(plan(inits=['scratch']))
    cell = collect(plan(inits=['scratch']), {})['cells'][0]
    assert cell['state'] == 'failed'
    assert 'the run reports no mAP; it reports AP' in cell['error']


def test_results_from_elsewhere_are_not_run(plan, trace, root):
    entry = (
        "measured = [dict(init='scratch', task='det', seed=1, metrics=dict(AP=0.5), source='a')]"
    )
    (root / 'suite.py').write_text(SUITE + entry)
    run(plan(inits=['scratch']))
    assert {name for name, *_ in trace()} == {'det_scratch_seed-0', 'det_scratch_seed-0_test'}
    values = {c['seed']: c['metrics']['AP'] for c in collect(plan(inits=['scratch']), {})['cells']}
    assert values == {0: 0.25, 1: 0.5}


def test_gpus_are_shared_out(plan, trace):
    assert device_slots(['0', '1', '2', '3'], 2) == [
        {'CUDA_VISIBLE_DEVICES': '0,1'},
        {'CUDA_VISIBLE_DEVICES': '2,3'},
    ]
    assert device_slots(['0', '1'], 0) == [{'CUDA_VISIBLE_DEVICES': '0,1'}]
    assert device_slots([], 1) == []
    for gpus, size, message in (
        (['0', '0'], 1, 'twice'),
        (['0', '1', '2'], 2, 'evenly'),
        ([], 2, 'no GPUs'),
    ):
        with pytest.raises(UserError, match=message):
            device_slots(gpus, size)
    run(plan(inits=['scratch', 'old']), slots=device_slots(['4', '7'], 1))
    assert {device for _, device, _ in trace()} == {'4', '7'}
    words = plan(gpus=2).stages['det_scratch_seed-0'].command
    text = ' '.join(words[1:])
    assert text.startswith(
        '-m torch.distributed.run --standalone --nproc_per_node 2 tools/train.py'
    )
    assert '--launcher pytorch c.py' in text


def test_a_killed_suite_goes_on(plan, trace, root):
    (root / 'sleep').write_text('30')
    code = (
        'import sys; sys.path.insert(0, sys.argv[2])\n'
        'from pathlib import Path\n'
        'from test_suite_run import SuitePlan, read_config, read_suite, run_suite\n'
        'root = Path(sys.argv[1])\n'
        "suite = read_suite(root / 'suite.py', root, inits=['scratch'], seeds=[0])\n"
        "plan = SuitePlan(suite, root / 'work', root, root / 'data', read_config)\n"
        'run_suite(plan, lambda: None)\n'
    )
    words = [sys.executable, '-c', code, str(root), str(Path(__file__).parent)]
    process = subprocess.Popen(words)
    stage = plan(inits=['scratch'], seeds=[0]).stages['det_scratch_seed-0']
    deadline = time.monotonic() + 120
    while (record := read_record(stage)) is None or record.pid is None:
        assert time.monotonic() < deadline, 'it did not start'
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert states(plan(inits=['scratch'], seeds=[0])) == {'scratch 0': 'running'}
    (root / 'sleep').unlink()
    status, _ = run(plan(inits=['scratch'], seeds=[0]))
    assert status == 0
    assert is_done(stage)
    resumed = [args for name, _, args in trace() if name == 'det_scratch_seed-0'][-1]
    assert '--resume' in resumed
    assert states(plan(inits=['scratch'], seeds=[0])) == {'scratch 0': 'measured'}
