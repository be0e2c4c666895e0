"""Apply or refuse settings that were changed before a training is resumed."""

import re
from pathlib import Path
from typing import Any

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from lightvit_dense.engine.config_changes import find_changes
from lightvit_dense.engine.optimizers.groups import merge_saved_groups
from lightvit_dense.engine.options import CONSTRUCTOR
from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import CheckpointError, UserError
from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.tables import format_table

# Settings that decide learning rates and other schedules.
SCHEDULE = ('optim_wrapper.', 'param_scheduler', 'train_cfg.max_', 'iterations an epoch')
_SCALING = ('optim_wrapper.type', 'optim_wrapper.dtype', 'optim_wrapper.loss_scale')

Changes = dict[str, tuple[Any, Any]]


@HOOKS.register_module()
class ResumeChangesHook(Hook):
    """Let changes of a config take effect in a resumed training, or refuse them by name."""

    # After LoadReportHook, which checks the weights, and before EMAHook.
    priority = 'HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note the number of processes, which no config tells."""
        checkpoint['meta']['world_size'] = runner.world_size

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Rewrite the checkpoint by the changed settings before it is loaded."""
        if not runner._resume:
            return
        path, meta = str(runner._load_from), checkpoint.get('meta') or {}
        there = {*meta, *checkpoint}
        if absent := [n for n in ('epoch', 'iter', 'message_hub', 'optimizer') if n not in there]:
            raise CheckpointError(
                f'{path}: cannot be resumed, it has no {", ".join(absent)}. Load its weights by '
                'load_from without resume.'
            )
        changes = _find_all(runner, checkpoint, path)
        merge_saved_groups(checkpoint, runner.optim_wrapper.optimizer, unwrap(runner.model))
        if reasons := _refusals(runner, checkpoint, changes):
            raise UserError(
                '\n  '.join([f'{path} cannot be resumed with these settings:', *reasons])
                + '\nSet them back, or start a new training with load_from in another --work-dir.'
            )
        if runner._randomness_cfg.get('seed') is not None:
            meta['seed'] = runner.seed  # mmengine would return to that of the checkpoint
        averages = checkpoint.get('ema_state_dict')
        if averages and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            # EMAHook saves the averages in the place of the trained weights, and those aside.
            trained = {key.removeprefix('module.'): value for key, value in averages.items()}
            state = checkpoint['state_dict']
            state.update({name: trained[name] for name in state if name in trained})
        if not checkpoint['optimizer'].get('loss_scaler'):
            checkpoint['optimizer'].pop('loss_scaler', None)  # {} of bf16, which fp16 refuses
        if any(key.startswith(SCHEDULE) for key in changes):
            _recompute_schedules(runner, checkpoint, changes)
        if changes:
            columns = ('setting', 'checkpoint', 'now', 'effect')
            rows = [
                (key, *map(_short, pair), 'schedule recomputed' if key.startswith(SCHEDULE) else '')
                for key, pair in changes.items()
            ]
            table = format_table([dict(zip(columns, row, strict=True)) for row in rows], columns)
            runner.logger.info(f'{path} is resumed with changed settings:\n{table}')


def _find_all(runner: Runner, checkpoint: dict[str, Any], path: str) -> Changes:
    """Compare configs, processes and epoch lengths; correct the iteration for another length."""
    meta, info = checkpoint['meta'], checkpoint['message_hub'].get('runtime_info', {})
    try:
        changes = find_changes(meta['cfg'], runner.cfg.pretty_text)
    except (KeyError, ValueError, TypeError) as error:
        runner.logger.warning(f'{path}: its config cannot be read ({error!r}) and is not compared.')
        changes = {'param_scheduler': ('unknown', 'as configured')}
    if changes.get('optim_wrapper.constructor') == (None, CONSTRUCTOR):
        del changes['optim_wrapper.constructor']  # the default, of mmengine's once
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
    reasons = [
        f'{key}: {_short(old)} -> {_short(new)} ({reason})'
        for key, (old, new) in changes.items()
        if (reason := _refusal(key, old, new))
    ]
    unit = 'epoch' if _epoch_length(runner) else 'iter'
    done, end = checkpoint['meta'][unit], getattr(runner, f'max_{unit}s')
    if done > end:
        reasons.append(f'train_cfg.max_{unit}s={end} ends before the checkpoint, {done}')
    optimizers = checkpoint['optimizer'], runner.optim_wrapper.optimizer.state_dict()
    saved, own = (
        [group.get('param_names', len(group['params'])) for group in o['param_groups']]
        for o in optimizers
    )
    if saved != own:
        reasons.append(
            'optim_wrapper: the parameter groups differ from those of the checkpoint '
            '(paramwise_cfg, constructor, or frozen parameters)'
        )
    keys = ', '.join(key for key in changes if key.startswith(SCHEDULE))
    if keys and any(getattr(s, 'need_val_args', False) for s in runner.param_schedulers or ()):
        reasons.append(f'{keys} (a schedule that depends on results cannot be recomputed)')
    return reasons


def _refusal(key: str, old: Any, new: Any) -> str:
    """Return why a setting cannot be changed, '' if it can."""
    section, _, name = key.rpartition('.')
    if section == 'train_cfg' and name in ('by_epoch', 'type'):
        return 'the checkpoint counts the other way'
    if section == 'optim_wrapper.optimizer' and name in ('type', 'amsgrad'):
        return 'the checkpoint has the state of another optimiser'
    moved = name == 'checkpoint' and Path(str(old)).name == Path(str(new)).name
    if re.match(r'model\.(?!.*teacher\.).*init_cfg', key) and new is not None and not moved:
        return 'the weights are those of the checkpoint'
    if section == 'default_hooks.checkpoint' and name in ('save_best', 'rule') and old is not None:
        return 'the best checkpoint so far was chosen by the other'
    if key == 'randomness.seed' and new is None:
        return 'the checkpoint has a seed: give one'
    return ''


def _recompute_schedules(runner: Runner, checkpoint: dict[str, Any], changes: Changes) -> None:
    """Step new schedules to the iteration of the checkpoint, which gets their state."""
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    wrapper._global_step = 0  # no warning that a schedule steps before the optimiser
    length, meta = _epoch_length(runner), checkpoint['meta']
    ends = {length * epoch for epoch in range(1, meta['epoch'] + 1)}
    for iteration in range(1, meta['iter'] + 1):  # a minute for 300,000
        for by_epoch in (False, True) if iteration in ends else (False,):
            for scheduler in schedulers:
                if scheduler.by_epoch == by_epoch:
                    scheduler.step()
    saved, fresh = checkpoint['optimizer'], wrapper.state_dict()
    if saved.pop('base_param_settings', None) and wrapper.base_param_settings is None:
        # Several groups have become one, whose rate is the base rate.
        checkpoint['message_hub']['log_scalars'].pop('train/base_lr', None)
    for key in fresh.keys() & {'param_groups', 'base_param_settings'}:
        saved[key] = fresh[key]
    if any(key.startswith(_SCALING) for key in changes):
        saved.pop('loss_scaler', None)
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
