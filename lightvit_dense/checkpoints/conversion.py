"""From any checkpoint file to a backbone of ours, and on to a file that others load."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightvit_dense.utils.io import sha256

from .containers import Opened, open_checkpoint
from .convert import Converted, convert, find_source
from .errors import CheckpointError
from .export import save_backbone, save_huggingface, save_timm
from .identify import Sizes, identify
from .loader import LoadReport, known_heads, load_backbone

FORMS = {'ours': save_backbone, 'timm': save_timm, 'hf': save_huggingface}
"""Forms of output with the functions that write them."""


@dataclass
class Inspection:
    """What a checkpoint file holds.

    Attributes:
        path: The file.
        opened: Its tensors as they are, and their container.
        converted: Its backbone's tensors by our names.
        sizes: Sizes of the backbone.
        origin: Kind of the whole file, of which the backbone may be one network of several.
    """

    path: Path
    opened: Opened
    converted: Converted
    sizes: Sizes
    origin: str | None = None

    def __str__(self) -> str:
        """Return a few lines for people."""
        others = f' (also there: {", ".join(self.opened.others)})' if self.opened.others else ''
        lines = [
            f'{self.path}:',
            f'  source             {self.converted.source}',
            f'  container          {self.opened.container or "none"}{others}',
            f'  tensors            {len(self.opened.state)}, of which '
            f"{len(self.converted.state)} are the backbone's",
            f'  sizes              {self.sizes}',
        ]
        return '\n'.join(lines)


def _named_arch(name: str) -> dict[str, Any]:
    """Return the sizes of an architecture, e.g. 'vit-tiny' or 'hiera-base'."""
    from lightvit_dense.models.backbones.hiera import HIERA_ARCHITECTURES
    from lightvit_dense.models.backbones.swin import SWIN_ARCHITECTURES
    from lightvit_dense.models.backbones.vit import ARCHITECTURES

    known = {f'vit-{k}': v for k, v in ARCHITECTURES.items()}
    known |= {f'hiera-{k.replace("_", "-")}': v for k, v in HIERA_ARCHITECTURES.items()}
    known |= {f'swin-{k}': v for k, v in SWIN_ARCHITECTURES.items()}
    if name not in known:
        raise CheckpointError(f"arch '{name}' is unknown; choose from {', '.join(sorted(known))}.")
    return dict(known[name])


def inspect_checkpoint(
    path: str | os.PathLike,
    key: str | None = None,
    arch: str | None = None,
    heads: int | None = None,
) -> Inspection:
    """Tell what a checkpoint file is.

    Args:
        path: The file, or a folder of Hugging Face's with a model.safetensors.
        key: Which network to take where the file has several.
        arch: An architecture that the shapes are held against and that tells the heads.
        heads: The number of heads (of Hiera's first stage).

    Returns:
        Its source, container and sizes.

    Raises:
        CheckpointError: If the file cannot be read, holds no backbone of ours, or contradicts
            ``arch``.
    """
    path = Path(path).expanduser()
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
    if arch is not None:
        _hold_against(path, sizes, arch)
    found = known_heads(path)
    if found is not None:
        sizes.heads, sizes.heads_from = found, 'from the file beside it'
    if arch is not None:
        named = _named_arch(arch)['num_heads']
        sizes.heads, sizes.heads_from = named, f'of {arch}'
    if heads is not None:
        sizes.heads, sizes.heads_from = heads, 'as given'
    if found is not None and sizes.heads != found:
        raise CheckpointError(
            f'{path}: {sizes.heads} heads are asked for, but the file beside it says {found}. '
            f'Give --heads {found} or leave it out.'
        )
    whole, _ = find_source(opened.names)
    return Inspection(path, opened, converted, sizes, None if whole is None else whole.name)


def _hold_against(path: Path, sizes: Sizes, name: str) -> None:
    """Raise if the shapes are not those of a named architecture."""
    arch = _named_arch(name)
    family = 'hiera' if 'stages' in arch else 'swin' if 'depths' in arch else 'vit'
    stages = tuple(arch.get('stages', arch.get('depths', ())))
    wanted = (family, arch['embed_dim'], arch.get('depth', sum(stages)))
    if (sizes.family, sizes.width, sizes.depth) != wanted or sizes.stages != stages:
        raise CheckpointError(
            f'{path}: is not {name} (family, width, blocks {wanted}), its shapes say: {sizes}. '
            'Leave --arch out, or take another checkpoint.'
        )


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
    """Write the config of our backbone of the sizes of a checkpoint.

    Args:
        sizes: What the shapes tell, heads included.
        img_size: (height, width) in pixels that the position table is made for; None for the
            checkpoint's.

    Raises:
        CheckpointError: If heads or image size are unknown.
    """
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
    if sizes.mlp_ratio != 4.0:
        arch['mlp_ratio'] = sizes.mlp_ratio
    common = dict(img_size=img_size, final_norm=sizes.final_norm)
    if sizes.family == 'hiera':
        arch['stages'] = sizes.stages
        return dict(type='lightvit_dense.Hiera', arch=arch, **common)
    if sizes.family == 'swin':
        arch['depths'] = sizes.stages
        windows = dict(patch_size=sizes.patch, window_size=sizes.window)
        return dict(type='lightvit_dense.SwinTransformer', arch=arch, **windows, **common)
    arch['depth'] = sizes.depth
    return dict(
        type='lightvit_dense.VisionTransformer',
        arch=arch,
        patch_size=sizes.patch,
        qkv_bias=sizes.qkv_bias,
        cls_token=sizes.cls_token,
        **common,
        **_relative_options(sizes),
    )


def build_backbone(sizes: Sizes, img_size: tuple[int, int] | None = None) -> nn.Module:
    """Build our backbone of the sizes of a checkpoint, its values not loaded yet.

    Args:
        sizes: As for :func:`backbone_config`.
        img_size: As for :func:`backbone_config`.

    Raises:
        CheckpointError: If heads or image size are unknown or do not fit.
    """
    from lightvit_dense.registry import MODELS

    config = backbone_config(sizes, img_size)
    try:
        return MODELS.build(config)
    except ValueError as error:
        raise CheckpointError(f'{error}. Give other --heads, --arch or --img-size.') from error


def load_inspected(backbone: nn.Module, inspection: Inspection) -> LoadReport:
    """Load an inspected checkpoint into a backbone.

    Args:
        backbone: See :func:`build_backbone`.
        inspection: The checkpoint.

    Returns:
        The report of the load, which tells of the change of names too.
    """
    converted, opened = inspection.converted, inspection.opened
    report = load_backbone(backbone, converted.state, verbose=False)
    report.path, report.source = str(inspection.path), converted.source
    report.container, report.others = opened.container, opened.others
    report.dropped = converted.dropped + report.dropped
    report.notes = converted.notes + report.notes
    return report


def provenance(inspection: Inspection, report: LoadReport) -> dict[str, Any]:
    """Say as plain data where converted weights come from."""
    return dict(
        converted_from=inspection.path.name,
        sha256=sha256(inspection.path),
        source=report.source,
        container=report.container,
        heads=f'{inspection.sizes.heads} ({inspection.sizes.heads_from})',
        notes=report.notes,
        resized={n: [list(a), list(b)] for n, (a, b) in report.resized.items()},
        lost=report.unexpected,
    )


def convert_checkpoint(
    inspection: Inspection,
    destination: str | os.PathLike | None,
    form: str = 'ours',
    img_size: tuple[int, int] | None = None,
    lossy: bool = False,
) -> tuple[LoadReport, Path | None]:
    """Load a checkpoint into a backbone of ours and write it.

    Args:
        inspection: The checkpoint, see :func:`inspect_checkpoint`.
        destination: A .safetensors file, or a folder for 'hf'; None writes nothing.
        form: 'ours', 'timm' or 'hf'.
        img_size: (height, width) in pixels to resize the position table for.
        lossy: Whether parameters that our backbone lacks may get lost.

    Returns:
        The report of the load, and the path of the metadata that was written.

    Raises:
        CheckpointError: If something does not fit, would get lost, or cannot be expressed.
    """
    backbone = build_backbone(inspection.sizes, img_size)
    report = load_inspected(backbone, inspection)
    if report.missing or (report.unexpected and not lossy):
        raise CheckpointError(
            f'{report}\n{inspection.path}: not converted, because the parameters named above as '
            'missing or unexpected would be random or lost. --lossy leaves unexpected ones out.'
        )
    if destination is None:
        return report, None
    try:
        return report, FORMS[form](backbone, destination, provenance(inspection, report))
    except ValueError as error:
        raise CheckpointError(f'{error}. Give another destination.') from error
