"""What is checked before a server is started, what is prepared for it, and the command that starts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsagent.errors import CheckpointError, EngineError, ServerAway, SettingsError
from rsagent.model.checkpoint import EMBEDDED, checkpoint_digest
from rsagent.serving.sglang import checks, http, launch, llm_files, prepare
from rsagent.serving.sglang.child import Server, check_port
from rsagent.serving.sglang.plugin.rsagent_sglang.wire import BYTES, pack, unpack


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_checkpoint_that_can_be_served(tiny_checkpoint: Path):
    servable = checks.check_checkpoint(tiny_checkpoint)
    assert [adapter.name for adapter in servable.adapters] == ["composer", "object", "relation", "single", "theme"]
    assert servable.rank == 4 and "q_proj" in servable.targets


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": {"embed_tokens": [7]}}, "trainable_token_indices"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "no LoRA adapter"),
        ({"r": 0}, "rank 0"),
        ({"r": 8}, "not of rank 8"),
        ({"target_modules": "all-linear"}, "name each layer"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "changes embed_tokens"),
    ],
)
def test_an_adapter_that_sglang_reads_differently_is_refused_by_name(copy: Path, change: dict[str, Any], named: str):
    edit(copy / "experts" / "object" / "adapter_config.json", **change)
    with pytest.raises(CheckpointError, match=named) as raised:
        checks.check_checkpoint(copy)
    assert "experts/object" in str(raised.value) and "\n" not in str(raised.value)


def test_an_adapter_for_the_eyes_is_refused(copy: Path):
    import torch
    from safetensors.torch import load_file, save_file

    file = copy / "experts" / "theme" / "adapter_model.safetensors"
    save_file({**load_file(file), "base_model.model.vision.layers.0.q.lora_A.weight": torch.zeros(4, 8)}, file)
    with pytest.raises(CheckpointError, match="no part of the language model"):
        checks.check_checkpoint(copy)


def test_an_adapter_that_adds_words_is_refused(copy: Path):
    file = copy / "experts" / "relation" / "added_tokens.json"
    file.write_text('{"<ship>": 401}')
    with pytest.raises(CheckpointError, match="experts/relation adds words to the vocabulary"):
        checks.check_checkpoint(copy)


def test_an_adapter_with_embeddings_of_its_own_is_refused(copy: Path):
    import torch
    from safetensors.torch import load_file, save_file

    file = copy / "experts" / "relation" / "adapter_model.safetensors"
    save_file({**load_file(file), "base_model.model.model.embed_tokens.weight": torch.zeros(401, 32)}, file)
    with pytest.raises(CheckpointError, match="embed_tokens.weight: no part of the language model"):
        checks.check_checkpoint(copy)


def test_an_llm_that_cannot_be_served_is_refused(copy: Path):
    edit(copy / "llm" / "config.json", num_hidden_layers=3)
    with pytest.raises(CheckpointError, match="lacks .* such as model.layers.1"):
        checks.check_checkpoint(copy)
    edit(copy / "llm" / "config.json", model_type="gpt2")
    with pytest.raises(CheckpointError, match="'gpt2', which is not served: llama"):
        checks.check_checkpoint(copy)


def test_an_mlp_that_sglang_widens_on_a_cpu_is_refused_there(tiny_checkpoint: Path):
    servable = checks.check_checkpoint(tiny_checkpoint)
    with pytest.raises(CheckpointError, match="cannot be served on a CPU: its intermediate_size 48 is no multiple of 32"):
        checks.check_cpu(servable, 1)
    checks.check_cpu(checks.check_checkpoint(EMBEDDED), 1)


@pytest.mark.parametrize("spoil", [b"", b"\xff" * 8, b"\x10" + b"\x00" * 7 + b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"])
def test_a_damaged_file_is_named(copy: Path, spoil: bytes):
    file = copy / "experts" / "theme" / "adapter_model.safetensors"
    file.write_bytes(spoil)
    with pytest.raises(CheckpointError, match=r"theme/adapter_model.safetensors is missing, damaged"):
        checks.check_checkpoint(copy)


def test_the_prepared_folder_names_the_plugin_and_leaves_the_checkpoint_alone(tiny_checkpoint: Path, cache: Path):
    before = checkpoint_digest(tiny_checkpoint)
    servable = checks.check_checkpoint(tiny_checkpoint)
    folder = prepare.prepare(servable, before)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["RSMoEForCausalLM"] and config["model_type"] == "llama"
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert config["eos_token_id"] == words["</s>"]
    assert (folder / "model.safetensors").samefile(tiny_checkpoint / "llm" / "model.safetensors")
    assert checkpoint_digest(tiny_checkpoint) == before
    changed = (folder / "config.json").stat().st_mtime_ns
    assert prepare.prepare(servable, before) == folder and (folder / "config.json").stat().st_mtime_ns == changed
    (folder / "config.json").write_text("spoilt")
    assert json.loads((prepare.prepare(servable, before) / "config.json").read_text()) == config
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-written


def test_a_cache_that_cannot_be_written_is_named(tiny_checkpoint: Path, cache: Path):
    cache.mkdir()
    (cache / "rsagent").write_text("a file where the folder should be")
    with pytest.raises(EngineError, match="cannot prepare .* for SGLang: "):
        prepare.prepare(checks.check_checkpoint(tiny_checkpoint), "digest")


def test_a_user_without_a_home_is_told_what_to_set(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def unknown(user: int) -> None:
        raise KeyError(f"uid not found: {user}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(EngineError, match="no home folder .*XDG_CACHE_HOME"):
        prepare.prepare(checks.check_checkpoint(tiny_checkpoint), "digest")


def test_the_command_has_every_adapter_and_counts_the_base(tiny_checkpoint: Path):
    servable = checks.check_checkpoint(tiny_checkpoint)
    options = launch.Options("/env/bin/python", port=31000, device="cuda", tp=2, dp=4, extra=("--mem-fraction-static", "0.8"))
    line = launch.command(servable, Path("/model"), "abc", options)
    assert line[:5] == ["/env/bin/python", "-m", "sglang.launch_server", "--model-path", "/model"]
    assert line[-2:] == ["--mem-fraction-static", "0.8"]
    told = dict(zip(line, line[1:], strict=False))
    assert (told["--max-loras-per-batch"], told["--max-lora-rank"], told["--dtype"]) == ("6", "4", "bfloat16")
    assert (told["--tp-size"], told["--dp-size"], told["--weight-version"]) == ("2", "4", "abc")
    adapters = line[line.index("--lora-paths") + 1 : line.index("--max-loras-per-batch")]
    assert [adapter.split("=")[0] for adapter in adapters] == ["composer", "object", "relation", "single", "theme"]


@pytest.mark.parametrize(
    ("ranks", "cores", "bound"),
    [(2, [0, 1], "0|1"), (2, [0, 1, 2, 3, 4], "0,1|2,3"), (3, [4, 7], "4|7|4"), (2, [5], "5|5")],
)
def test_copies_on_a_cpu_share_its_cores(ranks: int, cores: list[int], bound: str):
    assert launch.bound_cores(ranks, cores) == bound


def test_another_sglang_is_named(tmp_path: Path):
    python = tmp_path / "python"
    for says, named in (("echo 0.5.21", "has SGLang 0.5.21, the plugin is made for 0.5.23"), ("exit 1", "has no SGLang")):
        python.write_text(f"#!/bin/sh\n{says}\n")
        python.chmod(0o755)
        with pytest.raises(SettingsError, match=f"{named}.*pip install sglang==0.5.23"):
            launch.check_version(str(python))
    with pytest.raises(SettingsError, match="cannot be run"):
        launch.check_version(str(tmp_path / "nothing"))


def test_a_server_that_ends_before_it_is_ready_says_why(tmp_path: Path):
    code = "import sys; print('loading'); print('ValueError: no such adapter'); sys.exit(3)"
    with Server([sys.executable, "-c", code], {}, tmp_path / "log") as server:
        with pytest.raises(EngineError, match="ended with code 3 .* ValueError: no such adapter .*log"):
            server.wait_ready("http://127.0.0.1:9", 60, lambda step: None)
    assert "loading" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("said", ["SIGQUIT received. signum=None", "Ignore import error when loading rsagent_sglang.models"])
def test_a_server_that_has_lost_a_part_of_itself_is_ended_at_once(tmp_path: Path, said: str):
    code = f"import time; print('AssertionError: of another shape'); print({said!r}, flush=True); time.sleep(60)"
    began = time.monotonic()
    with Server([sys.executable, "-c", code], {}, tmp_path / "log") as server:
        with pytest.raises(EngineError, match="before it was ready: AssertionError" if "SIGQUIT" in said else "import error"):
            server.wait_ready("http://127.0.0.1:9", 50, lambda step: None)
    assert time.monotonic() - began < 30


def test_a_full_disk_does_not_stop_a_server_that_runs(tmp_path: Path):
    code = "print('a line', flush=True); import time; time.sleep(0.5); print('TheError: last line', flush=True)"
    with Server([sys.executable, "-c", code], {}, Path("/dev/full")) as server:
        assert server.wait() == 0
        server.stop()
        assert server.reason() == "TheError: last line"


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be started: .*file"):
        Server([sys.executable, "-c", ""], {}, tmp_path / "file" / "log")


def test_a_server_that_ignores_the_end_is_ended_by_force(tmp_path: Path):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    server = Server([sys.executable, "-c", code], {}, tmp_path / "log")
    while "up" not in (tmp_path / "log").read_text():
        time.sleep(0.02)
    server.stop(grace_s=0.2)
    assert not server.running
    server.stop()


def test_a_server_outlives_the_thread_that_asked_for_it(tmp_path: Path):
    made: list[Server] = []
    line = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    thread = threading.Thread(target=lambda: made.append(Server(line, {}, tmp_path / "log")))
    thread.start()
    thread.join()
    ends = time.monotonic() + 20
    while not (tmp_path / "log").read_text() and time.monotonic() < ends:
        time.sleep(0.05)
    time.sleep(0.2)
    assert made[0].running and (tmp_path / "log").read_text() == "up\n"
    made[0].stop(0.0)
    assert not made[0].running


def test_a_killed_parent_leaves_none_of_the_servers_processes(tmp_path: Path):
    """Those that SGLang starts ask to die with their parent only once they have imported everything."""
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '300']).pid, flush=True); sys.stdin.read()"
    holds = f"import subprocess as s; s.Popen([{sys.executable!r}, '-c', {code!r}], stdin=s.PIPE).wait()"
    starts = (
        "import sys, time; from pathlib import Path; from rsagent.serving.sglang.child import Server; "
        f"server = Server([sys.executable, '-c', {holds!r}], {{}}, Path({str(tmp_path / 'log')!r})); time.sleep(300)"
    )
    parent = subprocess.Popen([sys.executable, "-c", starts])
    ends = time.monotonic() + 40
    while not (found := (tmp_path / "log").read_text().strip() if (tmp_path / "log").exists() else ""):
        assert parent.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while Path(f"/proc/{found}").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not Path(f"/proc/{found}").exists()


def test_a_taken_port_is_named():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="choose another --port"):
            check_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("url", ["", "localhost:1", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a?x=1"])
def test_an_address_that_is_none(url: str):
    with pytest.raises(SettingsError, match="write http://HOST:PORT"):
        http.check_url(url)


def test_an_address_is_tidied():
    assert http.check_url(" http://gpu1:30000/v1/ ") == "http://gpu1:30000"


def test_nobody_at_the_address():
    with pytest.raises(ServerAway, match="no server at http://127.0.0.1:9"):
        http.ask("http://127.0.0.1:9", "/model_info")


@given(st.sampled_from(sorted(BYTES)), st.integers(1, 5), st.integers(1, 9), st.data())
def test_what_is_packed_is_unpacked(dtype: str, rows: int, width: int, data: st.DataObject):
    size = rows * width * BYTES[dtype]
    numbers = data.draw(st.binary(min_size=size, max_size=size))
    assert unpack(pack(numbers, dtype, rows, width), width, 5) == (numbers, dtype, rows)


@given(st.text() | st.from_regex(r"data:application/x-rsagent-embeds;dtype=\w+;shape=\d+x\d+;base64,.*") | st.none())
def test_whatever_is_sent_is_read_or_refused_in_one_line(url: Any):
    try:
        numbers, dtype, rows = unpack(url, 4, 10)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 300
    else:
        assert len(numbers) == rows * 4 * BYTES[dtype]


def test_embeddings_of_another_checkpoint_are_named():
    made = pack(bytes(16), "float16", 2, 4, "a1" * 32)
    assert unpack(made, 4, 10, "a1" * 32) == unpack(made, 4, 10) == (bytes(16), "float16", 2)
    with pytest.raises(ValueError, match="of another checkpoint .a1a1a1a1a1a1. than the one served .ffff."):
        unpack(made, 4, 10, "ffff")


def test_a_shape_that_is_not_that_of_the_numbers():
    spoil: list[tuple[Callable[[str], str], str]] = [
        (lambda url: url.replace("2x4", "2x5"), "5 wide, the LLM is 4 wide"),
        (lambda url: url.replace("2x4", "999999999x4"), "999999999 rows"),
        (lambda url: url.replace("2x4", "3x4"), "another length"),
        (lambda url: url.replace("float16", "object"), "dtype object"),
    ]
    good = pack(bytes(16), "float16", 2, 4)
    for change, named in spoil:
        with pytest.raises(ValueError, match=named):
            unpack(change(good), 4, 10)
    with pytest.raises(ValueError, match="16 bytes are not 3 x 4"):
        pack(bytes(16), "float16", 3, 4)


def test_the_plugin_and_the_checks_know_the_same_llms():
    source = (launch.PLUGIN / "rsagent_sglang" / "models" / "experts.py").read_text()
    table = source.split("BASES = ", 1)[1].split("\n}", 1)[0] + "}"
    assert sorted(eval(table, {})) == sorted(llm_files.BASES)


def test_the_plugin_needs_nothing_of_ours():
    """The server's environment has no rsagent: its path holds the plugin's package alone."""
    code = "import rsagent_sglang.wire, sys; assert 'rsagent' not in sys.modules"
    subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(launch.PLUGIN)!r}); {code}"], check=True)
