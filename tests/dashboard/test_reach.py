"""Readable, printable and usable by keyboard: what a person needs of every page whatever their eyes and hands."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

PAGES = (
    "/", "/matrix", "/cell?screen=quickstart&variant=Y537S&ligand=fulvestrant&state=antagonist",
    "/compare?screen=quickstart&cells=WT|fulvestrant|antagonist~Y537S|fulvestrant|antagonist", "/evidence", "/library",
    "/review?screen=quickstart&ligand=fulvestrant", "/runs",
)  # fmt: skip

#: Texts whose contrast with what is behind them is below WCAG 2.1's AA (4.5, of large text 3), with their ratio.
_FAINT = """
() => {
  const parse = text => {
    const numbers = (text.match(/[\\d.]+/g) || []).map(Number);
    return text.startsWith('color(srgb') ? numbers.map((value, i) => i < 3 ? 255 * value : value) : numbers;
  };
  const light = ([r, g, b]) => {
    const part = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
  const behind = element => {
    const found = [];
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      found.push(colour);
      if (colour.length === 3 || colour[3] === 1) break;
    }
    return found.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const faint = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest('script, style, svg, .msp-plugin, :disabled')) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(element), below = behind(element);
    const [a, b] = [light(over(parse(style.color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < least)
      faint[`${element.className || element.tagName}: ${text.slice(0, 40)}`] = [ratio, style.color, below].join(' ');
  }
  return faint;
}
"""

#: Visible controls that have no name for those who do not see them.
_NAMELESS = """
() => [...document.querySelectorAll('a[href], button, input, select, textarea, [role=button], [tabindex="0"]')]
  .filter(each => each.checkVisibility())
  .filter(each => !each.closest('.js-plotly-plot, .msp-plugin, .ag-root-wrapper, [aria-hidden=true]'))
  .filter(each => !(each.title || each.innerText.trim() || (each.labels && each.labels.length)
    || each.closest('label, [aria-label], [aria-labelledby]')))
  .map(each => each.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_and_controls_have_names(example_url, visit, theme):
    visited = visit(example_url + "/", color_scheme=theme)
    for path in PAGES:
        visited.go(path)
        visited.page.wait_for_timeout(800)
        assert visited.page.evaluate(_FAINT) == {}, path
        assert visited.page.evaluate(_NAMELESS) == [], path


def test_pages_are_walked_through_by_keyboard(example_url, visit):
    visited = visit(example_url + "/")
    page = visited.page
    page.wait_for_selector("[row-id='antagonist|fulvestrant']")
    seen, unseen = [], []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, ring, in_grid = page.evaluate(
            """() => {
              const at = document.activeElement, style = getComputedStyle(at);
              const ring = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
              return [`${at.tagName}|${at.innerText}|${at.id}`, ring, !!at.closest('.ag-root-wrapper')];
            }"""
        )
        if in_grid:
            break
        seen.append(name)
        if not ring:
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    else:
        pytest.fail(f"the grid is out of reach: {seen}")
    assert unseen == []
    for link in ("Ranking", "Matrix", "Evidence", "Runs"):
        assert any(each.startswith(f"A|{link}|") for each in seen), (link, seen)
    for control in ("ranking-find", "ranking-smarts"):
        assert any(each.endswith(f"|{control}") for each in seen), (control, seen)
    page.get_by_role("link", name="Matrix", exact=True).first.focus()
    page.keyboard.press("Enter")
    visited.wait_for_text("Matrix", "#page h1")
    assert visited.complaints == []


def test_pages_are_printed_without_their_controls(example_url, visit):
    visited = visit(example_url + "/")
    for path in PAGES:
        visited.go(path)
        visited.page.emulate_media(media="print")
        shown = visited.page.evaluate(
            """() => [...document.querySelectorAll('nav, #theme, #page button, #page input')]
                 .filter(each => each.checkVisibility()).map(each => each.outerHTML.slice(0, 100))"""
        )
        assert shown == [], path
        assert visited.page.locator("#page h1").first.is_visible()
        assert len(visited.page.pdf()) > 5000
        visited.page.emulate_media(media="screen")
    assert visited.complaints == []


@pytest.mark.parametrize("how", ["button", "keys"])
def test_a_printed_grid_has_all_its_rows_and_columns(example_url, visit, how):
    visited = visit(example_url + "/", width=800, height=600)
    page = visited.page
    page.wait_for_selector("[row-id='antagonist|fulvestrant']")
    page.evaluate(
        """() => {
          const every = what => [...document.querySelectorAll(`#ranking-grid ${what}`)];
          window.print = () => {
            window.onPaper = [new Set(every('[row-id]').map(each => each.getAttribute('row-id'))).size,
                              every('[row-id] .ag-cell[col-id=helix12] svg').length,
                              every('.ag-header-cell').map(each => each.getAttribute('col-id'))];
            window.dispatchEvent(new Event('afterprint'));
          };
        }"""
    )
    if how == "button":
        page.click("#print")
    else:
        page.keyboard.press("Control+p")
    page.wait_for_function("() => window.onPaper")
    rows, drawn, columns = page.evaluate("window.onPaper")
    assert rows == drawn == 6
    assert {"binding", "helix12", "worst", "review", "origin", "notes"} <= set(columns)
    page.wait_for_selector("#ranking-grid .ag-pinned-left-cols-container [row-id]")  # as before
    assert visited.complaints == []
