"""Run a suite: what is not done, several runs at a time, each on its own devices."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightvit_dense.errors import UserError
from lightvit_dense.suite.jobs import JobPool, JobsError
from lightvit_dense.suite.stages import exclusive, forget

from .collect import forget_unreadable
from .plan import SuitePlan

Tell = Callable[[str], object]


def device_slots(gpus: Sequence[str], gpus_per_job: int) -> list[dict[str, str]]:
    """Share GPUs out among runs.

    Args:
        gpus: Their names as ``CUDA_VISIBLE_DEVICES`` takes them; empty for the CPU.
        gpus_per_job: How many each run gets; 0 for all of them.

    Returns:
        The environment of each run that can go on at the same time; empty on the CPU.

    Raises:
        UserError: If they cannot be shared out evenly, or one is named twice.
    """
    if len(set(gpus)) != len(gpus):
        raise UserError(f'--gpus {" ".join(gpus)}: a GPU is named twice')
    if not gpus:
        if gpus_per_job > 1:
            raise UserError(
                f'--gpus-per-job {gpus_per_job}: no GPUs are given; name them by --gpus'
            )
        return []
    size = gpus_per_job or len(gpus)
    if len(gpus) % size:
        raise UserError(f'--gpus-per-job {size}: {len(gpus)} GPUs cannot be shared out evenly')
    groups = [gpus[i : i + size] for i in range(0, len(gpus), size)]
    return [{'CUDA_VISIBLE_DEVICES': ','.join(group)} for group in groups]


def run_suite(
    plan: SuitePlan,
    finish: Callable[[], None],
    jobs: int = 1,
    slots: Sequence[Mapping[str, str]] = (),
    fresh: bool = False,
    tell: Tell = print,
    poll: float = 0.5,
) -> int:
    """Run what is not done, then write the results of what is there.

    A run that fails does not stop the others. The results are written in any case, also when the
    user interrupts.

    Args:
        plan: The runs.
        finish: Writes the results.
        jobs: Runs at a time on the CPU.
        slots: From :func:`device_slots`; one run at a time in each.
        fresh: Whether to forget what was done.
        tell: Takes the lines about progress.
        poll: Seconds between two looks at a run.

    Returns:
        The exit status: 0, 1 after a failure, 130 when interrupted.
    """
    env = {**os.environ, 'PYTHONUNBUFFERED': '1', 'LIGHTVIT_DATA': str(plan.data_root)}
    status = 0
    try:
        with exclusive(Path(plan.work_dir)):
            stages = plan.in_order()
            for stage in stages if fresh else ():
                forget(stage)
            for name in forget_unreadable(plan):
                tell(f'{name}: its results are half-written; it runs again')
            try:
                JobPool(stages, jobs, env, plan.root, tell=tell, poll=poll, slots=slots).run()
            except JobsError as error:
                print(f'\n{error}', file=sys.stderr)
                status = 1
            except KeyboardInterrupt:
                print('\nStopped. The same command continues from here.', file=sys.stderr)
                status = 130
            finish()
    except RuntimeError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    return status
