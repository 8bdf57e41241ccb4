"""Places where objects are: a prefix of an S3-compatible bucket, or a folder.

What is taken from a place that others write to is first copied to where only this program writes (`take`), read there
and published from there: what is published is what was read, on any store. Conditions on ETags would not say so much:
they are mostly MD5 digests, and two files with the same one are made in seconds.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import inspect
import os
import secrets
import stat
from collections.abc import Iterator
from datetime import UTC
from http import HTTPStatus
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from hashhub.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.local_files import open_regular, write_all
from hashhub.scans.engine import UnreadableItem
from hashhub.scans.tree import stamp_of

if TYPE_CHECKING:
    from hashhub.hook.settings import BucketSettings

_PIECE: Final = 1 << 20
MOST_KEY_BYTES: Final = (
    1024  # of an object's key: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
)
_MOST_PART_BYTES: Final = 255  # of one part of a path
_REFUSED: Final = 4  # HTTP statuses of this hundred are the request's fault
_MARK: Final = "hashhub-source"  # user metadata of what was taken, and of the copy that is published
_MOST_COPY: Final = 5 << 30  # bytes that CopyObject copies; more are copied in parts
_COPY_PART: Final = 1 << 30
_MOST_EMPTY_PAGES: Final = 1_000
_MOST_DEPTH: Final = 64  # folders in folders: each is an open file while it is listed
_HEADERS: Final = ("CacheControl", "ContentDisposition", "ContentLanguage", "ContentType", "Expires")
_PLAIN_ENCODINGS: Final = frozenset({"", "identity", "aws-chunked"})  # the last is of the request: some stores keep it
# The store refuses everything until it gets other credentials, not this object alone.
_CREDENTIALS: Final = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed"),
        *("SignatureDoesNotMatch", "TokenRefreshRequired", "AccountProblem", "NotSignedUp"),
    }
)


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it was. `name`: below its place. `stamp`: tells changes. `modified`: seconds since 1970."""

    name: str
    size: int
    stamp: str
    modified: float


class ObjectPlace(Protocol):
    """Objects below one prefix. Safe to be shared by threads. Every method raises Unavailable when the store cannot be
    reached or refuses the credentials, and PermissionDenied when it refuses this object.
    """

    url: str

    def objects(self, below: str = "") -> Iterator[StoredObject | UnreadableItem]:
        """Yield what is listed. Raises NotFound without the folder, FailedPrecondition without the bucket."""
        ...

    def look(self, name: str) -> StoredObject | None:
        """Return the object as it is now; None if it is not there."""
        ...

    def read(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield its bytes. Raises Conflict for what has changed, InvalidArgument for encoded content."""
        ...

    def take(self, stored: StoredObject, into: Any, name: str) -> bool:
        """Copy the object to another place under a new name, for `read` and `publish`. Return False when it is not
        there any more, or has changed. Raises InvalidArgument as `read` does.
        """
        ...

    def publish(self, name: str, into: Any, as_name: str, *, overwrite: bool) -> bool:
        """Copy what was taken, at once or not at all; False when another object has the name."""
        ...

    def move(self, name: str, to: str) -> bool:
        """Give an object of this place another name; return False when it is not there."""
        ...

    def is_moved(self, name: str, to: str) -> bool:
        """Return whether another name has the same upload already: a move that was cut short leaves both."""
        ...

    def remove(self, stored: StoredObject) -> bool:
        """Remove the object if it still is what was looked at; return whether this did, and mostly no other one."""
        ...

    def refuses(self, name: str, *, prefix: str = "") -> str:
        """Return why an object cannot have this name here, below `prefix`; empty where it can."""
        ...


def place_of(where: str, settings: BucketSettings) -> ObjectPlace:
    """Return the place of `s3://BUCKET/PREFIX` or a folder. Raises InvalidArgument, FailedPrecondition."""
    scheme, separator, rest = where.partition("://")
    if not separator:
        return FolderPlace(where)
    if scheme != "s3" or not rest.partition("/")[0]:
        raise InvalidArgument.field("place", f"must be s3://BUCKET/PREFIX or a folder, got {where!r}", "NOT_ALLOWED")
    return S3Place(where, settings)


def mark(place: ObjectPlace, stored: StoredObject) -> str:
    """Return what one upload is known by: its place, name and stamp, in 32 hex digits that tell none of them."""
    text = f"{place.url}\0{stored.name}\0{stored.stamp}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def is_folder(name: str, size: int) -> bool:
    """Return whether an object is what a console makes of a folder."""
    return name.endswith("/") and not size


class S3Place:
    """A prefix of a bucket."""

    def __init__(self, url: str, settings: BucketSettings) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        self.url = f"s3://{bucket}/{self._prefix}"
        self.bucket = bucket
        self._store = _store(settings)

    def refresh(self) -> None:
        """Begin a new session: credentials are looked for anew."""
        self._store.refresh()

    def objects(self, below: str = "") -> Iterator[StoredObject | UnreadableItem]:
        """Yield what is there, in the store's order, a page of the listing at a time."""
        last = ""
        token: dict[str, str] = {}
        empty = 0
        while True:
            page = self.call("list_objects_v2", Prefix=self._prefix + below, **token)
            for item in page.get("Contents", ()):
                key = item["Key"]
                if not is_folder(key, item["Size"]):
                    yield self._stored(key, item["Size"], item)
            if not page.get("IsTruncated"):
                return
            keys = [item["Key"] for item in page.get("Contents", ())]
            empty = 0 if keys else empty + 1
            if empty > _MOST_EMPTY_PAGES or (keys and keys[-1].encode() <= last.encode()):
                raise Unavailable(
                    f"the listing of {self.url} does not come to an end: the store repeats itself; report it to who "
                    "runs the store"
                )
            last = keys[-1] if keys else last
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def name_of(self, key: str) -> str:
        """Return the name of an object by its key in the bucket; empty for one that is not of this place."""
        return key.removeprefix(self._prefix) if key.startswith(self._prefix) else ""

    def look(self, name: str) -> StoredObject | None:
        """Return the object as it is now; None if it is not there."""
        head = self._head(name)
        return None if head is None else self._stored(self._prefix + name, head["ContentLength"], head)

    def read(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield its bytes, in one request."""
        from fsspec.asyn import sync

        try:
            answer = self.call("get_object", Key=self._prefix + stored.name, IfMatch=_etag(stored))
        except NotFound as e:
            raise Conflict(f"{stored.name!r} is not there any more") from e
        body = answer["Body"]
        try:
            if self._stored(self._prefix + stored.name, answer["ContentLength"], answer).stamp != stored.stamp:
                raise Conflict(f"{stored.name!r} has changed; it is read again")
            _refuse_encoded(answer)
            left = stored.size
            while left > 0:
                with _mapped(self.url):
                    piece = sync(self._store.files.loop, body.read, min(_PIECE, left))
                if not piece:
                    raise Unavailable(f"{self.url}: the store broke off in the middle of an object; it is read again")
                left -= len(piece)
                yield piece
        finally:
            with contextlib.suppress(Exception):  # the answer is had, or an error is on its way
                sync(self._store.files.loop, _closed, body)

    def take(self, stored: StoredObject, into: S3Place, name: str) -> bool:
        """Copy the object within the store, with its headers and a mark by which the published copy is known again."""
        head = self._head(stored.name)
        if head is None or self._stored(self._prefix + stored.name, head["ContentLength"], head).stamp != stored.stamp:
            return False
        _refuse_encoded(head)
        with_mark: dict[str, Any] = {
            **{header: head[header] for header in _HEADERS if header in head},
            "Metadata": {**head.get("Metadata", {}), _MARK: mark(self, stored)},
        }
        try:
            self._copy(stored.name, stored.size, into, name, MetadataDirective="REPLACE", **with_mark)
        except NotFound:
            return False
        return True

    def publish(self, name: str, into: S3Place, as_name: str, *, overwrite: bool) -> bool:
        """Copy what was taken. A copy carries the mark of its upload."""
        head = self._head(name)
        if head is None:
            raise Conflict(f"{name!r} is not there any more")
        there = into._head(as_name)
        if there is not None:
            marked = head.get("Metadata", {}).get(_MARK)
            if marked and there.get("Metadata", {}).get(_MARK) == marked:
                return True
            if not overwrite:
                return False
        self._copy(name, head["ContentLength"], into, as_name)
        return True

    def move(self, name: str, to: str) -> bool:
        """Copy, then remove."""
        head = self._head(name)
        if head is None:
            return False
        try:
            self._copy(name, head["ContentLength"], self, to)
        except NotFound:
            return False
        self.call("delete_object", Key=self._prefix + name)
        return True

    def is_moved(self, name: str, to: str) -> bool:
        """Compare the marks of the uploads."""
        marks = [(self._head(one) or {}).get("Metadata", {}).get(_MARK) for one in (name, to)]
        return bool(marks[0]) and marks[0] == marks[1]

    def remove(self, stored: StoredObject) -> bool:
        """Remove it on condition of its ETag, where the store knows conditions. A bucket with versions keeps the
        content as an older version: removing that, too, would bring the one before it back.
        """
        head = self._head(stored.name)
        if head is None:
            return False
        key = self._prefix + stored.name
        if self._stored(key, head["ContentLength"], head).stamp != stored.stamp:
            return False
        try:
            self.call("delete_object", Key=key, IfMatch=_etag(stored))
        except FailedPrecondition:  # this store has no conditions on deletion
            self.call("delete_object", Key=key)
        except (Conflict, NotFound):
            return False
        return True

    def refuses(self, name: str, *, prefix: str = "") -> str:
        """Refuse names with `.` or `..`: some part of the way to a reader takes it for a step up."""
        if not name or any(part in {".", ".."} for part in name.split("/")):
            return "it has a part that is . or .."
        size = len(f"{self._prefix}{prefix}{name}".encode())
        return f"its key would have {size} bytes, and {MOST_KEY_BYTES} are allowed" if size > MOST_KEY_BYTES else ""

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            return self.call("head_object", Key=self._prefix + name)
        except NotFound:
            return None

    def _stored(self, key: str, size: int, item: dict[str, Any]) -> StoredObject:
        # A listing tells milliseconds in some stores, and a header seconds.
        modified = int(item["LastModified"].astimezone(UTC).timestamp())
        etag = item["ETag"].strip('"')
        return StoredObject(
            name=key.removeprefix(self._prefix),
            size=size,
            stamp=f"{etag} {size} {modified}",
            modified=float(modified),
        )

    def _copy(self, name: str, size: int, into: S3Place, to: str, **more: Any) -> None:
        source = {"Bucket": self.bucket, "Key": self._prefix + name}
        key = into._prefix + to
        if size <= _MOST_COPY:
            into.call("copy_object", Key=key, CopySource=source, **more)
            return
        more.pop("MetadataDirective", None)
        if not more:  # unlike a copy in one, one in parts takes over nothing
            head = self._head(name) or {}
            more = {header: head[header] for header in (*_HEADERS, "Metadata") if header in head}
        upload = into.call("create_multipart_upload", Key=key, **more)["UploadId"]
        try:
            parts = [
                {
                    "PartNumber": number,
                    "ETag": into.call(
                        "upload_part_copy",
                        Key=key,
                        UploadId=upload,
                        PartNumber=number,
                        CopySource=source,
                        CopySourceRange=f"bytes={first}-{min(first + _COPY_PART, size) - 1}",
                    )["CopyPartResult"]["ETag"],
                }
                for number, first in enumerate(range(0, size, _COPY_PART), 1)
            ]
            into.call("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(HashHubError):
                into.call("abort_multipart_upload", Key=key, UploadId=upload)
            raise

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Return what the store answers to a method of its client about this bucket. Raises HashHubError."""
        with _mapped(self.url):
            answer: dict[str, Any] = self._store.files.call_s3(method, Bucket=self.bucket, **arguments)
            return answer


class FolderPlace:
    """A folder. Links are never followed, neither as files nor on the way to them."""

    def __init__(self, path: str) -> None:
        self._root = Path(path).absolute()
        self.url = str(self._root)

    def objects(self, below: str = "") -> Iterator[StoredObject | UnreadableItem]:
        """Yield the files, a folder's entries as they are read."""
        try:
            top = self._folder(Path(below).parts)
        except NotFound:
            if below:
                return
            raise
        open_folders = [(below.rstrip("/"), top, os.scandir(top))]
        try:
            while open_folders:
                path, folder, entries = open_folders[-1]
                entry = next(entries, None)
                if entry is None:
                    _close(*open_folders.pop()[1:])
                    continue
                name = f"{path}/{entry.name}" if path else entry.name
                try:
                    with _mapped(self.url):
                        status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            if len(open_folders) >= _MOST_DEPTH:
                                raise InvalidArgument(f"lies more than {_MOST_DEPTH} folders deep")
                            inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                            open_folders.append((name, inner, os.scandir(inner)))
                            continue
                except NotFound:
                    continue  # it went since it was listed
                except HashHubError as e:
                    yield UnreadableItem(name=name, error=e)
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield of_file(name, status)
                else:
                    yield UnreadableItem(name=name, error=InvalidArgument("is a link or no file, and is not read"))
        finally:
            for _, folder, entries in open_folders:
                _close(folder, entries)

    def look(self, name: str) -> StoredObject | None:
        """Return the file as it is now; None if it is not there."""
        try:
            with self._opened(name) as file:
                return of_file(name, os.fstat(file))
        except NotFound:
            return None

    def read(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield its bytes; at the end, too, it must be as it was."""
        try:
            with self._opened(stored.name) as file:
                if of_file(stored.name, os.fstat(file)) != stored:
                    raise Conflict(f"{stored.name!r} has changed; it is read again")
                left = stored.size
                while left >= 0 and (piece := os.read(file, _PIECE)):  # one that grows might have no end
                    left -= len(piece)
                    yield piece
                if of_file(stored.name, os.fstat(file)) != stored:
                    raise Conflict(f"{stored.name!r} changed while it was read; it is read again")
        except NotFound as e:
            raise Conflict(f"{stored.name!r} is not there any more") from e

    def take(self, stored: StoredObject, into: FolderPlace, name: str) -> bool:
        """Copy the bytes into a file that nobody else has open."""
        try:
            into._write(name, self.read(stored), mode=0o600, folder_mode=0o700)
        except Conflict:
            return False
        return True

    def publish(self, name: str, into: FolderPlace, as_name: str, *, overwrite: bool) -> bool:
        """Copy the bytes. What is published already has the same bytes."""
        with self._opened(name) as source:
            try:
                into._write(as_name, _pieces(source), mode=0o644, folder_mode=0o755, replace=overwrite)
            except AlreadyExists:
                os.lseek(source, 0, os.SEEK_SET)
                try:
                    with into._opened(as_name) as there:
                        return all(a == b for a, b in zip_longest(_pieces(source), _pieces(there)))
                except HashHubError:
                    return False  # a folder, or a link
        return True

    def move(self, name: str, to: str) -> bool:
        """Rename the file."""
        *before, old = Path(name).parts
        *after, new = Path(to).parts
        try:
            with _mapped(self.url), self._at(before) as source, self._at(after, make=0o700) as target:
                os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
        except NotFound:
            return False
        self._prune(before)
        return True

    def is_moved(self, name: str, to: str) -> bool:
        """Compare the files: a local file system renames at once or not at all, others may leave both names."""
        files = [self.look(one) for one in (name, to)]
        return None not in files and len({one.stamp for one in files if one is not None}) == 1

    def remove(self, stored: StoredObject) -> bool:
        """Remove the file if it still is what was looked at."""
        *folders, name = Path(stored.name).parts
        try:
            with _mapped(self.url), self._at(folders) as folder:
                if of_file(stored.name, os.stat(name, dir_fd=folder, follow_symlinks=False)) != stored:
                    return False
                os.unlink(name, dir_fd=folder)
        except NotFound:
            return False
        return True

    def refuses(self, name: str, *, prefix: str = "") -> str:
        """Refuse names of which no file can be made."""
        parts = f"{prefix}{name}".split("/")
        if os.fsencode(name).decode("utf-8", "replace") != name:
            return "it is not UTF-8, and no record could hold it"
        if any(part in {"", ".", ".."} for part in parts):
            return "it has a part that is empty, . or .."
        if any(len(os.fsencode(part)) > _MOST_PART_BYTES for part in parts) or len(parts) > _MOST_DEPTH:
            return f"a part has more than {_MOST_PART_BYTES} bytes, or it lies more than {_MOST_DEPTH} folders deep"
        return ""

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        *folders, last = Path(name).parts
        with contextlib.ExitStack() as stack:
            with _mapped(self.url):
                folder = stack.enter_context(self._at(folders))
                file = open_regular(last, folder=folder, follow=False)
                stack.callback(os.close, file)
            yield file

    def _write(self, name: str, pieces: Iterator[bytes], *, mode: int, folder_mode: int, replace: bool = False) -> None:
        """Write a file that is there whole, or not. Raises AlreadyExists unless it may be replaced."""
        *folders, last = Path(name).parts
        with _mapped(self.url), self._at(folders, make=folder_mode) as folder, contextlib.ExitStack() as stack:
            file, source = _nameless(folder, stack)
            for piece in pieces:
                write_all(file, piece)
            os.fchmod(file, mode)
            os.fsync(file)
            if replace:
                with contextlib.suppress(FileNotFoundError):
                    if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise AlreadyExists(f"{self.url}: what is there by that name is no file, and is not replaced")
                source = source if source.startswith(PARTIAL) else _aside(folder, source, stack)
                os.rename(source, last, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                _link(folder, source, last)
            os.fsync(folder)

    @contextlib.contextmanager
    def _at(self, parts: Any, *, make: int | None = None) -> Iterator[int]:
        folder = self._folder(tuple(parts), make=make)
        try:
            yield folder
        finally:
            os.close(folder)

    def _folder(self, parts: tuple[str, ...] | list[str], *, make: int | None = None) -> int:
        """Open a folder below the root, step by step, so that no link leads elsewhere."""
        with _mapped(self.url):
            if make is not None:
                self._root.mkdir(mode=make, parents=True, exist_ok=True)
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in parts:
                try:
                    if make is not None:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, mode=make, dir_fd=folder)
                    inner = os.open(part, _FOLDER, dir_fd=folder)
                finally:
                    os.close(folder)
                folder = inner
            return folder

    def _prune(self, folders: list[str]) -> None:
        """Remove the folders of a name that are empty now."""
        for count in range(len(folders), 1, -1):
            try:
                with self._at(folders[: count - 1]) as outer:
                    os.rmdir(folders[count - 1], dir_fd=outer)
            except (OSError, HashHubError):
                return


PARTIAL: Final = ".hashhub-partial-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _nameless(folder: int, stack: contextlib.ExitStack) -> tuple[int, str]:
    """Open a file that is lost if we are killed, or on NFS has a secret name; return it and its path to link."""
    try:
        file = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as e:
        if e.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT}:
            raise
        name = f"{PARTIAL}{secrets.token_hex(8)}"
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        stack.callback(_discard, folder, name)
    else:
        name = f"/proc/self/fd/{file}"
    stack.callback(os.close, file)
    return file, name


def _aside(folder: int, source: str, stack: contextlib.ExitStack) -> str:
    """Give a nameless file a name from which it can be renamed over another."""
    name = f"{PARTIAL}{secrets.token_hex(8)}"
    stack.callback(_discard, folder, name)
    _link(folder, source, name)
    return name


def _link(folder: int, source: str, name: str) -> None:
    # A path in /proc is a link to be followed to the file itself; any other is the file's own name.
    os.link(source, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=source.startswith("/proc/"))


def _discard(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _close(folder: int, entries: Any) -> None:
    entries.close()
    os.close(folder)


def of_file(name: str, status: os.stat_result) -> StoredObject:
    """Return a file by what is known of it without reading it."""
    return StoredObject(name=name, size=status.st_size, stamp=stamp_of(status), modified=status.st_mtime)


def _pieces(file: int) -> Iterator[bytes]:
    return iter(functools.partial(os.read, file, _PIECE), b"")


def _refuse_encoded(head: dict[str, Any]) -> None:
    """Raise InvalidArgument for a Content-Encoding, which uploaders may add: browsers show what nobody read."""
    encoding = str(head.get("ContentEncoding") or "")
    if not {word.strip().lower() for word in encoding.split(",")} <= _PLAIN_ENCODINGS:
        raise InvalidArgument(
            f"it has the Content-Encoding {encoding[:40]!r}, so that readers are shown other bytes than are checked; "
            "upload it as it is"
        )


def _etag(stored: StoredObject) -> str:
    return f'"{stored.stamp.split(" ")[0]}"'


class _Store:
    """A session with a store, shared by the places in it."""

    def __init__(self, settings: BucketSettings) -> None:
        self._settings = settings
        self.refresh()

    def refresh(self) -> None:
        try:
            import s3fs
        except ImportError as e:
            raise FailedPrecondition(
                "buckets need s3fs; install it with: pip install 'hashhub[hook-bucket]'", reason=Reason.MISSING_EXTRA
            ) from e
        settings = self._settings
        config: dict[str, Any] = {
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": settings.jobs + 8,
            "s3": {"addressing_style": "path" if settings.path_style else "auto"},
        }
        self.files = s3fs.S3FileSystem(
            endpoint_url=settings.endpoint or None,
            client_kwargs={"region_name": settings.region} if settings.region else {},
            config_kwargs=config,
            skip_instance_cache=True,
            use_listings_cache=False,
        )


@functools.lru_cache(maxsize=8)
def _store(settings: BucketSettings) -> _Store:
    """Return the session of these settings: to begin one takes a second, and a worker has three places."""
    return _Store(settings)


async def _closed(body: Any) -> None:
    closing = body.close()
    if inspect.isawaitable(closing):
        await closing


@contextlib.contextmanager
def _mapped(url: str) -> Iterator[None]:
    """Turn the errors of a file system, a bucket or the network into ours."""
    try:
        yield
    except HashHubError:
        raise
    except FileExistsError as e:
        raise AlreadyExists(f"{url}: the name is taken") from e
    except Exception as e:  # of botocore, aiohttp, s3fs and the system; more than can be listed
        code, status = _s3_error(e)
        if code in _CREDENTIALS or type(e).__name__ in {"NoCredentialsError", "PartialCredentialsError"}:
            raise Unavailable(
                f"{url}: the store refuses the credentials ({code or type(e).__name__}); renew them, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from e
        if status in {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED} or code in {
            "PreconditionFailed",
            "ConditionalRequestConflict",
        }:
            raise Conflict(f"{url}: the object has changed meanwhile") from e
        if status == HTTPStatus.NOT_IMPLEMENTED or code == "NotImplemented":
            raise FailedPrecondition(f"{url}: the store cannot do this ({code})") from e
        if code == "NoSuchBucket":
            raise FailedPrecondition(f"{url}: there is no such bucket; check the address and the endpoint") from e
        if status == HTTPStatus.NOT_FOUND or isinstance(e, FileNotFoundError):
            raise NotFound(f"{url}: it is not there") from e
        if status == HTTPStatus.FORBIDDEN or isinstance(e, PermissionError):
            raise PermissionDenied(
                f"{url}: access is denied; see docs/hook/bucket.md for what the worker must do"
            ) from e
        if isinstance(e, OSError) and not code:
            if e.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise LimitExceeded(f"{url}: the disk is full; make room", reason=Reason.DISK_FULL) from e
            if e.errno in {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EBUSY}:
                raise InvalidArgument(f"{url}: the name cannot be used here ({e.strerror})") from e
        if status is not None and status // 100 == _REFUSED and status != HTTPStatus.TOO_MANY_REQUESTS:
            raise InvalidArgument(f"{url}: the store refuses the request ({code or status})") from e
        raise Unavailable(
            f"{url}: the store cannot be reached ({code or type(e).__name__}); check the endpoint and the network"
        ) from e


def _s3_error(e: BaseException) -> tuple[str, int | None]:
    """Return the store's code and HTTP status, from the error or what it was raised from."""
    seen: BaseException | None = e
    while seen is not None:
        answer = getattr(seen, "response", None)
        if isinstance(answer, dict):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return str(answer.get("Error", {}).get("Code", "")), status
        seen = seen.__cause__ or seen.__context__
    return "", None
