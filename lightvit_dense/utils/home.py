"""Where the configs and the tools are: in a clone of the source, or in an installed package."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / '.mim'  # a wheel's, by OpenMMLab's convention; a clone has none
COMMANDS = {
    'new': 'tools/new_config.py',
    'train': 'tools/train.py',
    'test': 'tools/test.py',
    'infer': 'tools/infer.py',
    'check': 'tools/dataset_converters/check_dataset.py',
    'convert': 'tools/model_converters/convert_checkpoint.py',
    'track': 'tracking/tools/track_video.py',
    'benchmark': 'tools/run_benchmark.py',
    'export': 'tools/deploy/export.py',
    'doctor': 'tools/doctor.py',
    'speed': 'tools/benchmark/run.py',
}
"""Tools by the subcommands of ``lightvit``; the others have the names of their files."""
_TOOL = re.compile(r'(?<![\w./])(?:python )?(tools/[\w/]+\.py)')


def home() -> Path:
    """Return the folder that has ``configs/`` and ``tools/``."""
    return SHIPPED if SHIPPED.is_dir() else PACKAGE.parent


def project_dir() -> Path:
    """Return the folder of ``work_dirs/`` and ``data/``: the clone, else the current folder."""
    return Path.cwd() if SHIPPED.is_dir() else PACKAGE.parent


def find_file(path: str | Path, root: str | Path = '.') -> Path:
    """Return a file below ``root``; if it is absent, that of an installed package."""
    own, shipped = Path(root) / path, SHIPPED / path
    return shipped if shipped.is_file() and not own.exists() else own


def tools() -> dict[str, Path]:
    """Return the tools by the subcommands of ``lightvit``, those of the table first."""
    folders = {'tracking': PACKAGE.parent}
    known = {w: folders.get(t.split('/')[0], home()) / t for w, t in COMMANDS.items()}
    files = [*home().glob('tools/**/*.py'), *PACKAGE.parent.glob('tracking/tools/*.py')]
    others = {file.stem: file for file in sorted(files) if file not in known.values()}
    return {
        word: file
        for word, file in (known | others).items()
        if file.is_file() and '\ndef main(' in file.read_text(encoding='utf-8')
    }


def installed_names(text: str) -> str:
    """Return a message with the names of tools in an installed package: 'lightvit train'."""
    if not SHIPPED.is_dir():
        return text
    words = {tool: word for word, tool in COMMANDS.items()}
    return _TOOL.sub(lambda found: f'lightvit {words.get(found[1], Path(found[1]).stem)}', text)
