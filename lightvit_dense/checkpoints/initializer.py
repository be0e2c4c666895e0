"""Filling models from checkpoints: ``init_cfg`` types, and the check that nothing stays random."""

import os
from typing import Any

from mmengine.model import update_init_info
from torch import Tensor, nn

from lightvit_dense.errors import CheckpointError
from lightvit_dense.registry import WEIGHT_INITIALIZERS

from .classifier import load_classifier
from .containers import open_checkpoint, unwrap
from .loader import check_finite, load_backbone


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialise a backbone from a checkpoint of any known source.

    Every process reads the same file, so that all ranks start alike.

    Args:
        checkpoint: Path of a .safetensors or .pth file. The other arguments are those of
            :func:`~lightvit_dense.checkpoints.load_backbone`.
        num_pretrained_blocks: How many leading blocks to load (arXiv 2205.14443). A model that is
            random altogether has no ``init_cfg``.
        skip: Regular expression of parameters that stay as initialised, e.g. ``'qkv.bias'``.
    """

    def __init__(
        self,
        checkpoint: str,
        strict: bool = False,
        key: str | None = None,
        any_depth: bool = False,
        num_pretrained_blocks: int | None = None,
        skip: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.options: dict[str, Any] = dict(
            strict=strict,
            key=key,
            any_depth=any_depth,
            num_pretrained_blocks=num_pretrained_blocks,
            skip=skip,
        )

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into a backbone."""
        load_backbone(module, self.checkpoint, **self.options)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')


@WEIGHT_INITIALIZERS.register_module()
class PretrainedClassifier:
    """Initialise a whole :class:`~lightvit_dense.ImageClassifier` from a checkpoint of any source.

    The linear layer of another number of classes is left out, which the report says, and a file
    without a classifier fills the backbone alone. The backbone's own ``init_cfg`` is not used.

    Args:
        checkpoint: Path of a .safetensors or .pth file.
        key: Which network to take where the file has several, e.g. 'ema_state_dict'.
    """

    def __init__(self, checkpoint: str, key: str | None = None) -> None:
        self.checkpoint, self.key = checkpoint, key

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into a classifier whose backbone names none itself."""
        own = module.backbone.init_cfg  # type: ignore[union-attr]
        if isinstance(own, dict) and 'checkpoint' in own:
            raise CheckpointError(
                f'model.init_cfg loads {self.checkpoint}, model.backbone.init_cfg '
                f'{own["checkpoint"]}: set one of them to None, or name the file that is wanted '
                'by model.init_cfg.checkpoint alone'
            )
        # mmengine initialises the parts after the whole: the backbone must not be, and the head
        # before, because its linear layer may stay.
        module.backbone.is_init = True  # type: ignore[union-attr]
        module.head.init_weights()  # type: ignore[union-attr, operator]
        load_classifier(module, self.checkpoint, self.key)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')


def unfilled(model: nn.Module, state: Any) -> list[str]:
    """Name the parameters and buffers of a model that a state dict lacks or has in other shapes."""
    shapes = {
        str(name).removeprefix('module.'): value.shape
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    lacking = [name for name, own in model.state_dict().items() if shapes.get(name) != own.shape]
    # Counters are not in old files; nothing is computed from them.
    return [name for name in lacking if not name.endswith('num_batches_tracked')]


def fit_checkpoint(model: nn.Module, content: dict[str, Any], path: str | os.PathLike) -> list[str]:
    """Make sure that loading a checkpoint leaves nothing of a model (without wrappers) at random.

    mmengine loads what happens to fit and warns about the rest, so that a foreign file is evaluated
    with random weights. Here a classifier takes any file that holds all of it, whoever wrote it
    (:func:`~lightvit_dense.checkpoints.load_classifier`), and a model with ``adapt_state`` those
    that this brings to its names; everything else must fit exactly.

    The 'state_dict' of ``content`` is replaced where names had to be changed. Returns what was done
    to the values, a line each.

    Raises:
        CheckpointError: If values of the model are not in the file, or are NaN or infinite.
    """
    state = content.get('state_dict', content)
    check_finite(path, state, model)
    wrong = unfilled(model, state)
    if not wrong:
        return []
    if hasattr(model, 'backbone') and hasattr(getattr(model, 'head', None), 'fc'):
        report = load_classifier(model, path if os.path.isfile(path) else content, complete=True)
        content['state_dict'] = model.state_dict()
        return report.changes
    if hasattr(model, 'adapt_state'):  # a model that knows the names of others for its own
        opened = open_checkpoint(path) if os.path.isfile(path) else unwrap(content)
        adapted = model.adapt_state(opened.state)  # type: ignore[operator]
        if not unfilled(model, adapted):
            check_finite(path, adapted, model)
            content['state_dict'] = adapted
            return []
    some = ', '.join(wrong[:4]) + (', ...' if len(wrong) > 4 else '')
    raise CheckpointError(
        f'{path}: does not fill the model: {len(wrong)} of its {len(model.state_dict())} values '
        f'are not in the file or have another shape ({some}), and would stay random. Give a '
        'checkpoint that was trained with this config; `python tools/model_converters/'
        f'convert_checkpoint.py {path} --dry-run` tells what the file is.'
    )
