"""The student of the stamp world, pre-trained by D²-MAE.

What      `configs/toyworld/d2mae_student.py` with the stamp world's images and the network of
          `stamps_mae_teacher.py`.
Source    Ours.
Run       tools/train.py configs/stampworld/stamps_d2mae.py
"""

_base_ = '../_base_/tasks/toyworld_dmae.py'

model = dict(
    reconstruct_after=4,
    distiller=dict(
        teacher=dict(init_cfg=dict(checkpoint='work_dirs/stamps_mae_teacher/backbone.safetensors')),
        pairs=[(7, 6)],
        extra_layer=True,
    ),
)

data_root = '{{$LIGHTVIT_DATA:data}}/stampworld/coco/'
train_dataloader = dict(dataset=dict(data_root=data_root))
