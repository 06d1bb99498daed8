"""The table's arithmetic, without an engine: what is lost, doubled or late must show."""

from accounting import account, as_markdown


def handed(*indexes):
    return [{"event": "handed", "index": index, "at": 100.0 + index} for index in indexes]


def result(index, at, reason=""):
    outcome = "failed" if reason else "reconstructed"
    psnr_db = None if reason else 30.0 + index
    return {"event": "result", "index": index, "at": at, "outcome": outcome, "reason": reason, "psnr_db": psnr_db}


def row(*events):
    return account(list(events), "kill", "channel", "jpeg", 102.0, 105.0)


def test_every_frame_has_one_of_three_fates():
    made = row(*handed(0, 1, 2, 3), result(0, 101.0), result(1, 106.5), result(2, 107.0, "link: gone"))
    assert (made.frames, made.delivered, made.failed, made.silent) == (4, 2, {"link: gone": 1}, 1)
    assert (made.fault_s, made.recovery_s, made.gap_s, made.worst_psnr_db) == (3.0, 1.5, 5.5, 30.0)
    assert made.error is None


def test_a_second_result_of_a_frame_is_a_duplicate_and_no_delivery():
    made = row(*handed(0, 1), result(0, 101.0), result(0, 106.0), result(1, 107.0))
    assert (made.delivered, made.duplicates, made.silent) == (2, 1, 0)


def test_only_a_picture_counts_as_recovery():
    assert row(*handed(0, 1), result(0, 101.0), result(1, 106.0, "timeout")).recovery_s is None
    assert row(*handed(0), {"event": "error", "at": 106.0, "error": "NotReady: gone"}).error == "NotReady: gone"


def test_the_table_has_a_line_a_row():
    made = row(*handed(0, 1), result(0, 101.0), result(1, 105.2, "link: gone"))
    (last,) = as_markdown([made]).splitlines()[2:]
    assert last == "| kill | channel | jpeg | 2 | 1 | 1 × link: gone | 0 | 0 | 3.0 | never | 4.2 |"
