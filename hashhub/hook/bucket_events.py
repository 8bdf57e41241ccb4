"""Events of a bucket: what a queue of SQS says has been put into the quarantine. Each is only a hint:
anybody who can write to the queue can forge one, and none has to come.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html (in a queue directly,
or by SNS) and .../ev-events.html (by EventBridge, where keys are not encoded).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

import msgspec

from hashhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Reason, Unavailable

_MOST_MESSAGES: Final = 10  # that SQS gives at once
WAIT_SECONDS: Final = 20  # for which SQS lets a call wait for messages
_MARGIN_SECONDS: Final = 10
_MOST_NAMES: Final = 1_000  # of one message; what more it names is found when the quarantine is listed
_CREATED: Final = "ObjectCreated:"
_CREATED_BRIDGE: Final = "Object Created"
_TEST: Final = "s3:TestEvent"


class _BucketName(msgspec.Struct):
    name: str


class _ObjectKey(msgspec.Struct):
    key: str


class _S3(msgspec.Struct):
    bucket: _BucketName
    object: _ObjectKey


class _Record(msgspec.Struct, rename="camel"):
    event_name: str
    s3: _S3


class _Message(msgspec.Struct):
    """Each of the forms that are understood has one of these."""

    records: list[_Record] | None = msgspec.field(name="Records", default=None)
    event: str = msgspec.field(name="Event", default="")
    wrapped: str | None = msgspec.field(name="Message", default=None)
    kind: str = msgspec.field(name="detail-type", default="")
    detail: _S3 | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `keys`: of objects of the bucket; None: not understood. `receipt`: deletes it."""

    id: str
    receipt: str
    keys: tuple[str, ...] | None


def keys_of(text: str, bucket: str) -> tuple[str, ...] | None:
    """Return the keys that a message says were put into this bucket; None for a message that is not understood."""
    try:
        message = msgspec.json.decode(text, type=_Message)
        if message.wrapped is not None and message.records is None:
            message = msgspec.json.decode(message.wrapped, type=_Message)
        named: list[tuple[str, str]] = []
        if message.records is not None:
            created = (r.s3 for r in message.records if r.event_name.removeprefix("s3:").startswith(_CREATED))
            named = [(s3.bucket.name, unquote_plus(s3.object.key, errors="strict")) for s3 in created]
        elif message.detail is not None and message.kind:
            if message.kind == _CREATED_BRIDGE:
                named = [(message.detail.bucket.name, message.detail.object.key)]
        elif message.event != _TEST:
            return None
    except (msgspec.MsgspecError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    keys = dict.fromkeys(key for of, key in named if of == bucket)
    return tuple(keys)[:_MOST_NAMES]


class EventQueue:
    """A queue of SQS. Thread-safe. Methods raise Unavailable, PermissionDenied and FailedPrecondition."""

    def __init__(self, url: str, *, region: str = "", bucket: str) -> None:
        """Raises FailedPrecondition when botocore is missing, InvalidArgument for what cannot be a queue's URL."""
        try:
            import botocore.session
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as e:
            raise FailedPrecondition(
                "queues need botocore; install it with: pip install 'hashhub[hook-bucket]'", reason=Reason.MISSING_EXTRA
            ) from e
        self._url, self._bucket = url, bucket
        self._errors = (BotoCoreError, ClientError)
        parts = urlsplit(url)
        named = re.fullmatch(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?", parts.hostname or "")
        try:
            self._client: Any = botocore.session.get_session().create_client(
                "sqs",
                region_name=named[1] if named else region or None,
                endpoint_url=f"{parts.scheme}://{parts.netloc}",
                config=Config(
                    connect_timeout=_MARGIN_SECONDS,
                    read_timeout=WAIT_SECONDS + _MARGIN_SECONDS,
                    retries={"total_max_attempts": 2},
                ),
            )
        except (*self._errors, ValueError) as e:
            raise InvalidArgument.field("bucket.events", f"cannot be used: {type(e).__name__}") from e

    def receive(self, *, wait: bool = True) -> list[Notice]:
        """Return up to ten messages; none after 20 seconds without one, or at once. What is not deleted comes again."""
        seconds = WAIT_SECONDS if wait else 0
        answer = self._ask("receive_message", MaxNumberOfMessages=_MOST_MESSAGES, WaitTimeSeconds=seconds)
        return [
            Notice(id=m["MessageId"], receipt=m["ReceiptHandle"], keys=keys_of(m["Body"], self._bucket))
            for m in answer.get("Messages", ())
        ]

    def delete(self, notice: Notice) -> None:
        """Delete a message."""
        self._ask("delete_message", ReceiptHandle=notice.receipt)

    def _ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, method)(QueueUrl=self._url, **arguments)
        except self._errors as e:
            response = getattr(e, "response", {})
            code = str(response.get("Error", {}).get("Code", "")) or type(e).__name__
            if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
                raise FailedPrecondition(f"{self._url}: there is no such queue; check bucket.events") from e
            if "AccessDenied" in code:
                raise PermissionDenied(
                    f"{self._url}: access is denied; see docs/hook/bucket.md for what the worker must do"
                ) from e
            raise Unavailable(
                f"{self._url}: the queue cannot be asked ({code}); check the network and the credentials"
            ) from e
        return answer
