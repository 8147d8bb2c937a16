import pickle

from selip_core.errors import DataError, Problem


def test_every_problem_is_kept_and_the_first_hundred_are_shown():
    error = DataError("a.jsonl", [Problem(f"a.jsonl:{line}", "wrong") for line in range(1, 251)])
    assert len(error.problems) == 250
    assert str(error).startswith("a.jsonl (250 problems)\n  a.jsonl:1: wrong\n")
    assert "a.jsonl:100: wrong\n  ... and 150 more" in str(error)
    assert "a.jsonl:101" not in str(error)


def test_an_error_travels_whole_between_processes():
    error = DataError("a.jsonl", [Problem("a.jsonl:2", "wrong")])
    received = pickle.loads(pickle.dumps(error))
    assert (str(received), received.problems) == (str(error), error.problems)


def test_of_a_text_alone_the_text_is_told():
    assert str(DataError("worker 0 says: a.jsonl:2: wrong")) == "worker 0 says: a.jsonl:2: wrong"
