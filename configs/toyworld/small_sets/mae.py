"""MAE on a small image set: a ViT of 0.7 M parameters, 28 px.

What      The MAE recipe made small: width 96, depth 6, 7-px patches. Any set in ImageNet's layout
          will do; tools/dataset_converters/make_small_sets.py writes the default one. No flips,
          which digits do not bear.
Source    Ours.
Expected  Part of configs/suites/small_sets.py.
Cost      3 minutes of a CPU core.
Run       tools/train.py configs/toyworld/small_sets/mae.py \
          --cfg-options train_dataloader.dataset.data_root=DIR
"""

_base_ = '../../_base_/tasks/small_sets_mae.py'
