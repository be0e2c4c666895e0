"""The card of an exported file: what it is, and what was measured of it."""

import json
from pathlib import Path

from lightvit_dense_runtime import open_model

from ..utils.io import atomic_write, sha256
from ..utils.tables import to_markdown
from .verify import Verification


def write_card(path: Path, command: str, found: Verification | None = None) -> Path:
    """Write FILE.md beside a file that ``command`` exported; *not run* stands for no ``found``."""
    files = [path, *([path.with_suffix('.bin')] if path.suffix == '.xml' else [])]
    facts = [
        (file.name, f'{file.stat().st_size / 2**20:.2f} MiB, sha256 `{sha256(file)}`')
        for file in files
    ]
    facts += [(key, f'`{json.dumps(value)}`') for key, value in open_model(path).metadata.items()]
    lines = [f'# {path.name}\n', to_markdown(('', 'value'), facts), '## Metrics\n']
    lines += ['*not run*\n'] if found is None else _measured(found)
    lines += ['## Command\n', f'```bash\n{command}\n```\n']
    card = Path(f'{path}.md')
    atomic_write(card, '\n'.join(lines).encode())
    return card


def _measured(found: Verification) -> list[str]:
    """Return the lines about metrics and outputs."""
    scores = [
        (name, f'{was:.2f}', f'{found.after[name]:.2f}', f'{found.after[name] - was:+.2f}')
        for name, was in found.before.items()
    ]
    gaps = [
        (name, 'other shapes' if gap is None else f'{gap:.3g}')
        for name, gap in found.differences.items()
    ]
    whole = 'all of the test data' if found.limit is None else f'the first {found.limit} of them'
    verdict = 'holds' if found.passed else '**is exceeded: do not use this file**'
    return [
        f'In percent, on {whole}. The bound of a drop, {found.bound:g} points, {verdict}.\n',
        to_markdown(('metric', 'checkpoint', 'file', 'change'), scores),
        to_markdown(('output', 'largest difference, of four inputs'), gaps),
    ]
