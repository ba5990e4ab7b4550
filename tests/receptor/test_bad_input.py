"""Malformed and hostile structure files: one clear line each, or the right model, and never a traceback."""

from __future__ import annotations

import gzip
import os
import random
import resource
import subprocess
import sys
import time

import gemmi
import pytest

from esr1md.errors import InputError
from esr1md.receptor.build import build_receptor
from esr1md.receptor.frame import bundled_model
from esr1md.receptor.sequence import ONE_LETTER, P03372, THREE_LETTER
from esr1md.receptor.source import read_source
from esr1md.receptor.structure_file import MAXIMUM_BYTES
from esr1md.specs import WILD_TYPE, HelixState

AGONIST = bundled_model("agonist").read_text()
HEAVY = [
    line
    for line in AGONIST.splitlines()
    if line.startswith("ATOM") and not line[12:16].strip().startswith("H") and line[76:78].strip() != "H"
]
WHOLE = "\n".join(HEAVY) + "\nTER\nEND\n"

#: Ligand-binding domain of human ER-beta (UniProt Q92731), helix 1 to helix 12.
ER_BETA = (
    "LLDALSPEQLVLTLLEAEPPHVLISRPSAPFTEASMMMSLTKLADKELVHMISWAKKIPGFVELSLFDQVRLLESCWMEVLMMGLMWRSIDHPGKLIFAPDLVLDRDEGKC"
    "VEGILEIFDMLLATTSRFRELKLQHKEYLCVKAMILLNSSMYPLVTATQDADSSRKLAHLLNAVTDALVWVIAKSGISSQQQSMRLANLLMLLSHVRHASNKGMEHLLNM"
    "KCKNVVPVYDLLLEMLNAHVLR"
)


def lines(change) -> str:
    """The agonist model's heavy atoms with each line changed (``None`` leaves it out)."""
    changed = [change(i, line) for i, line in enumerate(HEAVY)]
    return "\n".join(line for line in changed if line is not None) + "\nEND\n"


def number(line: str) -> int:
    return int(line[22:26])


def name(line: str) -> str:
    return line[12:16].strip()


def mmcif(change=lambda block: None) -> str:
    structure = gemmi.read_pdb_string(WHOLE)
    structure.setup_entities()
    document = structure.make_mmcif_document()
    change(document.sole_block())
    return document.as_string()


def without_category(category: str) -> str:
    return mmcif(lambda block: block.find_mmcif_category(category).erase())


def without_column(tag: str) -> str:
    def change(block):
        block.find_loop(tag).get_loop().remove_column(tag)

    return mmcif(change)


def column(tag: str, value: str) -> str:
    def change(block):
        block.find_loop(tag)[700] = value

    return mmcif(change)


def er_beta() -> str:
    """The agonist backbone with ER-beta's residues, put where an alignment without gaps puts them."""
    start = P03372.index("LTADQMVSALLDAEPPILYSEYDPTRPFSEASMMGLLTNLADRELVHMINW") + 1
    beta = ER_BETA[ER_BETA.index("LSPEQLVLTLLEAEPP") :]
    # ER-alpha has two residues more in the loop after ILYSEYD
    beta = beta[:18] + "--" + beta[18:]

    def change(_, line):
        i = number(line) - start
        letter = beta[i] if 0 <= i < len(beta) else "-"
        if letter == "-" or name(line) not in ("N", "CA", "C", "O"):
            return None
        return line[:17] + THREE_LETTER[letter] + line[20:]

    return lines(change)


def spoiled(row: int, start: int, text: str) -> str:
    return lines(lambda i, line: line[:start] + text + line[start + len(text) :] if i == row else line)


def scaled(factor: float) -> str:
    def change(_, line):
        x, y, z = (float(line[i : i + 8]) * factor for i in (30, 38, 46))
        return f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}"

    return lines(change)


def shuffled_sequence() -> str:
    rng = random.Random(5)
    letters = {n: rng.choice(list(THREE_LETTER.values())) for n in range(300, 560)}
    return lines(
        lambda _, line: line[:17] + letters[number(line)] + line[20:] if name(line) in ("N", "CA", "C", "O") else None
    )


DNA = "\n".join(
    f"ATOM  {i:5d}  P    D{base} B{i:4d}    {3.4 * i:8.3f}{2.0:8.3f}{1.0:8.3f}  1.00  0.00           P"
    for i, base in enumerate("ACGTACGT" * 5, start=1)
)
WATERS = "\n".join(
    f"HETATM{i:5d}  O   HOH A{i:4d}    {3.0 * i:8.3f}{2.0:8.3f}{1.0:8.3f}  1.00  0.00           O" for i in range(1, 99)
)

#: What the file is -> (its bytes, or a function making them, and a part of the line it must be answered with).
REFUSED = {
    "empty": (b"", "is empty"),
    "only white space": (b" \n\t\n", "is empty"),
    "prose": (b"Dear colleague, please find the structure attached.\n", "no ATOM record"),
    "a web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "no ATOM record"),
    "a FASTA sequence": (f">P03372\n{P03372}\n".encode(), "no ATOM record"),
    "an SDF": (b"\n  RDKit\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 C   0\nM  END\n",
               "no ATOM record"),
    "binary": (bytes(range(256)) * 50, "is not text"),
    "null bytes between lines": (WHOLE.encode().replace(b"\n", b"\0\n"), "is not text"),
    "UTF-16": (WHOLE.encode("utf-16"), "is UTF-16 text"),
    "UTF-16 without its mark": (WHOLE.encode("utf-16-le"), "is not text"),
    "a zip archive": (b"PK\x03\x04" + bytes(200), "is not text"),
    "gzip cut off": (gzip.compress(WHOLE.encode())[:-2000], "cannot read the structure file"),
    "gzip damaged": (lambda: _damaged(gzip.compress(WHOLE.encode())), "cannot read the structure file"),
    "gzip of gzip": (gzip.compress(gzip.compress(WHOLE.encode())), "is not text"),
    "gzip of nothing": (gzip.compress(b""), "is empty"),
    "only a header": (b"HEADER    HORMONE RECEPTOR\nTITLE     NOTHING\nEND\n", "no ATOM record"),
    "only waters": (WATERS.encode(), "no protein found"),
    "nucleic acid": (DNA.encode(), "no protein found"),
    "only C-alpha atoms": (lines(lambda _, line: line if name(line) == "CA" else None).encode(),
                           "none of the 245 amino acids has a complete backbone"),
    "no C-alpha atoms": (lines(lambda _, line: None if name(line) == "CA" else line).encode(),
                         "none of the 245 amino acids has a complete backbone"),
    "a cut line": (WHOLE[:60_000].rsplit("\n", 1)[0].encode() + b"\nATOM   9999  CA  LEU A 4", "cut off"),
    "cut after a third": ("\n".join(HEAVY[:600]).encode(), "expected at least 150 of 305-554"),
    "columns shifted by one": (lines(lambda _, line: line[:20] + " " + line[20:]).encode(), "are not numbers"),
    "columns separated by tabs": (lines(lambda _, line: "\t".join(line.split())).encode(), "cut off"),
    "decimal commas": (lines(lambda _, line: line[:30] + line[30:54].replace(".", ",") + line[54:]).encode(),
                       "are not numbers"),
    "NaN in a PDB file": (spoiled(500, 30, "     nan").encode(), "are not numbers"),
    "infinity in a PDB file": (spoiled(500, 38, "     inf").encode(), "are not numbers"),
    "overflowed columns": (spoiled(500, 46, "********").encode(), "are not numbers"),
    "all at the origin": (scaled(0.0).encode(), "sit on another atom's coordinates"),
    "nanometres": (scaled(0.1).encode(), "N-CA bonds of chain A have a median length of 0.15 A"),
    "twice the size": (scaled(2.0).encode(), "median length of 2.9"),
    "an atom twice": (lines(lambda i, line: line + "\n" + line[:30] + "   1.000" + line[38:] if i == 800 else line)
                      .encode(), "occurs twice"),
    "two copies under one chain name": (("\n".join(HEAVY) + "\n" + scaled(1.01)).encode(), "occurs twice"),
    "ER-beta": (er_beta().encode(), "as ER-beta and other nuclear receptors are"),
    "another protein": (shuffled_sequence().encode(), "not ER-alpha"),
    "a coactivator peptide": (lines(lambda _, line: line if 537 <= number(line) <= 548 else None).encode(),
                              "has only 12 residues of the ligand-binding domain"),
    "mmCIF cut in its atoms": (mmcif().split("\nATOM 900 ")[0].encode() + b"\nATOM 900 C", "cannot read the structure"),
    "mmCIF without atoms": (without_category("_atom_site.").encode(), "no atoms found"),
    "mmCIF without coordinates": (without_column("_atom_site.Cartn_x").encode(), "no atoms found"),
    "mmCIF without atom names": (without_column("_atom_site.label_atom_id").encode(), "cannot read the structure"),
    "mmCIF with an unknown coordinate": (column("_atom_site.Cartn_y", "?").encode(), "not numbers"),
    "mmCIF with a word for a coordinate": (column("_atom_site.Cartn_y", "here").encode(), "not numbers"),
    "mmCIF with NaN": (column("_atom_site.Cartn_z", "nan").encode(), "not numbers"),
    "mmCIF with an atom at 1e30": (column("_atom_site.Cartn_x", "1e30").encode(), "from the origin"),
    "mmCIF with an open quote": (mmcif().replace("_entry.id", "_entry.note 'never closed\n_entry.id").encode(),
                                "cannot read the structure"),
    "mmCIF block without anything": (b"data_5WGD\n", "no atoms found"),
    "a dictionary, no structure": (b"data_x\nloop_\n_item.name\n_item.value\n'a' 1\n'b' 2\n", "no atoms found"),
}  # fmt: skip


def _damaged(packed: bytes) -> bytes:
    broken = bytearray(packed)
    for i in range(len(broken) // 2, len(broken) // 2 + 200):
        broken[i] ^= 0x5A
    return bytes(broken)


def one_line(error: InputError, path) -> str:
    message = str(error)
    assert "\n" not in message and len(message) < 600 and str(path) in message
    assert error.exit_code == 2
    return message


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused_in_one_line_and_leaves_nothing(what, tmp_path):
    content, expected = REFUSED[what]
    path = tmp_path / "given.pdb"
    path.write_bytes(content() if callable(content) else content)
    out = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        build_receptor(WILD_TYPE, HelixState.AGONIST, out, source=path)
    message = one_line(caught.value, path)
    assert expected in message
    assert not out.exists() or not any(out.iterdir())


def test_there_are_more_than_forty():
    assert len(REFUSED) + len(USABLE) >= 60


# -- files that look odd and are usable ------------------------------------------------------------------------


def numbered(offset: int, icode: bool = False) -> str:
    def change(_, line):
        n = number(line) + offset
        return f"{line[:22]}{n:4d}{'A' if icode and n % 2 else ' '}{line[27:]}"

    return lines(change)


def two_models() -> str:
    shifted = "\n".join(f"{line[:30]}{float(line[30:38]) + 3:8.3f}{line[38:]}" for line in HEAVY)
    return f"MODEL        1\n{chr(10).join(HEAVY)}\nENDMDL\nMODEL        2\n{shifted}\nENDMDL\nEND\n"


def selenium() -> str:
    def change(_, line):
        if line[17:20] != "MET":
            return line
        line = "HETATM" + line[6:17] + "MSE" + line[20:]
        return line[:12] + "SE  " + line[16:76] + "SE" + line[78:] if name(line) == "SD" else line

    return lines(change)


def oxidised(code: str) -> str:
    return lines(lambda _, line: "HETATM" + line[6:17] + code + line[20:] if line[17:20] == "CYS" else line)


USABLE = {
    "Windows line ends": (WHOLE.replace("\n", "\r\n"), None),
    "old Macintosh line ends": (WHOLE.replace("\n", "\r"), None),
    "a byte order mark": ("\ufeff" + WHOLE, None),
    "an author's name in Latin-1": (f"REMARK   M\xfcller\n{WHOLE}".encode("latin-1"), None),
    "no END record": (WHOLE.replace("TER\nEND\n", ""), None),
    "all records HETATM": (lines(lambda _, line: "HETATM" + line[6:]), None),
    "negative residue numbers": (numbered(-600), "245 residues renumbered by alignment"),
    "insertion codes": (numbered(0, icode=True), "residues renumbered by alignment"),
    "two models": (two_models(), "first of 2 models"),
    "all occupancies zero": (lines(lambda _, line: line[:54] + "  0.00" + line[60:]), None),
    "a residue of occupancy zero": (
        lines(lambda _, line: line[:54] + "  0.00" + line[60:] if number(line) == 400 else line),
        "occupancy 0 (not seen in the density): residues 400",
    ),
    "selenomethionine": (selenium(), "MSE528 to MET"),
    "CSO": (oxidised("CSO"), "CSO381 to CYS"),
    "CME": (oxidised("CME"), "CME530 to CYS"),
    "CCS": (oxidised("CCS"), "CCS417 to CYS"),
    "amber names of histidines": (lines(lambda _, line: line.replace("HIS", "HIE")), None),
    "lines of 54 columns": (lines(lambda _, line: line[:54]), None),
    "no chain name": (lines(lambda _, line: line[:21] + " " + line[22:]), None),
    "mmCIF without sequence and entity categories": (
        mmcif(lambda block: [block.find_mmcif_category(c).erase() for c in ("_entity.", "_entity_poly.",
                                                                           "_entity_poly_seq.", "_struct_asym.")]),
        None,
    ),
    "mmCIF without author names": (without_column("_atom_site.auth_asym_id"), None),
    "mmCIF with a comment first": ("# written by hand\n" + mmcif(), None),
    "packed": (gzip.compress(WHOLE.encode()), None),
}  # fmt: skip


@pytest.mark.parametrize("what", USABLE)
def test_is_read_as_the_receptor_it_is(what, tmp_path):
    content, step = USABLE[what]
    path = tmp_path / "given"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = read_source(path)
    assert [residue.seqid.num for residue in source.chain] == list(range(306, 551))
    assert "".join(ONE_LETTER[residue.name] for residue in source.chain) == P03372[305:550]
    assert (source.mutations, source.gaps, source.incomplete) == ((), (), {})
    assert sum(len(residue) for residue in source.chain) == len(HEAVY)
    if step is not None:
        assert any(step in each for each in source.steps), source.steps


def test_a_missing_alpha_carbon_is_a_gap_of_one(tmp_path):
    path = tmp_path / "given.pdb"
    path.write_text(lines(lambda _, line: None if number(line) == 450 and name(line) == "CA" else line))
    source = read_source(path)
    assert source.gaps == ((450, 450),) and len(source.chain) == 244


def test_missing_side_chains_are_named(tmp_path):
    path = tmp_path / "given.pdb"
    path.write_text(lines(lambda _, line: None if number(line) == 353 and name(line) in ("CD", "OE1", "OE2") else line))
    assert read_source(path).incomplete == {353: ("CD", "OE1", "OE2")}


# -- paths ------------------------------------------------------------------------------------------------------


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        read_source(path)
    return one_line(caught.value, path)


def test_a_symbolic_link_to_itself(tmp_path):
    loop = tmp_path / "loop.pdb"
    loop.symlink_to(loop)
    assert "cannot read the structure file" in refused(loop)


def test_a_dangling_link_and_a_folder(tmp_path):
    dangling = tmp_path / "gone.pdb"
    dangling.symlink_to(tmp_path / "nowhere.pdb")
    assert "no such structure file" in refused(dangling)
    assert "a folder was given" in refused(tmp_path)


def test_a_pipe_does_not_hang(tmp_path):
    pipe = tmp_path / "pipe.pdb"
    os.mkfifo(pipe)
    assert "a device or a pipe" in refused(pipe)


def test_an_endless_device_is_not_read():
    from pathlib import Path

    assert "a device or a pipe" in refused(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "locked.pdb"
    path.write_text(WHOLE)
    path.chmod(0)
    assert "Permission denied" in refused(path)


def test_a_name_no_file_can_have(tmp_path):
    assert "cannot read the structure file" in refused(tmp_path / ("x" * 300))
    with pytest.raises(InputError):
        read_source(tmp_path / "a\0b")


# -- bombs: bounded in time and memory -------------------------------------------------------------------------


def test_a_hundred_megabytes_of_garbage_are_refused_unread(tmp_path):
    path = tmp_path / "large.pdb"
    with open(path, "wb") as handle:
        handle.truncate(100_000_000)
    start = time.process_time()
    assert f"larger than {MAXIMUM_BYTES // 1_000_000} MB" in refused(path)
    assert time.process_time() - start < 1


def test_garbage_just_below_the_limit_is_refused_in_seconds(tmp_path):
    path = tmp_path / "large.pdb"
    row = bytes(random.Random(1).choices(range(33, 127), k=79)) + b"\n"
    path.write_bytes(row * ((MAXIMUM_BYTES - 1000) // 80))
    start = time.process_time()
    assert "no ATOM record" in refused(path)
    assert time.process_time() - start < 10


BOMB = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from esr1md.errors import InputError
from esr1md.receptor.source import read_source
try:
    read_source(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("line", [b"\0" * 80, HEAVY[0].encode() + b"\n"], ids=["zeros", "atoms"])
def test_a_gzip_bomb_is_refused_within_its_memory(line, tmp_path):
    """A few hundred kB that unpack to 4 GB."""
    path = tmp_path / "bomb.pdb.gz"
    packed = gzip.compress(line * (32_000_000 // len(line)), 6)
    path.write_bytes(packed * 128)  # members one after the other are one gzip file
    limit = 4 << 30
    done = subprocess.run(
        [sys.executable, "-c", BOMB.format(limit=limit), str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "larger than 64 MB unpacked" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < limit
