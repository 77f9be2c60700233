"""The signature check: exactly Meta's bytes, one of our secrets, and nothing that raises on odd headers."""

from __future__ import annotations

import pytest

from rasa_coexistence.errors import BadSignature
from rasa_coexistence.signature import check_signature, sign

SECRET = "demo_secret"
COMPACT = b'{"object":"whatsapp_business_account","entry":[]}'
SPACED = b'{"object": "whatsapp_business_account", "entry": []}'
ESCAPED = rb'{"t":"caf\u00e9 \/ ok"}'
VECTORS = [
    (COMPACT, "e681018fd84d47371c47e4e5505571047203885d2f50e71922b4eff44190e69e"),
    (SPACED, "2be01739c1e69fd6a3e44aa05aaa032ce9d247b0378c264c283a84d433e086b0"),
    (ESCAPED, "3e08f1e1eccaafe9e28fd16ef5462c66fd9fef976126d32d2e75b174968e69cd"),
]
GOOD = sign(COMPACT, SECRET)


@pytest.mark.parametrize(("body", "digest"), VECTORS)
def test_known_bodies_have_their_known_signatures(body: bytes, digest: str) -> None:
    """Bytes are signed as they came: spaces and escapes count."""
    assert sign(body, SECRET) == f"sha256={digest}"
    check_signature(body, f"sha256={digest}", app_secrets=[SECRET])


def test_hexadecimal_digits_may_be_upper_case() -> None:
    """The value counts, not how its digits are written."""
    check_signature(COMPACT, f"sha256={GOOD[7:].upper()}", app_secrets=[SECRET])


def test_any_of_our_secrets_fits_while_they_are_rotated() -> None:
    """Meta signs with the old secret until the new one is in force."""
    for secrets in ([SECRET, "new"], ["new", SECRET]):
        check_signature(COMPACT, GOOD, app_secrets=secrets)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        GOOD[7:],
        GOOD[:-1],
        GOOD + "0",
        GOOD + "\n",
        f" {GOOD}",
        GOOD.replace("sha256", "sha1"),
        GOOD.replace("sha256", "SHA256"),
        "sha256=" + "z" * 64,
        "sha256=" + "é" * 64,
        "sha256=" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
        "sha256=" + "\udc80" * 64,
        "sha256=" + "0" * 64,
    ],
)
def test_odd_headers_are_refused_and_never_crash(header: str | None) -> None:
    """Comparing non-ASCII text in constant time would raise; a stranger must get 401, not 500."""
    with pytest.raises(BadSignature):
        check_signature(COMPACT, header, app_secrets=[SECRET])


@pytest.mark.parametrize("position", range(len(COMPACT)))
def test_one_changed_byte_is_noticed(position: int) -> None:
    """Whoever changes a body on its way cannot sign it."""
    changed = bytearray(COMPACT)
    changed[position] ^= 1
    with pytest.raises(BadSignature):
        check_signature(bytes(changed), GOOD, app_secrets=[SECRET])


@pytest.mark.parametrize("secrets", [[], ["other"], [""]])
def test_other_missing_and_empty_secrets_verify_nothing(secrets: list[str]) -> None:
    """An empty secret would let anybody sign."""
    for header in (GOOD, sign(COMPACT, "")):
        with pytest.raises(BadSignature):
            check_signature(COMPACT, header, app_secrets=secrets)


def test_the_error_does_not_give_the_signature_away() -> None:
    """A refusal that names the right signature would be an oracle."""
    with pytest.raises(BadSignature) as caught:
        check_signature(COMPACT, "sha256=" + "0" * 64, app_secrets=[SECRET])
    assert GOOD[7:] not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_and_bodies_may_hold_any_bytes() -> None:
    """Nothing says that either is ASCII, or the body JSON."""
    body = bytes(range(256))
    check_signature(body, sign(body, "señal"), app_secrets=["señal"])
