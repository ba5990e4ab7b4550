"""``esr1md surrogate``: a model of assay affinity, and of simulation scores where it was trained on a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import JsonOption, document_output, narrated, show, write_json

if TYPE_CHECKING:
    from esr1md.surrogate.card import Card
    from esr1md.surrogate.data import Affinities
    from esr1md.surrogate.surrogate import Surrogate

surrogate_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Guess what was not measured: screen a library, train on your own data, choose what to simulate next.\n\n"
    "The model that is shipped predicts [bold]assay affinity for the wild type[/bold]. Mutants and helix 12 are "
    "predicted once it is trained on a store: [bold]esr1md surrogate train --store runs --out my-surrogate[/bold].",
)

ModelOption = Annotated[
    Path | None, typer.Option("--model", "-m", help="Folder of a trained surrogate. Without it: the shipped one.")
]
SmilesColumn = Annotated[str | None, typer.Option(help="Column of SMILES, if its heading does not say so.")]
ValueColumn = Annotated[str | None, typer.Option(help="Column of affinities, if its heading does not say so.")]
ValueKind = Annotated[str | None, typer.Option(help="What the numbers are: pK, nM, uM, M, dG or dG-kJ.")]
AssayColumn = Annotated[str | None, typer.Option(help="Column that names the assay, if not 'assay_chembl_id'.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31, help="Same seed and data: same model.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu or cuda. Without it: a GPU if torch finds one.")]


@surrogate_app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for weights and card.")],
    affinities: Annotated[
        Path | None, typer.Argument(metavar="[AFFINITIES.csv]", help="SMILES and measured affinities.")
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", "-s", help="Train on the screens of this store.")] = None,
    screen: Annotated[
        list[str] | None,
        typer.Option(help="Of the store, only this screen; may be repeated. All must share a protocol."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="With --store alone: surrogate whose affinity model is kept, if not the shipped."),
    ] = None,
    source: Annotated[str, typer.Option(help="What the affinities are called on the card.")] = "",
    attribution: Annotated[str, typer.Option(help="To whom they are owed, for the card.")] = "",
    smiles_column: SmilesColumn = None,
    value_column: ValueColumn = None,
    value_kind: ValueKind = None,
    assay_column: AssayColumn = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Train on measured affinities, on the screens of a store, or on both.

    Affinities are a CSV of SMILES and values (pChEMBL, nM, kcal/mol ...). Compounds are merged by InChIKey, assays that
    share compounds get an offset, and [bold]> 10000[/bold] is used as the bound it is. Five networks each leave a fifth
    of the scaffolds out; what they are worth there stands on the card. Killed or interrupted, the same command goes on
    with the members that are left.

    OUT holds the weights (safetensors), card.json and card.md.

    Examples:

        esr1md surrogate train measured.csv --out mine

        esr1md surrogate train chembl.csv --value-column pchembl_value --out mine --seed 1

        esr1md surrogate train --store runs --screen my-screen --out mine
    """
    from esr1md.errors import InputError

    with document_output(json) as document:
        if affinities is None and store is None:
            raise InputError("nothing to train on", expected="a CSV of affinities, --store, or both")
        if base is not None and affinities is not None:
            raise InputError("--base and a CSV of affinities are both given", expected="one of them")
        with narrated() as report:
            surrogate = _load(base) if affinities is None else None
            limits: tuple[str, ...] = ()
            if affinities is not None:
                from esr1md.surrogate.training import train_on_affinities

                data = _read(affinities, smiles_column, value_column, value_kind, assay_column, report)
                surrogate = train_on_affinities(
                    data,
                    out,
                    source=source or affinities.name,
                    attribution=attribution,
                    seed=seed,
                    device=device,
                    report=report,
                )
            if store is not None:
                surrogate, limits = _train_on_store(store, screen or (), out, surrogate, seed, report)
        if json:
            write_json(document, described(surrogate.card) | {"out": str(out), "limits": list(limits)})
        else:
            show(_card_view(surrogate.card, out))


@surrogate_app.command()
def evaluate(
    train: Annotated[Path, typer.Argument(metavar="TRAIN.csv", help="SMILES and affinities to train on.")],
    test: Annotated[Path, typer.Argument(metavar="TEST.csv", help="SMILES and affinities to predict.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Folder for the model trained on TRAIN; a second call goes on from there."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", "-p", help="Also write what was predicted for each compound (CSV).")
    ] = None,
    smiles_column: SmilesColumn = None,
    value_column: ValueColumn = None,
    value_kind: ValueKind = None,
    assay_column: AssayColumn = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Train on one table of affinities and judge on another: error, order, likelihood, coverage of the intervals.

    Compounds of TEST that are also in TRAIN (by InChIKey) and those of which only a bound is known are left out of the
    figures, and counted.

    Examples:

        esr1md surrogate evaluate train.csv test.csv

        esr1md surrogate evaluate train.csv test.csv --value-column pchembl_value --predictions said.csv --json
    """
    with document_output(json) as document:
        from esr1md.surrogate.affinity_training import train_affinity
        from esr1md.surrogate.data import read_affinities

        with narrated() as report:
            known = _read(train, smiles_column, value_column, value_kind, assay_column, report)
            asked = read_affinities(
                test, smiles_column=smiles_column, value_column=value_column, value_kind=value_kind,
                assay_column=assay_column, fewest=1, report=report,
            )  # fmt: skip
            trained = train_affinity(known, seed=seed, folder=model, device=device, report=report)
            found = _judged(trained, known, asked, test, predictions)
        found = {"train": str(train), "test": str(test), "seed": seed, "n_train": len(known), **found}
        if json:
            write_json(document, found)
        else:
            show(_evaluation_view(found))


@surrogate_app.command()
def card(model: ModelOption = None, json: JsonOption = False) -> None:
    """What a surrogate was trained on, what it is worth and what it must not be used for.

    Examples:

        esr1md surrogate card

        esr1md surrogate card --model runs/screens/my-screen/surrogate --json
    """
    with document_output(json) as document:
        from esr1md.surrogate.card import load_card, shipped_folder

        found = load_card(model or shipped_folder())
        if json:
            write_json(document, described(found))
        else:
            show(_card_view(found, None))


def described(card: Card) -> dict[str, Any]:
    """A card for ``--json``."""
    from dataclasses import asdict

    from esr1md.surrogate.card import statement

    return {"statement": statement(card), **asdict(card)}


def _load(model: Path | None) -> Surrogate:
    from esr1md.surrogate.surrogate import load_surrogate

    return load_surrogate(model)


def _read(path: Path, smiles: str | None, value: str | None, kind: str | None, assay: str | None,
          report: Callable[[str], None]) -> Affinities:  # fmt: skip
    from esr1md.surrogate.data import read_affinities

    return read_affinities(
        path, smiles_column=smiles, value_column=value, value_kind=kind, assay_column=assay, report=report
    )


def _train_on_store(store: Path, wanted: tuple[str, ...] | list[str], out: Path, base: Surrogate | None, seed: int,
                    report: Callable[[str], None]) -> tuple[Surrogate, tuple[str, ...]]:  # fmt: skip
    from esr1md.commands.stored import existing_store
    from esr1md.errors import InputError
    from esr1md.screen.observations import stored_observations
    from esr1md.store import Store
    from esr1md.surrogate.training import train

    held = stored_observations(Store(existing_store(store)), tuple(wanted))
    surrogate, limits = train(
        held.observations, held.ligands, out, seed, base=base, protocol=held.protocol, screens=held.screens,
        report=report,
    )  # fmt: skip
    if surrogate is None:
        raise InputError(limits[0].removeprefix("No predictions: "), where=f"store {store}",
                         do="run more replicas, or train on affinities alone")  # fmt: skip
    return surrogate, limits


def _judged(trained: Any, known: Affinities, asked: Affinities, path: Path, predictions: Path | None) -> dict[str, Any]:
    import numpy as np

    from esr1md.errors import InputError
    from esr1md.surrogate.evaluation import evaluate_predictions

    seen = np.isin(np.array(asked.inchikeys), np.array(known.inchikeys))
    bounded = asked.bounds != 0
    judged = asked.take(~seen & ~bounded)
    if not len(judged):
        raise InputError("no compound is left to judge", where=str(path),
                         expected="measured compounds that the training table lacks")  # fmt: skip
    said = trained.predict_smiles(judged.smiles)
    figures = evaluate_predictions(judged.values, said.value, said.sd, said.low, said.high)
    inside = said.in_domain
    of_inside = evaluate_predictions(
        judged.values[inside], said.value[inside], said.sd[inside], said.low[inside], said.high[inside]
    ) if inside.any() else None  # fmt: skip
    if predictions is not None:
        import pandas

        table = pandas.DataFrame({
            "inchikey": judged.inchikeys, "smiles": judged.smiles, "measured": judged.values, "pchembl": said.value,
            "pchembl_sd": said.sd, "pchembl_low": said.low, "pchembl_high": said.high, "similarity": said.similarity,
            "in_domain": inside,
        })  # fmt: skip
        try:
            table.to_csv(predictions, index=False)
        except OSError as error:
            raise InputError(f"'{predictions}' cannot be written ({error.strerror})", where="--predictions",
                             expected="a CSV file in a folder that exists") from error  # fmt: skip
    return {
        "unit": "pChEMBL",
        "already_in_training": int(seen.sum()),
        "only_bounds": int((bounded & ~seen).sum()),
        "left_out": [f"line {row.line}: {row.reason}" for row in asked.left_out],
        "figures": figures,
        "in_domain": of_inside,
    }


def _evaluation_view(found: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "n", "MAE", "RMSE", "Spearman", "NLL", "90 % intervals hold", "mean width"):
        table.add_column(title, justify="left" if not title else "right")
    for title, row in (("all", found["figures"]), ("inside the domain", found["in_domain"])):
        if row is not None:
            held = (
                f"{100 * row['coverage']:.1f} % ({100 * row['coverage_low']:.0f} to {100 * row['coverage_high']:.0f})"
            )
            table.add_row(title, f"{row['n']:,}", *(f"{row[name]:.2f}" for name in ("mae", "rmse", "spearman", "nll")),
                          held, f"{row['width']:.2f}")  # fmt: skip
    lines = [Text(f"trained on {found['n_train']:,} compounds of {found['train']}; pChEMBL"), table]
    left_out = {
        "also in the training table": found["already_in_training"],
        "bounds only": found["only_bounds"],
        "rows not used": len(found["left_out"]),
    }
    for why, count in left_out.items():
        if count:
            lines.append(Text(f"  left out: {count:,} {why}", style="dim"))
    return Group(*lines)


def _card_view(card: Card, out: Path | None) -> Any:
    from rich.console import Group
    from rich.markdown import Markdown
    from rich.text import Text

    from esr1md.surrogate.card import card_text

    lines: list[Any] = [Markdown(card_text(card))]
    if out is not None:
        lines.append(Text(f"\n{out}"))
    return Group(*lines)
