"""What a resumed training makes of settings that have changed."""

import re
from typing import Any

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from lightvit_dense.engine.config_changes import find_changes
from lightvit_dense.errors import CheckpointError, UserError
from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.tables import format_table

REFUSED = {
    r'train_cfg\.(by_epoch|type): .*': 'the checkpoint counts the other way',
    r'optim_wrapper\.optimizer\.(type|amsgrad): .*': 'it holds the state of another optimiser',
    r'model\.(?!\S*teacher\.)\S*init_cfg.*(?<!-> None)': 'the weights are those of the checkpoint',
    r'default_hooks\.checkpoint\.(save_best|rule): (?!None).*': 'its best was found by the other',
    r'randomness\.seed: .* -> None': 'it has a seed: name one',
}
"""Changes, as regular expressions, that a resumed training cannot make, and why."""
SCHEDULE = ('optim_wrapper.', 'param_scheduler', 'train_cfg.max_', 'iterations an epoch')
_SCALING = ('optim_wrapper.type', 'optim_wrapper.dtype', 'optim_wrapper.loss_scale')

Changes = dict[str, tuple[Any, Any]]


@HOOKS.register_module()
class ResumeChangesHook(Hook):
    """Let what was changed in a config take effect in a resumed training, or refuse it by name.

    A resumed run goes on as if its config had been in force from the start: of the checkpoint come
    the weights, their averages, the moments of the optimiser, and the counters. The log gets a
    table of what has changed. Training adds this hook by itself.
    """

    # After LoadReportHook, which checks the weights, and before EMAHook.
    priority = 'HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note the number of processes, which no config tells."""
        checkpoint['meta']['world_size'] = runner.world_size

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Rewrite, before it is loaded, what of a checkpoint the config has changed."""
        if not runner._resume:
            return
        path, meta = str(runner._load_from), checkpoint.get('meta') or {}
        absent = [name for name in ('epoch', 'iter') if name not in meta]
        absent += [name for name in ('message_hub', 'optimizer') if name not in checkpoint]
        if absent:
            raise CheckpointError(
                f'{path}: cannot be resumed, it has no {", ".join(absent)}. Start from its weights '
                'by load_from without resume.'
            )
        changes = _find_all(runner, checkpoint, path)
        reasons = _refusals(runner, checkpoint, changes)
        if reasons:
            raise UserError(
                '\n  '.join([f'{path} cannot be resumed with these settings:', *reasons])
                + '\nSet them back; or start a new training from its weights: load_from without '
                '--resume, in another --work-dir.'
            )
        if runner._randomness_cfg.get('seed') is not None:
            meta['seed'] = runner.seed  # mmengine would return to that of the checkpoint
        averages = checkpoint.get('ema_state_dict')
        if averages and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            # EMAHook saves the averages in the place of the trained weights, and those aside.
            trained = {key.removeprefix('module.'): value for key, value in averages.items()}
            state = checkpoint['state_dict']
            state.update({name: trained[name] for name in state if name in trained})
        if any(key.startswith(SCHEDULE) for key in changes):
            _lay_schedules(runner, checkpoint, changes)
        rows = [
            dict(setting=key, checkpoint=_short(pair[0]), now=_short(pair[1]))
            | dict(effect='schedule laid anew' if key.startswith(SCHEDULE) else 'yes')
            for key, pair in changes.items()
        ]
        if rows:
            table = format_table(rows, ('setting', 'checkpoint', 'now', 'effect'))
            runner.logger.info(f'{path} is resumed with changed settings:\n{table}')


def _find_all(runner: Runner, checkpoint: dict[str, Any], path: str) -> Changes:
    """Compare config, processes and length of epochs; count past epochs by the present one."""
    meta, info = checkpoint['meta'], checkpoint['message_hub'].get('runtime_info', {})
    try:
        changes = find_changes(meta['cfg'], runner.cfg.pretty_text)
    except (KeyError, ValueError, TypeError) as error:
        runner.logger.warning(f'{path}: its config cannot be read ({error!r}); this one counts.')
        changes = {'param_scheduler': ('unknown', 'as configured')}
    processes = meta.get('world_size', runner.world_size), runner.world_size
    before, now = info.get('max_iters', 0) // info.get('max_epochs', 1), _epoch_length(runner)
    for key, pair in (('processes', processes), ('iterations an epoch', (before, now))):
        if all(pair) and pair[0] != pair[1]:
            changes[key] = pair
    if 'iterations an epoch' in changes:
        if meta['iter'] != meta['epoch'] * before:
            runner.logger.warning(f'Epoch {meta["epoch"] + 1} starts at its beginning.')
        meta['iter'] = meta['epoch'] * now
    return changes


def _epoch_length(runner: Runner) -> int:
    """Return the iterations of an epoch, 0 where training does not count epochs."""
    loop = runner.train_loop
    return len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else 0


def _refusals(runner: Runner, checkpoint: dict[str, Any], changes: Changes) -> list[str]:
    """List what cannot be changed, with the reason."""
    lines = [f'{key}: {_short(pair[0])} -> {_short(pair[1])}' for key, pair in changes.items()]
    reasons = [
        f'{line} ({reason})'
        for line in lines
        for pattern, reason in REFUSED.items()
        if re.fullmatch(pattern, line)
    ]
    unit = 'epoch' if _epoch_length(runner) else 'iter'
    done, end = checkpoint['meta'][unit], getattr(runner, f'max_{unit}s')
    if done > end:
        reasons.append(f'train_cfg.max_{unit}s={end} ends before the checkpoint, {done}')
    saved, own = (
        checkpoint['optimizer']['param_groups'],
        runner.optim_wrapper.optimizer.param_groups,
    )
    if [len(group['params']) for group in saved] != [len(group['params']) for group in own]:
        reasons.append(
            'optim_wrapper: its groups of parameters are others than in the checkpoint '
            '(paramwise_cfg, constructor, or what of the model is trained)'
        )
    laid = ', '.join(key for key in changes if key.startswith(SCHEDULE))
    if laid and any(getattr(s, 'need_val_args', False) for s in runner.param_schedulers or ()):
        reasons.append(f'{laid} (a schedule that follows results cannot be laid anew)')
    return reasons


def _lay_schedules(runner: Runner, checkpoint: dict[str, Any], changes: Changes) -> None:
    """Put the settings of the optimiser in force that this config has at this iteration."""
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    wrapper._global_step = 0  # no warning that a schedule steps before the optimiser
    length, meta = _epoch_length(runner), checkpoint['meta']
    ends = {length * epoch for epoch in range(1, meta['epoch'] + 1)}
    for iteration in range(1, meta['iter'] + 1):
        for by_epoch in (False, True) if iteration in ends else (False,):
            for scheduler in schedulers:
                if scheduler.by_epoch == by_epoch:
                    scheduler.step()
    saved, fresh = checkpoint['optimizer'], wrapper.state_dict()
    for key in fresh.keys() & {'param_groups', 'base_param_settings'}:
        saved[key] = fresh[key]
    if any(key.startswith(_SCALING) for key in changes):
        saved.pop('loss_scaler', None)
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
