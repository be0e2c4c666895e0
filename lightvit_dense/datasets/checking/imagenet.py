"""Check ImageNet-1k, in folders or in an LMDB."""

import os
from collections.abc import Mapping

from ..imagenet_index import FolderTree, LmdbTree, Tree
from ..storage import FolderStorage, LmdbStorage
from ..transforms.loading import BadImage, decode
from ..unlabeled import EXTENSIONS
from .opening import open_some
from .report import Report, Request

IMAGES = {'train': 1281167, 'val': 50000}
"""Published numbers of images."""
CLASSES = 1000
ORIGIN = (
    "Unpack ILSVRC 2012's training archive into train/<class>/, one folder for each of its 1000 "
    'archives, and sort the validation images into val/<class>/.'
)


def check_imagenet(
    root: str,
    request: Request,
    origin: str = ORIGIN,
    images: Mapping[str, int] = IMAGES,
    classes: int = CLASSES,
) -> Report:
    """Check the class folders of ImageNet's layout, or the LMDB ``imagenet.lmdb`` made of them."""
    report = Report('imagenet', root)
    lmdb = os.path.join(root, 'imagenet.lmdb')
    folders: dict[str, set[str]] = {}
    for split in filter(request.wants, images):
        storage: FolderStorage | LmdbStorage
        tree: Tree
        if os.path.isdir(os.path.join(root, split)):
            storage = FolderStorage(root)
            tree = FolderTree(root, split, EXTENSIONS)
        elif os.path.exists(lmdb):
            storage = LmdbStorage(lmdb)
            tree = LmdbTree(storage, split, EXTENSIONS)
        else:
            report.missing(os.path.join(root, split), origin)
            report.count(f'images of {split}', 0, images[split])
            continue
        request.progress(f'listing {tree.name}', 0, images[split])
        by_class = dict(tree.by_class())
        keys = [key for those in by_class.values() for key in those]
        if not keys and split == 'val':
            keys = _flat(report, tree)
        opened = _open(report, request, storage, keys, split, origin)
        report.count(f'images of {split}', len(keys), images[split], opened)
        if not keys:
            report.missing(f'{tree.name}: no image', origin)
        if by_class:
            report.count(f'classes of {split}', len(by_class), classes)
            folders[split] = set(by_class)
        empty = [name for name, those in by_class.items() if not those]
        if keys and empty:
            report.missing(f'{tree.name}: the images of {len(empty)} classes', origin, empty)
    if len(folders) == 2 and folders['train'] != folders['val']:
        differing = sorted(folders['train'] ^ folders['val'])
        report.missing('classes that only one of train and val has', origin, differing)
    return report


def _flat(report: Report, tree: Tree) -> list[str]:
    keys = list(tree.keys())
    if keys:
        report.note(
            f'{tree.name}: the images lie in no class folders, so that ann_file has to name a list '
            'of their labels'
        )
    return keys


def _open(
    report: Report,
    request: Request,
    storage: FolderStorage | LmdbStorage,
    keys: list[str],
    split: str,
    origin: str,
) -> int:
    def try_one(key: str) -> None:
        try:
            decode(storage.read(key))
        except BadImage as error:
            raise BadImage(f'{key}: {error}') from error

    return open_some(report, request, keys, try_one, f'images of {split}', origin)
