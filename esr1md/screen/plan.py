"""A screen as it will be run: every replica, where it runs, what it will cost. All checks happen here.

Nothing is simulated while planning, and whatever the user got wrong is found now, at its line of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from esr1md.catalogue import did_you_mean
from esr1md.config import APO, ScreenConfig, SiteConfig, Transfers, load_site
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol, load_protocol
from esr1md.dynamics.slots import Packing
from esr1md.errors import InputError
from esr1md.ligand.labels import labels
from esr1md.receptor.build import check_buildable, source_digest
from esr1md.receptor.sequence import parse_variant
from esr1md.screen.estimate import Estimate, estimate
from esr1md.screen.jobs import Jobs, Matrix
from esr1md.screen.ligands import LeftOut, Say, chosen_ligands, silent
from esr1md.screen.transfers import Network, network_of
from esr1md.sites.packing import expect_slots
from esr1md.specs import Cell, HelixState, Ligand, Variant, numeric_versions
from esr1md.store.artifacts import Store
from esr1md.units import Price


@dataclass(frozen=True)
class Plan:
    """A screen ready to run.

    Attributes
    ----------
    config, protocol, platform
        What was asked for, resolved and checked.
    store_root
        Where results go.
    variants, ligands
        In the order of the configuration; ``ligands`` by name.
    references
        Reference ligand of each state that has one.
    jobs
        The replicas to run, all cells of the first seed first, so that an interrupted screen is broad. Each is made
        when it is asked for.
    matrix_size
        Replicas of the whole matrix; more than ``len(jobs)`` when a limit was given.
    slots, threads
        Simulations at once, and CPU threads of each.
    packing
        The same, the GPUs they share and where the number comes from.
    estimate
        Time, disk and money that are left to spend on the replicas.
    network
        The relative free energies that ``method: atm`` asks for.
    left_out
        Rows of files of ligands that cannot be simulated.
    """

    config: ScreenConfig
    protocol: Protocol
    platform: PlatformChoice
    store_root: Path
    variants: tuple[Variant, ...]
    ligands: dict[str, Ligand]
    references: dict[HelixState, str]
    jobs: Jobs
    matrix_size: int
    slots: int
    threads: int
    packing: Packing
    estimate: Estimate
    network: Network = Network()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The squares of the matrix, each once, in order."""
        return self.jobs.cells

    @property
    def reference_ligand(self) -> str | dict[str, str] | None:
        """As configured, one name for all states or one for each; under the names of the tables."""
        if isinstance(self.config.reference_ligand, str):
            return next(iter(self.references.values()), None)
        return {str(state): name for state, name in self.references.items()} or None

    def summary(self) -> dict[str, Any]:
        """What a dry run tells: sizes, platform, time and disk, without the list of replicas."""
        return {
            "screen": self.name,
            "store": str(self.store_root),
            "variants": [variant.name for variant in self.variants],
            "ligands": list(self.ligands),
            "cells": [cell.name for cell in self.cells],
            "replicas": len(self.jobs),
            "replicas_done": self.ended()["done"],
            "replicas_in_matrix": self.matrix_size,
            "reference_ligand": self.reference_ligand,
            "protocol": self.protocol.name,
            "platform": self.platform.name,
            "platform_reason": self.platform.reason,
            "slots": self.slots,
            "threads": self.threads,
            "packing": self.packing.to_json(),
            "estimate": self.estimate.to_json(),
            **self._transfers(),
        }

    def ended(self) -> dict[str, int]:
        """How many of the replicas the store holds now, as ``done`` and as ``failed``."""
        states = Store(self.store_root).states("replicas")
        found = [states.get(digest) for digest in self.jobs.digests] if states else []
        return {state: found.count(state) for state in ("done", "failed")}

    def _transfers(self) -> dict[str, Any]:
        return {"transfers": self.network.to_json(self.protocol.time_step_fs)} if self.network.jobs else {}

    def to_json(self) -> dict[str, Any]:
        """:meth:`record` with every replica listed, whatever memory that takes."""
        return self.record() | {"replicas": list(self.jobs.rows)}

    def record(self) -> dict[str, Any]:
        """What ``plan.json`` keeps, and the index and ``esr1md status`` know the screen by.

        ``replicas`` is a sequence of rows, each made when it is asked for (:func:`esr1md.store.plans.write_plan`).
        """
        return {
            "screen": self.name,
            "protocol": self.protocol.model_dump(mode="json"),
            "platform": self.platform.name,
            "platform_properties": self.platform.properties,
            "platform_reason": self.platform.reason,
            "slots": self.slots,
            "threads": self.threads,
            "packing": self.packing.to_json(),
            "estimate": self.estimate.to_json(),
            "matrix_size": self.matrix_size,
            "config": self.config.model_dump(mode="json"),
            "versions": numeric_versions(),
            "production_ps": self.protocol.production.duration_ps,
            "ligands": [asdict(ligand) for ligand in self.ligands.values()],
            "labels": {name: list(said) for name, ligand in self.ligands.items() if (said := labels(ligand))},
            "reference_ligand": self.reference_ligand,
            "left_out": [asdict(row) for row in self.left_out],
            "replicas": self.jobs.rows,
            **self._transfers(),
        }


def plan_screen(
    config: ScreenConfig,
    store_root: Path | str,
    *,
    limit: int | None = None,
    platform: str | None = None,
    price: Price | None = None,
    report: Say = silent,
) -> Plan:
    """Resolve and check a whole screen; nothing is computed and nothing is written to the store.

    Parameters
    ----------
    config
        The screen.
    store_root
        The store; what it already holds is not counted in the estimate.
    limit
        Run at most so many of the replicas that are not done; the plan holds them and those that are.
    platform
        Instead of the configuration's.
    price
        Of an hour, instead of the site's.
    report
        Hears what is being done.

    Raises
    ------
    InputError
        The first thing that cannot be: variant, ligand, state, structure file, protocol, platform, at its
        line of the configuration.
    """
    if limit is not None and limit < 1:
        raise InputError(f"the limit is {limit}", expected="a number of replicas of 1 or more")
    with _at(config, "protocol"):
        protocol = load_protocol(config.protocol)
    with _at(config, "site"):
        site = load_site(config.site)
    variants = _variants(config)
    found = chosen_ligands(config, report)
    chosen = list(found.ligands)
    report("checking the matrix ...")
    _check_states(config, [name for name, _ in chosen])
    cells = _cells(config, variants, chosen)
    _check_three_trajectories(config, protocol, cells)
    sources = _sources(config, {cell.state for cell in cells})
    pose = {"seed": config.pose.seed, "exclude": sorted(config.pose.exclude)}
    jobs = Jobs(
        Matrix(
            cells=tuple(cells),
            seeds=config.seeds,
            protocol=protocol.model_dump(mode="json"),
            protocol_name=protocol.name,
            sources=sources,
            poses=(pose, *({**pose, "rank": rank} for rank in range(2, config.pose.poses + 1))),
            charges=config.charges,
            versions=numeric_versions(),
        )
    )
    references = _references(config, chosen, cells)
    with _at(config, "transfers" if config.transfers != Transfers() else "method"):
        network = network_of(config, protocol, jobs, references)
    with _at(config, "platform") if platform is None else _at(None):
        choice, packing = expect_slots(site, platform or config.platform, len(jobs), protocol)
    store = Store(store_root)
    report("looking for what is finished ...")
    states = store.states("replicas")
    taken = _limited(jobs, limit, states)
    per_device, price = _gpu_share(site, packing), price or site.price
    return Plan(
        config=config,
        protocol=protocol,
        platform=choice,
        store_root=store.root,
        variants=variants,
        ligands={ligand.name: ligand for _, ligand in chosen},
        references=references,
        jobs=taken,
        matrix_size=len(jobs),
        slots=packing.slots,
        threads=packing.threads,
        packing=packing,
        estimate=estimate(taken, protocol, choice, packing, store, states, per_device=per_device, price=price),
        network=network if limit is None else Network(),
        left_out=found.left_out,
    )


def _limited(jobs: Jobs, limit: int | None, states: Mapping[str, str]) -> Jobs:
    if limit is None:
        return jobs
    done = [states.get(digest) == "done" for digest in jobs.digests]
    wanted = set(islice((place for place, is_done in enumerate(done) if not is_done), limit))
    return jobs.only(place for place, is_done in enumerate(done) if is_done or place in wanted)


def _gpu_share(site: SiteConfig, packing: Packing) -> float:
    """Simulations that share a GPU; of machines that are elsewhere, by what is written."""
    if packing.per_device:
        return packing.per_device
    if site.kind == "slurm" and site.slurm.gpus:
        return site.slots_each / site.slurm.gpus
    if site.kind == "ray" and site.ray.gpus:
        return 1 / site.ray.gpus
    return 1 if site.per_gpu == "auto" else site.per_gpu


# -- resolving what the user wrote -----------------------------------------------------------------------------


@contextmanager
def _at(config: ScreenConfig | None, *location: str | int) -> Iterator[None]:
    """Say at which line of the configuration an input error was caused."""
    try:
        yield
    except InputError as error:
        where = config.where(*location) if config is not None else ""
        if where and not error.where.startswith(where):
            raise error.at(where) from error
        raise


def _variants(config: ScreenConfig) -> tuple[Variant, ...]:
    found: dict[str, str] = {}
    variants = []
    for index, text in enumerate(config.variants):
        with _at(config, "variants", index):
            variant = parse_variant(text)
            check_buildable(variant)
            if variant.name in found:
                raise InputError(
                    f"'{text}' and '{found[variant.name]}' are both {variant.name}", do="remove one of them"
                )
        found[variant.name] = text
        variants.append(variant)
    return tuple(variants)


def _check_states(config: ScreenConfig, ligands: list[str]) -> None:
    """Where the names are known only now (of a file, of the whole catalogue), that ``states`` names no stranger."""
    known = {APO, "default", *ligands}
    for name in config.states:
        if name not in known:
            with _at(config, "states", name):
                raise InputError(
                    f"states names '{name}', which is not a ligand of this screen",
                    expected="'default', 'apo' or the name of one",
                    do=did_you_mean(name, known),
                )


def _cells(config: ScreenConfig, variants: tuple[Variant, ...], ligands: list[tuple[str, Ligand]]) -> list[Cell]:
    """Every square, variants of one ligand and state together so that pairs finish together."""
    rows: list[tuple[Ligand | None, HelixState]] = [
        (ligand, state) for written, ligand in ligands for state in config.states_of(written, ligand.drug_class)
    ]
    if config.apo:
        rows += [(None, state) for state in config.states_of(APO)]
    return [Cell(variant, ligand, state) for ligand, state in rows for variant in variants]


def _check_three_trajectories(config: ScreenConfig, protocol: Protocol, cells: list[Cell]) -> None:
    """Three-trajectory MM/GBSA subtracts the empty receptor, which must be simulated in every state of a ligand."""
    if protocol.scoring.trajectories != "three":
        return
    empty = {cell.state for cell in cells if cell.ligand is None}
    missing = sorted({str(cell.state) for cell in cells if cell.ligand is not None and cell.state not in empty})
    if missing:
        every = ", ".join(sorted({str(cell.state) for cell in cells}))
        with _at(config, "states" if config.apo else "apo"):
            raise InputError(
                f"protocol '{protocol.name}' scores three trajectories, and apo is not simulated in the "
                f"{' and the '.join(missing)} state",
                expected="the empty receptor in every state that a ligand starts in",
                do=f"write 'apo: true' and 'states: {{apo: [{every}]}}'",
            )


def _sources(config: ScreenConfig, states: set[HelixState]) -> dict[HelixState, tuple[Path | None, str]]:
    """Structure file (``None``: the bundled model) and digest of what each state starts from; read and checked."""
    from esr1md.receptor.request import find_start

    sources = {}
    for state in sorted(states):
        source = config.receptors.get(state)
        with _at(config, *(("receptors", str(state)) if source else ("states",))):
            path = find_start(source).path if source is not None else None
            sources[state] = (path, source_digest(state, path))
    return sources


def _references(config: ScreenConfig, ligands: list[tuple[str, Ligand]], cells: list[Cell]) -> dict[HelixState, str]:
    """Reference ligand by state, under the name it has in tables; one name serves the states it starts in."""
    names = dict(ligands)
    by_name = {ligand.name: ligand for _, ligand in ligands}
    references = {}
    for state in dict.fromkeys(cell.state for cell in cells):
        written = config.reference_for(state)
        if written is None:
            continue
        ligand = names.get(written) or by_name.get(written)
        isomers = [each.name for name, each in ligands if name == written]
        if len(isomers) > 1:
            with _at(config, "reference_ligand"):
                raise InputError(
                    f"reference_ligand '{written}' is {len(isomers)} stereoisomers",
                    expected=f"one of {', '.join(isomers)}",
                )
        if ligand is None:
            with _at(config, "reference_ligand"):
                raise InputError(
                    f"reference_ligand '{written}' is not a ligand of this screen",
                    expected=f"one of {', '.join(by_name)}",
                )
        if any(cell.state == state and cell.ligand == ligand for cell in cells):
            references[state] = ligand.name
        elif isinstance(config.reference_ligand, dict):
            with _at(config, "reference_ligand", str(state)):
                raise InputError(
                    f"reference_ligand '{written}' is not simulated in the {state} state",
                    expected="a ligand that starts in this state",
                    do=f"add {state} to its states",
                )
    return references
