"""Mask R-CNN, ViT-Tiny from SimMIM, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` from the backbone of `pretrain/simmim_vit-tiny.py`. Every block
          has BEiT's relative position biases in place of decomposed positions, and trained
          LayerScales.
Source    The backbone is the authors' detectron2 class for SimMIM; its configuration and the
          pre-training are not published. Stand-ins: the other values of their configuration, and
          LayerScales from 1, which leave a backbone without them as it is. From a file in SimMIM's
          format (gammas, shared biases, biases of query and value) all are loaded.
Expected  box AP 39.3, mask AP 34.8 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_simmim_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(
        rel_pos=dict(kind='bias'),  # tables for windows of 14, and for 640 px in the global blocks
        layer_scale=1.0,
        init='beit',
        init_cfg=dict(checkpoint='work_dirs/simmim_vit-tiny/backbone.safetensors'),
    )
)

expected = [('coco/bbox_mAP', 0.393, 0.005), ('coco/segm_mAP', 0.348, 0.005)]
