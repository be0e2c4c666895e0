"""Checkpoints that are whole or absent, never torn."""

from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.io import atomic_write

BACKEND = 'lightvit_dense_atomic'


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """A local file backend whose writes replace the file in one step, whole or not at all."""

    def put(self, obj: Any, filepath: str | Path) -> None:
        """Write bytes (or a memory view) to ``filepath`` atomically."""
        data = obj.read() if hasattr(obj, 'read') else obj
        atomic_write(filepath, data)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to ``filepath`` atomically."""
        atomic_write(filepath, obj.encode(encoding))


class LateRemoval:
    """A file backend that notes what is to be removed instead of removing it."""

    def __init__(self, backend: Any, doomed: list[str]) -> None:
        self._backend, self._doomed = backend, doomed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str | Path) -> None:
        """Note a file."""
        self._doomed.append(str(path))

    def rmtree(self, path: str | Path) -> None:
        """Note a folder."""
        self._doomed.append(str(path))


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's checkpoint hook, safe against being killed at any moment.

    The order is: write the checkpoint atomically, move the pointer ``last_checkpoint``, and only
    then remove checkpoints beyond ``max_keep_ckpts`` and a best one that was surpassed (mmengine
    removes first, so that with ``max_keep_ckpts=1`` a kill leaves nothing). Each checkpoint lists
    what its writing was to remove: whoever resumes from it removes what a killed run left, and so
    go temporary files.

    Args:
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`. ``backend_args`` names
            another file backend.
    """

    keep_ckpt_ids: deque
    file_backend: Any

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get('file_client_args') is None and kwargs.get('backend_args') is None:
            kwargs['backend_args'] = dict(backend=BACKEND)
        super().__init__(**kwargs)
        self._doomed: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Find the output directory and clear what a killed run left behind."""
        super().before_train(runner)
        if not is_main_process():
            return
        for folder in {Path(self.out_dir), Path(runner.work_dir)}:
            for pattern in ('.*.pth.*.tmp', '.last_checkpoint.*.tmp'):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)
        if 'outdated_ckpts' in runner.message_hub.runtime_info:
            names = [Path(path).name for path in runner.message_hub.get_info('outdated_ckpts')]
            # Beside the others, wherever the work directory has been moved to.
            self._doomed = [self.file_backend.join_path(self.out_dir, name) for name in names]
            self._remove_doomed()

    def before_val_epoch(self, runner: Runner) -> None:
        """Average batch normalisation's running statistics over all processes, as timm does."""
        averages = [hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model')]
        for model in (runner.model, *averages):
            for name, buffer in model.named_buffers() if get_world_size() > 1 else ():
                if name.endswith(('running_mean', 'running_var')):
                    all_reduce(buffer, 'mean')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self.max_keep_ckpts > 0:
            keep = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated, keep = keep[: -self.max_keep_ckpts], keep[-self.max_keep_ckpts :]
            self._doomed += [
                self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                for old in outdated
            ]
            self.keep_ckpt_ids = deque(keep, self.max_keep_ckpts)
            # The checkpoint itself must list what exists once it is written.
            runner.message_hub.update_info('keep_ckpt_ids', keep)
        filename = self.filename_tmpl.format(step)
        self.before_val_epoch(runner)  # what is saved is what is validated
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info('outdated_ckpts', list(self._doomed))
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            pointer = Path(runner.work_dir) / 'last_checkpoint'
            atomic_write(pointer, str(self.last_ckpt).encode())
        self._remove_doomed()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        backend = self.file_backend
        self.file_backend = LateRemoval(backend, self._doomed)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        self._remove_doomed()

    def _remove_doomed(self) -> None:
        """Remove what was outdated, but for what has come to use again."""
        if isinstance(self.file_backend, LateRemoval):
            return
        used = {self.filename_tmpl.format(step) for step in getattr(self, 'keep_ckpt_ids', ())}
        best = [getattr(self, 'best_ckpt_path', None)]
        best += getattr(self, 'best_ckpt_path_dict', {}).values()
        used |= {Path(path).name for path in best if path}
        doomed, self._doomed = self._doomed, []
        for path in doomed if is_main_process() else []:
            if Path(path).name in used:
                continue
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)
