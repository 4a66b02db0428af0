"""Until when a certificate is valid."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_SEQUENCE, _INTEGER, _VERSION, _UTC_TIME, _TIME = 0x30, 0x02, 0xA0, 0x17, 0x18


def expires(pem: str) -> datetime:
    """The end of the first certificate's validity: a chain begins with the one that is shown to callers.

    The few bytes on the way to it in X.509's structure (RFC 5280, 4.1) are read here; nothing is checked, no signature
    either. Raises ``ValueError`` where there is no certificate.
    """
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate in PEM")
    try:
        certificate = base64.b64decode("".join(found[1].split()), validate=True)
        _, signed, _ = _read(certificate, _SEQUENCE)
        _, rest, _ = _read(signed, _SEQUENCE)
        if rest[:1] == bytes([_VERSION]):
            _, _, rest = _read(rest, _VERSION)
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, algorithm of the signature, issuer
            _, _, rest = _read(rest, tag)
        _, validity, _ = _read(rest, _SEQUENCE)
        _, _, rest = _read(validity, _UTC_TIME, _TIME)
        tag, text, _ = _read(rest, _UTC_TIME, _TIME)
        # Two digits of a year are of 1950 to 2049.
        century = "" if tag == _TIME else "19" if text[:2] >= b"50" else "20"
        return datetime.strptime(century + text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (IndexError, UnicodeDecodeError, binascii.Error) as error:
        raise ValueError("no X.509 certificate") from error


def _read(data: bytes, *tags: int) -> tuple[int, bytes, bytes]:
    """One element of DER, of one of these tags: its tag, its contents, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if tag not in tags:
        raise ValueError("no X.509 certificate")
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise IndexError
    return tag, data[start : start + length], data[start + length :]
