"""Sealing and opening, beside the bare RSA operations that they cannot do without, on the same keys."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.people import NO_KEY, now
from bench.report import Report, interleaved, median
from core.bundle import Kind, Suite
from core.content import Text
from core.encoding import b64url
from core.envelope import Sealed, To, direct_cid, seal
from core.limits import OAEP_MAX
from core.opening import Delivery, Recipient, open_envelope
from core.rsa import OpeningKey, SigningKey

_SHA256: Final = hashes.SHA256()
_PSS: Final = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)
_OAEP: Final = padding.OAEP(mgf=padding.MGF1(_SHA256), algorithm=_SHA256, label=None)
_MOST: Final = 1.15
_LARGE: Final = 10_000

Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Keys:
    """One IK and one EK, each as ours and as ``cryptography`` has it."""

    ik: rsa.RSAPrivateKey
    ek: rsa.RSAPrivateKey
    signing: SigningKey
    opening: OpeningKey

    @classmethod
    def make(cls) -> Keys:
        ik, ek = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        return cls(ik, ek, SigningKey(ik), OpeningKey(ek))


def run(report: Report, repeats: int) -> None:
    report.title(
        "2. Sealing and opening",
        "To one recipient, beside the bare RSA operations of `cryptography` on the same keys: for hybrid one signature and one",
        "encryption to seal, one verification and one decryption to open; for chunked an encryption or a decryption a block.",
        "A long hybrid text is not judged: most of what it costs is AES and SHA-256, which the bare operations leave out.",
    )
    keys = Keys.make()
    rows: list[tuple[str, float | None, tuple[str, str, str]]] = []
    for suite, size in ((Suite.HYBRID, 200), (Suite.HYBRID, 60_000), (Suite.CHUNKED, 200), (Suite.CHUNKED, 8_000)):
        acts = _acts(keys, suite, "x" * size)
        blocks = len(_seal(keys, suite, "x" * size).wraps[0]) // 256
        count = max(8, repeats * 12 // max(1, blocks // 4))
        found = interleaved(count, list(acts), lambda name, acts=acts: _timed(acts[name]))  # type: ignore[misc]
        for what in ("seal", "open"):
            ours, bare = median(found[what]), median(found[f"bare {what}"])
            ratio = median([one / other for one, other in zip(found[what], found[f"bare {what}"], strict=True)])
            name = f"{what}, {suite.value}, {size:,} B ({blocks} RSA block{'s' * (blocks > 1)})"
            judged = size < _LARGE or suite is Suite.CHUNKED
            rows.append((name, ratio if judged else None, (f"{ours * 1e3:.3f}", f"{bare * 1e3:.3f}", f"{ratio:.3f}")))
    report.table(("", "ms", "ms bare", "ratio"), [(name, *cells) for name, _, cells in rows])
    for name, judged_ratio, _ in rows:
        if judged_ratio is not None:
            report.target(name, judged_ratio, most=_MOST)


def _acts(keys: Keys, suite: Suite, text: str) -> dict[str, Act]:
    sealed = _seal(keys, suite, text)
    wrap = sealed.wraps[0]
    delivery = Delivery(sealed.mid, "alice", sealed.common_direct(), None)
    me = Recipient(
        "bob",
        NO_KEY,
        {b64url(keys.opening.public.kid): keys.opening},
        NO_KEY,
        lambda _user, _kid: True,
        lambda _kid, _mid: None,
    )
    signed = os.urandom(96)
    signature = keys.ik.sign(signed, _PSS, _SHA256)
    blocks = [wrap[at : at + 256] for at in range(0, len(wrap), 256)]
    whole, last = bytes(OAEP_MAX), bytes(32)
    plain = [whole] * (len(blocks) - 1) + [last]
    encrypted = [keys.ek.public_key().encrypt(block, _OAEP) for block in plain]
    public_ik, public_ek = keys.ik.public_key(), keys.ek.public_key()

    def bare_seal() -> None:
        for block in plain:
            public_ek.encrypt(block, _OAEP)
        keys.ik.sign(signed, _PSS, _SHA256)

    def bare_open() -> None:
        public_ik.verify(signature, signed, _PSS, _SHA256)
        for block in encrypted:
            keys.ek.decrypt(block, _OAEP)

    return {
        "bare seal": bare_seal,
        "seal": lambda: _seal(keys, suite, text),
        "bare open": bare_open,
        "open": lambda: open_envelope(delivery, me, now().ms),
    }


def _seal(keys: Keys, suite: Suite, text: str) -> Sealed:
    return seal(
        Text(text),
        suite=suite,
        sender="alice",
        kind=Kind.GUEST,
        signing=keys.signing,
        sid=os.urandom(16),
        mid=os.urandom(16),
        cid=direct_cid(keys.signing.public.kid, NO_KEY),
        to=[To("bob", keys.opening.public, 1)],
        now_ms=now().ms,
        random=os.urandom,
    )


def _timed(act: Act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
