"""One operator of ONNX, computed by onnxruntime."""

import numpy as np
import onnxruntime
from onnx import helper


def compute(operator: str, opset: int, feed: dict[str, np.ndarray], **attributes) -> np.ndarray:
    """Return what an operator makes of named inputs."""
    node = helper.make_node(operator, list(feed), ['result'], **attributes)
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feed.items()
    ]
    # Of the result's kind the operator itself says everything.
    outputs = [helper.make_empty_tensor_value_info('result')]
    graph = helper.make_graph([node], operator, inputs, outputs)
    opsets = [helper.make_opsetid('', opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    return session.run(None, feed)[0]
