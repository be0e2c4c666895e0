"""The student of the stamp world, pre-trained by D-MAE.

What      `configs/toyworld/dmae_student.py` with the stamp world's images and the network of
          `stamps_mae_teacher.py`.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_dmae.py
"""

_base_ = '../_base_/tasks/toyworld_dmae.py'

model = dict(
    distiller=dict(
        teacher=dict(init_cfg=dict(checkpoint='work_dirs/stamps_mae_teacher/backbone.safetensors'))
    )
)
data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
