"""`hashhub login` and `logout`: a person's session; and `whoami`."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from hashhub.cli import logins, main
from hashhub.cli.session import Session, command, spelled
from hashhub.cli.terminal import clean, minute, note
from hashhub.errors import Reason, Unauthenticated, Unavailable

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
PAUSE: Final = 5.0  # seconds, unless the issuer says another; and how much longer where it asks to be asked less often
_RETRY_SECONDS: Final = 40.0  # in which a hub has read a key that its issuer has just begun to sign with
_CODE_SECONDS: Final = 1800.0  # for which a code is asked about, where the issuer does not say how long it holds
_TOKEN_BYTES: Final = 7_500  # of the 8 KB that gRPC takes of all that comes with a call
_SCOPE: Final = "openid profile email"


@command(main, "login")
@click.option("--issuer", envvar="HASHHUB_ISSUER", required=True, metavar="URL", help="Or HASHHUB_ISSUER.")
@click.option("--client-id", envvar="HASHHUB_CLIENT_ID", required=True, metavar="ID", help="Or HASHHUB_CLIENT_ID.")
@click.option("--scope", default=_SCOPE, show_default=True, metavar="TEXT", help="What to ask the issuer for.")
def login(session: Session, *, issuer: str, client_id: str, scope: str) -> None:
    """Log in as a person, with a browser on any machine. Commands that are given no other token use the session."""
    from hashhub.openid import ask, discover

    device, tokens = discover(issuer, "device_authorization_endpoint", "token_endpoint")
    answer = ask(device, {"client_id": client_id, "scope": scope})
    form = {"grant_type": _GRANT, "client_id": client_id, "device_code": str(answer.get("device_code"))}
    url = answer.get("verification_uri_complete", answer.get("verification_uri"))
    pause = _seconds(answer, "interval", PAUSE)
    end = time.monotonic() + _seconds(answer, "expires_in", _CODE_SECONDS)
    if url:
        note(f"open {clean(str(url))} and enter {clean(str(answer.get('user_code')))}")
        answer = {"error": "authorization_pending"}
    while (error := str(answer.get("error") or "")) in {"authorization_pending", "slow_down"}:
        pause += PAUSE if error == "slow_down" else 0
        time.sleep(pause)
        try:
            answer = ask(tokens, form)
        except Unavailable:
            answer = {"error": "slow_down"}  # away for a moment, or too busy (RFC 8628, 3.5)
        if time.monotonic() > end and "id_token" not in answer:
            answer = {"error": "expired_token", "error_description": "nobody entered the code in time"}
    token = str(answer.get("id_token"))
    if "." not in token:
        why = answer.get("error_description", error or "it gave no ID token")
        raise Unauthenticated(f"the identity provider refused: {str(why)[:200]}", reason=Reason.LOGIN_REFUSED)
    if len(token) > _TOKEN_BYTES:
        raise Unauthenticated(
            f"the ID token has {len(token):,} bytes, and no connection takes more than {_TOKEN_BYTES:,} of one; have "
            "the identity provider put less into it, such as this hub's groups alone",
            reason=Reason.LOGIN_REFUSED,
        )
    with session.connect(token=token, retry_seconds=_RETRY_SECONDS) as hub:
        secret, until = hub.begin_session()
    where = logins.keep(session.server, secret, until)
    value = {"server": session.server, "expire_time": until, "kept_in": where}
    session.answer(value, f"logged in until {minute(until)}; kept in {clean(where)}")


def _seconds(answer: dict[str, Any], name: str, usual: float) -> float:
    value = answer.get(name)
    return value if isinstance(value, int | float) and 0 <= value <= _CODE_SECONDS else usual


@command(main, "logout")
def logout(session: Session) -> None:
    """Forget the session for this hub. Where somebody has copied it, it works until its end."""
    logins.forget(session.server)
    session.show_deleted(session.server)


@command(main, "whoami")
def whoami(session: Session) -> None:
    """Show who calls: the token, what it may do, the person, and the groups of its contributor."""
    with session.connect() as hub:
        caller = hub.caller()
    lines = [f"{caller.name}: {spelled(caller.role)}{f' of {caller.contributor}' if caller.contributor else ''}"]
    lines += [f"person: {clean(caller.person)}"] if caller.person else []
    lines += [f"groups: {', '.join(caller.groups)}"] if caller.groups else []
    lines += ["what is grave takes a second person here"] if caller.second_person else []
    session.answer(caller, *lines)
