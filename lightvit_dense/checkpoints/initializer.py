"""``init_cfg=dict(type='lightvit_dense.PretrainedBackbone', checkpoint=...)``."""

from mmengine.model import update_init_info
from torch import nn

from lightvit_dense.registry import WEIGHT_INITIALIZERS

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
        reserve: How many leading blocks to load (arXiv 2205.14443): the blocks above and
            the final norm stay as initialised, 0 loads the embedding alone, ``None`` or the depth
            all. A model that is random altogether has no ``init_cfg``.
    """

    def __init__(
        self,
        checkpoint: str,
        strict: bool = False,
        source_grid: tuple[int, int] | None = None,
        verbose: bool = True,
        key: str | None = None,
        any_depth: bool = False,
        reserve: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.strict = strict
        self.source_grid = (source_grid[0], source_grid[1]) if source_grid else None
        self.verbose = verbose
        self.key = key
        self.any_depth = any_depth
        self.reserve = reserve

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
            self.reserve,
        )
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: load from {self.checkpoint}')
