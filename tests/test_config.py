"""Settings: units, defaults, every error at its line, and the bundled screens."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from esr1md.catalogue import names
from esr1md.config import LigandFile, ScreenConfig, SiteConfig, load_screen, load_settings, load_site, read_price
from esr1md.errors import InputError
from esr1md.settings import Settings
from esr1md.specs import HelixState
from esr1md.units import DIMENSIONS, ENDINGS, Price, UnitError, parse_price, parse_quantity, unit_of

SCREEN = """\
name: test
variants:
  - WT
  - Y537S
ligands:
  - 4-hydroxytamoxifen
  - estradiol
apo: true
states:
  default: by class
  apo: agonist
reference_ligand: 4-hydroxytamoxifen
protocol: quick
replicas: 2
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a screen from text; messages name it ``screen.yaml``."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> ScreenConfig:
        Path("screen.yaml").write_text(text)
        return load_screen("screen.yaml")

    return load_text


# -- units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("12 angstrom", "cutoff_angstrom", 12.0),
        ("1.2 nm", "cutoff_angstrom", 12.0),
        ("1.2nm", "cutoff_angstrom", 12.0),
        ("4 fs", "time_step_fs", 4.0),
        ("0.004 ps", "time_step_fs", 4.0),
        ("2 ns", "duration_ps", 2000.0),
        ("300 kelvin", "temperature_kelvin", 300.0),
        ("300 K", "temperature_kelvin", 300.0),
        ("0.5 kcal/mol", "weakened_kcal", 0.5),
        ("4.184 kJ/mol", "weakened_kcal", 1.0),
        ("418.4 kJ/mol/nm^2", "kcal_per_angstrom2", 1.0),
        ("1 atm", "pressure_bar", 1.01325),
        ("2 1/ps", "friction_per_ps", 2.0),
        ("150 mM", "ionic_strength_molar", 0.15),
        ("1e3", "duration_ps", 1000.0),
        ("-.5", "duration_ps", -0.5),
    ],
)
def test_quantities_are_read_in_the_unit_of_the_name(text, name, number):
    assert parse_quantity(text, name) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("10 ps", "cutoff_angstrom", "is a time, not a length"),
        ("4 angstrom", "duration_ps", "is a length, not a time"),
        ("3 kelvin", "weakened_kcal", "is a temperature, not an energy"),
        ("3 parsec", "cutoff_angstrom", "unknown unit 'parsec'"),
        ("twelve", "cutoff_angstrom", "is not a quantity"),
        ("", "cutoff_angstrom", "is not a quantity"),
        ("1e999 nm", "cutoff_angstrom", "is not finite"),
    ],
)
def test_a_wrong_unit_is_refused_with_what_was_expected(text, name, says):
    with pytest.raises(UnitError, match="bare number") as error:
        parse_quantity(text, name)
    assert says in str(error.value)


@given(st.sampled_from(sorted(ENDINGS)), st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.6g}")), st.data())
def test_every_unit_converts_there_and_back(ending, number, data):
    dimension, own = ENDINGS[ending]
    unit = data.draw(st.sampled_from(sorted(DIMENSIONS[dimension])))
    there = parse_quantity(f"{number!r} {unit}", f"x_{ending}")
    assert math.isclose(
        there * DIMENSIONS[dimension][own], number * DIMENSIONS[dimension][unit], rel_tol=1e-9, abs_tol=1e-300
    )


@pytest.mark.parametrize(
    ("text", "price", "shown"),
    [
        ("2.50 USD per GPU hour", Price(2.5, "USD", "GPU hour"), "2.50 USD per GPU hour"),
        ("3 eur/gpu-h", Price(3.0, "EUR", "GPU hour"), "3.00 EUR per GPU hour"),
        (" .035 CHF per CPU core hour ", Price(0.035, "CHF", "core hour"), "0.035 CHF per core hour"),
    ],
)
def test_a_price_has_an_amount_a_currency_and_what_it_is_for(text, price, shown):
    assert parse_price(text) == price and str(price) == shown
    assert parse_price(shown) == price


@pytest.mark.parametrize("text", ["2.50", "2.50 USD", "$2.50 per GPU hour", "-1 USD per GPU hour", "2 USD per GPU day",
                                  "2 USD per month", "1 USD per node hour", "GPU hour"])  # fmt: skip
def test_what_is_no_price_is_refused_with_an_example(text):
    with pytest.raises(UnitError, match="such as '2.50 USD per GPU hour'"):
        parse_price(text)


def test_the_longest_ending_of_a_name_counts():
    assert unit_of("friction_per_ps") == "1/ps"
    assert unit_of("kcal_per_angstrom2") == "kcal/mol/angstrom^2"
    assert unit_of("steps") is None
    assert unit_of("replicas") is None


# -- settings ---------------------------------------------------------------------------------------------


class Inner(Settings):
    cutoff_angstrom: float = 9.0


class Outer(Settings):
    inner: Inner = Inner()
    duration_ps: float = 1.0


def test_settings_convert_units_at_every_depth():
    settings = Outer.model_validate({"inner": {"cutoff_angstrom": "1.2 nm"}, "duration_ps": "2 ns"})
    assert (settings.inner.cutoff_angstrom, settings.duration_ps) == (12.0, 2000.0)


def test_settings_are_frozen_and_their_defaults_are_checked():
    with pytest.raises(ValidationError):
        Outer().duration_ps = 2.0

    class Wrong(Settings):
        cutoff_angstrom: float = "10 ps"

    with pytest.raises(ValidationError, match="valid number"):
        Wrong()


def test_settings_survive_pickling_with_their_lines(load):
    config = pickle.loads(pickle.dumps(load(SCREEN)))
    assert config == load(SCREEN)
    assert config.where("variants", 1) == "screen.yaml:4"


def test_where_names_the_line_of_keys_and_items(load):
    config = load(SCREEN)
    assert config.where("variants", 1) == "screen.yaml:4"
    assert config.where("ligands", 0) == "screen.yaml:6"
    assert config.where("replicas") == "screen.yaml:14"
    assert config.where("ligands", 0, "smiles") == "screen.yaml:6"
    assert config.where("pose") == "screen.yaml:1"


# -- every error at its line ------------------------------------------------------------------------------

_4OHT = "reference_ligand: 4-hydroxytamoxifen"
BAD = {
    # old text, new text, line, words of the message
    "unknown key": ("ligands:", "ligandz:", 5, "unknown key 'ligandz'; expected one of|did you mean 'ligands'?"),
    "unknown nested key": ("- estradiol", "- {name: x, smile: C}", 7, "'smile'|did you mean 'smiles'?"),
    "two unknown keys": ("replicas: 2", "replicas: 2\nfoo: 1\nbar: 1", 15, "'foo'|1 more unknown"),
    "duplicate key": ("replicas: 2", "replicas: 2\nprotocol: x", 15, "'protocol' is given twice (first on line 13)"),
    "missing key": ("protocol: quick\n", "", 1, "key 'protocol' is missing"),
    "wrong type": ("replicas: 2", "replicas: two", 14, "replicas is 'two'; expected a whole number"),
    "no replicas": ("replicas: 2", "replicas: 0", 14, "replicas is '0'; expected greater than or equal to 1"),
    "not a truth value": ("apo: true", "apo: maybe", 8, "apo is 'maybe'; expected true or false"),
    "wrong unit": ("replicas: 2", "replicas: 2\nthresholds: {weakened_kcal: 10 ps}", 15, "is a time, not an energy"),
    "nested wrong unit": ("replicas: 2", "replicas: 2\nthresholds:\n  lost_kcal: 10 ps", 16, "is a time"),
    "thresholds crossed": ("replicas: 2", "replicas: 2\nthresholds: {weakened_kcal: 5}", 15, "not below lost_kcal (4)"),
    "not a mapping": ("replicas: 2", "replicas: 2\nthresholds: 3", 15, "'thresholds' is a number|a mapping of keys"),
    "number as variant": ("- Y537S", "- 537", 4, "variant 537 is not text"),
    "variants not a list": ("variants:\n  - WT\n  - Y537S", "variants: Y537S", 2, "'Y537S' is not a list of variants"),
    "variant twice": ("- Y537S", "- WT", 4, "variant 'WT' is given twice"),
    "ligand twice": ("- estradiol", "- 4-Hydroxytamoxifen", 7, "is given twice"),
    "no variants": ("variants:\n  - WT\n  - Y537S", "variants: []", 2, "at least 1 item"),
    "ligand without name": ("- estradiol", "- {smiles: CCO}", 7, "key 'name' is missing"),
    "ligand of two sources": ("- estradiol", "- {name: x, smiles: C, sdf: screen.yaml}", 7, "both smiles and sdf"),
    "ligand called apo": ("- estradiol", "- apo", 7, "a ligand cannot be called 'apo'"),
    "ligand of a missing file": ("- estradiol", "- {file: none.smi}", 7, "no file 'none.smi'"),
    "file with a name": ("- estradiol", "- {file: screen.yaml, name: x}", 7, "unknown key 'name'|one of file, "),
    "file skipping": ("- estradiol", "- {file: screen.yaml, skip_bad: maybe}", 7, "skip_bad is 'maybe'|true or false"),
    "ligand is a number": ("- estradiol", "- 3", 7, "ligand 3 is neither a name nor a mapping"),
    "ligands neither": ("ligands:\n  - 4-hydroxytamoxifen\n  - estradiol", "ligands: some", 5, "a list of ligands"),
    "missing SDF": ("- estradiol", "- {name: x, sdf: none.sdf}", 7, "no file 'none.sdf'"),
    "unknown state": ("apo: agonist", "apo: agonits", 11, "'agonits' is not a helix-12 state|did you mean 'agonist'?"),
    "state of a stranger": ("apo: agonist", "estradol: agonist", 11, "'estradol'|did you mean 'estradiol'?"),
    "apo has no class": ("apo: agonist", "apo: by class", 11, "apo has no class"),
    "state twice": ("apo: agonist", "apo: [agonist, agonist]", 11, "given twice for 'apo'"),
    "unknown reference": (_4OHT, "reference_ligand: 5-hydroxy", 12, "'5-hydroxy' is not a ligand of this screen"),
    "reference of a strange state": (_4OHT, "reference_ligand: {agonis: estradiol}", 12, "did you mean 'agonist'?"),
    "unknown platform": ("replicas: 2", "replicas: 2\nplatform: cudaa", 15, "'cudaa'|did you mean 'CUDA'?"),
    "missing receptor": ("replicas: 2", "replicas: 2\nreceptors: {antagonist: none.pdb}", 15, "no file 'none.pdb'"),
    "name with a folder": ("name: test", "name: ../test", 1, "cannot name a folder"),
    "bracket left open": ("protocol: quick", "protocol: [quick", 14, "not valid YAML"),
    "tab": ("apo: true", "\tapo: true", 8, "not valid YAML"),
    "undefined alias": ("apo: true", "apo: *yes", 8, "not valid YAML|undefined alias"),
    "list as key": ("apo: true", "? [a]\n: b", 8, "a key that is itself a list or mapping"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_yaml_is_one_line_with_its_line_number(case, load):
    old, new, line, words = BAD[case]
    assert old in SCREEN
    with pytest.raises(InputError) as error:
        load(SCREEN.replace(old, new))
    message = str(error.value)
    assert message.startswith(f"screen.yaml:{line}: "), message
    assert "\n" not in message
    for word in words.split("|"):
        assert word in message


def test_the_first_of_several_problems_is_told_with_the_number_of_the_others(load):
    with pytest.raises(InputError, match=r"^screen.yaml:8: apo is .*\(1 more problem in this file\)$"):
        load(SCREEN.replace("apo: true", "apo: maybe").replace("replicas: 2", "replicas: two"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "screen.yaml: the file is empty"),
        (b"- a\n- b\n", "screen.yaml:1: holds a list"),
        (b"text", "screen.yaml:1: holds text"),
        (b"name: \xff\xfe", "screen.yaml: not UTF-8 text (byte 6)"),
        (b"name: a\n---\nname: b\n", "screen.yaml:2: not valid YAML"),
        (b"name: 2024-13-45\n", "not valid YAML: month must be in 1..12; put the value in quotes"),
        (b"name: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(content, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("screen.yaml").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_screen("screen.yaml")
    assert says in str(error.value)


def test_an_unreadable_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_settings(tmp_path, ScreenConfig)


# -- what a screen means ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("screens"))
def test_bundled_screens_load_under_their_own_name(name):
    assert load_screen(name).name == name


@pytest.mark.parametrize("name", names("sites"))
def test_bundled_sites_load_under_their_own_name(name):
    assert load_site(name).name == name


def test_the_quickstart_holds_what_the_demo_promises():
    config = load_screen("quickstart")
    assert set(config.variants) >= {"WT", "Y537S"}
    assert "estradiol" in config.ligand_names
    assert config.reference_ligand in config.ligand_names
    assert config.apo and config.protocol == "quick" and config.replicas >= 2


def test_states_by_class_by_name_and_for_apo(load):
    config = load(SCREEN.replace("apo: agonist", "apo: [agonist, antagonist]\n  estradiol: antagonist"))
    agonist, antagonist = HelixState.AGONIST, HelixState.ANTAGONIST
    assert config.states_of("4-hydroxytamoxifen", "SERM") == (antagonist,)
    assert config.states_of("something", "agonist") == (agonist,)
    assert config.states_of("estradiol", "agonist") == (antagonist,)
    assert config.states_of("apo") == (agonist, antagonist)


def test_one_state_for_everything(load):
    text = SCREEN.replace("states:\n  default: by class\n  apo: agonist\n", "states: antagonist\n")
    config = load(text)
    assert config.states_of("estradiol", "agonist") == (HelixState.ANTAGONIST,)


def test_a_reference_for_each_state(load):
    config = load(SCREEN.replace("reference_ligand: 4-hydroxytamoxifen", "reference_ligand: {agonist: estradiol}"))
    assert config.reference_for(HelixState.AGONIST) == "estradiol"
    assert config.reference_for(HelixState.ANTAGONIST) is None
    assert load(SCREEN).reference_for(HelixState.AGONIST) == "4-hydroxytamoxifen"


def test_seeds_are_shared_by_all_cells(load):
    assert load(SCREEN + "first_seed: 5\n").seeds == (5, 6)


def test_own_ligands_by_smiles_and_by_a_file_beside_the_yaml(load, tmp_path):
    (tmp_path / "mine.sdf").write_text("")
    config = load(
        SCREEN.replace("- estradiol", "- {name: a, smiles: CCO}\n  - {name: b, sdf: mine.sdf, drug_class: agonist}")
    )
    assert [ligand.catalogued for ligand in config.ligands] == [True, False, False]
    assert config.ligands[1].smiles == "CCO"
    assert config.ligands[2].sdf == tmp_path / "mine.sdf"


def test_names_are_not_known_before_a_file_of_ligands_is_read(load, tmp_path):
    (tmp_path / "mine.smi").write_text("Oc1ccccc1 phenol")
    text = SCREEN.replace("- estradiol", "- {file: mine.smi, skip_bad: true}").replace(
        _4OHT, "reference_ligand: phenol"
    )
    config = load(text)
    assert config.ligands[1] == LigandFile(file=tmp_path / "mine.smi", skip_bad=True)
    assert config.ligand_names is None and load(SCREEN).ligand_names == ("4-hydroxytamoxifen", "estradiol")
    assert LigandFile.model_validate(config.model_dump(mode="json")["ligands"][1]) == config.ligands[1]


def test_another_platform_keeps_the_lines(load):
    config = load(SCREEN).on_platform("cuda")
    assert (config.platform, config.where("replicas")) == ("CUDA", "screen.yaml:14")
    with pytest.raises(InputError, match="did you mean 'OpenCL'"):
        config.on_platform("opencll")


def test_a_site_says_how_many_workers(tmp_path):
    (tmp_path / "site.yaml").write_text("name: s\nworkers: many\n")
    with pytest.raises(
        InputError, match=r"site.yaml:2: workers 'many' is not known; expected one of auto or a whole number"
    ):
        load_site(tmp_path / "site.yaml")
    assert SiteConfig(name="s", workers=3).workers == 3


def test_a_site_says_what_an_hour_costs(tmp_path):
    (tmp_path / "site.yaml").write_text("name: s\nprice: 2.50 USD per GPU hour\n")
    site = load_site(tmp_path / "site.yaml")
    assert site.price == Price(2.5, "USD", "GPU hour") and SiteConfig(name="s").price is None
    assert site.model_dump(mode="json")["price"] == "2.50 USD per GPU hour"
    (tmp_path / "site.yaml").write_text("name: s\nprice: 2.50\n")
    with pytest.raises(InputError, match=r"site.yaml:2: the price '2.5' cannot be read; expected an amount"):
        load_site(tmp_path / "site.yaml")
    with pytest.raises(InputError, match="^--price: the price 'much' cannot be read"):
        read_price("much", "--price")
