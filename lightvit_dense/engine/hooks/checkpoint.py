"""Checkpoints that are whole or absent, never torn."""

import os
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from lightvit_dense.registry import HOOKS

BACKEND = 'lightvit_dense_atomic'


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """A local file backend whose writes replace the file in one step.

    Bytes go to a temporary file in the same directory, are flushed to the disk, and then take the
    final name. A process killed at any moment leaves the old file or the new one.
    """

    def put(self, obj: Any, filepath: str | Path) -> None:
        """Write bytes (or a memory view) to ``filepath`` atomically.

        Args:
            obj: Bytes-like object, or a file object opened for reading bytes.
            filepath: Destination; its directory is created when missing.
        """
        data = obj.read() if hasattr(obj, 'read') else obj
        write_atomically(filepath, data)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to ``filepath`` atomically.

        Args:
            obj: The text.
            filepath: Destination; its directory is created when missing.
            encoding: Encoding of the file.
        """
        write_atomically(filepath, obj.encode(encoding))


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that at every moment it is either the old one or the new one.

    Args:
        path: Destination; its directory is created when missing.
        data: The bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_directory(path: Path) -> None:
    """Make a rename durable; file systems that cannot sync a directory are left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's checkpoint hook, safe against being killed while it writes.

    The order is: write the checkpoint atomically, move the pointer ``last_checkpoint``, and only
    then remove checkpoints beyond ``max_keep_ckpts`` (mmengine removes first, so that with
    ``max_keep_ckpts=1`` a kill leaves nothing). Temporary files of a killed run are removed when
    the next one begins.

    Args:
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`. ``backend_args`` names
            another file backend.
    """

    keep_ckpt_ids: deque

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get('file_client_args') is None and kwargs.get('backend_args') is None:
            kwargs['backend_args'] = dict(backend=BACKEND)
        super().__init__(**kwargs)

    def before_train(self, runner: Runner) -> None:
        """Find the output directory and clear what a killed run left half-written."""
        super().before_train(runner)
        if is_main_process() and Path(self.out_dir).is_dir():
            for path in Path(self.out_dir).glob('.*.pth.*.tmp'):
                path.unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            keep = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated, keep = keep[: -self.max_keep_ckpts], keep[-self.max_keep_ckpts :]
            self.keep_ckpt_ids = deque(keep, self.max_keep_ckpts)
            # The checkpoint itself must list what exists once it is written.
            runner.message_hub.update_info('keep_ckpt_ids', keep)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
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
        if not is_main_process():
            return
        write_atomically(Path(runner.work_dir) / 'last_checkpoint', str(self.last_ckpt).encode())
        for old in outdated:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)
