"""mmengine's own loading (``--resume``, ``load_from``, ``init_cfg``) made safe.

mmengine 0.10 loads a file that it finds unsafe all the same, with a warning. Here such a file is
refused, and every broken file gets an answer that names it.
"""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .io import read_checkpoint


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint for mmengine.

    Args:
        filename: Path of the file, '~' allowed.
        map_location: As for ``torch.load``.

    Returns:
        The checkpoint; the tensors of a .safetensors file stand under 'state_dict'.

    Raises:
        CheckpointError: If the file cannot be read safely.
    """
    content = read_checkpoint(filename, map_location)
    if str(filename).endswith('.safetensors'):
        return {'state_dict': content}
    return content


def install() -> None:
    """Make mmengine read local files by :func:`load_from_local`; may be called repeatedly."""
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
