import argparse

import pytest

from selip_core.cli import simulate


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers())
    return parser.parse_args(["simulate", *arguments])


def test_makes_a_data_set(tmp_path, capsys):
    arguments = parse(
        *("--out", str(tmp_path / "set"), "--studies", "2", "--spacing", "8", "--seed", "3"),
        *("--workers", "1", "--sequences", "T2", "DWI"),
    )
    assert arguments.run(arguments) == 0
    assert "2 simulated studies" in capsys.readouterr().out
    assert len((tmp_path / "set" / "manifest.jsonl").read_text().splitlines()) == 4


def test_says_how_to_go_on_after_an_interruption(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("selip_core.simulation.study_set.write_study", interrupt)
    arguments = parse("--out", str(tmp_path), "--studies", "1", "--spacing", "8")
    with pytest.raises(KeyboardInterrupt, match="are complete, and the same command goes on"):
        arguments.run(arguments)
