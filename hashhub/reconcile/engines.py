"""Where queries over an extract run: in this process, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.cancellation import check
from hashhub.errors import HashHubError, Unavailable, missing_extra
from hashhub.reconcile.extract import Extract, ExtractManifest
from hashhub.reconcile.results import Backend

if TYPE_CHECKING:
    from types import ModuleType

_ADDRESS: Final = "RAY_ADDRESS"  # of a cluster, as Ray itself reads it; without it one starts on this machine
_QUIET: Final = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
_LOOK_SECONDS: Final = 1.0  # between looks at whether the answer is still wanted


def run(extract: Extract, queries: Sequence[str], connection: Any, engine: Backend) -> Iterator[Any]:
    """Yield the result of each query over an extract, an Arrow table, in their order. On Ray each is a task with a
    connection of its own, without temporary tables; nodes see the extract under the same path. The cluster is
    RAY_ADDRESS's, or started here meanwhile. Raises FailedPrecondition without `hashhub[ray]`.
    """
    if engine is Backend.RAY:
        yield from _on_ray(extract, queries)
        return
    for query in queries:
        check()
        yield connection.sql(query).to_arrow_table()


def _on_ray(extract: Extract, queries: Sequence[str]) -> Iterator[Any]:
    with _cluster() as ray:
        task = ray.remote(max_retries=1)(_answer)
        told = (str(extract.directory.resolve()), msgspec.json.encode(extract.manifest), extract.allowed)
        waiting = [task.remote(*told, query) for query in queries]
        try:
            for each in waiting:
                while not ray.wait([each], timeout=_LOOK_SECONDS)[0]:
                    check()
                yield ray.get(each)
        except ray.exceptions.RayTaskError as e:
            if isinstance(e.cause, HashHubError):
                raise e.cause from e
            raise HashHubError("a task failed on the Ray cluster; see its logs") from e
        except ray.exceptions.RayError as e:
            raise Unavailable("the Ray cluster did not answer; look at its nodes, then retry") from e
        finally:
            for each in waiting:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(each)


def _answer(directory: str, manifest: bytes, hash_sets: frozenset[str] | None, query: str) -> Any:
    """Answer a query in a worker process."""
    extract = Extract(Path(directory), msgspec.json.decode(manifest, type=ExtractManifest), hash_sets)
    with extract.connect() as connection:
        return connection.sql(query).to_arrow_table()


@contextlib.contextmanager
def _cluster() -> Iterator[ModuleType]:
    """Give Ray, connected; a cluster that was started for this is stopped again."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own plans
        try:
            import ray
        except ImportError as e:
            raise missing_extra(e, "ray", what="reconciliation") from e
        if ray.is_initialized():
            yield ray
            return
        with _quiet():
            _start(ray)
            try:
                yield ray
            finally:
                ray.shutdown()
                gc.collect()  # Ray does not wait for the processes that it ends, and Python warns of each later


def _start(ray: ModuleType) -> None:
    address = os.environ.get(_ADDRESS)
    # One of our own is reached from this machine only.
    own = {"include_dashboard": False, "num_cpus": 2, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **({} if address else own),
        )
    except Exception as e:  # Ray has no class of its own for a node that takes longer than 30 s to start
        what = f"cannot be reached; check {_ADDRESS}" if address else "did not start on this machine; try again"
        raise Unavailable(f"the Ray cluster {what}") from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's own advice off the terminal."""
    log = logging.getLogger("ray")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
