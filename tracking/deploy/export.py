"""A tracker's network as ONNX files: one for the template, one for each frame.

==================  ================================================================================
template.onnx       ``template`` uint8 [h, w, 3] to the encoder's state of it
frame.onnx          ``search`` uint8 [H, W, 3], the state and ``weights`` (which template tokens
                    rank the candidates) to ``found`` [5]: x, y, width, height in pixels of the crop
                    and the score; window, choice of the cell and decoding are inside
frame_int8.onnx     the same with products in 8 bits
==================  ================================================================================

Each file says in its metadata what it was made of, so that it is not run with another model.
"""

import hashlib
import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightvit_dense.deploy import add_metadata
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_path

from .frame_module import FrameModule, ranking_weights
from .fused_attention import marked_attention

TEMPLATE, FRAME, FRAME_INT8 = 'template.onnx', 'frame.onnx', 'frame_int8.onnx'
FORMAT = 1
OPSET = 17


class _Template(nn.Module):
    """The part that runs once a target."""

    def __init__(self, module: FrameModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, template: Tensor) -> tuple[Tensor, ...]:
        """Return the state of a crop [h, w, 3]."""
        return self.module.template(template)


def fingerprint(model: nn.Module, window: bool, eliminate: bool) -> str:
    """Return a number that other weights, sizes or options would change."""
    tracker: Any = model
    backbone = tracker.backbone
    kept = backbone.eval().candidates(backbone.search_grid[0] * backbone.search_grid[1])
    options = [FORMAT, window, eliminate, kept, backbone.template_tokens]
    options += [tracker.template_size, tracker.search_size, type(backbone).__name__]
    options += [tracker.data_preprocessor.mean.tolist(), tracker.data_preprocessor.std.tolist()]
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f'{name} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def export_tracker(
    model: nn.Module,
    folder: str | Path,
    window: bool = True,
    eliminate: bool = True,
    int8: bool = False,
) -> Path:
    """Write a tracker's network as ONNX files for ONNX Runtime; return the folder, which is made.

    ``model`` is an :class:`OneStreamTracker`, fp32, on the CPU. ``window`` says whether the Hann
    window favours the middle of the search crop, ``eliminate`` whether search tokens drop out,
    ``int8`` whether the 8-bit file is written as well.
    """
    for package in ('onnx', 'onnxruntime'):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f'{package} is not installed; exported trackers need it: pip install onnx '
                'onnxruntime'
            ) from error
    tracker: Any = model
    if next(model.parameters()).device.type != 'cpu':
        raise UserError('a tracker is exported on the CPU: call model.cpu() first')
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{folder}: cannot be made a folder ({error})') from error
    module = FrameModule(model, window, eliminate).eval()
    template, search = (torch.zeros(s, s, 3, dtype=torch.uint8) for s in tracker.sizes)
    state = module.template(template)
    weights = ranking_weights(model, torch.tensor([0.25, 0.25, 0.5, 0.5]))
    names = [f'state{index}' for index in range(len(state))]
    about = dict(fingerprint=fingerprint(model, window, eliminate), format=str(FORMAT))
    inputs = (search, *state, weights)
    try:
        (folder / FRAME_INT8).unlink(missing_ok=True)  # it may be of other weights
        _write(_Template(module), folder / TEMPLATE, (template,), ['template'], names, about)
        with marked_attention():
            input_names = ['search', *names, 'weights']
            _write(module, folder / FRAME, inputs, input_names, ['found'], about)
        if int8:
            quantize_frame(folder)
    except (torch.onnx.errors.OnnxExporterError, OSError) as error:
        reason = str(error).partition('[Caused by')[0].strip()
        raise UserError(f'{folder}: the tracker cannot be written as ONNX: {reason}') from error
    return folder


def _write(
    module: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    about: dict[str, str],
) -> None:
    with atomic_path(path) as draft, warnings.catch_warnings():
        # The tracer warns of each Python number taken from a shape; the sizes are fixed here.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            inputs,
            str(draft),
            input_names=input_names,
            output_names=output_names,
            opset_version=OPSET,
            dynamo=False,
        )
        add_metadata(draft, about)


def quantize_frame(folder: str | Path) -> Path:
    """Write ``frame_int8.onnx`` from ``frame.onnx``: products of tokens with weights in 8 bits.

    Weights have 7 bits and one scale a channel, because the 8-bit products of CPUs without VNNI
    saturate; activations are scaled anew with each frame. Attention and convolutions stay in fp32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = Path(folder) / FRAME, Path(folder) / FRAME_INT8
    with atomic_path(target) as draft:
        # It advises to prepare the graph by what does not know fused attention.
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(
                source,
                draft,
                op_types_to_quantize=['MatMul', 'Gemm'],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options=dict(DefaultTensorType=onnx.TensorProto.FLOAT),
            )
        finally:
            logging.disable(logging.NOTSET)
        found = {item.key: item.value for item in onnx.load(str(source)).metadata_props}
        add_metadata(draft, found)
    return target


def largest_difference(network: Any, plain: Any, crops: list[np.ndarray]) -> float:
    """Return how far a network's boxes are from the nearest of the plain one's tied, in pixels."""
    return max(float(np.abs(network(crop)[0] - plain.tied(crop)).max(1).min()) for crop in crops)
