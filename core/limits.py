"""Every number that bounds something, with its reason.

Sizes are bytes and times are seconds unless the name says otherwise.
"""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1

# Names. 32 characters fit a phone's sidebar and every file system.
NAME_MAX: Final = 32

# RSA. The one accepted key size: its SubjectPublicKeyInfo is always 294 bytes, so a longer one is refused before it is parsed.
RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65537
RSA_BYTES: Final = RSA_BITS // 8
SPKI_BYTES: Final = 294
# OAEP with SHA-256 costs 2 * 32 + 2 bytes of the modulus (RFC 8017, section 7.1.1).
OAEP_MAX: Final = RSA_BYTES - 2 * 32 - 2
PSS_SALT: Final = 32

MID_BYTES: Final = 16
COPY_ID_BYTES: Final = 8
HASH_BYTES: Final = 32
NONCE_BYTES: Final = 32
CURVE_KEY_BYTES: Final = 32
ROUTING_ID_BYTES: Final = 16  # chosen by the client at random; long enough that nobody guesses another's

# The envelope. A header with 256 recipients of 32 characters needs about 25 KiB.
HEADER_MAX: Final = 32 * 1024
RECIPIENTS_MAX: Final = 256
COUNTER_MAX: Final = 2**53 - 1  # the largest integer every JSON reader keeps exact
# 44 blocks of 190 bytes hold the 32 random bytes and 8 KiB of padded content; decrypting them takes a recipient about 40 ms.
CHUNKS_MAX: Final = 44
WRAP_MAX: Final = CHUNKS_MAX * RSA_BYTES  # so that one fan-out stays under 3 MiB
CHUNKED_CONTENT_MAX: Final = 8 * 1024 - 1
# Room for a long log excerpt, small enough that a thousand queued messages stay under 70 MiB.
HYBRID_CONTENT_MAX: Final = 64 * 1024 - 1
PAD_SMALLEST: Final = 256
PAD_STEP: Final = 4096
GCM_IV: Final = 12
GCM_TAG: Final = 16
# A message may wait in a mailbox for a month; clocks may be five minutes apart.
MESSAGE_AGE_MAX_MS: Final = 31 * 24 * 3600 * 1000
VOID_MAX: Final = 32  # numbers given up that one message tells of
CLOCK_SKEW_MS: Final = 5 * 60 * 1000
REPLAY_MEMORY_MS: Final = 32 * 24 * 3600 * 1000
TIME_MAX_MS: Final = 250_000_000_000_000  # in the year 9892: a calendar ends with 9999, in whatever zone

BUNDLE_MAX: Final = 2048
BUNDLE_LIFE: Final = 30 * 24 * 3600
ROTATE_AGAIN: Final = 3600.0  # after a new encryption key could not be made: a full disk is not mended sooner

# Frames. The largest is `common`: a full header, 256 digests, the ciphertext, a signature and a key.
FRAME_MAX: Final = 128 * 1024
CURVE_OVERHEAD: Final = 33  # what CurveZMQ adds to each frame (RFC 26): 8 of command name, 8 of nonce, 16 of tag, 1 of flags
CONTROL_MAX: Final = 32 * 1024  # what a client may send in one control frame
LOOKUP_MAX: Final = 64  # bundles of about 1.3 KiB, so that the answer stays under FRAME_MAX
ACKS_MAX: Final = 512
RESULTS_MAX: Final = 1024
KEPT_MAX: Final = 512
ROSTER_CHUNK: Final = 1024  # entries of about 80 bytes in one roster frame
ROSTER_MAX: Final = 64 * 1024  # what a client keeps; far more than a broker has file descriptors for

# Connections.
HEARTBEAT: Final = 5.0
SILENCE_MAX: Final = 3 * HEARTBEAT
LOGIN_TIME_MAX: Final = 10.0
UNPROVEN_MAX: Final = 1024  # connections in the middle of a login at any one time
WAITING_MAX: Final = 4 * UNPROVEN_MAX  # connections that have not logged in, silent ones included
USER_CONNECTIONS_MAX: Final = 16
RECONNECT_FIRST: Final = 0.25
RECONNECT_MAX: Final = 16.0
RETURN_GRACE: Final = RECONNECT_MAX + 4.0  # after a broker's restart all have come back by then

# What one connection may have been sent without acknowledging it. It bounds the broker's memory for a client that stops
# reading, whatever the sizes of its messages.
WINDOW_COPIES: Final = 4096
WINDOW_BYTES: Final = 8 * 1024 * 1024

# Files. A chunk is encrypted and verified as a whole, so it is what a reader must hold in memory.
FILE_CHUNK: Final = 1024 * 1024
FILE_KEY_BYTES: Final = 32
FILE_SALT: Final = 16
FILE_NAME_MAX: Final = 255  # bytes in UTF-8: what most file systems take
BLOB_ID_BYTES: Final = 16  # random, and whoever knows it may fetch the blob
BLOB_MAX: Final = 2**40
PIECE_MAX: Final = 64 * 1024  # of a blob in one frame: small enough that chat is not kept waiting behind it
FETCH_MAX: Final = 1024 * 1024
# What may be on its way to the broker's disk and not be there, and what may be asked for and not have come.
BLOB_WINDOW: Final = 8 * 1024 * 1024

ROSTER_TICK: Final = 0.1
ROUND_MAX: Final = 256  # messages handled before the broker looks at anything else
