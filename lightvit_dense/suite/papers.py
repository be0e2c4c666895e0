"""What the two papers report, cell by cell: initialisation, task, figure, source.

Figures are in the unit that the papers print, percent, and are never mixed with our own: a table
shows them beside ours and marks them *paper*. Speeds are in :mod:`..analysis.published_results`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightvit_dense.errors import UserError, did_you_mean

SOURCES = {
    'icml': (
        'Wang et al., A Closer Look at Self-Supervised Lightweight Vision Transformers, ICML 2023'
    ),
    'iclr': (
        'Wang et al., A Closer Look at Self-Supervised Lightweight Vision Transformers, ICLR 2023 '
        'submission'
    ),
    'code': 'Gao et al., arXiv 2404.12210, the documentation of its code',
}
"""The first paper in its printed and in its submitted version, and the second paper."""

INITS = {
    'scratch': 'from scratch',
    'scratch_original': 'from scratch, the original recipe',
    'steiner_30e': 'supervised, ImageNet-21k, 30 epochs (3 heads)',
    'steiner_300e': 'supervised, ImageNet-21k, 300 epochs (3 heads)',
    'deit': 'DeiT-Tiny (supervised)',
    'mocov3': 'MoCo-v3-Tiny',
    'mae': 'MAE-Tiny',
    'dino': 'DINO-Tiny',
    'simmim': 'SimMIM-Tiny',
    'dmae': 'D-MAE-Tiny',
    'd2mae': 'D²-MAE-Tiny',
    'deit_rpe_1000e': 'DeiT-Tiny + RPE, 1000 epochs',
    'mae_rpe_1000e': 'MAE-Tiny + RPE, fine-tuned for 1000 epochs',
    'd2mae_rpe_1000e': 'D²-MAE-Tiny + RPE, fine-tuned for 1000 epochs',
    'mae_1000e': 'MAE-Tiny, fine-tuned for 1000 epochs',
    'mae_original': 'MAE-Tiny, the original recipe',
    'dmae_original': 'D-MAE-Tiny, the original recipe',
    'scratch_distilled_300e': 'from scratch, RegNetY teacher',
    'scratch_distilled_1000e': 'from scratch, RegNetY teacher, 1000 epochs',
    'mae_distilled_300e': 'MAE-Tiny, RegNetY teacher',
    'mae_distilled_1000e': 'MAE-Tiny, RegNetY teacher, 1000 epochs',
    'hiera_mae': 'MAE Hiera-Tiny',
    'hiera_dmae': 'D-MAE Hiera-Tiny',
    'swin_simmim': 'SimMIM Swin (48 channels)',
    'swin_d2simmim': 'D²-SimMIM Swin (48 channels)',
    'small_scratch': 'ViT-Small from scratch',
    'small_mae': 'MAE-Small',
    'small_dmae': 'D-MAE-Small',
    'mocov3_1percent': 'MoCo-v3-Tiny, 1% of ImageNet-1k',
    'mocov3_10percent': 'MoCo-v3-Tiny, 10% of ImageNet-1k',
    'mocov3_longtail': 'MoCo-v3-Tiny, ImageNet-1k-LT',
    'mocov3_in21k': 'MoCo-v3-Tiny, ImageNet-21k',
    'mae_1percent': 'MAE-Tiny, 1% of ImageNet-1k',
    'mae_10percent': 'MAE-Tiny, 10% of ImageNet-1k',
    'mae_longtail': 'MAE-Tiny, ImageNet-1k-LT',
    'mae_in21k': 'MAE-Tiny, ImageNet-21k',
    'efficientnet_labels': 'EfficientNet-B0 from labels',
    'efficientnet_seed': 'EfficientNet-B0 from SEED, fine-tuned',
}
"""What a model started from, by name. ViT-Tiny with 12 heads where nothing else is said."""

TOP1 = 'accuracy/top1'
BOX, MASK = 'coco/bbox_mAP', 'coco/segm_mAP'


@dataclass(frozen=True)
class Column:
    """A column of a paper's table.

    Attributes:
        task: Name of the task.
        metric: Its figure, called as our evaluators call it.
        title: Heading.
    """

    task: str
    metric: str
    title: str


@dataclass(frozen=True)
class PublishedCell:
    """One figure of a paper.

    Attributes:
        init: Key of :data:`INITS`.
        task: Name of the task.
        metric: Its figure, called as our evaluators call it.
        value: The figure in percent.
        table: Name of the table it is in.
        source: Where it is printed, in words.
    """

    init: str
    task: str
    metric: str
    value: float
    table: str
    source: str


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper: initialisations times tasks.

    Attributes:
        name: Short name.
        title: What it shows.
        source: Key of :data:`SOURCES`.
        columns: Its columns.
        rows: Key of :data:`INITS` -> a figure a column in percent; None where nothing is printed.
    """

    name: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[float | None, ...]]

    def cells(self) -> list[PublishedCell]:
        """Return all figures, row by row."""
        return [
            PublishedCell(init, c.task, c.metric, value, self.name, SOURCES[self.source])
            for init, values in self.rows.items()
            for c, value in zip(self.columns, values, strict=True)
            if value is not None
        ]


IMAGENET = Column('imagenet', TOP1, 'ImageNet-1k')
SMALL_SETS = (
    Column('flowers', TOP1, 'Flowers'),
    Column('pets', TOP1, 'Pets'),
    Column('aircraft', TOP1, 'Aircraft'),
    Column('cars', TOP1, 'Cars'),
    Column('cifar100', TOP1, 'CIFAR-100'),
    Column('inat18', TOP1, 'iNat18'),
)
COCO = (Column('coco', BOX, 'COCO box AP'), Column('coco', MASK, 'COCO mask AP'))

TABLES = (
    PaperTable(
        'imagenet',
        'ImageNet-1k top-1 by pre-training; improved fine-tuning of 300 epochs',
        'icml',
        (IMAGENET,),
        dict(
            scratch=(75.8,),
            steiner_30e=(76.9,),
            steiner_300e=(77.8,),
            mocov3=(76.8,),
            mae=(78.0,),
            dino=(77.2,),
            simmim=(77.9,),
            dmae=(78.4,),
        ),
    ),
    PaperTable(
        'transfer',
        'Transfer: top-1 of six sets, Mask R-CNN on COCO (ViTDet, 640 px)',
        'icml',
        (*SMALL_SETS, *COCO),
        dict(
            scratch=(30.2, 26.1, 9.4, 6.8, 42.7, 58.7, 32.7, 28.9),
            deit=(96.4, 93.1, 73.5, 85.6, 85.8, 63.6, 40.4, 35.5),
            mocov3=(94.8, 87.8, 73.7, 83.9, 83.9, 54.5, 39.7, 35.1),
            mae=(85.8, 76.5, 64.6, 78.8, 78.9, 60.6, 39.9, 35.4),
            dino=(95.6, 89.3, 73.6, 84.5, 84.7, 58.7, 41.4, 36.7),
            simmim=(77.2, 68.9, 55.9, 70.4, 77.7, 60.8, 39.3, 34.8),
            dmae=(95.2, 89.1, 79.2, 87.5, 85.0, 63.6, 42.3, 37.4),
        ),
    ),
    PaperTable(
        'imagenet_submission',
        'ImageNet-1k top-1 by pre-training, tables 1 and 5 of the submission',
        'iclr',
        (IMAGENET,),
        dict(
            scratch_original=(74.5,),
            scratch=(75.8,),
            steiner_30e=(76.9,),
            steiner_300e=(77.8,),
            mocov3=(73.7,),
            mae=(78.0,),
            mae_1000e=(78.5,),
            dmae=(78.4,),
        ),
    ),
    PaperTable(
        'pretraining_data',
        'Data of the pre-training, table 3 of the submission: ImageNet-1k top-1',
        'iclr',
        (IMAGENET,),
        dict(
            mocov3=(73.7,),
            mocov3_1percent=(73.1,),
            mocov3_10percent=(73.5,),
            mocov3_longtail=(73.0,),
            mocov3_in21k=(73.8,),
            mae=(78.0,),
            mae_1percent=(77.9,),
            mae_10percent=(78.0,),
            mae_longtail=(77.9,),
            mae_in21k=(78.0,),
        ),
    ),
    PaperTable(
        'transfer_submission',
        'COCO in tables 4 and 5 of the submission (Mask R-CNN as in Li et al. 2021)',
        'iclr',
        COCO,
        dict(deit=(40.7, 36.5), mocov3=(40.0, 36.0), mae=(38.9, 35.1), dmae=(42.7, 38.2)),
    ),
    PaperTable(
        'linear_probe',
        'Linear probe of ImageNet-1k, section 4.1 of the submission',
        'iclr',
        (Column('linear_probe', TOP1, 'linear probe'),),
        dict(mae=(23.4,)),
    ),
    PaperTable(
        'efficientnet',
        'EfficientNet-B0 with and without SEED, table 2 of the submission',
        'iclr',
        (
            IMAGENET,
            Column('imagenet', 'real/top1', 'ImageNet-ReaL'),
            Column('imagenet', 'v2/top1', 'ImageNet-V2'),
        ),
        dict(efficientnet_labels=(77.7, 84.0, 66.3), efficientnet_seed=(77.2, 83.5, 65.9)),
    ),
    PaperTable(
        'imagenet_code',
        'ImageNet-1k top-1; improved fine-tuning of 300 epochs where nothing else is said',
        'code',
        (IMAGENET,),
        dict(
            scratch=(75.8,),
            mae=(78.0,),
            dmae=(78.4,),
            d2mae=(78.7,),
            mae_rpe_1000e=(79.0,),
            d2mae_rpe_1000e=(79.4,),
            hiera_mae=(78.5,),
            hiera_dmae=(78.9,),
            swin_simmim=(77.4,),
            swin_d2simmim=(77.8,),
            small_scratch=(80.2,),
            small_mae=(82.1,),
            small_dmae=(82.5,),
        ),
    ),
    PaperTable(
        'imagenet_first_code',
        'ImageNet-1k top-1 by the original recipe, with and without a RegNetY-160 as teacher',
        'code',
        (IMAGENET,),
        dict(
            scratch_original=(74.5,),
            mae_original=(76.1,),
            dmae_original=(76.5,),
            scratch_distilled_300e=(75.9,),
            scratch_distilled_1000e=(77.8,),
            mae_distilled_300e=(76.9,),
            mae_distilled_1000e=(78.4,),
        ),
    ),
    PaperTable(
        'coco_code',
        'Mask R-CNN on COCO (ViTDet, 640 px)',
        'code',
        COCO,
        dict(dmae=(42.3, 37.3), d2mae=(42.5, 37.5)),
    ),
    PaperTable(
        'ade20k_code',
        'Semantic FPN on ADE20K, 160 000 iterations',
        'code',
        (Column('ade20k', 'mIoU', 'ADE20K mIoU'),),
        dict(deit=(38.0,), d2mae=(39.0,), deit_rpe_1000e=(41.5,), d2mae_rpe_1000e=(42.8,)),
    ),
    PaperTable(
        'lasot_code',
        'OSTrack-256 on LaSOT',
        'code',
        (Column('lasot', 'success', 'LaSOT AUC'),),
        dict(deit=(64.1,), dmae=(65.8,), d2mae=(66.1,)),
    ),
)
"""Both papers' tables of accuracy, the printed version of the first paper first."""

TABLE_NAMES = tuple(table.name for table in TABLES)
_KEYS = ('tables', 'inits', 'tasks')


def published(
    init: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    tables: Sequence[str] | None = None,
) -> list[PublishedCell]:
    """Return the published figures of a cell.

    Args:
        init: Key of :data:`INITS`; None for any.
        task: Name of a task, such as ``coco``; None for any.
        metric: Figure, such as ``coco/bbox_mAP``; None for any.
        tables: Names of tables to look in, in this order; all by default.

    Returns:
        The figures; several where versions of a paper differ, none where nothing is published.

    Raises:
        UserError: If a table is unknown.
    """
    found = [cell for name in tables or TABLE_NAMES for cell in paper_table(name).cells()]
    return [
        cell
        for cell in found
        if init in (None, cell.init) and task in (None, cell.task) and metric in (None, cell.metric)
    ]


def paper_table(name: str) -> PaperTable:
    """Return a table by name.

    Raises:
        UserError: If there is none of this name.
    """
    for table in TABLES:
        if table.name == name:
            return table
    words = f'no table of the papers is called {name!r}; there are {", ".join(TABLE_NAMES)}.'
    raise UserError(words + did_you_mean(name, TABLE_NAMES))


def paper_cells(
    paper: Mapping[str, Any], inits: Iterable[str], tasks: Mapping[str, Iterable[str]]
) -> list[dict[str, Any]]:
    """Return the published figures that belong beside a suite's cells.

    Args:
        paper: ``tables``: names of the tables, the first that has a cell counts; ``inits`` and
            ``tasks``: the papers' names by the suite's, where they differ (None: no counterpart).
            Empty for none at all.
        inits: The suite's initialisations.
        tasks: The suite's tasks with the keys of their metrics.

    Returns:
        ``init``, ``task``, ``metric``, ``value`` in percent and ``source`` of each figure, under
        the suite's names.

    Raises:
        UserError: If ``paper`` names what is unknown.
    """
    inits, tasks = list(inits), {name: list(metrics) for name, metrics in tasks.items()}
    rename_init, rename_task = paper.get('inits') or {}, paper.get('tasks') or {}
    # Names that a selection of the suite has dropped are no mistake.
    check_paper(paper, [*inits, *rename_init], [*tasks, *rename_task])
    found = []
    for init in inits if paper else ():
        for task, metrics in tasks.items():
            names = rename_init.get(init, init), rename_task.get(task, task)
            if None in names:
                continue
            for metric in metrics:
                cells = published(*names, metric, paper['tables'])
                if cells:
                    first = cells[0]
                    found.append(
                        dict(
                            init=init,
                            task=task,
                            metric=metric,
                            value=first.value,
                            source=first.source,
                        )
                    )
    return found


def check_paper(paper: Mapping[str, Any], inits: Iterable[str], tasks: Iterable[str]) -> None:
    """Check what a suite file says of the papers; nothing is said is right, too.

    Raises:
        UserError: If a key, a table or a name is unknown; names it and what there is instead.
    """
    if not paper:
        return
    for key in paper:
        _require(key, _KEYS, 'paper')
    if not paper.get('tables'):
        raise UserError(f"paper lacks 'tables'; there are {', '.join(TABLE_NAMES)}")
    published_tasks = {column.task for table in TABLES for column in table.columns}
    for name in paper['tables']:
        _require(name, TABLE_NAMES, 'paper.tables')
    for ours, theirs in (paper.get('inits') or {}).items():
        _require(ours, inits, 'paper.inits')
        if theirs is not None:
            _require(theirs, INITS, f'paper.inits.{ours}')
    for ours, theirs in (paper.get('tasks') or {}).items():
        _require(ours, tasks, 'paper.tasks')
        if theirs is not None:
            _require(theirs, sorted(published_tasks), f'paper.tasks.{ours}')


def _require(name: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if name not in known:
        words = f'{where} names {name!r}, which is unknown; there are {", ".join(known)}.'
        raise UserError(words + did_you_mean(name, known))
