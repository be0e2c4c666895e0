"""Which images ImageNet-like data hold and what they show: from folders, LMDB keys, or lists."""

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from lightvit_dense.utils.io import is_clutter

from .errors import DatasetError
from .packed import PackedStorage
from .records import Record
from .storage import FolderStorage, LmdbStorage, missing_files
from .text import read_lines
from .unlabeled import EXTENSIONS, scan_images


class FolderTree:
    """Names of the images below a folder."""

    def __init__(self, root: str, prefix: str) -> None:
        self.root = root or '.'
        self.name = os.path.join(self.root, prefix) if prefix else self.root
        self.storage = FolderStorage(self.root)
        if not os.path.isdir(self.name):
            raise DatasetError(
                f'{self.name}: this image folder does not exist. Set data_root (or the environment '
                'variable LIGHTVIT_DATA) to where the images are.'
            )

    def _scan(self, folder: str) -> Iterator[str]:
        start = len(self.root.rstrip('/')) + 1
        return (path[start:] for path in scan_images(folder))

    def classes(self) -> list[str]:
        """Return the names of the class folders, sorted."""
        with os.scandir(self.name) as entries:
            return sorted(e.name for e in entries if not is_clutter(e.name) and e.is_dir())

    def by_class(self) -> Iterator[tuple[str, list[str]]]:
        """Yield a class folder and its keys, both sorted; folders without images included."""
        for name in self.classes():
            yield name, list(self._scan(os.path.join(self.name.rstrip('/'), name)))

    def keys(self) -> Iterator[str]:
        """Yield all keys, sorted, without ever holding them all."""
        return self._scan(self.name.rstrip('/'))

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return those keys that are not there; each folder is listed once."""
        start = os.path.join(self.root, '')
        return [path[len(start) :] for path in missing_files(start + key for key in keys)]


class KeyTree:
    """Names of the images of a storage with keys, below a prefix; as :class:`FolderTree`."""

    def __init__(self, storage: LmdbStorage | PackedStorage, prefix: str) -> None:
        self.storage = storage
        self.prefix = f'{prefix}/' if prefix else ''
        self.name = f'{storage.path}, keys below {self.prefix!r}' if prefix else storage.path

    def keys(self) -> Iterator[str]:
        """Yield all keys, sorted."""
        return (k for k in self.storage.keys(self.prefix) if k.lower().endswith(EXTENSIONS))

    def classes(self) -> list[str]:
        """Return the names of the class folders, sorted."""
        return [name for name, _ in self.by_class()]

    @cached_property
    def _keys(self) -> list[str]:
        return list(self.keys())

    def by_class(self) -> Iterator[tuple[str, list[str]]]:
        """Yield a class folder and its keys."""
        start, grouped = len(self.prefix), {}
        for name, those in groupby(self._keys, lambda key: key[start:].partition('/')[0]):
            # An image beside the folders belongs to no class.
            found = [key for key in those if len(key) > start + len(name)]
            if found:
                grouped[name] = found
        for name in sorted(grouped):
            yield name, grouped[name]

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return those keys that are not there."""
        there = self._keys
        places = (bisect_left(there, key) for key in keys)
        return [k for k, at in zip(keys, places, strict=True) if there[at : at + 1] != [k]]


Tree = FolderTree | KeyTree


def open_tree(storage: Any, folder: str) -> Tree:
    """Return the names of the images below a folder of a storage."""
    if isinstance(storage, FolderStorage):
        return FolderTree(storage.root, folder)
    return KeyTree(storage, folder)


def read_classes(path: str) -> list[str]:
    """Read a class list: one class a line, its name up to the first blank."""
    names = [line.split()[0] for line in read_lines(path, 'class list')]
    if not names or len(set(names)) != len(names):
        double = next((name for name in names if names.count(name) > 1), None)
        what = f'names {double!r} twice' if double else 'is empty'
        raise DatasetError(f'{path}: this class list {what}. Write one class a line.')
    return names


def check_classes(classes: Sequence[str], folders: Sequence[str], where: str) -> None:
    """Check that classes and class folders are the same."""
    without = sorted(set(classes) - set(folders))
    extra = sorted(set(folders) - set(classes))
    if without or extra:
        numbers = bool(folders) and all(name.isdecimal() for name in folders)
        hint = " The folders are numbered: if these are labels, set folders='labels'."
        raise DatasetError(
            f'{where}: the class list does not match the folders. {_some(without)} of the '
            f'{len(classes)} classes have no folder; {_some(extra)} of the folders are no class. '
            f'Correct the list that `classes` names, or the folders.{hint if numbers else ""}'
        )


def check_text_order(folders: Sequence[str], where: str) -> None:
    """Check that numbers as names of folders are sorted as numbers, '2' before '10'."""
    if not all(name.isdecimal() for name in folders):
        return
    if [int(name) for name in folders] != sorted(int(name) for name in folders):
        raise DatasetError(
            f'{where}: the class folders are numbers whose order as text differs from that as '
            "numbers. Set folders='labels' if they are labels, else `classes` to a file with the "
            'names in the order wanted.'
        )


def numbered(folders: Sequence[str], count: int, where: str) -> dict[str, int]:
    """Return the labels of folders that are named by them."""
    label_of = {name: int(name) if name.isdecimal() else -1 for name in folders}
    foreign = [name for name, label in label_of.items() if not 0 <= label < count]
    absent = [str(n) for n in sorted(set(range(count)) - set(label_of.values()))]
    if foreign or absent or len(label_of) != count:
        raise DatasetError(
            f"{where}: folders='labels' asks for one folder for each label 0..{count - 1}. "
            f'{_some(foreign)} of the {len(folders)} folders are none; {_some(absent)} of the '
            "labels have no folder. Correct the folders, or `classes`, or set folders='names'."
        )
    return label_of


def labelled_tree(tree: Tree, label_of: Mapping[str, int]) -> Iterator[Record]:
    """Yield the images of all class folders, class by class in the order of the folders' names."""
    for name, keys in tree.by_class():
        if not keys:
            raise DatasetError(
                f'{tree.name}: the class folder {name} holds no image. Unpack its images there, '
                'or remove the folder from the data and from the class list.'
            )
        yield from ((key, label_of[name]) for key in keys)


def read_image_list(path: str, prefix: str, classes: Sequence[str] | None) -> list[Record]:
    """Read ``name label``, ``path label``, ``path``, or ``<class>_<number>.JPEG`` lines.

    A path begins at the root of the data, or below the image folder ``prefix``. A name without a
    folder lies in the folder of the class that it begins with if it has no label, else directly in
    the image folder. A label is a number or the name of a class; without ``classes`` labels are not
    wanted.
    """
    records = []
    label_of = {name: label for label, name in enumerate(classes or ())}
    for line in read_lines(path, 'list of images'):
        name, label = line, ''
        if not line.lower().endswith(EXTENSIONS):
            name, _, label = line.rpartition(' ')
            name = name.rstrip()
            if not name.lower().endswith(EXTENSIONS):
                raise DatasetError(
                    f'{path}: {line!r} is neither "name" nor "name label" with a name that ends in '
                    f'one of {", ".join(EXTENSIONS)}.'
                )
        folder = os.path.dirname(name)
        if not folder and not label:
            folder = name.partition('_')[0]
            name = f'{folder}/{name}'
        if prefix and not name.startswith(f'{prefix}/'):
            name = f'{prefix}/{name}'
        folder = os.path.basename(folder)
        number = -1 if classes is None else _label(f'{path}: {line!r}', folder, label, label_of)
        records.append((name, number))
    if not records:
        raise DatasetError(f'{path}: this list of images is empty.')
    return records


def _label(where: str, folder: str, label: str, label_of: Mapping[str, int]) -> int:
    """Return the label of a line: as written, or that of its folder."""
    of_folder = label_of.get(folder)
    if not label:
        if of_folder is None:
            raise DatasetError(
                f'{where} has no label, and {folder!r} is no class. Write the label behind the '
                'name, or set with_labels=False.'
            )
        return of_folder
    if label.lstrip('+-').isdecimal():
        number = int(label)
    elif label in label_of:
        number = label_of[label]
    else:
        raise DatasetError(
            f'{where} has the label {label!r}, which is neither a number nor a class.'
        )
    if not 0 <= number < len(label_of):
        raise DatasetError(
            f'{where} has the label {number}, out of the range of {len(label_of)} classes '
            f'(0..{len(label_of) - 1}).'
        )
    if of_folder is not None and number != of_folder:
        raise DatasetError(
            f'{where} lies in the folder of class {of_folder}. The list was made for another order '
            'of the classes: set `classes` to a file in that order.'
        )
    return number


def check_present(tree: Tree, records: Sequence[Record], path: str) -> None:
    """Check that all images of a list exist."""
    lacking = tree.missing([key for key, _ in records])
    if lacking:
        raise DatasetError(
            f'{path}: {len(lacking)} of {len(records)} listed images are not in {tree.name}, such '
            f'as {", ".join(lacking[:3])}. Unpack them there, or take them out of the list.'
        )


def _some(names: Sequence[str]) -> str:
    shown = ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
    return f'{len(names)} ({shown})' if names else '0'
