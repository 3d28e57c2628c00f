"""tools/benchmark_data.py: ways to read images in turns, each long enough to say something."""
import json
from types import SimpleNamespace

import pytest
from own_tool import call_tool, load_tool

from pretrain.benchmarks.loading import write_pictures


@pytest.mark.parametrize("workers", [0, 1])
def test_ways_are_timed_in_turns(tmp_path, monkeypatch, capfd, workers):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 3, (40, 48))
    words = ("photos", "--size", "16", "--workers", workers, "--batch-size", "2", "--rounds", "2", "--seconds", "0.05")
    assert not call_tool("benchmark_data", *words, "--out", "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["unit"] == ("images per second" if workers else "images per CPU-second")
    ways = figures["ways"]
    assert len(ways) == 4 and all(len(way["seconds"]) == 2 for way in ways.values())
    assert all(way["images_per_turn"] % 3 == 0 and way["low"] <= way["ratio"] <= way["high"] for way in ways.values())
    ours = next(way for name, way in ways.items() if name.startswith("ours, auto"))
    assert capfd.readouterr().out.splitlines()[-1] == f"ratio to torchvision+PIL: {ours['ratio']:.2f}"


def test_every_turn_shows_other_crops_of_all_images():
    order = load_tool("benchmark_data")._Order([4, 7])
    order.epochs = range(3, 5)
    assert list(order) == [(3, 4), (3, 7), (4, 4), (4, 7)] and len(order) == 4


def test_a_turn_lasts_a_second(monkeypatch):
    """It was one epoch: of fast ways little more than the start of one was measured."""
    tool = load_tool("benchmark_data")
    timed = []

    def seconds_of(way, epochs, wall):
        timed.append(epochs)
        return 3.0 if len(timed) == 1 else 0.3  # the first epoch starts the workers

    monkeypatch.setattr(tool, "seconds_of", seconds_of)
    assert tool.epochs_of_turn(None, SimpleNamespace(seconds=1.0, workers=1)) == 4
    assert tool.epochs_of_turn(None, SimpleNamespace(seconds=0.0, workers=0)) == 1
