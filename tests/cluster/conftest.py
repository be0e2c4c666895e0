"""A real Slurm of one node in a temporary folder: its own ports, its own state, gone at the end."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

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


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f'waited in vain for {what}'
        time.sleep(0.1)


def missing() -> str:
    """Return why there can be no Slurm here, '' if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        return f'no {", ".join(absent)}: install slurm-wlm and munge'
    return '' if os.geteuid() == 0 else 'the daemons of Slurm need root'


@pytest.fixture(scope='session')
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
    """Return what a program says."""
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
