"""TLS, client certificates and tokens between the services, over real connections of this machine."""

import asyncio
import json
import socket
import subprocess
import sys
from types import SimpleNamespace

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from private_ca import PrivateCA
from toy_codec import NAME
from toy_world import LINK, free_port, png
from typer.testing import CliRunner

import gocom.channel_emulator.service
import gocom.receiver.service
import gocom.transmitter.service
from gocom.client.cli import app
from gocom.client.client import AsyncClient
from gocom.client.service_health import is_serving
from gocom.common.errors import InvalidInput, NotReady, Unauthenticated
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import open_channel
from gocom.common.settings import ChannelSettings, ClientSettings, ReceiverSettings, TransmitterSettings
from gocom.v1 import channel_pb2, feedback_pb2, link_pb2, receiver_pb2, transmitter_pb2

TOKEN, OTHER_TOKEN = "the-token-of-these-services", "the-token-of-somebody-else"
FILES = (channel_pb2, feedback_pb2, link_pb2, receiver_pb2, transmitter_pb2, health_pb2, reflection_pb2)
METHODS = [
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA, certificates for a service and a client, and what is wrong with others; tokens."""
    folder = tmp_path_factory.mktemp("pki")
    ca, other = PrivateCA(folder), PrivateCA(folder, "other")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "other_token").write_text(OTHER_TOKEN + "\n")
    certificates = {
        "service": ca.issue("service"),
        "client": ca.issue("client", hosts=["client"], usages=["clientAuth"]),
        "elsewhere": ca.issue("elsewhere", hosts=["elsewhere.example.org"]),
        "stranger": other.issue("stranger"),
    }

    def settings(owner=None, **others):
        pair = dict(zip(("tls_cert", "tls_key"), certificates[owner], strict=True)) if owner else {}
        return {**pair, **others}

    token, other_token = folder / "token", folder / "other_token"
    return SimpleNamespace(ca=ca.pem, other=other.pem, settings=settings, token=token, other_token=other_token)


@pytest.fixture
def mutual(pki):
    """Settings of services that use all there is: TLS, client certificates, a token."""
    return pki.settings("service", tls_ca=pki.ca, tls_client_ca=pki.ca, token_file=pki.token)


async def start_all(world, profile="clean", host="127.0.0.1", name="localhost", way_back=False, **security):
    """The three services, each connected to the next by name; -> their addresses.

    `way_back`: feedback crosses the channel too.
    """
    port, channel_port = free_port(), free_port()
    common = {"host": host, "warm_codecs": (NAME,), **security}
    feedback = {"feedback_address": f"{name}:{channel_port if way_back else port}", "feedback_timeout_s": 5}
    world.receiving = await world.start(gocom.receiver.service, ReceiverSettings(port=0, **feedback, **common))
    next_hop = f"{name}:{world.receiving.port}"
    back = {"feedback_address": f"{name}:{port}"} if way_back else {}
    settings = ChannelSettings(port=channel_port, host=host, next_hop=next_hop, profile=profile, **back, **security)
    world.emulating = await world.start(gocom.channel_emulator.service, settings)
    link = f"{name}:{world.emulating.port}"
    world.transmitting = await world.start(
        gocom.transmitter.service, TransmitterSettings(port=port, link_address=link, **common)
    )
    return {"transmitter": f"{name}:{port}", "channel": link, "receiver": next_hop}


async def start_channel(world, host="127.0.0.1", **security):
    settings = ChannelSettings(port=0, host=host, **security)
    return await world.start(gocom.channel_emulator.service, settings)


async def ask(address, security):
    """Reads the profile through the client library. Raises what it raises."""
    async with AsyncClient(channel=address, security=security) as client:
        return await client.get_channel()


async def call(channel, method, metadata=()):
    """Begin a call of any kind with one empty message; -> its status."""
    begun = channel.stream_stream(method)(iter([b""]), timeout=1, metadata=metadata)
    status = CallStatus(begun)  # a refusal may come while the message is still being written
    try:
        await begun.read()
    except grpc.aio.AioRpcError as error:
        return status.of(error)[0]
    if not begun.done():
        begun.cancel()
        return grpc.StatusCode.OK
    return await begun.code()


@pytest.mark.parametrize("way_back", [False, True])
async def test_a_picture_with_feedback_over_mutual_tls_and_a_token(world, pki, mutual, capfd, way_back):
    addresses = await start_all(world, "packet_erasure:rate=0.3", way_back=way_back, **mutual)
    security = ClientSettings(**pki.settings("client", tls_ca=pki.ca, token_file=pki.token))
    async with AsyncClient(**addresses, security=security) as client:
        results = [r async for r in client.send([png(), png()], NAME, link=LINK, max_rounds=20, timeout_s=30)]
        profile = await client.get_channel()
        if way_back:
            report = await anext(client.watch_channel(reverse=True))
            assert report.frames >= sum(r.rounds - 1 for r in results)
    assert [(r.outcome, r.failure) for r in results] == [("reconstructed", "")] * 2
    assert all(r.rounds > 1 for r in results), "the receiver's calls to the transmitter must have gone through"
    assert len(profile.impairments) == 1
    said = "".join(capfd.readouterr())
    assert "TLS, client certificates, token" in said and TOKEN not in said


async def test_every_method_wants_the_token_but_one(world, pki, capfd):
    assert len(METHODS) >= 10 and CHECK in METHODS
    addresses = await start_all(world, way_back=True, token_file=pki.token)
    wrong = [
        (),
        (("authorization", f"Bearer {OTHER_TOKEN}"),),
        (("authorization", f"Bearer {TOKEN[:-1]}"),),
        (("authorization", TOKEN),),
        (("x-authorization", f"Bearer {TOKEN}"),),
        (("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {OTHER_TOKEN}")),
    ]
    right = (("authorization", f"Bearer {TOKEN}"),)
    refused = grpc.StatusCode.UNAUTHENTICATED
    for address in addresses.values():
        async with open_channel(address) as channel:
            for method in [*METHODS, "/gocom.v1.LinkService/NoSuchMethod", "/nobody.Service/Call"]:
                codes = [await call(channel, method, metadata) for metadata in wrong]
                assert codes == ([grpc.StatusCode.OK] * 6 if method == CHECK else [refused] * 6), (address, method)
                code = await call(channel, method, right)
                assert code not in (refused, grpc.StatusCode.UNKNOWN), (address, method)
        assert await asyncio.to_thread(is_serving, address)
    said = "".join(capfd.readouterr())
    assert "call refused" in said and TOKEN not in said and OTHER_TOKEN not in said


@pytest.mark.parametrize("which", ["none", "other"])
async def test_a_client_without_the_token_hears_so(world, pki, which):
    addresses = await start_all(world, token_file=pki.token)
    security = ClientSettings(token_file=pki.other_token) if which == "other" else None
    words = "not the one that" if which == "other" else "missing"
    with pytest.raises(Unauthenticated, match=f"^token: {words}.*ChannelControlService"):
        await ask(addresses["channel"], security)
    async with AsyncClient(**addresses, security=security) as client:
        with pytest.raises(Unauthenticated, match=f"^token: {words}.*(TransmitterService|ReceiverService)") as caught:
            async with asyncio.timeout(20):
                async for _ in client.send([png()], NAME):
                    pass
    assert TOKEN not in str(caught.value) and OTHER_TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("service", "client", "words"),
    [
        ({}, {"tls_ca": "other"}, "TLS with .*its certificate is refused.*is tls_ca the CA"),
        ({"owner": "elsewhere"}, {"tls_ca": "ca"}, "TLS with .*for other host names; subjectAltName"),
        ({}, {}, r"hung up at once: .*wants TLS \(tls_ca\)"),
        ({"owner": None}, {"tls_ca": "ca"}, "TLS with .*it answers in plain text"),
        ({"tls_client_ca": "ca"}, {"tls_ca": "ca"}, "hung up at once: .*certificate that its tls_client_ca signed"),
        (
            {"tls_client_ca": "ca"},
            {"tls_ca": "ca", "owner": "stranger"},
            "hung up at once: .*certificate that its tls_client_ca signed",
        ),
    ],
    ids=["wrong CA", "wrong host name", "plain client", "plain server", "no client certificate", "of another CA"],
)
async def test_tls_that_fails_is_explained(world, pki, service, client, words):
    def settings(owner=None, **authorities):
        return pki.settings(owner, **{field: getattr(pki, name) for field, name in authorities.items()})

    running = await start_channel(world, **settings(**{"owner": "service", **service}))
    with pytest.raises(NotReady, match=f"^channel at {running.address}: .*{words}"):
        await ask(running.address, ClientSettings(**settings(**client)))


async def test_tls_that_works(world, pki, mutual):
    plain_tls = await start_channel(world, **pki.settings("service"))
    await ask(f"localhost:{plain_tls.port}", ClientSettings(tls_ca=pki.ca))
    both = await start_channel(world, **mutual)
    client = ClientSettings(**pki.settings("client", tls_ca=pki.ca, token_file=pki.token))
    await ask(f"127.0.0.1:{both.port}", client)
    assert await asyncio.to_thread(is_serving, f"localhost:{both.port}", security=client)
    anonymous = ClientSettings(tls_ca=pki.ca)
    assert not await asyncio.to_thread(is_serving, f"localhost:{both.port}", security=anonymous)
    with pytest.raises(Unauthenticated):
        await ask(f"localhost:{both.port}", client.model_copy(update={"token_file": None}))


async def test_a_link_whose_token_is_wrong_fails_frames_with_the_reason(world, pki):
    emulator = await start_channel(world, token_file=pki.token)
    settings = {"link_address": emulator.address, "warm_codecs": (NAME,), "link_patience_s": 0.5}
    running = await world.start(
        gocom.transmitter.service, TransmitterSettings(port=0, token_file=pki.other_token, **settings)
    )
    receiving = await world.start(
        gocom.receiver.service, ReceiverSettings(port=0, token_file=pki.other_token, warm_codecs=(NAME,))
    )
    security = ClientSettings(token_file=pki.other_token)
    async with AsyncClient(running.address, receiving.address, security=security) as client:
        (result,) = [r async for r in client.send([png()], NAME, timeout_s=20)]
    assert result.outcome == "failed" and result.failure == "link"
    assert "token: not the one that gocom.v1.LinkService wants" in result.reason


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6(world, pki, mutual):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    running = await start_channel(world, "::1")
    assert running.address == f"[::1]:{running.port}"
    await ask(running.address, None)
    secured = await start_channel(world, "[::1]", metrics_port=0, **mutual)
    assert secured.metrics.port > 0
    client = ClientSettings(**pki.settings("client", tls_ca=pki.ca, token_file=pki.token))
    await ask(secured.address, client)
    everywhere = await start_channel(world, "::", **mutual)
    await ask(everywhere.address, client)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (gocom.channel_emulator.service, ChannelSettings),
        (gocom.receiver.service, ReceiverSettings),
        (gocom.transmitter.service, TransmitterSettings),
    ],
    ids=["channel", "receiver", "transmitter"],
)
async def test_services_refuse_to_listen_beyond_this_machine(module, settings, pki, world):
    port = free_port()
    with pytest.raises(InvalidInput, match=r"^host: '0\.0\.0\.0'"):
        await module.serve(settings(host="0.0.0.0", port=port))
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
    with pytest.raises(InvalidInput, match=r"^token_file: the token would go to 10\.1\.2\.3:4 in plain text"):
        peer = {ChannelSettings: "next_hop", ReceiverSettings: "feedback_address", TransmitterSettings: "link_address"}
        await module.serve(settings(port=port, token_file=pki.token, **{peer[settings]: "10.1.2.3:4"}))
    codecs = {} if settings is ChannelSettings else {"warm_codecs": (NAME,)}
    await world.start(module, settings(host="0.0.0.0", port=port, insecure=True, **codecs))


async def test_a_metrics_port_that_is_taken_is_named(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics_port, port = taken.getsockname()[1], free_port()
        with pytest.raises(
            NotReady, match=f"^metrics_port: cannot listen on 127.0.0.1:{metrics_port}: Address already"
        ):
            await gocom.channel_emulator.service.serve(ChannelSettings(port=port, metrics_port=metrics_port))
    running = await world.start(gocom.channel_emulator.service, ChannelSettings(port=port, metrics_port=metrics_port))
    assert (running.port, running.metrics.port) == (port, metrics_port)


async def test_metrics_of_a_service_on_all_interfaces_stay_on_loopback(world, pki):
    running = await start_channel(world, "0.0.0.0", metrics_port=0, **pki.settings("service", token_file=pki.token))
    bound = running.metrics._server.server_address
    assert bound == ("127.0.0.1", running.metrics.port)
    open_to_all = await start_channel(world, "0.0.0.0", metrics_port=0, insecure=True)
    assert open_to_all.metrics._server.server_address[0] == "0.0.0.0"


def test_commands_over_mutual_tls(pki, mutual, tmp_path):
    def flags(settings):
        return [word for name, path in settings.items() for word in ("--" + name.replace("_", "-"), str(path))]

    words = [sys.executable, "-m", "gocom.client.cli", "serve", "channel", "--host", "0.0.0.0", "--port", "0", "--json"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        service = subprocess.Popen([*words, *flags(mutual)], stdout=subprocess.PIPE, stderr=file)
    try:
        address = f"127.0.0.1:{json.loads(service.stdout.readline())['port']}"
        client = pki.settings("client", tls_ca=pki.ca, token_file=pki.token)

        def gocom(*arguments, **changed):
            given = flags({name: path for name, path in {**client, **changed}.items() if path is not None})
            return CliRunner().invoke(app, [*arguments, "--channel-address", address, *given, "--json"])

        result = gocom("channel", "set", "packet_erasure:rate=0.25")
        assert result.exit_code == 0, result.output
        result = gocom("channel", "get")
        assert json.loads(result.stdout) == {"spec": "packet_erasure:rate=0.25", "seed": 0}
        assert json.loads(gocom("doctor").stdout)["services"]["channel"]["serving"] is True
        refused = gocom("channel", "get", token_file=pki.other_token)
        assert refused.exit_code == 1 and "token: not the one" in json.loads(refused.stdout)["error"]
        untrusted = gocom("channel", "get", tls_ca=pki.other)
        assert untrusted.exit_code == 1 and "is tls_ca the CA" in json.loads(untrusted.stdout)["error"]
        unknown = gocom("channel", "get", tls_cert=None, tls_key=None)
        assert unknown.exit_code == 1 and "tls_client_ca" in json.loads(unknown.stdout)["error"]
        assert not any(token in r.output for r in (result, refused, untrusted) for token in (TOKEN, OTHER_TOKEN))
    finally:
        service.terminate()
        service.wait(10)
        service.stdout.close()
    assert service.returncode == 0
    said = log.read_text()
    assert "call refused" in said and TOKEN not in said and OTHER_TOKEN not in said


async def test_a_bad_certificate_stops_a_service_before_it_listens(pki):
    with pytest.raises(InvalidInput, match="^tls_key: .*is not the private key"):
        files = {**pki.settings("service"), "tls_key": pki.settings("client")["tls_key"]}
        await gocom.channel_emulator.service.serve(ChannelSettings(port=free_port(), **files))
