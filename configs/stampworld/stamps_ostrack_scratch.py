"""A small one-stream tracker on the stamp world's videos, from scratch.

What      `configs/toyworld/ostrack_scratch.py` with the stamp world's data; what is tested are
          strangers.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_ostrack_scratch.py
"""

_base_ = '../_base_/tasks/stampworld_ostrack.py'
