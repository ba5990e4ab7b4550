"""Three congeneric series with measured affinities: ``esr1md series`` on each, then all of them pooled.

    python tests/benchmarks/series.py run --data ../shared/data --out series-three
    python tests/benchmarks/series.py table --out series-three

``run`` goes on where it was interrupted. ``table`` prints the table of docs/series.md from what is there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from esr1md import cli
from esr1md.series.compare import OURS, compare_columns
from esr1md.series.compounds import NULL_MODELS
from esr1md.series.page import estimate_text

#: Assay, and the structure that the published free-energy perturbation of it used.
SERIES = {
    "CHEMBL679321": "1SJ0_unifep_CHEMBL679321_protein.pdb",
    "CHEMBL832786": "1X7E_unifep_CHEMBL832786_protein.pdb",
    "CHEMBL867062": "OHT_unifep_CHEMBL867062_protein.pdb",
}
FEP = "unifep_dG_kcal_mol"


def run(data: Path, out: Path, workers: int) -> None:
    for assay, protein in SERIES.items():
        cli.main(
            ["series", str(data / "affinity" / "unifep_esr1_exp_dG.csv"),
             "--receptor", str(data / "pdb" / "prepared" / protein), "--only", f"assay={assay}",
             "--value-column", "exp_dG_kcal_mol", "--beside", FEP, "--out", str(out / assay),
             "--workers", str(workers)]
        )  # fmt: skip


def pooled(out: Path) -> dict:
    """The comparison of every compound of the three, pairs within a series only."""
    rows = [
        {**row, "series": assay}
        for assay in SERIES
        for row in json.loads((out / assay / "results.json").read_text())["compounds"]
    ]
    scores = {
        OURS: [row["score"] for row in rows],
        "Vina score of the pose": [row.get("vina") for row in rows],
        **{name: [-row["nulls"][name] for row in rows] for name in NULL_MODELS},
        "published FEP": [row["beside"][FEP] for row in rows],
    }
    columns = {name: [float("nan") if v is None else v for v in values] for name, values in scores.items()}
    return compare_columns([row["measured_dg_kcal"] for row in rows], columns, [row["series"] for row in rows])


def table(out: Path) -> None:
    found = pooled(out)
    print(found["headline"], f"A constant's centred RMSE: {found['spread_kcal']:.2f}.\n", sep="\n")
    names = list(found["scores"][0]["series"])
    series = " | ".join(f"tau, {name}" for name in names)
    print(f"| score | pooled tau | pooled r | RMSE | {series} | tau, ours less this | |")
    print("|---" * (6 + len(names)) + "|")
    for row in found["scores"]:
        pool, less = row["pooled"], row.get("ours_less_this")
        cells = [row["score"], estimate_text(pool["tau"]), estimate_text(pool["r"]),
                 estimate_text({**pool["rmse"], "unsigned": True}),
                 *(estimate_text(row["series"][name]["tau"]) for name in names),
                 estimate_text(less["tau"]) if less else "", less["verdict"] if less else ""]  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments.data, arguments.out, arguments.workers)
    else:
        table(arguments.out)


if __name__ == "__main__":
    main()
