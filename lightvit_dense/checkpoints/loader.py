"""Loading a checkpoint into a backbone, with a report of what went where."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from .convert import convert
from .io import CheckpointError, load_state_dict
from .resize import resize_parameter

# Parameters that options of the backbone add and that no plain checkpoint holds.
ADDED = ('rel_pos_h', 'rel_pos_w')


def _shorten(names: Sequence[str], limit: int = 5) -> str:
    more = f', ... ({len(names) - limit} more)' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


@dataclass
class LoadReport:
    """What a load did.

    Attributes:
        path: The file, or '<state dict>'.
        source: Kind of checkpoint.
        matched: Parameters taken as they are.
        resized: Parameters taken after a resize, with the old and the new shape.
        missing: Parameters of the model that the checkpoint lacks.
        added: Those among the lacking that the model adds by an option (relative position).
        unexpected: The checkpoint's backbone parameters that the model lacks.
        dropped: What in the checkpoint is no part of a backbone (decoder, teacher, heads).
    """

    path: str
    source: str | None = None
    matched: list[str] = field(default_factory=list)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the report as a short block of text."""
        resized = [f'{n} {tuple(a)} -> {tuple(b)}' for n, (a, b) in self.resized.items()]
        groups = (
            ('matched', self.matched),
            ('resized', resized),
            ('missing', self.missing),
            ('added by the model', self.added),
            ('unexpected', self.unexpected),
            ('dropped', self.dropped),
        )
        lines = [f'Loaded {self.path} ({self.source or "unknown source"}):']
        for title, names in groups:
            listed = f': {_shorten(names)}' if names and title != 'matched' else ''
            lines.append(f'  {title:<18} {len(names):>4}{listed}')
        return '\n'.join(lines)


def _announce(text: str) -> None:
    """Log through mmengine's logger if a run has one, else print."""
    if MMLogger.check_instance_created('mmengine') or MMLogger._instance_dict:
        MMLogger.get_current_instance().info(text)
    else:
        print(text, flush=True)


def _source_grid(state: Mapping[str, Tensor], model: nn.Module) -> tuple[int, int] | None:
    """Tell the grid of a position table that is the model's own, which need not be square."""
    table, grid = state.get('pos_embed'), getattr(model, 'grid_size', None)
    if table is None or table.ndim != 3 or not grid:
        return None
    fits = table.shape[1] - grid[0] * grid[1] in (0, 1)
    return (int(grid[0]), int(grid[1])) if fits else None


def load_backbone(
    model: nn.Module,
    path_or_state: str | os.PathLike | Mapping[str, Tensor],
    strict: bool = False,
    verbose: bool = True,
    source_grid: tuple[int, int] | None = None,
) -> LoadReport:
    """Load a checkpoint of any known source into a backbone.

    Args:
        model: The backbone. ``grid_size`` and ``num_prefix_tokens`` of it, where it has them, say
            how its position table is laid out.
        path_or_state: A file, or tensors by name.
        strict: Whether parameters that are missing (but for those that an option of the model
            adds) or unexpected are an error.
        verbose: Whether to log the report.
        source_grid: (height, width) of the checkpoint's position table in patches; None takes it
            for the model's own or for square.

    Returns:
        The report.

    Raises:
        CheckpointError: If the file cannot be read, nothing in it matches, a shape cannot be
            brought to the model's, or ``strict`` finds a difference. The model is then unchanged.
    """
    if isinstance(path_or_state, Mapping):
        state, report = dict(path_or_state), LoadReport('<state dict>')
    else:
        state, report = load_state_dict(path_or_state), LoadReport(str(path_or_state))
    converted = convert(state)
    report.source, report.dropped = converted.source, converted.dropped
    own = model.state_dict()
    values: dict[str, Tensor] = {}
    grid = getattr(model, 'grid_size', None)
    source_grid = source_grid or _source_grid(converted.state, model)
    for name, tensor in converted.state.items():
        if name not in own:
            report.unexpected.append(name)
            continue
        old, new = tuple(tensor.shape), tuple(own[name].shape)
        if old == new:
            report.matched.append(name)
            values[name] = tensor
            continue
        prefix = getattr(model, 'num_prefix_tokens', 1)
        resized = resize_parameter(name, tensor, new, grid and tuple(grid), prefix, source_grid)
        if resized is None:
            raise CheckpointError(
                f'{report.path}: {name} has shape {old}, the model needs {new}. Build the model '
                'with the sizes of the checkpoint (arch, heads, depth) or take another checkpoint.'
            )
        report.resized[name] = (old, new)
        values[name] = resized
    for name in own:
        if name not in values:
            (report.added if name.rsplit('.', 1)[-1] in ADDED else report.missing).append(name)
    _judge(report, values, own, state, strict)
    with torch.no_grad():
        for name, tensor in values.items():
            own[name].copy_(tensor)
    if verbose:
        _announce(str(report))
    return report


def _judge(
    report: LoadReport,
    values: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    strict: bool,
) -> None:
    """Raise if nothing matched, or if anything differs under ``strict``."""
    if not values:
        raise CheckpointError(
            f'{report.path}: none of its {len(state)} tensors fits the model. It holds '
            f'{_shorten(list(state), 3)}; the model needs {_shorten(list(own), 3)}. '
            'Give a checkpoint of this backbone.'
        )
    if strict and (report.missing or report.unexpected):
        raise CheckpointError(
            f'{report.path}: does not fit exactly. Missing: {_shorten(report.missing) or "none"}; '
            f'unexpected: {_shorten(report.unexpected) or "none"}. Load with strict=False to '
            'accept this.'
        )
