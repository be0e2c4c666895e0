"""Models outside of Python's training loop: ONNX."""

from .onnx_export import (
    OnnxParity,
    add_metadata,
    compare_labels,
    compare_onnx,
    export_onnx,
    onnx_session,
)
from .parts import (
    PARTS,
    BackboneNeck,
    Normalisation,
    WholeSegmentor,
    make_normalisation,
    make_part,
)
