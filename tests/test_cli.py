"""The command: exit statuses, one-line complaints, first picture first, interruption, quiet."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import primeattn
from primeattn import cli
from primeattn.cli import compare, exits, options

ROOT = Path(primeattn.__file__).parent.parent
TEXT = "\n\n".join(
    f"{start} and the story went on for a while, over hills and rivers and through the long dark winter. " * 3
    for start in ("The king rode out", "The queen sailed home", "A merchant sold grain", "Two thieves fled north")
)


COMMAND = [sys.executable, "-m", "primeattn.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
posix = pytest.mark.skipif(os.name != "posix", reason="signals, shell and file names of POSIX")


def run(*arguments, **environment):
    """A process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT | environment)


def shell(line):
    """The command as ``$primeattn`` in a line of the shell; its status stands in ``$status``."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=ENVIRONMENT | {"primeattn": " ".join(COMMAND)})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def no_writing(monkeypatch):
    """Everything but the report itself, for what goes wrong before it."""
    from primeattn import report

    def write(material, folder, **_):
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "index.html"

    monkeypatch.setattr(report, "write", write)


def one_line(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("primeattn: ")
    assert "Traceback" not in err
    return err


# --- help and usage ------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from primeattn import cli; a = cli.main(['--help']), cli.main(['compare', '--help']),"
        "cli.main(['doctor', '--help']);"
        "print(a, sorted({'numpy', 'numba', 'matplotlib', 'rich', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == "(0, 0, 0) []"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_shows_an_example(name, capsys):
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  primeattn {name}" in out.partition("example")[2]
    assert cli.main(["--help", name]) == 0
    assert capsys.readouterr().out == out


def test_overview_documents_commands_and_exit_statuses(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in cli.COMMANDS)
    assert all(meaning in out for meaning in exits.EXITS.values())


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"primeattn {primeattn.__version__}\n"


def test_without_a_command_the_overview_goes_to_standard_error(capsys):
    assert cli.main([]) == exits.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "commands:" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["comprae"], "did you mean 'compare'?"),
        (["xyz"], "choose one of " + ", ".join(cli.COMMANDS)),
        (["compare", "--passages", "1"], "from 2 to 2000"),
        (["compare", "--passages", "many"], "from 2 to 2000"),
        (["compare", "--characters", "300-60"], "such as 60-300"),
        (["compare", "--characters", "60"], "such as 60-300"),
        (["compare", "--temperature", "0"], "0.001 to 1000"),
        (["compare", "--temperature", "nan"], "0.001 to 1000"),
        (["compare", "--seed", "-1"], "seed"),
        (["compare", "--max-bytes", "5 parsecs"], "write 5000000, 5MB or 5MiB"),
        (["compare", "--encoding", "klingon"], "no encoding of text 'klingon'"),
        (["compare", "--wrong"], "--wrong"),
        (["compare", "--kind", "nonsense"], "choose one of kernel, sqrt, amplitude, original, tfidf"),
        (["compare", "--kind", ""], "choose one of kernel, sqrt, amplitude, original, tfidf"),
        (["compare", "--mechanisms", "nonsense,none"], "there is no mechanism 'nonsense': choose some of "),
        (["compare", "--mechanisms", ""], "names between commas, or none"),
        (["compare", "--passages", "9" * 5000], "'9999999999999999999999999999999999999...': a number from 2 to 2000"),
        (["compare", "--seed", "9" * 5000], "at most 80 digits"),
        (["compare", "--max-bytes", "9" * 400], "write 5000000, 5MB or 5MiB, up to 4GiB"),
        (["compare", "--max-bytes", "0.4"], "'0.4' is no size"),
        (["compare", "--max-bytes", "5GiB"], "up to 4GiB"),
        (["compare", "--encoding", "hex"], "no encoding of text 'hex'"),
        (["compare", "--encoding", "rot13"], "no encoding of text 'rot13'"),
        (["compare", "--encoding", "undefined"], "no encoding of text 'undefined'"),
        (["compare", "--encoding", "\udcff"], r"no encoding of text '\udcff'"),
        (["compare", ""], "FILE: '' is no name"),
        (["compare", "-o", ""], "--output: '' is no name"),
        (["--", "compare"], "primeattn COMMAND -- FILE"),
        (["--wrong"], "--wrong"),
    ],
)
def test_usage(arguments, message, capsys):
    assert cli.main(arguments) == exits.USAGE
    assert message in one_line(capsys)


def test_sizes():
    assert [options.nbytes(x) for x in ("5", "5k", "1.5MB", "1MiB", "2 g")] == [5, 5000, 1500000, 1 << 20, 2 * 10**9]


# --- input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b" \n\t \n", "white space"),
        (bytes(range(256)) * 8, "binary"),
        ("café déjà vu ".encode("latin-1") * 40, "latin-1"),
        (b"one short line", "at least two different passages"),
        (b"the same line again and again\n" * 20_000, "at least two different passages"),
    ],
)
def test_input_that_cannot_be_used(content, message, tmp_path, capsys, no_writing):
    path = tmp_path / "input.txt"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["compare", str(path), "--output", str(tmp_path / "out")]) == exits.INPUT
    assert message in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_directory_and_a_large_file(tmp_path, capsys, story, no_writing):
    assert cli.main(["compare", str(tmp_path)]) == exits.INPUT
    assert "directory" in one_line(capsys)
    assert cli.main(["compare", str(story), "--max-bytes", "100"]) == exits.INPUT
    assert "raise --max-bytes" in one_line(capsys)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_encodings_that_can_be_told(encoding, tmp_path, capsys, no_writing):
    path = tmp_path / "input.txt"
    path.write_bytes(TEXT.replace("king", "köning").encode(encoding))
    told = ["--encoding", encoding] if encoding == "latin-1" else []
    assert cli.main(["compare", str(path), "-o", str(tmp_path / "out"), *told]) == exits.OK
    assert capsys.readouterr().err == ""


# --- output --------------------------------------------------------------------------------------------------------


def test_output_that_cannot_be_written(tmp_path, capsys, story, no_writing):
    for folder, message in ((story, "name a folder"), (story / "below", "cannot be written")):
        assert cli.main(["compare", str(story), "-o", str(folder)]) == exits.OUTPUT
        assert message in one_line(capsys)


def test_a_missing_extra_is_one_line(monkeypatch, capsys, story):
    monkeypatch.setattr(compare, "find_spec", lambda name: None if name == "jinja2" else object())
    assert cli.main(["compare", str(story)]) == exits.EXTRA
    assert one_line(capsys) == 'primeattn: jinja2 missing: pip install "primeattn[report]"\n'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("two\nlines"), exits.UNEXPECTED),
        (OSError(28, "No space left on device"), exits.OUTPUT),
        (ImportError('figures need Matplotlib: pip install "primeattn[report]"'), exits.EXTRA),
        (KeyboardInterrupt(), exits.INTERRUPTED),
    ],
)
def test_failures_while_writing(error, code, monkeypatch, capsys, story, tmp_path):
    from primeattn import report

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(report, "write", fail)
    assert cli.main(["compare", str(story), "-o", str(tmp_path / "out")]) == code
    one_line(capsys)
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            cli.main(["compare", str(story), "-o", str(tmp_path / "out"), "--debug"])
        with pytest.raises(RuntimeError):
            cli.main(["--debug", "compare", str(story), "-o", str(tmp_path / "out")])


# --- whole runs ----------------------------------------------------------------------------------------------------


def test_a_run_prints_the_map_first_and_can_be_repeated(story, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("stays")
    done = run("compare", str(story), str(story), "--output", str(folder), "--seed", "3", "--mechanisms", "none")
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    assert printed[0] == str(folder / "map.png")
    assert printed[-1] == str(folder / "index.html")
    assert all(Path(path).stat().st_size for path in printed)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["about"]["seed"] == 3
    assert summary["about"]["command"].startswith("primeattn compare")
    assert len(summary["passages"]) == 4  # the file given twice counts once
    assert (folder / "mine.txt").read_text() == "stays"


def test_interrupted_before_anything_is_written(story, tmp_path, monkeypatch, capsys):
    from primeattn import report
    from primeattn._runtime import doctor

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor", stop)
    monkeypatch.setattr(report, "write", stop)
    for arguments in (["doctor"], ["compare", str(story), "-o", str(tmp_path / "out")]):
        assert cli.main(arguments) == exits.INTERRUPTED
        assert one_line(capsys) == "primeattn: interrupted\n"


@posix
def test_interrupted_while_modules_load_and_when_all_is_done():
    early = "import os, signal, sys, importlib.abc\n" + (
        "class Stop(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'primeattn.cli.command': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from primeattn import cli\n"
        "sys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", early, "--version"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (exits.INTERRUPTED, "", "primeattn: interrupted\n")
    late = (
        "import os, signal, sys; from primeattn import cli; code = cli.main();"
        "os.kill(os.getpid(), signal.SIGINT); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", late, "--version"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")


@posix
def test_standard_streams_that_are_closed_full_or_broken(story, tmp_path):
    full = "primeattn: standard output: cannot be written (No space left on device)\n"
    assert shell("$primeattn doctor | true; exit ${PIPESTATUS[0]}") == (0, "", "")
    assert shell("$primeattn --help | true; exit ${PIPESTATUS[0]}") == (0, "", "")
    for command in (
        "doctor",
        "doctor --json",
        "--help",
        "compare --help",
        f"compare {story} -o {tmp_path / 'out'} --mechanisms none",
    ):
        assert shell(f"$primeattn {command} >/dev/full") == (exits.OUTPUT, "", full)
    folder = tmp_path / "closed"
    status, out, _ = shell(f"$primeattn compare {story} -o {folder} --mechanisms none 2>&- <&-")
    assert (status, out.splitlines()[-1]) == (0, str(folder / "index.html"))
    assert shell(f"$primeattn compare {story} -o {folder} --mechanisms none >&-") == (0, "", "")
    assert shell("$primeattn nonsense 2>&-")[:2] == (exits.USAGE, "")
    assert shell("$primeattn nonsense 2>/dev/full")[:2] == (exits.USAGE, "")


@posix
@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_names_in_no_encoding(environment, tmp_path):
    """A byte that is no UTF-8, letters that the terminal cannot show, and what Matplotlib takes for a formula."""
    place = os.fsencode(tmp_path)
    text, folder = place + b"/a $x_{ b$ \xff \xc3\xb6.txt", place + b"/o\xff\xc3\xb6"
    Path(os.fsdecode(text)).write_text(TEXT)
    environment = {"PYTHONCOERCECLOCALE": "0"} | environment
    done = run("compare", os.fsdecode(text), "-o", os.fsdecode(folder), "--mechanisms", "none", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\udcff" in done.stdout
    names = set(os.listdir(os.fsdecode(folder)))
    assert {"index.html", "report.nc", "summary.json", "map.png"} <= names
    summary = json.loads((Path(os.fsdecode(folder)) / "summary.json").read_text("utf-8"))
    assert "$x_{ b$" in summary["passages"][0]["document"]


def test_a_text_with_lone_surrogates(tmp_path, capsys):
    path = tmp_path / "input.txt"
    path.write_text(TEXT.replace("king", "k\\ud800ng"), encoding="ascii")
    assert (
        cli.main(
            [
                "compare",
                str(path),
                "-q",
                "-o",
                str(tmp_path / "out"),
                "--encoding",
                "unicode_escape",
                "--mechanisms",
                "none",
            ]
        )
        == 0
    )
    assert "k\ufffdng" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_an_encoding_that_does_not_fit(tmp_path, capsys, no_writing):
    path = tmp_path / "input.txt"
    path.write_text(TEXT.replace("\n", " ") + "-!!!", encoding="utf-8")
    assert cli.main(["compare", str(path), "--encoding", "punycode"]) == exits.INPUT
    assert "punycode" in one_line(capsys)


def test_a_folder_in_the_place_of_a_file_is_named(story, tmp_path, capsys):
    taken = tmp_path / "out" / "map.png"
    taken.mkdir(parents=True)
    assert cli.main(["compare", str(story), "-o", str(tmp_path / "out")]) == exits.OUTPUT
    assert one_line(capsys) == f"primeattn: {taken}: cannot be written (Is a directory)\n"


def test_quiet_prints_nothing(story, tmp_path, capsys):
    assert (
        cli.main(
            ["compare", str(story), "-q", "-o", str(tmp_path / "out"), "--kind", "original", "--mechanisms", "none"]
        )
        == 0
    )
    assert capsys.readouterr() == ("", "")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["lead"] == "resonance:original"


@posix
def test_ctrl_c_leaves_what_is_finished(story, tmp_path):
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "primeattn.cli", "compare", str(story), "-o", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    process.stdout.readline()  # map.png
    process.stdout.readline()  # agreement.png: the page of the sections before it is on disk
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == exits.INTERRUPTED
    assert err == "primeattn: interrupted; what was finished is on disk\n"
    assert "not finished yet" in (folder / "index.html").read_text("utf-8")
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_closed_pipe_does_not_stop_the_report(monkeypatch):
    from primeattn.cli.progress import Progress

    class Closed:
        def write(self, _):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdout", Closed())
    with Progress() as progress:
        progress.print("one")
        progress.print("two")


def test_progress_is_drawn_on_a_terminal_only(monkeypatch, capsys):
    import io

    from primeattn.cli.progress import Progress

    with Progress() as progress:
        progress.say("counting", 1, 2)
    assert capsys.readouterr().err == ""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress() as progress:
        progress.say("counting", 1, 2)
        progress.print("out")
    assert "counting" in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    with Progress() as progress:
        progress.say("silence")
        progress.print("out")
    monkeypatch.setenv("TERM", "xterm")
    with Progress(quiet=True) as progress:
        progress.say("silence")
    assert "silence" not in terminal.getvalue()


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"numpy        {np.__version__}".split() in [line.split() for line in out.splitlines()]
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["primeattn"] == primeattn.__version__
