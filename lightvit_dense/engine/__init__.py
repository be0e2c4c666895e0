"""Hooks and engine options shared by every task."""

from lightvit_dense.compat import config_text, message_hub, package_configs
from lightvit_dense.engine.hooks import *  # noqa: F403
from lightvit_dense.engine.optimizers import LayerDecayOptimWrapperConstructor
from lightvit_dense.engine.options import apply_engine_options, scale_learning_rate
from lightvit_dense.engine.schedulers import WarmupCosineLR

# Checkpoints hold the text of their config; configs of users inherit from ours; no wait for losses.
config_text.install()
message_hub.install()
package_configs.install()
