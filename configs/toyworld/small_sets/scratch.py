"""Classification on a small image set, from scratch.

What      A ViT of 0.7 M parameters and 28 px; the improved fine-tuning recipe made small: mean of
          the patch tokens, layer decay 0.85, random crops, no other regularisation. It trains for a
          fixed number of iterations, whatever the size of the set.
          `train_dataloader.dataset.fraction` takes a part of the labels.
Source    Ours. The learning rate was fixed beforehand for every set and initialisation: from
          scratch 2e-3 and 4e-3 differ by less than a point on training images put aside.
Expected  Part of configs/suites/small_sets.py.
Cost      1 minute of a CPU core.
Run       tools/train.py configs/toyworld/small_sets/scratch.py
"""

_base_ = '../../_base_/tasks/small_sets_vit.py'
