"""All processes of a job have the same code, config and checkpoint, or all of them end."""

import hashlib
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

import lightvit_dense
from lightvit_dense.compat.config_environment import read_variable
from lightvit_dense.engine.config_changes import list_settings
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import sha256
from lightvit_dense.utils.ranks import from_rank_zero, together
from lightvit_dense.utils.shipped import locate


def require_same_run(cfg: Config) -> None:
    """Compare code and config with rank 0's; a UserError names rank, host and setting."""
    facts, digest = {'torch': str(torch.__version__)}, hashlib.sha256()
    root = Path(lightvit_dense.__file__).parents[1]
    for path in sorted([*root.glob('lightvit_dense/**/*.py'), *root.glob('tracking/**/*.py')]):
        digest.update(path.read_bytes())
    facts['the code'] = digest.hexdigest()[:12]
    for key, value in list_settings(cfg.to_dict()):
        facts[key] = repr(value)
        for name in ('LIGHTVIT_DATA', 'LIGHTVIT_CHECKPOINTS'):  # may differ among machines
            facts[key] = facts[key].replace(read_variable(name) or f'${name}', f'${name}')
    _require_same(facts)


def require_same_checkpoint(cfg: Config) -> None:
    """Compare the file that ``load_from`` names with rank 0's."""
    path = str(cfg.get('load_from') or '')
    if path and '://' not in path and get_world_size() > 1:
        file = locate(path)
        _require_same(together(lambda: {path: sha256(file)[:12] if file.is_file() else 'missing'}))


def _require_same(facts: dict[str, str]) -> None:
    """Raise on all processes where what one knows is not what rank 0 knows."""
    first = from_rank_zero(lambda: facts)

    def compare() -> None:
        keys = [key for key in {**first, **facts} if facts.get(key) != first.get(key)]
        if keys:
            told = [f'{key} is {facts.get(key)}, on rank 0 {first.get(key)}' for key in keys[:5]]
            raise UserError(
                f'{"; ".join(told)}. All processes need the same code, config and checkpoint: '
                'share their folder among the machines, or copy it.'
            )

    together(compare)
