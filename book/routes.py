"""The routes through the notebooks, from one table: ``routes.csv``, and the minutes that each notebook states.

``python book/routes.py`` writes the table into the README; the book's page is made when the book is built.
"""

import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
START, END = "<!-- book/routes.csv -->", "<!-- the end of book/routes.csv -->"


def _first_cell(notebook):
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"])


def rows():
    """The notebooks in order: what ``routes.csv`` says, with the ``title`` and the ``minutes`` from each first cell."""
    with open(ROOT / "book" / "routes.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        text = _first_cell(row["notebook"])
        row["title"] = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
        row["minutes"] = int(re.search(r"\*\*Time in class:\*\* (\d+) minutes", text)[1])
    return table


def readme_table():
    """The README's table of notebooks."""
    lines = ["| notebook | what you learn | minutes | route |", "|---|---|---:|---|"]
    for row in rows():
        name, part = row["notebook"], f" ({row['part']})" if row["part"] else ""
        route = [*["hour"] * bool(row["in an hour"]), *[f"session {row['session']}{part}"] * bool(row["session"])]
        lines.append(
            f"| [{name}](notebooks/{name}.ipynb) | {row['what you learn']} | {row['minutes']} | {', '.join(route)} |"
        )
    return "\n".join(lines)


def _listing(chosen):
    return "\n".join(
        f"1. [{row['title']}](notebooks/{row['notebook']}.ipynb){', ' + row['part'] if row['part'] else ''}: "
        f"{row['what you learn']} *({row['minutes']} minutes{' in all' if row['part'] else ''})*"
        for row in chosen
    )


def page():
    """The book's page of routes, in Markdown."""
    table = rows()
    hour = [{**row, "part": ""} for row in table if row["in an hour"]]
    sections = [
        "# Routes through the notebooks",
        "Each notebook runs by itself, so you can start anywhere. These three routes have worked out an order for you. "
        "The minutes are what each notebook states; nobody has timed a class yet.",
        "## LIRF in an hour",
        f"The story, and the loss term by term: {sum(row['minutes'] for row in hour)} minutes.",
        _listing(hour),
        "## Three sessions of 90 minutes",
        "The [instructor guide](guide.md) has the plan, minute by minute.",
    ]
    for session in "123":
        sections += [f"### Session {session}", _listing([row for row in table if row["session"] == session])]
    everything = [{**row, "part": ""} for row in table]
    hours = sum(row["minutes"] for row in table) / 60
    sections += ["## Everything", f"All {len(table)} notebooks, about {hours:.0f} hours.", _listing(everything)]
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, after = readme.split(START)[0], readme.split(END)[1]
    (ROOT / "README.md").write_text(f"{before}{START}\n\n{readme_table()}\n\n{END}{after}", encoding="utf-8")
