"""The student of the stamp world, pre-trained by D-MAE.

What      `configs/toyworld/dmae_student.py` with the stamp world's images; name the file of
          `mae_teacher.py`'s network by `model.distiller.teacher.init_cfg.checkpoint`.
Source    Ours.
Run       tools/train.py configs/stampworld/dmae.py
"""

_base_ = '../_base_/tasks/toyworld_dmae.py'

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
