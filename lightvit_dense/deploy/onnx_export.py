"""Export to ONNX, and the proof that ONNX Runtime computes the same.

The exporter is torch's tracing one: it needs no package beyond ``onnx``. What it bakes in is the
size of the image; the size of the batch stays open where asked for.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..utils.environment import import_onnx


@dataclass(frozen=True)
class OnnxParity:
    """How far ONNX Runtime is from torch."""

    largest: float  # absolute difference of any output value
    relative: float  # that, divided by the largest absolute value of that output


def _outputs(found: Any) -> tuple[Tensor, ...]:
    """Return a model's output as a flat tuple of tensors."""
    if isinstance(found, Tensor):
        return (found,)
    if isinstance(found, (tuple, list)) and all(isinstance(item, Tensor) for item in found):
        return tuple(found)
    raise ValueError(
        f'a model gives a tensor or several to be exported, this one a {type(found).__name__}'
    )


@torch.no_grad()
def export_onnx(
    model: nn.Module,
    path: str | Path,
    images: Tensor,
    output_names: Sequence[str] = ('output',),
    dynamic_batch: bool = True,
    opset: int = 17,
) -> Path:
    """Write a model in evaluation mode as an ONNX file with one input, ``image``.

    Args:
        model: A classifier, or a backbone with one output or several.
        path: File to write; its folder is made.
        images: Example [B, 3, H, W] in fp32; H and W become part of the file.
        output_names: One name for each output; a single one gets numbers behind it.
        dynamic_batch: Whether the file takes any number of images; if not, B of them.
        opset: Version of ONNX's operators; fused attention needs 14.
    """
    import_onnx('onnx')
    if model.training:
        raise ValueError('only a model in evaluation mode can be exported: call model.eval()')
    count = len(_outputs(model(images)))
    names = list(output_names)
    if len(names) == 1 and count > 1:
        names = [f'{names[0]}{index}' for index in range(count)]
    if len(names) != count:
        raise ValueError(f'the model has {count} outputs, output_names has {len(names)}: {names}')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: 'batch'} for name in ('image', *names)} if dynamic_batch else None
    with warnings.catch_warnings():
        # The tracer warns of each Python number taken from a shape; the sizes are fixed here.
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                model,
                (images,),
                str(path),
                input_names=['image'],
                output_names=names,
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
                # Folded, every block has the biases of all pairs of tokens: 0.6 GB for 512 px.
                do_constant_folding=False,
            )
        except (torch.onnx.errors.OnnxExporterError, ValueError) as error:
            reason = str(error).partition('[Caused by')[0].strip()
            raise UserError(
                f'{type(model).__name__} cannot be written as ONNX {opset}: {reason}'
            ) from error
    return path


def add_metadata(path: str | Path, about: Mapping[str, str]) -> None:
    """Write names and values into an ONNX file; ``session.get_modelmeta()`` reads them."""
    onnx = import_onnx('onnx')
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(about))
    onnx.save(model, str(path))


def onnx_session(path: str | Path, threads: int | None = None) -> Any:
    """Open an ONNX file with ONNX Runtime on the CPU; ``threads`` are those of an operator."""
    runtime = import_onnx('onnxruntime')
    if not Path(path).is_file():
        raise UserError(f'{path}: no such ONNX file; write it with export_onnx first')
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    return runtime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


@torch.no_grad()
def compare_onnx(session: Any, model: nn.Module, images: Tensor) -> OnnxParity:
    """Compare all outputs of a session with those of the model in fp32 on the CPU."""
    ours = _outputs(model(images))
    theirs = [torch.from_numpy(out) for out in session.run(None, {'image': images.numpy()})]
    shapes = [tuple(out.shape) for out in ours], [tuple(out.shape) for out in theirs]
    if shapes[0] != shapes[1]:
        raise ValueError(f'outputs of torch have shapes {shapes[0]}, of ONNX {shapes[1]}')
    largest = relative = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if not (torch.isfinite(mine).all() and torch.isfinite(other).all()):
            raise ValueError('outputs are not finite')
        difference = (mine - other).abs().max().item()
        largest = max(largest, difference)
        relative = max(relative, difference / max(mine.abs().max().item(), 1e-12))
    return OnnxParity(largest, relative)


@torch.no_grad()
def compare_labels(session: Any, model: nn.Module, images: Tensor) -> float:
    """Return the ratio of pixels [B, H, W] to which a session and the model give the same class."""
    (ours,) = _outputs(model(images))
    (theirs,) = session.run(None, {'image': images.numpy()})
    if tuple(ours.shape) != theirs.shape:
        raise ValueError(f'labels of torch have shape {tuple(ours.shape)}, of ONNX {theirs.shape}')
    return (ours == torch.from_numpy(theirs)).double().mean().item()
