"""The network of a tracker in ONNX Runtime."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lightvit_dense.deploy import onnx_session
from lightvit_dense.errors import UserError

from .export import FRAME, FRAME_INT8, TEMPLATE, export_tracker, fingerprint, quantize_frame
from .frame_module import ranking_weights
from .frame_network import Found, FrameNetwork


def open_session(path: Path, threads: int | None) -> Any:
    """Open an ONNX file on the CPU; an error names a file that cannot be read."""
    try:
        return onnx_session(path, threads)
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise UserError(f'{path}: ONNX Runtime cannot read it ({error}); export it anew') from error


class OnnxNetwork(FrameNetwork):
    """A tracker's files in ONNX Runtime on the CPU; a folder ``path`` without files is filled."""

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
        super().__init__(model)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(path or temporary)
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

    def _begin(self, crop: np.ndarray, box: Tensor) -> dict[str, np.ndarray]:
        state = self.once.run(None, {'template': crop})
        feed = {f'state{index}': value for index, value in enumerate(state)}
        feed['weights'] = ranking_weights(self.model, box).numpy()
        # What the graph does not read is no input of it.
        return {name: value for name, value in feed.items() if name in self._inputs}

    def _find(self, crops: list[np.ndarray]) -> list[Found]:
        # The graph is of one target: several are looked for one after the other.
        runs = zip(crops, self._states, strict=True)
        rows = [self.each.run(None, {'search': crop, **feed})[0] for crop, feed in runs]
        return [(row[:4].astype(np.float64), float(row[4])) for row in rows]
