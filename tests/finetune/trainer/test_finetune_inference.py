"""What serves a fine-tuned model answers what it was asked, says why it does not, and is bounded in all it does."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tiny_model import make_tiny_model
from model.finetune import inference
from model.finetune.inference import Loaded, Refusal

TEXTS = ["What is the colour of the sky?", "The sky is blue."]
ASKED = {
    "messages": [{"role": "user", "content": "What is the colour of the sky?"}],
    "parameters": {"max_new_tokens": 5},
}


class Context:
    """As AWS's toolkits give it."""

    status = 200

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:  # noqa: ARG002
        self.status = code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_tiny_model(tmp_path_factory.mktemp("served"), TEXTS, layers=1, hidden=32)
    (made / "model_card.json").write_text(json.dumps({"model_version": "job-7"}))
    return made


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return inference.model_fn(str(folder))


def answered(
    loaded: Loaded, body: Any, *, content_type: str = "application/json", accept: str = "*/*"
) -> tuple[int, Any]:
    """Status and content, by the way a request goes in the container."""
    context = Context()
    text = body if isinstance(body, str) else json.dumps(body)
    asked = inference.input_fn(text, content_type, context)
    said = inference.output_fn(inference.predict_fn(asked, loaded, context), accept, context)
    return context.status, json.loads(said)


def test_a_conversation_is_answered_with_version_usage_and_why_it_ended(loaded: Loaded) -> None:
    status, said = answered(loaded, ASKED)
    assert status == 200
    assert said.keys() == {"generated_text", "model_version", "finish_reason", "usage"}
    assert (said["model_version"], said["finish_reason"]) == ("job-7", "length")
    assert said["usage"]["completion_tokens"] == 5
    assert answered(loaded, ASKED) == (status, said)


def test_a_text_is_gone_on_with_and_a_list_is_answered_as_if_each_came_alone(loaded: Loaded) -> None:
    text = {"inputs": "The sky", "parameters": {"max_new_tokens": 3}}
    status, said = answered(loaded, [ASKED, text])
    assert status == 200
    assert said == [answered(loaded, ASKED)[1], answered(loaded, text)[1]]


def test_a_seed_says_what_is_drawn(loaded: Loaded) -> None:
    def drawn(seed: int) -> str:
        how = {"temperature": 2.0, "seed": seed, "max_new_tokens": 12}
        return str(answered(loaded, {"inputs": "The sky", "parameters": how})[1]["generated_text"])

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_an_answer_ends_before_what_it_is_to_stop_at(loaded: Loaded) -> None:
    whole = answered(loaded, ASKED)[1]["generated_text"]
    stop = whole[2:4]
    status, said = answered(loaded, {**ASKED, "parameters": {"max_new_tokens": 5, "stop": stop}})
    assert (status, said["generated_text"], said["finish_reason"]) == (200, whole[: whole.index(stop)], "stop")


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "The body is not JSON"),
    "nothing": ([], "The list has 0 requests; 1 to 16 are taken."),
    "too many": ([ASKED] * 17, "The list has 17 requests"),
    "a number": (7, 'An object with "messages" or "inputs" is wanted, not 7.'),
    "neither": ({"parameters": {}}, 'Give either "messages" or "inputs".'),
    "both": ({"messages": [], "inputs": "a"}, 'Give either "messages" or "inputs".'),
    "another key": ({"inputs": "a", "stream": True}, '"stream" is not known; known are messages'),
    "an empty text": ({"inputs": ""}, 'Inputs is ""; a text to go on with is wanted.'),
    "no role": ({"messages": [{"content": "a"}]}, "Message 1 is"),
    "a picture": ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "Message 1 is"),
    "many tokens": ({"inputs": "a", "parameters": {"max_new_tokens": 4097}}, "accepted is a whole number from 1 to 4096"),
    "true": ({"inputs": "a", "parameters": {"max_new_tokens": True}}, "Max_new_tokens is true"),
    "hot": ({"inputs": "a", "parameters": {"temperature": 2.5}}, "accepted is a number from 0 to 2."),
    "a parameter": ({"inputs": "a", "parameters": {"top_k": 5}}, 'Parameter "top_k" is not known'),
    "stops": ({"inputs": "a", "parameters": {"stop": ["a"] * 5}}, "at most 4 texts"),
    "more than fits": ({"inputs": "a", "parameters": {"max_new_tokens": 600}}, "the model takes 512 together"),
    "a long prompt": ({"inputs": "sky " * 600}, "the model takes 512 together"),
    "the second": ([ASKED, {"inputs": 1}], "Request 2: inputs is 1"),
}  # fmt: skip


def test_a_temperature_of_0_draws_nothing_though_the_base_model_was_published_to_sample(
    folder: Path, loaded: Loaded, tmp_path: Path
) -> None:
    """transformers takes what a request leaves at a default from the model's own settings, if 4.50 or newer saved it."""
    samples = Path(shutil.copytree(folder, tmp_path / "samples"))
    said = json.loads((samples / "generation_config.json").read_text())
    (samples / "generation_config.json").write_text(
        json.dumps(said | {"do_sample": True, "temperature": 2.0, "repetition_penalty": 1.3})
    )
    assert (
        answered(inference.model_fn(str(samples)), ASKED)[1]["generated_text"]
        == (answered(loaded, ASKED)[1]["generated_text"])
    )


def test_an_answer_ends_where_its_template_ends_a_turn_though_no_token_does(folder: Path, tmp_path: Path) -> None:
    """As with `chatml` on a base model that has no <|im_end|>: what it learned to write there are letters."""
    loaded = inference.model_fn(str(folder))
    asked = {**ASKED, "parameters": {"max_new_tokens": 40}}
    whole = answered(loaded, asked)[1]["generated_text"]
    ending = max(re.findall(r"[a-zA-Z]{3,}", whole), key=len)
    loaded.tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'user' %}<|end|>{% else %}"
        + ending
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    said = answered(loaded, asked)[1]
    assert (said["generated_text"], said["finish_reason"]) == (whole[: whole.index(ending)], "stop")


@pytest.mark.parametrize(("body", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_answered_is_a_400_that_says_why(loaded: Loaded, body: Any, said: str) -> None:
    status, answer = answered(loaded, body)
    assert status == 400
    assert said in answer["error"]


def test_another_type_a_large_body_and_an_unknown_answer_have_statuses_of_their_own(loaded: Loaded) -> None:
    assert answered(loaded, "a,b", content_type="text/csv")[0] == 415
    assert answered(loaded, json.dumps({"inputs": "a" * (1 << 20)}))[0] == 413
    assert answered(loaded, ASKED, accept="text/csv")[0] == 406
    assert (
        answered(loaded, ASKED, content_type="Application/JSON; charset=utf-8", accept="text/html, application/json")[0]
        == 200
    )


def test_a_model_without_a_chat_template_takes_texts_alone(folder: Path) -> None:
    loaded = inference.model_fn(str(folder))
    loaded.tokenizer.chat_template = None
    assert answered(loaded, {"inputs": "The", "parameters": {"max_new_tokens": 1}})[0] == 200
    status, said = answered(loaded, ASKED)
    assert (status, "no chat template" in said["error"]) == (400, True)


def test_a_template_that_refuses_a_conversation_is_the_askers_mistake(folder: Path) -> None:
    loaded = inference.model_fn(str(folder))
    loaded.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    status, said = answered(loaded, ASKED)
    assert (status, "roles must alternate" in said["error"]) == (400, True)


def test_what_takes_too_long_is_cut_and_says_so(loaded: Loaded) -> None:
    ask = inference.ask_of({"inputs": "The sky", "parameters": {"max_new_tokens": 100}})
    said = inference.answer(loaded, ask, inference.prompt_of(ask, loaded), seconds=1e-9)
    assert said["finish_reason"] in ("time", "stop")
    assert said["usage"]["completion_tokens"] == 1


def test_a_refusal_passes_through_what_predicts(loaded: Loaded) -> None:
    refusal = Refusal("no", 400)
    assert inference.predict_fn(refusal, loaded) is refusal


def test_weights_that_are_pickled_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        inference.model_fn(str(pickled))
