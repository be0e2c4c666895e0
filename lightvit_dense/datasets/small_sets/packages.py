"""Files of Debian packages, from where they were installed, a folder, or the package itself."""

import gzip
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .images import SmallSetError


@dataclass(frozen=True)
class DebianFiles:
    """Files of a Debian package."""

    package: str
    folder: str  # where an installation puts the files
    names: tuple[str, ...]

    def read(self, source: str | Path | None = None) -> dict[str, bytes]:
        """Return the files by name, unpacked where they are compressed by gzip."""
        place = Path(self.folder if source is None else source)
        if place.suffix == '.deb' and place.is_file():
            found = _read_deb(place, self.names)
        else:
            # The file alone, or the root of an unpacked package, will do as well.
            folders = (place, place / self.folder.lstrip('/'), place.parent)
            found = {}
            for folder in folders:
                files = {name: folder / name for name in self.names}
                if all(path.is_file() for path in files.values()):
                    found = {name: path.read_bytes() for name, path in files.items()}
                    break
        missing = [name for name in self.names if name not in found]
        if missing:
            raise SmallSetError(f'{place}: {", ".join(missing)} not found. {self.remedy()}')
        return {name: _unpacked(f'{place}: {name}', data) for name, data in found.items()}

    def remedy(self) -> str:
        """Return how to get the files."""
        return (
            f'Run `apt-get download {self.package}` (no root needed) and name the .deb with '
            f'--source; or install the package: `apt-get install {self.package}`.'
        )


def _read_deb(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read some files of a package without unpacking the rest."""
    tool = shutil.which('dpkg-deb')
    if tool is None:
        raise SmallSetError(
            f'{path}: opening it needs dpkg-deb, which is not installed. Unpack it elsewhere by '
            '`dpkg-deb -x` and name the folder.'
        )
    found: dict[str, bytes] = {}
    command = [tool, '--fsys-tarfile', str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
                for member in archive:
                    name = member.name.rpartition('/')[2]
                    if name in names and member.isfile():
                        content = archive.extractfile(member)
                        found[name] = content.read() if content is not None else b''
                    if len(found) == len(names):
                        break
        except tarfile.TarError as error:
            raise SmallSetError(
                f'{path}: damaged or no Debian package ({error}). Fetch it again.'
            ) from error
        finally:
            process.kill()
    return found


def _unpacked(name: str, data: bytes) -> bytes:
    if not data.startswith(b'\x1f\x8b'):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SmallSetError(f'{name} is damaged ({error}). Fetch it again.') from error
