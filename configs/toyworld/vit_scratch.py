"""Classification on a tenth of the toy world's labels, from scratch.

What      The network of `mae_student.py`; the improved fine-tuning recipe made small: mean of the
          patch tokens, layer decay 0.85, random crops and flips, no other regularisation; 300
          images, six classes. The world needs the layout imagenet:
          tools/dataset_converters/make_toyworld.py --layouts coco imagenet
Source    Ours.
Expected  Part of the suite configs/suites/toyworld.py.
Cost      2 minutes of a CPU core.
Run       tools/train.py configs/toyworld/vit_scratch.py
"""

_base_ = '../_base_/tasks/toyworld_vit.py'
