import base64

import numpy as np
import pytest

from selip_core.report import (
    Arm,
    HeldOutImage,
    NearestReport,
    Page,
    Picture,
    ReportTexts,
    SampleStudy,
    SimilarityMatrix,
)

DOT = "data:image/png;base64," + base64.b64encode(b"not a real picture").decode()


def figure(value):
    return {"value": value, "low": value / 2, "high": (1 + value) / 2, "chance": 0.125}


def direction(value):
    measures = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")
    return {"queries": 37, "gallery": 8.5, **{name: figure(value) for name in measures}}


def retrieval(value):
    section = {
        "abnormal": {"image_to_text": direction(value), "text_to_image": direction(value / 2)},
        "normal": {
            "image_to_text": direction(value),
            "normal_against_abnormal": {**figure(value), "normal": 11, "abnormal": 26},
        },
    }
    return {"pooled": section, "sequences": {"T2": section, "DWI": section}}


def arm(name, key, value):
    history = [
        {"epoch": epoch, "validation": {"recall": value, "chance": 0.125, "queries": 9}}
        for epoch in range(3)
    ]
    return Arm(name, key, f"{name} does what it does", retrieval(value), history)


@pytest.fixture
def page():
    return Page(
        counts={"train": 70, "validation": 15, "test": 16, "normal": 41},
        sequences=("T2", "DWI"),
        epochs=3,
        seed=5,
        arms=[arm("Plain CLIP", "clip", 0.25), arm("With similarity", "similarity", 0.375)],
        differences={
            direction: {
                name: {"value": value, "low": value - 0.125, "high": value + 0.125}
                for name in ("R@1", "nDCG@10", "kind@1")
            }
            for direction, value in (("image_to_text", 0.125), ("text_to_image", -0.25))
        },
        samples=[
            SampleStudy(
                title="sim-00007",
                slice_mm=-12.0,
                lesions=[("acute infarct, left pons, 2.0 ml", True)],
                images=[("T2", Picture(DOT, "T2 of sim-00007"))],
                reports=[ReportTexts("T2", "A bright lesion in the pons.", "脑桥见高信号影。")],
            )
        ],
        reports=["Normal brain.", "A bright lesion in the pons."],
        matrices=[SimilarityMatrix("As measured", "By site.", np.array([[1, 0.375], [0.375, 1]]))],
        held_out=[
            HeldOutImage(
                title="sim-00009, T2",
                picture=Picture(DOT, "T2 of sim-00009"),
                text="A dark lesion in the insula.",
                nearest={
                    "Plain CLIP": [NearestReport("A bright lesion in the pons.", 0.71, False)],
                    "With similarity": [NearestReport("A dark lesion in the insula.", 0.83, True)],
                },
            )
        ],
        seconds={"Simulate": 61.0, "Pretrain": 2.5},
        environment={"torch": "2.13.0"},
        commands=["selip demo --out demo --seed 5"],
    )
