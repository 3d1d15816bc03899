"""The text, its tokens, its split and its batches. Numbers: those of the lecture."""

import hashlib
import tracemalloc

import pytest
import torch

from babygpt import data
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError
from babygpt.tokenizer import CharTokenizer


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def test_input_txt_is_tiny_shakespeare_byte_for_byte():
    content = SHAKESPEARE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert len(content) == 1_115_394
    assert content.startswith(b"First Citizen:")


def test_the_vocabulary_is_65_characters_in_order(shakespeare):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert shakespeare.tokenizer.chars == "\n !$&',-.3:;?" + letters
    assert shakespeare.tokenizer.vocab_size == 65


def test_encode_gives_the_ids_of_the_lecture(shakespeare):
    encode = shakespeare.tokenizer.encode
    assert encode("hii there") == [46, 47, 47, 1, 58, 46, 43, 56, 43]
    assert encode("Hi there")[:4] == [20, 47, 1, 58]
    assert shakespeare.train[:9].tolist() == encode("First Cit") == [18, 47, 56, 57, 58, 1, 15, 47, 58]


def test_decode_undoes_encode_on_the_whole_text(shakespeare):
    text = SHAKESPEARE.read_text(encoding="utf-8")
    assert shakespeare.tokenizer.decode(shakespeare.tokenizer.encode(text)) == text


def test_an_array_of_ids_holds_the_same_ids_as_the_list(shakespeare):
    text = SHAKESPEARE.read_text(encoding="utf-8")[:5000]
    assert shakespeare.tokenizer.encode_array(text).tolist() == shakespeare.tokenizer.encode(text)


@pytest.mark.parametrize("method", ["encode", "encode_array"])
def test_a_character_outside_the_vocabulary_is_named(method):
    tokenizer = CharTokenizer("abd")
    for text, unknown in (("ab我", "我"), ("abc", "c"), ("a b", " ")):
        with pytest.raises(UserError, match=f"the character {unknown!r} is not in the vocabulary.*'abd'"):
            getattr(tokenizer, method)(text)


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(UserError, match="there is no character with the id 3.*0 to 2"):
        CharTokenizer("abc").decode([0, 3])


def test_the_split_is_the_first_nine_tenths_and_the_rest(shakespeare):
    assert (len(shakespeare.train), len(shakespeare.val)) == (1_003_854, 111_540)
    text = SHAKESPEARE.read_text(encoding="utf-8")
    both = torch.cat((shakespeare.train, shakespeare.val))
    assert shakespeare.tokenizer.decode(both.tolist()) == text


def test_the_text_takes_one_byte_per_character_and_batches_are_int64(shakespeare):
    assert shakespeare.train.element_size() == 1
    xb, yb = shakespeare.get_batch("train", 4, 8)
    assert xb.dtype == yb.dtype == torch.int64
    assert xb.shape == yb.shape == (4, 8)


def test_a_text_with_more_than_256_characters_takes_two_bytes_per_character():
    text = "".join(chr(0x4E00 + i) for i in range(300)) * 4
    corpus = Corpus.from_text(text)
    assert corpus.train.element_size() == 2
    both = torch.cat((corpus.train, corpus.val)).tolist()
    assert corpus.tokenizer.decode(both) == text


def test_a_chinese_poem_is_read_from_a_file(tmp_path):
    poem = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n" * 20
    path = tmp_path / "poem.txt"
    path.write_text(poem, encoding="utf-8")
    corpus = Corpus.load(path)
    assert corpus.tokenizer.vocab_size == len(set(poem))
    xb, _ = corpus.get_batch("val", 2, 6)
    assert corpus.tokenizer.decode(xb[0].tolist()) in poem


def test_the_first_batch_is_the_lectures(shakespeare):
    xb, yb = shakespeare.get_batch("train", 4, 8, drawn(1337))
    assert xb.tolist() == [
        [24, 43, 58, 5, 57, 1, 46, 43],
        [44, 53, 56, 1, 58, 46, 39, 58],
        [52, 58, 1, 58, 46, 39, 58, 1],
        [25, 17, 27, 10, 0, 21, 1, 54],
    ]
    assert yb[0].tolist() == [43, 58, 5, 57, 1, 46, 43, 39]


def test_targets_are_the_inputs_shifted_by_one(shakespeare):
    xb, yb = shakespeare.get_batch("val", 16, 8, drawn(0))
    assert torch.equal(yb[:, :-1], xb[:, 1:])
    whole = shakespeare.tokenizer.decode(shakespeare.val.tolist())
    for row, target in zip(xb, yb, strict=True):
        chunk = shakespeare.tokenizer.decode([*row.tolist(), target[-1].item()])
        assert chunk in whole


def test_a_chunk_of_nine_characters_holds_eight_examples(shakespeare):
    chunk = shakespeare.train[:9].tolist()
    examples = [(chunk[:t], chunk[t]) for t in range(1, 9)]
    assert examples[0] == ([18], 47)
    assert examples[7] == ([18, 47, 56, 57, 58, 1, 15, 47], 58)


def test_every_offset_is_drawn_and_none_runs_past_the_end():
    corpus = Corpus.from_text("abcdefghijklmnopqrst")  # ids 0 ... 17 to train on
    xb, yb = corpus.get_batch("train", 500, 4, drawn(0))
    assert set(xb[:, 0].tolist()) == set(range(18 - 4))
    assert yb.max() == 17
    for row, target in zip(xb.tolist(), yb.tolist(), strict=True):
        assert row == list(range(row[0], row[0] + 4))
        assert target == list(range(row[0] + 1, row[0] + 5))


def test_a_text_of_block_size_plus_one_has_a_single_chunk():
    corpus = Corpus.from_text("abcdefghijklmnopqrst")
    xb, yb = corpus.get_batch("train", 50, 17, drawn(0))
    assert (xb == torch.arange(17)).all() and (yb == torch.arange(1, 18)).all()


def test_the_same_seed_draws_the_same_batch(shakespeare):
    first, again, other = (shakespeare.get_batch("train", 4, 8, drawn(seed))[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_different_texts_have_different_fingerprints(rhyme):
    assert rhyme.fingerprint == Corpus.from_text("the rat that ate the oats\n" * 40).fingerprint
    assert rhyme.fingerprint != Corpus.from_text("the rat that ate the oats\n" * 41).fingerprint
    assert Corpus.from_text("abab").fingerprint != Corpus.from_text("cdcd").fingerprint


def test_line_endings_and_byte_order_mark_are_not_part_of_the_text(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n".encode())
    assert Corpus.load(path).tokenizer.chars == "".join(sorted(set("one\ntwo\n")))


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"caf\xe9 au lait")
    with pytest.raises(UserError, match="not UTF-8: byte 3 is 0xe9"):
        Corpus.load(path)


def odd_text(length):
    """Characters of one to four bytes, mixed."""
    return "aé我🙂\n"[: length % 5] + "aé我🙂\n" * (length // 5)


def test_a_file_read_in_pieces_gives_the_same_corpus_as_the_text_in_one_piece(tmp_path, monkeypatch):
    text = odd_text(103)
    path = tmp_path / "odd.txt"
    path.write_text(text, encoding="utf-8")
    whole = Corpus.from_text(text)
    for piece in (1, 7, 102, 103):
        monkeypatch.setattr(data, "PIECE", piece)
        for corpus in (Corpus.load(path), Corpus.from_text(text)):
            assert corpus.tokenizer.chars == whole.tokenizer.chars
            assert torch.equal(corpus.train, whole.train) and torch.equal(corpus.val, whole.val)
            assert corpus.fingerprint == whole.fingerprint


@pytest.mark.parametrize("piece", [1, 2, 5, 2**22])
@pytest.mark.parametrize("before", [0, 1, 6])
def test_the_bad_byte_is_named_wherever_the_pieces_end(tmp_path, monkeypatch, piece, before):
    monkeypatch.setattr(data, "PIECE", piece)
    path = tmp_path / "latin1.txt"
    start = odd_text(before).encode()
    path.write_bytes(start + b"caf\xe9 au lait")
    with pytest.raises(UserError, match=f"not UTF-8: byte {len(start) + 3} is 0xe9"):
        Corpus.load(path)


def test_a_file_that_ends_in_the_middle_of_a_character_is_refused(tmp_path):
    path = tmp_path / "torn.txt"
    path.write_bytes("我".encode()[:2])
    with pytest.raises(UserError, match="not UTF-8: it ends in the middle of a character"):
        Corpus.load(path)


def test_a_long_text_needs_little_memory_besides_its_ids(tmp_path):
    path = tmp_path / "long.txt"
    path.write_bytes(b"0123456789abcdef" * 2**21)  # 32 MiB
    tracemalloc.start()  # sees NumPy's memory and Python's
    corpus = Corpus.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A piece of 4 MiB takes up to 40 MiB on its way; read as a whole, the text would take ten times its length.
    assert peak < len(corpus) + 60 * 2**20


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_text_that_cannot_be_read_is_refused(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "no.txt"
    with pytest.raises(UserError, match="cannot read"):
        Corpus.load(path)


def test_an_empty_text_is_refused():
    with pytest.raises(UserError, match="is empty"):
        Corpus.from_text("")


def test_a_text_too_short_for_the_block_size_is_refused_with_the_split():
    corpus = Corpus.from_text("ab" * 40)  # 72 characters and 8
    corpus.check(7)
    with pytest.raises(UserError, match="val split has 8 tokens and a block size of 8 needs 9"):
        corpus.check(8)


@pytest.mark.parametrize("later", ["the rat", "the rat that ate the oats and the cat"])
def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, later):
    path = tmp_path / "rhyme.txt"
    path.write_text("the rat that ate the oats", encoding="utf-8")
    from_pieces = CharTokenizer.from_pieces

    def from_pieces_and_write(pieces):
        tokenizer = from_pieces([*pieces, "ndc"])
        path.write_text(later, encoding="utf-8")
        return tokenizer

    monkeypatch.setattr(CharTokenizer, "from_pieces", from_pieces_and_write)
    with pytest.raises(UserError, match="rhyme.txt changed while it was being read .it had 25 characters at first"):
        Corpus.load(path)


def test_a_corpus_is_copied_only_to_another_device(rhyme):
    assert rhyme.to("cpu") is rhyme
    moved = rhyme.to("meta")
    assert moved.train.device.type == moved.val.device.type == "meta" and rhyme.train.device.type == "cpu"
