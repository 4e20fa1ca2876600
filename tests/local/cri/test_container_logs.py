import re

from hypothesis import given
from hypothesis import strategies as st
from paddock_local.cri.logs import MAX_PART, LineSplitter, LogFile, stamp

LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$", re.DOTALL)


def parse(data):
    """What the kubelet makes of a log: parts joined, full lines ended."""
    found = [LINE.match(entry) for entry in data.split(b"\n")[:-1]]
    assert all(found), data
    return b"".join(entry[3] + (b"\n" if entry[2] == b"F" else b"") for entry in found)


def test_the_time_has_nanoseconds():
    assert stamp(1_475_746_449_669_794_202) == "2016-10-06T09:34:09.669794202Z"


@given(st.lists(st.binary(max_size=24), max_size=12))
def test_however_output_is_cut_its_lines_come_back(chunks):
    splitter = LineSplitter("stdout", max_part=7)
    logged = b"".join(splitter.feed(chunk, 1) for chunk in chunks) + splitter.flush(1)
    written = b"".join(chunks)
    assert parse(logged) in (written, written + b"\n")


def test_no_entry_is_longer_than_the_kubelet_reads_at_once():
    splitter = LineSplitter("stderr")
    logged = splitter.feed(b"x" * (3 * MAX_PART + 5) + b"\n", 1)
    bodies = [LINE.match(entry)[3] for entry in logged.split(b"\n")[:-1]]
    assert [len(body) for body in bodies] == [MAX_PART, MAX_PART, MAX_PART, 5]


def test_a_rotated_log_goes_on_in_a_new_file(tmp_path):
    path = tmp_path / "pod" / "0.log"
    log = LogFile(path)
    log.write(b"one\n")
    path.rename(tmp_path / "old.log")
    log.write(b"still old\n")
    log.reopen()
    log.write(b"two\n")
    log.close()
    assert (tmp_path / "old.log").read_bytes() == b"one\nstill old\n"
    assert path.read_bytes() == b"two\n"
