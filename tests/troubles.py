"""What may be the matter with a server, as the errors that its client raises then."""

from __future__ import annotations

from jupyter_resume.errors import KeyRejected, RemoteGone, RemoteMalformed, RemoteUnreachable

from .remotes import unreachable

TROUBLES = {
    "unreachable": unreachable(),
    "overloaded": RemoteUnreachable("tracker.example answers HTTP 503.", status=503),
    "html": RemoteMalformed("tracker.example answered HTML: a proxy's login page?"),
    "key": KeyRejected("tracker.example does not take the API key.", status=401),
    "not found": RemoteGone("tracker.example has nothing at this address.", status=404),
}
