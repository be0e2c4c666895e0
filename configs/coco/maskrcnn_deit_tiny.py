"""Mask R-CNN, ViT-Tiny from supervised training (DeiT), COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` from the backbone of `imagenet/deit_vit-tiny_improved_300e.py`.
Source    ICML paper; the authors' detectron2 configuration.
Expected  box AP 40.4, mask AP 35.5 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_deit_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/deit_vit-tiny_improved_300e/backbone.safetensors')
    )
)

expected = [('coco/bbox_mAP', 0.404, 0.005), ('coco/segm_mAP', 0.355, 0.005)]
