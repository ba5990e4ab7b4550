"""How far screens are, for eyes: one screen, all of a store with the machine, and one line for a log."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from esr1md.commands.terminal import duration
from esr1md.screen.machine import Gpu, Machine
from esr1md.screen.status import Runner, Running, ScreenStatus

#: Running replicas, preparations and reasons of failure that are listed where the height is not known.
MOST_RUNNING, MOST_PREPARING, MOST_CAUSES = 8, 3, 8
#: Rows of an active screen besides its lists: bar, counts, time, speed, who, preparing, heading, two for what was left
#: out, a blank line.
_ACTIVE_ROWS = 10
_BAR = 30


def status_view(
    status: ScreenStatus,
    *,
    most_running: int = MOST_RUNNING,
    most_preparing: int = MOST_PREPARING,
    most_causes: int = MOST_CAUSES,
    name_width: int = 0,
) -> RenderableType:
    """One screen: a bar, the numbers, who runs it, what runs now and how far it is, what failed and why."""
    parts: list[RenderableType] = [_head(status, name_width), _line(_counts(status))]
    parts += [_line(words, "dim") for words in (_time(status), _rate(status), _who(status)) if words]
    if status.active and most_preparing:
        parts += _listed(
            (f"preparing {name}" for name in status.preparing), most_preparing, "more being prepared", "dim"
        )
    if status.running:
        parts.append(_RunningTable(status.running[:most_running]))
        if len(status.running) > most_running:
            parts.append(_line(f"and {len(status.running) - most_running} more running", "dim"))
    causes = (f"{count:,} x {cause}" for cause, count in status.failed.items())
    parts += _listed(causes, most_causes, "other reasons", "yellow")
    parts += [_line(note, "yellow") for note in status.notes]
    return Group(*parts)


def store_view(statuses: Sequence[ScreenStatus], machine: Machine | None, height: int | None = None) -> RenderableType:
    """All screens of a store, those that run first, and what the machine is doing.

    Parameters
    ----------
    height
        Rows there are. What does not fit is counted instead of listed, screens that do not run are one line each.
    """
    active = [status for status in statuses if status.active]
    others = [status for status in statuses if not status.active]
    parts: list[RenderableType] = []
    width = max((len(status.screen) for status in statuses), default=0)
    if height is None:
        for status in (*active, *others):
            parts += [status_view(status, name_width=width), Text()]
    else:
        rows = height - (2 + len(machine.gpus) if machine else 0)
        room = rows - _ACTIVE_ROWS * len(active) - len(others)
        each = max(1, room // (2 * len(active) or 1))
        for status in active:
            running, causes = min(each, len(status.running)), min(each, len(status.failed))
            running, causes = max(running, 2 * each - causes), max(causes, 2 * each - running)
            limits = {"most_running": running, "most_preparing": 1, "most_causes": causes}
            parts += [status_view(status, **limits, name_width=width), Text()]
        shown = len(others) if active else max(1, rows)
        parts += [_head(status, width, counts=True) for status in others[:shown]]
        if len(others) > shown:
            parts.append(_line(f"and {len(others) - shown} more screens that do not run", "dim"))
        if others:
            parts.append(Text())
    if machine is not None:
        parts.append(machine_view(machine))
    return Group(*parts)


def machine_view(machine: Machine) -> RenderableType:
    """The GPUs of this machine with the slots held on them, and how busy its cores are."""
    load = "" if machine.load is None else f"  load {machine.load:.1f} on {machine.cores} cores"
    load += "" if machine.gpus else ", no GPU"
    parts: list[RenderableType] = [Text.assemble((machine.host, "bold"), load)]
    table = Table.grid(padding=(0, 2))
    for gpu in machine.gpus:
        table.add_row(Text(f"  {gpu.name}"), *_use(gpu), Text(f"{gpu.slots_held} slots held"))
    if machine.gpus:
        parts.append(table)
    parts += [_line(note, "yellow") for note in machine.notes]
    return Group(*parts)


def status_line(status: ScreenStatus) -> str:
    """One screen as one line, for logs."""
    words = [f"{status.screen}: {status.done:,} of {status.total:,} replicas done"]
    words += [f"{status.n_failed:,} not computed"] if status.n_failed else []
    if status.running:
        more = f" and {len(status.running) - 2} more" if len(status.running) > 2 else ""
        words.append(f"running {', '.join(running.name for running in status.running[:2])}{more}")
    if status.preparing and status.active:
        more = f" and {len(status.preparing) - 2} more" if len(status.preparing) > 2 else ""
        words.append(f"preparing {', '.join(status.preparing[:2])}{more}")
    words += [f"{_speed(status.ns_per_day)} ns/day"] if status.ns_per_day else []
    if status.seconds_left is not None:
        once = " once prepared" if status.preparing and not status.running else ""
        words.append(f"about {duration(status.seconds_left)} left{once}")
    return ", ".join(words)


# -- parts -----------------------------------------------------------------------------------------------------


def _line(words: str, style: str = "") -> Text:
    return Text(f"  {words}", style=style, no_wrap=True, overflow="ellipsis")


def _listed(lines: Iterable[str], most: int, rest: str, style: str) -> list[RenderableType]:
    lines = list(lines)
    shown = [_line(line, style) for line in lines[:most]]
    return [*shown, _line(f"and {len(lines) - most} {rest}", style)] if len(lines) > most else shown


def _head(status: ScreenStatus, name_width: int, *, counts: bool = False) -> RenderableType:
    answered = status.done + status.n_failed
    bar = ProgressBar(max(1, status.total), answered, width=_BAR, complete_style="cyan", finished_style="green")
    words = _counts(status) if counts else f"{answered / max(1, status.total):.0%}"
    head = Table.grid(padding=(0, 2))
    head.add_column(no_wrap=True, min_width=min(24, name_width))
    head.add_column(min_width=_BAR)
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_row(Text(status.screen, style="bold"), bar, Text(words))
    return head


def _counts(status: ScreenStatus) -> str:
    words = [f"{status.done:,} of {status.total:,} replicas done"]
    words += [f"{len(status.running)} running"] if status.running else []
    words += [f"{status.waiting:,} waiting"] if status.waiting else []
    words += [f"{status.n_failed:,} not computed"] if status.n_failed else []
    if status.transfers is not None:
        done, total, failed = (status.transfers[key] for key in ("done", "total", "failed"))
        words.append(f"{done} of {total} transfers" + (f" ({failed} not computed)" if failed else ""))
    return ", ".join(words)


def _time(status: ScreenStatus) -> str:
    if not status.active:
        return "" if status.complete else "nobody runs it: the same command again goes on"
    words = [f"{duration(status.seconds)} so far"]
    if status.seconds_left is not None:
        words.append(f"about {duration(status.seconds_left)} left ({status.left_basis})")
    return ", ".join(words)


def _rate(status: ScreenStatus) -> str:
    if not status.active:
        return ""
    words = [f"{status.finished_last_hour:,} done in the last hour"]
    devices = {running.device for running in status.running if running.device}
    on = f" on {devices.pop()}" if len(devices) == 1 else ""
    words += [f"{_speed(status.ns_per_day)} ns/day in all{on}"] if status.ns_per_day else []
    return ", ".join(words)


def _who(status: ScreenStatus) -> str:
    def name(runner: Runner) -> str:
        where = "here" if runner.host in ("", socket.gethostname()) else f"on {runner.host}"
        return f"{where} ({f'site {runner.site}, ' if runner.site else ''}process {runner.pid})"

    runners = [name(runner) for runner in status.runners]
    more = f" and {len(runners) - 3} more" if len(runners) > 3 else ""
    return f"run {', '.join(runners[:3])}{more}" if runners else ""


@dataclass(frozen=True)
class _RunningTable:
    """A line for each replica in the making; its name has the room that the rest leaves."""

    running: Sequence[Running]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        places = self._places()
        columns = {
            "stage": [each.stage for each in self.running],
            "done": [f"{each.fraction:.0%}" for each in self.running],
            "ns/day": ["" if each.ns_per_day is None else _speed(each.ns_per_day) for each in self.running],
            "for": [duration(each.seconds) for each in self.running],
        }
        widths = {heading: max(map(len, (heading, *values))) for heading, values in columns.items()}
        place_width = min(max(map(len, places)), max(8, options.max_width // 4)) if any(places) else 0
        left = options.max_width - sum(width + 2 for width in widths.values()) - (place_width + 2 if place_width else 0)
        longest = 2 + max(len(each.name) for each in self.running)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        table.add_column("  replica", no_wrap=True, overflow="ellipsis", width=max(12, min(longest, left)))
        for heading, width in widths.items():
            table.add_column(heading, no_wrap=True, width=width, justify="left" if heading == "stage" else "right")
        if place_width:
            table.add_column("where", no_wrap=True, overflow="ellipsis", width=place_width, style="dim")
        for number, each in enumerate(self.running):
            row = [f"  {each.name}", *(values[number] for values in columns.values())]
            table.add_row(*map(Text, row), *([Text(places[number])] if place_width else []))
        yield table

    def _places(self) -> list[str]:
        """Host and device of each, as far as they differ."""
        hosts = {each.host for each in self.running}
        devices = {each.device for each in self.running if each.device}
        own = len(hosts) == 1 and socket.gethostname() in hosts
        return [
            " ".join(([] if own or not each.host else [each.host]) + ([each.device] if len(devices) > 1 else []))
            for each in self.running
        ]


def _speed(ns_per_day: float) -> str:
    return f"{ns_per_day:,.0f}" if ns_per_day >= 100 else f"{ns_per_day:.3g}"


def _use(gpu: Gpu) -> tuple[RenderableType, ...]:
    if gpu.utilisation is None:
        return Text(), Text("use not told", style="dim"), Text()
    memory = "" if gpu.memory is None else f"{(gpu.memory_used or 0) / 1e9:.1f} of {gpu.memory / 1e9:.0f} GB"
    bar = ProgressBar(1.0, gpu.utilisation, width=16, complete_style="cyan", finished_style="cyan")
    return bar, Text(f"{gpu.utilisation:.0%}"), Text(memory)
