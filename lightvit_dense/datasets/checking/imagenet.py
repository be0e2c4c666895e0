"""Check ImageNet-1k, or any data laid out alike."""

import os
from collections.abc import Mapping
from functools import partial

from ..imagenet_index import FolderTree, KeyTree, Tree
from ..storage import LmdbStorage
from .report import Report, Request, open_image

IMAGES = {'train': 1281167, 'val': 50000}
"""Published numbers of images."""
CLASSES = 1000
ORIGIN = (
    "Unpack ILSVRC 2012's training archive into train/<class>/, one folder for each of its 1000 "
    'archives, and sort the validation images into val/<class>/.'
)


def check_imagenet(root: str, request: Request) -> Report:
    """Check the class folders of ImageNet's layout, or the LMDB ``imagenet.lmdb`` made of them."""
    report = Report('imagenet', root, request, ORIGIN)
    found = []
    for split in filter(request.wants, IMAGES):
        tree: Tree
        lmdb = os.path.join(root, 'imagenet.lmdb')
        if os.path.isdir(os.path.join(root, split)):
            tree = FolderTree(root, split)
        elif os.path.exists(lmdb):
            tree = KeyTree(LmdbStorage(lmdb), split)
        else:
            report.missing(os.path.join(root, split))
            report.count(f'images of {split}', 0, IMAGES[split])
            continue
        request.progress(f'listing {tree.name}', 0, IMAGES[split])
        by_class = dict(tree.by_class())
        if by_class:
            report.count(f'classes of {split}', len(by_class), CLASSES)
            found.append(set(by_class))
        _check_images(report, tree, by_class, split, IMAGES[split])
    if len(found) == 2 and (differing := sorted(found[0] ^ found[1])):
        report.missing('classes that only one of train and val has', differing)
    return report


def _check_images(
    report: Report, tree: Tree, by_class: Mapping[str, list[str]], split: str, expected: int
) -> None:
    """Count and open the images of a split; name the classes that have none."""
    keys = [key for those in by_class.values() for key in those]
    if not keys and split == 'val' and (keys := list(tree.keys())):
        report.note(
            f'{tree.name}: the images lie in no class folders, so that ann_file has to name a '
            'list of their labels'
        )
    what = f'images of {split}'
    opened = report.open_some(keys, partial(open_image, tree.storage.read), what)
    report.count(what, len(keys), expected, opened)
    if not keys:
        report.missing(f'{tree.name}: no image')
    empty = [name for name, those in by_class.items() if not those]
    if keys and empty:
        report.missing(f'{tree.name}: the images of {len(empty)} classes', empty)
