"""What a suite file says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT = 'default'
"""Stands for every initialisation, or every domain, that is not named."""
ANALYSES = ('cka', 'fourier', 'attention_stats', 'attention_agreement')
"""Tools of ``tools/analysis_tools`` that a suite can run."""
CHECKPOINT_KEY = 'model.backbone.init_cfg.checkpoint'


@dataclass(frozen=True)
class Metric:
    """A figure of a task.

    Attributes:
        key: Its name in the results, such as ``coco/bbox_mAP``.
        title: For tables.
        scale: What the raw figure is multiplied by for tables.
        digits: Digits after the point.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 1


@dataclass(frozen=True)
class Pretrain:
    """A pre-training whose backbone is used afterwards.

    Attributes:
        name: Short name.
        config: Its config.
        title: For tables; the name by default.
        options: Config values to override, by dotted key.
        needs: Dotted key of a checkpoint -> the pre-training that makes it.
        output: File of its folder that the others read; None for its last checkpoint, the whole
            model.
    """

    name: str
    config: str
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    output: str | None = 'backbone.safetensors'


@dataclass(frozen=True)
class Init:
    """What the tasks start from: random weights, a pre-training of the suite, or a checkpoint.

    Attributes:
        name: Short name.
        title: For tables; the name by default.
        pretrain: Name of the pre-training, or names by the tasks' domain; None for none.
        checkpoint: Path of a checkpoint, or paths by domain; None for none.
        tasks: Names of the tasks it takes part in; None for all.
    """

    name: str
    title: str = ''
    pretrain: str | Mapping[str, str] | None = None
    checkpoint: str | Mapping[str, str] | None = None
    tasks: Sequence[str] | None = None

    def pretrain_of(self, domain: str) -> str | None:
        """Return the pre-training for a domain."""
        return _choose(self.pretrain, domain)

    def checkpoint_of(self, domain: str) -> str | None:
        """Return the checkpoint for a domain."""
        return _choose(self.checkpoint, domain)

    def takes(self, task: str) -> bool:
        """Return whether a task is run from here."""
        return self.tasks is None or task in self.tasks


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        name: Short name.
        configs: Config by initialisation; ``default`` stands for those that are not named.
        metrics: Figures to report; the first one leads.
        title: For tables; the name by default.
        options: Config values to override, by dotted key.
        checkpoint_key: Dotted key that takes the initialisation's checkpoint.
        seeds: Seeds; the suite's by default.
        seed_keys: Dotted keys that take the seed.
        test: Whether to run ``tools/test.py`` afterwards; else the last validation counts.
        domain: What the images are, for initialisations that differ by it.
    """

    name: str
    configs: Mapping[str, str]
    metrics: Sequence[Metric]
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_key: str = CHECKPOINT_KEY
    seeds: Sequence[int] | None = None
    seed_keys: Sequence[str] = ('randomness.seed',)
    test: bool = True
    domain: str = DEFAULT

    def config_of(self, init: str) -> str | None:
        """Return the config for an initialisation; None where the task has none."""
        return _choose(self.configs, init)


@dataclass(frozen=True)
class Analysis:
    """A look into one or two backbones.

    Attributes:
        name: Short name.
        tool: One of :data:`ANALYSES`.
        models: Names of initialisations or pre-trainings.
        images: Folder of images; ``$LIGHTVIT_DATA`` or ``data/`` goes in front if it is relative.
        options: Options of the tool by name.
        title: For the report; the name by default.
    """

    name: str
    tool: str
    models: Sequence[str]
    images: str
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str = ''


@dataclass(frozen=True)
class Suite:
    """A whole suite file.

    Attributes:
        name: Short name; results go to ``work_dirs/suites/<name>``.
        title: For the report.
        seeds: Seeds of the tasks.
        pretrains: Pre-trainings by name, each after those it needs.
        inits: Initialisations by name.
        tasks: Tasks by name.
        analyses: Analyses by name.
        paper: What of the papers to show beside the results, see ``suite/papers.py``.
        findings: Statements to check, see ``suite/findings.py``.
        measured: Results from elsewhere: ``init, task, seed, metrics, source``.
        text: What the file's docstring says.
        path: The file.
    """

    name: str
    title: str
    seeds: Sequence[int]
    pretrains: Mapping[str, Pretrain]
    inits: Mapping[str, Init]
    tasks: Mapping[str, Task]
    analyses: Mapping[str, Analysis]
    paper: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Mapping[str, Any]] = ()
    measured: Sequence[Mapping[str, Any]] = ()
    text: str = ''
    path: Path = Path()

    def seeds_of(self, task: Task) -> Sequence[int]:
        """Return the seeds of a task."""
        return self.seeds if task.seeds is None else task.seeds

    def cells(self) -> list[tuple[Init, Task, int]]:
        """Return all cells, seed by seed, so that a run cut short has whole tables of few seeds."""
        seeds = sorted({seed for task in self.tasks.values() for seed in self.seeds_of(task)})
        return [
            (init, task, seed)
            for seed in seeds
            for task in self.tasks.values()
            for init in self.inits.values()
            if seed in self.seeds_of(task) and init.takes(task.name) and task.config_of(init.name)
        ]


def _choose(choices: str | Mapping[str, str] | None, key: str) -> str | None:
    if choices is None or isinstance(choices, str):
        return choices
    return choices.get(key, choices.get(DEFAULT))


def values_of(choices: str | Mapping[str, str] | None) -> list[str]:
    """Return all values of a choice by key."""
    if choices is None:
        return []
    return [choices] if isinstance(choices, str) else list(choices.values())
