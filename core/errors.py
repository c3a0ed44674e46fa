"""The errors that SecureChat raises on purpose, in one tree; one that a single module knows, it declares itself.

A class's docstring is the sentence a person reads; ``{fields}`` in it are filled from the keyword arguments. ``hint`` is
the next thing to try. No error ever carries plaintext, a private key, an invite or a passphrase. ::

    SecureChatError
    ├── LocalProtocolError      this side misused the protocol
    ├── RemoteProtocolError     the other side broke the protocol
    │   ├── FrameError              frames that do not parse
    │   └── InvalidEnvelope         an envelope that was refused, and at which stage
    │       ├── Replayed                … because it was taken before
    │       └── NotPinned               … because the key is not the one its sender's name is pinned to
    ├── KeyRefused              a key outside the import policy
    ├── BadSignature            a signature that does not fit
    ├── BadBundle               a key bundle that cannot be trusted
    ├── BadName                 not a username
    ├── BadFileName             not the name of a file, or more than that
    ├── BadAddress              not a broker's address
    ├── EmptyMessage            nothing to send
    ├── NotText                 characters that no text can hold
    ├── MessageTooLong          over a limit
    ├── BrokerUnreachable       no connection
    │   ├── NoBrokerFound           none is running on this machine
    │   ├── BrokerKeyMismatch       the broker does not hold the key of its address
    │   ├── BrokerKeyChanged        … or its address names another key than the profile's broker has
    │   └── NotAdmitted             … or refuses whom it let in before
    ├── LoginRefused            the broker said no
    │   ├── NameTaken               the name belongs to another key
    │   ├── NotInvited              this address is not let in
    │   └── VersionRefused          no protocol version in common
    ├── UserAbsent              a recipient who is not connected
    ├── NobodyHere              Everyone, and nobody is connected
    ├── BrokerFailed            the broker cannot start or go on
    ├── KeystoreDamaged         a profile's keystore that is not whole
    ├── KeystoreLocked          a passphrase is needed
    ├── WrongPassphrase         … and this is not it
    ├── KeystoreUnsafe          a keystore that others can get at
    ├── KeystoreUnreadable      … or that cannot be read
    ├── KeystoreUnwritable      … or written
    ├── StoreFailed             a profile's database that cannot be used
    │   └── RecordDamaged           … because what is in it was altered
    ├── NotWritten              a file that was asked for and could not be made
    │   └── AlreadyThere            … because something has its name
    ├── ConfigBroken            a config.toml that is not understood
    ├── ProfileMissing          no such profile
    ├── ProfileExists           there is one already
    ├── KeyChanged              a pinned name with another key
    ├── NumbersDiffer           two people who compare do not see the same
    ├── NotVerified             only verified peers were to be written to
    │   └── NobodyVerified          … and none of those in question is
    ├── PeerBlocked             somebody this profile has blocked
    ├── PeerUnknown             nobody this client has met
    ├── FileFailed              a file that could not be sent or fetched
    │   ├── FileUnreadable          … because it cannot be read here
    │   ├── FileChanged             … because it was changed meanwhile
    │   ├── FileUnwritable          … because it cannot be written here
    │   ├── NoRoomForFile           … because the broker does not take it
    │   ├── FileGone                … because the broker does not have it
    │   └── FileDamaged             … because it is not what was sent
    └── TimeRanOut              an answer did not come in time
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class _Fields(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "?"


class SecureChatError(Exception):
    """Something went wrong in SecureChat."""

    hint: ClassVar[str] = ""

    def __init__(self, **fields: object) -> None:
        super().__init__(fields)
        self.fields = _Fields(fields)

    def __str__(self) -> str:
        sentence = inspect.cleandoc(type(self).__doc__ or type(self).__name__).split("\n\n", 1)[0]
        return " ".join(sentence.split()).format_map(self.fields)

    @property
    def advice(self) -> str:
        """The hint with its fields filled in; empty where there is none."""
        return type(self).hint.format_map(self.fields)


class LocalProtocolError(SecureChatError):
    """This program used the protocol wrongly: {what}."""


class RemoteProtocolError(SecureChatError):
    """The other side broke the protocol: {what}."""


class FrameError(RemoteProtocolError):
    """The other side sent frames that do not parse: {what}."""


class InvalidEnvelope(RemoteProtocolError):
    """A message was refused because it is not authentic, not for you, or not intact.

    One public sentence for every cause: what exactly failed is never told to the network. ``stage`` names the check, for
    local eyes and for tests.
    """

    def __init__(self, stage: str) -> None:
        super().__init__(stage=stage)
        self.stage = stage


class Replayed(InvalidEnvelope):
    """A message that was already taken was sent again.

    ``proof`` is the delivery proof that was given for it then, so that a sender who missed it gets it once more.
    """

    def __init__(self, proof: bytes) -> None:
        super().__init__("replay")
        self.proof = proof


class NotPinned(InvalidEnvelope):
    """A message was signed, but not by a key that may sign in its sender's name.

    ``kid`` is that key's id. The signature holds: whoever sent it has the key.
    """

    def __init__(self, kid: bytes) -> None:
        super().__init__("pin")
        self.kid = kid


class KeyRefused(SecureChatError):
    """This key is not accepted: {why}."""

    hint = "SecureChat uses RSA keys of exactly 2048 bits with the exponent 65537."


class BadSignature(SecureChatError):
    """A signature does not fit what it was said to sign."""


class BadBundle(SecureChatError):
    """The key bundle offered for {user} cannot be trusted: {why}."""


class BadName(SecureChatError):
    """'{name}' is not a username."""

    hint = "Use 1 to 32 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit; 'everyone' is reserved."


class BadFileName(SecureChatError):
    """'{name}' cannot be a file's name here."""

    hint = "Use 1 to 255 bytes without '/', '\\' and control characters, and without spaces at its ends."


class BadAddress(SecureChatError):
    """This is not a broker's address: {why}."""

    hint = "It looks like securechat://HOST:PORT/KEY; the broker prints it when it starts."


class EmptyMessage(SecureChatError):
    """There is nothing to send."""

    hint = "Give a text or a file; what was to be piped in was empty, perhaps."


class NotText(SecureChatError):
    """The message holds bytes that are not text."""

    hint = "Text is sent as UTF-8."


class MessageTooLong(SecureChatError):
    """The message is too long: {suite} messages hold at most {limit} bytes of text."""

    hint = "{advice}"


class BrokerUnreachable(SecureChatError):
    """The broker at {where} cannot be reached: {why}."""

    hint = "Is it running? 'securechat-broker' starts one where it is to run; 'securechat-cli doctor' tells more."


class NoBrokerFound(BrokerUnreachable):
    """No broker was named, and none of yours is running on this machine."""

    hint = "Start one with 'securechat-broker', or name another's with --broker securechat://HOST:PORT/KEY."


class BrokerKeyMismatch(BrokerUnreachable):
    """The broker at {where} does not hold the key of its address; nothing was sent to it."""

    hint = "Ask whoever runs the broker for its current securechat:// line, and compare it with yours."


class BrokerKeyChanged(BrokerUnreachable):
    """The broker at {where} is not the one that profile {name} belongs to: its key is another one. Nothing was sent to it."""

    hint = "If the broker really was set up anew, make a new profile for it; else somebody may be posing as it."


class NotAdmitted(BrokerUnreachable):
    """Whoever answers at {where} does not let you in, as it did before; that can be somebody who is not the broker."""

    hint = "It is tried again. If it stays so, ask whoever runs the broker: your name was released, perhaps."


class LoginRefused(SecureChatError):
    """The broker refused the login: {why}."""


class NameTaken(LoginRefused):
    """The name '{user}' is in use by somebody else, or belongs to a profile."""

    hint = (
        "Choose another name. If it is your profile's: --profile {user}, or Profile on the page. If you are connected as a "
        "guest elsewhere: leave there."
    )


class NotInvited(LoginRefused):
    """The broker does not let you in: you have no invite, or it is used up, expired or revoked."""

    hint = "Ask whoever runs the broker for an invite; they make one with: securechat-broker invite"


class VersionRefused(LoginRefused):
    """The broker speaks another version of the protocol."""

    hint = "Upgrade whichever of the two is older."


class UserAbsent(SecureChatError):
    """{users} not connected, so nothing was sent there."""

    hint = "'securechat-cli users' shows who is here."


class NobodyHere(UserAbsent):
    """Nobody else is connected, so nothing was sent."""


class BrokerFailed(SecureChatError):
    """{why}"""


class TimeRanOut(SecureChatError):
    """{what} within {seconds} seconds."""


class KeystoreDamaged(SecureChatError):
    """The keystore is damaged, so it was not used; it was left as it is."""

    hint = "Restore it from a backup."


class KeystoreLocked(SecureChatError):
    """The profile is locked: its keystore has a passphrase."""

    hint = "Run it in a terminal to be asked, or name a file that holds the passphrase: --passphrase-file FILE."


class WrongPassphrase(SecureChatError):
    """That is not the profile's passphrase, or its keystore is damaged; it was left as it is."""

    hint = "Try again. Without its passphrase nobody can open it."


class KeystoreUnsafe(SecureChatError):
    """{path} is not used: {why}."""

    hint = "Mend it with: {mend}"


class KeystoreUnreadable(SecureChatError):
    """{path} cannot be read: {why}."""


class KeystoreUnwritable(SecureChatError):
    """{path} cannot be written: {why}. What was there was left as it was."""


class StoreFailed(SecureChatError):
    """The database {path} cannot be used: {why}."""


class RecordDamaged(StoreFailed):
    """A record in the profile's database is damaged, or was written under another key."""

    hint = "Restore the profile from a backup."


class NotWritten(SecureChatError):
    """{path} was not written: {why}."""


class AlreadyThere(NotWritten):
    """{path} is there already, and was left as it is."""

    hint = "Name a file that is not there yet."


class ConfigBroken(SecureChatError):
    """{path} cannot be used: {why}."""

    hint = "{advice}"


class ProfileMissing(SecureChatError):
    """There is no profile '{name}' here."""

    hint = "Make it with: securechat-cli init {name}"


class ProfileExists(SecureChatError):
    """There is a profile '{name}' already; it was left as it is."""

    hint = "Choose another name, or move that profile's folder away first."


class KeyChanged(SecureChatError):
    """{user} now uses another key than the one you know; nothing was sent to it."""

    hint = "Compare numbers over another channel (securechat-cli verify {user}), then accept it: securechat-cli trust {user}"


class NumbersDiffer(SecureChatError):
    """The numbers differ: somebody may sit between you and {user}."""

    hint = "Have {user} read theirs again: securechat-cli verify {me}"


class NotVerified(SecureChatError):
    """You have not verified {user}, so nothing was sent."""

    hint = "Compare numbers over another channel: securechat-cli verify {user}"


class NobodyVerified(NotVerified):
    """You have verified none of those who are here, so nothing was sent."""

    hint = "Compare numbers over another channel: securechat-cli verify NAME"


class PeerBlocked(SecureChatError):
    """You have blocked {user}."""

    hint = "Undo it with: securechat-cli trust {user}"


class PeerUnknown(SecureChatError):
    """This profile has never met {user}."""

    hint = "It knows whom it has reached or heard from. Write to them, or fetch what they wrote: 'securechat-cli listen'."


class FileFailed(SecureChatError):
    """{name} could not be sent or fetched."""


class FileUnreadable(FileFailed):
    """{name} cannot be read: {why}. Nothing was sent."""


class FileChanged(FileFailed):
    """{name} was changed while it was being sent. Nothing was sent."""

    hint = "Send it again when nothing writes to it any more; a copy of it will do."


class FileUnwritable(FileFailed):
    """{name} cannot be written: {why}. What has come so far is kept, and fetched no second time."""


class NoRoomForFile(FileFailed):
    """The broker does not take {name}: {why}. Nothing was sent."""

    hint = "Ask whoever runs the broker, or wait until older files have expired."


class FileGone(FileFailed):
    """The broker does not have {name}, or no longer."""

    hint = "A broker keeps files as long as mail. Ask for it to be sent again."


class FileDamaged(FileFailed):
    """{name} is not what was sent: {why}. Nothing of it was kept."""
