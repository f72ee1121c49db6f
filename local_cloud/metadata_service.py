"""Emulate EC2's instance metadata service (IMDSv2) for several instances, each under a path of its own.

For an SDK with ``http://…/<instance id>`` as its metadata endpoint, it behaves as on that instance.
Posting JSON to ``/<instance id>/interrupt`` or ``/<instance id>/rebalance`` emulates EC2's notices.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound, Unauthorized
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - a header's name

_ROUTES = Map(
    [
        Rule("/<instance>/latest/api/token", endpoint="token", methods=["PUT"]),
        Rule("/<instance>/latest/meta-data/<path:item>", endpoint="item", methods=["GET"]),
        Rule("/<instance>/latest/user-data", endpoint="user-data", methods=["GET"]),
        Rule("/<instance>/interrupt", endpoint="interrupt", methods=["POST"]),
        Rule("/<instance>/rebalance", endpoint="rebalance", methods=["POST"]),
    ]
)
_NOTICE_ITEMS = {"interrupt": "spot/instance-action", "rebalance": "events/recommendations/rebalance"}


class MetadataService:
    """Serves metadata on a free port of the loopback interface, in a thread of its own."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe()
        self._notices: dict[tuple[str, str], str] = {}
        self._user_data: dict[str, str] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler)
        threading.Thread(target=self._server.serve_forever, name="metadata", daemon=True).start()

    def endpoint(self, instance_id: str) -> str:
        """The metadata endpoint of an instance."""
        return f"http://127.0.0.1:{self._server.port}/{instance_id}"

    def set_user_data(self, instance_id: str, text: str) -> None:
        """Sets an instance's user data."""
        self._user_data[instance_id] = text

    def set_tags(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Sets an instance's tags in its metadata."""
        self._tags[instance_id] = dict(tags)

    def close(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._respond(Request(environ))(environ, start_response)

    def _respond(self, request: Request) -> Response | HTTPException:
        try:
            endpoint, arguments = _ROUTES.bind_to_environ(request.environ).match()
        except HTTPException as error:
            return error
        instance = str(arguments["instance"])
        if endpoint == "token":
            return Response(self._token)
        if endpoint in _NOTICE_ITEMS:
            self._notices[instance, _NOTICE_ITEMS[endpoint]] = json.dumps(request.get_json())
            return Response(status=204)
        if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, ""), self._token):
            return Unauthorized()
        if endpoint == "user-data":
            user_data = self._user_data.get(instance)
            return NotFound() if user_data is None else Response(user_data)
        if arguments["item"] == "instance-id":
            return Response(instance)
        kind, _, key = str(arguments["item"]).partition("tags/instance/")
        if key and not kind:
            tag = self._tags.get(instance, {}).get(key)
            return NotFound() if tag is None else Response(tag)
        notice = self._notices.get((instance, str(arguments["item"])))
        return NotFound() if notice is None else Response(notice, content_type="application/json")


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing: every worker sends a request every few seconds."""
