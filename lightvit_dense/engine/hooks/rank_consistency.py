"""Prove that all processes hold the same weights."""

import hashlib

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.registry import HOOKS


def parameter_digest(model: nn.Module) -> str:
    """Return the SHA-256 of the bytes of all parameters, in order."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        raw = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


@HOOKS.register_module()
class RankConsistencyHook(Hook):
    """Compare the parameters of all processes, bit for bit, at the end of training."""

    def after_train(self, runner: Runner) -> None:
        """Gather a digest from every rank and compare."""
        digests = all_gather_object(parameter_digest(unwrap(runner.model)))
        different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if different:
            raise RuntimeError(f'the parameters of rank(s) {different} differ from those of rank 0')
        runner.logger.info(f'{len(digests)} rank(s) hold the same parameters: {digests[0][:16]}')
