"""The 3D viewer's own code: loaded only where there is a structure, and without what makes code from strings.

The 6.6 MB of Mol* would slow every page down, so ``dash_molstar`` is told not to load them; the page of a cell does
(``assets/cell.js``). The encoder of MP4 films that they carry, which nothing here offers, starts a WebAssembly module
and makes functions from text as soon as it is loaded. Our security policy forbids both, so it is left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

import dash_molstar

SCRIPT = "rcsb-molstar.js"
#: Where the encoder is started, and its WebAssembly module.
STARTED, NOT_STARTED = "const i=n.n(r)()(),", "const i={then(){}},"
MODULE = re.compile(r'"data:application/octet-stream;base64,AGFzbQ[A-Za-z0-9+/=]*"')


def load_later() -> None:
    """Tell Dash to serve the viewer's code and not to put it into its page."""
    for entry in dash_molstar._js_dist:
        if entry.get("relative_package_path") == SCRIPT:
            entry["dynamic"] = True


@cache
def script() -> bytes:
    """The viewer's code as it is served."""
    text = (Path(dash_molstar.__file__).parent / SCRIPT).read_text(encoding="utf-8")
    return MODULE.sub('""', text.replace(STARTED, NOT_STARTED)).encode()


def address() -> str:
    """Where the code is served; another one for every version."""
    return f"/molstar.js?v={version('dash-molstar')}"
