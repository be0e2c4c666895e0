"""The runs of a suite: what trains, tests and analyses, with which values, after what."""

import functools
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightvit_dense.compat.config_environment import read_variable
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.utils.home import find_file
from lightvit_dense.utils.io import sha256
from lightvit_dense.utils.option_values import format_option
from lightvit_dense.utils.shipped import locate

from .spec import Analysis, Init, Prepare, Pretrain, Suite, Task
from .stages import Stage, content_key

ReadConfig = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Reads a config file with overrides."""
METRICS = 'metrics.json'
SMOKE_ITERATIONS = 2


@dataclass(frozen=True)
class Cell:
    """One initialisation on one task with one seed."""

    init: Init
    task: Task
    seed: int
    config: str
    train: str  # name of the stage that trains
    test: str | None  # name of the stage that tests; None where the last validation counts


@dataclass
class SuitePlan:
    """Lays out the stages of a suite."""

    suite: Suite
    work_dir: Path  # of all runs and results
    root: Path  # folder of the runs; configs and tools are relative to it, or the package's
    data_root: Path
    read_config: ReadConfig
    gpus: int = 0  # of one run; 0 for the CPU, more than one start that many processes
    smoke: bool = False  # whether everything trains for a few iterations only
    launcher: str = 'pytorch'  # of several processes; or 'slurm', where its job has them
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)  # of trainings, by stage
    stages: dict[str, Stage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._base = functools.cache(lambda config: self.read_config(config, {}))
        self._digest = functools.cache(lambda path: sha256(self.root / locate(path)))
        suite = self.suite
        for prepare in suite.prepare.values():
            self._prepare(prepare)
        for pretrain in suite.pretrains.values():
            self._pretraining(pretrain)
        self.cells = [self._cell(init, task, seed) for init, task, seed in suite.cells()]
        for analysis in suite.analyses.values():
            self._analysis(analysis)

    def in_order(self) -> list[Stage]:
        """Return the stages: each pre-training when it is first needed, tests behind trainings."""
        chosen: dict[str, Stage] = {}

        def add(name: str) -> None:
            if name not in chosen:
                for need in self.stages[name].after:
                    add(need)
                chosen[name] = self.stages[name]

        for name in self.stages:
            add(name)
        return list(chosen.values())

    def _backbone(self, pretrain: str) -> str:
        return str(self.stages[f'pretrain_{pretrain}'].outputs[0])

    def _add(self, name: str, title: str, key: str, command: Sequence[str], **more: Any) -> None:
        self.stages[name] = Stage(name, title, self.work_dir / name, key, command, **more)

    def _keys(self, names: Iterable[str]) -> list[str]:
        return [self.stages[name].key for name in names]

    def _data(self, names: Sequence[str] | None) -> list[str]:
        """Return the stages that make the data that a run names, or all of them."""
        return [f'prepare_{name}' for name in (self.suite.prepare if names is None else names)]

    def _words(self, options: Mapping[str, Any]) -> list[str]:
        """Return the options of a tool as one types them; True stands for a flag."""
        words = []
        for key, value in options.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [f'--{key.replace("_", "-")}']
            words += [
                str(v).replace('{data}', str(self.data_root)) for v in values if v is not True
            ]
        return words

    def _file(self, path: str) -> str:
        """Return a file as the runs find it: by its path below the root, or in the package."""
        found = find_file(path, self.root)
        return path if found == self.root / path else str(found)

    def _prepare(self, prepare: Prepare) -> None:
        """Add a tool that makes data."""
        options = {**prepare.options, **(prepare.smoke if self.smoke else {})}
        command = [sys.executable, self._file(prepare.tool), *prepare.args, *self._words(options)]
        version = pkgutil.resolve_name(prepare.version) if prepare.version else None
        name, outputs = f'prepare_{prepare.name}', [self.data_root / p for p in prepare.outputs]
        key = content_key([prepare.tool, *command[2:]], version)
        self._add(name, prepare.title, key, command, outputs=outputs, group=name)

    def _pretraining(self, pretrain: Pretrain) -> None:
        needs = {key: self._backbone(need) for key, need in pretrain.needs.items()}
        name = f'pretrain_{pretrain.name}'
        after = self._data(pretrain.data)
        after += [f'pretrain_{need}' for need in pretrain.needs.values()]
        options = {**pretrain.options, **needs}
        self._train(name, pretrain.title, pretrain.config, options, after, name, pretrain.output)

    def _cell(self, init: Init, task: Task, seed: int) -> Cell:
        config = init.config_of(task)
        assert config is not None  # suite.cells() has no others
        options = {**task.options, **init.options} | dict.fromkeys(task.seed_keys, seed)
        after, digest = self._data(task.data), ''
        pretrain, checkpoint = init.pretrain_of(task.domain), init.checkpoint_of(task.domain)
        if pretrain is not None:
            after.append(f'pretrain_{pretrain}')
            options[task.checkpoint_key] = self._backbone(pretrain)
        elif checkpoint is not None:
            options[task.checkpoint_key] = checkpoint
            digest = checkpoint if '://' in checkpoint else self._digest(checkpoint)
        elif init.name not in task.configs:
            # The config that all share; one of its own says itself what it starts from.
            value: Any = self._base(config)
            for part in task.checkpoint_key.split('.'):
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is not None:
                options[task.checkpoint_key.rpartition('.')[0]] = None
        name = f'{task.name}_{init.name}_seed-{seed}'
        title = f'{task.title}, {init.title}, seed {seed}'
        options = self._train(name, title, config, options, after, task.name, digest=digest)
        test = f'{name}_test' if task.test else None
        if test:
            folder = self.work_dir / test
            own = {k: str(v).replace('{folder}', str(folder)) for k, v in task.test_options.items()}
            words = [*self._launch('tools/test.py'), self._file(config)]
            words += [str(self.stages[name].outputs[0])]
            words += ['--work-dir', str(folder), '--json', str(folder / METRICS)]
            self._add(
                test,
                f'{title}: test',
                content_key(self.stages[name].key, 'test', *([own] if own else [])),
                [*words, *as_arguments({**options, **own})],
                outputs=[folder / METRICS],
                after=[name],
                group=f'{task.name}_test',
                parallel=self.gpus > 1,
            )
        return Cell(init, task, seed, config, name, test)

    def _train(
        self,
        name: str,
        title: str,
        config: str,
        options: Mapping[str, Any],
        after: Sequence[str],
        group: str,
        output: str | None = None,
        digest: str = '',
    ) -> dict[str, Any]:
        """Add a training; return the options that it gets, for its test."""
        base = self._base(config)
        options = by_place(options, base)
        if 'max_iters' in base['train_cfg']:
            # Otherwise every validation is logged at epoch 0.
            options['default_hooks.logger.log_metric_by_epoch'] = False
        if self.smoke:
            options |= few_iterations(base, SMOKE_ITERATIONS)
        self.configs[name] = full = self.read_config(config, options)
        folder = self.work_dir / name
        words = [*self._launch('tools/train.py'), self._file(config), '--work-dir', str(folder)]
        self._add(
            name,
            title,
            content_key(full, digest, self._keys(after)),
            [*words, *as_arguments(options)],
            resume=['--resume'],
            outputs=[folder / (output or final_checkpoint(full))],
            after=list(after),
            epochs=full['train_cfg'].get('max_epochs'),
            group=group,
            parallel=self.gpus > 1,
        )
        return options

    def _analysis(self, analysis: Analysis) -> None:
        models: list[list[str]] = []
        after = []
        for name in analysis.models:
            init = self.suite.inits.get(name)
            source = name if init is None else init.pretrain_of(analysis.domain)
            assert source is not None  # checked when the file was read
            pretrain = self.suite.pretrains[source]
            # The config that the pre-training leaves has its options in it.
            config = self.work_dir / f'pretrain_{source}' / Path(pretrain.config).name
            after.append(f'pretrain_{source}')
            models.append([str(config), self._backbone(source), (init or pretrain).title])
        images = Path(analysis.images)
        images = images if images.is_absolute() else self.data_root / images
        name = f'analysis_{analysis.name}'
        command = [sys.executable, self._file(f'tools/analysis_tools/{analysis.tool}.py')]
        if analysis.tool in ('cka', 'attention_agreement'):
            command += [word for config, checkpoint, _ in models for word in (config, checkpoint)]
            command += ['--titles', *(title for *_, title in models)]
        else:
            command += [word for model in models for word in ('--model', *model)]
        command += self._words({'images': images, 'out': self.work_dir / name, **analysis.options})
        full = [analysis.tool, models, str(images), dict(analysis.options)]
        key = content_key(full, self._keys(after))
        self._add(name, analysis.title, key, command, after=after, group=analysis.tool)

    def _launch(self, tool: str) -> list[str]:
        """Return the words that start a tool: itself, or one process a GPU."""
        tool = self._file(tool)
        if self.gpus < 2:
            return [sys.executable, tool]
        if self.launcher == 'slurm':
            return [sys.executable, tool, '--launcher', 'slurm']
        run = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(self.gpus)]
        # --launcher must come before --cfg-options, which takes all that follows.
        return [sys.executable, *run, tool, '--launcher', 'pytorch']


def try_weights(plan: SuitePlan) -> None:
    """Build the backbones that load a checkpoint from elsewhere, or a part of one, and load it."""
    from mmengine.config import ConfigDict

    from lightvit_dense.apis.configs import prepare_scope
    from lightvit_dense.checkpoints import load_backbone
    from lightvit_dense.registry import MODELS

    tried = set()
    for cell in plan.cells:
        config = ConfigDict(plan.configs[cell.train])
        backbone = config.get('model', {}).get('backbone') or {}
        init = backbone.pop('init_cfg', None) or {}
        path, blocks = cell.init.checkpoint_of(cell.task.domain), init.get('num_pretrained_blocks')
        key = content_key(backbone, path, blocks)
        known = str(init.get('type')).endswith('PretrainedBackbone')
        if not known or key in tried or (path is None and blocks is None):
            continue
        tried.add(key)
        prepare_scope(config)
        model = MODELS.build(backbone)
        if blocks is not None and not 0 <= blocks <= len(model.blocks):
            raise UserError(
                f'inits.{cell.init.name}: num_pretrained_blocks={blocks} is not between 0 and the '
                f'{len(model.blocks)} blocks of {cell.config}'
            )
        if path is not None and '://' not in path:
            load_backbone(model, plan.root / locate(path), verbose=False)


def data_root() -> Path:
    """Return the root of the data, ``$LIGHTVIT_DATA`` or ``data``."""
    return Path(read_variable('LIGHTVIT_DATA') or 'data').resolve()


def by_place(options: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace types of list entries in keys (``custom_hooks.SomeHook.begin``) by places."""
    found = {}
    for key, value in options.items():
        node: Any = config
        parts = []
        for part in key.split('.'):
            if isinstance(node, (list, tuple)) and not part.isdigit():
                kinds = [str(entry.get('type')).rpartition('.')[2] for entry in node]
                if kinds.count(part) != 1:
                    words = f'{key}: {part} must be the type of one of {", ".join(kinds)}.'
                    raise UserError(words + did_you_mean(part, kinds))
                part = str(kinds.index(part))
            parts.append(part)
            if isinstance(node, Mapping):
                node = node.get(part)
            elif isinstance(node, (list, tuple)):
                node = node[int(part)]
        found['.'.join(parts)] = value
    return found


def few_iterations(config: Mapping[str, Any], iterations: int) -> dict[str, Any]:
    """Return overrides that make a training run short (iterations, or epochs) and talkative."""
    by_epoch = 'max_epochs' in config['train_cfg']
    return {
        f'train_cfg.max_{"epochs" if by_epoch else "iters"}': iterations,
        'train_cfg.val_interval': iterations,
        'train_dataloader.batch_size': 2,
        'default_hooks.logger.interval': 1,
    }


def final_checkpoint(config: Mapping[str, Any]) -> str:
    """Return the name of the checkpoint that a run leaves at its end."""
    loop = config['train_cfg']
    if 'max_epochs' in loop:
        return f'epoch_{loop["max_epochs"]}.pth'
    return f'iter_{loop["max_iters"]}.pth'


def as_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Return ``--cfg-options`` with its values, or nothing if there are none."""
    words = [format_option(key, value) for key, value in overrides.items()]
    return ['--cfg-options', *words] if words else []
