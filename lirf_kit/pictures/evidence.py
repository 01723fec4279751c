"""The laboratory's table as a picture: a row for each test, a mark for each network, a band for the retrained ones."""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lirf_kit.config import LirfError, check_choice
from lirf_kit.evidence.readings import YARDSTICK
from lirf_kit.pictures.figures import COOL, DPI, INK, MARKERS, PALE, STYLE, WARM, kilobytes_on

RULE = "recovered Avg Acc − original, points\n(preserved: pruned 'target', others 'mean')"
SHY = ("did not converge", "not reached")  # marks whose note starts with one of these are hollow


@matplotlib.rc_context(STYLE)
def plot_evidence(table, tests=None, figure=None):
    """Draw a row for every test, with a mark for each network and a band for the retrained ones.

    The band extends to either side of the retrained networks' mean by as much as they differ: a network whose mark lies
    inside can't be told from one that never saw the deposit classes. Each unit has its own axis. Treat hollow marks
    with caution: the note in the table says why.

    Parameters
    ----------
    table : pandas.DataFrame
        From `evidence_table`, or from any test, passed through `with_yardstick`.
    tests : sequence of str, optional
        Which tests to draw, by their names in the table; None: all.
    figure : matplotlib.figure.Figure or SubFigure, optional
        What to draw in; None: a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If there is nothing to draw, or a test is not in the table.
    """
    for test in tests or ():
        check_choice("tests", test, tuple(table["test"].unique()))
    if tests is not None:
        table = table[table["test"].isin(tests)]
    if not len(table):
        raise LirfError("table must have at least one row to draw, not none")
    if "spread" not in table:
        raise LirfError("table must have the column spread: call with_yardstick first")
    styles = _styles(table["network"].unique())
    panels = [rows for _, rows in table.groupby("unit", sort=False)]
    heights = [rows.groupby(["test", "task"]).ngroups for rows in panels]
    figure = figure or Figure(
        figsize=(10, 0.3 * sum(heights) + 0.75 * len(panels) + 1.2), layout="constrained", dpi=DPI
    )
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=[height + 0.5 for height in heights])
    for axes, rows in zip(grid[:, 0], panels):
        _draw(axes, rows, styles)
    _legend(figure, styles, table)
    return figure


def _draw(axes, rows, styles):
    """Draw the tests of one unit, one below the other."""
    groups = rows.groupby(["test", "task"], sort=False)
    axes.use_sticky_edges = False  # else the axis could end right at a bar's edge and cut off the marks there
    others = [name for name in styles if not name.startswith(YARDSTICK)]
    for place, (_, row) in enumerate(groups):
        mean, spread = row["retrained"].iloc[0], row["spread"].fillna(0).iloc[0]
        axes.barh(place, 2 * spread, 0.84, mean - spread, color=PALE, alpha=0.6, edgecolor=PALE, linewidth=1.5)
        for name, value, note in row[["network", "value", "note"]].itertuples(index=False):
            if name.startswith(YARDSTICK):
                axes.plot([value] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=1)
                continue
            aside = 0.6 * ((others.index(name) + 0.5) / len(others) - 0.5)
            colour = styles[name]["color"]
            hollow = {"markerfacecolor": "white", "markeredgecolor": colour} if note.startswith(SHY) else {}
            axes.plot(value, place + aside, **styles[name] | hollow)
    axes.set_yticks(range(len(groups)), [" · ".join(key) for key in groups.groups], fontsize=11)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    unit = rows["unit"].iloc[0]
    axes.set_xlabel("training steps" if unit == "steps" else unit)
    axes.tick_params(axis="x", labelsize=11)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _styles(names):
    """Return how each network's marks are drawn: targets large and in warm colours, others small and in cool ones."""
    warm, cool, styles = iter(WARM * 9), iter(COOL * 9), {}
    for place, name in enumerate(name for name in names if not name.startswith(YARDSTICK)):
        target = name.startswith("target")
        styles[name] = {
            "color": next(warm if target else cool),
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 9 if target else 7,
            "markeredgecolor": INK,
            "markeredgewidth": 0.6,
            "linestyle": "",
            "zorder": 4 if target else 3,
        }
    return styles


def _legend(figure, styles, table):
    """Explain the marks in a legend below the panels."""
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    if table["network"].str.startswith(YARDSTICK).any():
        handles.append(Line2D([], [], color=INK, linewidth=1, label="a retrained network"))
        handles.append(Patch(facecolor=PALE, alpha=0.6, label="as if never seen"))
    if table["note"].str.startswith(SHY).any():
        hollow = {"marker": "o", "markerfacecolor": "white", "color": INK, "linestyle": ""}
        handles.append(Line2D([], [], label="hollow: not converged, or not reached", **hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


@matplotlib.rc_context(STYLE)
def plot_custody(summary, figure=None):
    """Draw what each container brings back, and what a thief of the module alone gets from it, against its bytes.

    The preserved classes' logits are the target's where the module is pruned, and otherwise the mean of the target's
    and the module's, as `withdraw` advises. This is a rule for each kind; no container gets the formula that happens to
    do better on these images.

    Parameters
    ----------
    summary : pandas.DataFrame
        From `custody_summary`.
    figure : matplotlib.figure.Figure or SubFigure, optional
        What to draw in; None: a new figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = figure or Figure(figsize=(10, 4.6), layout="constrained", dpi=DPI)
    panels = figure.subplots(1, 2)
    styles = dict(zip(summary.index.get_level_values("kind").unique(), zip((*WARM, *COOL), MARKERS)))
    for kind, (colour, marker) in styles.items():
        rows = summary.loc[kind].sort_values("bytes")
        back = rows["ΔAvg" if kind.startswith("pruned") else "mean"]
        for axes, values in zip(panels, (back, rows["alone"])):
            axes.plot(rows["bytes"] / 1000, values, color=colour, marker=marker, markersize=8, label=kind)
        for setting, row in rows.iterrows():
            if kind in ("difference", "pruned"):
                place = row["bytes"] / 1000, back[setting]
                panels[0].annotate(setting, place, xytext=(0, -14), textcoords="offset points", ha="center", fontsize=9)
    for axes, label in zip(panels, (RULE, "deposit images recognised, %")):
        kilobytes_on(axes)
        axes.set_ylabel(label)
        axes.tick_params(labelsize=11)
        axes.grid(color=PALE, linewidth=0.5)
    panels[0].set_yscale("symlog", linthresh=1)  # 1 bit loses far more than the others
    panels[0].set_yticks([0, -1, -2, -5, -10, -20, -50], ["0", "−1", "−2", "−5", "−10", "−20", "−50"])
    panels[0].set_ylim(min(-2, 2 * summary["mean"].min()), 0.5)
    panels[0].set_title("what it brings back")
    panels[1].set_title("what a thief of the module alone gets")
    panels[1].set_ylim(0, 104)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
