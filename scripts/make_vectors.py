"""Make tests/vectors: one scenario in each file, as JSON with byte strings in base64url without padding.

Run from the repository's root: ``python -m scripts.make_vectors``. The keys are those of keys.json
(scripts/make_test_keys.py); everything that can be chosen (ids, secrets, times) is fixed here. OAEP and PSS are randomised,
so a new run changes every file, and the files, not this script, are the vectors: they are frozen, and a run that changes
what any of them expects is a change of protocol.

Each file has ``expect``: "ok", or for an envelope the stage of ``core.opening.RECEIVE_ORDER`` that refuses it, or else
"refused".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from core.encoding import b64url
from scripts.vector_envelopes import envelope_vectors
from scripts.vector_others import bundle_vectors, frames_vectors, login_vectors

FOLDER: Final = Path(__file__).parent.parent / "tests" / "vectors"


def write(folder: Path, vectors: dict[str, dict[str, Any]]) -> None:
    """Write each vector to a file named after its scenario, and take away files of scenarios that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        if old.stem not in vectors:
            old.unlink()
    for name, vector in vectors.items():
        text = json.dumps({"scenario": name, **vector}, indent=1, default=_as_text)
        (folder / f"{name}.json").write_text(text + "\n")


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return b64url(value)
    raise TypeError(type(value))


def main() -> None:
    """Make all of them."""
    write(FOLDER / "envelope", envelope_vectors())
    write(FOLDER / "bundle", bundle_vectors())
    write(FOLDER / "login", login_vectors())
    write(FOLDER / "frames", frames_vectors())


if __name__ == "__main__":
    main()
