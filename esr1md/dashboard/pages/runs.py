"""Runs: how far every screen is, what fails and why, who computes and how fast; looked at again and again."""

from __future__ import annotations

from collections import defaultdict

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address, href
from esr1md.dashboard.context import context
from esr1md.dashboard.data import UNREADABLE
from esr1md.dashboard.parts import empty, facts, heading, link, problem, table
from esr1md.dashboard.shell import Page
from esr1md.screen.status import Running, ScreenStatus

#: Between two looks (ms).
LOOK_MS = 3000
MOST_RUNNING = 40


def layout(address: Address) -> Component:
    return html.Div(
        [
            heading("Runs", note="Read from the store every few seconds, whoever runs the screen and wherever."),
            html.Div(_screens(), id="runs-shown", **{"aria-live": "off"}),
            dcc.Interval(id="runs-look", interval=LOOK_MS),
        ]
    )


def register(app: Dash) -> None:
    @app.callback(Output("runs-shown", "children"), Input("runs-look", "n_intervals"), prevent_initial_call=True)
    def look(_: int) -> list[Component]:
        return _screens()


def _screens() -> list[Component]:
    names = context().reader.names()
    if not names:
        return [empty("No screen has been started in this store", "esr1md screen quickstart starts one.")]
    return [_screen(name) for name in names]


def _screen(name: str) -> Component:
    try:
        status = context().reader.status(name)
    except UNREADABLE as error:
        trouble = problem("How far it is cannot be read", str(error)[:300])
        return html.Section([html.H2(name), trouble], className="card")
    said = "running" if status.active else "finished" if status.complete else "stopped before its end"
    parts = [
        html.H2(
            [link(name, href("/", screen=name)), " ", html.Span(said, className="tag live" if status.active else "tag")]
        ),
        _bar(status),
        facts(_numbers(status)),
    ]
    if status.notes:
        parts.append(problem("Part of this screen cannot be read", html.Ul([html.Li(note) for note in status.notes])))
    if status.preparing:
        parts.append(html.P(f"Preparing: {', '.join(status.preparing[:12])}", className="note"))
    if status.running:
        parts += [_running(status), _devices(status)]
    if status.failed:
        parts.append(_failures(name, status))
    if not status.active and not status.complete:
        parts.append(html.P(["Go on with it: ", html.Code(f"esr1md screen {name} --store {context().settings.store}"),
                             ". What has finished is kept."], className="note"))  # fmt: skip
    return html.Section(parts, className="card run")


def _bar(status: ScreenStatus) -> Component:
    """Done, failed, running and waiting as one bar; the words are beside it."""
    total = max(1, status.total)
    counts = (("done", status.done), ("failed", status.n_failed), ("running", len(status.running)))
    parts = [html.Span(className=f"part {name}", style={"width": f"{100 * n / total:.2f}%"}) for name, n in counts if n]
    said = f"{status.done} of {status.total} replicas done"
    return html.Div(
        [
            html.Div(parts, className="bar", role="progressbar", **{
                "aria-valuenow": str(status.done), "aria-valuemin": "0", "aria-valuemax": str(status.total),
                "aria-label": said,
            }),
            html.Span(said),
        ],
        className="progress",
    )  # fmt: skip


def _numbers(status: ScreenStatus) -> list[tuple[str, str]]:
    pairs = [("failed", str(status.n_failed)), ("running", str(len(status.running))), ("waiting", str(status.waiting))]
    if status.seconds:
        pairs.append(("so far" if status.active else "took", duration(status.seconds)))
    if status.seconds_left is not None:
        pairs.append(("left", f"about {duration(status.seconds_left)} ({status.left_basis})"))
    if status.replica_seconds is not None:
        pairs.append(("a replica takes", duration(status.replica_seconds)))
    if status.ns_per_day is not None:
        pairs.append(("together", f"{status.ns_per_day:.3g} ns/day"))
    if status.runners:
        pairs.append(("run by", ", ".join(f"{r.host} ({r.site})" if r.site else r.host for r in status.runners)))
    return pairs


def _running(status: ScreenStatus) -> Component:
    rows = [
        (r.name, r.stage, f"{100 * r.fraction:.0f} %", duration(r.seconds), r.host,
         f"{r.platform} {r.device}".strip() or "\u2013",
         f"{r.ns_per_day:.3g}" if r.ns_per_day is not None else "\u2013")
        for r in status.running[:MOST_RUNNING]
    ]  # fmt: skip
    more = len(status.running) - len(rows)
    caption = f"and {more} more" if more else ""
    return table(("Replica", "Stage", "Done", "For", "Host", "On", "ns/day"), rows, caption=caption)


def _devices(status: ScreenStatus) -> Component:
    """What shares each device, and what comes out of it."""
    found: dict[tuple[str, str], list[Running]] = defaultdict(list)
    for each in status.running:
        if each.device:
            found[each.host, f"{each.platform} {each.device}"].append(each)
    if not found:
        return html.P("No GPU is in use.", className="note")
    rows = [
        (device, host, str(len(mine)), f"{sum(r.ns_per_day or 0 for r in mine):.3g}")
        for (host, device), mine in sorted(found.items())
    ]
    return table(("Device", "Host", "Replicas on it", "ns/day together"), rows, caption="Use of devices")


def _failures(name: str, status: ScreenStatus) -> Component:
    rows = [(str(count), cause) for cause, count in status.failed.items()]
    return html.Div(
        [
            table(("Replicas", "What did not work"), rows, caption="Failures by cause"),
            html.P(["Try them again: ", html.Code(f"esr1md screen {name} --retry --store {context().settings.store}"),
                    ". An outcome, such as a ligand that does not fit, comes out the same."], className="note"),
        ]
    )  # fmt: skip


def duration(seconds: float) -> str:
    """``42 s``, ``12 min``, ``3.5 h``, ``2.1 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            value = seconds / size
            return f"{value:.0f} {unit}" if unit == "min" else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"


PAGE = Page("/runs", "Runs", layout, register, of_screen=False)
