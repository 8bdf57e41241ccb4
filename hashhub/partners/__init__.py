"""Partners' own clients at this hub: their routes and words, translated to the hub's calls and back.

    server ── PartnerRequest ──► a PartnerDoor ── hashhub.v1 ──► the same calls, roles, terms and limits as everybody's
           ◄── PartnerAnswer ───               ◄─────────────

Nothing is decided here: what a caller may do or see, the calls say. What a partner's words cannot say is refused or
said beside them, never guessed.
"""

from hashhub.partners.hma import HMADoor
from hashhub.partners.ncmec import NCMECDoor
from hashhub.partners.requests import PartnerAnswer, PartnerDoor, PartnerRequest
from hashhub.partners.stopncii import StopNCIIDoor
from hashhub.partners.taxii import TAXIIDoor
from hashhub.partners.threatexchange import ThreatExchangeDoor

__all__ = [
    "HMADoor", "NCMECDoor", "PartnerAnswer", "PartnerDoor", "PartnerRequest", "StopNCIIDoor", "TAXIIDoor",
    "ThreatExchangeDoor",
]  # fmt: skip
