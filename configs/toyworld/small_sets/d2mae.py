"""D²-MAE on a small image set: distillation decoupled from reconstruction.

What      `dmae.py`, but the decoder reads block 4, and a query-key block behind block 6 follows the
          teacher's last layer.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      5 minutes of a CPU core, after the teacher's 4.
Run       tools/train.py configs/toyworld/small_sets/d2mae.py
"""

_base_ = '../../_base_/tasks/small_sets_dmae.py'

model = dict(reconstruct_after=4, distiller=dict(pairs=[(7, 6)], extra_layer=True))
