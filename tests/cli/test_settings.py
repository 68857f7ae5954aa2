"""What the environment decides, and that nothing else is taken from it."""

from __future__ import annotations

import pytest

from terraseek.cli.settings import allowed_hosts, storage_options


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "TERRASEEK_ALLOW_HOSTS"):
        monkeypatch.delenv(name, raising=False)


def test_credentials_go_to_their_own_storage_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "secret")
    options = storage_options("s3://bucket/archive")
    assert options is not None
    assert options["aws_access_key_id"] == "key"
    assert (options["aws_endpoint"], options["allow_http"]) == ("http://127.0.0.1:9000", "true")
    assert not [name for name in options if name.startswith("azure")]
    assert storage_options("az://container/archive") == {"azure_storage_account_key": "secret"}
    for local in ("archive", "/data/archive", "file:///data/archive", "s3"):
        assert storage_options(local) is None


def test_an_endpoint_with_tls_stays_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    options = storage_options("s3://bucket/archive")
    assert options is not None
    assert (options["allow_http"], options["aws_region"]) == ("false", "eu-central-1")


def test_hosts_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_hosts() == ()
    monkeypatch.setenv("TERRASEEK_ALLOW_HOSTS", " a.org, ,b.org:8443 ")
    assert allowed_hosts() == ("a.org", "b.org:8443")
