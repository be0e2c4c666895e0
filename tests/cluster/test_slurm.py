"""Suites and launchers on a real Slurm of one node, in a temporary folder with ports of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.suite.executors import SlurmExecutor, SlurmOptions
from lightvit_dense.suite.runner import run_suite
from lightvit_dense.suite.stages import is_done, read_record
from tests.helpers.tiny_suite import take_trace, tiny_plan, wait_for, write_tiny_suite
from tests.helpers.toy_engine import write_config
from tests.test_tools.test_launchers import launch

ROOT = Path(__file__).parents[2]
PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'setpriv')
PATH = os.pathsep.join([os.environ['PATH'], '/usr/sbin', '/sbin'])
SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=bf_interval=1,sched_interval=1
KillWait=5
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
NodeName={host} CPUs=4 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def missing() -> str:
    """Return why there can be no Slurm here, '' if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        return f'no {", ".join(absent)}: install slurm-wlm and munge'
    return '' if os.geteuid() == 0 else 'the daemons of Slurm need root'


REASON = missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture(scope='module')
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; return the folder of their files."""
    folder = tmp_path_factory.mktemp('slurm')
    for path in (folder, *folder.parents[:3]):  # munged refuses a path that others can write to
        if path.owner() == 'root' and path != Path('/tmp'):
            path.chmod(0o755)
    host, (controller, daemon) = socket.gethostname().split('.')[0], free_ports(2)
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    key = folder / 'munge.key'
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / 'slurm.conf'
    configuration.write_text(
        SLURM_CONF.format(host=host, controller=controller, daemon=daemon, folder=folder)
    )
    started: list[subprocess.Popen] = []
    bound = ['setpriv', '--pdeathsig', 'TERM']  # they end with this process, also if it is killed
    munge = ['munged', '--foreground', '--force', f'--key-file={key}']
    munge += [f'--socket={folder}/munge.socket', f'--pid-file={folder}/munge.pid']
    munge += [f'--log-file={folder}/munge.log', f'--seed-file={folder}/munge.seed']
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SLURM_CONF', str(configuration))
        patch.setenv('PATH', PATH)
        try:
            for words in (munge, ['slurmctld', '-D', '-i'], ['slurmd', '-D']):
                if words[0] == 'slurmctld':
                    wait_for((folder / 'munge.socket').exists, 'munge')
                with (folder / f'{words[0]}.out').open('w') as out:
                    started.append(subprocess.Popen([*bound, *words], stdout=out, stderr=out))
            wait_for(
                lambda: 'idle' in told('sinfo', '-h', '-o', '%T'), f'Slurm, see {folder}/*.out'
            )
            yield folder
        finally:
            told('scancel', '--user', 'root')
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in reversed(started):
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
            _end_steps(folder)


def told(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _end_steps(folder: Path) -> None:
    """End the steps of jobs that outlived slurmd: they are its children."""
    for process in psutil.process_iter(['name']):
        if (process.info['name'] or '').startswith('slurmstepd'):
            try:
                if process.environ().get('SLURM_CONF') == str(folder / 'slurm.conf'):
                    process.kill()
            except psutil.Error:
                continue


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
