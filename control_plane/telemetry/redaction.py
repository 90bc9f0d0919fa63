"""Takes credentials out of text, as the last defence: the code that logs should never have had them in hand.

Patterns are the published shapes of vendors' keys (OpenAI and Anthropic `sk-`, Google `AIza` and `ya29.`, AWS `AKIA`/`ASIA`, GitHub
`gh?_`, Slack `xox`), credential headers with whatever follows them, JSON Web Tokens, private keys and passwords inside URLs.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "[redacted]"

_CREDENTIALS: Final = re.compile(
    r"""
      -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?
    | \b(?:sk|rk|pk)-[A-Za-z0-9_-]{12,}
    | \bAIza[A-Za-z0-9_-]{20,} | \bya29\.[A-Za-z0-9_-]{10,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}
    | \bgh[a-z]_[A-Za-z0-9]{16,} | \bxox[a-z]-[A-Za-z0-9-]{10,}
    """,
    re.VERBOSE | re.DOTALL,
)
# What follows one of these names is a secret whatever it looks like; the name itself is kept.
_NAMED: Final = re.compile(
    r"""(?ix)
    ( (?<![a-z0-9]) (?: proxy-authorization | authorization | x-api-key | api[-_]?key | x-goog-api-key | x-amz-security-token
        | client[-_]?secret | secret[-_]?access[-_]?key | access[-_]?token | refresh[-_]?token | password | passwd )
      ["']? \s*+ [:=] \s*+ ["']?+ (?: (?:bearer|basic|token)\s+ )?+ )
    (?!\[redacted\]) [^\s"',;&)}\]]+
    """
)
_COOKIE: Final = re.compile(r"""(?i)(?<![a-z0-9])((?:set-)?cookie["']?\s*+[:=]\s*+["']?+)(?!\[redacted\])[^\n"']+""")
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)(?!\[redacted\])[A-Za-z0-9._~+/=-]{8,}")
_URL_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)(?!\[redacted\])[^\s/@]+(@)", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with every known form of credential replaced by `[redacted]`."""
    text = _CREDENTIALS.sub(MASK, text)
    text = _NAMED.sub(rf"\1{MASK}", text)
    text = _COOKIE.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _URL_PASSWORD.sub(rf"\1{MASK}\2", text)
