"""The card of an exported file: what it is, and what was measured of it."""

import json
from pathlib import Path
from typing import Any

from ..utils.io import atomic_write, sha256
from ..utils.tables import to_markdown
from .verify import Verification


def files_of(path: str | Path) -> list[Path]:
    """Return an exported file and, of OpenVINO's, the weights beside it."""
    path = Path(path)
    return [path, *([path.with_suffix('.bin')] if path.suffix == '.xml' else [])]


def write_card(
    path: str | Path, about: dict[str, Any], command: str, found: Verification | None = None
) -> Path:
    """Write FILE.md beside an exported file; returns its path.

    Args:
        path: The exported file.
        about: Its metadata.
        command: The command that wrote it.
        found: What was measured; the card says *not run* for None.
    """
    facts = [
        (file.name, f'{file.stat().st_size / 2**20:.2f} MiB, sha256 `{sha256(file)}`')
        for file in files_of(path)
    ]
    facts += [(key, f'`{json.dumps(value)}`') for key, value in about.items()]
    lines = [f'# {Path(path).name}\n', to_markdown(('', 'value'), facts), '## Metrics\n']
    lines += ['*not run*\n'] if found is None else _measured(found)
    lines += ['## Command\n', f'```bash\n{command}\n```\n']
    card = Path(f'{path}.md')
    atomic_write(card, '\n'.join(lines).encode())
    return card


def _measured(found: Verification) -> list[str]:
    """Return the lines about metrics and outputs."""
    scores = [
        (name, f'{value:.2f}', f'{found.after[name]:.2f}', f'{-found.drops[name]:+.2f}')
        for name, value in found.before.items()
    ]
    rows = [
        (name, 'other number of objects' if gap is None else f'{gap:.3g}')
        for name, gap in found.differences.items()
    ]
    whole = 'all of the test data' if found.limit is None else f'the first {found.limit} of them'
    verdict = 'holds' if found.passed else '**is exceeded: do not use this file**'
    return [
        f'In percent, on {whole}. The bound of a drop, {found.bound:g} points, {verdict}.\n',
        to_markdown(('metric', 'checkpoint', 'file', 'change'), scores),
        to_markdown(('output', 'largest difference on four images'), rows),
    ]
