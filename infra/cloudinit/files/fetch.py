#!/usr/bin/env python3
"""fetch [--tree] oss://BUCKET/KEY PATH: downloads an object with this instance's role, nothing installed needed.

--tree: the object is {"path": {"content", "mode", "owner"}}; each file is written below PATH.
Signed as OSS V4: https://help.aliyun.com/zh/oss/developer-reference/recommend-to-use-signature-version-4
"""
import datetime, hashlib, hmac, json, os, shutil, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

METADATA = "http://100.100.100.200/latest/"
REGION, ENDPOINT = "${region}", "${oss_endpoint}"  # the endpoint's host name


def metadata(path, method="GET", headers=None):
    request = urllib.request.Request(METADATA + path, method=method, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=10).read().decode()


def credentials():
    token = metadata("api/token", "PUT", {"X-aliyun-ecs-metadata-token-ttl-seconds": "300"})
    headers = {"X-aliyun-ecs-metadata-token": token}
    role = metadata("meta-data/ram/security-credentials/", headers=headers).split()[0]
    return json.loads(metadata("meta-data/ram/security-credentials/" + role, headers=headers))


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def get(bucket, key):
    role = credentials()
    stamp = datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")
    day, path = stamp[:8], urllib.parse.quote(key, safe="/-_.~")
    headers = {
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": stamp,
        "x-oss-security-token": role["SecurityToken"],
    }
    signed = "".join("%s:%s\n" % item for item in sorted(headers.items()))
    canonical = "GET\n/%s/%s\n\n%s\n\nUNSIGNED-PAYLOAD" % (bucket, path, signed)
    scope = "%s/%s/oss/aliyun_v4_request" % (day, REGION)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key_ = ("aliyun_v4" + role["AccessKeySecret"]).encode()
    for part in (day, REGION, "oss", "aliyun_v4_request"):
        key_ = sign(key_, part)
    signature = sign(key_, "OSS4-HMAC-SHA256\n%s\n%s\n%s" % (stamp, scope, digest)).hex()
    headers["Authorization"] = "OSS4-HMAC-SHA256 Credential=%s/%s,Signature=%s" % (
        role["AccessKeyId"], scope, signature)
    url = "https://%s.%s/%s" % (bucket, ENDPOINT, path)
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300)


def download(url, target):
    bucket, key = url[len("oss://"):].split("/", 1)
    for attempt in range(60):
        try:
            with get(bucket, key) as reply:
                shutil.copyfileobj(reply, target, 1 << 20)
            return
        except (urllib.error.URLError, OSError, ValueError, IndexError) as error:
            # The role is attached, and the object written, moments after the instance started.
            detail = error.read().decode()[:300] if isinstance(error, urllib.error.HTTPError) else ""
            print("fetch: %s: %s %s; trying again" % (url, error, detail), flush=True)
            target.seek(0)
            target.truncate()
            time.sleep(min(2 + attempt, 10))
    sys.exit("fetch: gave up on %s; does the instance's role allow oss:GetObject on it?" % url)


def main():
    tree = sys.argv[1] == "--tree"
    url, path = sys.argv[2 if tree else 1 :]
    folder = path if tree else os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=None if tree else folder)
    with os.fdopen(handle, "w+b") as target:
        download(url, target)
        target.seek(0)
        files = json.loads(target.read().decode()) if tree else {}
    if not tree:
        os.chmod(name, 0o644)
        os.replace(name, path)
        return
    os.unlink(name)
    for file, entry in files.items():
        file = os.path.join(path, file.lstrip("/"))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with os.fdopen(os.open(file + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
            target.write(entry["content"])
        shutil.chown(file + ".new", *entry["owner"].split(":"))
        os.chmod(file + ".new", int(entry["mode"], 8))
        os.replace(file + ".new", file)


main()
