"""ADE20K's table of classes, ``objectInfo150.txt``."""

from lightvit_dense.datasets.errors import DatasetError


def read_object_info(path: str) -> list[tuple[str, ...]]:
    """Read the names of the classes.

    The file has a line of titles and one line a class, with tabs between: the number (Idx) first,
    the names (Name, with commas between) last, and counts in between that differ by edition.

    Args:
        path: The file.

    Returns:
        The names of each class, in the order of their numbers 1, 2, ...

    Raises:
        DatasetError: If it is not such a file.
    """
    remedy = 'Take the file of ADEChallengeData2016.'
    try:
        with open(path, encoding='utf-8') as file:
            rows = [line.rstrip('\n').split('\t') for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path}: cannot be read ({error}). {remedy}') from error
    if not rows or (rows[0][0].strip(), rows[0][-1].strip()) != ('Idx', 'Name'):
        raise DatasetError(f"{path}: does not begin with a line from 'Idx' to 'Name'. {remedy}")
    names = []
    for number, row in enumerate(rows[1:], 1):
        if len(row) < 2 or row[0].strip() != str(number):
            raise DatasetError(f'{path}: line {number + 1} is not that of class {number}. {remedy}')
        names.append(tuple(name.strip() for name in row[-1].split(',')))
    return names
