#!/usr/bin/env python3
"""fetch [--tree] oss://BUCKET/KEY PATH: downloads an object with this instance's role. For the system's Python 3.6.

--tree: the object is {"path": {"content", "mode", "owner"}}; each file is written below PATH.
Signed as OSS V4: https://help.aliyun.com/zh/oss/developer-reference/recommend-to-use-signature-version-4
"""

import datetime as dt
import hashlib
import hmac
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any, Dict, Optional

METADATA = "http://100.100.100.200/latest/"
REGION, ENDPOINT = "${region}", "${oss_endpoint}"  # the endpoint's host name


def metadata(path: str, method: str = "GET", headers: Optional[Dict[str, str]] = None) -> str:
    """Asks the metadata service, never through a proxy."""
    request = urllib.request.Request(METADATA + path, method=method, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return str(opener.open(request, timeout=10).read().decode())


def credentials() -> Dict[str, str]:
    """Temporary credentials of the instance's role."""
    token = metadata("api/token", "PUT", {"X-aliyun-ecs-metadata-token-ttl-seconds": "300"})
    headers = {"X-aliyun-ecs-metadata-token": token}
    role = metadata("meta-data/ram/security-credentials/", headers=headers).split()[0]
    found: Dict[str, str] = json.loads(metadata("meta-data/ram/security-credentials/" + role, headers=headers))
    return found


def sign(key: bytes, text: str) -> bytes:
    """One link of the signature's chain."""
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def get(bucket: str, key: str) -> Any:
    """Begins to read an object."""
    role = credentials()
    stamp = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    day, path = stamp[:8], urllib.parse.quote(key, safe="/-_.~")
    headers = {
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": stamp,
        "x-oss-security-token": role["SecurityToken"],
    }
    signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    canonical = f"GET\n/{bucket}/{path}\n\n{signed}\n\nUNSIGNED-PAYLOAD"
    scope = f"{day}/{REGION}/oss/aliyun_v4_request"
    chain = ("aliyun_v4" + role["AccessKeySecret"]).encode()
    for part in scope.split("/"):
        chain = sign(chain, part)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = sign(chain, f"OSS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}").hex()
    credential = role["AccessKeyId"] + "/" + scope
    headers["Authorization"] = f"OSS4-HMAC-SHA256 Credential={credential},Signature={signature}"
    url = f"https://{bucket}.{ENDPOINT}/{path}"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300)


def download(url: str, target: IO[bytes]) -> None:
    """Writes an object to `target`; tries again while the role or the object is not there yet."""
    bucket, key = url.replace("oss://", "", 1).split("/", 1)
    for attempt in range(60):
        try:
            with get(bucket, key) as reply:
                shutil.copyfileobj(reply, target, 1 << 20)
            return
        except (OSError, ValueError, IndexError) as error:
            # The role is attached, and the object written, moments after the instance started.
            detail = error.read().decode()[:300] if isinstance(error, urllib.error.HTTPError) else ""
            print(f"fetch: {url}: {error} {detail}; trying again", flush=True)
            target.seek(0)
            target.truncate()
            time.sleep(min(2 + attempt, 10))
    sys.exit(f"fetch: gave up on {url}; does the instance's role allow oss:GetObject on it?")


def write(path: Path, content: str, mode: int, owner: str) -> None:
    """Writes a file that nobody else can read before it is complete and theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    with os.fdopen(os.open(str(unfinished), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    shutil.chown(str(unfinished), *owner.split(":"))
    unfinished.chmod(mode)
    unfinished.replace(path)


def main() -> None:
    """Runs the command."""
    tree = sys.argv[1] == "--tree"
    url, path = sys.argv[2 if tree else 1 :]
    folder = Path(path) if tree else Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=None if tree else str(folder), delete=tree) as file:
        download(url, file)
        file.seek(0)
        if not tree:
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
            return
        for name, entry in json.loads(file.read().decode()).items():
            write(folder / name.lstrip("/"), entry["content"], int(entry["mode"], 8), entry["owner"])


if __name__ == "__main__":
    main()
