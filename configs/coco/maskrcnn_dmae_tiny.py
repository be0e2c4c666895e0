"""Mask R-CNN, ViT-Tiny from D-MAE, COCO 2017, 640 px, 100 epochs.

What      The ICML paper's detection benchmark: ViTDet (window 14, global blocks 2/5/8/11, simple
          feature pyramid) on ViT-Tiny with 12 heads, 64 images a step, 184 375 iterations.
Source    The authors' detectron2 configuration.
Expected  box AP 42.3, mask AP 37.4 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      8 GPUs; about 3 GB of GPU memory an image in fp32 without activation checkpointing
          (estimate).
Run       tools/dist_train.sh configs/coco/maskrcnn_dmae_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)

expected = [('coco/bbox_mAP', 0.423, 0.005), ('coco/segm_mAP', 0.374, 0.005)]
