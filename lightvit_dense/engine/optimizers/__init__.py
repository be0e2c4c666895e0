"""How parameters are grouped for the optimizer, and optimizers that torch lacks."""

from lightvit_dense.engine.optimizers.groups import OptimWrapperConstructor
from lightvit_dense.engine.optimizers.lars import lars
from lightvit_dense.engine.optimizers.layer_decay import LayerDecayOptimWrapperConstructor
