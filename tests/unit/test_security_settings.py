"""Security settings without a network: what is refused, what it is called, and which address is whose."""

import os
import threading

import numpy as np
import pytest
from private_ca import PrivateCA
from typer.testing import CliRunner

import gocom.client.local_stack
from gocom.client.cli import app
from gocom.client.client import Client
from gocom.client.local_stack import LocalStack
from gocom.common.errors import InvalidInput, Unauthenticated
from gocom.common.image_files import png_bytes
from gocom.common.rpc.addresses import host_of, is_loopback, join_address
from gocom.common.rpc.bearer_token import check_token, read_token
from gocom.common.rpc.credentials import check_peers, check_service, metrics_host, security_summary
from gocom.common.settings import ChannelSettings, ClientSettings, ReceiverSettings, TransmitterSettings

TOKEN = "a-token-of-enough-characters"
METHOD = "/gocom.v1.LinkService/Send"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return PrivateCA(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def pair(ca):
    cert, key = ca.issue("service")
    return {"tls_cert": cert, "tls_key": key}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("[::]", False), ("", False), ("192.168.1.4", False), ("10.0.0.1", False),
        ("example.org", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False),
        ("::ffff:10.0.0.1", False), ("127.0.0.1,0.0.0.0", False), ("ipv4:127.0.0.1", False),
    ],
)  # fmt: skip
def test_what_counts_as_loopback(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7"), ("[::1]", "[::1]:7"), ("a.b", "a.b:7")]
)
def test_addresses_there_and_back(host, address):
    assert join_address(host, 7) == address
    assert host_of(address) == host.strip("[]")


@pytest.mark.parametrize("settings", [ChannelSettings, TransmitterSettings, ReceiverSettings])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", ""])
def test_beyond_this_machine_only_with_tls_and_a_token(settings, host, pair, token_file):
    for given in ({}, pair, {"token_file": token_file}):
        with pytest.raises(InvalidInput, match=r"^host: .*tls_cert, tls_key and token_file, or `insecure`"):
            check_service(settings(host=host, **given))
        check_service(settings(host=host, insecure=True, **given))
        check_service(settings(**given))
    check_service(settings(host=host, token_file=token_file, **pair))


def test_metrics_stay_on_loopback_unless_insecure():
    assert metrics_host(ChannelSettings(host="0.0.0.0")) == "127.0.0.1"
    assert metrics_host(ChannelSettings(host="0.0.0.0", insecure=True)) == "0.0.0.0"
    assert metrics_host(ChannelSettings(host="::1")) == "::1"


def test_environment_variables(monkeypatch, token_file):
    monkeypatch.setenv("GOCOM_RECEIVER_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("GOCOM_RECEIVER_INSECURE", "true")
    monkeypatch.setenv("GOCOM_CLIENT_TLS_CA", "ca.pem")
    assert (ReceiverSettings().token_file, ReceiverSettings().insecure) == (token_file, True)
    assert ChannelSettings().token_file is None and not ChannelSettings().insecure
    assert str(ClientSettings().tls_ca) == "ca.pem"


def make_bad(kind, ca, folder):
    """Settings that are wrong in one way."""
    cert, key = ca.issue("good")
    good = {"tls_cert": cert, "tls_key": key}
    garbage, empty = folder / "garbage.pem", folder / "empty.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    empty.write_text("\n")
    match kind:
        case "no key":
            return {"tls_cert": cert}
        case "no cert":
            return {"tls_key": key}
        case "no name":
            return {**good, "tls_cert": ""}
        case "missing cert":
            return {**good, "tls_cert": folder / "none.pem"}
        case "missing key":
            return {**good, "tls_key": folder / "none.key"}
        case "cert is a folder":
            return {**good, "tls_cert": folder}
        case "empty cert":
            return {**good, "tls_cert": empty}
        case "garbage cert":
            return {**good, "tls_cert": garbage}
        case "garbage key":
            return {**good, "tls_key": garbage}
        case "key of another":
            return {**good, "tls_key": ca.issue("another")[1]}
        case "files exchanged":
            return {"tls_cert": key, "tls_key": cert}
        case "encrypted key":
            return dict(zip(("tls_cert", "tls_key"), ca.issue("encrypted", password=b"secret"), strict=True))
        case "expired":
            return dict(zip(("tls_cert", "tls_key"), ca.issue("expired", days=(-9, -1)), strict=True))
        case "not yet valid":
            return dict(zip(("tls_cert", "tls_key"), ca.issue("early", days=(1, 9)), strict=True))
        case "client only":
            return dict(zip(("tls_cert", "tls_key"), ca.issue("client", usages=["clientAuth"]), strict=True))
        case "client CA without TLS":
            return {"tls_client_ca": ca.pem}
        case "missing client CA":
            return {**good, "tls_client_ca": folder / "none.pem"}
        case "garbage client CA":
            return {**good, "tls_client_ca": garbage}
        case "garbage CA":
            return {"tls_ca": garbage}
        case "a key as CA":
            return {"tls_ca": key}
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no key", "^tls_key: not set"),
        ("no cert", "^tls_cert: not set"),
        ("no name", "^tls_cert: names no file"),
        ("missing cert", "^tls_cert: cannot read .*none.pem.*No such file"),
        ("missing key", "^tls_key: cannot read .*none.key.*No such file"),
        ("cert is a folder", "^tls_cert: cannot read .*directory"),
        ("empty cert", "^tls_cert: .*is empty"),
        ("garbage cert", "^tls_cert: .*no PEM certificate"),
        ("garbage key", "^tls_key: .*no PEM private key"),
        ("key of another", "^tls_key: .*another.key.*is not the private key of"),
        ("files exchanged", "^tls_cert: .*no PEM certificate"),
        ("encrypted key", "^tls_key: is encrypted"),
        ("expired", "^tls_cert: .*expired"),
        ("not yet valid", "^tls_cert: .*not yet valid"),
        ("client only", "^tls_cert: .*lacks serverAuth"),
        ("client CA without TLS", "^tls_client_ca: .*set tls_cert and tls_key"),
        ("missing client CA", "^tls_client_ca: cannot read"),
        ("garbage client CA", "^tls_client_ca: .*no PEM certificate"),
        ("garbage CA", "^tls_ca: .*no PEM certificate"),
        ("a key as CA", "^tls_ca: .*no PEM certificate"),
    ],
)
def test_half_a_configuration_names_the_setting(kind, message, ca, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        check_service(ChannelSettings(**make_bad(kind, ca, tmp_path)))


def test_clients_need_a_certificate_for_clients_and_a_ca(ca, pair):
    check_peers(ClientSettings(tls_ca=ca.pem, **pair), ["example.org:1"])
    with pytest.raises(InvalidInput, match="^tls_cert: is shown over TLS only; set tls_ca"):
        check_peers(ClientSettings(**pair), [])
    cert, key = ca.issue("server", usages=["serverAuth"])
    check_service(ChannelSettings(tls_cert=cert, tls_key=key))
    with pytest.raises(InvalidInput, match="^tls_cert: .*lacks clientAuth"):
        check_peers(ClientSettings(tls_ca=ca.pem, tls_cert=cert, tls_key=key), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"short\n", "holds 5 characters; 16 to 4096"),
        (b"x" * 5000, "holds 5000 characters"),
        (b"two words of enough length", "one word of printable ASCII"),
        (b"first-line-of-sixteen\nsecond-line", "one word of printable ASCII"),
        ("schlüssel-mit-umlaut".encode(), "one word of printable ASCII"),
        (b"\xff\xfe" * 20, "one word of printable ASCII"),
    ],
)
def test_token_files_that_hold_no_token(content, message, tmp_path):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"^token_file: .*{message}") as caught:
        read_token(path)
    assert content.strip() == b"" or content.strip().decode("latin1") not in str(caught.value)


def test_a_token_goes_to_other_machines_over_tls_only(ca, token_file):
    away = ["127.0.0.1:1", "localhost:1", "[::1]:1", "10.1.2.3:50051"]
    with pytest.raises(InvalidInput, match="^token_file: .*10.1.2.3:50051 in plain text; set tls_ca, or `insecure`"):
        check_peers(ClientSettings(token_file=token_file), away)
    check_peers(ClientSettings(token_file=token_file), away[:3])
    check_peers(ClientSettings(token_file=token_file, insecure=True), away)
    check_peers(ClientSettings(token_file=token_file, tls_ca=ca.pem), away)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "missing"),
        ([("user-agent", TOKEN)], "missing"),
        ([("authorization", TOKEN)], "not the one"),
        ([("authorization", f"Basic {TOKEN}")], "not the one"),
        ([("authorization", "Bearer ")], "not the one"),
        ([("authorization", f"Bearer {TOKEN}x")], "not the one"),
        ([("authorization", f"Bearer {TOKEN[:-1]}")], "not the one"),
        ([("authorization", "Bearer \udcff")], "not the one"),
        ([("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")], "not the one"),
    ],
)
def test_calls_without_the_token(metadata, message):
    with pytest.raises(Unauthenticated, match=f"^token: {message}.*gocom.v1.LinkService") as caught:
        check_token(TOKEN, METHOD, metadata)
    assert TOKEN not in str(caught.value)


def test_calls_with_the_token_and_those_that_need_none():
    check_token(TOKEN, METHOD, [("authorization", f"Bearer {TOKEN}")])
    check_token(TOKEN, METHOD, [("other", "x"), ("authorization", f"bearer {TOKEN}")])
    check_token(TOKEN, "/grpc.health.v1.Health/Check", [])
    for method in ("/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/Check/", "//grpc.health.v1.Health/Check"):
        with pytest.raises(Unauthenticated):
            check_token(TOKEN, method, [])


def test_what_a_service_asks_for_in_words(ca, pair, token_file):
    assert security_summary(ChannelSettings()) == "none"
    everything = ChannelSettings(token_file=token_file, tls_client_ca=ca.pem, **pair)
    assert security_summary(everything) == "TLS, client certificates, token"
    assert TOKEN not in repr(everything)


def test_secrets_that_everybody_can_read_are_warned_of(token_file, capsys):
    check_service(ChannelSettings(token_file=token_file))
    assert "can be read" not in "".join(capsys.readouterr())
    token_file.chmod(0o644)
    check_service(ChannelSettings(token_file=token_file))
    said = "".join(capsys.readouterr())
    assert "token_file can be read by every user" in said and TOKEN not in said


def test_a_client_with_wrong_settings_leaves_no_thread(tmp_path):
    with pytest.raises(InvalidInput, match="^token_file"):
        Client(security=ClientSettings(token_file=tmp_path / "none"))
    assert "gocom-client" not in [thread.name for thread in threading.enumerate()]


def test_a_local_stack_is_not_meant_by_settings_for_a_network(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(gocom.client.local_stack, "ServiceProcess", lambda words, log, env: seen.update(env))
    for name in ("TLS_CERT", "TLS_KEY", "TLS_CA", "TLS_CLIENT_CA", "TOKEN_FILE", "INSECURE"):
        monkeypatch.setenv(f"GOCOM_RECEIVER_{name}", "x")
    monkeypatch.setenv("GOCOM_RECEIVER_KEEP_FRAMES", "7")
    LocalStack(log_folder=tmp_path)._spawn("receiver")
    assert seen["GOCOM_RECEIVER_KEEP_FRAMES"] == "7" and seen["PATH"] == os.environ["PATH"]
    assert not [name for name in seen if "TLS" in name or "TOKEN" in name or "INSECURE" in name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serve", "channel", "--host", "0.0.0.0"], "host: '0.0.0.0' can be reached"),
        (["serve", "receiver", "--host", "::", "--token-file", "TOKEN"], "host: '::' can be reached"),
        (["serve", "transmitter", "--tls-cert", "none.pem"], "tls_key: not set, but tls_cert is"),
        (["serve", "channel", "--token-file", "none"], "token_file: cannot read 'none'"),
        (["serve", "channel", "--tls-client-ca", "ca.pem"], "tls_client_ca: certificates are asked for over TLS only"),
        (["channel", "get", "--tls-ca", "none.pem"], "tls_ca: cannot read 'none.pem'"),
        (["channel", "get", "--channel-address", "10.1.2.3:1", "--token-file", "TOKEN"], "10.1.2.3:1 in plain text"),
        (["channel", "set", "lossy", "--tls-key", "none.key"], "tls_cert: not set, but tls_key is"),
        (["channel", "watch", "--token-file", "none"], "token_file: cannot read 'none'"),
        (["send", "PHOTO", "--token-file", "none"], "token_file: cannot read 'none'"),
        (["stream", "PHOTO", "--tls-cert", "none.pem"], "tls_key: not set, but tls_cert is"),
        (["doctor", "--tls-ca", "none.pem"], "tls_ca: cannot read 'none.pem'"),
    ],
)
def test_commands_say_what_is_wrong(words, message, token_file, tmp_path, monkeypatch):

    photo = tmp_path / "photo.png"
    photo.write_bytes(png_bytes(np.full((64, 64, 3), 90, np.uint8)))
    monkeypatch.chdir(tmp_path)
    paths = {"TOKEN": str(token_file), "PHOTO": str(photo)}
    result = CliRunner().invoke(app, [paths.get(word, word) for word in words])
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split()) and "Traceback" not in result.output
    assert TOKEN not in result.output


def test_variables_of_the_client_reach_its_commands(token_file, tmp_path, monkeypatch):
    monkeypatch.setenv("GOCOM_CLIENT_TOKEN_FILE", str(tmp_path / "none"))
    result = CliRunner().invoke(app, ["channel", "get"])
    assert result.exit_code == 2 and "token_file: cannot read" in result.stderr
    result = CliRunner().invoke(
        app, ["channel", "get", "--token-file", str(token_file), "--channel-address", "10.1.2.3:1"]
    )
    assert result.exit_code == 2 and "10.1.2.3:1 in plain text" in " ".join(result.stderr.split())
