"""D-MAE on a small image set: MAE plus the attention of a larger network.

What      `mae.py`, whose last layer follows that of `mae_teacher.py`'s network.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      5 minutes of a CPU core, after the teacher's 4.
Run       tools/train.py configs/toyworld/small_sets/dmae.py
"""

_base_ = '../../_base_/tasks/small_sets_dmae.py'
