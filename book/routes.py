"""The routes through the notebooks, from one table: ``routes.csv``, and the minutes that each notebook states.

``python book/routes.py`` writes the table into the README and the map into notebook 00; the book's page is made when
the book is built. In the columns *in an hour* and *of it* (of the session), ``all`` is the whole notebook, and anything
else names a part of it.
"""

import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIRST, MAP = "00_start_here", "cell-24"  # the notebook with the map, and the cell
START, END = "<!-- book/routes.csv -->", "<!-- the end of book/routes.csv -->"


def rows():
    """The notebooks in order: what ``routes.csv`` says, and each first cell's ``title``, ``minutes``, ``exercises``."""
    with open(ROOT / "book" / "routes.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        notebook = json.loads((ROOT / "notebooks" / f"{row['notebook']}.ipynb").read_text(encoding="utf-8"))
        text = "".join(notebook["cells"][0]["source"])
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        minutes = re.search(r"\*\*Time in class:\*\*\D*(\d+) minutes", text)
        if not title or not minutes:
            raise ValueError(f"{row['notebook']}: the first cell needs a title and **Time in class:** … minutes")
        more = re.search(r"and (\d+) more for the exercises", text)
        row |= {"title": title[1], "minutes": int(minutes[1]), "exercises": int(more[1]) if more else 0}
    return table


def readme_table():
    """The README's table of notebooks."""
    lines = ["| notebook | what you learn | minutes | route |", "|---|---|---:|---|"]
    for row in rows():
        hour, session = row["in an hour"], row["session"]
        route = [f"hour{_only(hour)}"] * bool(hour) + [f"session {session}{_only(row['of it'])}"] * bool(session)
        link = f"[{row['notebook']}](notebooks/{row['notebook']}.ipynb)"
        lines.append(f"| {link} | {row['what you learn']} | {_minutes(row)} | {', '.join(route)} |")
    return "\n".join(lines)


def _minutes(row):
    return f"{row['minutes']} + {row['exercises']}" if row["exercises"] else str(row["minutes"])


def _only(part):
    return "" if part == "all" else f" ({part})"


def _listing(chosen, column):
    lines = []
    for row in chosen:
        part = row.get(column, "all")
        link, in_all = f"[{row['title']}](notebooks/{row['notebook']}.ipynb)", "" if part == "all" else " in all"
        lines.append(f"1. {link}{_only(part)}: {row['what you learn']} *({_minutes(row)} minutes{in_all})*")
    return "\n".join(lines)


def page():
    """The book's page of routes, in Markdown."""
    table = rows()
    sections = [
        "# Routes through the notebooks",
        "Each notebook runs by itself, so you can start anywhere. Here are three orders that make sense. The minutes "
        "are those that each notebook states, + those for its exercises; nobody has timed a class yet.",
        "## LIRF in an hour",
        "The story, and then the loss, term by term.",
        _listing([row for row in table if row["in an hour"]], "in an hour"),
        "## Three sessions of 90 minutes",
        "The [instructor guide](guide.md) has the plan, minute by minute.",
    ]
    for session in "123":
        sections += [f"### Session {session}", _listing([row for row in table if row["session"] == session], "of it")]
    hours = sum(row["minutes"] + row["exercises"] for row in table) / 60
    sections += ["## Everything", f"All {len(table)} notebooks, about {hours:.0f} hours.", _listing(table, None)]
    return "\n\n".join(sections) + "\n"


def notebook_map():
    """The map in notebook 00: the same table, without the routes, and with links from notebook to notebook."""
    lines = ["| notebook | what you learn | minutes |", "|:--|:--|--:|"]
    for row in rows():
        name = row["notebook"]
        link = name if name == FIRST else f"[{name}]({name}.ipynb)"
        lines.append(f"| {link} | {row['what you learn']} | {_minutes(row)} |")
    return "\n".join(lines)


def _write_map():
    path = ROOT / "notebooks" / f"{FIRST}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == MAP]
    heading, _, after = re.split(r"\n\n(?=\|)|(?<=\|)\n\n", "".join(cell["source"]))
    cell["source"] = f"{heading}\n\n{notebook_map()}\n\n{after}".splitlines(keepends=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write_map()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, after = readme.split(START)[0], readme.split(END)[1]
    (ROOT / "README.md").write_text(f"{before}{START}\n\n{readme_table()}\n\n{END}{after}", encoding="utf-8")
