"""What the command prints: a request that can be pasted, and that this model answers."""

from __future__ import annotations

import json
import shlex

import pytest
from fastapi.testclient import TestClient

from jobs.serve.api import ModelInfo
from jobs.serve.greeting import greeting
from mrigen.labels import Cell


def pasted(text: str) -> list[str]:
    return shlex.split(text.split("\n\n")[1])


def without(model: ModelInfo, *untrained: str) -> ModelInfo:
    names = {str(Cell.parse(name)) for name in untrained}
    cells = [
        info.model_copy(update={"trained": info.trained and f"{info.pathology}:{info.modality}" not in names})
        for info in model.cells
    ]
    return model.model_copy(update={"cells": cells})


def test_the_line_to_paste_is_answered(model: ModelInfo, client: TestClient) -> None:
    words = pasted(greeting([model], "http://127.0.0.1:1", keyed=False))
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:1/v1/samples"]
    body = words[words.index("-d") + 1]
    assert json.loads(body)["pathology"] == "Glioblastoma"
    headers = dict([words[words.index("-H") + 1].split(": ")])
    answer = client.post("/v1/samples", content=body, headers=headers)
    assert answer.headers["content-type"] == "image/png"
    assert words[-2:] == ["-o", "sample.png"]


@pytest.mark.parametrize("all_of_them", [False, True])
def test_it_asks_for_a_pair_that_the_model_knows_if_it_knows_any(model: ModelInfo, all_of_them: bool) -> None:
    names = [f"{info.pathology}:{info.modality}" for info in model.cells] if all_of_them else ["Glioblastoma:FLAIR"]
    words = pasted(greeting([without(model, *names)], "http://x", keyed=False))
    body = json.loads(words[words.index("-d") + 1])
    assert (body["pathology"] == "Glioblastoma") is all_of_them
    assert body.get("allow_untrained", False) is all_of_them


def test_the_key_is_named_and_not_printed(model: ModelInfo) -> None:
    assert "$MRIGEN_API_KEY" in greeting([model], "http://x", keyed=True)
    assert "MRIGEN_API_KEY" not in greeting([model], "http://x", keyed=False)


def test_what_must_be_known_of_the_model_is_said(model: ModelInfo) -> None:
    assert greeting([model], "http://x", keyed=False).startswith(
        "Model fake (0123456789ab), 19 of 20 cells trained; made up"
    )
