"""The network of a tracker in ONNX Runtime."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightvit_dense.deploy import onnx_session
from lightvit_dense.errors import UserError

from ..models.decoding import check_crop
from .export import (
    FRAME,
    FRAME_INT8,
    TEMPLATE,
    export_tracker,
    fingerprint,
    quantize_frame,
)
from .frame_module import ranking_weights


def open_session(path: Path, threads: int | None) -> Any:
    """Open an ONNX file on the CPU; an error names a file that cannot be read."""
    try:
        return onnx_session(path, threads)
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise UserError(f'{path}: ONNX Runtime cannot read it ({error}); export it anew') from error


class OnnxNetwork:
    """Exported files of a tracker, run by ONNX Runtime on the CPU.

    Args:
        model: The :class:`OneStreamTracker` that the files are of, on the CPU.
        path: Their folder. Where it has none they are written; without a folder they live as long
            as this object is being made.
        window: Whether the Hann window favours the middle of the search crop.
        eliminate: False to keep all search tokens.
        int8: Whether products are in 8 bits.
        threads: Threads within an operator; ONNX Runtime's choice by default.
    """

    def __init__(
        self,
        model: Any,
        path: str | Path | None = None,
        window: bool = True,
        eliminate: bool = True,
        int8: bool = False,
        threads: int | None = None,
    ) -> None:
        if next(model.parameters()).device.type != 'cpu':
            raise UserError("exported trackers run on the CPU: give the tracker device='cpu'")
        self.model = model.eval()
        with tempfile.TemporaryDirectory() as folder:
            self._open(Path(path or folder), window, eliminate, int8, threads)
        self._feed: dict[str, np.ndarray] = {}

    def _open(
        self, folder: Path, window: bool, eliminate: bool, int8: bool, threads: int | None
    ) -> None:
        frame = folder / (FRAME_INT8 if int8 else FRAME)
        if not (folder / TEMPLATE).is_file() or not (folder / FRAME).is_file():
            export_tracker(self.model, folder, window, eliminate, int8)
        elif not frame.is_file():
            quantize_frame(folder)
        self.once, self.each = (open_session(p, threads) for p in (folder / TEMPLATE, frame))
        wanted = fingerprint(self.model, window, eliminate)
        for session, file in ((self.once, folder / TEMPLATE), (self.each, frame)):
            found = session.get_modelmeta().custom_metadata_map.get('fingerprint')
            if found != wanted:
                raise UserError(
                    f'{file} was exported from other weights or with other options than this '
                    'tracker has; export it anew or name another folder'
                )
        self._inputs = [item.name for item in self.each.get_inputs()]

    @torch.inference_mode()
    def set_template(self, crop: np.ndarray, box: np.ndarray) -> None:
        """Take the template; see :class:`~tracking.runtime.network.FrameNetwork`."""
        side = self.model.template_size
        check_crop(crop, 'template', side)
        weights = ranking_weights(self.model, torch.as_tensor(np.asarray(box, np.float32)) / side)
        state = self.once.run(None, {'template': np.ascontiguousarray(crop)})
        names = [f'state{index}' for index in range(len(state))]
        feed = dict(zip(names, state, strict=True), weights=weights.numpy())
        # What the graph does not read is no input of it.
        self._feed = {name: value for name, value in feed.items() if name in self._inputs}

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the target; see :class:`~tracking.runtime.network.FrameNetwork`."""
        if not self._feed:
            raise ValueError('the network has no template yet: call set_template first')
        check_crop(crop, 'search', self.model.search_size)
        (found,) = self.each.run(None, {'search': np.ascontiguousarray(crop), **self._feed})
        return found[:4].astype(np.float64), float(found[4])
