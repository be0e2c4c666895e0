"""Loading a checkpoint into a backbone, with a report of what went where."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger, print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lightvit_dense.errors import CheckpointError, about_file
from lightvit_dense.utils.finite import non_finite_entries
from lightvit_dense.utils.layer_depth import get_layer_id
from lightvit_dense.utils.shipped import locate

from .containers import Opened, open_checkpoint, unwrap
from .convert import convert
from .flax import flax_heads
from .resize import resize_parameter

# Parameters that options of the backbone add and that no plain checkpoint holds.
ADDED = ('rel_pos_h', 'rel_pos_w', 'relative_position_bias_table', 'gamma')
# Parameters without which a model computes something else.
LOST = re.compile(r'rel_pos|relative_position_bias|reg_token|dist_token|[qk]_norm\.|\.ls[12]\.')
NO_FILE = '<state dict>'


def _shorten(names: Sequence[str], limit: int = 5) -> str:
    more = f', ... ({len(names) - limit} more)' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


@dataclass
class LoadReport:
    """What a load did."""

    path: str
    source: str | None = None  # kind of checkpoint
    matched: list[str] = field(default_factory=list)
    # with the old and the new shape
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    # missing, but added by an option of the model: relative position, LayerScale that starts at 1
    added: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)  # decoder, teacher, heads
    random: list[str] = field(default_factory=list)  # not asked for: as initialised
    notes: list[str] = field(default_factory=list)  # what was done to values or is lost
    container: str = ''  # keys of the file that were opened
    others: list[str] = field(default_factory=list)  # further keys that hold tensors

    @property
    def changes(self) -> list[str]:
        """What was done to values, a line each: the notes, and what was resized."""
        return [*self.notes, *(f'resized {line}' for line in self._resized())]

    def _resized(self) -> list[str]:
        return [f'{n} {tuple(a)} -> {tuple(b)}' for n, (a, b) in self.resized.items()]

    def __str__(self) -> str:
        groups = {
            'matched': self.matched,
            'resized': self._resized(),
            'missing': self.missing,
            'added by the model': self.added,
            'unexpected': self.unexpected,
            'dropped': self.dropped,
        }
        if self.random:
            groups['as initialised'] = self.random
        inside = f", '{self.container}'" if self.container else ''
        lines = [f'Loaded {self.path} ({self.source or "unknown source"}{inside}):']
        for title, names in groups.items():
            listed = f': {_shorten(names)}' if names and title != 'matched' else ''
            lines.append(f'  {title:<18} {len(names):>4}{listed}')
        lines += [f'  note: {note}' for note in self.notes]
        if self.others:
            lines.append(f'  note: the file also holds {_shorten(self.others)}, not loaded')
        return '\n'.join(lines)


@torch.no_grad()
def fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into parameters and buffers by their names."""
    own = model.state_dict()
    for name, tensor in values.items():
        own[name].copy_(tensor)


def announce(text: str) -> None:
    """Log through mmengine's logger if a run has one, else print."""
    print_log(text, 'current' if MMLogger._instance_dict else None)


def count_blocks(names: Iterable[str]) -> int:
    """Count the blocks of a backbone; a block of queries and keys only does not count."""
    whole = (re.match(r'(?:layers\.\d+\.)?blocks\.\d+\.mlp\.', name) for name in names)
    return len({match[0] for match in whole if match})


def _check_sizes(
    report: LoadReport, state: Mapping[str, Tensor], model: nn.Module, any_depth: bool
) -> None:
    """Raise if the checkpoint has another depth, or is known to have other heads."""
    found, own = count_blocks(state), count_blocks(model.state_dict())
    if found and own and found != own and not any_depth:
        raise CheckpointError(
            f'{report.path}: has {found} blocks, the model {own}. Build the model with this depth '
            '(arch) or take a checkpoint of the right size. any_depth=True loads what they share.'
        )
    heads = None if report.path == NO_FILE else known_heads(locate(report.path))
    own_heads = look_up(getattr(model, 'arch', None), 'num_heads')
    if heads is not None and own_heads is not None and heads != own_heads:
        raise CheckpointError(
            f'{report.path}: was trained with {heads} heads, the model has {own_heads}. The shapes '
            'are the same, what they compute is not: build the model with '
            f'num_heads={heads} (arch).'
        )


def _leading_blocks(
    report: LoadReport, state: dict[str, Tensor], model: nn.Module, count: int
) -> dict[str, Tensor]:
    """Return the values of the embedding and the first blocks; record what stays at random."""
    own, depths = model.state_dict(), getattr(model, 'depths', ())
    depth, found = count_blocks(own), count_blocks(state)
    if not 0 <= count <= depth:
        raise CheckpointError(
            f'num_pretrained_blocks={count} is out of range: the model has {depth} blocks, so give '
            f'0 (the embedding alone) to {depth} (everything)'
        )
    if found < count:
        raise CheckpointError(
            f'{report.path}: has {found} blocks, num_pretrained_blocks={count} asks for more: give '
            f'0 to {found}'
        )
    if count == depth:
        return state
    report.random = [name for name in own if get_layer_id(name, depth, depths) > count]
    report.notes.append(
        f'num_pretrained_blocks={count}: the embedding and the first {count} of {depth} blocks '
        'were taken, all above stays as initialised'
    )
    return {n: t for n, t in state.items() if get_layer_id(n, depth, depths) <= count}


def _skip(
    report: LoadReport, state: dict[str, Tensor], model: nn.Module, pattern: str
) -> dict[str, Tensor]:
    """Return the values of what the pattern does not name; record what stays as initialised."""
    try:
        skipped = [name for name in model.state_dict() if re.search(pattern, name)]
    except re.error as error:
        raise CheckpointError(f'skip={pattern!r} is no regular expression: {error}') from error
    if len(skipped) in (0, len(model.state_dict())):
        raise CheckpointError(
            f'skip={pattern!r} names {"all" if skipped else "nothing"} of the model, whose '
            'parameters are called like '
            f'{_shorten(list(model.state_dict()), 3)}'
        )
    report.random += skipped
    report.notes.append(f'skip={pattern!r}: {_shorten(skipped, 2)} stay as initialised')
    return {name: tensor for name, tensor in state.items() if name not in skipped}


def look_up(content: Any, *keys: str) -> Any:
    """Follow keys into dicts; None where there is no such value."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def read_json(path: Path) -> Any:
    """Return what a .json file holds, None if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def known_heads(path: Path) -> int | None:
    """Tell the heads (of the first stage) by the .json beside a checkpoint, or its header."""
    found = [look_up(read_json(path.with_suffix('.json')), 'architecture', 'arch', 'num_heads')]
    if path.name in ('model.safetensors', 'pytorch_model.bin'):  # Hugging Face's
        config = read_json(path.parent / 'config.json')
        stages = look_up(config, 'num_heads')
        found += [look_up(config, 'num_attention_heads'), stages]
        found += stages[:1] if isinstance(stages, list) else []  # Hiera's, stage by stage
    if path.suffix == '.npz':
        found.append(flax_heads(path))
    elif path.suffix == '.safetensors':
        try:
            with safe_open(path, framework='pt') as file:
                header = json.loads((file.metadata() or {}).get('architecture', '{}'))
            found.append(look_up(header, 'arch', 'num_heads'))
        except (SafetensorError, OSError, ValueError):
            pass  # reading the tensors says what is wrong
    return next((heads for heads in found if isinstance(heads, int)), None)


def _fit(report: LoadReport, state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the model's new values, resized where need be, and sort all names into the report."""
    own, values = model.state_dict(), dict(state)
    grid = tuple(getattr(model, 'grid_size', None) or ()) or None
    # A position table of the model's own grid, which need not be square.
    table, source_grid = state.get('pos_embed'), None
    if table is not None and table.ndim == 3 and grid:
        source_grid = grid if table.shape[1] - grid[0] * grid[1] in (0, 1) else None
    # Rows of the checkpoint's position table that may belong to no patch, likeliest first.
    cls, extra = int('cls_token' in state), ('dist_token', 'reg_token')
    rows = (cls + sum(state[name].shape[1] for name in extra if name in state), cls, 0, 1)
    # A model of several images has a table for each; the only one of a checkpoint fills them all.
    tables: Mapping[str, tuple[int, int]] = getattr(model, 'position_tables', {})
    lacking = sorted(name for name in tables if name not in state and 'pos_embed' in state)
    if lacking:
        values |= {name: state['pos_embed'] for name in lacking}
        report.notes.append(f'{", ".join(lacking)} was filled from pos_embed')
    report.unexpected += [name for name in values if name not in own]
    for name in report.unexpected:
        del values[name]
    for name, tensor in values.items():
        old, new = tuple(tensor.shape), tuple(own[name].shape)
        if old == new:
            report.matched.append(name)
            continue
        of_another_image = name in tables and name not in ('pos_embed', *lacking)
        resized = resize_parameter(
            name,
            tensor,
            new,
            tables.get(name, grid),
            getattr(model, 'num_prefix_tokens', 1),
            None if of_another_image else source_grid,
            rows,
        )
        if resized is None:
            raise CheckpointError(
                f'{report.path}: {name} has shape {old}, the model needs {new}. Build the model '
                'with the sizes of the checkpoint (arch, heads, depth) or take another checkpoint.'
            )
        report.resized[name] = (old, new)
        values[name] = resized
    for name in own:
        if name not in values and name not in report.random:
            last = name.rpartition('.')[2]
            # LayerScales count as added if they compute the same as none.
            added = last in ADDED and (last != 'gamma' or bool((own[name] == 1).all()))
            (report.added if added else report.missing).append(name)
    lost = [name for name in report.unexpected if LOST.search(name)]
    if lost:
        report.notes.append(
            f'the model lacks {_shorten(lost, 2)}: its outputs differ from those of the checkpoint'
        )
    return values


def check_finite(path: str | os.PathLike, state: Mapping[str, Any], model: nn.Module) -> None:
    """Raise if a model would be filled with NaN or infinite values, in its own precision."""
    own = model.state_dict()
    named = ((str(name).removeprefix('module.'), value) for name, value in state.items())
    values = {n: v.to(own[n].dtype) for n, v in named if n in own and isinstance(v, Tensor)}
    bad = non_finite_entries(values, {name for name, _ in model.named_parameters()})
    if bad:
        raise CheckpointError(
            f'{path}: {len(bad)} of its tensors hold NaN or infinite values ({_shorten(bad)}). Its '
            'training diverged, or the file is damaged: take an earlier or another checkpoint.'
        )


def open_source(
    path_or_state: str | os.PathLike | Mapping[str, Tensor], key: str | None
) -> tuple[Opened, LoadReport]:
    """Return tensors and a report that says where they come from."""
    if isinstance(path_or_state, Mapping):
        opened, report = unwrap(path_or_state, key), LoadReport(NO_FILE)
    else:
        opened, report = open_checkpoint(path_or_state, key), LoadReport(str(path_or_state))
    report.container, report.others = opened.container, opened.others
    return opened, report


def load_backbone(
    model: nn.Module,
    path_or_state: str | os.PathLike | Mapping[str, Tensor],
    strict: bool = False,
    verbose: bool = True,
    key: str | None = None,
    any_depth: bool = False,
    num_pretrained_blocks: int | None = None,
    skip: str | None = None,
) -> LoadReport:
    """Load a checkpoint of any known source into a backbone; return the report.

    Args:
        model: The backbone. ``grid_size`` and ``num_prefix_tokens`` of it, where it has them, say
            how its position table is laid out.
        path_or_state: A file, or tensors by name.
        strict: Whether parameters that are missing (but for those that an option of the model
            adds) or unexpected are an error.
        verbose: Whether to log the report.
        key: Which network to take where a file has several: a container ('student',
            'ema_state_dict') or the first part of the names ('momentum_encoder', 'ema_model').
        any_depth: Whether a checkpoint of more or fewer blocks may be loaded as far as it goes.
        num_pretrained_blocks: How many leading blocks to load; the blocks above and the final norm
            stay as initialised. 0 loads patch embedding, positions and class token only; ``None``
            or the depth of the model loads all.
        skip: Regular expression: parameters in whose names it is found stay as initialised.

    Raises:
        CheckpointError: If the file cannot be read, nothing in it matches, depth, known heads or a
            shape cannot be brought to the model's, a value is NaN or infinite,
            ``num_pretrained_blocks`` is out of range, ``skip`` names nothing, or ``strict`` finds a
            difference. The model is then unchanged.
    """
    opened, report = open_source(path_or_state, key)
    own = model.state_dict()
    with about_file(report.path):
        converted = convert(opened.state, own)
    report.source, report.dropped = converted.source, converted.dropped
    report.notes += converted.notes
    if not any(name in own for name in converted.state):
        raise CheckpointError(
            f'{report.path}: none of its {len(opened.state)} tensors fits the model. It holds '
            f'{_shorten(list(opened.state), 3)}; the model needs {_shorten(list(own), 3)}. '
            'Give a checkpoint of this backbone.'
        )
    state = converted.state
    _check_sizes(report, state, model, any_depth)
    if num_pretrained_blocks is not None:
        state = _leading_blocks(report, state, model, num_pretrained_blocks)
    if skip is not None:
        state = _skip(report, state, model, skip)
    values = _fit(report, state, model)
    if strict and (report.missing or report.unexpected):
        raise CheckpointError(
            f'{report.path}: does not fit exactly. Missing: {_shorten(report.missing) or "none"}; '
            f'unexpected: {_shorten(report.unexpected) or "none"}. Load with strict=False to '
            'accept this.'
        )
    check_finite(report.path, values, model)
    fill(model, values)
    if verbose:
        announce(str(report))
    return report
