"""Byte-pair encoding: what is learned, that nothing gets lost, and that it is GPT-2's."""

import hashlib
import io
import json
import random

import numpy as np
import pytest
import tiktoken.load
import tiktoken_ext.openai_public
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from babygpt.beyond import gpt2_vocabulary
from babygpt.beyond.bpe import (
    PATTERN,
    BPETokenizer,
    count_pairs,
    encode_word,
    learn_bytes,
    learn_bytes_naively,
    learn_words,
    merge,
)
from babygpt.beyond.gpt2_vocabulary import GPT2Tokenizer
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError

WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
RHYME = "the rat that ate the oats at the gate\n" * 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)  # no surrogates


@pytest.fixture(scope="module")
def shakespeare():
    return SHAKESPEARE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gpt2():
    return GPT2Tokenizer()


@pytest.fixture(scope="module")
def openai(gpt2):
    """The reference, without a network. It checks that the two files it gets are those that OpenAI published."""
    files = {"vocab.bpe": gpt2_vocabulary.FILE.read_bytes(), "encoder.json": encoder_json(gpt2)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tiktoken.load, "read_file", lambda address: files[address.rpartition("/")[2]])
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # an empty name means: no cache
        return tiktoken.Encoding(**tiktoken_ext.openai_public.gpt2())


def encoder_json(gpt2):
    """Our vocabulary in the form of the other file that OpenAI published: each token with its id."""
    characters = dict(zip(gpt2_vocabulary.BYTE_ORDER, gpt2_vocabulary.CHARACTERS, strict=True))
    ids = {"".join(characters[byte] for byte in token): i for i, token in enumerate(gpt2.tokens[:-1])}
    return json.dumps(ids | {"<|endoftext|>": 50256}).encode("utf-8")


# The example of the paper


def test_the_first_six_merges_of_the_classical_example():
    merges = learn_words(WORDS, 6)
    assert merges == [("e", "s"), ("es", "t"), ("est", "</w>"), ("l", "o"), ("lo", "w"), ("n", "e")]


def test_each_merge_was_the_most_frequent_pair_of_its_turn():
    words, found = {(*word, "</w>"): count for word, count in WORDS.items()}, []
    for pair in learn_words(WORDS, 6):
        pairs = count_pairs(words)
        assert pairs[pair] == max(pairs.values())
        found.append(pairs[pair])
        words = {merge(word, pair, "".join(pair)): count for word, count in words.items()}
    assert found == [9, 9, 9, 7, 7, 6]


def test_a_word_that_was_never_seen_is_made_of_parts_that_were():
    assert encode_word("lowest", learn_words(WORDS, 6)) == ["low", "est</w>"]


def test_merges_end_when_each_word_is_one_token():
    merges = learn_words(WORDS, 1000)
    assert len(merges) < 30
    assert all(encode_word(word, merges) == [f"{word}</w>"] for word in WORDS)


def test_pairs_that_overlap_are_merged_from_left_to_right():
    assert merge("aaaaa", ("a", "a"), "aa") == ("aa", "aa", "a")


# Learning from bytes


@pytest.mark.parametrize("num_merges", [0, 1, 10, 200])
def test_fast_and_naive_training_give_the_same_merges(num_merges, shakespeare):
    for text in (RHYME, shakespeare[:8000], "aaaa aaaaaaa aa" * 3, "床前明月光，疑是地上霜。" * 3):
        assert learn_bytes(text, num_merges) == learn_bytes_naively(text, num_merges)


@given(st.text("ab c", max_size=40))
@example("aaaaaa")
def test_fast_and_naive_training_agree_where_pairs_overlap(text):
    assert learn_bytes(text, 8) == learn_bytes_naively(text, 8)


def test_a_thousand_merges_of_shakespeare_make_a_token_of_three_characters(shakespeare):
    tokenizer = BPETokenizer.train(shakespeare, 1024)
    assert tokenizer.vocab_size == 1280 and tokenizer.name == "bpe:1024"
    ids = tokenizer.encode(shakespeare)
    assert 2.4 < len(shakespeare) / len(ids) < 2.8
    assert tokenizer.decode(ids) == shakespeare


def test_more_merges_make_shorter_sequences(shakespeare):
    text = shakespeare[:50_000]
    lengths = [len(BPETokenizer.train(text, n).encode(text)) for n in (0, 64, 256, 1024)]
    assert lengths[0] == len(text.encode()) and lengths == sorted(lengths, reverse=True)


def test_the_tokenizer_learns_from_the_training_part_only():
    seen = []
    corpus = Corpus.tokenize(RHYME, lambda text: seen.append(text) or BPETokenizer.train(text, 5))
    assert seen == [RHYME[: int(0.9 * len(RHYME))]]
    assert corpus.tokenizer.decode(corpus.val.tolist()) == RHYME[int(0.9 * len(RHYME)) :]


def test_bits_per_byte_do_not_depend_on_the_tokens_if_every_byte_is_equally_likely():
    corpora = [Corpus.tokenize(RHYME, lambda text, n=n: BPETokenizer.train(text, n)) for n in (0, 20)]
    assert corpora[0].bytes_per_token("val") == 1
    assert corpora[1].bytes_per_token("val") == len(corpora[0].val) / len(corpora[1].val)


# Encoding


@given(text=texts)
@example(text="")
@example(text="我爱吃苹果 🎯")
def test_every_text_comes_back(gpt2, text):
    for tokenizer in (BPETokenizer([]), BPETokenizer.train(RHYME, 30), gpt2):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(texts)
def test_without_merges_the_tokens_are_the_bytes(text):
    assert BPETokenizer([]).encode(text) == list(text.encode("utf-8"))


@given(texts)
def test_the_pieces_of_a_text_are_the_text(text):
    assert "".join(PATTERN.findall(text)) == text


def test_merges_are_applied_in_the_order_in_which_they_were_learned():
    """Not the longest token first: "bc" was learned before "ab", so "abc" is a + bc although "ab" comes first."""
    bc, ab = (ord("b"), ord("c")), (ord("a"), ord("b"))
    assert BPETokenizer([bc, ab]).encode("abc") == [ord("a"), 256]
    assert BPETokenizer([ab, bc]).encode("abc") == [256, ord("c")]


def test_no_token_reaches_from_one_word_into_the_next():
    tokenizer = BPETokenizer.train("of the of the of the of the", 50)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("of the of the")] == ["of", " the", " of", " the"]


def test_a_tokenizer_survives_its_state_and_its_file(tmp_path):
    tokenizer = BPETokenizer.train(RHYME, 20)
    tokenizer.save(tmp_path / "tokens.json")
    for other in (BPETokenizer.from_state(tokenizer.state()), BPETokenizer.load(tmp_path / "tokens.json")):
        assert other.merges == tokenizer.merges and other.encode(RHYME) == tokenizer.encode(RHYME)


BYTES = list(range(256))
DAMAGED = [
    None, "", "{}", "[]", "{", "\0\0", "[" * 100_000,
    {"format": "babygpt bpe 1"},
    {"format": "other", "merges": [], "byte_order": BYTES},
    {"format": "babygpt bpe 1", "merges": [], "byte_order": BYTES[1:]},
    *({"format": "babygpt bpe 1", "merges": merges, "byte_order": BYTES}
      for merges in ([[1, "a"]], [1], {}, "", [[1, 2, 3]], [[97, 300]], [[97, 98], [97, 98]])),
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_file_that_is_no_tokenizer_gets_one_sentence(content, tmp_path):
    path = tmp_path / "tokens.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"tokens.json is not a tokenizer of babygpt|cannot read .*tokens.json"):
        BPETokenizer.load(path)


@pytest.mark.parametrize("i", [-1, 257])
def test_an_id_outside_the_vocabulary_gets_one_sentence(i):
    with pytest.raises(UserError, match=f"no token with the id {i}: this vocabulary has the ids 0 to 256"):
        BPETokenizer([(97, 98)]).decode([i])


def test_a_merge_of_ids_that_do_not_exist_yet_gets_one_sentence():
    with pytest.raises(UserError, match="this is not a list of merges"):
        BPETokenizer([(97, 256)])


def test_half_a_character_gets_one_sentence():
    with pytest.raises(UserError, match="half of a character"):
        BPETokenizer([]).encode("a\ud800")


def test_bytes_that_are_not_a_character_become_the_replacement_character():
    assert BPETokenizer([]).decode([0xE6, 0x88]) == "\ufffd"


def test_the_pattern_cuts_before_words_digits_signs_and_endings():
    assert PATTERN.findall("it's 12abc  x!") == ["it", "'s", " 12", "abc", " ", " x", "!"]


@pytest.mark.parametrize(("num_merges", "dtype"), [(0, np.uint8), (1, np.int16)])
def test_ids_take_the_smallest_type_that_holds_them(num_merges, dtype):
    assert BPETokenizer.train(RHYME, num_merges).encode_array(RHYME).dtype == dtype


def test_a_pair_that_is_merged_twice_gets_one_sentence():
    with pytest.raises(UserError, match="a pair is merged twice"):
        BPETokenizer([(97, 98), (97, 98)])


# GPT-2's own


def test_gpt_2_takes_four_bytes_an_id(gpt2):
    assert gpt2.encode_array("apple").dtype == np.int32


def test_a_checkpoint_can_hold_the_state_and_that_of_gpt_2_is_empty(gpt2):
    for tokenizer in (BPETokenizer.train(RHYME, 20), BPETokenizer([(0, 1)], range(255, -1, -1)), gpt2):
        file = io.BytesIO()
        torch.save(tokenizer.state(), file)
        file.seek(0)
        assert type(tokenizer).from_state(torch.load(file, weights_only=True)).encode(RHYME) == tokenizer.encode(RHYME)
    assert gpt2.state() == {}


def test_the_vocabulary_of_gpt_2_is_not_saved_since_it_is_part_of_babygpt(gpt2, tmp_path):
    with pytest.raises(UserError, match="there is nothing to save"):
        gpt2.save(tmp_path / "tokens.json")


def test_the_vocabulary_of_gpt_2_has_256_bytes_50_000_merges_and_one_special_token(gpt2):
    assert gpt2.vocab_size == 256 + 50_000 + 1 == 50_257
    assert gpt2.end_of_text == 50_256 and gpt2.decode([50_256]) == "<|endoftext|>"


def test_a_word_with_a_space_before_it_is_another_token_than_without(gpt2):
    assert [gpt2.encode(text) for text in (" apple", "apple", "Apple")] == [[17180], [18040], [16108]]
    assert len(gpt2.encode("banana")) == 2


def test_shakespeare_in_the_tokens_of_gpt_2_is_the_same_as_tiktoken_s(gpt2, openai, shakespeare):
    n = int(0.9 * len(shakespeare))
    for part, length in ((shakespeare[:n], 301_966), (shakespeare[n:], 36_059)):
        ids = gpt2.encode(part)
        assert ids == openai.encode_ordinary(part) and len(ids) == length


SNIPPETS = [
    "我爱吃苹果，也爱吃香蕉。",
    "🎯🧠👩\u200d👩\u200d👧 ok",
    "def f(x):\n    return  x ** 2  # 1e-5\n",
    "it's we've I'll\t\t don't",
    "naïve café — “quoted”",
    "   leading\n\n\n and trailing   ",
    "1234567890 3.14159",
    "<|endoftext|>",
    "\r\n \x00\x7f",
    "Ω≈ç√∫ हिन्दी العربية",
]


@pytest.mark.parametrize("text", SNIPPETS)
def test_other_scripts_and_code_are_encoded_as_by_tiktoken(text, gpt2, openai):
    assert gpt2.encode(text) == openai.encode_ordinary(text)


def test_ten_thousand_random_strings_are_encoded_as_by_tiktoken(gpt2, openai):
    rng = random.Random(0)
    alphabets = ["abcdefghij ", " \n\t'", "0123456789.,-", "ABCxyz's ", "äöüßéñ ", "日本語中文 ", "🎉🚀🤖 a"]

    def anything():
        ch = chr(rng.randrange(0x110000))
        return "?" if 0xD800 <= ord(ch) <= 0xDFFF else ch

    for _ in range(10_000):
        alphabet = rng.choice([*alphabets, None])
        text = "".join(rng.choice(alphabet) if alphabet else anything() for _ in range(rng.randrange(20)))
        assert gpt2.encode(text) == openai.encode_ordinary(text), ascii(text)


@settings(max_examples=50)
@given(ids=st.lists(st.integers(0, 50_256), max_size=20))
def test_any_ids_decode_to_the_bytes_of_tiktoken(gpt2, openai, ids):
    assert b"".join(gpt2.token_bytes(i) for i in ids) == openai.decode_bytes(ids)
    assert gpt2.decode(ids) == openai.decode(ids)


def test_every_id_is_that_of_gpt_2(gpt2):
    """Byte for byte the file that OpenAI published."""
    digest = hashlib.sha256(encoder_json(gpt2)).hexdigest()
    assert digest == "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"


@pytest.mark.parametrize("content", [None, b"", b"#version: 0.2\n"])
def test_a_missing_or_changed_vocabulary_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.setattr(gpt2_vocabulary, "FILE", tmp_path / "vocab.bpe")
    if content is not None:
        (tmp_path / "vocab.bpe").write_bytes(content)
    gpt2_vocabulary.read_merges.cache_clear()
    with pytest.raises(UserError, match="vocab.bpe"):
        GPT2Tokenizer()
    gpt2_vocabulary.read_merges.cache_clear()
