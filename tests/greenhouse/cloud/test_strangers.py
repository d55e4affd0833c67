"""A caller without this greenhouse's key gets 403, and nothing happens."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import botocore.auth
import grpc
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2_grpc
from selenium.webdriver.support.expected_conditions import title_is, url_to_be
from selenium.webdriver.support.wait import WebDriverWait

from greenhouse.home import ACCESS_KEY, PROJECT_DIR, REGION, Home, HomeBroken
from greenhouse.providers.protocol.peer_user import OwnersAlone
from greenhouse.signatures import sign
from tests.browser import chromium
from tests.greenhouse.cloud.conftest import (
    KEY,
    SECRET,
    CloudProcess,
    free_port,
    http,
    ministack_client,
)
from tests.missing import needs_root

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_s3 import S3Client

CREATE = "/greengrass/v2/createComponentVersion"
JSON = {"content-type": "application/json"}
BYTES = {"content-type": "application/octet-stream"}
NOBODY = 65534  # Every Linux has this user.


@pytest.fixture
def attack(recipe: Callable[..., dict[str, Any]]) -> tuple[str, bytes]:
    """The name of a component that would run a script, and the request that creates it."""
    wanted = recipe()
    text = b64encode(json.dumps(wanted).encode()).decode()
    return wanted["ComponentName"], json.dumps({"inlineRecipe": text}).encode()


def names(greengrass: GreengrassV2Client) -> set[str]:
    pages = greengrass.get_paginator("list_components").paginate(scope="PRIVATE")
    return {one["componentName"] for page in pages for one in page["components"]}


def signed(
    url: str, body: bytes, *, key: Credentials = KEY, headers: dict[str, str] = JSON
) -> dict[str, str]:
    return sign(
        key, region=REGION, service="greengrass", method="POST", url=url, body=body, headers=headers
    )


def test_a_caller_with_the_key_is_answered(
    cloud: CloudProcess, greengrass: GreengrassV2Client, attack: tuple[str, bytes]
) -> None:
    name, body = attack
    url = f"{cloud.url}{CREATE}"
    assert http("POST", url, body, signed(url, body))[0] == 201, (
        "otherwise no refusal means anything"
    )
    assert name in names(greengrass)


@pytest.mark.parametrize(
    "how", ["unsigned", "other id", "other secret", "other body", "other path", "host not signed"]
)
def test_a_request_that_the_key_has_not_signed_is_refused(
    cloud: CloudProcess, greengrass: GreengrassV2Client, attack: tuple[str, bytes], how: str
) -> None:
    name, body = attack
    url = f"{cloud.url}{CREATE}"
    headers = {
        "unsigned": JSON,
        "other id": signed(url, body, key=Credentials("stranger", SECRET)),
        "other secret": signed(url, body, key=Credentials(ACCESS_KEY, "guessed")),
        "other body": signed(url, body + b" "),
        "other path": signed(f"{url}/x", body),
        "host not signed": signed(url, body),
    }[how]
    if how == "host not signed":
        headers["Authorization"] = headers["Authorization"].replace("host;", "")
    status, _, said = http("POST", url, body, headers)
    assert status == 403, said
    assert "greenhouse env" in said.decode() or how == "host not signed", "what to type"
    assert name not in names(greengrass)


def test_a_request_that_was_signed_long_ago_is_refused(
    cloud: CloudProcess, attack: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, body = f"{cloud.url}{CREATE}", attack[1]
    before = datetime.now(UTC) - timedelta(minutes=16)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: before)
    headers = signed(url, body)
    monkeypatch.undo()
    status, _, said = http("POST", url, body, headers)
    assert (status, b"too far from now" in said) == (403, True)


@pytest.mark.parametrize(
    "foreign",
    [
        {"Host": "rebound.example.com"},
        {"Host": "127.0.0.1.nip.io"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"},
        {"content-type": "multipart/form-data; boundary=x"},
    ],
    ids=lambda given: " ".join(*given.items()),
)
def test_a_request_that_a_browser_may_have_sent_is_refused_even_if_it_is_signed(
    cloud: CloudProcess,
    greengrass: GreengrassV2Client,
    attack: tuple[str, bytes],
    foreign: dict[str, str],
) -> None:
    name, body = attack
    url = f"{cloud.url}{CREATE}"
    host = foreign.get("Host", url.removeprefix("http://").partition("/")[0])
    headers = signed(f"http://{host}{CREATE}", body, headers=JSON | foreign)
    assert http("POST", url, body, headers)[0] == 403
    assert name not in names(greengrass)


@pytest.mark.parametrize("host", ["[", "[::1", "a]", "[::1]", "2130706433", "127.0.0.1@evil"])
def test_a_host_that_is_no_name_of_ours_is_refused_as_any_other(
    cloud: CloudProcess, host: str
) -> None:
    assert http("GET", f"{cloud.url}/health", None, {"Host": host})[0] == 403


def test_a_stranger_can_read_whether_it_runs_and_no_more(
    cloud: CloudProcess, ministack_port: int
) -> None:
    account = f"http://127.0.0.1:{ministack_port}"
    assert http("GET", f"{account}/_ministack/health")[0] == 200
    assert http("GET", f"{cloud.url}/health")[0] == 200
    for url in (
        f"{cloud.url}/device/x/deployments",
        f"{cloud.url}/greengrass/v2/components",
        f"{account}/_ministack/config",
        f"{account}/bucket",
        f"{account}/?Action=ListRoles&Version=2010-05-08",
    ):
        assert http("GET", url)[0] == 403, url
    for url in (f"{account}/_ministack/reset", f"{account}/"):
        assert http("POST", url, b"Action=ListRoles&Version=2010-05-08")[0] == 403, url
    assert http("PUT", f"{account}/bucket")[0] == 403


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("s3", "list_buckets"),
        ("iam", "list_roles"),
        ("sts", "get_caller_identity"),
        ("ecr", "describe_repositories"),
        ("iot", "list_things"),
    ],
)
def test_a_client_with_another_key_is_told_in_its_services_own_words(
    ministack_port: int, service: Any, call: str
) -> None:
    client = boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{ministack_port}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key="another greenhouse's",
    )
    with pytest.raises(ClientError, match=r"Signature[\s\S]*greenhouse env"):
        getattr(client, call)()


@pytest.mark.parametrize(
    ("service", "call", "served"),
    [
        ("s3", "list_buckets", False),
        ("ecr", "describe_repositories", False),
        ("iot", "list_things", False),
        ("iam", "list_roles", True),
        ("sts", "get_caller_identity", True),
    ],
)
def test_a_request_signed_for_another_region_finds_nothing_here(
    ministack_port: int, service: Any, call: str, served: bool
) -> None:
    ask = getattr(elsewhere(ministack_port, service), call)
    if served:
        assert ask(), "one for all regions"
    else:
        with pytest.raises(ClientError, match=f"us-east-1.*pulumi config set aws:region {REGION}"):
            ask()


def test_there_is_no_role_to_assume(ministack_port: int) -> None:
    """A key from MiniStack for a role would be refused like a stranger's, without a reason."""
    with pytest.raises(ClientError, match=r"no roles to assume.*pulumi config rm aws:assumeRoles"):
        elsewhere(ministack_port, "sts").assume_role(
            RoleArn="arn:aws:iam::123456789012:role/deployer", RoleSessionName="edge"
        )


def elsewhere(port: int, service: Any) -> Any:
    """A client with this greenhouse's key, in another region."""
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
    )


@pytest.mark.parametrize("key", ["plain", "a b/c+d.txt", "é/ü", "x//y", "~*'()=&;", "%41"])
def test_objects_of_any_name_and_size_come_and_go_signed(
    s3: S3Client, unique: Callable[[str], str], key: str
) -> None:
    bucket = unique("bucket")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    body = os.urandom(1 << 16)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 1


def test_the_registry_is_written_to_by_who_has_logged_in(ministack_port: int) -> None:
    account = f"http://127.0.0.1:{ministack_port}"
    ecr = ministack_client("ecr", ministack_port)
    ecr.create_repository(repositoryName="strangers/edge")
    [given] = ecr.get_authorization_token()["authorizationData"]
    login = b64decode(given["authorizationToken"]).decode()
    assert SECRET not in login, "it is kept in Pulumi's state and in Docker's settings"
    url = f"{account}/v2/strangers/edge/blobs/uploads/"

    def token(**headers: str) -> tuple[int, str]:
        status, _, body = http("GET", f"{account}/v2/token?scope=x", None, headers)
        return status, json.loads(body).get("token", "")

    status, headers, _ = http("GET", f"{account}/v2/")
    assert (status, headers["www-authenticate"].split()[0]) == (401, "Bearer"), "how to log in"
    basic = f"Basic {given['authorizationToken']}"
    theirs = f"Basic {b64encode(b'AWS:ministack-auth-token').decode()}"
    assert token(authorization=theirs) == (401, "")
    (_, pull), (_, push) = token(), token(authorization=basic)
    for bearer in ("", f"Bearer {pull}", "Bearer ministack-auth-token", theirs):
        assert http("POST", url, b"", BYTES | {"authorization": bearer})[0] == 401, bearer
    right = BYTES | {"authorization": f"Bearer {push}"}
    assert http("POST", url, b"", right | {"origin": "null"})[0] == 403
    assert http("POST", url, b"", right)[0] == 202
    for bearer in (pull, push):
        assert http("GET", f"{account}/v2/", None, {"authorization": f"Bearer {bearer}"})[0] == 200
    form = {"content-type": "application/x-www-form-urlencoded"}
    refused = http("POST", f"{account}/v2/token", b"grant_type=password", form)
    assert refused[0] == 404, "Docker 29 asks so first, and by GET after a 404 but not after a 403"


def test_a_layer_that_ecr_names_an_address_for_is_there(ministack_port: int) -> None:
    account = f"http://127.0.0.1:{ministack_port}"
    ecr = ministack_client("ecr", ministack_port)
    name, layer = "strangers/layers", b"a layer"
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        ecr.get_download_url_for_layer(repositoryName=name, layerDigest=digest)
    ecr.create_repository(repositoryName=name)
    [given] = ecr.get_authorization_token()["authorizationData"]
    basic = {"authorization": f"Basic {given['authorizationToken']}"}
    push = json.loads(http("GET", f"{account}/v2/token", None, basic)[2])["token"]
    right = BYTES | {"authorization": f"Bearer {push}"}
    status, _, _ = http("POST", f"{account}/v2/{name}/blobs/uploads/?digest={digest}", layer, right)
    assert status == 201
    url = ecr.get_download_url_for_layer(repositoryName=name, layerDigest=digest)["downloadUrl"]
    assert http("GET", url)[0::2] == (200, layer), "as on AWS: by the address alone"


@contextmanager
def served(page: str) -> Iterator[str]:
    """A stranger's page on a port of its own."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_in_the_owners_browser_gets_nothing_done(
    cloud: CloudProcess, greengrass: GreengrassV2Client, attack: tuple[str, bytes]
) -> None:
    name, body = attack
    field = body.decode().replace('"', "&quot;")[:-1] + ",&quot;x&quot;:&quot;"
    page = f"""<form method=post enctype=text/plain action="{cloud.url}{CREATE}">
      <input type=hidden name="{field}" value="&quot;}}"><input type=submit id=go></form>
      <script>fetch("{cloud.url}{CREATE}", {{method: "POST", mode: "no-cors",
        body: {json.dumps(body.decode())}}}).then(r => document.title = r.type)</script>"""
    with served(page) as url, chromium() as browser:
        patiently = WebDriverWait(browser, 60, poll_frequency=0.05)
        browser.get(url)
        patiently.until(title_is("opaque"), "the script's request was answered")
        browser.find_element("id", "go").click()  # returns before the browser has left the page
        patiently.until(url_to_be(cloud.url + CREATE), "the form was sent")
        patiently.until(
            lambda shown: "InvalidSignatureException" in shown.page_source, "its answer is shown"
        )
    assert name not in names(greengrass), "nothing was created, so nothing can run"


AS_ANOTHER_USER = f"""
import os, sys, urllib.request, urllib.error
import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2_grpc
import encodings.idna  # what is imported later could not be read any more
attack = sys.stdin.buffer.read()
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
url, settings, port = sys.argv[1:]
try:
    urllib.request.urlopen(urllib.request.Request(url, data=attack, method="POST"))
except urllib.error.HTTPError as error:
    print(error.code)
try:
    open(settings).read()
except PermissionError:
    print("no key")
with grpc.insecure_channel(f"127.0.0.1:{{port}}") as channel:
    try:
        provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=30)
    except grpc.RpcError as error:
        print(error.code().name)
"""


@pytest.fixture
def provider() -> Iterator[int]:
    """A provider's port, as greenhouse serves it."""
    port = free_port()
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[OwnersAlone(port)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(
        provider_pb2_grpc.ResourceProviderServicer(), server
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield port
    server.stop(grace=None).wait()


def test_another_user_of_the_machine_gets_nothing_done(
    cloud: CloudProcess,
    greengrass: GreengrassV2Client,
    attack: tuple[str, bytes],
    provider: int,
    tmp_path: Path,
) -> None:
    needs_root("become another user")
    name, body = attack
    for folder in (tmp_path, *tmp_path.parents):  # Only the home folder is closed.
        if folder.name.startswith(("pytest-", "test_")):
            folder.chmod(0o755)
    home = Home(tmp_path / "greenhouse")
    home.ports()
    settings = str(home.root / "settings.json")
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, f"{cloud.url}{CREATE}", settings, str(provider)],
        input=body,
        stdout=subprocess.PIPE,
        cwd=PROJECT_DIR,
        check=True,
    )
    assert done.stdout.decode().split("\n") == ["403", "no key", "PERMISSION_DENIED", ""]
    assert name not in names(greengrass)
    with (
        grpc.insecure_channel(f"127.0.0.1:{provider}") as channel,
        pytest.raises(grpc.RpcError) as ours,
    ):
        provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=30)
    assert ours.value.code() is grpc.StatusCode.UNIMPLEMENTED, "the owner gets as far as the method"


def test_a_home_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    needs_root("give a folder to another user")
    theirs = tmp_path / "greenhouse"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(HomeBroken, match=r"belongs to another user[\s\S]*GREENHOUSE_HOME"):
        Home(theirs).ports()
