"""An unlocked profile: its keys, what it remembers, and the broker it belongs to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import zmq
from zmq.utils import z85

from clients.keystore import Keystore
from clients.others import Others
from clients.store import Store
from core.address import BrokerAddress
from core.errors import BrokerKeyChanged, RecordDamaged
from core.identity import Identity
from core.names import check_name
from core.profile import Profile
from core.rsa import OpeningKey, SigningKey

DATABASE = "profile.db"
BROKER_SETTING = "broker"
_DRAINED = "drained"


class OpenProfile:
    """One profile, unlocked, in one process. Close it when done. Raises what ``Keystore.open`` and ``Store`` raise."""

    def __init__(self, home: Path, name: str, passphrase: str | None) -> None:
        self._keystore = Keystore(home, name)
        self._passphrase = passphrase
        self.keys: Profile = self._keystore.open(passphrase)
        self.store = Store(self._keystore.folder / DATABASE, self.keys.data_key)
        self.others = Others(self.keys.user, self.keys.kid, self.store)

    @classmethod
    def create(cls, home: Path, name: str, passphrase: str | None, signing: SigningKey | None = None) -> OpenProfile:
        """Make a profile, with a given identity key or a new one; raises ProfileExists and BadName."""
        keystore = Keystore(home, name)
        _, secret = zmq.curve_keypair()
        keystore.create(
            Profile.create(
                check_name(name),
                signing or SigningKey.generate(),
                OpeningKey.generate(),
                z85.decode(secret),
                now=time.time(),
                random=os.urandom,
            ),
            passphrase,
        )
        return cls(home, name, passphrase)

    @property
    def user(self) -> str:
        """The profile's name."""
        return self.keys.user

    @property
    def curve_secret(self) -> bytes:
        """The CURVE secret key by which brokers know this profile; 32 bytes."""
        return self.keys.curve_secret

    @property
    def keystore(self) -> bytes:
        """The keystore as it is on disk, under the profile's passphrase if there is one."""
        return self._keystore.content

    def identity(self) -> Identity:
        """The keys as a session takes them, with a bundle that is valid now, however long the profile was not used."""
        return self.renewed() or self._identity()

    def renewed(self) -> Identity | None:
        """The keys with a bundle that is valid for another 30 days, if half of the current one's life is over; else None."""
        now = time.time()
        if self.keys.renewed(now) is self.keys:
            return None
        self.keys = self._keystore.update(self._passphrase, lambda profile: profile.renewed(now))
        return self._identity()

    def _identity(self) -> Identity:
        public = z85.decode(zmq.curve_public(z85.encode(self.curve_secret)))
        return self.keys.identity(public)

    def rotate(self) -> Identity | None:
        """Make a new encryption key if the current one is a day old; returns the identity that has it, else None.

        All processes of the profile get the same one: whichever comes first makes it.
        """

        def change(profile: Profile) -> Profile:
            now = time.time()
            if not profile.rotation_due(now):
                return profile
            return profile.rotated(OpeningKey.generate(), now).without_old_keys(self._drained())

        before, self.keys = self.keys, self._keystore.update(self._passphrase, change)
        return self._identity() if self.keys.seq != before.seq else None

    # The broker it belongs to

    @property
    def broker(self) -> BrokerAddress | None:
        """The broker that this profile was last connected to."""
        text = self.store.setting(BROKER_SETTING)
        return BrokerAddress.parse(text) if text else None

    def check_broker(self, address: BrokerAddress) -> BrokerAddress:
        """Return ``address`` if it has the key of the profile's broker, or if there is none yet; else BrokerKeyChanged."""
        known = self.broker
        if known is not None and known.key != address.key:
            raise BrokerKeyChanged(where=address.where, name=self.user)
        return address

    def joined(self, address: BrokerAddress) -> None:
        """Pin the broker: the first login succeeded there. A new place of the same broker is kept, too."""
        if self.check_broker(address).url != self.store.setting(BROKER_SETTING):
            self.store.set_setting(BROKER_SETTING, address.url)

    def _drained(self) -> float:
        """When that was so last, in seconds since 1970."""
        text = self.store.setting(_DRAINED) or "0"
        if not (text.isascii() and text.isdecimal()):
            raise RecordDamaged
        return float(text)

    def drained(self) -> None:
        """All mail that waited at the broker has come: keys superseded long before now open nothing that is still to come."""
        self.store.set_setting(_DRAINED, str(int(time.time())))

    def close(self) -> None:
        """Close the database."""
        self.store.close()
