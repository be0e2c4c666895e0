"""How parameters are grouped for the optimizer."""

from lightvit_dense.engine.optimizers.layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor']
