"""Mask R-CNN, ViT-Tiny from scratch, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` without pre-training.
Source    ICML paper; the authors' detectron2 configuration.
Expected  box AP 32.7, mask AP 28.9 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_scratch_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(backbone=dict(init_cfg=None))

expected = [('coco/bbox_mAP', 0.327, 0.005), ('coco/segm_mAP', 0.289, 0.005)]
