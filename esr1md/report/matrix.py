"""Any score or metric of the cells of a screen as a heat map."""

from __future__ import annotations

from esr1md.report.depiction import unit_in_words
from esr1md.report.figures import LOOKS, PLAIN, Level, Look, Shift, places, shifts
from esr1md.scoring.scores import CellScore, Ranking, Score

#: Scores of a cell, as they are called: attribute -> title.
SCORE_TITLES = {
    "binding": "Binding",
    "binding_relative": "Binding relative to the reference",
    "helix12": "Helix 12",
    "helix12_over_hormone": LOOKS["over_hormone"].title,
    "helix12_over_apo": LOOKS["over_apo"].title,
}

#: Measures that are scores of a cell and no differences to another one: measure -> attribute.
LEVELS = {"level_binding": "binding", "level_relative": "binding_relative", "level_helix12": "helix12"}

#: Metrics by name, as they are called; any other is called by its name in the table.
METRIC_TITLES = {
    "h12_rmsd_agonist_angstrom": "Helix 12 to its active place",
    "h12_rmsd_antagonist_angstrom": "Helix 12 to the AF-2 groove",
    "h12_state_margin_angstrom": "State margin",
    "h12_helicity": "Helicity of helix 12",
    "h12_fraction_agonist": "Frames in the agonist state",
    "h12_fraction_antagonist": "Frames in the antagonist state",
    "h12_fraction_displaced": "Frames with helix 12 displaced",
    "h12_groove_area_angstrom2": "Area buried in the groove",
    "h12_core_rmsf_ratio": "Mobility of helix 12 over the core",
    "h12_rmsf_angstrom": "RMSF of helix 12",
    "loop_rmsf_angstrom": "RMSF of the H11-H12 loop",
    "loop_end_to_end_angstrom": "H11-H12 loop, end to end",
    "latch_537_351_angstrom": "Latch 537 to D351",
    "latch_537_348_angstrom": "Latch 537 to N348",
    "latch_537_380_angstrom": "Latch 537 to E380",
    "clamp_362_542_angstrom": "Charge clamp K362 to E542",
    "anchor_e353_angstrom": "Anchor E353",
    "anchor_r394_angstrom": "Anchor R394",
    "anchor_h524_angstrom": "Anchor H524",
    "ligand_n_d351_angstrom": "Ligand nitrogen to D351",
    "ligand_rmsd_angstrom": "Ligand RMSD",
    "vdw_kcal": "van der Waals energy",
    "coulomb_kcal": "Coulomb energy",
    "gb_kcal": "Generalised Born energy",
    "sasa_kcal": "Surface energy",
    "binding_sd_kcal": "Scatter of the binding energy",
    "frames": "Frames used",
    "binding_effective_frames": "Independent frames, binding",
    "helix12_effective_frames": "Independent frames, helix 12",
    "settled_from_ps": "Settled from",
    "tanimoto_to_training": "Similarity to what was simulated",
}


def measures(ranking: Ranking) -> dict[str, str]:
    """What a screen's heat map can show: name -> title, differences first, then scores, then metrics."""
    found = {kind: look.title for kind, look in LOOKS.items() if _cells(ranking, kind)}
    cells = (*ranking.cells, *ranking.predictions)
    found |= {name: SCORE_TITLES[key] for name, key in LEVELS.items() if any(getattr(c, key) for c in cells)}
    metrics = dict.fromkeys(name for cell in ranking.cells for name in cell.metrics)
    return found | {name: metric_title(name) for name in sorted(metrics, key=metric_title)}


def metric_title(name: str) -> str:
    """What a metric is called."""
    return METRIC_TITLES.get(name, name)


def matrix_of(ranking: Ranking, measure: str) -> tuple[list[Shift], Look]:
    """The squares of one measure and how they are shown; without squares where no cell has it."""
    cells = _cells(ranking, measure)
    if measure in LOOKS:
        return cells, LOOKS[measure]
    unit = unit_in_words(cells[0].score) if cells else ""
    title = SCORE_TITLES[LEVELS[measure]] if measure in LEVELS else metric_title(measure)
    look = Look(title, f"{title}, {unit}" if unit else title, PLAIN, False, "one replica: no interval", "replicas")
    return cells, look


def _cells(ranking: Ranking, measure: str) -> list[Shift]:
    if measure in ("binding", "helix12"):
        return shifts(ranking, measure)
    if measure in ("over_hormone", "over_apo"):
        return places(ranking, measure)
    done = {(c.variant, c.ligand, c.state) for c in ranking.cells if c.n_replicas}
    cells = [*ranking.cells, *(c for c in ranking.predictions if (c.variant, c.ligand, c.state) not in done)]
    found = ((cell, _score(cell, measure)) for cell in cells)
    return [Level(c.variant, c.ligand, c.state, score, None, c.notes) for c, score in found if score is not None]


def _score(cell: CellScore, measure: str) -> Score | None:
    if measure in LEVELS:
        return getattr(cell, LEVELS[measure])
    return cell.metrics.get(measure)
