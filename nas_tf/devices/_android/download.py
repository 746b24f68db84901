"""One file from the web, within bounds of size and time; what broke off goes on only from the same version of it."""

import contextlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

from nas_tf.files import read_json, write_json
from nas_tf.trial import UserError

MOST_BYTES, MOST_SECONDS = 200 << 20, 1800.0
_SILENCE_SECONDS = 60


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none to another scheme: a file that is asked for by https does not come by http."""

    def redirect_request(self, request, answer, code, message, headers, new_url):
        old, new = (urllib.parse.urlsplit(each).scheme for each in (request.full_url, new_url))
        if old != new:
            raise UserError(f"{request.full_url} redirects to {new_url}, from {old} to {new}: it is not followed")
        return super().redirect_request(request, answer, code, message, headers, new_url)


def download(url, path, progress=lambda done, total: None, most_bytes=MOST_BYTES, most_seconds=MOST_SECONDS, hint=""):
    """Fetches a file; where an earlier try broke off, and the server has the same version still, only its rest.

    The version is the server's ETag, which is kept beside the file. Without one a file is fetched from its start.

    Args:
        url: where it is.
        path: `pathlib.Path`, where it is written.
        progress: `progress(done, total)` is called with numbers of bytes.
        most_bytes, most_seconds: bounds.
        hint: what else the user can do, at the end of messages.

    Raises:
        UserError: there is no such file, it cannot be fetched, it is too large, or it takes too long.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https") or not urllib.parse.urlsplit(url).netloc:
        raise UserError(f"Expected an address that begins with https://. Received: {url!r}")
    version = path.with_name(path.name + ".version.json")
    deadline = time.monotonic() + most_seconds
    opener = urllib.request.build_opener(_SameScheme)
    while True:
        known = read_json(version) if path.exists() else None
        etag = known.get("etag") if isinstance(known, dict) and known.get("url") == url else None
        done = path.stat().st_size if etag else 0
        headers = {"Range": f"bytes={done}-", "If-Range": etag} if done else {}
        try:
            with opener.open(urllib.request.Request(url, headers=headers), timeout=_SILENCE_SECONDS) as answer:
                now = answer.headers.get("ETag", "")
                if answer.status == 206 and (now not in ("", etag) or _start(answer) != done):
                    path.unlink()  # the rest of another version
                    continue
                done = done if answer.status == 206 else 0
                length = answer.headers.get("Content-Length") or "0"
                total = done + int(length) if length.isdecimal() else 0
                if total > most_bytes:
                    raise UserError(f"{url} is of {total:,} bytes. Expected at most {most_bytes:,}")
                with open(path, "ab" if done else "wb") as file:
                    # Only now: a file that is kept is never said to be of a later version than it is.
                    if now and not now.startswith("W/"):
                        write_json(version, {"url": url, "etag": now})
                    else:
                        version.unlink(missing_ok=True)
                    while chunk := answer.read1(1 << 16):
                        done += len(chunk)
                        if done > most_bytes:
                            raise UserError(f"{url} has more than {most_bytes:,} bytes")
                        file.write(chunk)
                        progress(done, total)
                        if time.monotonic() > deadline:
                            raise UserError(
                                f"{url} took longer than {most_seconds:.0f} s, {done:,} of {total:,} bytes: the same "
                                f"command goes on from there{hint}"
                            )
        except urllib.error.HTTPError as error:
            if error.code == 416 and done:
                if error.headers.get("Content-Range", "").endswith(f"/{done}"):
                    return  # nothing is left to fetch
                path.unlink()
                continue
            raise UserError(f"Cannot fetch {url}: {error}. Is there such a version?{hint}") from error
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"Cannot fetch {url}: {error}. The same command goes on where this one stopped{hint}"
            ) from error
        if total and done != total:
            raise UserError(f"{url} broke off after {done} of {total} bytes: the same command goes on from there{hint}")
        return


def _start(answer):
    """int or None: where the part begins that the server sends."""
    with contextlib.suppress(IndexError, ValueError):
        return int(answer.headers.get("Content-Range", "").split()[1].split("-")[0])
    return None
