"""The pictures of docs/dashboard.md, from a store with a finished quickstart screen.

python tests/dashboard/pictures.py STORE [FOLDER]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from browsing import Visit, open_browser, serving  # noqa: E402

CELL = "screen=quickstart&variant=Y537S&ligand=fulvestrant&state=antagonist"
#: Name of a picture -> address, what must be there, theme, height.
PICTURES = {
    "ranking": ("/?screen=quickstart", "[row-id='antagonist|fulvestrant'] img", "light", 900),
    "matrix": ("/matrix?screen=quickstart&measure=level_helix12", "#matrix-map .main-svg", "light", 620),
    "cell": (f"/cell?{CELL}", ".msp-plugin :text('Model 1 / 20')", "light", 1500),
    "compare": ("/compare?screen=quickstart&cells=WT|fulvestrant|antagonist~Y537S|fulvestrant|antagonist",
                "#compare-residues .main-svg", "light", 820),
    "evidence": ("/evidence?screen=quickstart", ".js-plotly-plot .main-svg", "dark", 820),
    "review": (f"/review?{CELL}", "#review-history li", "light", 700),
    "runs": ("/runs", ".run", "light", 420),
}  # fmt: skip


def main(store: str, folder: str = "docs/images") -> None:
    """Serve a copy of the store, so that it stays as it is, and take every picture."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "runs"
        shutil.copytree(store, root)
        with serving(root) as url, open_browser(shutil.which("chromium")) as browser:
            _write_reviews(Visit(browser, f"{url}/review?{CELL}"))
            for name, (path, needed, theme, height) in PICTURES.items():
                visited = Visit(browser, url + path, width=1280, height=height, color_scheme=theme)
                visited.page.wait_for_selector(needed)
                visited.page.wait_for_timeout(6000 if name == "cell" else 1200)
                visited.page.screenshot(path=f"{folder}/dashboard-{name}.png")
                print(name, visited.complaints)
                visited.close()


def _write_reviews(visited: Visit) -> None:
    for verdict, comment in (("hold", "Two picoseconds only: wait for the standard protocol."),
                             ("needs more replicas", "The binding shift is as wide as the thresholds.")):  # fmt: skip
        visited.page.wait_for_selector("#review-history :is(li, p)")
        visited.page.fill("#review-reviewer", "Ada")
        visited.page.locator("#review-verdict label", has_text=verdict).click()
        visited.page.fill("#review-comment", comment)
        visited.page.click("#review-record")
        visited.wait_for_text(comment, "#review-history")
    visited.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
