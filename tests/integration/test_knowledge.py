"""Models that both ends must hold alike: a session whose ends hold others is refused, whichever codec they are of."""

import shutil

import grpc
import pytest
from generative_codecs import MODELS
from toy_world import kinds, opening, refused, request

import gocom.transmitter.service
from gocom.common.errors import Mismatch
from gocom.common.model_files import folder_hash, model_folder
from gocom.common.rpc.status_mapping import error_from_rpc
from gocom.common.systems import SYSTEMS
from gocom.common.zoo import fingerprint as net_fingerprint
from gocom.common.zoo import forget_files, held_knowledge
from gocom.v1 import link_pb2

every = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with a small stand-in of every model, in place of theirs."""
    for model in MODELS:
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text(model)
    monkeypatch.setenv("GOCOM_MODELS", str(tmp_path))
    forget_files()
    yield tmp_path
    forget_files()


def fingerprint(model, sha256=None):
    """As the handshake has it; without `sha256` that of this machine."""
    return link_pb2.KnowledgeHash(name=model, sha256=net_fingerprint(model) if sha256 is None else sha256)


def test_both_ends_tell_what_every_codec_needs(models):
    needed = {model for name in SYSTEMS for model in SYSTEMS.get(name).knowledge}
    assert held_knowledge().keys() == needed and set(MODELS) <= needed
    shutil.rmtree(models / MODELS[0])
    forget_files()
    assert held_knowledge().keys() == needed - {MODELS[0]}


@every
def test_a_fingerprint_is_of_every_byte_and_name_of_a_model(model, tmp_path):
    (tmp_path / "other").mkdir()
    files = [path for path in model_folder(model).iterdir() if path.suffix in (".json", ".safetensors")]
    assert files
    for path in files:
        shutil.copy(path, tmp_path / "other" / path.name)
    seen = {folder_hash(tmp_path / "other")}
    assert seen == {folder_hash(model_folder(model))}  # cards and plots are for people
    for path in (tmp_path / "other" / file.name for file in files):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        seen.add(folder_hash(tmp_path / "other"))
        path.write_bytes(data)
        path.rename(path.with_name("x" + path.name))
        seen.add(folder_hash(tmp_path / "other"))
        path.with_name("x" + path.name).rename(path)
    assert len(seen) == 1 + 2 * len(files)


@every
async def test_other_models_are_refused_by_name(world, models, model):
    await world.receiver()
    unknown = fingerprint("../../etc", b"\0" * 32)
    mine = [fingerprint(name) for name in MODELS]
    assert (await world.send(opening(knowledge=[*mine, unknown])))[0].HasField("accepted")
    others = [fingerprint(name, b"\0" * 32 if name == model else None) for name in MODELS]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.send(opening(knowledge=others))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(error := error_from_rpc(caught.value), Mismatch) and str(error).startswith(f"knowledge: {model} ")


@every
async def test_whoever_sends_is_told_which_model_differs(world, models, model, monkeypatch):
    monkeypatch.setattr(gocom.transmitter.service, "held_knowledge", lambda: held_knowledge() | {model: b"\1" * 32})
    await world.all()
    events = await world.transmit(request(0))
    assert kinds(events)[-1] == "failed"
    assert f"knowledge: {model} differs" in events[-1].failed.reason


@every
async def test_knowledge_that_is_none(world, models, model):
    await world.receiver()
    mine = fingerprint(model)
    for name, hashes in {
        "another": [fingerprint(model, bytes(32))],
        "right, then wrong": [mine, fingerprint(model, bytes(32))],
        "empty": [link_pb2.KnowledgeHash(name=model)],
        "cut short": [fingerprint(model, mine.sha256[:31])],
    }.items():
        code, details = await refused(world.send(opening(knowledge=hashes)))
        assert code == grpc.StatusCode.FAILED_PRECONDITION and model in details, name


async def test_names_that_nobody_knows_and_none_at_all_are_accepted(world, models):
    await world.receiver()
    accepted = [fingerprint(MODELS[0]), fingerprint(MODELS[0]), fingerprint("x" * 10_000, b"\0")] * 1000
    assert (await world.send(opening(knowledge=accepted)))[0].HasField("accepted")
    assert (await world.send(opening("t", knowledge=[])))[0].HasField("accepted")
