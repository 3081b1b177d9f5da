"""Which file system a folder lies on, as far as Linux tells: what is safe on one disk may not be elsewhere.

SQLite's write-ahead log lies in memory that processes of one machine share; a lock may be known to one machine alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_TABLE = Path("/proc/self/mountinfo")
_SHARED = re.compile(  # between machines; FUSE's may be anything
    r"nfs4?|cifs|smb\w*|9p|ceph|lustre|gpfs|beegfs\w*|afs|coda|glusterfs|gfs2?|ocfs2|pvfs2|orangefs|panfs|wekafs|virtiofs"
    r"|vboxsf|prl_fs|vmhgfs|acfs|cvfs|fuse(\..+)?"
)
_ALONE = re.compile(r"nolock|local_lock=(?!none)\w+|localflock|noflock|nobrl")  # options: other machines see no lock


class Mount(NamedTuple):
    """Where a folder lies.

    Attributes:
      kind: of the file system, such as "ext4" or "nfs4"; "" where it is not known.
      options: of the mount.
    """

    kind: str = ""
    options: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether other machines may see it too."""
        return _SHARED.fullmatch(self.kind) is not None

    @property
    def unlocked(self) -> str:
        """The option that keeps its locks from other machines, "" for none."""
        return next((option for option in self.options if self.shared and _ALONE.fullmatch(option)), "")


def mount_of(folder: Path) -> Mount:
    """Return where a folder lies, or is going to."""
    path = os.path.realpath(folder)
    try:
        lines = os.fsdecode(_TABLE.read_bytes()).splitlines()
    except OSError:  # another system than Linux
        return Mount()
    found, longest = Mount(), -1
    for line in lines:
        place, _, about = line.partition(" - ")
        fields, kind = place.split(" "), about.split(" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of two at one place the later one hides the other
            longest = len(point)
            found = Mount(kind[0], (*fields[5].split(","), *kind[2].split(",")))
    return found
