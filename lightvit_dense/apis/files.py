"""Where the weights and the config of a name are."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.utils.home import home
from lightvit_dense.utils.shipped import locate, shipped_weights

ENVIRONMENT = 'LIGHTVIT_CHECKPOINTS'
SUFFIXES = ('.safetensors', '.pth')
EXPORT = 'backbone.safetensors'
_FILES = ('.bin', '.ckpt', '.pkl', '.pt', '.pyth', '.tar', *SUFFIXES)


@dataclass(frozen=True)
class Found:
    """Files that a name stands for."""

    weights: list[Path]  # files that may be loaded, the best first
    config: Path | None = None  # if the name is that of a config
    looked: list[str] = field(default_factory=list)  # where weights were looked for


def find(name: str | os.PathLike) -> Found:
    """Find what a name stands for.

    Args:
        name: A checkpoint; a folder of a run, or of Hugging Face's; the name of shipped weights,
            e.g. 'dmae-dinov2_toyworld'; a config; or the name of a config of ours, e.g.
            'ostrack256_dmae_tiny' or 'lasot/ostrack256_dmae_tiny'. Weights of a config are
            ``$LIGHTVIT_CHECKPOINTS/<name>.safetensors`` or ``.pth``, there also below the folder of
            its group, or those in ``work_dirs/<name>/``.
    """
    path = locate(name)
    if path.is_dir():
        weights = in_folder(path)
        if not weights:
            raise UserError(
                f'{path}: has no weights; looked for best_*.pth, last_checkpoint, iter_*.pth, '
                f'epoch_*.pth, {EXPORT} and model.safetensors'
            )
        return Found(weights)
    if path.is_file() and path.suffix != '.py':
        return Found([path])
    if not path.is_file() and path.suffix in _FILES:
        files = sorted(f.name for f in path.parent.glob('*') if f.suffix in SUFFIXES)
        beside = f'; {path.parent} has {", ".join(files[:8])}' if files else ''
        raise UserError(f'{path}: does not exist{beside}')
    config = path if path.is_file() else find_config(str(name))
    weights, looked = _weights_of(config)
    return Found(weights, config, looked)


def in_folder(folder: Path) -> list[Path]:
    """List the weights of a run: the newest best, the last, by falling number, exported ones."""
    found = sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime, reverse=True)
    last = folder / 'last_checkpoint'
    if last.is_file():
        # The file has an absolute path; the folder may have moved since.
        found.append(folder / Path(last.read_text().strip()).name)
    numbered = [f for f in folder.glob('*.pth') if re.fullmatch(r'(iter|epoch)_\d+', f.stem)]
    found += sorted(numbered, key=lambda file: int(file.stem.split('_')[1]), reverse=True)
    found += [folder / EXPORT, folder / 'model.safetensors']
    return list(dict.fromkeys(file for file in found if file.is_file()))


def find_config(name: str) -> Path:
    """Find a config by the end of its path, in ``configs/`` here, then in the package's."""
    wanted = Path(name.removesuffix('.py')).as_posix().removeprefix('configs/')
    folders = {
        folder.resolve(): folder
        for folder in (home() / 'configs', Path('configs'))
        if (folder / '_base_').is_dir()
    }
    known = set(shipped_weights())
    for folder in reversed(folders.values()):
        paths = {
            file.relative_to(folder).with_suffix('').as_posix(): file
            for file in folder.glob('*/**/*.py')
            if '_base_' not in file.parts and file.parts[len(folder.parts)] != 'suites'
        }
        found = [p for p in paths if p == wanted] or [p for p in paths if p.endswith('/' + wanted)]
        if len(found) > 1:
            raise UserError(f'{name!r} is the name of several: give one of {", ".join(found)}')
        if found:
            return paths[found[0]]
        known |= {*paths, *(p.rpartition('/')[2] for p in paths)}
    places = ' or '.join(map(str, reversed(folders.values())))
    raise UserError(
        f'{name!r} is neither a file, nor shipped weights, nor a config below {places}.'
        f'{did_you_mean(wanted, known)}'
    )


def _weights_of(config: Path) -> tuple[list[Path], list[str]]:
    """Return the weights of a config, the best first, and the places that were looked at."""
    stem, group = config.stem, config.parent.name
    found, looked = [], []
    given = os.environ.get(ENVIRONMENT)
    if given:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise UserError(f'${ENVIRONMENT}: {folder} is no folder')
        for name in (f'{group}/{stem}', stem):
            found += [path for s in SUFFIXES if (path := folder / f'{name}{s}').is_file()]
            looked.append(f'{folder / name}.safetensors or .pth')
    else:
        looked.append(f'${ENVIRONMENT}, which is not set')
    run = Path('work_dirs') / stem
    looked.append(f'{run}/')
    return found + (in_folder(run) if run.is_dir() else []), looked
