"""Where the weights and the config of a name are."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import lightvit_dense
from lightvit_dense.errors import UserError, did_you_mean

ENVIRONMENT = 'LIGHTVIT_CHECKPOINTS'
SUFFIXES = ('.safetensors', '.pth')
EXPORT = 'backbone.safetensors'
_FILES = ('.bin', '.ckpt', '.pkl', '.pt', '.pyth', '.tar', *SUFFIXES)


@dataclass(frozen=True)
class Found:
    """Files that a name stands for.

    Attributes:
        weights: Files that may be loaded, the best first.
        config: The config, if the name is that of a config.
        looked: Where weights were looked for.
    """

    weights: list[Path]
    config: Path | None = None
    looked: list[str] = field(default_factory=list)


def find(name: str | os.PathLike) -> Found:
    """Find what a name stands for.

    Args:
        name: A checkpoint; a folder of a run, or of Hugging Face's; a config; or the name of a
            config of ours, e.g. 'ostrack256_dmae_tiny' or 'lasot/ostrack256_dmae_tiny'. Weights of
            a config are ``$LIGHTVIT_CHECKPOINTS/<name>.safetensors`` or ``.pth``, there also below
            the folder of its group, or those in ``work_dirs/<name>/``.

    Raises:
        UserError: If there is no such file or name, several configs have the name, or the folder
            has no weights.
    """
    path = Path(name).expanduser()
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
        raise UserError(f'{path}: does not exist{_beside(path)}')
    config = path if path.is_file() else find_config(str(name))
    weights, looked = weights_of(config)
    return Found(weights, config, looked)


def _beside(path: Path) -> str:
    files = [f.name for f in path.parent.glob('*') if f.suffix in SUFFIXES]
    return f'; {path.parent} has {", ".join(sorted(files)[:8])}' if files else ''


def in_folder(folder: Path) -> list[Path]:
    """List the weights in a folder of a run, the best first.

    First comes the best of the validation (the newest of several), then what ``last_checkpoint``
    names, the highest iteration or epoch, the exported backbone, Hugging Face's model.
    """
    found = sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime, reverse=True)
    last = folder / 'last_checkpoint'
    if last.is_file():
        # The file has an absolute path; the folder may have moved since.
        found.append(folder / Path(last.read_text().strip()).name)
    numbered = [f for f in folder.glob('*.pth') if re.fullmatch(r'(iter|epoch)_\d+', f.stem)]
    found += sorted(numbered, key=lambda file: int(file.stem.split('_')[1]), reverse=True)
    found += [folder / EXPORT, folder / 'model.safetensors']
    return list(dict.fromkeys(file for file in found if file.is_file()))


def config_folders() -> list[Path]:
    """List the folders of configs: here, and that of the source code, which a wheel lacks."""
    source = Path(lightvit_dense.__file__).resolve().parents[1] / 'configs'
    folders = [folder for folder in (Path('configs'), source) if (folder / '_base_').is_dir()]
    return folders[:1] if len({folder.resolve() for folder in folders}) == 1 else folders


def find_config(name: str) -> Path:
    """Find a config by its name.

    Args:
        name: Its file name, the end of its path, or its path below the configs; '.py' and a leading
            'configs/' may be there.

    Raises:
        UserError: If there are none of this name, or several.
    """
    wanted = Path(name.removesuffix('.py')).as_posix().removeprefix('configs/')
    folders = config_folders()
    if not folders:
        raise UserError(
            f'{name!r} is no file, and there is no folder configs/ to look it up in: it is not '
            'part of an installed package. Work in a checkout of the source, or give the files: '
            "load('CHECKPOINT', config='CONFIG.py')"
        )
    known: set[str] = set()
    for folder in folders:
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
    raise UserError(
        f'{name!r} is neither a file nor a config below {" or ".join(map(str, folders))}.'
        f'{did_you_mean(wanted, known)}'
    )


def weights_of(config: Path) -> tuple[list[Path], list[str]]:
    """Look for the weights of a config.

    Returns:
        The files, the best first, and the places that were looked at.

    Raises:
        UserError: If ``$LIGHTVIT_CHECKPOINTS`` is no folder.
    """
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
