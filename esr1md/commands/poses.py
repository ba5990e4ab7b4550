"""``esr1md ligands pose``: a ligand placed in a receptor model or in a structure file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.ligands import ligands_app
from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, show, write_json
from esr1md.errors import InputError
from esr1md.specs import HelixState

if TYPE_CHECKING:
    from rich.console import RenderableType


@ligands_app.command()
def pose(
    out: Annotated[Path, typer.Option("--out", "-o", help="New or empty folder for receptor, parameters and poses.")],
    ligand: Annotated[str | None, typer.Option("--ligand", "-l", metavar="NAME", help="A catalogued ligand.")] = None,
    smiles: Annotated[str | None, typer.Option("--smiles", help="A compound of your own.")] = None,
    sdf: Annotated[Path | None, typer.Option("--sdf", metavar="FILE", help="The same from an SDF file; its coordinates "
                                             "give the stereochemistry only.")] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Pose in the model of this helix-12 "
                                              "state: agonist, antagonist or displaced.")] = None,
    variant: Annotated[str, typer.Option("--variant", "-v", metavar="VARIANT", help="Of that model: WT, Y537S ...")
                       ] = "WT",
    receptor: Annotated[Path | None, typer.Option("--receptor", metavar="FILE", help="Pose in this PDB or mmCIF file "
                                                  "instead, in its own frame.")] = None,
    box_ligand: Annotated[Path | None, typer.Option("--box-ligand", metavar="SDF", help="A ligand in the frame of "
                                                    "--receptor: poses in the chain around it.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="NAME", help="Do not use the crystal "
                                                      "pose of this ligand or PDB id (may be repeated).")] = None,
    exclude_similar: Annotated[float, typer.Option("--exclude-similar", min=0, max=1, metavar="0-1", help="Use no "
                               "crystal pose of a ligand with a Tanimoto coefficient above this.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=1, help="Of conformers and docking.")] = 1,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Cores to use: several poses "
                                                "are minimised at once, Vina works beside. Default: all.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Place a ligand: up to five poses, ranked, with scores, anchors, confidence and what it was placed by.

    A covalent ligand is placed before its bond is made; the distance of its warhead to Cys530 is reported.

    Crystal ligands of the same helix-12 state suggest where the scaffold lies, AutoDock Vina what they do not suggest,
    the force field chooses five, which are ordered by energy, interaction and Vina's score together. A structure file
    keeps its heavy atoms and its frame; missing residues stay missing.

    Examples:

        esr1md ligands pose --ligand giredestrant --state antagonist --variant Y537S --out giredestrant

        esr1md ligands pose --smiles "Oc1ccc(cc1)-c1ccc(O)cc1" --state agonist --out mine

        esr1md ligands pose --sdf mine.sdf --receptor 1ERR.pdb --box-ligand raloxifene.sdf --out there

    Exit code 3 if the ligand fits nowhere, which is an answer too.
    """

    from esr1md.stopping import ctrl_c_kept

    with ctrl_c_kept(), document_output(json) as document:
        from esr1md.commands.terminal import stderr_console
        from esr1md.poses import request as requests
        from esr1md.workers import usable_cores

        if (state is None) == (receptor is None):
            raise InputError("say where to pose", expected="one of --state STATE and --receptor FILE")
        if box_ligand is not None and receptor is None:
            raise InputError(
                "--box-ligand shows the pocket of --receptor, which is not given",
                do="leave it out, or give the receptor file",
            )
        if receptor is not None and variant != "WT":
            raise InputError(
                "a structure file is taken with its own residues",
                expected="--variant with --state only",
                do="build the variant first: esr1md receptors build --from FILE --variant ...",
            )
        ligands = requests.wanted_ligands(ligand, smiles, sdf)
        requests.check_excluded(tuple(exclude or ()))
        _check_out(out)
        with stderr_console().status("preparing the receptor ...") as waiting:
            if receptor is not None:
                place = requests.file_place(receptor, box_ligand, out)
            else:
                place = requests.model_place(variant, _state(state), out)
            outcome = requests.pose_ligands(
                ligands,
                place,
                out,
                seed=seed,
                exclude=tuple(exclude or ()),
                exclude_similar=exclude_similar,
                threads=threads or usable_cores(),
                report=lambda said: waiting.update(said + " ..."),
            )
        if json:
            write_json(document, requests.as_document(ligands, place, outcome, out))
        else:
            show(_poses_view(ligands, outcome, place, out))
    if outcome.failed:
        raise typer.Exit(FAILURES_LEFT)


def _state(text: str) -> HelixState:
    from esr1md.catalogue import did_you_mean

    known = [str(state) for state in HelixState]
    if text.strip().lower() not in known:
        raise InputError(f"unknown helix-12 state '{text}'", expected=", ".join(known), do=did_you_mean(text, known))
    return HelixState(text.strip().lower())


def _check_out(out: Path) -> None:
    from esr1md.poses.request import begin

    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not (out / "request.json").is_file():
            raise InputError(
                f"'{out}' holds something else than poses",
                expected="a new folder, or one of an earlier call",
                do="give another --out",
            )
        begin(out)
    except OSError as error:
        raise InputError(
            f"cannot write to '{out}' ({error.strerror})", expected="a folder you may write to", do="give another --out"
        ) from None


def _poses_view(ligands: list[Any], outcome: Any, place: Any, out: Path) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import table_view
    from esr1md.ligand.labels import labels

    by_name = {ligand.name: ligand for ligand in ligands}
    parts: list[RenderableType] = []
    headings = {"rank": "", "confidence": "confidence", "above": "above first\nkcal/mol", "interaction": "interaction\n"
                "kcal/mol", "strain": "strain\nkcal/mol", "vina": "Vina\nkcal/mol"}  # fmt: skip
    for name, poses in outcome.poses.items():
        rows = [{
            "rank": pose.rank, "confidence": pose.confidence, **{key: None if value is None else round(value, 1)
            for key, value in {
                "above": pose.above_kcal, "interaction": pose.interaction_kcal, "strain": pose.strain_kcal,
                "vina": pose.vina_kcal, **pose.anchors_angstrom,
            }.items()},
        } for pose in poses]  # fmt: skip
        anchors = {anchor: f"{anchor.split('_')[1]}\nA" for pose in poses for anchor in pose.anchors_angstrom}
        parts.append(table_view(f"{name} in the {place.state} state", rows, headings | anchors))
        parts += [Text(f"pose {pose.rank}: {'; '.join(filter(None, (pose.reason, pose.label)))}") for pose in poses]
        parts += [Text(poses[0].misfit, style="yellow")] if poses[0].misfit else []
        parts += [Text(f"{name}: {said}", style="yellow") for said in labels(by_name[name])]
        parts += [Text(by_name[name].notes, style="dim")] if by_name[name].notes else []
    for name, error in outcome.failed.items():
        parts.append(Text(f"{name}: {error}", style="yellow"))
        parts += [Text(f"{name}: {said}", style="yellow") for said in labels(by_name[name])]
    parts.append(Text(f"\n{out}"))
    return Group(*parts)
