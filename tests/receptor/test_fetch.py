"""PDB entries by id: mirror, cache and a server on this machine; never the network."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gemmi
import httpx
import pytest

from esr1md.errors import InputError
from esr1md.receptor import fetch
from esr1md.receptor.fetch import cache_folder, entry_name, find_entry
from esr1md.receptor.frame import bundled_model
from esr1md.receptor.source import read_source


def entry_cif(name: str = "9XYZ") -> bytes:
    structure = gemmi.read_structure(str(bundled_model("agonist")))
    structure.name = name
    structure.setup_entities()
    return (structure.make_mmcif_document().as_string() + "#\n").encode()


def entry_pdb(name: str = "9XYZ") -> bytes:
    header = f"HEADER    {'HORMONE RECEPTOR':<40}21-NOV-26   {name}\n"
    return (header + bundled_model("agonist").read_text().rstrip() + "\n").encode()


CIF, PDB = entry_cif(), entry_pdb()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty cache, no mirror, no proxy, no waiting."""
    for variable in ("ESR1MD_PDB_MIRROR", "XDG_CACHE_HOME", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_WAITS", (0.01, 0.01))
    monkeypatch.setattr(fetch, "_TIMEOUT", httpx.Timeout(2.0))


@pytest.fixture
def server():
    """A server on 127.0.0.1 that answers each path from a list; ``server.asked`` is what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            answers = self.server.answers.get(self.path, [])
            answer = answers.pop(0) if len(answers) > 1 else answers[0] if answers else 404
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                self.send_error(answer)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.answers, running.asked = {}, []
    running.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def refused(text: str, **options) -> str:
    with pytest.raises(InputError) as caught:
        find_entry(text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"), [("5WGD", "5WGD"), ("5wgd", "5WGD"), (" 3ert ", "3ERT"), ("pdb_00005wgd", "5WGD")]
)
def test_ids(text, name):
    assert entry_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "5WG", "5WGDX", "WWGD", "../5WGD", "5WGD/..", "5W/D", "5W.D", "5WG\n5", "%35WGD", "5WGD?x=1", "٥WGD", "5WG\0",
     "pdb_10005wgd", "..", "5WGD.cif", "~WGD", "$5WG", "5 WG", "//5W"],
)  # fmt: skip
def test_what_is_no_id_is_refused_before_any_file_is_touched(text, server, tmp_path):
    assert "is not a PDB id" in refused(text, server=server.address)
    assert server.asked == [] and not (tmp_path / "cache").exists()


def test_an_entry_is_loaded_once_and_verified_on_each_use(server):
    server.answers["/9XYZ.cif"] = [CIF]
    first = find_entry("9xyz", server=server.address)
    assert first.origin == f"{server.address}/9XYZ.cif" and first.path == cache_folder() / "9XYZ.cif"
    assert first.sha256 == hashlib.sha256(CIF).hexdigest()
    assert (cache_folder() / "9XYZ.cif.sha256").read_text() == f"{first.sha256}  9XYZ.cif\n"
    assert sorted(p.name for p in cache_folder().iterdir()) == ["9XYZ.cif", "9XYZ.cif.sha256"]
    again = find_entry("9XYZ", server=server.address)
    assert (again.origin, again.sha256, server.asked) == ("cache", first.sha256, ["/9XYZ.cif"])
    assert len(read_source(again.path).chain) == 245


def test_a_damaged_cache_is_found_said_and_loaded_again(server):
    server.answers["/9XYZ.cif"] = [CIF]
    path = find_entry("9XYZ", server=server.address).path
    path.write_bytes(path.read_bytes().replace(b"LEU", b"ALA", 1))
    again = find_entry("9XYZ", server=server.address)
    assert again.path.read_bytes() == CIF and len(server.asked) == 2
    assert "the cached 9XYZ.cif was damaged (checksum) and was loaded again" in again.steps


def test_a_cached_file_without_its_checksum_is_not_trusted(server):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "9XYZ.cif").write_bytes(CIF[:5000])
    server.answers["/9XYZ.cif"] = [CIF]
    assert find_entry("9XYZ", server=server.address).path.read_bytes() == CIF


def test_pdb_format_where_there_is_no_mmcif(server):
    server.answers["/9XYZ.pdb"] = [PDB]
    entry = find_entry("9XYZ", server=server.address)
    assert entry.path.name == "9XYZ.pdb" and server.asked == ["/9XYZ.cif", "/9XYZ.pdb"]


def test_no_such_entry(server):
    message = refused("9XYZ", server=server.address)
    assert "there is no PDB entry 9XYZ at 127.0.0.1" in message
    assert not cache_folder().exists()


def test_a_busy_server_is_asked_again(server):
    server.answers["/9XYZ.cif"] = [500, 503, CIF]
    assert find_entry("9XYZ", server=server.address).path.read_bytes() == CIF
    assert len(server.asked) == 3


def test_a_refusal_is_not_asked_again(server):
    server.answers["/9XYZ.cif"] = [403]
    assert "answered HTTP 403" in refused("9XYZ", server=server.address)
    assert len(server.asked) == 1


def unreachable(message: str) -> None:
    assert f"not in the cache ({cache_folder()})" in message and "ESR1MD_PDB_MIRROR" in message
    assert not cache_folder().exists() or not list(cache_folder().iterdir())


def test_a_server_that_stays_broken(server):
    server.answers["/9XYZ.cif"] = [502]
    message = refused("9XYZ", server=server.address)
    unreachable(message)
    assert "HTTP 502" in message and len(server.asked) == 3


def test_no_network():
    with socket.socket() as free:  # a port nobody listens at
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    unreachable(refused("9XYZ", server=f"http://127.0.0.1:{port}"))


def test_a_server_that_never_answers(server, monkeypatch):
    monkeypatch.setattr(fetch, "_TIMEOUT", httpx.Timeout(0.2))
    server.answers["/9XYZ.cif"] = [lambda handler: time.sleep(1)]
    unreachable(refused("9XYZ", server=server.address))


def test_a_download_that_drips_for_ever(server, monkeypatch):
    monkeypatch.setattr(fetch, "_DEADLINE", 0.3)
    monkeypatch.setattr(fetch, "_WAITS", ())

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for i in range(20):
            handler.wfile.write(CIF[i * 10 : i * 10 + 10])
            time.sleep(0.05)

    server.answers["/9XYZ.cif"] = [drip]
    message = refused("9XYZ", server=server.address)
    unreachable(message)
    assert "not loaded within" in message


def cut(content: bytes, told: bool):
    """Send the first half; with ``told`` the length promised is that of the whole."""

    def answer(handler):
        handler.send_response(200)
        if told:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: content.rindex(b"\n", 0, len(content) // 2) + 1])

    return answer


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("path", "content"), [("/9XYZ.cif", CIF), ("/9XYZ.pdb", PDB)])
def test_a_cut_download_is_not_kept(path, content, told, server):
    server.answers[path] = [cut(content, told)]
    unreachable(refused("9XYZ", server=server.address))


def test_a_cut_download_is_tried_again(server):
    server.answers["/9XYZ.cif"] = [cut(CIF, True), CIF]
    assert find_entry("9XYZ", server=server.address).path.read_bytes() == CIF


@pytest.mark.parametrize(
    "content",
    [b"<html>Please log in</html>", b"", b"\x1f\x8b\0binary\xff", entry_cif("1ABC"), b"data_9XYZ\n_entry.id 9XYZ\n#\n"],
    ids=["log-in page", "nothing", "binary", "another entry", "no atoms"],
)
def test_wrong_content_is_not_kept(content, server):
    server.answers["/9XYZ.cif"] = [content]
    unreachable(refused("9XYZ", server=server.address))


def test_endless_content_is_stopped(server, monkeypatch):
    monkeypatch.setattr(fetch, "MAXIMUM_BYTES", 100_000)
    server.answers["/9XYZ.cif"] = [bytes(1_000_000)]
    assert "sends more than" in refused("9XYZ", server=server.address)


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "file"))
    server.answers["/9XYZ.cif"] = [CIF]
    assert "ESR1MD_CACHE" in refused("9XYZ", server=server.address)


@pytest.mark.parametrize(
    "name",
    ["9XYZ.cif", "9xyz.cif", "9XYZ.pdb", "9xyz.cif.gz", "9XYZ.pdb.gz", "xy/9xyz.cif.gz",
     "xy/pdb9xyz.ent.gz", "pdb9xyz.ent"],
)  # fmt: skip
def test_the_mirror_is_looked_in_first(name, server, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(tmp_path))
    content = CIF if ".cif" in name else PDB
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    entry = find_entry("9XYZ", server=server.address)
    assert (entry.path, entry.origin, server.asked) == (path, "mirror", [])
    assert len(read_source(entry.path).chain) == 245


def test_mmcif_comes_before_pdb_in_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(tmp_path))
    (tmp_path / "9XYZ.pdb").write_bytes(PDB)
    (tmp_path / "9xyz.cif.gz").write_bytes(gzip.compress(CIF))
    assert find_entry("9XYZ").path.name == "9xyz.cif.gz"


def test_what_the_mirror_lacks_is_loaded(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(tmp_path))
    server.answers["/9XYZ.cif"] = [CIF]
    assert find_entry("9XYZ", server=server.address).origin.startswith("http")


def test_a_mirror_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(tmp_path / "none"))
    assert "ESR1MD_PDB_MIRROR names" in refused("9XYZ")


def test_the_cache_follows_the_xdg_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("ESR1MD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "esr1md" / "pdb"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "esr1md" / "pdb"


def test_real_entries_pass_the_check_of_a_download(shared_data):
    for file in ("5WGD.cif", "1ERE.cif", "3ERT.pdb", "1QKU.pdb", "1A52.pdb", "1XPC.pdb", "1ERR.pdb"):
        content = (shared_data / "pdb" / file).read_bytes()
        name, _, suffix = file.partition(".")
        assert fetch._not_the_entry(content, name, suffix) == ""
        assert fetch._not_the_entry(content[: content.rindex(b"\n", 0, len(content) - 300)], name, suffix) != ""
