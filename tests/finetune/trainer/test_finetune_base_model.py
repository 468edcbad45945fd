"""Base models: from a channel, a path or the Hub, whole, without pickles, at the commit a run began with; anything else told in one sentence."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import CHATS, asked, place_in, tiny_model

from model.finetune import base_model, hub, job
from model.finetune.base_model import BaseModel, find_base_model, fitted, load_weights
from model.finetune.job import Place
from model.finetune.problems import BadInputError

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "damaged"))


def found(folder: Path, tmp_path: Path, **given: Any) -> BaseModel:
    return find_base_model(asked(**given), place_in(tmp_path / "job", folder, {"training": CHATS}))


def edited(file: Path, **values: Any) -> None:
    said = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")


def without_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def broken_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (an_adapter, "merge the adapter with its base model first"),
        (without_weights, "has no weights as safetensors. It has pickles"),
        (without_a_shard, "lacks 1 of 2 files of weights, model-00002-of-00002.safetensors"),
        (without_a_tensor, "lacks 1 of its weights, model.norm.weight"),
        (broken_off, "cannot be read"),
        (lambda folder: edited(folder / "config.json", hidden_size=48), "cannot be read"),
        (lambda folder: edited(folder / "config.json", model_type="of_my_own", architectures=None), "cannot be read as a model"),
        (lambda folder: edited(folder / "config.json", vocab_size=100), "and the model embeds 100"),
        (lambda folder: edited(folder / "tokenizer_config.json", eos_token=None), "no token that ends a text"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "The tokenizer of"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% for m in messages %}"), "is no Jinja template"),
    ],
    ids=[
        "no config", "an adapter", "pickles", "a shard missing", "a tensor missing", "broken off", "other shapes", "unknown kind",
        "fewer embeddings", "no end", "no tokenizer", "a broken template",
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_trained_is_told_before_the_first_step(
    harm: Callable[[Path], Any], said: str, folder: Path, tmp_path: Path
) -> None:
    harm(folder)
    with pytest.raises(BadInputError) as refused:
        load_weights(asked(), found(folder, tmp_path))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tokenizer_without_padding_pads_with_what_ends_a_text(folder: Path, tmp_path: Path) -> None:
    edited(folder / "tokenizer_config.json", pad_token=None)
    assert found(folder, tmp_path).tokenizer.pad_token == "<|end|>"


def test_a_chat_template_can_be_given_and_is_read_before_anything_else(whole: Path, tmp_path: Path) -> None:
    assert "<|im_start|>" in str(found(whole, tmp_path / "a", chat_template="chatml").tokenizer.chat_template)
    assert found(whole, tmp_path / "b", chat_template="{{ messages }}").tokenizer.chat_template == "{{ messages }}"
    with pytest.raises(BadInputError, match="chat_template is no Jinja template"):
        found(whole, tmp_path / "c", chat_template="{% for %}")


def test_sequences_are_no_longer_than_the_model_has_positions(whole: Path, tmp_path: Path) -> None:
    base = found(whole, tmp_path)
    assert fitted(asked(max_length=4096), base).max_length == 512
    assert fitted(asked(max_length=100), base).max_length == 100


def test_a_model_by_a_path_or_by_nothing_at_all(whole: Path, tmp_path: Path) -> None:
    place = place_in(tmp_path, None, {"training": CHATS})
    assert find_base_model(asked(model_name=str(whole)), place).folder == whole
    for name, said in {
        "": "There is no base model",
        "/nowhere": "no base model at",
        "s3://a/b": "did not come by a channel",
    }.items():
        with pytest.raises(BadInputError, match=said):
            find_base_model(asked(model_name=name), place)


def test_with_a_channel_the_libraries_are_kept_off_the_network(whole: Path, tmp_path: Path) -> None:
    with_channel = place_in(tmp_path / "with", whole, {"training": CHATS})
    without = place_in(tmp_path / "without", None, {"training": CHATS})
    pushing = {
        "push_to_hub": True,
        "hub_model_id": "me/mine",
        "hub_token_secret_arn": "arn:aws:ssm:us-east-1:123456789012:parameter/t",
    }
    assert job.network(asked(), with_channel) == {"HF_HUB_OFFLINE": "1"}
    assert job.network(asked(), without) == {}
    assert job.network(asked(**pushing), with_channel) == {}


def host_of(place: Place, hosts: int = 1, gpus: int = 0) -> Place:
    return replace(place, hosts=tuple(f"algo-{n}" for n in range(1, hosts + 1)), gpus=gpus)


def test_several_hosts_reach_each_other_by_the_interface_that_sagemaker_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_NETWORK_INTERFACE_NAME", "eth0")
    place = place_in(tmp_path, None, {"training": CHATS})
    assert job.network(asked(), host_of(place, 2)) == {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "eth0"}
    assert job.network(asked(), place) == {}


def test_a_single_process_has_a_single_gpu_and_none_has_less(tmp_path: Path) -> None:
    """Of several that it sees the Trainer takes all, with a batch for each: more examples a step than were asked for."""
    place = host_of(place_in(tmp_path, None, {"training": CHATS}), gpus=4)
    assert job.gpus_seen(asked(processes_per_host=1), place) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert job.gpus_seen(asked(), place) == {}
    assert job.gpus_seen(asked(), host_of(place, gpus=1)) == {}
    with pytest.raises(BadInputError, match=r"processes_per_host is 8, and this host has 4 GPUs"):
        job.gpus_seen(asked(processes_per_host=8), place)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 128 bytes"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["allocator", "kernel"],
)
def test_memory_that_runs_out_while_weights_are_read_is_not_taken_for_damage(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    base = found(whole, tmp_path)
    monkeypatch.setattr(base_model.AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(type(error)) as raised:
        load_weights(asked(), base)
    assert raised.value is error


def test_settings_of_generation_that_transformers_would_not_save_do_not_cost_a_trained_model(
    folder: Path, tmp_path: Path
) -> None:
    """As of the first Llama 2 and Vicuna: they are read with a warning, and refused when the trained model is written."""
    end = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    edited(folder / "generation_config.json", temperature=0.9, top_p=0.6)
    model = load_weights(asked(), found(folder, tmp_path))
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/generation_config.json").read_text())
    assert (saved["temperature"], saved["do_sample"]) == (0.9, True)
    assert end in saved["eos_token_id"]


def test_what_ends_a_turn_ends_answers_though_the_base_model_ends_texts_by_another_token(
    folder: Path, tmp_path: Path
) -> None:
    """As of Qwen's base models, whose turns end with <|im_end|> and whose texts with <|endoftext|>."""
    edited(folder / "tokenizer_config.json", eos_token="<pad>")
    for name in ("config.json", "generation_config.json"):
        edited(folder / name, eos_token_id=0)
    base = found(folder, tmp_path)
    ends = load_weights(asked(), base).generation_config.eos_token_id
    assert {"<|end|>", "<pad>"} <= set(base.tokenizer.convert_ids_to_tokens(ends))


class Hub(ThreadingHTTPServer):
    """A stand-in for the Hub, with one model. `failing` answers with that status first, as often as it says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder, self.commits, self.failing = folder, dict(COMMITS), [0, 0]
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.failing[1]:
            self.server.failing[1] -= 1
            return self._send(self.server.failing[0], b"")
        if "/gated/" in self.path:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        if "/me/tiny" not in self.path:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        revision = self.path.split("/revision/" if self.path.startswith("/api/") else "/resolve/")[-1].split("/")[0]
        commit = self.server.commits.get(revision, revision)
        if commit not in self.server.commits.values():
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if self.path.startswith("/api/"):
            files = [{"rfilename": file.name} for file in self.server.folder.iterdir()]
            return self._send(200, json.dumps({"id": "me/tiny", "sha": commit, "siblings": files}).encode())
        body = (self.server.folder / self.path.rpartition("/")[2]).read_bytes()
        return self._send(200, body, {"ETag": f'"{hash(body)}"', "X-Repo-Commit": commit})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def the_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_own.py").write_text("a program")
    with Hub(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
        monkeypatch.setattr(hub.time, "sleep", lambda _: None)
        yield server
        server.shutdown()


class TestOfTheHub:
    def test_comes_whole_without_pickles_and_programs(self, the_hub: Hub, tmp_path: Path) -> None:
        base = find_base_model(asked(model_name="me/tiny"), place_in(tmp_path / "job", None, {}))
        assert base.revision == COMMITS["main"]
        assert isinstance(load_weights(asked(), base).model.norm.weight, torch.nn.Parameter)
        assert {file.suffix for file in base.folder.iterdir()} <= {".json", ".safetensors", ".jinja"}
        assert the_hub.tokens == {None}

    def test_stays_at_the_commit_a_run_began_with(self, the_hub: Hub, tmp_path: Path) -> None:
        place = place_in(tmp_path / "job", None, {})
        find_base_model(asked(model_name="me/tiny"), place)
        the_hub.commits["main"] = "c" * 40
        the_hub.commits["before"] = COMMITS["main"]
        assert find_base_model(asked(model_name="me/tiny"), place).revision == COMMITS["main"]
        elsewhere = place_in(tmp_path / "another", None, {})
        assert find_base_model(asked(model_name="me/tiny"), elsewhere).revision == "c" * 40
        assert find_base_model(asked(model_name="me/tiny", model_revision="v1"), place).revision == COMMITS["v1"]

    def test_is_asked_for_again_while_the_hub_is_busy(self, the_hub: Hub, tmp_path: Path) -> None:
        the_hub.failing = [503, 2]
        assert (
            find_base_model(asked(model_name="me/tiny"), place_in(tmp_path / "job", None, {})).revision
            == COMMITS["main"]
        )

    @pytest.mark.parametrize(
        ("given", "failing", "said"),
        [
            ({"model_name": "gated/big"}, [0, 0], "gated/big is gated on the Hub. Accept its terms"),
            ({"model_name": "no/such"}, [0, 0], "There is no model no/such on the Hub, or it is private"),
            ({"model_name": "me/tiny", "model_revision": "v9"}, [0, 0], "me/tiny on the Hub has no revision 'v9'"),
            ({"model_name": "me/tiny"}, [403, 9], "refuses me/tiny with status 403"),
            ({"model_name": "me/tiny"}, [500, 9], "answers with status 500"),
        ],
        ids=["gated", "unknown", "no revision", "forbidden", "broken"],
    )
    def test_what_keeps_it_from_us_is_told(
        self, given: dict[str, Any], failing: list[int], said: str, the_hub: Hub, tmp_path: Path
    ) -> None:
        the_hub.failing = failing
        with pytest.raises(BadInputError) as refused:
            find_base_model(asked(**given), place_in(tmp_path / "job", None, {}))
        assert said in str(refused.value)

    @pytest.mark.usefixtures("the_hub")
    def test_without_a_network_s3_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as taken:  # a port that nobody listens on
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(BadInputError, match=r"cannot be reached .* Upload it to S3"):
                find_base_model(asked(model_name="me/tiny"), place_in(tmp_path / "job", None, {}))

    @pytest.mark.parametrize(
        ("missing", "said"), [("config.json", "has no config.json"), ("model.safetensors", "only as pickles")]
    )
    def test_without_a_config_or_safetensors_nothing_is_fetched(
        self, missing: str, said: str, the_hub: Hub, tmp_path: Path
    ) -> None:
        (the_hub.folder / missing).unlink()
        with pytest.raises(BadInputError, match=said):
            find_base_model(asked(model_name="me/tiny"), place_in(tmp_path / "job", None, {}))
        assert not any("/resolve/" in each for each in the_hub.asked)

    def test_is_asked_for_with_the_token_of_the_secret(
        self, the_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf"
        monkeypatch.setattr(base_model, "fetch_token", {arn: "hf_of_the_secret"}.__getitem__)
        base = find_base_model(
            asked(model_name="me/tiny", hub_token_secret_arn=arn), place_in(tmp_path / "job", None, {})
        )
        assert the_hub.tokens == {"Bearer hf_of_the_secret"}
        assert base.token == "hf_of_the_secret"
        assert "hf_of_the_secret" not in repr(base)
