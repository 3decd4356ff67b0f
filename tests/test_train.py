"""Tasks, texts and evaluation: the rules of the sequences, splits, sliding windows, controls."""

import gzip
import json
import lzma
import math

import numpy as np
import pytest

from primeattn import corpus, train
from primeattn.train import _texts
from primeattn.train._text_task import Alphabet, windows_of
from tests.bigram import Bigram

SMALL = [
    train.NT(3, 4),
    train.Copy(4, 5),
    train.AssociativeRecall(5, 3, 4),
    train.ModularAddition(7, 0.6),
    train.OrderDiscrimination(6, 5),
    train.TextTask(b"the cat sat on the mat. " * 40, context=12),
]
BY_NAME = {task.name: task for task in SMALL}


def test_the_table_is_complete():
    assert list(train.TASKS) == ["text", "nt", "copy", "recall", "modular", "order"]
    for name, kind in train.TASKS.items():
        assert kind.name == name
        assert issubclass(kind, train.Task)
    assert set(BY_NAME) == set(train.TASKS)


@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.name)
def test_a_batch_is_a_function_of_seed_and_counter(task):
    batch = task.batch(7, 5, seed=2, context=32)
    again = task.batch(7, 5, seed=2, context=32)
    for one, other in zip(batch, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert batch.inputs.shape == batch.targets.shape == (5, task.context)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    for other in (task.batch(8, 5, seed=2, context=32), task.batch(7, 5, seed=3, context=32)):
        assert (batch.inputs != other.inputs).any()
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert min(batch.inputs.min(), batch.targets.min()) >= 0
    assert max(batch.inputs.max(), batch.targets.max()) < task.vocabulary
    assert task.batch(0, 1, seed=2**200, context=32).inputs.shape[0] == 1


@pytest.mark.parametrize("task", SMALL[:-1], ids=lambda task: task.name)
def test_a_config_makes_the_task_again(task):
    config = json.loads(json.dumps(task.config))
    again = train.TASKS[config.pop("task")](**config)
    for split in ("validation", "test"):
        for one, other in zip(task.held(split), again.held(split), strict=True):
            np.testing.assert_array_equal(one, other)
    assert again.identity == task.identity


def rows(task, size=200):
    inputs, targets, weights = task.batch(3, size)
    return np.concatenate([inputs, targets[:, -1:]], axis=1).tolist(), weights


def test_rule_of_nt():
    tokens, weights = rows(BY_NAME["nt"])
    for row in tokens:
        for t in range(4, 13):
            assert row[t] == (row[t - 1] + row[t - 4]) % 3
    assert (weights == [0] * 3 + [1] * 9).all()
    assert {tuple(row[:4]) for row in tokens} > {(0, 0, 0, 0), (2, 2, 2, 2)}  # all 81 beginnings come, nearly


def test_rule_of_copy():
    tokens, weights = rows(BY_NAME["copy"])
    for row in tokens:
        assert row[:5] == row[6:]
        assert row[5] == 4
    assert (weights == [0] * 5 + [1] * 5).all()


def test_rule_of_recall():
    tokens, weights = rows(BY_NAME["recall"])
    for row in tokens:
        pairs = dict(zip(row[:8:2], row[1:8:2], strict=True))
        assert len(pairs) == 4  # keys differ
        assert pairs[row[8]] == row[9]
        assert max(pairs) < 5 <= min(pairs.values())
    assert (weights == [0] * 8 + [1]).all()


def test_rule_of_modular_addition_and_no_sum_is_in_two_parts():
    task = BY_NAME["modular"]
    tokens, weights = rows(task)
    for a, b, sign, total in tokens:
        assert (sign, total) == (7, (a + b) % 7)
    assert (weights == [0, 0, 1]).all()
    parts = [{tuple(row) for row in task.held(split).inputs[:, :2].tolist()} for split in ("validation", "test")]
    parts.append({(a, b) for a, b, _, _ in rows(task, 2000)[0]})
    assert [len(part) for part in parts] == [10, 10, 29]
    assert len(set.union(*parts)) == 49


def test_rule_of_order_and_its_answers_are_balanced():
    task = BY_NAME["order"]
    tokens, _ = rows(task, 2000)
    for row in tokens:
        assert len(set(row[:5])) == 5
        assert row[7] - 6 == (row.index(row[5]) < row.index(row[6]))
    assert abs(np.mean([row[7] == 7 for row in tokens]) - 0.5) < 4 * 0.5 / math.sqrt(2000)


class Oracle:
    """Knows the answers of some tasks."""

    def __init__(self, task, wrong=0):
        self.task, self.wrong = task, wrong
        self.config = {"vocabulary": task.vocabulary, "context": task.context}

    def logits(self, inputs):
        held = self.task.held("validation")
        answers = {row.tobytes(): target for row, target in zip(held.inputs, held.targets, strict=True)}
        found = np.array([answers[row.tobytes()] for row in inputs])
        spoiled = {row.tobytes() for row in held.inputs[: self.wrong]}
        for i, row in enumerate(inputs):
            if row.tobytes() in spoiled:
                found[i] = (found[i] + 1) % self.task.vocabulary
        return 30.0 * np.eye(self.task.vocabulary, dtype=np.float32)[found]


@pytest.mark.parametrize("task", SMALL[:-1], ids=lambda task: task.name)
def test_accuracy_of_an_oracle_and_of_a_guess(task):
    found = train.evaluate(Oracle(task), task, split="validation")
    assert found["accuracy"] == 1
    assert found["loss"] < 1e-9
    assert task.solved(found)
    inputs = task.held("validation").inputs
    spoiled = {row.tobytes() for row in inputs[:3]}
    wrong = np.mean([row.tobytes() in spoiled for row in inputs])
    found = train.evaluate(Oracle(task, wrong=3), task, split="validation")
    assert found["accuracy"] == pytest.approx(1 - wrong, abs=1e-12)
    assert not task.solved(found)
    level = Bigram(task.vocabulary, task.context)
    level.parameters.values[:] = 0
    assert train.evaluate(level, task)["loss"] == pytest.approx(math.log(task.vocabulary))
    level.parameters.values[:] = np.nan
    broken = train.evaluate(level, task)
    assert broken["accuracy"] == 0
    assert math.isnan(broken["loss"])


def test_refusals_of_tasks():
    for make, says in (
        (lambda: train.NT(1, 5), "n is 1: a whole number from 2 on"),
        (lambda: train.NT(2, 5, context=4), "context is 4: a whole number from 5 on"),
        (lambda: train.AssociativeRecall(3, 3, 4), "pairs <= keys"),
        (lambda: train.OrderDiscrimination(3, 4), "length <= symbols"),
        (lambda: train.ModularAddition(7, 1.0), "leaves some to learn from"),
        (lambda: train.Copy(True), "symbols is True"),
        (lambda: train.TextTask(b"ab" * 100, level="word"), "level is 'word': one of byte, character"),
        (lambda: train.TextTask(b"ab"), "too few to hold out"),
        (lambda: train.TextTask(b"ab" * 50, held_out=0), "held_out is 0"),
        (lambda: BY_NAME["copy"].batch(0, 1, context=5), "make it with context=10 or more"),
        (lambda: train.TextTask(b"ab" * 100).batch(0, 1), "pass context=..."),
        (lambda: train.TextTask(b"ab" * 20).batch(0, 1, context=60), "more than the context, 60"),
        (lambda: train.evaluate(Bigram(3), BY_NAME["copy"]), "make it with vocabulary=5"),
        (lambda: train.evaluate(Bigram(5, 8), BY_NAME["copy"]), "make it with context=10 or more"),
        (lambda: train.evaluate(Bigram(5, 10), BY_NAME["copy"], split="train"), "'validation' or 'test'"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


# --- text -------------------------------------------------------------------------------------------------------------


def test_default_splits():
    data = bytes(range(256)) * 40
    found = train.text(data)
    assert found.train + found.validation + found.test == data
    assert len(found.validation) == len(found.test) == len(data) // 20
    long = train.text(bytes(5_000_000))
    assert len(long.validation) == len(long.test) == 200_000
    assert len(train.text(data, held_out=7).test) == 7
    assert found.sha256 != train.text(data, held_out=7).sha256


def test_files_packed_or_not_hold_the_same_text(tmp_path):
    data = "ein Bär, zwei Bären. ".encode() * 30
    places = {"a.txt": data, "a.txt.gz": gzip.compress(data), "a.txt.xz": lzma.compress(data)}
    for name, content in places.items():
        (tmp_path / name).write_bytes(content)
        found = train.text(tmp_path / name)
        assert found.name == name
        assert found[1:] == train.text(data)[1:]
    (tmp_path / "bad.gz").write_bytes(data)
    (tmp_path / "empty").write_bytes(b"")
    for name, says in (
        ("bad.gz", "cannot be unpacked"),
        ("empty", "empty"),
        ("none", "no such file"),
        (".", "directory"),
    ):
        with pytest.raises(corpus.CorpusError, match=says):
            train.text(tmp_path / name)


def test_texts_that_come_with_python():
    topics = train.text()
    assert topics.name == "topics"
    assert topics[1:] == train.text("topics")[1:]
    assert len(topics.train) > 100_000
    source = train.text("python", held_out=1000)
    assert b"import" in source.train
    assert len(source.validation) == len(source.test) == 1000
    assert source.test not in source.train


def test_enwik8_is_checked_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMEATTN_DATA", str(tmp_path / "data"))
    with pytest.raises(corpus.CorpusError, match="primeattn data enwik8 --fetch"):
        train.text("enwik8")
    data = b"<mediawiki>" * 100
    (tmp_path / "other.gz").write_bytes(gzip.compress(data))
    with pytest.raises(ValueError, match="is not enwik8: 1,100 bytes"):
        train.fetch("enwik8", path=tmp_path / "other.gz")
    import hashlib

    source = train.SOURCES["enwik8"]._replace(size=1100, md5=hashlib.md5(data).hexdigest(), held_out=100)
    monkeypatch.setitem(train.SOURCES, "enwik8", source)
    place = train.fetch("enwik8", path=tmp_path / "other.gz")
    assert place == tmp_path / "data" / "enwik8"
    assert train.fetch("enwik8") == place
    assert len(train.text("enwik8").test) == 100
    place.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="delete it and fetch it again"):
        train.fetch("enwik8")


def test_the_archive_of_enwik8_is_unpacked_and_anything_else_refused(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    import zipfile

    monkeypatch.setenv("PRIMEATTN_DATA", str(tmp_path / "data"))
    asked = []

    def retrieve(url, **options):
        asked.append((url, options["known_hash"]))
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr("enwik8", b"abc")
        return str(tmp_path / "a.zip")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(ValueError, match="3 bytes with md5 900150983cd24fb0d6963f7d28e17f72"):
        train.fetch()
    assert asked == [("http://mattmahoney.net/dc/enwik8.zip", None)]
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("size", "first", "length", "stride"), [(50, 10, 10, 5), (50, 3, 10, 4), (7, 0, 10, 5), (23, 8, 8, 8)]
)
def test_windows_predict_each_token_once_from_enough_before_it(size, first, length, stride):
    seen = []
    for start, stop, scored in windows_of(size, first, length, stride):
        assert stop - 1 - start <= length
        assert scored - start >= min(scored, length - stride + 1)
        seen += range(scored, stop)
    assert seen == list(range(max(first, 1), size))


@pytest.mark.parametrize("level", ["byte", "character"])
def test_bits_per_character_are_those_of_a_plain_sum(level):
    data = ("ein Bär, zwei Bären; " * 60 + "Überraschung ohne Ende " * 8).encode()
    task = train.TextTask(data, level=level, context=9, stride=4)
    assert task.vocabulary == (
        256 if level == "byte" else len(set(task.text.train.decode("utf-8", "replace")) | {"\ufffd"})
    )
    model = Bigram(task.vocabulary, 16, rng=3)
    before = np.concatenate([task.ids("train"), task.ids("validation")])
    stream = np.concatenate([before, task.ids("test")]).astype(int)
    at = np.arange(len(before), len(stream))
    wanted = model.losses(stream[None, at - 1], stream[None, at]).mean() / math.log(
        2
    )  # only the last token counts here
    found = train.evaluate(model, task)
    assert found["tokens"] == len(task.ids("test"))
    assert found["bits_per_character"] == pytest.approx(wanted, rel=1e-12)
    some = train.TextTask(data, level=level, context=9, most=5)
    assert train.evaluate(model, some, split="validation")["tokens"] == 5
    assert train.evaluate(model, some)["tokens"] == found["tokens"]


def test_a_window_sees_no_token_that_it_predicts():
    """A model that is right where the target stands among its inputs up to there, and only there."""
    task = train.TextTask(np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes(), context=8)

    class Watch(Bigram):
        def losses(self, inputs, targets):
            seen.append((inputs, targets))
            return super().losses(inputs, targets)

    seen = []
    train.evaluate(Watch(256, 8), task)
    for inputs, targets in seen:
        np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])


def test_unigram_floor_is_that_of_a_trained_bias_and_xz_finds_repetition():
    task = train.TextTask(b"abab" * 500)
    assert task.unigram_bits() == pytest.approx(1.0, abs=0.2)  # 254 bytes that never come get one count each
    assert task.xz_bits() < 0.5
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    assert train.TextTask(noise).xz_bits() > 7.9
    assert math.isnan(train.xz_bits(b"abc", b""))


def test_alphabets():
    alphabet = Alphabet("\ufffdBäinr ")
    ids = alphabet.ids("ein Bär")
    assert alphabet.content(ids).decode() == "\ufffdin Bär"
    assert Alphabet().content(Alphabet().ids("Bär")).decode() == "Bär"
    assert Alphabet().content(Alphabet().ids("Bär")[:2]) == b"B\xc3"
    assert len(Alphabet()) == 256


def test_fetch_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PRIMEATTN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _texts.folder() == tmp_path / "primeattn"
    assert _texts.where("enwik8") is None
