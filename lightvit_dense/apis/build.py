"""Build a model from a config."""

import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import nn

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.checkpoints import fit_checkpoint
from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.registry import MODELS


def build_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Build the model of a config, in evaluation mode.

    Args:
        config: Config or its path.
        checkpoint: Checkpoint to load, for a classifier from any known source; without one the
            weights are initialised as the config says (``init_cfg``).
        device: Where the model goes; CUDA when there is one, else the CPU.

    Returns:
        The model; ``cfg`` is its config, ``dataset_meta`` what the checkpoint says of its data
        (classes, palette) or None, ``load_notes`` what was done to its values.
    """
    cfg = load_config(config)
    if checkpoint is not None and '://' not in str(checkpoint) and not Path(checkpoint).is_file():
        raise UserError(f'checkpoint {checkpoint} does not exist')
    prepare_scope(cfg)
    with user_errors(cfg):
        model = MODELS.build(cfg.model)
        model.dataset_meta, model.load_notes = None, []
        if checkpoint is None:
            model.init_weights()
        else:
            content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu', logger='silent')
            model.load_notes = fit_checkpoint(model, content, checkpoint)
            state = content.get('state_dict', content)
            load_state_dict(model, {re.sub(r'^module\.', '', k): v for k, v in state.items()})
            meta = content.get('meta')
            model.dataset_meta = meta.get('dataset_meta') if isinstance(meta, dict) else None
    model.cfg = cfg
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return model.to(device).eval()
