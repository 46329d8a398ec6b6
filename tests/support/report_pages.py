"""Parsing of a report's page: the text of each element and its path in the JSON."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

# Elements without an end tag.
VOID = {"meta", "img", "br", "source", "link", "input", "hr"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        shown: list of (path, text) of every element with `data-path`, in order.
        rest: str. All other text of the body.
        tags: list of (name, attributes).
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.shown: list[tuple[str, str]] = []
        self.rest, self.text, self.tags = "", text, []
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        assert not self._open, f"elements left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        if "data-path" in values:
            self.shown.append((values["data-path"], ""))
        if tag not in VOID:
            self._open.append((tag, values.get("data-path")))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1][0] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if any(path for _, path in self._open):
            path, text = self.shown[-1]
            self.shown[-1] = path, text + data
        elif not {"style", "title"} & {tag for tag, _ in self._open}:
            self.rest += data

    def attributes(self, *names: str) -> list[str]:
        return [values[name] for _, values in self.tags for name in names if name in values]


def look_up(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


def differs(text: str, value: Any) -> bool:
    """Whether a text differs from the value, rounded to the last digit of the text."""
    if value is None or isinstance(value, bool | str):
        return text != {None: "\u2013", True: "yes", False: "no"}.get(value, value)
    number = Decimal(text.replace(",", "").replace("\u2212", "-"))
    return abs(float(number) - value) > 0.5 * 10.0 ** int(number.as_tuple().exponent) * (1 + 1e-9)


def check_scores(page: Page, data: dict[str, Any], words: tuple[str, ...] = ()) -> None:
    """All elements have the values of the JSON, and there are no numbers outside of them."""
    wrong = [(path, text) for path, text in page.shown if differs(text, look_up(data, path))]
    assert page.shown and not wrong
    rest = re.sub(r"BLEU-\d", "", page.rest)
    for word in words:
        rest = rest.replace(word, "")
    assert not re.search(r"\d", rest), f"a number without a path in the JSON: {re.findall('.*[0-9].*', rest)}"


def check_self_contained(page: Page) -> None:
    """The page and its charts load no external resource and run no script."""
    (policy,) = [v["content"] for _, v in page.tags if v.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, values in page.tags for name in values if name.startswith("on")]
    sources = page.attributes("src", "srcset")
    assert sources and all(
        re.match(r"data:image/(svg\+xml|jpeg);base64,[\w+/=]+$", source) for source in sources
    )
    assert all(target.startswith("#") for target in page.attributes("href", "xlink:href", "action"))
    ids = page.attributes("id")
    assert len(set(ids)) == len(ids) and {h[1:] for h in page.attributes("href")} <= set(ids)
    style = re.search(r"<style>(.*?)</style>", page.text, re.S)[1]
    assert "@import" not in style and "url(" not in style
    for chart in charts(page):
        assert "<script" not in chart and "<image" not in chart and "url(http" not in chart
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', chart))
    assert all(values.get("alt") for tag, values in page.tags if tag == "img")


def charts(page: Page) -> list[str]:
    """The SVG text of each chart."""
    sources = [s for s in page.attributes("src", "srcset") if s.startswith("data:image/svg")]
    return [base64.b64decode(source.split(",")[1]).decode() for source in sources]
