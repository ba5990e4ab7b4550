"""Cell: one ligand in one variant from one state, beside its wild type: structure, motion, energies, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_molstar
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from esr1md.dashboard import cell_figures as figures
from esr1md.dashboard import molstar
from esr1md.dashboard.address import Address, cell_key, href
from esr1md.dashboard.cell_data import CellData, ReplicaData
from esr1md.dashboard.comparing import scores_of
from esr1md.dashboard.context import context, is_dark
from esr1md.dashboard.data import Cell, Screen
from esr1md.dashboard.parts import chip, empty, facts, field, graph, heading, link, problem, table
from esr1md.dashboard.shell import Page, remember, remembered
from esr1md.dashboard.viewer import key_contacts, viewer_data
from esr1md.report.depiction import in_words, interval
from esr1md.report.figures import LOOKS
from esr1md.report.matrix import SCORE_TITLES
from esr1md.scoring.scores import Score

CONTROLS = {"replica": ("cell-replica", "value")}
#: Graphs with time on their x axis, which show where the film is.
TIMED = ("cell-helix12", "cell-latches", "cell-convergence")
_LAYOUT = {"modus": "minimal", "layoutShowControls": False, "layoutShowSequence": False, "layoutShowRemoteState": False,
           "layoutShowStructureSourceControls": False, "layoutShowMeasurementsControls": False,
           "layoutShowStrucmotifSubmitControls": False, "layoutShowSuperpositionControls": False,
           "layoutShowQuickStylesControls": False, "layoutShowStructureComponentControls": False,
           "layoutShowVolumeStreamingControls": False, "layoutShowAssemblySymmetryControls": False,
           "layoutShowValidationReportControls": False, "layoutShowLog": False, "layoutIsExpanded": False,
           "viewportShowSelectionMode": False, "viewportShowAnimation": False, "showImportControls": False,
           "showWelcomeToast": False,
           # drawn once for each change, also where there is no graphics card
           "canvas3d": {"multiSample": {"mode": "off", "sampleLevel": 0, "reduceFlicker": False,
                                        "reuseOcclusion": True}}}  # fmt: skip


def layout(screen: Screen, address: Address) -> Component:
    cell = _wanted(screen, address)
    choose = _choose(screen, cell)
    if cell is None:
        return html.Div([heading("Cell"), choose, problem("This screen has no such cell", "Choose one above.")])
    score = screen.cells[cell]
    variant, ligand, state = cell
    title = [ligand, html.Small(f" in {variant}, from the {state} state")]
    parts = [heading(title, *_tags(screen, cell)), choose, _scores(screen, cell)]
    data = [context().memos["cell"](screen, each) for each in _shown(screen, cell)]
    problems = [said for each in data for said in each.problems]
    if problems:
        parts.append(problem("Part of this cell cannot be shown", html.Ul([html.Li(said) for said in problems])))
    if not score.n_replicas:
        said = "Its scores are predictions." if score.origin == "predicted" else "No replica of it has finished."
        parts.append(empty("This cell was not simulated", said, _failures(screen, cell)))
        return html.Div(parts)
    parts += [
        _viewer(cell, data, address),
        _section("cell-helix12", "Helix 12 over time", "RMSD to the active place minus RMSD to the AF-2 groove. Below, "
                 "the state of each frame.", figures.helix12_over_time(data)),
        _section("cell-latches", "Latches", "Shortest polar distance; the dotted line is where a hydrogen bond can be "
                 f"({figures.HYDROGEN_BOND:g} \u00c5).", figures.latches_over_time(data)),
        _section("cell-residues", "Energy by residue", "Mean over replicas; whiskers reach from the lowest to the "
                 "highest replica.", figures.residue_bars(data)),
        _section("cell-contacts", "Contacts", "How often each residue touches the ligand.",
                 figures.contact_barcode(data)),
        _section("cell-convergence", "Convergence", "Replicas that still drift apart say that the runs are too short.",
                 figures.convergence(data), _samples(data)),
        _provenance(data),
        remembered("cell", CONTROLS),
    ]  # fmt: skip
    return html.Div(parts)


def _wanted(screen: Screen, address: Address) -> Cell | None:
    """The cell that an address means; without one the first of the ranking."""
    asked = (address["variant"], address["ligand"], address["state"])
    if any(asked):
        return asked if asked in screen.cells else None
    first = next(iter(screen.lines), None)
    variants = [*screen.variants[1:], *screen.variants[:1]]
    cells = [(variant, *first) for variant in variants if (variant, *first) in screen.cells] if first else []
    return cells[0] if cells else next(iter(screen.cells), None)


def _shown(screen: Screen, cell: Cell) -> list[Cell]:
    wild = ("WT", cell[1], cell[2])
    return [wild, cell] if cell[0] != "WT" and wild in screen.cells else [cell]


def _choose(screen: Screen, cell: Cell | None) -> Component:
    keys = {f"{name} ({state})": (name, state) for _, name, state in screen.cells}
    shown = f"{cell[1]} ({cell[2]})" if cell else None
    beside = [cell_key(each) for each in _shown(screen, cell)] if cell else []
    return html.Div(
        [
            field("Ligand and state", dcc.Dropdown(list(keys), shown, id="cell-ligand", clearable=False,
                                                   maxHeight=400), wide=True),
            field("Variant", dcc.Dropdown(list(screen.variants), cell[0] if cell else None, id="cell-variant",
                                          clearable=False)),
            dcc.Store(id="cell-keys", data={"screen": screen.name, "keys": keys,
                                            "shown": [cell[0], shown] if cell else None}),
            dcc.Store(id="cell-went"),
            html.Span(
                [
                    link("Compare", href("/compare", screen=screen.name, cells=beside), className="button"),
                    link("Review", href("/review", screen=screen.name, ligand=cell[1], state=cell[2], variant=cell[0])
                         if cell else "/review", className="button"),
                ],
                className="buttons",
            ),
        ],
        className="controls",
    )  # fmt: skip


def _tags(screen: Screen, cell: Cell) -> list[Component]:
    score = screen.cells[cell]
    said = f"{score.n_replicas} replicas" if score.n_replicas else score.origin
    tags = [html.Span(said, className="tag")]
    if score.n_failed:
        tags.append(html.Span(f"{score.n_failed} failed", className="tag"))
    return tags


def _scores(screen: Screen, cell: Cell) -> Component:
    score, compared = screen.cells[cell], screen.comparisons.get(cell)
    pairs: list[tuple[str, Any]] = []
    if compared is not None:
        for name, shift, verdict in (("binding", compared.binding_shift, compared.binding_verdict),
                                     ("helix12", compared.helix12_shift, compared.helix12_verdict)):  # fmt: skip
            if shift is not None:
                pairs.append((LOOKS[name].title, [_in_words(shift), " ", chip(verdict)]))
    pairs += [(SCORE_TITLES[name], _in_words(value)) for name, value in scores_of(score).items()]
    if score.pose_confidence:
        said = f"{score.pose_confidence} confidence" + (f": {score.pose_reason}" if score.pose_reason else "")
        pairs.append(("Pose", said))
    said = [html.P(score.notes, className="note")] if score.notes else []
    reason = [html.P(compared.reason, className="note")] if compared is not None and compared.reason else []
    return html.Div([facts(pairs), *reason, *said])


def _in_words(score: Score) -> str:
    return in_words(score, unknown=f"interval {interval(score)}")


def _failures(screen: Screen, cell: Cell) -> Component:
    mine = [f for f in screen.ranking.failures if (f.variant, f.ligand, f.state) == cell]
    rows = [(f"seed {f.seed}" if f.seed else "all seeds", f.stage, f.cause) for f in mine]
    return table(("Replica", "Stage", "Cause"), rows) if rows else html.Div()


def _section(name: str, title: str, note: str, figure: Any, *more: Component) -> Component:
    shown = graph(name, figure, title) if figure is not None else html.P("Nothing was measured.", className="muted")
    return html.Section([html.H2(title), html.P(note, className="note"), shown, *more])


# -- the film -------------------------------------------------------------------------------------------------


def _viewer(cell: Cell, data: Sequence[CellData], address: Address) -> Component:
    mine = data[-1]
    options = [{"label": r.name, "value": r.digest} for r in mine.replicas]
    digests = [r.digest for r in mine.replicas]
    chosen = address.choice("replica", digests, digests[0])
    return html.Section(
        [
            html.H2("Structure and film"),
            html.Div(
                [
                    field("Replica", dcc.Dropdown(options, chosen, id="cell-replica", clearable=False,
                                                  searchable=False)),
                    html.Div(
                        [
                            html.Label("Frame", htmlFor="cell-frame"),
                            html.Div(
                                [
                                    html.Button("\u25b6", id="cell-play", className="quiet",
                                                **{"aria-label": "Play or pause the film"}),
                                    dcc.Slider(0, 1, 1, value=0, marks=None, id="cell-frame", updatemode="drag",
                                               disabled=True, allow_direct_input=False),
                                    html.Span("loading the trajectory ...", id="cell-frame-said", className="said",
                                              role="status"),
                                ],
                                className="player",
                            ),
                        ],
                        className="field film",
                    ),
                ],
                className="controls",
            ),
            html.Div(html.P("loading the viewer ...", className="loading", role="status"), id="cell-stage",
                     className="viewer"),
            html.P(
                [
                    "Superposed on the core of the domain. Helix 12: ",
                    *(html.Span([html.I(style={"background": colour}), state], className="key")
                      for state, colour in figures.STATE_COLOURS.items()),
                    " state (most frames). Sand: the cell; grey: last frame of its wild type.",
                ],
                className="note",
            ),
            dcc.Store(id="cell-cell", data=list(cell)),
            dcc.Store(id="cell-code", data=molstar.address()),
            dcc.Store(id="cell-ready"),
            dcc.Store(id="cell-film"),
            dcc.Store(id="cell-timed"),
        ]
    )  # fmt: skip


def register(app: Dash) -> None:
    remember(app, "cell", CONTROLS)
    app.clientside_callback(
        ClientsideFunction("esr1md", "goToCell"), Output("cell-went", "data"), Input("cell-ligand", "value"),
        Input("cell-variant", "value"), State("cell-keys", "data"), prevent_initial_call=True,
    )  # fmt: skip

    app.clientside_callback(
        ClientsideFunction("esr1md", "loadViewer"), Output("cell-ready", "data"), Input("cell-code", "data")
    )  # fmt: skip

    @app.callback(
        Output("cell-stage", "children"), Output("cell-film", "data"), Output("cell-frame-said", "children"),
        Input("cell-ready", "data"), Input("cell-replica", "value"), State("cell-cell", "data"),
        State("screen-shown", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def load(ready: bool | None, digest: str | None, named: list[str], name: str) -> tuple[Any, Any, Any]:
        if ready is None:
            return no_update, no_update, no_update
        if not ready:
            return problem("The viewer cannot be loaded", "Reload the page."), None, ""
        screen = context().reader.screen(name)
        cell: Cell = tuple(named)
        data = [context().memos["cell"](screen, each) for each in _shown(screen, cell)]
        replica = next((r for r in data[-1].replicas if r.digest == digest), None)
        film = context().memos["film"](digest) if replica else None
        if film is None:
            said = "Its trajectory is missing or damaged. Choose another replica, or run the screen again."
            return problem("This replica has no film", said), None, ""
        wild = _same_seed(data[0].replicas, replica.seed) if len(data) > 1 else None
        still = context().memos["film"](wild.digest) if wild else None
        beside = (wild.digest, still, _state(wild)) if still else None
        shown = dash_molstar.MolstarViewer(
            id="cell-viewer", style={"width": "100%", "height": "100%"},
            layout=_LAYOUT | {"backgroundColor": 0x171C22 if is_dark() else 0xFFFFFF},
            data=viewer_data((digest, film, _state(replica)), beside, cell[0]),
            updatefocusonframechange=False, updateselectiononframechange=False,
        )  # fmt: skip
        return html.Div(shown, key=digest, className="stage"), {"times": film.times, "contacts": key_contacts(film)}, ""

    app.clientside_callback(
        ClientsideFunction("esr1md", "prepareFilm"), Output("cell-frame", "max"), Output("cell-frame", "disabled"),
        Output("cell-frame", "value"), Input("cell-film", "data"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("esr1md", "showFrame"), Output("cell-timed", "data"),
        Output("cell-frame-said", "children", allow_duplicate=True), Input("cell-frame", "value"),
        State("cell-film", "data"), prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("esr1md", "frameAt"), Output("cell-frame", "value", allow_duplicate=True),
        *(Input(name, "clickData") for name in TIMED), State("cell-film", "data"), prevent_initial_call=True,
    )  # fmt: skip


def _same_seed(replicas: Sequence[ReplicaData], seed: int) -> ReplicaData | None:
    return next((r for r in replicas if r.seed == seed), replicas[0] if replicas else None)


def _state(replica: ReplicaData) -> str:
    """Where helix 12 is in most frames."""
    shares = {state: replica.summary.get(f"h12_fraction_{state}", 0.0) for state in figures.STATES}
    return max(shares, key=shares.get)


# -- tables ---------------------------------------------------------------------------------------------------


def _samples(data: Sequence[CellData]) -> Component:
    """What the frames of each replica are worth."""
    rows = []
    for cell in data:
        for r in cell.replicas:
            s = r.summary
            settled = f"{s['settled_from_ps']:.3g} ps" if "settled_from_ps" in s else "too short to tell"
            rows.append((
                f"{cell.variant}, {r.name}", f"{s.get('frames', 0):g}", settled,
                f"{s['helix12_effective_frames']:.0f}" if "helix12_effective_frames" in s else "\u2013",
                f"{s['binding_effective_frames']:.0f}" if "binding_effective_frames" in s else "\u2013",
            ))  # fmt: skip
    heads = ("Replica", "Frames used", "Settled from", "Independent: helix 12", "Independent: binding")
    return table(heads, rows, name="samples", caption="Effective sample size: frames of a run are correlated.")


def _provenance(data: Sequence[CellData]) -> Component:
    """Where every number comes from, and the files to check it by."""
    blocks = []
    for cell in data:
        for r in cell.replicas:
            record, run = r.record, r.part("simulation")
            versions = r.spec.get("versions")
            versions = versions if isinstance(versions, dict) else {}
            pairs = [
                ("Protocol", record.get("protocol", "not recorded")),
                ("Platform", f"{record.get('platform', 'not recorded')} {run.get('device', '')}"),
                ("Production", f"{run['production_ps']} ps" if "production_ps" in run else "not recorded"),
                ("Receptor", r.part("receptor").get("source", "not recorded")),
                ("Pose from", r.part("pose").get("reference", "") or "no ligand"),
                ("Charges", str(r.spec.get("charges") or "none")),
                ("Rescues", str(len(run.get("rescues", [])))),
                ("Gone on with", f"{len(run.get('resumed', []))} times"),
                ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))),
                ("Digest", html.Span(r.digest, className="mono")),
            ]
            links = [
                html.Li(
                    [
                        html.A(name, href=f"/files/replicas/{r.digest}/{name}", download=""),
                        html.Small(f" {_size(size)}"),
                    ]
                )
                for name, size in r.files
            ]
            blocks.append(
                html.Details([html.Summary(f"{cell.variant}, {r.name}"), facts(pairs), html.H3("Files"),
                              html.Ul(links, className="files") if links else html.P("none", className="muted")])
            )  # fmt: skip
    return html.Section([html.H2("Provenance and files"), *blocks])


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{max(1, round(n / 1e3))} kB"


PAGE = Page("/cell", "Cell", layout, register)
