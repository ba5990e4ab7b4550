"""The sentences of the report: the headline answer, and the methods paragraph with its references.

A sentence is only ever made from verdicts that the scoring gave; where it could not tell, the text says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from esr1md.report.figures import ALONE, row_label
from esr1md.scoring.scores import Comparison, Ranking, Verdict

#: Names listed in one sentence before the rest is counted; fewer in the title.
MOST_NAMES, MOST_IN_TITLE = 8, 4


@dataclass(frozen=True)
class MutantAnswer:
    """For one mutant and one score, the ligands under each verdict that occurs, as (verdict, names)."""

    variant: str
    binding: tuple[tuple[Verdict, str], ...]
    helix12: tuple[tuple[Verdict, str], ...]


@dataclass(frozen=True)
class Headline:
    """``title`` is the answer in one sentence, ``detail`` what stays open, ``mutants`` the answer per mutant."""

    title: str
    detail: str
    mutants: tuple[MutantAnswer, ...]


def headline(ranking: Ranking) -> Headline:
    """The answer in plain words; says that there is none when nothing can be told."""
    simulated = sum(c.n_replicas for c in ranking.cells)
    errors = sum(f.kind == "error" for f in ranking.failures)
    if simulated == 0:
        if ranking.failures:
            return Headline(
                "No answer: nothing in this screen could be simulated to the end.",
                f"{_count(len(ranking.failures), 'attempt')} ended early, {errors} of them by an error. "
                "The causes are listed under Failures.",
                (),
            )
        nothing = "No answer yet: nothing has been simulated."
        return Headline(nothing, "Run the screen to fill the matrix.", ())
    several = len({c.state for c in ranking.comparisons}) > 1
    mutants = tuple(
        MutantAnswer(
            variant,
            _grouped([c for c in ranking.comparisons if c.variant == variant], "binding_verdict", several),
            _grouped([c for c in ranking.comparisons if c.variant == variant], "helix12_verdict", several),
        )
        for variant in dict.fromkeys(c.variant for c in ranking.comparisons)
    )
    if not mutants:
        return Headline(
            "No answer: no mutant was compared with the wild type.",
            "A comparison needs the same ligand and seed in the wild type and in a mutant, both finished.",
            (),
        )
    # The question is about ligands that hold helix 12 out of the active position; an agonist is a control.
    asked = [c for c in ranking.comparisons if c.ligand != "apo"]
    asked = [c for c in asked if c.state != "agonist"] or asked or list(ranking.comparisons)
    return Headline(_title(asked), _open_questions(ranking, asked), mutants)


def _title(asked: list[Comparison]) -> str:
    ligands = list(dict.fromkeys(c.ligand for c in asked))
    variants = list(dict.fromkeys(c.variant for c in asked))
    told = [c for c in asked if _told(c.binding_verdict) or _told(c.helix12_verdict)]
    if not told:
        return (
            "This screen cannot tell: for none of the "
            f"{_count(len(asked), 'ligand-mutant pair')} does it show whether the mutation changes "
            "binding or helix 12."
        )
    where = f"In {variants[0]}" if len(variants) == 1 else f"In all {len(variants)} mutants"
    by_ligand: dict[str, list[Comparison]] = {name: [] for name in ligands}
    for c in asked:
        by_ligand[c.ligand].append(c)

    def everywhere(name: str, attribute: str) -> bool:
        mine = by_ligand[name]
        return len(mine) == len(variants) and all(getattr(c, attribute) is Verdict.RETAINED for c in mine)

    both = [n for n in ligands if everywhere(n, "binding_verdict") and everywhere(n, "helix12_verdict")]
    sentences = []
    if both:
        keeps = "keeps" if len(both) == 1 else "keep"
        sentences.append(f"{where}, {names(both, MOST_IN_TITLE)} {keeps} both binding and helix-12 position.")
    else:
        only = [n for n in ligands if everywhere(n, "binding_verdict")]
        if only:
            keeps = "keeps" if len(only) == 1 else "keep"
            who = names(only, MOST_IN_TITLE)
            sentences.append(f"{where}, {who} {keeps} binding, but helix 12 is not shown to stay put.")
        else:
            sentences.append(f"{where}, no ligand is shown to keep both binding and helix-12 position.")
    at = "" if len(variants) == 1 else " in at least one"
    for what, attribute in (("Binding", "binding_verdict"), ("Helix 12", "helix12_verdict")):
        harmed = [n for n in ligands if any(_harmed(getattr(c, attribute)) for c in by_ligand[n])]
        if harmed:
            sentences.append(f"{what} weakened or lost{at}: {names(harmed, MOST_IN_TITLE)}.")
    return " ".join(sentences)


def _told(verdict: Verdict) -> bool:
    return verdict is not Verdict.CANNOT_TELL


def _harmed(verdict: Verdict) -> bool:
    return verdict in (Verdict.WEAKENED, Verdict.LOST)


def _open_questions(ranking: Ranking, asked: list[Comparison]) -> str:
    total = len(asked)
    if ranking.too_short:
        return (
            f"{ranking.production_ps:g} ps per replica show only how the starting structures respond, so no verdict is "
            f"given on any of {_count(total, 'ligand-mutant pair')}; one needs {ranking.minimum_production_ps:g} ps "
            "(protocol standard or longer)."
        )
    binding = sum(not _told(c.binding_verdict) for c in asked)
    helix12 = sum(not _told(c.helix12_verdict) for c in asked)
    if not binding and not helix12:
        return f"All {_count(total, 'ligand-mutant pair')} have a verdict on binding and on helix 12."
    text = (
        f"Of {_count(total, 'ligand-mutant pair')}, {binding} cannot be decided on binding and {helix12} on "
        "helix 12: the 95 % interval allows both answers"
    )
    absent = sum(c.binding_shift is None and c.helix12_shift is None for c in asked)
    text += f", or ({absent} of them) there is nothing to compare." if absent else "."
    scores = [s for c in asked for s in (c.binding_shift, c.helix12_shift) if s is not None]
    few = max((s.n_replicas for s in scores), default=0)
    if 0 < few < 5:
        text += f" No comparison rests on more than {_count(few, 'replica pair')}; more narrow the intervals."
    return text


def _grouped(comparisons: list[Comparison], attribute: str, several: bool) -> tuple[tuple[Verdict, str], ...]:
    groups = []
    for verdict in Verdict:
        found = [c for c in comparisons if getattr(c, attribute) is verdict]
        stands = attribute.replace("_verdict", "_stands")
        labels = [
            row_label(c.ligand, c.state, several) + (f" {ALONE}" if getattr(c, stands) is False else "") for c in found
        ]
        if labels:
            groups.append((verdict, names(labels)))
    return tuple(groups)


def names(items: Iterable[str], most: int = MOST_NAMES) -> str:
    """``A``, ``A and B``, ``A, B and C``; of long lists the first ``most``, and the rest counted."""
    items = list(items)
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


# --- methods ------------------------------------------------------------------------------------------------

_CHARGES = {
    "nagl": "AM1-BCC-quality charges from the NAGL graph network",
    "am1bcc": "AM1-BCC charges (sqm, one extended conformer each)",
}
REFERENCES = {
    "openmm": "Eastman P, et al. OpenMM 8. J Phys Chem B 2024, 128, 109. doi:10.1021/acs.jpcb.3c06662",
    "ff14sb": "Maier JA, et al. ff14SB. J Chem Theory Comput 2015, 11, 3696. doi:10.1021/acs.jctc.5b00255",
    "gaff": "Wang J, et al. General Amber force field. J Comput Chem 2004, 25, 1157. doi:10.1002/jcc.20035",
    "nagl": "Open Force Field NAGL models, openff-gnn-am1bcc (package openff-nagl-models); "
    "charge equilibration: Wang Y, et al. 2019, arXiv:1909.07903",
    "am1bcc": "Jakalian A, Jack DB, Bayly CI. AM1-BCC. J Comput Chem 2002, 23, 1623. doi:10.1002/jcc.10128",
    "obc2": "Onufriev A, Bashford D, Case DA. OBC. Proteins 2004, 55, 383. doi:10.1002/prot.20033",
    "gbn2": "Nguyen H, Roe DR, Simmerling C. GB-neck2. J Chem Theory Comput 2013, 9, 2020. doi:10.1021/ct3010485",
    "tip3p": "Jorgensen WL, et al. TIP3P. J Chem Phys 1983, 79, 926. doi:10.1063/1.445869",
    "pme": "Essmann U, et al. Smooth particle mesh Ewald. J Chem Phys 1995, 103, 8577. doi:10.1063/1.470117",
    "middle": "Zhang Z, et al. Unified thermostat scheme (middle). J Phys Chem A 2019, 123, 6056. "
    "doi:10.1021/acs.jpca.9b02771",
    "hmr": "Hopkins CW, et al. Hydrogen mass repartitioning. J Chem Theory Comput 2015, 11, 1864. "
    "doi:10.1021/ct5010406",
    "mmgbsa": "Genheden S, Ryde U. MM/PBSA and MM/GBSA. Expert Opin Drug Discov 2015, 10, 449. "
    "doi:10.1517/17460441.2015.1032936",
    "3ert": "Shiau AK, et al. (3ERT). Cell 1998, 95, 927. doi:10.1016/S0092-8674(00)81717-1",
    "1qku": "Gangloff M, et al. (1QKU). J Biol Chem 2001, 276, 15059. doi:10.1074/jbc.M009870200",
    "rdkit": "RDKit: open-source cheminformatics. doi:10.5281/zenodo.591637",
}


def methods(
    ranking: Ranking, specs: Iterable[dict[str, Any]], receptors: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Paragraphs and references for what was actually run.

    Parameters
    ----------
    ranking
        Names the protocol, the reference ligand, the platform and the versions.
    specs
        The ``spec.json`` of the replicas; the protocol of the first that has one is described. Without any,
        only what the ranking itself says is written.
    receptors
        Where the receptor models come from, in words: ``"antagonist state from 3ERT chain A"``.
    """
    specs, receptors = list(specs), list(receptors)
    protocol = next((s["protocol"] for s in specs if isinstance(s.get("protocol"), dict)), {})
    solvent = protocol.get("solvent") or {}
    charges = next((s["charges"] for s in specs if s.get("charges")), "nagl")
    cite = ["openmm", "ff14sb", "gaff", charges]
    paragraphs = [
        "Receptor models of the ER-alpha ligand-binding domain (UniProt P03372 numbering)"
        + (f": {names(receptors)}" if receptors else "")
        + ". Mutations are built into them. The protein has amber14SB parameters; ligands have GAFF2 types "
        f"and parameters, and {_CHARGES[charges]}, in the protonation state shown."
    ]
    if protocol:
        paragraphs.append(_dynamics(ranking, protocol, solvent, cite))
    else:
        paragraphs.append(
            f"Protocol {ranking.protocol} on {ranking.platform or 'an unknown platform'}; "
            "its details are in spec.json of each replica."
        )
    scoring = protocol.get("scoring") or {}
    trajectories = "three-trajectory" if scoring.get("trajectories") == "three" else "single-trajectory"
    entropy = "interaction entropy of each run" if scoring.get("entropy") == "interaction" else "no entropy"
    reference = ranking.reference_ligand
    relative = f", relative to {reference} in the same variant and state" if reference else ""
    paragraphs.append(
        f"Binding is the {trajectories} MM/GBSA energy (van der Waals, Coulomb, generalised Born and "
        f"surface-area terms; {entropy}){relative}. The helix-12 score is the C-alpha RMSD of residues "
        "537-544 to the agonist reference minus that to the antagonist reference, after superposing the core "
        "of the domain (helices 3 to 10); a larger value keeps helix 12 farther from the active position. "
        "Mutant minus wild-type differences are paired by seed; intervals are 95 % bootstrap intervals over "
        "replicas, never over frames; a verdict is given only when the interval excludes the other answers."
    )
    if any(c.helix12_over_hormone or c.helix12_over_apo for c in ranking.cells):
        paragraphs.append(
            "Helix 12 over estradiol, and over apo, is the C-alpha RMSD of helix 12 to its active place minus that of "
            "estradiol's complex, or of the empty receptor, in the agonist state of the same variant, over shared "
            "seeds: 0 is as active as the hormone leaves it."
        )
    if any(r.p_best is not None or r.on_front is not None for r in ranking.ranking):
        paragraphs.append(
            "The chance of being best is the share of draws, each ligand's mean perturbed by its own noise, in which "
            "it has rank 1. A ligand is on the Pareto front if no other is at least as good in binding, helix 12 and "
            "worst mutant and better in one. The weighted rank adds the three up, each in standard deviations over the "
            f"ligands. {ALONE} marks verdicts that Holm's procedure over all verdicts of the screen does not keep."
        )
    if ranking.predictions:
        paragraphs.append(
            "Predictions come from a surrogate: an ensemble of neural networks that read what a model of measured "
            "affinities makes of the ligand, the variant and the starting state, trained on this screen's replicas. "
            "They are not simulations."
        )
    if ranking.versions:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(ranking.versions.items()))
        paragraphs.append(f"Versions: {versions}.")
    cite += ["mmgbsa", "rdkit", *(key for key in ("3ert", "1qku") if key.upper() in " ".join(receptors))]
    return paragraphs, [REFERENCES[key] for key in dict.fromkeys(cite)]


def _dynamics(ranking: Ranking, protocol: dict[str, Any], solvent: dict[str, Any], cite: list[str]) -> str:
    model = solvent.get("model")
    cutoff = solvent.get("cutoff_angstrom")
    about = {
        "obc2": "OBC2 implicit solvent",
        "gbn2": "GBn2 implicit solvent",
        "tip3p": "explicit TIP3P water with PME",
    }.get(model, str(model or "the protocol's solvent"))
    if model in REFERENCES:
        cite.append(model)
    if model == "tip3p":
        cite.append("pme")
    about += f" ({cutoff:g} \u00c5 cutoff)" if cutoff else ""
    text = f"Protocol {protocol.get('name', ranking.protocol)} on {ranking.platform}, in {about}"
    if "temperature_kelvin" in protocol:
        cite.append("middle")
        text += f", LangevinMiddle dynamics at {protocol['temperature_kelvin']:g} K"
    if "time_step_fs" in protocol:
        text += f", {protocol['time_step_fs']:g} fs steps"
    if (protocol.get("hydrogen_mass_dalton") or 0) > 1.5:
        cite.append("hmr")
        text += f" with hydrogens of {protocol['hydrogen_mass_dalton']:g} Da"
    text += "."
    region = protocol.get("region")
    if region:
        text += (
            " Only a pocket-centred region moves (residues within "
            f"{region.get('mobile_angstrom', '?')} \u00c5 of the "
            "ligand's volume, the H11-H12 loop and helix 12) in a fixed shell; the rest of the "
            "domain stays at its "
            "model position."
        )
    stages = [_stage(s) for s in protocol.get("stages", ())]
    if stages:
        text += f" Stages: {'; '.join(stages)}."
    return text


def _stage(stage: dict[str, Any]) -> str:
    kind = stage.get("kind", "?")
    if kind == "minimise":
        return f"minimise {stage.get('iterations', '?')} iterations" + (
            "" if stage.get("solvent", True) else " without solvent"
        )
    text = {"heat": "heat", "equilibrate": "equilibrate", "produce": "produce"}.get(kind, kind)
    if "duration_ps" in stage:
        text += f" {stage['duration_ps']:g} ps"
    if kind == "produce" and "frame_ps" in stage:
        text += f", a frame every {stage['frame_ps']:g} ps"
    return text


def production_ps(specs: Iterable[dict[str, Any]]) -> float | None:
    """Production time (ps) of one replica by its spec, or ``None`` if no spec says."""
    for spec in specs:
        protocol = spec.get("protocol")
        if isinstance(protocol, dict):
            lengths = [s["duration_ps"] for s in protocol.get("stages", ()) if s.get("kind") == "produce"]
            if lengths:
                return float(sum(lengths))
    return None
