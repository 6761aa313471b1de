"""Archives made by hand."""

from __future__ import annotations

import gzip
import io
import tarfile


def archive_of(*members: tuple[str, bytes | str | None]) -> bytes:
    """An archive: bytes are a file, text is the target of a link, None is a device.

    The same members are the same to the byte, whatever time it is.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                continue
            member.type = tarfile.SYMTYPE if isinstance(content, str) else tarfile.CHRTYPE
            member.linkname = content or ""
            tar.addfile(member)
    return gzip.compress(out.getvalue(), mtime=0)
