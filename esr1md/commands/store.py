"""``esr1md store``: look after what screens have computed: check, mend, share, tidy up, bring together."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, narrated, show, write_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from esr1md.store import Store
    from esr1md.store.verify import Finding

store_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look after a store: what screens have computed, in a folder or an object store.\n\n"
    "[bold]verify[/bold] looks, [bold]repair[/bold] mends, [bold]export[/bold] and [bold]merge[/bold] share, "
    "[bold]gc[/bold] makes room. Nothing that was computed is deleted without --remove.",
)

StoreOption = Annotated[
    str,
    typer.Option("--store", "-s", envvar="ESR1MD_STORE", metavar="FOLDER|URL",
                 help="The store: a folder, or an object store such as s3://bucket/prefix."),
]  # fmt: skip
PlacesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KIND/DIGEST]...", help="Only these folders, such as replicas/3f2a...")
]
DEFAULT_STORE = "runs"

#: Findings of one sort that are shown; --json has all.
MOST_SHOWN = 20


@store_app.command()
def verify(
    places: PlacesArgument = None,
    store: StoreOption = DEFAULT_STORE,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only, without reading the files.")] = False,
    json: JsonOption = False,
) -> None:
    """Check every folder, screen and the index; nothing is changed.

    Each file is compared with the SHA-256 that was written down when its folder was finished, each folder's name with
    the spec it was computed from, the index with the folders, and the plans of screens with the replicas there are.
    Exit code 0 if nothing has to be mended, else 3.

    Examples:

        esr1md store verify --store runs

        esr1md store verify --store /data/er --quick

        esr1md store verify --store s3://bucket/er --json > findings.json

    An object store is read once, whole, without --quick.
    """
    from esr1md.store.quarantine import in_quarantine
    from esr1md.store.verify import place_of
    from esr1md.store.verify import verify as look
    from esr1md.store.verify_index import verify_index
    from esr1md.store.verify_shared import verify_shared

    only = [place_of(place) for place in places or []]
    with document_output(json) as out, _told(), narrated("looking ...") as say:
        kept = opened(store)
        seen: Counter[str] = Counter()

        def counted(where: str) -> Any:
            def note(number: int) -> None:
                seen[where] = number
                say(f"looked at {number:,} folders {where}")

            return note

        findings = list(look(kept, only, quick=quick, report=counted("here")))
        if kept.shared is not None:
            findings += verify_shared(kept, only, quick=quick, report=counted("in the object store"))
        if not only:
            findings += verify_index(kept, quick=quick)
        problems = sum(finding.problem for finding in findings)
        summary = {
            "store": str(kept.root), "object_store": kept.shared and kept.shared.remote.url, "quick": quick,
            "folders": seen["here"] + seen["in the object store"], "problems": problems,
            "quarantined": len(in_quarantine(kept.root)), "findings": [finding.to_json() for finding in findings],
        }  # fmt: skip
        if json:
            write_json(out, summary)
        else:
            show(_findings_view(findings, summary))
    if problems:
        raise typer.Exit(FAILURES_LEFT)


@store_app.command()
def repair(
    places: PlacesArgument = None,
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Mend what 'verify' finds: damaged folders go to STORE/quarantine and are computed anew by the next run.

    Folders of older versions, which have no list of files, get one once every file of them has been read to its end.
    What could not be sent to an object store is sent, and the index is made again where it says something else than
    the folders. Exit code 3 if something could not be mended.

    Examples:

        esr1md store repair --dry-run

        esr1md store repair --store /data/er
    """
    from esr1md.store.repair import repair as mend
    from esr1md.store.verify import place_of

    only = [place_of(place) for place in places or []]
    with document_output(json) as out, _told(), narrated("looking ...") as say:
        done = []
        for each in mend(opened(store), only, dry_run=dry_run, report=lambda seen: say(f"looked at {seen:,} folders")):
            done.append(each)
            say(f"{each.finding.where}: {each.done or each.why}")
        if json:
            write_json(out, {"store": store, "dry_run": dry_run, "repairs": [each.to_json() for each in done]})
        elif not done:
            show("nothing to mend")
        else:
            rows = [{"what": each.finding.what, "where": _short(each.finding.where), "found": each.finding.detail,
                     "done": each.done or f"left alone: {each.why}"} for each in done]  # fmt: skip
            show(_table(rows, {"what": "what", "where": "where", "found": "found", "done": "done"}))
    if any(not each.done for each in done):
        raise typer.Exit(FAILURES_LEFT)


@store_app.command()
def rebuild(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """Make the SQL index from the folders again. Reviews, which are nowhere else, are kept.

    Examples:

        esr1md store rebuild --store runs

        ESR1MD_DATABASE_URL=postgresql://user@host/er esr1md store rebuild --store /data/er

    The second moves the store's index to that database.
    """
    with document_output(json) as out, _told(), narrated("reading the folders ..."):
        from esr1md.store.records import open_index
        from esr1md.store.records import rebuild as make

        kept = opened(store)
        found = make(kept)
        index = str(open_index(kept))
        if json:
            write_json(out, {"store": str(kept.root), "index": index, "replicas": found})
        else:
            show(f"{index}: {found} replicas")


@store_app.command()
def export(
    screens: Annotated[
        list[str] | None, typer.Argument(metavar="[SCREEN]...", help="Without any: every screen.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.tar", help="The file to write.")] = ...,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Write screens into one file for a colleague: every folder they need, tables, report and reviews.

    The file is a plain tar, the same for the same content; 'esr1md store merge FILE.tar' brings it into another store,
    checking every file.

    Examples:

        esr1md store export my-screen --out my-screen.tar

        esr1md store export --store /data/er --out everything.tar
    """
    from esr1md.store.bundle import export as write

    with document_output(json) as document, _told(), narrated("gathering ...") as say:
        done = write(opened(store), screens, out, report=say)
        if json:
            write_json(document, {**done.to_json(), "file": str(out.absolute())})
            return
        lines = [f"{out}: {_folders(done.folders)}, {_size(done.bytes)}; screens {', '.join(done.screens)}"]
        if done.reviews:
            lines.append(f"{done.reviews} reviews")
        if done.unfinished:
            lines.append(f"{done.unfinished} replicas of the plans are not finished, and are not in it")
        if done.unlisted:
            lines.append(f"{done.unlisted} folders of an older version were listed now, unchecked: run 'repair' first "
                         "to have them read")  # fmt: skip
        show("\n".join(lines))


@store_app.command()
def merge(
    other: Annotated[str, typer.Argument(metavar="OTHER", help="A store's folder, a bundle (.tar), or a URL of one.")],
    store: StoreOption = DEFAULT_STORE,
    rename: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What the screen of OTHER is called here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come; change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring what another store has finished into this one: results, screens and reviews.

    Every folder is checked on the way. What is finished here stays as it is, and a failure there never takes the place
    of a result here. Killed in the middle, the same command goes on. Exit code 3 if folders had to be left out.

    Examples:

        esr1md store merge my-screen.tar --store runs

        esr1md store merge /mnt/laptop/runs --dry-run

        esr1md store merge s3://bucket/er --as er-2024

    A bundle is checked against itself: it proves that nothing was damaged on the way, not who has computed it.
    """
    from esr1md.store.merge import merge as bring

    with document_output(json) as out, _told(), narrated("reading ...") as say:
        done = bring(opened(store, make=True), other, rename=rename, dry_run=dry_run, report=say)
        if json:
            write_json(out, {**done.to_json(), "dry_run": dry_run})
        else:
            show("\n".join(_merged_lines(done, dry_run)))
    if done.damaged or done.busy:
        raise typer.Exit(FAILURES_LEFT)


@store_app.command()
def gc(
    store: StoreOption = DEFAULT_STORE,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Leave alone what was written to since.")
    ] = 7.0,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed, for good.")] = False,
    json: JsonOption = False,
) -> None:
    """What no screen needs any more, and how much room it takes; removed only with --remove.

    That is: folders that no screen's plan leads to (parameters that 'ligands prepare' made for a screen yet to come
    among them), what killed processes left, and what is in quarantine. Receptors, parameters and poses that replicas
    were made from are needed. What somebody works on is never touched.

    Examples:

        esr1md store gc

        esr1md store gc --older-than 30 --remove
    """
    from esr1md.store.unused import Unneeded

    with document_output(json) as out, _told(), narrated("looking what screens need ...") as say:
        unneeded = Unneeded(opened(store), older_than_days=older_than)
        rows, size, kept = [], 0, 0
        for each in unneeded:
            gone = remove and unneeded.remove(each)
            rows.append(each.to_json() | ({"removed": gone} if remove else {}))
            size += each.bytes if gone or not remove else 0
            kept += remove and not gone
            say(f"{len(rows)} folders, {_size(size)}")
        if json:
            write_json(out, {"store": store, "bytes": size, "removed": remove, "unused": rows})
            return
        if rows:
            shown = [row | {"where": _short(row["where"]), "size": _size(row["bytes"])} for row in rows[:MOST_SHOWN]]
            show(_table(shown, {"where": "where", "why": "why", "days": "days", "size": "size"}))
        more = f" ({len(rows) - MOST_SHOWN} more in --json)" if len(rows) > MOST_SHOWN else ""
        said = "removed" if remove else "can go: add --remove"
        show(f"{len(rows) - kept} folders{more}, {_size(size)}: {said}" if rows else "nothing is unused")
        if kept:
            show(f"{kept} are in use, or a screen has come to need them: left alone")


# -- helpers ----------------------------------------------------------------------------------------------


def opened(location: str, *, make: bool = False) -> Store:
    """The store at a folder or URL.

    Raises
    ------
    InputError
        There is no such folder, unless it may be made.
    """
    from esr1md.commands.stored import existing_store
    from esr1md.store.location import open_store
    from esr1md.store.remote import is_url

    if not is_url(location) and not make:
        existing_store(Path(location))
    return open_store(location)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Each warning as one line on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        yield


def _findings_view(findings: Sequence[Finding], summary: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    problems, how = summary["problems"], "sizes compared" if summary["quick"] else "every file read"
    said = f"{problems} problems" if problems else "nothing to mend"
    head = Text(f"{summary['folders']:,} folders, {how}: {said}", style="bold red" if problems else "bold")
    parts: list[RenderableType] = [head]
    counts = Counter(finding.what for finding in findings)
    shown: Counter[str] = Counter()
    rows = []
    for finding in sorted(findings, key=lambda each: (not each.problem, each.what, each.where)):
        shown[finding.what] += 1
        if shown[finding.what] <= (MOST_SHOWN if finding.problem else 3):
            rows.append({"what": finding.what, "where": _short(finding.where), "found": finding.detail})
    if rows:
        parts.append(_table(rows, {"what": "what", "where": "where", "found": "found"}))
        sorts = {finding.what: finding for finding in findings}.values()
        meanings = [{"what": s.what, "n": counts[s.what], "means": s.means, "mend": s.mend} for s in sorts]
        parts.append(_table(meanings, {"what": "what", "n": "how many", "means": "it means", "mend": "what mends it"}))
    if summary["quarantined"]:
        parts.append(Text(f"{summary['quarantined']} in STORE/quarantine; 'esr1md store gc' lists them", style="dim"))
    return Group(*parts)


def _merged_lines(done: Any, dry_run: bool) -> Iterator[str]:
    come = "would come" if dry_run else "came"
    yield f"{done.source}: {_folders(done.added)} {come} ({_size(done.bytes)}), {_folders(done.known)} were here"
    for name in done.screens:
        yield f"screen {name}: new"
    for name in done.same:
        yield f"screen {name}: was here; 'esr1md screen' or 'esr1md rank {name}' takes in what is new"
    if done.reviews:
        yield f"{done.reviews} reviews"
    for each in done.damaged[:MOST_SHOWN]:
        yield f"left out, damaged: {_short(each['where'])}: {each['why']}"
    if len(done.damaged) > MOST_SHOWN:
        yield f"... and {len(done.damaged) - MOST_SHOWN} more (--json has all)"
    if done.busy:
        yield f"left out, being computed here at this moment: {len(done.busy)}; merge again later"


def _table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> RenderableType:
    from esr1md.commands.terminal import table_view

    return table_view("", rows, columns)


def _short(where: str) -> str:
    """A place with its digest cut to what tells it apart."""
    kind, _, name = where.partition("/")
    return f"{kind}/{name[:13]}..." if len(name) > 40 else where


def _folders(by_kind: dict[str, int]) -> str:
    total = sum(by_kind.values())
    each = ", ".join(f"{count} {kind}" for kind, count in by_kind.items())
    return f"{total:,} folders" + (f" ({each})" if each else "")


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
