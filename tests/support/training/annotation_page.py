"""The server of the annotation page without a model, for tests: proposals made by hand, a program that adapts at once.

python -m tests.support.training.annotation_page FOLDER PORT [PROGRAM]
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import PIL.Image

from tests.support.serving.waiting import wait_until

ROOT = Path(__file__).parents[3]
NAMES = [f"photo {i}.png" for i in range(6)]
PROPOSALS = ["a red ball", "a green hill", "a blue door", "a grey cat"]
ADAPT = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1], "model")
print("212 images: about 4 minutes")
print(pathlib.Path(sys.argv[sys.argv.index("--captions") + 1]).read_text().splitlines()[-1])
out.mkdir(parents=True)
"""


def draw_photos(folder):
    """Six photos; the last two have captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(NAMES):
        PIL.Image.new("RGB", (60, 40 + i), (40 * i, 90, 200 - 30 * i)).save(folder / name)
    (folder / "captions.csv").write_text(
        "image,caption,by\nphoto 4.png,a lake,Ann\nphoto 5.png,a boat,Bo\n", encoding="utf-8"
    )


def session_of(folder, names=NAMES[:4]):
    """A `Session` whose order is that of the names."""
    from training.annotation.candidates import Candidate, Photos, Ranking
    from training.annotation.caption_table import CaptionTable
    from training.annotation.session import Session

    photos = Photos.of(folder)
    candidates = [
        Candidate(photos.names.index(name), text, 1.5) for name, text in zip(names, PROPOSALS, strict=True)
    ]
    return Session(photos, CaptionTable(folder / "captions.csv"), Ranking(candidates, {}))


def serve(folder, port, program):
    """Serves until a signal comes."""
    from training.annotation.adapting import Adapting
    from training.annotation.candidates import Candidate, Ranking
    from training.annotation.server import application, listener
    from training.annotation.server import serve as answer

    session = session_of(folder)

    def renew(model):
        session.renew(Ranking([Candidate(0, f"said by {Path(model).parent.name}", 0.5)], {}))

    adapting = Adapting(
        folder, session.table.path, renew, runs=folder.parent / "runs", program=[sys.executable, program]
    )
    answer(application(session, adapting), listener(port))


class AnnotationPage:
    """The server as a process on a port, which may be killed and started again."""

    def __init__(self, folder, port):
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        self.program = folder.parent / "adapt.py"
        self.program.write_text(ADAPT)
        self.process = None

    def start(self):
        command = [
            sys.executable,
            "-m",
            "tests.support.training.annotation_page",
            self.folder,
            str(self.port),
        ]
        self.process = subprocess.Popen(
            [*command, self.program], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        wait_until(self.answers, 60)

    def answers(self):
        assert self.process.poll() is None, "the server ended"
        try:
            return httpx.get(f"{self.url}/adapting").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def rows(self):
        """The rows of the captions file."""
        return (self.folder / "captions.csv").read_text(encoding="utf-8").splitlines()[1:]


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
