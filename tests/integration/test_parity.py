"""The pipeline in one process and the three services: same bytes, masks and pictures.

A recorder stands between transmitter and channel emulator, so the bytes are those captured on the wire.
"""

import asyncio
import contextlib
import json
import sys

import growing_codec  # noqa: F401 - registers its codec
import numpy as np
import pytest
import toy_codec
import toy_tasks  # noqa: F401 - registers the tasks
from PIL import Image

from gocom.channel_emulator import service as channel_service
from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import compute_csi
from gocom.client.client import AsyncClient
from gocom.common.channel_spec import parse_spec
from gocom.common.goals import ConsumerGoal
from gocom.common.image_files import to_float, to_uint8
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.server import start_server
from gocom.common.settings import ChannelSettings, ReceiverSettings, ServiceSettings, TransmitterSettings
from gocom.common.types import FeedbackPolicy, PowerAllocation
from gocom.common.wire.feedback import answer_waits
from gocom.common.zoo import open_zoo
from gocom.receiver import service as receiver_service
from gocom.receiver.tasks import LoadedTasks
from gocom.transmitter import service as transmitter_service
from gocom.transmitter.resources.repair_and_power import Delivery
from gocom.v1 import channel_pb2_grpc, link_pb2_grpc

CASES = [
    ("jpeg", "clean", {}),
    ("webp", "packet_erasure:rate=0.3", {}),
    ("webp", "packet_erasure:rate=0.1", {"scale": 2, "quality": 30, "repair_overhead": 0.5}),
    ("jpeg", "reorder:rate=0.3,distance=9+duplicate:rate=0.4,copies=3+delay:delay_ms=30,jitter_ms=25", {}),
    ("webp", "delay:delay_ms=30,jitter_ms=20,deadline_ms=45+rate_limit:rate_kbps=900,queue_ms=40", {}),
    ("webp", "coded_fading:snr_db=12,code_rate=auto,coherence=4,symbols_per_round=4000", {"repair_overhead": 0.5}),
    ("jpeg", "block_fading:snr_db=25,symbols_per_round=20000+delay:delay_ms=20,jitter_ms=15", {}),
    ("lami_go", "clean", {"masking": "none"}),
    ("lami_go", "packet_erasure:rate=0.3", {"mask_ratio": 0.35}),
    ("lami_go", "gilbert_elliott:p=0.1,r=0.3+bit_flip:rate=1e-4", {"coding": "huffman"}),
    ("lami_go", "bit_flip:rate=1e-2,damage=deliver", {"coding": "fixed"}),
    ("feature_imputing", "packet_erasure:rate=0.2", {"coding": "range", "withhold": 0.25}),
    ("feature_imputing", "block_fading:snr_db=12,coherence=4", {"packet_order": "channel", "num_inference_steps": 3}),
]


class Recorder(link_pb2_grpc.LinkServiceServicer):
    """Forwards a session and keeps what the transmitter wrote."""

    def __init__(self, address):
        self.stub = link_pb2_grpc.LinkServiceStub(open_channel(address))
        self.sent = []

    async def Send(self, request_iterator, context):
        async def record():
            async for item in request_iterator:
                if item.WhichOneof("item") != "open":
                    self.sent.append(item.SerializeToString())
                yield item

        async for response in self.stub.Send(record()):
            yield response


class Control(channel_pb2_grpc.ChannelControlServiceServicer):
    """Asks the emulator behind the recorder for the channel's state."""

    def __init__(self, address):
        self.stub = channel_pb2_grpc.ChannelControlServiceStub(open_channel(address))

    async def GetChannelState(self, request, context):
        return await self.stub.GetChannelState(request)


@contextlib.asynccontextmanager
async def stack(csi_refresh_s=2.0, **receiving):
    """Receiver, emulator on both ways, recorder and transmitter on free ports; -> (client, recorder).

    `receiving`: settings of the receiver.
    """
    async with contextlib.AsyncExitStack() as opened:
        free = await start_server(ServiceSettings(), lambda server: [])
        feedback = f"127.0.0.1:{free.port}"
        other = await start_server(ServiceSettings(), lambda server: [])
        back = other.port
        for running in (free, other):
            await running.stop(0)

        async def keep(running):
            opened.push_async_callback(running.stop, 0)
            return f"127.0.0.1:{running.port}"

        receiver = await keep(
            await receiver_service.serve(
                ReceiverSettings(
                    port=0, feedback_address=f"127.0.0.1:{back}", device="cpu", warm_codecs=(), **receiving
                )
            )
        )
        channel = await keep(
            await channel_service.serve(ChannelSettings(port=back, next_hop=receiver, feedback_address=feedback))
        )
        recorder = Recorder(channel)

        def add(server):
            link_pb2_grpc.add_LinkServiceServicer_to_server(recorder, server)
            channel_pb2_grpc.add_ChannelControlServiceServicer_to_server(Control(channel), server)
            return []

        relay = await keep(await start_server(ServiceSettings(), add))
        port = int(feedback.rpartition(":")[2])
        transmitter = await keep(
            await transmitter_service.serve(
                TransmitterSettings(
                    port=port, link_address=relay, device="cpu", warm_codecs=(), csi_refresh_s=csi_refresh_s
                )
            )
        )
        client = await opened.enter_async_context(AsyncClient(transmitter, receiver, channel))
        recorder.addresses = {"transmitter": transmitter, "receiver": receiver, "channel-address": channel}
        yield client, recorder


def same_picture(result, local):
    if local.reconstruction is None:
        assert result.outcome == "failed" and result.image is None
        return
    assert result.outcome == "reconstructed", result.reason
    assert (result.image == to_uint8(local.reconstruction.image)).all()
    assert (result.provenance == local.reconstruction.provenance).all()


@pytest.mark.timeout(220)
async def test_services_and_pipeline_agree(codec, photo):
    pixels = [to_uint8(photo(name, 128)) for name in ("astronaut", "coffee")]
    async with stack() as (client, recorder):
        for name, spec, options in CASES:
            await client.set_channel(spec, seed=11)
            recorder.sent.clear()
            results = [r async for r in client.send(pixels, name, options=options, seed=5, timeout_s=100)]
            local = [
                codec(name).send(to_float(p), spec, seed=11, sampler_seed=5, frame_index=i, **options)
                for i, p in enumerate(pixels)
            ]
            for result, mine in zip(results, local, strict=True):
                same_picture(result, mine)
                assert result.bytes_total == mine.bytes.total_bytes == sum(result.bytes_by_segment.values())
                assert result.packets_received == mine.rounds[0].packets_received
            assert recorder.sent == [i.SerializeToString() for m in local for i in m.items], (name, spec)
            assert sum(map(len, recorder.sent)) == sum(r.bytes_total for r in results)


@pytest.mark.timeout(220)
async def test_feedback_rounds_agree(codec, photo):
    pixels, spec = [to_uint8(photo("astronaut", 128))], "packet_erasure:rate=0.4"
    async with stack() as (client, recorder):
        for name, budget, policy in (
            ("jpeg", None, FeedbackPolicy.ERASED),
            ("lami_go", 200, FeedbackPolicy.ERASED),
            ("lami_go", 150, FeedbackPolicy.UNCERTAIN),
            ("feature_imputing", 600, FeedbackPolicy.ERASED),
        ):
            await client.set_channel(spec, seed=3)
            recorder.sent.clear()
            (result,) = [
                r
                async for r in client.send(
                    pixels, name, max_rounds=4, round_budget_bytes=budget, feedback_policy=policy, timeout_s=100
                )
            ]
            local = codec(name).send(
                to_float(pixels[0]), spec, seed=3, sampler_seed=0, max_rounds=4, round_budget_bytes=budget or 0,
                feedback_policy=policy,
            )  # fmt: skip
            assert result.rounds == len(local.rounds) > 1
            assert recorder.sent == [i.SerializeToString() for i in local.items]
            feedback = result.bytes_by_segment["feedback"]
            assert feedback == local.bytes.feedback_bytes > 0
            assert result.bytes_total == local.bytes.total_bytes == sum(map(len, recorder.sent)) + feedback
            estimate = local.reconstruction and local.reconstruction.quality_estimate
            assert result.quality_estimate == (None if estimate is None else pytest.approx(estimate))
            same_picture(result, local)


GOALS = [
    # codec, channel, the sender's limits, goal
    ("jpeg", "packet_erasure:rate=0.4", {"max_rounds": 20}, ConsumerGoal("classify", target=0.02, max_rounds=16)),
    ("jpeg", "packet_erasure:rate=0.4", {"max_rounds": 2}, ConsumerGoal("classify", (652, 834), "a face")),
    (
        "lami_go", "packet_erasure:rate=0.4",
        {"max_rounds": 4, "round_budget_bytes": 200, "feedback_policy": "uncertain"},
        ConsumerGoal("classify", (652, 834), target=0.97, round_budget_bytes=120),
    ),
    ("lami_go", "clean", {"max_rounds": 3}, ConsumerGoal("classify", target=0.99)),
    ("feature_imputing", "packet_erasure:rate=0.4", {"max_rounds": 3}, ConsumerGoal(text="a face", max_rounds=2)),
    ("toy", "packet_erasure:rate=0.2", {"max_rounds": 6}, ConsumerGoal("classify", (5,), target=1)),
    ("toy", "packet_erasure:rate=0.6", {"max_rounds": 20, "round_budget_bytes": 150}, ConsumerGoal("lit", target=0.5)),
    ("toy", "clean", {"max_rounds": 3}, ConsumerGoal("lit", (2,), "by row", target=1)),
    ("toy", "clean", {"max_rounds": 3}, ConsumerGoal("broken", target=0.5)),
    ("growing", "packet_erasure:rate=0.2", {"max_rounds": 6}, ConsumerGoal("classify", (7, 9), "a face", target=1)),
]  # fmt: skip


@pytest.mark.timeout(220)
async def test_goals_agree(codec, photo):
    pixels, load_task = to_uint8(photo("astronaut", 128)), LoadedTasks(open_zoo("cpu")).get
    reached = set()
    async with stack() as (client, recorder):
        for name, spec, limits, goal in GOALS:
            await client.set_channel(spec, seed=3)
            recorder.sent.clear()
            toy_codec.ToySession.feedback.clear()
            (result,) = [r async for r in client.send([pixels], name, goal=goal, timeout_s=100, **limits)]
            asked = list(toy_codec.ToySession.feedback)
            toy_codec.ToySession.feedback.clear()
            local = codec(name).send(
                to_float(pixels), spec, seed=3, sampler_seed=0, consumer_goal=goal, load_task=load_task,
                **limits | {"feedback_policy": FeedbackPolicy(limits.get("feedback_policy", "erased"))},
            )  # fmt: skip
            assert result.rounds == len(local.rounds) == len(local.task_results)
            assert recorder.sent == [i.SerializeToString() for i in local.items], (name, goal)
            assert result.bytes_by_segment.get("feedback", 0) == local.bytes.feedback_bytes
            assert result.bytes_total == local.bytes.total_bytes
            same_picture(result, local)
            assert result.caption == (local.reconstruction and local.reconstruction.caption)
            assert result.task_result == local.task_results[-1] and result.goal_revision == 1
            wishes = [(f.labels, f.text, f.budget_bytes, {k: s.tolist() for k, s in f.wanted.items()}) for f in asked]
            assert wishes == [
                (f.labels, f.text, f.budget_bytes, {k: s.tolist() for k, s in f.wanted.items()})
                for f in toy_codec.ToySession.feedback
            ]
            if name == "toy" and not result.task_result.reason:
                assert asked and all(f.labels in (goal.labels, (0,), (1,)) and f.text == goal.text for f in asked)
            if goal.target and not result.task_result.reason:
                *before, last = [task and task.confidence for task in local.task_results]
                assert all(confidence is None or confidence < goal.target for confidence in before)
                reached |= {name} if last >= goal.target else set()
            assert (result.task_result is None) == (goal.task is None or result.image is None)
    assert reached == {"jpeg", "toy"}, "others have nothing to add, or rounds end before"


@pytest.mark.timeout(220)
async def test_power_and_protection_agree(codec, photo):
    pixels = [to_uint8(photo("astronaut", 128))]
    async with stack(csi_refresh_s=1e-3) as (client, recorder):
        for name, spec, budget, power, share, rounds in (
            ("jpeg", "packet_erasure:rate=0.1", 4000, "equal", 0.4, 1),
            ("lami_go", "gilbert_elliott:p=0.05,r=0.25", 900, "semantic", 0.25, 3),
            ("lami_go", "coded_fading:snr_db=6,code_rate=1", 600, "semantic", None, 2),
            ("feature_imputing", "packet_erasure:rate=0.3", 1500, "semantic", 0.25, 2),
            ("webp", "packet_erasure:rate=0.3", 1500, "water_filling", 0.0, 1),
        ):
            await client.set_channel(spec, seed=3)
            recorder.sent.clear()
            wishes = {"max_rounds": rounds, "round_budget_bytes": 300} if rounds > 1 else {}
            sending = client.send(
                pixels, name, budget_bytes=budget, power_allocation=power, unequal_protection=share, timeout_s=100,
                **wishes,
            )  # fmt: skip
            (result,) = [r async for r in sending]
            assert result.failure in ("", "undecodable"), result.reason
            local = codec(name).send(
                to_float(pixels[0]), spec, seed=3, sampler_seed=0, budget=budget,
                csi=compute_csi(Chain.from_profile(parse_spec(spec)), 105),
                delivery=Delivery(PowerAllocation(power), share), **wishes,
            )  # fmt: skip
            assert result.rounds == len(local.rounds)
            assert recorder.sent == [i.SerializeToString() for i in local.items]
            assert result.bytes_total == local.bytes.total_bytes
            first = sum(i.ByteSize() for i in local.items[: _end_of_first(local.items)])
            assert first <= budget
            same_picture(result, local)
            header = local.rounds[0].frame
            chosen = [s for s in result.protection if s.round == 0]
            assert [(s.source_packets, s.repair_packets) for s in chosen] == [
                (s.source_packets, s.repair_packets) for s in header.segments if share is not None
            ]
            powers = [p for i in local.items for p in i.batch.power]
            assert bool(powers) == (power == "semantic") == (result.power is not None)
            if powers:
                assert result.power == (min(powers), max(powers))
                assert sum(powers) == pytest.approx(len(powers), abs=1e-5 * len(powers))
        assert {s.round for s in result.protection} == {0}


def _end_of_first(items):
    return next(i for i, item in enumerate(items) if item.WhichOneof("item") == "end") + 1


@pytest.mark.timeout(220)
async def test_what_the_way_back_loses_agrees(codec, photo):
    pixels = [to_uint8(photo(name, 128)) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    forth, back, waits = "packet_erasure:rate=0.4", "packet_erasure:rate=0.6", {"try_s": 2.0, "timeout_s": 7.0}
    attempts = len(answer_waits(*waits.values()))
    async with stack(**{f"feedback_{name}": value for name, value in waits.items()}) as (client, recorder):
        await client.set_channel(forth, seed=3)
        await client.set_channel(back, seed=3, reverse=True)
        results = [r async for r in client.send(pixels, "jpeg", max_rounds=4, timeout_s=100)]
        local = [
            codec("jpeg").send(
                to_float(p), forth, seed=3, sampler_seed=0, frame_index=i, max_rounds=4, reverse_channel=back,
                feedback_attempts=attempts,
            )
            for i, p in enumerate(pixels)
        ]  # fmt: skip
        assert [r.rounds for r in results] == [len(mine.rounds) for mine in local]
        for result, mine in zip(results, local, strict=True):
            same_picture(result, mine)
            assert result.packets_received == sum(r.packets_received for r in mine.rounds)
        items = [i.SerializeToString() for mine in local for i in mine.items]
        assert sorted(recorder.sent) == sorted(items)
        report = await anext(client.watch_channel(reverse=True))
        assert report.packets_in > report.packets_out > 0
        # Feedback of which nothing arrived is in the pipeline's bytes alone; all the rest is in both.
        told = sum(r.bytes_by_segment.get("feedback", 0) for r in results)
        answers = 2 * sum(len(mine.rounds) - 1 for mine in local)
        assert report.payload_bytes_in == sum(mine.bytes.feedback_bytes for mine in local) - answers
        assert 0 < told - answers <= report.payload_bytes_in


@pytest.mark.timeout(120)
async def test_the_cli_prints_the_bytes_that_were_captured(photo, tmp_path):
    names = ["astronaut", "coffee"]
    for name in names:
        Image.fromarray(to_uint8(photo(name, 128))).save(tmp_path / f"{name}.png")
    async with stack() as (_, recorder):
        flags = [f"--{name}={address}" for name, address in recorder.addresses.items()]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gocom.client.cli", "send", *(str(tmp_path / f"{n}.png") for n in names), *flags,
            "--codec", "webp", "--option", "repair_overhead=0.3", "--channel", "packet_erasure:rate=0.2", "--json",
            "--max-rounds", "3", "--power", "semantic", "--protect", "--budget-bytes", "2500",
            "--out", str(tmp_path / "out"), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        lines = [json.loads(line) for line in output.splitlines()]
        assert len(lines) == 2
        back = sum(line["bytes_by_segment"].get("feedback", 0) for line in lines)
        assert sum(line["bytes_total"] for line in lines) == sum(map(len, recorder.sent)) + back
        assert all(line["bytes_total"] == sum(line["bytes_by_segment"].values()) for line in lines)
        assert all(0 <= line["power"]["least"] <= 1 <= line["power"]["greatest"] for line in lines)
        shown = [segment for line in lines for segment in line["protection"]]
        assert {s["name"] for s in shown} == {"file"} and sum(s["repair_packets"] for s in shown) > 0
        assert all(s["loss_with"] < s["loss_without"] for s in shown if s["repair_packets"])
        assert all(line["bpp"] == pytest.approx(line["bytes_total"] * 8 / 128**2, abs=1e-5) for line in lines)


def test_uint8_survives_the_float_pipeline():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert (to_uint8(to_float(pixels)) == pixels).all()
