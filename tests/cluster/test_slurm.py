"""Suites and launchers on a real Slurm of one node: order, failures, kills on either side."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.suite.executors import SlurmExecutor, SlurmOptions
from lightvit_dense.suite.runner import run_suite
from lightvit_dense.suite.stages import is_done, read_record
from tests.cluster.conftest import missing, told, wait_for
from tests.helpers.tiny_suite import take_trace, tiny_plan, write_tiny_suite
from tests.helpers.toy_engine import write_config
from tests.test_tools.test_launchers import launch

ROOT = Path(__file__).parents[2]
REASON = missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture
def root(tmp_path):
    write_tiny_suite(tmp_path)
    return tmp_path


def two_jobs(root):
    """A pre-training and what starts from it, without its test."""
    options = {'tasks.det.test': False, 'inits.dmae.pretrain': 'teacher'}
    return tiny_plan(root, inits=['dmae'], seeds=[0], options=options)


def run(plan, parallelism=0):
    def executor(env):
        options = SlurmOptions('cpu', cpus_per_task=1, array_parallelism=parallelism)
        return SlurmExecutor(plan.work_dir / 'submitit', options, env, plan.root, poll=0.3)

    return run_suite(plan, lambda: None, executor, on_progress=lambda line: None, poll=0.1)


def job_of(stage):
    path = stage.work_dir / 'slurm_job'
    return path.read_text() if path.exists() else ''


def test_a_killed_job_fails_with_what_needs_it_and_is_resumed(slurm, root, capsys):
    (root / 'hold').touch()
    plan = two_jobs(root)
    first, second = plan.stages.values()

    def kill():
        wait_for(lambda: (root / 'trace').exists() and job_of(second), 'the jobs')
        told('scancel', job_of(first))

    killer = threading.Thread(target=kill)
    killer.start()
    assert run(plan) == 1
    killer.join()
    error = capsys.readouterr().err
    assert "'pretrain_teacher' failed: it was stopped" in error
    assert 'Not run, because they need one of them: det_dmae_seed-0' in error
    assert [name for name, *_ in take_trace(root)] == ['pretrain_teacher']

    (root / 'hold').unlink()
    assert run(plan) == 0
    assert is_done(first)
    assert is_done(second)
    names, _, arguments = zip(*take_trace(root), strict=True)
    assert names == ('pretrain_teacher', 'det_dmae_seed-0')
    assert arguments[0][-1] == '--resume'
    assert read_record(first).attempts == 2


def test_jobs_outlive_a_killed_runner_and_are_found_again(slurm, root):
    (root / 'hold').touch()
    first, second = two_jobs(root).stages.values()
    code = (
        'import sys; from pathlib import Path\n'
        'from tests.cluster.test_slurm import run, two_jobs\n'
        'run(two_jobs(Path(sys.argv[1])))\n'
    )
    runner = subprocess.Popen([sys.executable, '-c', code, str(root)], cwd=ROOT)
    wait_for(lambda: (root / 'trace').exists() and job_of(second), 'the jobs')
    runner.kill()
    runner.wait()
    jobs = [job_of(first), job_of(second)]
    (root / 'hold').unlink()
    assert run(two_jobs(root)) == 0
    assert [name for name, *_ in take_trace(root)] == ['pretrain_teacher', 'det_dmae_seed-0']
    assert [job_of(first), job_of(second)] == jobs  # not submitted twice
    assert [read_record(stage).attempts for stage in (first, second)] == [1, 1]


def test_a_job_whose_node_is_wanted_goes_on_by_itself(slurm, root):
    (root / 'hold').touch()
    plan = tiny_plan(root, inits=['scratch'], seeds=[0], options={'tasks.det.test': False})
    (stage,) = plan.stages.values()

    def preempt():
        wait_for(lambda: (root / 'trace').exists(), 'the job')
        number = job_of(stage)
        told('scancel', '--signal=USR2', number)
        wait_for(
            lambda: told('squeue', '-h', '-j', number, '-o', '%T') == 'PENDING\n', 'its return'
        )
        # Slurm lets it wait for two minutes. A start in the second of its end would be refused.
        told('scontrol', 'update', f'JobId={number}', 'StartTime=now+3')
        wait_for(lambda: len((root / 'trace').read_text().splitlines()) == 2, 'its second start')
        (root / 'hold').unlink()

    other = threading.Thread(target=preempt)
    other.start()
    assert run(plan) == 0
    other.join()
    first, second = (arguments for *_, arguments in take_trace(root))
    assert second == [*first, '--resume']
    assert read_record(stage).attempts == 1  # submitted once


def test_alike_jobs_make_an_array_and_one_of_them_may_fail(slurm, root, capsys):
    plan = tiny_plan(root, inits=['scratch'], seeds=[0, 1, 2], options={'tasks.det.test': False})
    (root / 'fail/det_scratch_seed-1').touch()
    assert run(plan, parallelism=2) == 1
    error = capsys.readouterr().err
    assert '1 of the runs failed' in error
    assert 'the dog ate it' in error
    array = {job_of(stage).partition('_')[0] for stage in plan.stages.values()}
    assert len(array) == 1
    assert [is_done(stage) for stage in plan.stages.values()] == [True, False, True]


def test_what_slurm_refuses_is_said(slurm, root):
    plan = two_jobs(root)
    options = SlurmOptions('nowhere')
    executor = SlurmExecutor(plan.work_dir / 'submitit', options, {}, plan.root)
    with pytest.raises(UserError, match=r'(?s)Slurm does not take pretrain_teacher.*partition'):
        run_suite(plan, lambda: None, lambda env: executor)


def test_the_launcher_trains_with_two_tasks(slurm, tmp_path):
    extra = "\ncustom_hooks = [dict(type='lightvit_dense.RankConsistencyHook')]\n"
    config = write_config(tmp_path, length=1, extra=extra)
    done = launch(
        'slurm_train.sh',
        *('cpu', 'toy', config, tmp_path / 'work'),
        GPUS='2',
        CPUS_PER_TASK='1',
        SRUN_ARGS='--gres=none',  # there are no GPUs
        TEST_PROCESS_SECONDS='300',
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 rank(s) hold the same parameters' in done.stdout
    saved = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    assert saved['meta']['iter'] == 3  # half the iterations of one process
