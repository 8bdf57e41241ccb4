"""People who prove who they are by an ID token of OpenID Connect. No call waits for the issuer: its keys are read in
the background, and hold for a day while it is away.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey
from joserfc.jws import JWSRegistry

from hashhub.background import Background
from hashhub.errors import HashHubError, Reason, Unauthenticated, Unavailable
from hashhub.hub.proofs import LOGIN
from hashhub.openid import ask, discover

if TYPE_CHECKING:
    from joserfc.jwk import Key

    from hashhub.config import Config

_KINDS: Final[dict[str, type[Key]]] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey}
_REGISTRY: Final = JWSRegistry(algorithms=list(_KINDS), strict_check_header=False)  # other headers are for others
_SKEW_SECONDS: Final = 60
_READ_SECONDS: Final = 300.0  # between two looks at the issuer's keys
ASKED_SECONDS: Final = 30.0  # likewise, when strangers name a key that is not among them
KEPT_SECONDS: Final = 86_400.0
_RSA_BITS: Final = 2048
_SUBJECT_CHARACTERS: Final = 255  # OpenID Connect Core, 2


class IdentityProvider:
    """The issuer that the operator trusts to say who people are."""

    def __init__(self, config: Config) -> None:
        self.issuer, self._claim, self._audience = config.oidc_issuer, config.oidc_claim, config.oidc_audience
        self.session_seconds = config.session_hours * 3600
        expected = {"iss": config.oidc_issuer, "aud": config.oidc_audience, "sub": None, "exp": None, "iat": None}
        needed: Any = {name: {"essential": True, "value": value} for name, value in expected.items()}
        self._claims = jwt.JWTClaimsRegistry(None, _SKEW_SECONDS, **needed)
        self.keys: list[Key] = []
        self._read = self._asked = -KEPT_SECONDS
        told = "the identity provider's keys cannot be read"
        self.thread = Background("identity-provider", self.read_keys, complaint=told, pause=_READ_SECONDS)

    def read(self, token: str) -> tuple[list[str], str]:
        """Return the identities that an ID token proves, and the person's name. Raises Unauthenticated; Unavailable
        where its key is not known, and may be soon.
        """
        try:
            claims = self._signed(token)
            self._claims.validate(claims)
            is_shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
            party = claims.get("azp", None if is_shared else self._audience)
            if "events" in claims or party != self._audience or len(claims["sub"]) > _SUBJECT_CHARACTERS:
                raise ValueError("it is of another kind, for another party too, or its subject is too long")
            is_anybodys = self._claim == "email" and claims.get("email_verified") is not True
            values = None if is_anybodys else claims.get(self._claim)
            texts = [value for value in (values if isinstance(values, list) else [values]) if isinstance(value, str)]
            return [f"{LOGIN}{value}" for value in texts if value.isprintable()], person_name(claims)
        except HashHubError:
            raise
        except Exception as e:  # whatever a stranger's text does to the parser, it proves nobody
            why = str(e)[:200] if isinstance(e, JoseError | ValueError) else type(e).__name__
            told = f"the ID token is not taken ({why}); it must be the issuer's, for this hub, and of now: log in again"
            raise Unauthenticated(told, reason=Reason.ID_TOKEN_INVALID) from e

    def _signed(self, token: str) -> dict[str, Any]:
        """Return what a token says that one of the keys signed which it may mean: it need not name one."""
        for key in (keys := self._keys(jws.extract_compact(token.encode(), registry=_REGISTRY).headers())):
            try:
                return jwt.decode(token, key, registry=_REGISTRY).claims
            except BadSignatureError:
                if key is keys[-1]:
                    raise
        raise AssertionError("there is a key, or Unavailable was raised")

    def _keys(self, header: dict[str, Any]) -> list[Key]:
        at = time.monotonic()
        kind, kid = _KINDS.get(header["alg"]), header.get("kid")
        if kind is None or str(header.get("typ", "JWT")).upper() != "JWT":
            raise ValueError(f"no ID token has alg {header['alg']} and typ {header.get('typ')}")
        known = [key for key in self.keys if isinstance(key, kind) and key.alg in {None, header["alg"]}]
        known = [key for key in known if kid in {None, key.kid} and at - self._read < KEPT_SECONDS]
        if known:
            return known
        left = self._asked + ASKED_SECONDS - at
        if left <= 0:
            self._asked = at
            self.thread.wake()
        told = "the identity provider's key of this ID token is not known yet; try again, or look at `hashhub status`"
        raise Unavailable(told, reason=Reason.ISSUER_UNAVAILABLE, retry_after=max(left, 1.0))

    def read_keys(self) -> None:
        """Read the issuer's keys, as the thread does now and then. Raises Unavailable; what was known stays then."""
        self._asked = time.monotonic()
        (place,) = discover(self.issuer, "jwks_uri")
        keys = [key for one in ask(place).get("keys", ()) if (key := usable_key(one))]
        if not keys:
            raise Unavailable("there is none that signs", reason=Reason.ISSUER_UNAVAILABLE)
        self.keys, self._read = keys, time.monotonic()


def usable_key(one: Any) -> Key | None:
    """Return a key that ID tokens may be signed with, None for another or one that cannot be read."""
    try:
        key = JWKRegistry.import_key(one)
    except Exception:  # noqa: BLE001 - it does not take the others away
        return None
    is_strong = isinstance(key, ECKey) or (isinstance(key, RSAKey) and key.public_key.key_size >= _RSA_BITS)
    return key if is_strong and key.get("use", "sig") == "sig" else None


def person_name(claims: dict[str, Any]) -> str:
    """Return a name for people, which may change, and the issuer's, which is one person's for ever: `Ada <42>`."""
    subject = quote(claims["sub"], safe="!$&'()*+,/:;=@|")
    name = claims.get("preferred_username") or (claims.get("email_verified") is True and claims.get("email")) or ""
    return f"{''.join(filter(str.isprintable, str(name)))[:100]} <{subject}>".lstrip()
