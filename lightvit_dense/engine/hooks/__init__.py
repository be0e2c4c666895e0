"""Registered hooks, one idea a file."""

from lightvit_dense.engine.hooks.checkpoint import AtomicLocalBackend, CheckpointHook
from lightvit_dense.engine.hooks.iteration_seed import IterationSeedHook
from lightvit_dense.engine.hooks.resume_position import ResumePositionHook

__all__ = ['AtomicLocalBackend', 'CheckpointHook', 'IterationSeedHook', 'ResumePositionHook']
