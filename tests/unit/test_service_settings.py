"""Environment variables of services, as a compose file or a shell sets them: what is wrong is named in one line."""

import socket

import pytest
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.common.errors import InvalidInput, NotReady, UnknownName
from gocom.common.registry import Registry
from gocom.common.rpc.addresses import check_address
from gocom.common.settings import ChannelSettings, ReceiverSettings, TransmitterSettings, unknown_variables

NAMES = 'must be a JSON list of names, such as ["jpeg"]; [] for none'
DEVICES = "must be auto, cpu, cuda, or cuda:INDEX"


@pytest.mark.parametrize(
    ("service", "variable", "value", "said"),
    [
        ("channel", "PORT", "", "port: "),
        ("channel", "PORT", "99999", "port: "),
        ("channel", "SEED", "-1", "seed: "),
        ("channel", "LOG_JSON", "maybe", "log_json: "),
        ("channel", "GRACE_S", "nan", "grace_s: "),
        ("channel", "METRICS_PORT", "x", "metrics_port: "),
        ("channel", "TOKEN_FILE", "", "token_file: names no file"),
        ("channel", "TOKEN_FILE", "/dev/null", "token_file: '/dev/null' is empty"),
        ("channel", "PROFILE", "packet_erasure:rate=20", "impairments[0].packet_erasure.rate: 20.0 is not in 0 to 1"),
        ("channel", "PROFILE", "nonsense", "impairments[0]: no 'nonsense'"),
        ("channel", "NEXT_HOP", "receiver", "next_hop: 'receiver' is not host:port"),
        ("channel", "NEXT_HOP", "http://receiver:50053", "next_hop: 'http://receiver:50053' is not host:port"),
        ("transmitter", "WARM_CODECS", "jpeg", f"warm_codecs: {NAMES}, got 'jpeg'"),
        ("transmitter", "WARM_CODECS", "", f"warm_codecs: {NAMES}, got ''"),
        ("transmitter", "WARM_CODECS", '{"jpeg": 1}', f"warm_codecs: {NAMES}"),
        ("transmitter", "WARM_CODECS", "[1]", "warm_codecs.0: "),
        ("transmitter", "DEVICE", "gpu", f"device: {DEVICES}, got 'gpu'"),
        ("transmitter", "CSI_KIND", "x", "csi_kind: "),
        ("receiver", "DEVICE", "", f"device: {DEVICES}, got ''"),
        ("receiver", "WARM_TASKS", "classify", f"warm_tasks: {NAMES}, got 'classify'"),
        ("receiver", "MAX_MESSAGE_BYTES", "16m", "max_message_bytes: "),
        ("receiver", "FEEDBACK_TRY_S", "0.001", "feedback_try_s: must be 0 (sent once), or 0.01 to 86400 s"),
    ],
)  # fmt: skip
def test_a_wrong_value_ends_the_service_in_one_line(monkeypatch, service, variable, value, said):
    monkeypatch.setenv(f"GOCOM_{service.upper()}_{variable}", value)
    monkeypatch.setenv(f"GOCOM_{service.upper()}_INSECURE", "true")
    done = CliRunner().invoke(app, ["serve", service])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1, done.stderr


def test_names_are_json(monkeypatch):
    monkeypatch.setenv("GOCOM_TRANSMITTER_WARM_CODECS", '["jpeg", "webp"]')
    monkeypatch.setenv("GOCOM_RECEIVER_WARM_CODECS", "[]")
    assert TransmitterSettings().warm_codecs == ("jpeg", "webp")
    assert ReceiverSettings().warm_codecs == ()
    assert ReceiverSettings(warm_codecs=["jpeg"]).warm_codecs == ("jpeg",)


def test_a_variable_that_sets_nothing_is_found(monkeypatch):
    for variable in ("PORFILE", "XYZ", "SEED", "ADDRESS", "PUBLISH"):
        monkeypatch.setenv(f"GOCOM_CHANNEL_{variable}", "1")
    assert unknown_variables(ChannelSettings) == {
        "GOCOM_CHANNEL_PORFILE": "GOCOM_CHANNEL_PROFILE",
        "GOCOM_CHANNEL_XYZ": None,
    }


def test_a_service_warns_of_a_variable_that_sets_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:  # so that the service ends
        monkeypatch.setenv("GOCOM_CHANNEL_PORT", str(other.getsockname()[1]))
        monkeypatch.setenv("GOCOM_CHANNEL_PORFILE", "lossy")
        done = CliRunner().invoke(app, ["serve", "channel"])
    assert done.exit_code == 1
    assert "GOCOM_CHANNEL_PORFILE: there is no such setting; did you mean GOCOM_CHANNEL_PROFILE?" in done.stderr


def test_a_host_that_is_not_of_this_machine_is_named(monkeypatch):
    monkeypatch.setenv("GOCOM_CHANNEL_HOST", "192.0.2.1")
    monkeypatch.setenv("GOCOM_CHANNEL_INSECURE", "true")
    done = CliRunner().invoke(app, ["serve", "channel", "--port", "0"])
    assert done.exit_code == 1
    assert done.stderr == "error: cannot listen on 192.0.2.1:0: Cannot assign requested address\n"


@pytest.mark.parametrize("address", ["http://a:1", "a/b:1", "a b:1", "user@a:1", "dns:///a:1", "a:0", "a:65536", ":1"])
def test_what_is_not_host_and_port_is_refused(address):
    with pytest.raises(InvalidInput, match="field: .* is not host:port, such as 127.0.0.1:50051"):
        check_address("field", address)


@pytest.mark.parametrize("address", ["receiver:50053", "127.0.0.1:1", "[::1]:65535", "my_host-2.example.org:80"])
def test_host_and_port_are_taken(address):
    check_address("field", address)


def test_a_codec_whose_package_is_not_installed_is_named_with_the_package(tmp_path, monkeypatch):
    """The slim image has no torch: its services serve the classical codecs and say what the others need."""
    home = tmp_path / "slim_codecs"
    home.mkdir()
    (home / "__init__.py").write_text("")
    (home / "heavy.py").write_text("import not_installed_net.layers\n")
    monkeypatch.syspath_prepend(tmp_path)
    codecs = Registry("codec", "slim_codecs", lambda name: name)
    codecs.add("light", "an item")
    assert codecs.get("light") == "an item" and list(codecs) == ["light"]
    with pytest.raises(NotReady, match="codec: 'heavy' needs not_installed_net, which is not installed here"):
        codecs.get("heavy")
    words = r"no 'hevy'; there are light; not loaded: heavy \(not_installed_net is not installed\)"
    with pytest.raises(UnknownName, match=words):
        codecs.get("hevy")
