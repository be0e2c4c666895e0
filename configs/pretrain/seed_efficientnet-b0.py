"""SEED: EfficientNet-B0 learns from a self-supervised ResNet-50, 200 epochs of ImageNet-1k.

What      Similarities of an image to 65 536 others, as the teacher has them at temperature 0.01,
          are followed by the student at 0.2; one view for both, MoCo-v2's augmentation; SGD, lr
          0.03, batch 256.
Source    Fang et al. 2021 (arXiv 2101.04731) and its code: its EfficientNet is TensorFlow's, with
          drop connect and dropout of 0.2. Which teacher stood behind the figure below is not
          published; here it is MoCo-v2's ResNet-50 of 200 epochs, the method's first. For SwAV's
          give its file, `teacher.head='swav'`, and crops from 0.14 on. The code defaults to a
          teacher's temperature of 1e-4, and keeps the rate of the first five epochs at 0.03, at
          most a thousandth more.
Expected  77.2% ImageNet-1k top-1 after fine-tuning, 83.5 on ReaL, 65.9 on V2 (ICLR submission of
          the first paper, table 2). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/seed_efficientnet-b0.py 8 --amp \
          --work-dir work_dirs/seed_efficientnet-b0

The teacher is `moco_v2_200ep_pretrain.pth.tar` as the authors of MoCo-v2 publish it.
"""

_base_ = ['../_base_/datasets/imagenet_pretrain.py', '../_base_/default_runtime.py']
default_scope = 'lightvit_dense'

model = dict(
    type='lightvit_dense.SEED',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='lightvit_dense.TimmBackbone',
        name='tf_efficientnet_b0',
        options=dict(drop_path_rate=0.2, bn_momentum=0.01),
        torch_init=True,
    ),
    teacher=dict(
        type='lightvit_dense.EmbeddingTeacher',
        backbone=dict(type='lightvit_dense.TimmBackbone', name='resnet50'),
        head='mocov2',
        checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/moco_v2_200ep_pretrain.pth.tar',
    ),
    queue_size=65536,
    dropout=0.2,
    student_temperature=0.2,
    teacher_temperature=0.01,
)
train_dataloader = dict(
    batch_size=32,  # x 8 GPUs = 256
    dataset=dict(
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.2, 1.0),
                interpolation='bilinear',
                max_bad=10,
                exif=False,
            ),
            dict(
                type='lightvit_dense.ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
                prob=0.8,
            ),
            dict(type='lightvit_dense.RandomGrayscale', prob=0.2),
            dict(type='lightvit_dense.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ]
    ),
)
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = dict(type='mmengine.CosineAnnealingLR', by_epoch=True, T_max=200)
train_cfg = dict(by_epoch=True, max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
