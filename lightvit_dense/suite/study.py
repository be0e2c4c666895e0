"""The small study: does pre-training help where all of it fits on two cores?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightvit_dense.utils.tables import to_csv, to_markdown

from .overrides import as_arguments, final_checkpoint
from .runs import Spread, last_metric, paired
from .stages import Stage, content_key, read_record

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


@dataclass(frozen=True)
class Scale:
    """How long everything trains, in iterations.

    Attributes:
        pretrain: Of each pre-training; None for what the settings say.
        finetune: Of each fine-tuning; None for the configs'.
    """

    pretrain: int | None = None
    finetune: int | None = None


class Study:
    """Lays out the runs: the pre-trainings of every set, then all fine-tunings.

    The initialisations share recipe, number of iterations, seeds and, seed by seed, the
    labelled images. A set is pre-trained once, with seed 0.

    Args:
        settings: What to learn.
        seeds: Seeds of the fine-tunings.
        work_dir: Where runs and results go.
        data_root: Root of the data.
        read_config: Reads a config.
        command: Words that start a training; config and options follow.
        inits: Which of :data:`INITS`.
        scale: How long everything trains.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        seeds: Sequence[int],
        work_dir: Path,
        data_root: Path,
        read_config: ReadConfig,
        command: Sequence[str],
        inits: Sequence[str] = tuple(INITS),
        scale: Scale | None = None,
    ) -> None:
        self.settings, self.seeds, self.inits = tuple(settings), tuple(seeds), tuple(inits)
        self.work_dir, self.data_root = work_dir, data_root
        self.read_config, self.command = read_config, tuple(command)
        self.scale = scale or Scale()
        self.keys: dict[str, str] = {}
        self.stages = [*self._pretrainings(), *self._finetunings()]

    def _pretrainings(self) -> list[Stage]:
        """Return the runs without labels; teachers come first, because a student waits for one."""
        folders = {setting.images: setting for setting in self.settings}
        methods = ['mae_teacher'] if set(DISTILLED) & set(self.inits) else []
        methods += [method for method in ('mae', *DISTILLED) if method in self.inits]
        return [self._pretraining(s, method) for method in methods for s in folders.values()]

    def _pretraining(self, setting: Setting, method: str) -> Stage:
        options: dict[str, Any] = {
            'train_dataloader.dataset.data_root': self._root(setting),
            **_iterations(self.scale.pretrain or setting.pretrain, warmup=0.05),
        }
        after = []
        if method in DISTILLED:
            teacher = self._pretraining_name(setting, 'mae_teacher')
            after.append(teacher)
            options['model.distiller.teacher.init_cfg.checkpoint'] = self._backbone(teacher)
        title = {'mae_teacher': 'MAE, teacher'}.get(method) or INITS[method]
        name = self._pretraining_name(setting, method)
        return self._stage(
            name, f'{setting.images} pre-trained by {title}', method, options, after, 'pretrain'
        )

    def _finetunings(self) -> list[Stage]:
        return [
            self._finetuning(setting, init, seed)
            for setting in self.settings
            for seed in self.seeds
            for init in self.inits
        ]

    def _finetuning(self, setting: Setting, init: str, seed: int) -> Stage:
        root = self._root(setting)
        options: dict[str, Any] = {
            f'{part}_dataloader.dataset.data_root': root for part in ('train', 'val', 'test')
        }
        options |= {
            'model.head.num_classes': setting.classes,
            'model.data_preprocessor.num_classes': setting.classes,
            'train_dataloader.dataset.fraction': setting.fraction,
            'train_dataloader.dataset.subset_seed': seed,
            'randomness.seed': seed,
            **_iterations(self.scale.finetune, warmup=0.1),
        }
        after = []
        if init != 'scratch':
            after.append(self._pretraining_name(setting, init))
            options['model.backbone.init_cfg.checkpoint'] = self._backbone(after[0])
        config = 'scratch' if init == 'scratch' else 'finetune'
        title = f'{setting.title}, {INITS[init]}, seed {seed}'
        return self._stage(run_name(setting, init, seed), title, config, options, after, 'finetune')

    def _stage(
        self,
        name: str,
        title: str,
        config: str,
        options: Mapping[str, Any],
        after: Sequence[str],
        group: str,
    ) -> Stage:
        path = f'configs/toyworld/small_sets/{config}.py'
        full = self.read_config(path, options)
        self.keys[name] = content_key(full, [self.keys[need] for need in after])
        folder = self.work_dir / name
        output = 'backbone.safetensors' if group == 'pretrain' else final_checkpoint(full)
        return Stage(
            name,
            title,
            folder,
            self.keys[name],
            [*self.command, path, '--work-dir', str(folder), *as_arguments(options)],
            resume=['--resume'],
            outputs=[folder / output],
            after=list(after),
            group=group,
        )

    def _root(self, setting: Setting) -> str:
        return f'{self.data_root / setting.folder}/'

    def _backbone(self, run: str) -> str:
        return str(self.work_dir / run / 'backbone.safetensors')

    @staticmethod
    def _pretraining_name(setting: Setting, method: str) -> str:
        return f'pretrain_{setting.images}_{method}'

    def results(self) -> dict[str, Any]:
        """Return what the runs measured, JSON-able: one entry a setting, and all runs."""
        stages = {stage.name: stage for stage in self.stages}
        runs, entries = [], []
        for setting in self.settings:
            spreads = {}
            for init in self.inits:
                values = []
                for seed in self.seeds:
                    stage = stages[run_name(setting, init, seed)]
                    top1 = last_metric(stage.work_dir)
                    values.append(top1)
                    runs.append(dict(setting=setting.name, init=init, seed=seed, top1=top1))
                spreads[init] = Spread(tuple(values))
            entries.append(dict(asdict(setting), inits=_described(spreads)))
        records = {name: read_record(stage) for name, stage in stages.items()}
        return {
            'settings': entries,
            'runs': runs,
            'seeds': list(self.seeds),
            'scale': asdict(self.scale),
            'seconds': {name: round(r.seconds, 1) for name, r in records.items() if r},
            'config_hash': self.keys,
        }


def _described(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    """Return mean, deviation and difference to training from scratch by initialisation."""
    base = spreads.get('scratch')
    found: dict[str, Any] = {}
    for init, spread in spreads.items():
        found[init] = dict(mean=spread.mean, deviation=spread.deviation, values=spread.values)
        if base is not None and init != 'scratch':
            gain = paired(spread.values, base.values)
            found[init] |= dict(gain=gain.mean, gain_deviation=gain.deviation)
    return found


def run_name(setting: Setting, init: str, seed: int) -> str:
    """Return the name of a fine-tuning, which is also that of its folder."""
    return f'finetune_{setting.name}_{init}_seed-{seed}'


def _iterations(count: int | None, warmup: float) -> dict[str, Any]:
    """Return the overrides that set the length of a training."""
    if count is None:
        return {}
    return {
        'train_cfg.max_iters': count,
        'train_cfg.val_interval': count,
        'param_scheduler.end': count,
        'param_scheduler.warmup': max(1, round(warmup * count)),
    }


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
