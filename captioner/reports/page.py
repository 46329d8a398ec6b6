"""Rendering of a report as an HTML file and a JSON file with its data. Needs Jinja2.

Templates refer to values by their path in the data only, `{{ show("scores.0.models.0.value") }}`: the element has the
path as `data-path`, and its value cannot differ from the JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.errors import DataError, MissingDependency
from captioner.reports import charts

_HERE = Path(__file__).parent


def require() -> None:
    """Raises MissingDependency if Jinja2 or matplotlib is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingDependency("jinja2", "report", "a report") from None
    charts.require()


def files(out: str | os.PathLike[str], kind: str, overwrite: bool) -> tuple[Path, Path]:
    """The paths of the two files of a report, after a check that they may be written.

    Args:
        out: path ending in .html.
        kind: str. The "kind" in the data of such a report.
        overwrite: bool. Whether an existing report may be replaced.

    Returns:
        Paths of the HTML file and of the JSON file.

    Raises:
        DataError: for another ending, if a file exists, or if with `overwrite` the JSON file is not of a report.
    """
    page = Path(out)
    if page.suffix.lower() != ".html":
        raise DataError(f"expected a report's file to end in .html, got {page}")
    data = page.with_suffix(".json")
    for path in (page, data):
        if path.exists() and not (overwrite and path.is_file()):
            raise DataError(f"{path} is there already: name another file, or pass overwrite=True")
    # The user's captions may have this name.
    if data.exists() and _kind(data) != kind:
        raise DataError(f"{data} is no JSON of a report, and would be lost: name another file than {page}")
    return page, data


def write(
    paths: tuple[Path, Path], template: str, data: dict[str, Any], folder: Path = _HERE, **more: Any
) -> Path:
    """Writes both files, each atomically.

    Args:
        paths: what `files` returned.
        template: str. Name of the template.
        data: dict of plain JSON, with its "kind".
        folder: Path, default that of this package. The folder of the template.
        more: further variables of the template: charts and images.

    Returns:
        Path of the page.

    Raises:
        DataError: if the disk refuses.
    """
    page, json_file = paths
    text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    html = render(template, data, folder, **more)
    for path, content in ((json_file, text), (page, html)):
        # A file name that is not UTF-8 has lone surrogates: escaped, they are valid in JSON and legible in HTML.
        atomic.write_bytes(path, content.encode("utf-8", errors="backslashreplace"))
    return page


def render(template: str, data: dict[str, Any], folder: Path = _HERE, **more: Any) -> str:
    """The HTML of a page."""
    require()
    import jinja2
    from markupsafe import Markup, escape

    def show(path: str, form: str = "") -> Markup:
        value = look_up(data, path)
        return Markup('<span data-path="{}">{}</span>').format(path, escape(formatted(value, form)))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(data=data, show=show, **more)


def look_up(data: Any, path: str) -> Any:
    """The value at a path of nested dicts and lists.

    Example:
        >>> look_up({"models": [{"name": "a"}]}, "models.0.name")
        'a'
    """
    for part in path.split("."):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


def formatted(value: Any, form: str = "") -> str:
    """Formats a value for the page: integers with thousands separators, floats with one decimal, a dash for None.

    Example:
        >>> formatted(1000), formatted(-0.5), formatted(12.345, ".2f"), formatted(None)
        ('1,000', '\u22120.5', '12.35', '\u2013')
    """
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format(value, form or (",d" if isinstance(value, int) else ",.1f")).replace("-", "\u2212")
    return str(value)


def _kind(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("kind") if isinstance(content, dict) else None
