"""Readers quote headers in warnings and logs: none of it is shown while a volume is read."""

import logging
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import monai.data  # noqa: F401  # which adds filters of its own
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.misc import warn_and_log

from selip_core.data.dicom import read_dicom
from selip_core.data.quiet import _FILTER, quiet_readers

CANARY = "DOE^JANE"


@pytest.fixture
def folder(tmp_path):
    """A series whose identifier is a name: pydicom warns of it with its value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(3):
            dataset = dcmread(get_testdata_file("MR_small.dcm"))
            dataset.ImagePositionPatient = [0, 0, number]
            dataset.SeriesInstanceUID = CANARY
            dataset.save_as(tmp_path / f"{number}.dcm")
    return tmp_path


def test_pydicom_would_show_the_value(folder):
    with pytest.warns(UserWarning, match="DOE"):
        dcmread(folder / "0.dcm").SeriesInstanceUID  # noqa: B018


def test_a_reading_shows_nothing_and_counts(folder, caplog, capfd):
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        before = list(warnings.filters)
        read_dicom(folder)
        assert warnings.filters == before
    assert not caught
    (record,) = caplog.records
    assert record.message == "3 messages of readers hidden, as they may quote the file"
    assert CANARY not in "".join(capfd.readouterr())


def test_warnings_as_errors_do_not_stop_a_reading(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_dicom(folder).shape == (1, 64, 64, 3)


def test_threads_that_enter_and_leave_in_turn_leave_the_filters_as_they_were(folder):
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read_dicom, [folder] * 12))
    assert not caught
    assert warnings.filters == before


def test_other_threads_and_our_own_warnings_are_heard():
    entered, spoken = threading.Event(), threading.Event()

    def read():
        with quiet_readers():
            entered.set()
            spoken.wait(10)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=read)
        thread.start()
        entered.wait(10)
        warn_and_log("of the user's own reading")
        spoken.set()
        thread.join()
        with quiet_readers():
            warnings.warn_explicit("ours", UserWarning, "file", 1, module="selip_core.data")
            warn_and_log("hidden")
    assert [str(warning.message) for warning in caught] == ["of the user's own reading", "ours"]


def test_a_filter_that_is_brought_back_hides_nothing():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet_readers():
            elsewhere = warnings.catch_warnings()
            elsewhere.__enter__()
        elsewhere.__exit__(None, None, None)
        assert _FILTER in warnings.filters
        warn_and_log("heard")
    assert [str(warning.message) for warning in caught] == ["heard"]


@pytest.mark.slow
def test_a_process_that_was_not_prepared_shows_nothing(folder):
    # As a worker is that was spawned: its filters are Python's own.
    program = "import sys; from pathlib import Path; from selip_core.data.dicom import read_dicom; "
    program += "print(tuple(read_dicom(Path(sys.argv[1])).shape))"
    command = [sys.executable, "-W", "always::UserWarning", "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "(1, 64, 64, 3)\n", done.stderr
    assert CANARY not in done.stderr
