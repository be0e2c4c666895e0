"""Names and colours of the toy world's object classes."""

CLASSES: tuple[str, ...] = (
    'person',
    'bottle',
    'book',
    'soap',
    'scissors',
    'spoon',
    'mousetrap',
    'flower',
)
DEFAULT_CLASSES: tuple[str, ...] = ('bottle', 'book', 'soap', 'scissors', 'mousetrap', 'flower')
"""What a small detector tells apart after minutes on a CPU."""
PALETTE: tuple[tuple[int, int, int], ...] = (
    (220, 20, 60),
    (30, 144, 255),
    (255, 140, 0),
    (0, 170, 80),
    (255, 105, 180),
    (112, 128, 144),
    (240, 220, 40),
    (150, 60, 210),
)
"""RGB, one per class."""


class ToyWorldError(RuntimeError):
    """A toy world cannot be built; the message names the cause and the remedy."""
