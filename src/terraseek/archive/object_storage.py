"""What is wrong with object storage that does not answer, or says no: told apart from damage to what lies there.

Lance passes the failures of the `object_store` crate on as text, and in two forms: as the fields of its structures
while it connects (``kind: Connect``, ``status: 403``), in sentences later (``error sending request``, ``status code:
403``).
"""

from __future__ import annotations

import re

from ..errors import TerraseekError, UnreachableError, UsageError
from ..images import printable

__all__ = ["storage_failure"]

_HOST = re.compile(r"https?://([^/\s\"')]+)")
_STATUS = re.compile(r"\bstatus(?: code)?: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w+)</Code>")

_UNREACHED = {
    "connection refused": "it refuses the connection",
    "dns error": "its name is not known",
    "kind: timeout": "it does not answer in time",
    "timed out": "it does not answer in time",
    "certificate": "its certificate is not trusted",
    "error sending request": "the connection fails",
    "http error": "the connection breaks off",
    "http(": "the connection breaks off",
}
_NO_CREDENTIALS = ("failed to get aws credentials", "tokenrequest", "no azure account", "missing credentials")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_TROUBLE = {
    "nobody": "no credentials were found while {doing}; set {keys}",
    "denied": "{host} denies access while {doing} ({said}); check the credentials ({keys}) and what they may do in the "
    "bucket {bucket!r}",
    "failing": "{host} fails while {doing} ({said}); try again later",
    "elsewhere": "{host} does not take the request while {doing} ({said}); check region and endpoint (AWS_REGION, "
    "AWS_ENDPOINT_URL)",
    "plain": "plain http to {host} is not used; take https, or set allow_http in storage_options",
    "unreached": "{host} cannot be reached while {doing} ({said}); check the endpoint (AWS_ENDPOINT_URL for s3://) and "
    "this machine's network",
}


def storage_failure(text: str, uri: str, doing: str) -> TerraseekError | None:
    """The error for what Lance says, where that is about the storage as a whole and not about an archive's files.

    Args:
        text: all that it says.
        uri: of the archive.
        doing: what was being done.
    """
    scheme, _, path = uri.partition("://")
    host, code, status = (pattern.search(text) for pattern in (_HOST, _CODE, _STATUS))
    bucket = path.partition("/")[0]
    shown = printable(host[1]) if host else scheme
    if code and code[1] == "NoSuchBucket":
        return UsageError(f"{uri}: there is no bucket {bucket!r} at {shown}; make it, or choose another place")
    kind, said = _trouble(text.lower(), int(status[1]) if status else None)
    if kind is None:
        return None
    said = f"status {status[1]}, {code[1]}" if status and code else said
    advice = _TROUBLE[kind].format(
        host=shown, said=said, doing=doing, bucket=bucket, keys=_CREDENTIALS.get(scheme, "them")
    )
    return UnreachableError(f"{uri}: {advice}")


def _trouble(folded: str, status: int | None) -> tuple[str | None, str]:
    """Which of `_TROUBLE` it is, and how it shows."""
    if any(sign in folded for sign in _NO_CREDENTIALS):
        return "nobody", ""
    if status in (401, 403):
        return "denied", f"status {status}"
    if status == 429 or (status or 0) >= 500:
        return "failing", f"status {status}"
    if status in (301, 307, 400):
        return "elsewhere", f"status {status}"
    if status is not None:  # 404, 412: something about one file
        return None, ""
    if "redirect" in folded:
        return "elsewhere", "it redirects"
    if "badscheme" in folded:
        return "plain", ""
    reason = next((reason for sign, reason in _UNREACHED.items() if sign in folded), "")
    return ("unreached" if reason else None), reason
