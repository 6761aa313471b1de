"""The doctor's page as a person reads it: nothing is cut on a phone and on paper, references lead
to the guide's words, and no colour is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from rollout.doctor import Diagnosis, guide
from rollout.doctor.findings import findings
from rollout.doctor.observations import distinct
from rollout.doctor.page import html
from rollout.finding import GUIDE, Finding
from tests.e2e.conftest import ARTEFACTS, chromium
from tests.support.kit import ROOT
from tests.support.sampling import sampled
from tests.test_doctor import CASES
from tests.test_doctor_report import REPORTS, healthy, ill, with_origins
from tests.test_readme import anchors

PHONE, SCREEN = 420, 1400
TABLE = 993  # the narrowest page with a table
PAPER = 703  # A4 without its margins of 12 mm, at 96 dpi


def long(result: Diagnosis) -> Diagnosis:
    """The same with origins of 120 characters."""
    return with_origins(result, lambda origin: f"{origin}.{'a' * 60}.{'b' * 40}")


PAGES = {name: html(report()) for name, report in REPORTS.items()}
PAGES["long"] = html(long(ill()))


# ------------------------------------------------------------------------------------- references


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere_on_the_page(name: str) -> None:
    """To a cell's exchange and back, and to the guide's words: the page may be sent to anybody."""
    text = PAGES[name]
    ids = re.findall(r' id="([^"]+)"', text)
    targets = {unescape(one) for one in re.findall(r'href="#([^"]*)"', text)}
    assert len(set(ids)) == len(ids)
    assert targets <= set(ids)


def links() -> list[str]:
    """Every reference that a finding of the tests has."""
    found = []
    for _, whole, _ in CASES:
        for finding in findings(whole):
            found += [one.link for one in (finding, *finding.follows) if one.link]
    return distinct(found)


@pytest.mark.parametrize("link", links())
def test_a_reference_comes_with_its_section(link: str) -> None:
    """The heading exists, its words are on the page, and no Markdown is left in them."""
    page, _, anchor = link.partition("#")
    assert anchor in anchors(ROOT / page)
    sections = guide.sections([link])
    assert f'id="{guide.section_id(link)}"' in sections[link]
    for section in sections.values():
        words = re.sub(r"<(pre|code)>.*?</\1>", "", section, flags=re.DOTALL)
        assert not re.search(r"\*\*|`|\]\(|^- |^\|", unescape(words), re.MULTILINE), section


def test_a_section_s_own_links_come_with_it() -> None:
    """A section that says "as above" has that section with it."""
    link = f"{GUIDE}#preflightmultiplealloworiginvalues"
    found = guide.sections([link])
    assert set(found) == {link, f"{GUIDE}#multiplealloworiginvalues"}
    assert 'href="#cors-errors-multiplealloworiginvalues"' in found[link]


def test_a_kit_without_its_docs_still_writes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference stays as text."""
    monkeypatch.setattr(guide, "ROOT", Path("/nonexistent"))
    guide._page.cache_clear()
    try:
        text = html(ill())
    finally:
        guide._page.cache_clear()
    assert "<span class=reference>docs/cors-errors.md#alloworiginmismatch</span>" in text


def test_commands_are_code() -> None:
    """No backtick is left in a sentence."""
    text = PAGES["ill"]
    assert "<code>fab deploy</code>" in text
    assert "`" not in re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", text, flags=re.DOTALL)


def test_the_guide_is_escaped() -> None:
    """Code in it may hold markup, and a finding may hold anything."""
    one = Finding("`<b>`", cure="`</code><i>`", code="x")
    text = html(replace(ill(), findings=(one,)))
    assert "<code>&lt;b&gt;</code>" in text and "<i>" not in text


def test_the_top_has_what_the_text_has() -> None:
    text = re.sub(r"<[^>]+>", " ", PAGES["ill"].partition("<h2>")[0])
    for part in ("2026-11-30 11:05:22 UTC", "commit ab12f3f90122", "3 causes", "no verdict"):
        assert part in text


def test_a_cell_without_chromium_s_word_says_why() -> None:
    """In its panel, and in one sentence above the matrix; without --browser nothing is said of
    Chromium in the cells."""
    text = html(healthy())
    assert "Chromium: not asked" in text
    assert "Chromium was not asked: the request could change data" in text
    assert "Not asked in 5: a sandboxed page has no address" in text
    assert "Chromium" not in re.sub(r"<section class=guide.*?</section>", "", html(ill()))


# ------------------------------------------------------------------------------------- in Chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


# Elements whose content is wider than they are, and cells that reach out of the page.
CUT = """
() => [...document.querySelectorAll("body, body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    if (!box.width) return false;
    const wide = element.clientWidth && element.scrollWidth > element.clientWidth;
    return wide || box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5;
}).map((element) => element.outerHTML.slice(0, 120))
"""
SHOWN = """
() => [...document.querySelectorAll("td")].filter((cell) => {
    const box = (cell.querySelector("a") || cell).getBoundingClientRect();
    return box.width > 20 && box.height > 10 && cell.textContent.trim();
}).length
"""


def opened(
    browser: Browser, text: str, width: int, scheme: Any = "light", media: Any = "screen"
) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.emulate_media(media=media, color_scheme=scheme)
    page.set_content(text)
    return page


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("width", "media"),
    [
        (PHONE, "screen"),
        (800, "screen"),
        (TABLE, "screen"),
        (SCREEN, "screen"),
        (PAPER, "print"),
    ],
)
def test_no_column_is_cut(browser: Browser, name: str, width: int, media: str) -> None:
    """Nothing is wider than the page, every cell is there, and so is the heading of its column."""
    page = opened(browser, PAGES[name], width, media=media)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert page.evaluate(CUT) == []
    assert page.evaluate(SHOWN) == PAGES[name].count("<td ")
    if width < TABLE:
        heading = "getComputedStyle(document.querySelector('td:has(a)'), '::before').content"
        assert page.evaluate(heading) in ('"GET /"', '"PUT / json"')
    page.close()


@pytest.mark.browser
def test_an_exchange_opens_and_closes_on_a_phone(browser: Browser) -> None:
    """It is not cut either; closing it leads back to its cell."""
    page = opened(browser, PAGES["long"], PHONE)
    page.locator("td.wrong a").first.click()
    panel = page.locator(".exchange:target")
    assert "Access-Control-Allow-Origin" in panel.inner_text()
    assert page.evaluate(CUT) == []
    panel.locator(".close").click()
    assert page.locator(".exchange:target").count() == 0
    assert page.evaluate("document.querySelector(':target').closest('td').className") == "wrong"
    page.close()


# The contrast of each kind of text with what is behind it, as WCAG 2 computes it.
CONTRAST = """
() => {
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((v) => {
            v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const found = {};
    const kinds = ["p.state", "dt", "dd", "th", "td.ok", "td.refused", "td.wrong", "td.silent",
                   ".cure", ".warning", ".reference", ".guide p"];
    for (const kind of kinds) {
        const element = document.querySelector(kind);
        if (!element) continue;
        const [a, b] = [channels(getComputedStyle(element).color), behind(element)].map(light);
        found[kind] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }
    return found;
}
"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["healthy", "ill", "nothing-answers"])
def test_text_stands_out_in_light_and_dark(browser: Browser, name: str, scheme: str) -> None:
    """4.5 to 1 at least, and the dark page is dark."""
    page = opened(browser, PAGES[name], SCREEN, scheme=scheme)
    ratios = page.evaluate(CONTRAST)
    assert {kind: ratio for kind, ratio in ratios.items() if ratio < 4.5} == {}
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", sampled(["healthy", "ill"], ["ill"]))
def test_pictures_of_the_page_are_kept(browser: Browser, name: str) -> None:
    """Wide, on a phone, dark, and as a PDF, to be looked at; a PDF has a few pages, not one for
    each cell."""
    ARTEFACTS.mkdir(exist_ok=True)
    for kind, width, scheme in (
        ("1400", SCREEN, "light"),
        ("420", PHONE, "light"),
        ("dark", SCREEN, "dark"),
    ):
        page = opened(browser, PAGES[name], width, scheme=scheme)
        page.screenshot(path=str(ARTEFACTS / f"report-{name}-{kind}.png"), full_page=True)
        page.close()
    page = opened(browser, PAGES[name], SCREEN, media="print")
    pdf = page.pdf(prefer_css_page_size=True, path=str(ARTEFACTS / f"report-{name}.pdf"))
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    page.close()
