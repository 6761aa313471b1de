"""A package index on loopback, with handmade wheels; what it was asked for is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.servers import Quiet, answering


def wheel(name: str, version: str, content: str = "", *needs: str) -> tuple[str, bytes]:
    """File name and bytes of a wheel with one module; the same to the byte every time."""
    module = name.replace("-", "_")
    facts = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {need}\n" for need in needs
    )
    texts = {
        f"{module}.py": content,
        f"{facts}/METADATA": metadata,
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{facts}/RECORD": "",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in texts.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{module}-{version}-py3-none-any.whl", out.getvalue()


def wheels_of_the_example(folder: Path, *more: str) -> dict[str, bytes]:
    """What the example needs on a host, and `more`: downloaded into the folder, by file name."""
    words = ["download", "-q", "--only-binary=:all:", "-d", str(folder)]
    needs = ("django==5.2.19", "gunicorn==27.0.1", "django-cors-headers==4.9.0")
    subprocess.run([sys.executable, "-m", "pip", *words, *needs, *more], check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetch_everything_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and a home of its own for the kit, uv and pip, so that every file is fetched again."""
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "uv"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Index:
    """A simple index (PEP 503) of `files`; with `user` only for who says so."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    user: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}/simple"

    @property
    def url_with_user(self) -> str:
        return f"http://{self.user}@{self.address}/simple"

    def put(self, name: str, version: str, content: str = "", *needs: str) -> str:
        """A wheel more, or another one in place of it; its SHA-256."""
        file, data = wheel(name, version, content, *needs)
        self.files[file] = data
        return sha256(data)

    def file_url(self, name: str, version: str) -> str:
        return f"http://{self.address}/files/{name.replace('-', '_')}-{version}-py3-none-any.whl"

    def answer(self, path: str) -> bytes | None:
        """The page of a package, or a file."""
        kind, _, name = path.strip("/").partition("/")
        if kind == "files":
            return self.files.get(name)
        found = [file for file in self.files if file.split("-")[0].replace("_", "-") == name]
        links = [
            f'<a href="/files/{file}#sha256={sha256(self.files[file])}">{file}</a>'
            for file in found
        ]
        return "".join(links).encode() if found else None


@contextmanager
def serving(user: str = "") -> Iterator[Index]:
    """An empty index, up until the block ends; `user` is "name:password"."""
    index = Index("", user=user)

    class Handler(Quiet):
        def do_GET(self) -> None:
            allowed = "Basic " + base64.b64encode(index.user.encode()).decode()
            if index.user and self.headers.get("Authorization") != allowed:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            index.asked.append(self.path)
            data = index.answer(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header(
                "Content-Type",
                "text/html" if self.path.startswith("/simple") else "application/zip",
            )
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if self.command == "GET":
                with suppress(ConnectionError):  # who asks may have read enough
                    self.wfile.write(data or b"")

        do_HEAD = do_GET

    with answering(Handler) as port:
        index.address = f"127.0.0.1:{port}"
        yield index
