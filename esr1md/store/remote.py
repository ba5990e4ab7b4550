"""Objects under a URL, through fsspec: sent and got whole, with patience for networks that come and go.

Credentials come from the environment, as fsspec and the service's own library read them, never from the URL.
"""

from __future__ import annotations

import errno
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from esr1md.errors import InputError

Answer = TypeVar("Answer")

#: Seconds that a request is tried again for before the remote counts as not reachable.
PATIENCE_VARIABLE, PATIENCE_S = "ESR1MD_REMOTE_PATIENCE", 120.0
#: After that, seconds in which each request is tried once only.
SULK_S = 60.0
#: Seconds before the next try: doubled each time, up to the second.
WAITS_S = (0.5, 15.0)

#: fsspec protocols that can be read but not written to, or that lead elsewhere.
_NOT_STORES = {"http", "https", "data", "zip", "tar", "libarchive", "simplecache", "filecache", "blockcache", "cached",
               "reference", "git", "github", "jsdelivr"}  # fmt: skip
_EXTRAS = {"s3": "esr1md[s3]", "s3a": "esr1md[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs",
           "az": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}  # fmt: skip
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?::|/{1,2}(?=[^/]|/[^/]))")

#: File systems by process and URL: opening one costs half a second.
_connections: dict[tuple[int, str], tuple[Any, str]] = {}
_guard = threading.Lock()


class Unreachable(InputError):
    """The remote did not answer for as long as was waited for it, or refused."""


def is_url(location: str | Path) -> bool:
    """Whether a location is a URL rather than a folder; also one that ``Path`` has taken a slash from."""
    return _URL.match(str(location)) is not None


def checked_url(location: str | Path) -> str:
    """The URL of a remote as it is kept: no trailing slash, and nothing secret in it.

    Raises
    ------
    InputError
        It holds a password or a token, cannot be written to, or is none.
    """
    text = str(location)
    match = _URL.match(text)
    if match is None or "::" in text:
        raise InputError(f"'{_redacted(text)}' is not the URL of a store", expected="such as s3://bucket/prefix")
    protocol = match[1].lower()
    rest = text[match.end() :]
    url = f"{protocol}://{rest}".rstrip("/")
    parts = urlsplit(url)
    if parts.password is not None or parts.query or parts.fragment or (parts.username and protocol in ("s3", "s3a")):
        raise InputError(
            f"the URL '{_redacted(url)}' holds a password or a key", expected="a URL without any",
            do="give credentials in the environment (for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
               "AWS_PROFILE)",
        )  # fmt: skip
    if protocol in _NOT_STORES:
        raise InputError(f"a store cannot be kept at '{url}'", expected="an object store such as s3://bucket/prefix")
    if ".." in rest.split("/"):
        raise InputError(f"'{url}' leads out of its folder", expected="a URL without '..'")
    return url


def seconds(variable: str, default: float) -> float:
    """A time (s) that an environment variable may change.

    Raises
    ------
    InputError
        It holds no number.
    """
    text = os.environ.get(variable)
    try:
        found = float(text) if text else default
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise InputError(f"{variable} is '{text}'", expected=f"seconds, such as {default:.0f}")
    return found


def _redacted(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url.partition("?")[0])


class Remote:
    """The objects under one URL, by names such as ``replicas/DIGEST/done.json``; usable from any thread.

    Every call waits and tries again where the network or the service fails, for :data:`PATIENCE_S` seconds, and then
    raises :class:`Unreachable`.

    Parameters
    ----------
    url
        Such as ``s3://bucket/prefix``.
    patience_s
        Instead of what ``ESR1MD_REMOTE_PATIENCE`` says; 0 for one try.
    """

    def __init__(self, url: str, *, patience_s: float | None = None) -> None:
        self.url = checked_url(url)
        if patience_s is None:
            patience_s = seconds(PATIENCE_VARIABLE, PATIENCE_S)
        self._patience_s = patience_s
        self._sulking_until = 0.0

    # -- one object ------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes | None:
        """The content of a small object, or ``None`` when there is none."""
        # s3fs would ask for the size first, in order to get large objects in parts
        at_once = {"max_concurrency": 1} if self.url.startswith("s3") else {}
        return self._unless_absent(lambda fs, at: fs.cat_file(at, **at_once), name)

    def write(self, name: str, content: bytes) -> None:
        """Put a small object there, whole or not at all."""

        def put(fs: Any, at: str) -> None:
            with self._in_a_bucket(fs, at):
                fs.pipe_file(at, content)

        self._patiently(put, name)

    def create(self, name: str, content: bytes) -> None:
        """As :meth:`write`, but an object that is there already stays, where the service can see to that."""

        def put(fs: Any, at: str) -> None:
            with self._in_a_bucket(fs, at), suppress(FileExistsError):
                if "s3" in _protocols(fs):
                    fs.pipe_file(at, content, mode="create")
                elif not fs.exists(at):
                    fs.pipe_file(at, content)

        self._patiently(put, name)

    def send(self, path: Path, name: str) -> None:
        """Put a file there, whole or not at all."""

        def put(fs: Any, at: str) -> None:
            with self._in_a_bucket(fs, at):
                fs.put_file(str(path), at)

        self._patiently(put, name)

    def get(self, name: str, path: Path) -> bool:
        """Write an object to a file; ``False`` when there is none."""

        def fetch(fs: Any, at: str) -> bool:
            path.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(at, str(path))
            return True

        return self._unless_absent(fetch, name) or False

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""

        def move(fs: Any, at: str) -> None:
            there = at.removesuffix(name) + to
            self._make_parent(fs, there)
            fs.cp_file(at, there)
            fs.rm_file(at)

        self._unless_absent(move, name)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are none less."""
        for name in names:
            self._unless_absent(lambda fs, at: fs.rm_file(at), name)

    # -- many ------------------------------------------------------------------------------------------------------

    def listing(self, folder: str, prefix: str = "") -> dict[str, dict[str, Any]]:
        """What there is below ``folder``, by name within it.

        ``size`` (bytes), ``version``, which changes with the content, and ``modified`` (s since 1970; ``None`` where
        the service does not tell). ``prefix`` narrows the first part of the names.
        """

        def find(fs: Any, at: str) -> dict[str, Any]:
            try:
                found = fs.find(at, detail=True, **({"prefix": prefix} if prefix else {}))
            except FileNotFoundError as error:
                if "bucket" in str(error):
                    raise Unreachable(_in_short(error), where=self.url, do=_HOW_TO_OPEN) from error
                return {}
            start = len(at) + 1
            return {
                path[start:]: {"size": info["size"], "version": _version(info), "modified": _modified(info)}
                for path, info in found.items()
                if len(path) > start and info["type"] == "file"
            }

        return self._patiently(find, folder)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _connect(self) -> tuple[Any, str]:
        """The file system and the path of the URL on it: one for each process, since threads do not survive a fork."""
        with _guard:
            key = (os.getpid(), self.url)
            if key not in _connections:
                _connections[key] = self._new_connection()
            return _connections[key]

    def _new_connection(self) -> tuple[Any, str]:
        import fsspec

        protocol = urlsplit(self.url).scheme
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if protocol in ("s3", "s3a"):
            # the tries of the layers below would multiply with ours
            options["config_kwargs"] = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}}
        try:
            fs, root = fsspec.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            extra = _EXTRAS.get(protocol)
            raise InputError(
                f"'{protocol}' URLs cannot be opened here ({' '.join(str(error).split())[:120]})",
                where=self.url, do=f"pip install '{extra}'" if extra else "use s3://bucket/prefix",
            ) from None  # fmt: skip
        if hasattr(fs, "retries"):
            fs.retries = 1
        return fs, root.rstrip("/")

    def _unless_absent(self, call: Callable[[Any, str], Answer], name: str) -> Answer | None:
        try:
            return self._patiently(call, name)
        except FileNotFoundError:
            return None

    def _patiently(self, call: Callable[[Any, str], Answer], name: str) -> Answer:
        fs, root = self._connect()
        at = f"{root}/{name}"
        started, wait = time.monotonic(), WAITS_S[0]
        while True:
            try:
                answer = call(fs, at)
            except (FileNotFoundError, InputError):
                raise
            except Exception as error:
                if isinstance(error, _OURS) or (isinstance(error, OSError) and error.errno in _DISK):
                    raise
                if (refusal := _refusal(error)) is not None:
                    raise Unreachable(refusal, where=self.url, do=_HOW_TO_OPEN) from error
                now = time.monotonic()
                if now - started + wait > self._patience_s or now < self._sulking_until:
                    self._sulking_until = now + SULK_S
                    raise Unreachable(
                        f"it cannot be reached ({_in_short(error)}; tried for {now - started:.0f} s)",
                        where=self.url, do="see that the service and the network are up, and run again",
                    ) from error  # fmt: skip
                time.sleep(wait * random.uniform(0.8, 1.2))
                wait = min(2 * wait, WAITS_S[1])
            else:
                self._sulking_until = 0.0
                return answer

    @contextmanager
    def _in_a_bucket(self, fs: Any, at: str) -> Iterator[None]:
        self._make_parent(fs, at)
        try:
            yield
        except FileNotFoundError as error:
            raise Unreachable(_in_short(error), where=self.url, do=_HOW_TO_OPEN) from error

    @staticmethod
    def _make_parent(fs: Any, at: str) -> None:
        if "file" in _protocols(fs):  # object stores have no folders
            fs.makedirs(at.rsplit("/", 1)[0], exist_ok=True)


#: Faults that are no network's: of this code, and of this machine's disk.
_OURS = (TypeError, AttributeError, NameError, NotImplementedError)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}

_HOW_TO_OPEN = (
    "check the bucket's name and what the credentials in the environment may do (for s3: AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for another service than Amazon's)"
)


def _refusal(error: Exception) -> str | None:
    """What waiting will not mend, in words; ``None`` for a fault of the network or the service."""
    if isinstance(error, PermissionError):
        return f"access is denied ({_in_short(error)})"
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return f"there are no credentials ({_in_short(error)})"
    if type(error).__name__ in ("NoRegionError", "InvalidRegionError", "ParamValidationError", "NoSuchBucket"):
        return _in_short(error)
    return None


def _in_short(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _version(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "created"):
        if info.get(key):
            return f"{info[key]}/{info['size']}"
    return str(info["size"])


def _modified(info: dict[str, Any]) -> float | None:
    for key in ("LastModified", "mtime", "last_modified", "updated"):
        found = info.get(key)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, (int, float)):
            return float(found)
    return None


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
