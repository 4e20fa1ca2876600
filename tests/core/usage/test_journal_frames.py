"""Frames survive the round trip; no damage is ever read as something else."""

import uuid

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from paddock_core.usage.identifiers import uuid7
from paddock_core.usage.journal_frames import CHECKPOINT, Intent, Progress, decode_frames, encode_frame, salvage_frames
from paddock_core.usage.recovery import OpenRequests
from paddock_core.usage.settlement import settle

texts = st.text(max_size=40)
counts = st.integers(0, 2**40)
times = st.floats(0, 2**33)
intents = st.builds(
    Intent,
    usage_id=texts,
    tenant=texts,
    key_id=texts,
    owner_tenant=texts,
    deployment=texts,
    model=texts,
    dialect=texts,
    operation=texts,
    stream=st.booleans(),
    t_admit=times,
    reserved_tokens=counts,
    input_tokens=counts,
    acceptance_id=texts,
    end_user_hash=st.none() | texts,
    gateway_instance=texts,
    journal_seq=counts,
)
progresses = st.builds(
    Progress, usage_id=texts, at=times, engine_tokens=counts, sent_tokens=counts, first_token_at=st.none() | times
)


@given(items=st.lists(intents | progresses, max_size=8), spare=st.integers(0, 40))
def test_round_trip_in_allocated_space(items: list[Intent | Progress], spare: int) -> None:
    data = b"".join(encode_frame(item) for item in items)
    decoded = decode_frames(data + bytes(spare))
    assert list(decoded.payloads) == items
    assert decoded.end == len(data)
    assert not decoded.damaged


@given(items=st.lists(intents | progresses, max_size=8), spare=st.integers(0, 40))
def test_frames_of_other_kinds_are_passed_over(items: list[Intent | Progress], spare: int) -> None:
    data = b"".join(encode_frame(item) for item in items)
    salvaged = salvage_frames(data + bytes(spare), kinds=(CHECKPOINT,))
    assert list(salvaged.payloads) == [item for item in items if isinstance(item, Progress)]
    assert (salvaged.end, salvaged.gaps, salvaged.torn) == (len(data), (), False)


@given(item=intents, after=progresses, at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_damage_in_a_frame_that_is_passed_over_is_found(item: Intent, after: Progress, at: int, bit: int) -> None:
    first = encode_frame(item)
    damaged = bytearray(first + encode_frame(after))
    damaged[at % len(first)] ^= 1 << bit
    salvaged = salvage_frames(bytes(damaged), kinds=(CHECKPOINT,))
    assert salvaged.gaps
    assert salvaged.payloads == (after,)


@given(items=st.lists(progresses, min_size=1, max_size=4), data=st.data())
def test_one_changed_bit_never_yields_a_changed_payload(items: list[Progress], data: st.DataObject) -> None:
    frames = bytearray(b"".join(encode_frame(item) for item in items))
    position = data.draw(st.integers(0, len(frames) * 8 - 1))
    frames[position // 8] ^= 1 << position % 8
    read = list(decode_frames(bytes(frames)).payloads)
    assert read == items[: len(read)]
    assert len(read) < len(items)


@given(items=st.lists(intents | progresses, max_size=8), spare=st.integers(0, 40))
def test_there_is_nothing_to_salvage_in_what_is_whole(items: list[Intent | Progress], spare: int) -> None:
    data = b"".join(encode_frame(item) for item in items)
    salvaged = salvage_frames(b"12345678" + data + bytes(spare), offset=8)
    assert list(salvaged.payloads) == items
    assert (salvaged.end, salvaged.gaps, salvaged.torn) == (len(data) + 8, (), False)


@given(items=st.lists(intents | progresses, min_size=2, max_size=6), data=st.data())
def test_damage_in_the_middle_costs_only_the_frames_it_hit(items: list[Intent | Progress], data: st.DataObject) -> None:
    frames = [encode_frame(item) for item in items]
    hit = data.draw(st.integers(0, len(items) - 2))
    begin = sum(len(frame) for frame in frames[:hit])
    noise = data.draw(st.just(bytes(len(frames[hit]))) | st.binary(min_size=1, max_size=len(frames[hit])))
    broken = noise.ljust(len(frames[hit]), b"\xff")
    assume(broken != frames[hit] and not salvage_frames(broken).payloads)
    whole = b"".join((*frames[:hit], broken, *frames[hit + 1 :]))
    salvaged = salvage_frames(whole + bytes(20))
    assert list(salvaged.payloads) == items[:hit] + items[hit + 1 :]
    assert salvaged.gaps == ((begin, begin + len(frames[hit])),)
    assert (salvaged.end, salvaged.torn) == (len(whole), False)


@given(items=st.lists(progresses, max_size=4), last=intents, data=st.data())
def test_a_torn_end_is_no_damage_in_the_middle(items: list[Progress], last: Intent, data: st.DataObject) -> None:
    frames = b"".join(encode_frame(item) for item in items)
    final = encode_frame(last)
    cut = data.draw(st.integers(4, len(final) - 1))
    salvaged = salvage_frames(frames + final[:cut] + bytes(9))
    assume(len(salvaged.payloads) == len(items))  # what was cut off may have been zeros
    assert (list(salvaged.payloads), salvaged.gaps, salvaged.torn) == (items, (), True)


@given(items=st.lists(intents, max_size=10, unique_by=lambda item: item.usage_id), data=st.data())
def test_recovery_settles_each_open_request_once(items: list[Intent], data: st.DataObject) -> None:
    items = [msgspec.structs.replace(item, reserved_tokens=item.input_tokens + 9) for item in items]
    settled = data.draw(st.sets(st.sampled_from([item.usage_id for item in items]))) if items else set()
    requests = OpenRequests()
    requests.add(items)
    for item in items:
        progress = Progress(usage_id=item.usage_id, at=1.0, engine_tokens=7, sent_tokens=5)
        requests.add([progress])
        if item.usage_id in settled:
            record = settle(
                intent=item, progress=progress, status="ok", finish_reason="stop", final=True, ended_at=2.0, seq=1
            )
            requests.add([record])
    rows = [request.settle() for request in requests.left_open()]
    assert [row.usage_id for row in rows] == [item.usage_id for item in items if item.usage_id not in settled]
    asked = [request.settle(final_tokens=9) for request in requests.left_open()]
    assert all(row.output_tokens == (9 if row.stream else 5) and row.output_tokens_engine == 9 for row in asked)
    assert all((row.output_tokens, row.billed_from, row.usage_source) == (5, "sent", "bounded") for row in rows)


@given(milliseconds=st.integers(0, 2**48 - 1), random=st.binary(min_size=10, max_size=16))
def test_uuid7_is_one(milliseconds: int, random: bytes) -> None:
    text = uuid7(unix_ms=milliseconds, random=random)
    value = uuid.UUID(text)
    assert str(value) == text
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == milliseconds
