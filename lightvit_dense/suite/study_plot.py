"""All figures of a suite in one picture."""

from typing import Any

from lightvit_dense.visualization import PALETTE

from .tables import SuiteTable

COLUMNS = 3
"""Most panels beside one another."""


def draw_table(table: SuiteTable) -> Any:
    """Draw a panel a figure: a dot a seed, and mean and sample deviation of an initialisation.

    Figures without any measurement are left out.

    Returns:
        The ``matplotlib.figure.Figure``.

    Raises:
        ValueError: If nothing was measured.
    """
    from matplotlib.figure import Figure

    shown = [c for c in table.columns if any(table.cell(i, c).spread for i in table.inits)]
    if not shown:
        raise ValueError('nothing was measured')
    across = min(COLUMNS, len(shown))
    down = -(-len(shown) // across)
    size = (3.6 * across + 0.8, (0.8 + 0.34 * len(table.inits)) * down)
    figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    for panel, column in zip(panels, shown, strict=False):
        for row, init in enumerate(table.inits):
            spread = table.cell(init, column).spread
            if spread is None:
                continue
            color = PALETTE[row % len(PALETTE)]
            panel.plot(spread.values, [row] * len(spread.values), 'o', color=color, ms=4, alpha=0.5)
            style: dict[str, Any] = dict(color=color, marker='|', ms=12, mew=2, capsize=3)
            panel.errorbar(spread.mean, row, xerr=spread.deviation, **style)
        panel.set_title(column.title, fontsize=9, loc='left')
        panel.set_yticks(range(len(table.inits)), list(table.inits.values()), fontsize=8)
        panel.tick_params(axis='x', labelsize=8)
        panel.set_ylim(len(table.inits) - 0.5, -0.5)
        panel.margins(x=0.1)
        panel.grid(axis='x', alpha=0.2)
        panel.spines[['top', 'right']].set_visible(False)
    return figure
