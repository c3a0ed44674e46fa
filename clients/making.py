"""Making a profile, and claiming its name at a broker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import BrokerKeyMismatch, BrokerUnreachable, LoginRefused, SecureChatError
from core.messages import Mode

if TYPE_CHECKING:
    from clients.profiles import OpenProfile
    from core.address import BrokerAddress
    from core.rsa import SigningKey

_PATIENCE: Final = 10.0  # seconds for the broker's answer


def make_profile(
    home: Path, name: str, passphrase: str | None, address: BrokerAddress | None, signing: SigningKey | None = None
) -> tuple[OpenProfile, bool]:
    """Make a profile and claim its name at the broker, if there is one; returns it, and whether the name is claimed.

    A broker that cannot be reached is no hindrance, unless it was to be entered by an invite. Raises what
    ``OpenProfile.create`` and ``ChatClient.wait_ready`` raise; a profile that is of no use then is taken back.
    """
    from clients.keystore import Keystore
    from clients.profiles import OpenProfile

    profile = OpenProfile.create(home, name, passphrase, signing)
    try:
        return profile, address is not None and _claim(profile, address)
    except SecureChatError:
        profile.close()
        Keystore(home, name).remove()
        raise


def _claim(profile: OpenProfile, address: BrokerAddress) -> bool:
    from clients.chat import ChatClient

    client = ChatClient(profile, address, mode=Mode.SEND, events=False)
    client.start()
    try:
        client.wait_ready(_PATIENCE)
    except (LoginRefused, BrokerKeyMismatch):
        raise
    except BrokerUnreachable:
        # An invite is not kept, so there would be no way in later. In doubt the profile holds its name already.
        if address.invite is not None and not client.in_doubt:
            raise
        return False
    finally:
        client.close()
    return True
