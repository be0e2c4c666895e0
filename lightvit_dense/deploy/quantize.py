"""Exported files in 8 bits, by the quantisers that come with the runtimes.

Products and convolutions with constant weights compute in 8 bits: weights with a scale for each
channel, inputs with the range that they have on images of the task. Everything else stays float:
softmax, LayerNorm, the products of attention, resizing; and the layers that lose most, as measured
on the same images.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..utils.environment import import_onnx
from ..utils.io import atomic_path
from .data import Arrays

LAYERS = ('Conv', 'Gemm', 'MatMul')
FLOAT_PART = 0.1
"""Part of the layers that stay float, those with the least signal to noise."""


class _Reader:
    """Inputs one after the other, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, inputs: Sequence[Arrays]) -> None:
        self._inputs: Iterator[Arrays] = iter(inputs)

    def __iter__(self) -> Iterator[Arrays]:
        return self._inputs

    def get_next(self) -> Arrays | None:
        return next(self._inputs, None)


def quantize_onnx(
    source: str | Path,
    target: str | Path,
    inputs: Sequence[Arrays],
    float_part: float = FLOAT_PART,
) -> list[str]:
    """Write an ONNX file in 8 bits; returns the names of the layers that stay float.

    Weights have 7 bits: the 8-bit products of CPUs without VNNI saturate. ``inputs`` are inputs of
    the file, of the task's images; ``float_part`` is the part of the layers that stay float.
    """
    onnx, quantization = import_onnx('onnx'), import_module('onnxruntime.quantization')
    with tempfile.TemporaryDirectory() as folder, atomic_path(target) as part:
        ready, ranges = Path(folder, 'ready.onnx'), Path(folder, 'ranges.json')
        # A product with its bias becomes one operator (Gemm), which alone has an 8-bit kernel.
        quantization.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)

        def write(path: Path, floats: Sequence[str]) -> None:
            quantization.quantize_static(
                str(ready),
                str(path),
                _Reader(inputs),
                per_channel=True,
                reduce_range=True,
                op_types_to_quantize=list(LAYERS),
                nodes_to_exclude=list(floats),
                calibration_cache_path=str(ranges),
                extra_options=dict(
                    MatMulConstBOnly=True, OpTypesToExcludeOutputQuantization=list(LAYERS)
                ),
            )

        model = onnx.load(str(ready))
        constant = {item.name for item in model.graph.initializer}
        layers = [
            node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in constant
        ]
        floats: list[str] = []
        if count := math.ceil(float_part * len(layers)):
            write(part, ())
            clear = _signal_to_noise(ready, part, inputs[:2])
            layers.sort(key=lambda node: min(clear.get(name, math.inf) for name in node.input[:2]))
            floats = [node.name for node in layers[:count]]
        write(part, floats)
        quantized, about = onnx.load(str(part)), onnx.load(str(source)).metadata_props
        onnx.helper.set_model_props(quantized, {item.key: item.value for item in about})
        onnx.save(quantized, str(part))
    return floats


def _signal_to_noise(source: Path, quantized: Path, inputs: Sequence[Arrays]) -> dict[str, float]:
    """Return how far 8 bits are from inputs and weights of layers, in decibels by tensor."""
    debug = import_module('onnxruntime.quantization.qdq_loss_debug')
    with tempfile.TemporaryDirectory() as folder:
        watched = str(Path(folder, 'watched.onnx'))
        kinds = ['QuantizeLinear', 'DequantizeLinear']
        debug.modify_model_output_intermediate_tensors(str(quantized), watched, kinds)
        seen = debug.create_activation_matching(
            debug.collect_activations(watched, _Reader(inputs))
        )
    weights = debug.create_weight_matching(str(source), str(quantized))
    ratio = debug.compute_signal_to_quantization_noice_ratio
    return debug.compute_weight_error(weights) | {
        name: ratio(pair['pre_qdq'], pair['post_qdq']) for name, pair in seen.items()
    }
