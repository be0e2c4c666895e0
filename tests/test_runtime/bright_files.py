"""Files as the exporter writes them: their networks find what is bright."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import parser

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
BRIGHT = """
    level = Constant <value_float = 128.0> ()
    first = Constant <value_ints = [0]> ()
    swap = Constant <value_ints = [1, 0]> ()
    one = Constant <value_ints = [1]> ()
    floats = Cast <to = 1> (pixels)
    grey = ReduceMean <axes = [-1], keepdims = 0> (floats)
    bright = Greater (grey, level)
    places = NonZero (bright)
    low_yx = ReduceMin <axes = [1], keepdims = 0> (places)
    last_yx = ReduceMax <axes = [1], keepdims = 0> (places)
    high_yx = Add (last_yx, one)
    low = Gather (low_yx, swap)
    high = Gather (high_yx, swap)
"""
DETECTOR = f"""{HEADER}
detector (uint8[1, H, W, 3] image)
=> (float[1, 4] boxes, float[1] scores, int64[1] labels, uint8[1, H, W] masks) {{
    begin = Constant <value_ints = [0]> ()
    pixels = Squeeze (image, begin)
    {BRIGHT}
    corners = Concat <axis = 0> (low, high)
    numbers = Cast <to = 1> (corners)
    boxes = Unsqueeze (numbers, first)
    scores = Constant <value_floats = [0.5]> ()
    labels = Identity (one)
    mask = Cast <to = 2> (bright)
    masks = Unsqueeze (mask, first)
}}"""
TRACKER = f"""{HEADER}
tracker (uint8[32, 32, 3] template, float[4] box, uint8[64, 64, 3] search)
=> (float[5] found, int64[1] cells) {{
    pixels = Identity (search)
    {BRIGHT}
    size = Sub (high, low)
    whole = Concat <axis = 0> (low, size)
    numbers = Cast <to = 1> (whole)
    score = Constant <value_floats = [0.75]> ()
    found = Concat <axis = 0> (numbers, score)
    cells = Identity (first)
}}"""
CLASSIFIER = f"""{HEADER}
classifier (uint8[B, H, W, 3] image) => (float[B, 2] scores) {{
    floats = Cast <to = 1> (image)
    mean = ReduceMean <axes = [1, 2, 3], keepdims = 1> (floats)
    flat = Flatten (mean)
    most = Constant <value_float = 255.0> ()
    light = Div (flat, most)
    unit = Constant <value_float = 1.0> ()
    dark = Sub (unit, light)
    scores = Concat <axis = 1> (dark, light)
}}"""
GRAPHS = {'detection': DETECTOR, 'tracking': TRACKER, 'classification': CLASSIFIER}


def about(task: str, **changes) -> dict:
    """Return the metadata of a file."""
    graph = parser.parse_model(GRAPHS[task]).graph
    tensors = {}
    for kind, values in (('inputs', graph.input), ('outputs', graph.output)):
        tensors[kind] = []
        for value in values:
            tensor = value.type.tensor_type
            shape = [dim.dim_value or None for dim in tensor.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            tensors[kind].append(dict(name=value.name, dtype=dtype, shape=shape))
    found = dict(format=1, version='0.1.0', task=task, precision='fp32', config='c.py')
    found |= dict(checkpoint='c.pth', checkpoint_sha256='', classes=['dark', 'light'], **tensors)
    found |= dict(limits=dict(min_size=[2, 2], max_size=[256, 256]))
    if task == 'tracking':
        found |= dict(template_size=32, search_size=64, template_factor=2.0, search_factor=4.0)
        found |= dict(window=True, margin=10)
    return found | changes


def write(path: Path, task: str, metadata: dict | None = None) -> Path:
    """Write an ONNX file."""
    model = parser.parse_model(GRAPHS[task])
    text = json.dumps(about(task) if metadata is None else metadata)
    onnx.helper.set_model_props(model, {'lightvit_dense': text})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def film(count: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    """Return frames of a bright rectangle that moves and grows, and its boxes [T, 4]."""
    steps = np.arange(count)[:, None]
    boxes = np.array([60, 40, 24, 16]) + steps * [6, 4, 2, 1]
    frames = [np.full((160, 200, 3), 20, np.uint8) for _ in boxes]
    for frame, (x, y, width, height) in zip(frames, boxes, strict=True):
        frame[y : y + height, x : x + width] = 250
    return frames, boxes
