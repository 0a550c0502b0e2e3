"""HTTP calls of the node: to its metadata service, and to its cloud to delete itself."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .files import Json

_ANSWER_LIMIT = 64 * 1024


def make_call(call: Json) -> bytes:
    """Make the call; raises ``OSError`` unless it is answered 2xx."""
    import http.client
    from urllib.parse import urlsplit

    service = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = urlsplit(str(call["url"]).replace("$GCE_METADATA_HOST", service))
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=10)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request(str(call.get("method", "GET")), target, headers=dict(call.get("headers") or {}))
        answer = connection.getresponse()
        body = answer.read(_ANSWER_LIMIT)
    except http.client.HTTPException as error:
        raise OSError(f"no answer of HTTP: {error!r}") from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise OSError(f"HTTP {answer.status} from {url.netloc}{url.path}")
    return body
