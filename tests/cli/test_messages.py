"""Warnings and logs on standard error, as users read them."""

import io
import subprocess
import sys
import threading
from contextlib import redirect_stderr

from tqdm import tqdm

from selip_core.cli.messages import plain_messages, show, unfailing_stderr

PROGRAM = """
import logging, sys, warnings
from selip_core.cli.messages import plain_messages

with plain_messages(verbose="-v" in sys.argv):
    warnings.warn("what to do", stacklevel=1)
    logging.getLogger("selip_core.data").warning("what was %s", "seen")
    logging.getLogger("selip_core.data").info("what is done")
warnings.warn("afterwards")
"""


def stderr_of(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_a_warning_is_one_line_without_its_code():
    first, second, *after = stderr_of()
    assert (first, second) == ("selip: warning: what to do", "selip: warning: what was seen")
    assert "UserWarning: afterwards" in after[0]  # Python's own way is back


def test_verbose_tells_where_a_warning_comes_from():
    assert stderr_of("-v")[:4] == [
        "selip: warning: what to do",
        "selip: info: that warning is a UserWarning of <string>:6",
        "selip: warning: what was seen",
        "selip: info: what is done",
    ]


OTHERS = """
import logging, sys, types, warnings
from selip_core.cli.messages import plain_messages

other = types.ModuleType("other.inner")
exec(
    "import logging, warnings\\n"
    "logger = logging.getLogger('other.inner')\\n"
    "def speak():\\n"
    "    warnings.warn('of jane', FutureWarning, stacklevel=2)\\n"
    "    logger.error('of %s', 'jane', exc_info=ValueError('jane'))\\n",
    other.__dict__,
)
if "own-handler" in sys.argv:
    other.logger.addHandler(logging.StreamHandler())
    other.logger.propagate = False
with plain_messages(verbose="-v" in sys.argv):
    for _ in range(3):
        warnings.simplefilter("always")
        other.speak()
logging.getLogger("other").error("afterwards of jane")
"""


def of_others(*arguments):
    command = [sys.executable, "-c", OTHERS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_of_other_packages_only_the_kind_is_shown():
    assert of_others()[:-1] == [
        "selip: warning: FutureWarning of other; selip --verbose shows its text",
        "selip: error: log message of other; selip --verbose shows its text",
    ]
    assert of_others()[-1] == "selip: error: afterwards of jane"  # logging is as it was


def test_handlers_of_other_packages_show_no_text():
    shown = of_others("own-handler")[:-1]
    assert len(shown) == 4
    assert "jane" not in "".join(shown)


def test_verbose_shows_what_other_packages_say():
    shown = "\n".join(of_others("-v"))
    assert "selip: warning: of jane" in shown
    assert "selip: error: of jane" in shown
    assert "ValueError: jane" in shown


def test_an_error_in_a_thread_is_one_line_without_values(capsys):
    def fail():
        raise OSError("jane")

    with plain_messages(verbose=False):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert capsys.readouterr().err == "selip: warning: a background thread failed: OSError\n"


def test_standard_error_that_fails_does_no_harm():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    with redirect_stderr(Full()), unfailing_stderr():
        show("warning", "lost")
        for _ in tqdm(range(3)):
            pass
        sys.stderr.flush()
