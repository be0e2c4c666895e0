"""The larger network that teaches `dmae.py` on a small image set, pre-trained by MAE.

What      `mae.py` with width 128: 1.2 M parameters.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      4 minutes of a CPU core.
Run       tools/train.py configs/toyworld/small_sets/mae_teacher.py
"""

_base_ = '../../_base_/tasks/small_sets_mae.py'

model = dict(backbone=dict(arch=dict(embed_dim=128, num_heads=4)))
