"""The login's proof: a signature by the identity key over who logs in, where, and both sides' fresh nonces."""

from __future__ import annotations

from dataclasses import dataclass

from core.limits import CURVE_KEY_BYTES, HASH_BYTES, NONCE_BYTES
from core.rsa import Purpose, SigningKey, VerifyKey


@dataclass(frozen=True, slots=True)
class LoginContext:
    """What one login is bound to.

    The two CURVE keys (32 bytes each) tie it to this connection, so it cannot be relayed to another broker; the nonces
    (32 bytes each) to this moment.
    """

    broker_key: bytes
    client_key: bytes
    client_nonce: bytes
    broker_nonce: bytes
    user: str

    def payload(self, kid: bytes) -> bytes:
        """The signed bytes. All parts but the last have a fixed size, so no two contexts give the same bytes."""
        sizes = (CURVE_KEY_BYTES, CURVE_KEY_BYTES, NONCE_BYTES, NONCE_BYTES, HASH_BYTES)
        parts = (self.broker_key, self.client_key, self.client_nonce, self.broker_nonce, kid)
        if tuple(map(len, parts)) != sizes:
            raise ValueError("a part of the login has the wrong size")
        return b"".join(parts) + self.user.encode("ascii")


def prove(signing: SigningKey, context: LoginContext) -> bytes:
    """Sign the login; returns 256 bytes."""
    return signing.sign(Purpose.LOGIN, context.payload(signing.public.kid))


def check_proof(ik: VerifyKey, context: LoginContext, signature: bytes) -> None:
    """Raise BadSignature unless the holder of ``ik`` signed exactly this login."""
    ik.verify(Purpose.LOGIN, context.payload(ik.kid), signature)
