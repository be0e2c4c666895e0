"""Find the checkpoint that ``--resume`` continues from; keep two trainings out of one folder."""

import zipfile
from pathlib import Path

from mmengine.logging import print_log

from lightvit_dense.errors import UserError


def is_whole_checkpoint(path: str | Path) -> bool:
    """Whether a file is a zip whose members have their checksums; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError):
        return False


def find_resume_checkpoint(work_dir: str | Path) -> str | None:
    """Return a folder's newest whole checkpoint, or None; the log says what was passed over."""
    work_dir = Path(work_dir)
    candidates: list[Path] = []
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        target = Path(pointer.read_text(encoding='utf-8').strip())
        # A work directory that was moved keeps its checkpoints beside the pointer.
        candidates.append(target if target.is_file() else work_dir / target.name)
    others = [path for pattern in ('epoch_*.pth', 'iter_*.pth') for path in work_dir.glob(pattern)]
    newest_first = sorted(others, key=lambda path: (-path.stat().st_mtime, path.name))
    candidates += [path for path in newest_first if path not in candidates]
    for path in candidates:
        if is_whole_checkpoint(path):
            return str(path)
        print_log(
            f'{path} is missing or torn, so training does not resume from it.', logger='current'
        )
    return None


def refuse_used(work_dir: str | Path, resumed: str | Path | None = None) -> None:
    """Refuse a work directory that holds another training than the one that is resumed.

    Args:
        work_dir: Where checkpoints and logs will go; a run that left none but logs is no hindrance.
        resumed: The checkpoint that the training continues from.

    Raises:
        UserError: If files of another training would be overwritten.
    """
    folder = Path(work_dir)
    if resumed is not None and Path(resumed).resolve().parent == folder.resolve():
        return
    patterns = ('epoch_*.pth', 'iter_*.pth', 'best_*.pth', 'backbone.safetensors')
    found = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    if found:
        more = f' and {len(found) - 1} more' if len(found) > 1 else ''
        raise UserError(
            f'{folder} holds another training ({found[-1]}{more}), whose files this one would '
            'overwrite. Continue that one with --resume, choose another folder with --work-dir, or '
            f'remove it: rm -r {folder}'
        )
