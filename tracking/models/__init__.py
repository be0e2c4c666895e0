"""The one-stream tracker and its parts."""

from .heads import CenterHead, DenseHead, Maps, MLPHead, decode
from .joint_hiera import JointHiera
from .joint_vit import JointVisionTransformer
from .one_stream import OneStreamTracker
from .preprocessor import PairPreprocessor
