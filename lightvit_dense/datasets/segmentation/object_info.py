"""ADE20K's table of classes, ``objectInfo150.txt``."""

from collections.abc import Sequence

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.utils.io import read_text


def read_object_info(path: str) -> list[tuple[str, ...]]:
    """Read the names of the classes.

    The file has a line of titles and one line a class, with tabs between: the number (Idx) first,
    the names (Name, with commas between) last, and counts in between that differ by edition.
    """
    remedy = 'Take the file of ADEChallengeData2016.'
    try:
        rows = [line.split('\t') for line in read_text(path).splitlines() if line.strip()]
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read ({error}). {remedy}') from error
    if not rows or (rows[0][0].strip(), rows[0][-1].strip()) != ('Idx', 'Name'):
        raise DatasetError(f"{path}: does not begin with a line from 'Idx' to 'Name'. {remedy}")
    names = []
    for number, row in enumerate(rows[1:], 1):
        if len(row) < 2 or row[0].strip() != str(number):
            raise DatasetError(f'{path}: line {number + 1} is not that of class {number}. {remedy}')
        names.append(tuple(name.strip() for name in row[-1].split(',')))
    return names


def check_class_names(path: str, classes: Sequence[str], owner: str) -> None:
    """Check that the file numbers the classes as we do."""
    names = read_object_info(path)
    remedy = (
        'Take the data of ADEChallengeData2016, or use lightvit_dense.SegmentationDataset with '
        'metainfo=dict(classes=...) for other data.'
    )
    if len(names) != len(classes):
        raise DatasetError(
            f'{path}: names {len(names)} classes where {owner} has {len(classes)}. {remedy}'
        )
    for number, (synonyms, name) in enumerate(zip(names, classes, strict=True), 1):
        if name.strip() not in synonyms:
            raise DatasetError(
                f'{path}: class {number} is {", ".join(synonyms)!r} where {owner} has '
                f'{name.strip()!r}. {remedy}'
            )
