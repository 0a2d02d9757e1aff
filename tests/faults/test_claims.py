"""Libraries that read files allocate nothing for what a file claims; tracemalloc sees only what Python allocates."""

import io
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.faults.archives import archives

MOST_BYTES = 500_000_000
"""Far below what vast files claim, 1.8 GB and more; libraries take up to 170 MB of addresses once they read."""
SCRIPT = """
import sys
from pathlib import Path
import highdicom, SimpleITK, tifffile
from tests.cli.commands import typed
from lesionforge.cohort.scan import read_image
from lesionforge.errors import CohortError
from tests.faults.archives import archives

def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak"))
    return int(line.split()[1]) * 1024

root = Path(sys.argv[1])
before = peak()
for layout in ("dicom", "folders"):
    typed("import", root / layout, root / f"from_{layout}", "--layout", layout, *archives()[layout].options, code=1)
for path in sorted((root / "slices").iterdir()):
    try:
        read_image(path)
    except CohortError:
        print("refused", path.name)
print(peak() - before)
"""


def _flat(kind):
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, format=kind)
    return bytearray(stream.getvalue())


def _vast_bmp():
    content = _flat("BMP")
    struct.pack_into("<ii", content, 18, 30000, 30000)
    return content


def _vast_jpeg():
    content = _flat("JPEG")
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, 60000, 60000)
    return content


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak; getrusage gives that of the parent")
def test_no_library_allocates_what_a_file_claims(tmp_path):
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    for layout in ("dicom", "folders"):
        archive = archives()[layout]
        claims = tuple(wrong for wrong in archive.wrong if wrong.claims)
        assert len(claims) >= 5
        replace(archive, wrong=claims).write(tmp_path / layout)
    slices = {"a.bmp": _vast_bmp(), "a.jpg": _vast_jpeg()}
    (tmp_path / "slices").mkdir()
    for name, content in slices.items():
        (tmp_path / "slices" / name).write_bytes(content)

    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert [line for line in lines if line.startswith("refused")] == [f"refused {name}" for name in slices]
    assert int(lines[-1]) < MOST_BYTES, lines
