"""The small study: does pre-training help where all of it fits on two cores?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightvit_dense.utils.tables import to_csv, to_markdown

from .runs import Spread

ReadConfig = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Reads a config file with overrides."""

INITS = {'scratch': 'from scratch', 'mae': 'MAE', 'dmae': 'D-MAE', 'd2mae': 'D²-MAE'}
DISTILLED = ('dmae', 'd2mae')


@dataclass(frozen=True)
class Setting:
    """A set to learn, and how many of its labels there are.

    Attributes:
        name: Short name.
        title: For tables.
        folder: ImageNet-like folder below the data root.
        classes: Number of classes.
        fraction: Share of the labels, balanced by class; pre-training sees all images.
        pretrain: Iterations of pre-training; None for the configs', which suit Fashion-MNIST.
    """

    name: str
    title: str
    folder: str
    classes: int = 10
    fraction: float = 1.0
    pretrain: int | None = 600

    @property
    def images(self) -> str:
        """Name of the images, which settings of one set share."""
        return self.folder.rstrip('/').replace('/', '_')


SETTINGS = (
    Setting('digits', 'digits, 10% of labels', 'small/digits', fraction=0.1),
    Setting('opencv-digits', 'OpenCV digits, 5% of labels', 'small/opencv-digits', fraction=0.05),
    Setting(
        'fashion-1',
        'Fashion-MNIST, 1% of labels',
        'small/fashion-mnist',
        fraction=0.01,
        pretrain=None,
    ),
    Setting('fashion', 'Fashion-MNIST', 'small/fashion-mnist', pretrain=None),
    Setting('toyworld', 'toy world objects', 'toyworld/imagenet', classes=6),
)


def rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of the table: top-1 by setting and initialisation."""
    inits = list(results['settings'][0]['inits'])
    header = ['top-1 in %', *(INITS[init] for init in inits)]
    gained = [init for init in inits if 'gain' in results['settings'][0]['inits'][init]]
    header += [f'{INITS[init]} - scratch' for init in gained]
    table: list[list[object]] = []
    for entry in results['settings']:
        values = entry['inits']
        row: list[object] = [entry['title']]
        row += [str(Spread(tuple(values[init]['values']))) for init in inits]
        for init in gained:
            gain, deviation = values[init]['gain'], values[init]['gain_deviation']
            row.append(f'{gain:+.1f}' + ('' if deviation is None else f' ± {deviation:.1f}'))
        table.append(row)
    return header, table


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table in Markdown with a line on what it shows."""
    count = len(results['seeds'])
    words = (
        f'\nMean ± standard deviation of {count} seeds, on the validation images. The differences '
        'are taken seed by seed, with the same labelled images on both sides. Recipe, learning '
        'rate and iterations of fine-tuning are the same for all and were fixed beforehand; each '
        'set was pre-trained once.\n'
        if count > 1
        else '\nOne seed, on the validation images.\n'
    )
    return to_markdown(*rows(results)) + words


def csv_of_runs(results: Mapping[str, Any]) -> str:
    """Return all runs as comma-separated values."""
    header = ['setting', 'init', 'seed', 'top1']
    return to_csv(header, [[run[key] for key in header] for run in results['runs']])


def draw(results: Mapping[str, Any]) -> Any:
    """Draw mean and deviation of every setting, one colour an initialisation.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure

    from lightvit_dense.visualization.curves import PALETTE

    settings = results['settings']
    figure = Figure(figsize=(1.6 + 1.7 * len(settings), 3.6), layout='constrained')
    axes = figure.add_subplot()
    inits = list(settings[0]['inits'])
    for i, init in enumerate(inits):
        shift = 0.18 * (i - (len(inits) - 1) / 2)
        found = [entry['inits'][init] for entry in settings]
        for place, values in enumerate(v['values'] for v in found):
            x = [place + shift] * len(values)
            axes.plot(x, values, '.', color=PALETTE[i], alpha=0.35, ms=6, mew=0)
        axes.errorbar(
            [place + shift for place in range(len(settings))],
            [v['mean'] for v in found],
            yerr=[v['deviation'] or 0 for v in found],
            fmt='o',
            ms=6,
            capsize=4,
            lw=1.4,
            color=PALETTE[i],
            label=INITS[init],
        )
    titles = [entry['title'].replace(', ', ',\n') for entry in settings]
    axes.set_xticks(range(len(settings)), titles, fontsize=9)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_ylabel('top-1 in %')
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.2)
    axes.legend(frameon=False, loc='best')
    count = len(results['seeds'])
    words = 'one seed' if count == 1 else f'mean ± standard deviation of {count} seeds'
    axes.set_title(words, fontsize=9, loc='left')
    return figure
