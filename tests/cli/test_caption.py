from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from rsagent.cli.caption import caption as _  # noqa: F401  the command is importable without its engine
from rsagent.cli.runtime import SCRIPT
from rsagent.cli.show import frame_caption
from rsagent.schemas import Caption

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: object, **options):
    """A real `rsagent` process, for what only a process can show; it hears Ctrl-C even if tests in the background do not."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rsagent", *map(str, arguments)]
    return subprocess.Popen(
        command, env=env, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options
    )


def test_one_picture_names_every_expert_and_the_caption(cli, picture):
    result = cli("caption", picture)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "field.png"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["theme", "object", "relation", "caption"]
    assert SCRIPT["object"] in lines[2]
    assert result.stderr == ""


def test_json_of_one_picture_is_an_object_with_the_promised_fields(cli, picture):
    record = json.loads(cli("caption", "--json", picture).stdout)
    assert {"theme", "objects", "relations", "text", "partial", "image", "seconds"} <= set(record)
    assert record["objects"] == SCRIPT["object"]
    assert record["partial"] is False
    assert (record["path"], record["image"]["width"]) == ("field.png", 40)


def test_json_of_several_is_a_list_in_the_order_given(cli, folder):
    records = json.loads(cli("caption", "--json", folder / "c.png", folder / "a.png").stdout)
    assert [record["image"]["name"] for record in records] == ["c.png", "a.png"]


def test_a_folder_is_described_in_order(cli, folder):
    result = cli("caption", folder)
    assert result.exit_code == 0
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads == ["pictures/a.png", "pictures/b.png", "pictures/c.png"]


def test_only_the_experts_asked_for(cli, picture):
    result = cli("caption", "--experts", "object, theme", picture)
    assert "relation" not in result.stdout
    assert SCRIPT["theme"] in result.stdout


def test_a_picture_from_stdin(cli, picture):
    result = cli("caption", "-", input=picture.read_bytes())
    assert result.exit_code == 0
    assert SCRIPT["theme"] in result.stdout


def test_broken_pictures_in_a_folder_are_listed_and_the_others_described(cli, folder):
    (folder / "bad.png").write_text("no picture")
    (folder / "empty.jpg").touch()
    result = cli("caption", folder)
    assert result.exit_code == 1
    assert result.stdout.count("caption:") == 3
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert "bad.png" in lines[0] and "empty.jpg" in lines[1]
    assert lines[2] == "rsagent: 2 of 5 pictures have no caption"


def test_a_missing_picture_among_others_is_listed(cli, folder):
    result = cli("caption", folder / "a.png", "gone.png")
    assert result.exit_code == 1
    assert "pictures/a.png" in result.stdout
    assert "gone.png" in result.stderr


def test_a_folder_with_no_readable_picture_is_the_users_fault(cli, place):
    (place / "dark").mkdir()
    for name in "ab":
        (place / "dark" / f"{name}.png").write_text("no picture")
    result = cli("caption", "dark")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.png"], "no such file"),
        (["empty_folder"], "no picture"),
        (["text.png"], "text.png"),
        (["--bands", "1,2", "field.png"], "--bands '1,2'"),
        (["--bands", "5,2,1", "field.png"], "no band 5"),
        (["--style", "baroque", "field.png"], "unknown style 'baroque'"),
        (["--experts", "theme,wizard", "field.png"], "unknown expert 'wizard'"),
        (["--experts", ",", "field.png"], "names none"),
        (["--device", "abacus", "field.png"], "--device"),
        (["--max-tokens", "0", "field.png"], "--max-tokens"),
        (["--max-tokens", "many", "field.png"], "--max-tokens"),
        (["--max-pixels", "100", "field.png"], "field.png"),
        (["--json", "--jsonl", "field.png"], "choose one"),
        (["--prompts", "nowhere", "field.png"], "nowhere"),
        (["--resume", "field.png", "field.png"], "line 1 of field.png"),
        ([], "Missing argument"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_exit_code_2(cli, place, picture, arguments, says):
    (place / "empty_folder").mkdir()
    (place / "text.png").write_text("words")
    before = sorted(place.rglob("*"))
    result = cli("caption", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("rsagent: ")
    assert says in result.stderr
    assert sorted(place.rglob("*")) == before


def test_a_failed_expert_makes_the_caption_partial(cli, script, picture):
    script(failures={"relation": "the adapter is away"})
    result = cli("caption", picture)
    assert result.exit_code == 1
    assert "relation: (no answer: the adapter is away)" in result.stdout
    assert "partial: no answer from relation" in result.stdout
    assert json.loads(cli("caption", "--json", picture).stdout)["partial"] is True


def test_all_experts_failing_is_one_line(cli, script, picture):
    script(failures=dict.fromkeys(SCRIPT, "out of order"))
    result = cli("caption", picture)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "out of order" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_contradiction_is_marked(cli, script, picture):
    script(answers={**SCRIPT, "object": "There are two houses and no cars.", "relation": "Cars are beside the houses."})
    assert "conflict: relations name cars" in cli("caption", picture).stdout


def test_control_characters_never_reach_the_output(cli, script, place, picture):
    script(answers={**SCRIPT, "theme": "A \x1b[31mred\x07 scene\u202e."})
    Path("field.png").rename("fi\x1b[2Jeld\u202e.png")
    for form in ([], ["--json"], ["--jsonl"]):
        result = cli("caption", *form, "fi\x1b[2Jeld\u202e.png")
        assert result.exit_code == 0
        assert not [mark for mark in result.output if not (mark.isprintable() or mark == "\n")]
    assert json.loads(result.stdout)["path"] == "fi\x1b[2Jeld\u202e.png"


def test_jsonl_has_a_line_a_picture(cli, folder):
    records = [json.loads(line) for line in cli("caption", "--jsonl", folder).stdout.splitlines()]
    assert sorted(record["path"] for record in records) == ["pictures/a.png", "pictures/b.png", "pictures/c.png"]


def test_resume_adds_what_the_file_lacks_and_cuts_a_torn_line(cli, folder):
    cli("caption", "--resume", "done.jsonl", folder / "a.png")
    with open("done.jsonl", "a") as file:
        file.write('{"path": "pictures/b.png", "the')  # a kill in the middle of a line
    result = cli("caption", "--resume", "done.jsonl", folder)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert "1 of 3 pictures are in done.jsonl" in result.stderr
    records = [json.loads(line) for line in Path("done.jsonl").read_text().splitlines()]
    assert sorted(record["path"] for record in records) == ["pictures/a.png", "pictures/b.png", "pictures/c.png"]
    again = cli("caption", "--resume", "done.jsonl", folder)
    assert (again.exit_code, again.stdout) == (0, "")


def test_resume_with_stdout_going_to_the_same_file_writes_each_line_once(cli, folder):
    cli("caption", "--resume", "done.jsonl", folder / "a.png")
    with open("done.jsonl", "a") as file:
        file.write('{"path": "pic')
    with open("done.jsonl", "ab") as file:
        assert start("caption", "--resume", "done.jsonl", folder, stdout=file).wait(300) == 0
    records = [json.loads(line) for line in Path("done.jsonl").read_text().splitlines()]
    assert sorted(record["path"] for record in records) == ["pictures/a.png", "pictures/b.png", "pictures/c.png"]


def test_resume_leaves_a_stranger_s_file_alone(cli, folder):
    for text in ('{"name": "x"}\n', "words without an end", '{"name": "x"}'):
        Path("mine.json").write_text(text)
        assert cli("caption", "--resume", "mine.json", folder).exit_code == 2
        assert Path("mine.json").read_text() == text


def test_a_terminal_gets_frames_with_every_name_even_without_colour(cli, picture):
    record = json.loads(cli("caption", "--json", picture).stdout)
    record.pop("path")
    for options in ({"color_system": "standard"}, {"no_color": True}):
        console = Console(file=io.StringIO(), force_terminal=True, width=100, markup=False, **options)
        frame_caption("[red]field[/red].png", Caption.model_validate(record), console)
        shown = console.file.getvalue()
        for word in ("theme", "object", "relation", "[red]field[/red].png", "two houses"):
            assert word in shown


def test_head_closes_the_pipe_quietly(folder, place):
    process = start("caption", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # before the first word comes, as `head -0` would
    assert process.wait(300) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(picture, place):
    with open("/dev/full", "w") as full:
        process = start("caption", picture, stdout=full, stderr=subprocess.PIPE)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    assert stderr.splitlines() == ["rsagent: output: No space left on device"]


def test_ctrl_c_leaves_with_130(cli, folder, script):
    cli("caption", "--resume", "done.jsonl", folder / "a.png")
    script(answers=SCRIPT, delays={"theme": 600})
    process = start("caption", "--resume", "done.jsonl", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "skipped" in process.stderr.readline()  # it is about to ask the experts, of which one hangs
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
