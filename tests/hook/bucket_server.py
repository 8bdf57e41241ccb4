"""A store that speaks S3, in a process of its own, reached over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.config
import httpx

KEYS = {"AWS_ACCESS_KEY_ID": "worker", "AWS_SECRET_ACCESS_KEY": "synthetic", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def store_server() -> Iterator[str]:
    """Start moto's server on a free port of this machine; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until = time.monotonic() + 180
            while True:
                try:
                    httpx.get(f"{url}/moto-api/", timeout=5)
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, "moto's server did not start"
                    assert time.monotonic() < until, "moto's server did not answer"
                    time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def client(url: str, service: str = "s3") -> Any:
    """Return a client as an app has one."""
    return boto3.client(
        service,
        endpoint_url=url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )


def contents(app: Any, bucket: str) -> dict[str, bytes]:
    """Return all objects of a bucket."""
    pages = app.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    return {key: app.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
