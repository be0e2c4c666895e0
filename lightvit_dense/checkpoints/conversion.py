"""From any checkpoint to a backbone or classifier of ours, and to files that others load."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightvit_dense.errors import CheckpointError, about_file
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.io import sha256
from lightvit_dense.utils.shipped import locate

from .classifier import Head, load_classifier, read_head
from .containers import Opened, open_checkpoint
from .convert import Converted, convert, find_source
from .export import EXPORT_FORMATS
from .identify import Sizes, identify
from .loader import LoadReport, known_heads, load_backbone, look_up, read_json

FAMILIES = {'vit': 'VisionTransformer', 'hiera': 'Hiera', 'swin': 'SwinTransformer'}


@dataclass
class Inspection:
    """What a checkpoint file holds."""

    path: Path
    opened: Opened  # its tensors as they are
    converted: Converted  # its backbone's tensors by our names
    sizes: Sizes
    origin: str | None = None  # kind of the whole file, whose networks may be several

    def __str__(self) -> str:
        opened, converted = self.opened, self.converted
        others = f' (also there: {", ".join(opened.others)})' if opened.others else ''
        return (
            f'{self.path}:\n'
            f'  source             {converted.source}\n'
            f'  container          {opened.container or "none"}{others}\n'
            f'  tensors            {len(opened.state)}, of which {len(converted.state)} are the '
            "backbone's\n"
            f'  sizes              {self.sizes}'
        )


def inspect_checkpoint(
    path: str | os.PathLike,
    key: str | None = None,
    arch: str | None = None,
    heads: int | None = None,
) -> Inspection:
    """Find out what a file, or a folder of Hugging Face's, is.

    ``key`` says which network to take where it has several, ``arch`` which architecture the shapes
    must have, which also gives the heads (of Hiera's first stage).
    """
    path = locate(path)
    if path.is_dir() and (path / 'model.safetensors').is_file():
        path = path / 'model.safetensors'
    opened = open_checkpoint(path, key)
    converted = convert(opened.state, wanted=())
    sizes = identify(converted.state)
    if converted.source is None or sizes is None:
        some = ', '.join(list(opened.state)[:3])
        raise CheckpointError(
            f'{path}: holds no backbone that is known here; its names begin with {some}. '
            'Give a checkpoint of a plain ViT, Hiera or Swin.'
        )
    found = known_heads(path)
    if found is not None:
        sizes.heads, sizes.heads_from = found, 'from the file beside it'
    if arch is not None:
        sizes.heads, sizes.heads_from = _arch_heads(path, sizes, arch), f'of {arch}'
    if heads is not None:
        sizes.heads, sizes.heads_from = heads, 'as given'
    if found is not None and sizes.heads != found:
        raise CheckpointError(
            f'{path}: {sizes.heads} heads are asked for, but the file beside it says {found}. '
            f'Give --heads {found} or leave it out.'
        )
    whole, _ = find_source(opened.names)
    return Inspection(path, opened, converted, sizes, None if whole is None else whole.name)


def _arch_heads(path: Path, sizes: Sizes, name: str) -> int:
    """Return the heads of a named architecture ('vit-tiny'); raise if the shapes are another's."""
    known = {
        f'{family}-{arch.replace("_", "-")}': (family, options)
        for family, kind in FAMILIES.items()
        for arch, options in MODELS.get(kind).architectures.items()
    }
    if name not in known:
        raise CheckpointError(f"arch '{name}' is unknown; choose from {', '.join(sorted(known))}.")
    family, arch = known[name]
    stages = tuple(arch.get('stages', arch.get('depths', ())))
    wanted = (family, arch['embed_dim'], arch.get('depth', sum(stages)))
    if (sizes.family, sizes.width, sizes.depth) != wanted or sizes.stages != stages:
        raise CheckpointError(
            f'{path}: is not {name} (family, width, blocks {wanted}), its shapes say: {sizes}. '
            'Leave --arch out, or take another checkpoint.'
        )
    return arch['num_heads']


def _relative_options(sizes: Sizes) -> dict[str, Any]:
    """Return relative positions, and the windows that the lengths of ViTDet's tables tell."""
    if sizes.relative_bias:
        return dict(rel_pos=dict(kind='bias'))
    if not sizes.rel_pos:
        return {}
    longest, shortest = max(sizes.rel_pos), min(sizes.rel_pos)
    size = (longest + 1) // 2 * sizes.patch
    options: dict[str, Any] = dict(rel_pos=dict(kind='decomposed', size=size))
    if shortest != longest:
        options['window'] = dict(
            size=(shortest + 1) // 2,
            global_blocks=[i for i, n in enumerate(sizes.rel_pos) if n == longest],
        )
    return options


def backbone_config(sizes: Sizes, img_size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Write the config of a checkpoint's backbone, for images of ``img_size`` (height, width)."""
    if sizes.heads is None:
        raise CheckpointError(
            f'A {sizes.family} of width {sizes.width} is known with several numbers of heads, and '
            'shapes do not tell them. Give --heads (papers and MoCo-v3: 12; timm, DeiT and DINO: '
            'width / 64; Hiera: 1 in the first stage, from width 112 on 2) or --arch.'
        )
    stride = 4 if sizes.family == 'hiera' else sizes.patch
    if img_size is None:
        if sizes.grid is None:
            raise CheckpointError(
                'The grid of the position table is unknown (no table, or not square). '
                'Give --img-size.'
            )
        img_size = (sizes.grid[0] * stride, sizes.grid[1] * stride)
    arch: dict[str, Any] = dict(embed_dim=sizes.width, num_heads=sizes.heads)
    arch |= dict(mlp_ratio=sizes.mlp_ratio) if sizes.mlp_ratio != 4.0 else {}
    options: dict[str, Any] = dict(img_size=img_size, final_norm=sizes.final_norm)
    if sizes.family == 'hiera':
        arch['stages'] = sizes.stages
    elif sizes.family == 'swin':
        arch['depths'] = sizes.stages
        options |= dict(patch_size=sizes.patch, window_size=sizes.window)
    else:
        arch['depth'] = sizes.depth
        options |= dict(patch_size=sizes.patch, qkv_bias=sizes.qkv_bias, cls_token=sizes.cls_token)
        options |= _relative_options(sizes)
    return dict(type=f'lightvit_dense.{FAMILIES[sizes.family]}', arch=arch, **options)


def load_inspected(backbone: nn.Module, inspection: Inspection) -> LoadReport:
    """Load an inspected checkpoint into a backbone; the report covers the change of names too."""
    converted, opened = inspection.converted, inspection.opened
    with about_file(str(inspection.path)):
        report = load_backbone(backbone, converted.state, verbose=False)
    report.path, report.source = str(inspection.path), converted.source
    report.container, report.others = opened.container, opened.others
    report.dropped = converted.dropped + report.dropped
    report.notes = converted.notes + report.notes
    return report


def told_pool(path: Path) -> str | None:
    """Return what the head reads ('mean', 'cls') if the file beside our classifier says so."""
    found = look_up(read_json(path.with_suffix('.json')), 'model', 'head', 'pool')
    return found if found in ('mean', 'cls') else None


def classifier_config(
    inspection: Inspection, head: Head, img_size: tuple[int, int] | None, pool: str | None
) -> dict[str, Any]:
    """Write the ``model`` of a config that a classifier's checkpoint fills.

    Without ``pool`` ('mean' or 'cls') the file's is taken, else the class token where there is one
    and no norm follows the pooling.
    """
    if head.classes is None:
        raise CheckpointError(
            f'{inspection.path}: has no classifier that is known here. Leave --with-head out to '
            'convert its backbone.'
        )
    reading, sizes = head.reading, inspection.sizes
    backbone = backbone_config(sizes, img_size) | {'final_norm': reading['backbone.final_norm']}
    norm = reading['head.norm']
    guess = 'cls' if sizes.cls_token and not norm else 'mean'
    options = dict(num_classes=head.classes, pool=pool or head.pool or guess, norm=norm)
    options |= dict(batch_norm=True) if reading['head.batch_norm'] else {}
    return dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=options)


def _build(config: dict[str, Any], options: str) -> Any:
    try:
        return MODELS.build(config)
    except ValueError as error:
        raise CheckpointError(f'{error}. Give other {options}.') from error


def _load_whole(
    inspection: Inspection, img_size: tuple[int, int] | None, pool: str | None
) -> tuple[Any, dict[str, Any], LoadReport, list[str]]:
    """Build and load a classifier; return it, its config, the report and what would get lost."""
    head = read_head(inspection.opened.state, inspection.converted)
    head.pool = head.pool or told_pool(inspection.path)
    config = classifier_config(inspection, head, img_size, pool)
    model = _build(config, '--heads, --arch, --pool or --img-size')
    report = load_classifier(model, inspection.opened.state, verbose=False)
    report.path, report.container = str(inspection.path), inspection.opened.container
    lost = report.unexpected + [name for name in report.dropped if 'distiller.' in name]
    lost += [name for name in ('dist.weight',) if name in head.state]
    report.notes.append(
        f'the classifier reads {"the class token" if model.head.pool == "cls" else "the mean"}'
        + ('' if pool else ' as the file tells' if head.pool else ', a guess: --pool sets it')
    )
    return model, config, report, lost


def convert_checkpoint(
    inspection: Inspection,
    destination: str | os.PathLike | None,
    to: str = 'ours',
    img_size: tuple[int, int] | None = None,
    lossy: bool = False,
    with_head: bool = False,
    pool: str | None = None,
    half: bool = False,
) -> tuple[LoadReport, Path | None]:
    """Load a checkpoint into a model of ours and write it; return report and path of the metadata.

    ``destination`` is a .safetensors file (of a classifier 'ours' also .pth), for 'hf' a folder,
    None writes nothing. The position table is resized for ``img_size``, (height, width) in pixels.
    Parameters that our model lacks get lost only if ``lossy``. ``pool`` is for the head; ``half``
    writes fp16.
    """
    config = None
    if with_head:
        model, config, report, lost = _load_whole(inspection, img_size, pool)
    else:
        model = _build(backbone_config(inspection.sizes, img_size), '--heads, --arch or --img-size')
        report = load_inspected(model, inspection)
        lost = report.unexpected
    if report.missing or (lost and not lossy):
        second = ', or a second head of distillation' if with_head else ''
        raise CheckpointError(
            f'{report}\n{inspection.path}: not converted, because parameters would be random '
            f'(missing) or lost (unexpected{second}). --lossy leaves out what would be lost.'
        )
    if destination is None:
        return report, None
    meta = dict(
        converted_from=inspection.path.name,
        sha256=sha256(inspection.path),
        source=report.source,
        container=report.container,
        heads=f'{inspection.sizes.heads} ({inspection.sizes.heads_from})',
        notes=report.notes,
        resized={n: [list(a), list(b)] for n, (a, b) in report.resized.items()},
        lost=report.unexpected,
    )
    try:
        model = model.half() if half else model
        return report, EXPORT_FORMATS[to](model.eval(), destination, meta, config)
    except ValueError as error:
        raise CheckpointError(f'{error}. Give another destination.') from error
