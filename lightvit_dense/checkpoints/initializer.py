"""``init_cfg=dict(type='lightvit_dense.PretrainedBackbone', checkpoint=...)`` and its like."""

from mmengine.model import update_init_info
from torch import nn

from lightvit_dense.registry import WEIGHT_INITIALIZERS

from .classifier import load_classifier
from .errors import CheckpointError
from .loader import load_backbone


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialise a backbone from a checkpoint of any known source.

    Every process reads the same file, so that all ranks start alike.

    Args:
        checkpoint: Path of a .safetensors or .pth file.
        strict: Whether missing or unexpected parameters are an error.
        source_grid: (height, width) of the checkpoint's position table in patches, where it is
            neither square nor the model's own.
        verbose: Whether to log what was loaded.
        key: Which network to take where the file has several, see
            :func:`~lightvit_dense.checkpoints.load_backbone`.
        any_depth: Whether a checkpoint of more or fewer blocks may be loaded as far as it goes.
        num_pretrained_blocks: How many leading blocks to load (arXiv 2205.14443): the blocks above and
            the final norm stay as initialised, 0 loads the embedding alone, ``None`` or the depth
            all. A model that is random altogether has no ``init_cfg``.
        skip: Regular expression of parameters that stay as initialised, e.g. ``'qkv.bias'``.
    """

    def __init__(
        self,
        checkpoint: str,
        strict: bool = False,
        source_grid: tuple[int, int] | None = None,
        verbose: bool = True,
        key: str | None = None,
        any_depth: bool = False,
        num_pretrained_blocks: int | None = None,
        skip: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.strict = strict
        self.source_grid = (source_grid[0], source_grid[1]) if source_grid else None
        self.verbose = verbose
        self.key = key
        self.any_depth = any_depth
        self.num_pretrained_blocks = num_pretrained_blocks
        self.skip = skip

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into a module.

        Args:
            module: The backbone.

        Raises:
            CheckpointError: If the checkpoint cannot be read or does not fit.
        """
        load_backbone(
            module,
            self.checkpoint,
            self.strict,
            self.verbose,
            self.source_grid,
            self.key,
            self.any_depth,
            self.num_pretrained_blocks,
            self.skip,
        )
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
        source_grid: (height, width) of the checkpoint's position table in patches, where it is
            neither square nor the model's own.
        complete: Whether it is an error if anything of the model is not in the checkpoint.
        verbose: Whether to log what was loaded.
    """

    def __init__(
        self,
        checkpoint: str,
        key: str | None = None,
        source_grid: tuple[int, int] | None = None,
        complete: bool = False,
        verbose: bool = True,
    ) -> None:
        self.checkpoint = checkpoint
        self.key = key
        self.source_grid = (source_grid[0], source_grid[1]) if source_grid else None
        self.complete = complete
        self.verbose = verbose

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into a classifier.

        Args:
            module: The classifier.

        Raises:
            CheckpointError: If the checkpoint cannot be read or does not fit, or the backbone names
                another.
        """
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
        load_classifier(
            module,
            self.checkpoint,
            self.key,
            self.source_grid,
            self.verbose,
            self.complete,
        )
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')
