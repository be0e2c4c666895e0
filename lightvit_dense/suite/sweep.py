"""How many leading blocks of a pre-trained network are worth keeping (arXiv 2205.14443, sec. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.tables import to_csv, to_markdown

from .overrides import as_arguments, final_checkpoint
from .runs import Spread, last_metric
from .stages import Stage, content_key, read_record

SCRATCH = 'from scratch'


@dataclass(frozen=True)
class Point:
    """One fine-tuning of the sweep.

    Attributes:
        checkpoint: Name of the pre-trained network; :data:`SCRATCH` for none.
        num_pretrained_blocks: Number of leading blocks taken over; None for none, not even the embedding.
        seed: Seed of the fine-tuning.
    """

    checkpoint: str
    num_pretrained_blocks: int | None
    seed: int

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        start = (
            'scratch'
            if self.num_pretrained_blocks is None
            else f'{self.checkpoint}_reserve-{self.num_pretrained_blocks}'
        )
        return f'{start}_seed-{self.seed}'

    @property
    def title(self) -> str:
        """What is shown of the run."""
        kept = (
            '' if self.num_pretrained_blocks is None else f', {self.num_pretrained_blocks} blocks'
        )
        return f'{self.checkpoint}{kept}, seed {self.seed}'


@dataclass(frozen=True)
class Plan:
    """What a sweep covers.

    Attributes:
        checkpoints: Path by name.
        reserves: Numbers of blocks.
        seeds: Seeds of the fine-tunings.
        scratch: Whether to train from scratch, too.
    """

    checkpoints: Mapping[str, Path]
    reserves: Sequence[int]
    seeds: Sequence[int] = (0,)
    scratch: bool = True

    def points(self) -> list[Point]:
        """Return all runs, seed by seed, so that a sweep cut short has whole lines."""
        found = []
        for seed in self.seeds:
            if self.scratch:
                found.append(Point(SCRATCH, None, seed))
            found += [Point(name, k, seed) for name in self.checkpoints for k in self.reserves]
        return found


def options_of(point: Point, plan: Plan) -> dict[str, Any]:
    """Return the config values that make a run of the sweep."""
    options: dict[str, Any] = {'randomness.seed': point.seed}
    if point.num_pretrained_blocks is None:
        options['model.backbone.init_cfg'] = None
    else:
        options['model.backbone.init_cfg.checkpoint'] = str(plan.checkpoints[point.checkpoint])
        options['model.backbone.init_cfg.num_pretrained_blocks'] = point.num_pretrained_blocks
    return options


def make_stage(
    point: Point,
    work_dir: Path,
    command: Sequence[str],
    options: Mapping[str, Any],
    config: Mapping[str, Any],
    digest: str,
) -> Stage:
    """Return the run of a point.

    Args:
        point: What to run.
        work_dir: Folder of the sweep.
        command: Words that start the training, the config among them.
        options: Config values to override.
        config: The config with them.
        digest: Hash of the checkpoint's content, '' without one.
    """
    folder = work_dir / point.name
    return Stage(
        point.name,
        point.title,
        folder,
        content_key(config, digest),
        [*command, '--work-dir', str(folder), *as_arguments(options)],
        # The options come last and take all that follows.
        resume=['--resume'],
        outputs=[folder / final_checkpoint(config)],
        epochs=config['train_cfg'].get('max_epochs'),
        group='finetune',
    )


def results(plan: Plan, stages: Sequence[Stage], metric: str) -> dict[str, Any]:
    """Return what the runs measured, JSON-able.

    Args:
        plan: What the sweep covers.
        stages: Its runs, done, in the order of the plan's points.
        metric: Name of the metric.
    """
    points = plan.points()
    measured = [last_metric(stage.work_dir, metric) for stage in stages]
    lines: dict[str, list[dict[str, Any]]] = {}
    for name in plan.checkpoints:
        for k in plan.reserves:
            values = tuple(
                value
                for point, value in zip(points, measured, strict=True)
                if (point.checkpoint, point.num_pretrained_blocks) == (name, k)
            )
            lines.setdefault(name, []).append(dict(num_pretrained_blocks=k, **_described(values)))
    scratch = tuple(
        v for p, v in zip(points, measured, strict=True) if p.num_pretrained_blocks is None
    )
    records = {stage.name: read_record(stage) for stage in stages}
    return {
        'metric': metric,
        'seeds': list(plan.seeds),
        'checkpoints': {name: str(path) for name, path in plan.checkpoints.items()},
        'lines': lines,
        'scratch': _described(scratch) if scratch else None,
        'seconds': {name: round(r.seconds, 1) for name, r in records.items() if r},
        'config_hash': {stage.name: stage.key for stage in stages},
    }


def _described(values: tuple[float, ...]) -> dict[str, Any]:
    spread = Spread(values)
    return dict(mean=spread.mean, deviation=spread.deviation, values=list(values))


def rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of the table: a row for each number of blocks."""
    lines = found['lines']
    header = ['blocks kept', *lines]
    table: list[list[object]] = []
    if found['scratch']:
        value = str(Spread(tuple(found['scratch']['values'])))
        table.append([f'none ({SCRATCH})', *[value] * len(lines)])
    for i, entry in enumerate(next(iter(lines.values()))):
        cells = [str(Spread(tuple(line[i]['values']))) for line in lines.values()]
        table.append([entry['num_pretrained_blocks'], *cells])
    return header, table


def markdown(found: Mapping[str, Any]) -> str:
    """Return the table in Markdown with a line on what it shows."""
    count = len(found['seeds'])
    seeds = f', mean ± standard deviation of {count} seeds' if count > 1 else ', one seed'
    words = f'\n{found["metric"]} after fine-tuning{seeds}. 0 keeps the embedding only.\n'
    return to_markdown(*rows(found)) + words


def csv_of_runs(found: Mapping[str, Any]) -> str:
    """Return all runs as comma-separated values."""
    table: list[list[object]] = []
    if found['scratch']:
        values = found['scratch']['values']
        table += [['', '', s, v] for s, v in zip(found['seeds'], values, strict=True)]
    for name, line in found['lines'].items():
        for entry in line:
            pairs = zip(found['seeds'], entry['values'], strict=True)
            table += [[name, entry['num_pretrained_blocks'], seed, value] for seed, value in pairs]
    return to_csv(['checkpoint', 'num_pretrained_blocks', 'seed', found['metric']], table)


def draw(found: Mapping[str, Any]) -> Any:
    """Draw accuracy against the number of blocks: a line a checkpoint, scratch dashed.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from lightvit_dense.visualization import PALETTE

    figure = Figure(figsize=(5.2, 3.6), layout='constrained')
    axes = figure.add_subplot()
    for i, (name, line) in enumerate(found['lines'].items()):
        axes.errorbar(
            [entry['num_pretrained_blocks'] for entry in line],
            [entry['mean'] for entry in line],
            yerr=[entry['deviation'] or 0 for entry in line],
            marker='os^Dv'[i % 5],
            ms=5,
            lw=1.6,
            capsize=3,
            color=PALETTE[i % len(PALETTE)],
            label=name,
        )
    scratch = found['scratch']
    if scratch:
        axes.axhline(scratch['mean'], ls='--', lw=1.4, color='#555', label=SCRATCH)
        if scratch['deviation']:
            low, high = (scratch['mean'] + sign * scratch['deviation'] for sign in (-1, 1))
            axes.axhspan(low, high, color='#555', alpha=0.1, lw=0)
    # A line from scratch that is the lowest or highest must not lie on the frame.
    entries = [entry for line in found['lines'].values() for entry in line]
    entries += [scratch] if scratch else []
    ends = [e['mean'] + sign * (e['deviation'] or 0) for e in entries for sign in (-1, 1)]
    space = 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(min(ends) - space, max(ends) + space)
    axes.set_xlabel('leading blocks kept')
    axes.set_ylabel(found['metric'].replace('accuracy/', '').replace('top1', 'top-1') + ' in %')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)
    return figure


def check_reserves(reserves: Sequence[int], depth: int) -> None:
    """Check numbers of blocks before anything runs.

    Raises:
        UserError: If one is out of range or named twice.
    """
    for k in reserves:
        if not 0 <= k <= depth:
            raise UserError(f'--k {k}: the backbone has {depth} blocks, so it is one of 0..{depth}')
    if len(set(reserves)) != len(reserves):
        raise UserError('--k: a number is named twice')


def default_reserves(depth: int) -> list[int]:
    """Return about seven numbers of blocks from 0 to all."""
    step = max(1, depth // 6)
    return sorted({*range(0, depth, step), depth})
