"""Everything a user can get wrong, one row per case, and what each one gets.

Wrong input gets one message with the value seen and the remedy, exit status 2, and leaves nothing behind.
A wrong flag gets tyro's message, in a box. `python tests/test_input.py` plays all rows, the slow ones too,
and prints the counts.
"""

import functools
import io
import os
import shlex
import sys
import tempfile
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch

from babygpt import __main__, cli, expect, sample
from babygpt.beyond import calculate, chat, data_parallel, scale, write_shards
from babygpt.beyond.arithmetic import SumCommand
from babygpt.beyond.assistant import stages
from babygpt.beyond.command import TokenCommand
from babygpt.beyond.inside import report
from babygpt.beyond.models import ARITHMETIC, GPT2
from babygpt.harness.checkpoints import save_checkpoint
from babygpt.harness.terminal import exit_status
from babygpt.playground import commands as playground

QUICK = "--max-iters 2 --eval-interval 1 --eval-iters 1 --batch-size 2"
SMALL = "--block-size 8 --n-embd 16 --n-head 2 --n-layer 1"  # for version 10
TEXT = "How now, spirit! whither wander you?\nOver hill, over dale, thorough bush, thorough brier\n" * 12


@dataclass(frozen=True)
class Row:
    """A command line and a part of what it gets: of its error message, or, if it works, of its output."""

    command: str
    says: str
    works: bool = False
    lines: int = 1  # of the message: settings that differ are named one per line
    slow: bool = False
    posix: bool = False  # does not exist on Windows

    def __str__(self):
        return self.command


def wrong(command, says, **more):
    return Row(command, says, **more)


def works(command, says="", **more):
    return Row(command, says, works=True, **more)


NO_RUN = "is not a checkpoint of babygpt, or it is damaged"
TOO_SHORT = "is too short: its val split has 8 tokens and a block size of 8 needs 9"

TEXTS = [
    wrong("v1 --data empty.txt", "empty.txt is empty: give a text of a few thousand characters or more"),
    wrong("v1 --data bom-only.txt", "bom-only.txt is empty"),
    wrong("v1 --data one.txt", "one.txt is too short: its train split has 0 tokens and a block size of 8 needs 9"),
    wrong("v1 --data 80.txt", f"80.txt {TOO_SHORT}; use a longer text or a smaller --block-size"),
    works("v1 --data 81.txt", "learning 81.txt (81 characters, 3 different)"),
    works("v1 --data 81.txt --block-size 1"),
    wrong("v1 --data text.txt --block-size 500", "use a longer text or a smaller --block-size"),
    wrong("v1 --data binary.bin", "binary.bin is not UTF-8: byte 0 is 0x89; save it as UTF-8 and try again"),
    wrong("v1 --data late.bin", "late.bin is not UTF-8: byte 1068 is 0xff; save it as UTF-8 and try again"),
    wrong("v1 --data utf16.txt", "utf16.txt is not UTF-8: byte 0 is 0xff; save it as UTF-8 and try again"),
    wrong("v1 --data utf16-no-bom.txt", "utf16-no-bom.txt is not a text: it contains the character NUL"),
    wrong("v1 --data utf32.txt", "utf32.txt is not UTF-8: byte 0 is 0xff"),
    wrong("v1 --data latin1.txt", "latin1.txt is not UTF-8: byte 3 is 0xe9; save it as UTF-8 and try again"),
    wrong("v1 --data half-character.txt", "half-character.txt is not UTF-8: it ends in the middle of a character"),
    wrong("v1 --data nul.txt", "nul.txt is not a text: it contains the character NUL"),
    works("v1 --data bom.txt", "learning bom.txt (1,068 characters, 25 different)"),
    works("v1 --data crlf.txt", "learning crlf.txt (1,068 characters, 25 different)"),
    works("v1 --data cr.txt", "learning cr.txt (1,068 characters, 25 different)"),
    works("v1 --data emoji.txt", "learning emoji.txt (200 characters, 2 different)"),
    works("v1 --data same.txt", "learning same.txt (200 characters, 1 different)"),
    works("v1 --data 'a name with blanks, ümläuts.txt'", "learning a name with blanks, ümläuts.txt"),
    works("v1 --data line.txt", "learning line.txt (100,000,000 characters, 9 different)", slow=True),
    wrong("v1 --data missing.txt", "cannot read missing.txt (No such file or directory): give a text file with --data"),
    wrong("v1 --data folder", "cannot read folder ("),  # Windows has another reason
    wrong("v1 --data text.txt/more.txt", "cannot read text.txt/more.txt (Not a directory)", posix=True),
    wrong("v1 --data fifo", "cannot read fifo (not a regular file): give a text file with --data", posix=True),
    wrong("v1 --data /dev/zero", "cannot read /dev/zero (not a regular file)", posix=True),
    wrong("v1 --data loop.txt", "cannot read loop.txt (Too many levels of symbolic links)", posix=True),
    wrong("v1 --data denied.txt", "cannot read denied.txt (Permission denied): give a text file with --data"),
    wrong(f"v1 --data {'x' * 300}", "xxx (File name too long): give a text file with --data", posix=True),
    wrong("v1 --data ''", "cannot read . ("),
    wrong("v1 --data", "Missing value for argument '--data'"),
]

NUMBERS = [
    row
    for flag in ("max-iters", "batch-size", "eval-interval", "eval-iters", "block-size")
    for name in [flag.replace("-", "_")]
    for row in (
        wrong(f"v1 --{flag} 0", "000, and it is 0"),
        wrong(f"v1 --{flag} -3", f"{name} must be from 1 to 1"),
        wrong(f"v1 --{flag} 1{'0' * 30}", f"{name} must be from 1 to 1"),
        wrong(f"v1 --{flag} 1e3", f"Error parsing --{flag}: invalid literal for int() with base 10: '1e3'"),
    )
] + [
    wrong("v1 --max-iters 2.5", "Error parsing --max-iters: invalid literal for int() with base 10: '2.5'"),
    wrong("v1 --max-iters many", "Error parsing --max-iters: invalid literal for int() with base 10: 'many'"),
    wrong("v1 --max-iters ''", "Error parsing --max-iters: invalid literal for int() with base 10: ''"),
    wrong("v1 --max-iters nan", "Error parsing --max-iters: invalid literal for int() with base 10: 'nan'"),
    wrong(f"v1 --max-iters {'9' * 5000}", "Error parsing --max-iters: Exceeds the limit (4300 digits)"),
    wrong("v1 --max-iters", "Missing value for argument '--max-iters'"),
    wrong("v1 --max-iters --seed 3", "Missing value for argument '--max-iters'"),
    works("v1 --max-iters +3", "Trained 3 steps"),
    works("v1 --max_iters=3", "Trained 3 steps"),
    works("v1 --max-iters 3 --max-iters 4", "Trained 4 steps"),
    wrong("v1 --batch-size 100000000", "GiB of memory, and there are", posix=True),
    wrong("v1 --eval-iters 1000000000", "GiB of memory, and there are", posix=True),
    wrong("v9 --n-embd 1000000", "GiB of memory, and there are", posix=True),
    wrong("v9 --block-size 1000000", "input.txt is too short: its val split has 111540 tokens"),
    wrong("v9 --block-size 100000", "GiB of memory, and there are", posix=True),
    wrong("v9 --n-embd 1000000000", "n_embd must be from 1 to 10000000, and it is 1000000000"),
    wrong("v9 --n-layer 100000", "n_layer must be from 1 to 1000, and it is 100000"),
    wrong("v9 --n-layer 0", "n_layer must be from 1 to 10000000, and it is 0"),
    wrong("v9 --n-head 0", "n_head must be from 1 to 10000000, and it is 0"),
    wrong("v9 --n-head -4", "n_head must be from 1 to 10000000, and it is -4"),
    wrong("v9 --n-embd 1000000 --n-head 1000000", "n_head must be from 1 to 1000, and it is 1000000"),
    wrong("v9 --n-head 5", "and 32 is not a multiple of 5"),
    wrong("v10 --n-embd 10 --n-head 3", "and 10 is not a multiple of 3"),
    wrong("v1 --seed -1", "seed must be from 0 to 9223372036854775807, and it is -1"),
    wrong(
        "v1 --seed 9223372036854775808",
        "seed must be from 0 to 9223372036854775807, and it is 9223",
    ),
    works("v1 --seed 9223372036854775807"),
    wrong("v1 --learning-rate 0", "learning_rate must be above 0, and it is 0.0"),
    wrong("v1 --learning-rate -0.1", "learning_rate must be above 0, and it is -0.1"),
    wrong("v1 --learning-rate nan", "learning_rate must be above 0, and it is nan"),
    wrong("v1 --learning-rate inf", "learning_rate must be above 0, and it is inf"),
    wrong("v1 --learning-rate -inf", "learning_rate must be above 0, and it is -inf"),
    wrong("v1 --learning-rate 0,001", "Error parsing --learning-rate: could not convert string to float: '0,001'"),
    wrong("v1 --learning-rate fast", "Error parsing --learning-rate: could not convert string to float: 'fast'"),
    works("v1 --learning-rate 1E-4"),
    wrong("v1 --warmup-iters -1", "warmup_iters must be from 0 to 1000000000, and it is -1"),
    wrong(f"v1 --warmup-iters 1{'0' * 400}", "warmup_iters must be from 0 to 1000000000, and it is"),
    works("v1 --warmup-iters 10"),
    wrong("v1 --weight-decay -1", "weight_decay must be from 0 to 1000000000, and it is -1.0"),
    wrong("v1 --weight-decay nan", "weight_decay must be from 0 to 1000000000, and it is nan"),
    wrong("v1 --grad-clip -1", "grad_clip must be from 0 to 1000000000, and it is -1.0"),
    wrong("v1 --grad-clip inf", "grad_clip must be from 0 to 1000000000, and it is inf"),
    wrong("v1 --beta2 1", "beta2 must be at least 0 and below 1, and it is 1.0"),
    wrong("v10 --dropout 1", "dropout must be at least 0 and below 1, and it is 1.0"),
    wrong("v10 --dropout -0.1", "dropout must be at least 0 and below 1, and it is -0.1"),
    wrong("v10 --dropout nan", "dropout must be at least 0 and below 1, and it is nan"),
    wrong("v10 --fast-dropout --dropout 0.001", "with k from 1 to 255, and dropout is 0.001: leave out --fast-dropout"),
    wrong("v10 --init-std 0", "init_std must be from 1e-06 to 10, and it is 0.0"),
    wrong("v10 --init-std inf", "init_std must be from 1e-06 to 10, and it is inf"),
]

FLAGS = [
    wrong("v1 --max-itters 5", "Unrecognized options: --max-itters, 5 Perhaps you meant: --max-iters INT"),
    wrong("v1 --max-itters=5", "Perhaps you meant: --max-iters INT"),
    wrong("v1 --batchsize 3", "Perhaps you meant: --batch-size INT"),
    wrong("v1 --Seed 3", "Perhaps you meant: --seed INT"),
    wrong("v1 -seed 3", "Unrecognized options: -seed, 3"),
    wrong("v1 --colour red", "Unrecognized options: --colour, red"),
    wrong("v1 --n-head 2", "Unrecognized options: --n-head, 2"),
    wrong("v1 --vocab-size 3", "Unrecognized options: --vocab-size, 3"),
    wrong("v1 5000", "Unrecognized options: 5000"),
    wrong("v1 ''", "Unrecognized options"),
    wrong("v1 --resume=yes", "there is no run in runs"),
    wrong("v1 --no-shapes", "Unrecognized options: --no-shapes"),
    wrong("v1 --preset laptop", "v1 has no preset 'laptop': choose from lecture"),
    wrong("v10 --preset Lecture", "v10 has no preset 'Lecture': choose from lecture, laptop"),
    wrong("v10 --preset ''", "v10 has no preset '': choose from lecture, laptop"),
    wrong("v10 --preset", "Missing value for argument '--preset'"),
    wrong("v1 --device tpu", "invalid choice 'tpu' for argument '--device'"),
    wrong("v10 --device CPU", "invalid choice 'CPU' for argument '--device'"),
    wrong("v1 --dtype float64", "invalid choice 'float64' for argument '--dtype'"),
    wrong("v1 --lr-schedule exponential", "invalid choice 'exponential' for argument '--lr-schedule'"),
    wrong("v1 --optimizer sgd", "invalid choice 'sgd' for argument '--optimizer'"),
    wrong(
        "v1 --optimizer muon", "the optimizer muon needs linear layers inside the model, which versions 5 to 10 have"
    ),
    wrong("v10 --attention flash", "invalid choice 'flash' for argument '--attention'"),
    works("v1 --help", "usage: python -m babygpt.v1"),
    works("v6 --shapes", "(B, T, hs) = (4, 8, 8)"),
    works("babygpt", "Train one:"),
    works("babygpt --help", "Train one:"),
    wrong("babygpt v10", "python -m babygpt takes no arguments, and got 'v10': to train, run python -m babygpt.v1"),
    wrong("expect", "Missing from python -m babygpt.expect"),
    wrong("expect nowhere", "there is no run in nowhere: checkpoint.pt is missing"),
    wrong("expect text.txt", "there is no run in text.txt: checkpoint.pt is missing"),
    wrong("expect two three", "Unrecognized options: three"),
    wrong("expect two", "two was never evaluated at a step at which the recorded runs were, except at the start"),
    wrong("expect two --seed 3", "Unrecognized options: --seed, 3"),
]

RUNS = [
    wrong("v3 --resume", "there is no run in runs"),
    wrong("v3 --resume --out-dir nowhere", "there is no run in nowhere: checkpoint.pt is missing"),
    wrong("v3 --resume --out-dir text.txt", "there is no run in text.txt: checkpoint.pt is missing"),
    wrong(
        "v1 --resume --out-dir two",
        "two was trained with babygpt.v2, not with babygpt.v1: resume it with",
    ),
    wrong("v2 --out-dir two", "two already holds a run: add --resume to continue it, or choose another --out-dir"),
    works("v2 --resume --out-dir two", "Trained 2 steps"),
    works("v2 --resume --out-dir two --max-iters 3", "Trained 3 steps"),
    works("v2 --out-dir new/er/folder", "Everything is in new"),
    wrong("v1 --out-dir", "Missing value for argument '--out-dir'"),
    wrong("v1 --out-dir text.txt", "cannot write to text.txt ("),
    wrong("v1 --out-dir text.txt/run", "cannot write to ", posix=True),
    wrong(
        "v1 --out-dir /dev/null/run",
        "write to /dev/null/run (Not a directory): fix that, or choose",
        posix=True,
    ),
    wrong(
        "v1 --out-dir denied/run",
        "cannot write to denied/run (Permission denied): fix that, or choose",
    ),
    wrong("v1 --out-dir loop.txt", "choose another --out-dir", posix=True),
    wrong(f"v1 --out-dir {'x' * 300}", "(File name too long): fix that, or choose another --out-dir", posix=True),
    wrong("v2 --resume --out-dir two --seed 7", "seed was 1337 and is now 7", lines=2),
    wrong("v2 --resume --out-dir two --data 81.txt", "the text was not the one that 81.txt holds now", lines=3),
    wrong("v2 --resume --out-dir two --n-embd 8 --seed 7", "n_embd was 32 and is now 8", lines=3),
    wrong("v1 --resume --out-dir changed", "the text was not the one that changed.txt holds now", lines=2),
    wrong("v1 --resume --out-dir gone", "gone.txt (No such file or directory): give a text file with --data"),
    wrong("v2 --resume --out-dir evil", f"evil/checkpoint.pt {NO_RUN}"),
    wrong("v2 --resume --out-dir prose", f"prose/checkpoint.pt {NO_RUN}"),
    wrong("v2 --resume --out-dir list", f"list/checkpoint.pt {NO_RUN}"),
    wrong("v2 --resume --out-dir format1", "format1/checkpoint.pt has format 1, and this babygpt reads"),
    wrong("v2 --resume --out-dir format99", "format99/checkpoint.pt has format 99, and this babygpt reads"),
    wrong("v2 --resume --out-dir other-module", "other-module/checkpoint.pt "),
    wrong("v2 --resume --out-dir folder-for-file", "folder-for-file"),
    *(wrong(f"v2 --resume --out-dir cut-{n}", f"cut-{n}/checkpoint.pt {NO_RUN}") for n in range(10)),
    *(wrong(f"v2 --resume --out-dir flipped-{n}", f"flipped-{n}/checkpoint.pt {NO_RUN}") for n in range(10)),
]

SAMPLES = [
    wrong("sample", "Missing from python -m babygpt.sample"),
    wrong("sample ten two", "Unrecognized options: two"),
    wrong("sample nowhere", "there is no run in nowhere: best.pt is missing"),
    wrong("sample text.txt", "there is no run in text.txt: best.pt is missing"),
    wrong("sample ''", "there is no run in .: best.pt is missing"),
    wrong("sample cut-5", f"cut-5/best.pt {NO_RUN}"),
    wrong("sample flipped-5", f"flipped-5/best.pt {NO_RUN}"),
    wrong("sample evil", f"evil/best.pt {NO_RUN}"),
    wrong("sample ten --prompt ü", "the character 'ü' is not in the vocabulary; it has these 25"),
    wrong("sample ten --prompt -x", "Missing value for argument '--prompt'"),
    works("sample ten --prompt ''"),
    works("sample ten --prompt 'Over hill, over dale, thorough bush'", "Over hill, over dale, thorough bush"),
    works("sample ten --prompt 'Over hill, over dale' --window fast", "Over hill, over dale"),
    wrong("sample two --window fast", "this model has no cache, so it has no window fast: sample without --window"),
    wrong("sample ten --window slow", "invalid choice 'slow' for argument '--window'"),
    wrong("sample ten --promt a", "Perhaps you meant: --prompt STR"),
    works("sample ten --temperature 0"),
    works("sample ten --temperature -0.0"),
    works("sample ten --temperature 0.000001"),
    wrong("sample ten --temperature 1e-40", "temperature must be from 1e-06 to 1000000.0, and it is 1e-40"),
    wrong("sample ten --temperature -1", "temperature must be from 1e-06 to 1000000.0, and it is -1.0"),
    wrong("sample ten --temperature nan", "temperature must be from 1e-06 to 1000000.0, and it is nan"),
    wrong("sample ten --temperature inf", "temperature must be from 1e-06 to 1000000.0, and it is inf"),
    wrong("sample ten --temperature hot", "Error parsing --temperature: could not convert string to float: 'hot'"),
    works("sample ten --top-k 1"),
    works("sample ten --top-k 1000"),
    wrong(f"sample ten --top-k 1{'0' * 30}", "top_k must be from 0 to 1000000000, and it is 1000"),
    wrong("sample ten --top-k -1", "top_k must be from 0 to 1000000000, and it is -1"),
    works("sample ten --max-new-tokens 0"),
    wrong("sample ten --max-new-tokens -1", "max_new_tokens must be from 0 to 1000000000, and it is -1"),
    wrong(f"sample ten --max-new-tokens 1{'0' * 30}", "max_new_tokens must be from 0 to 1000000000, and it is 1000"),
    wrong("sample ten --num-samples 0", "num_samples must be from 1 to 10000, and it is 0"),
    wrong("sample ten --num-samples 1000000", "num_samples must be from 1 to 10000, and it is 1000000"),
    wrong("sample ten --seed -1", "seed must be from 0 to 9223372036854775807, and it is -1"),
    wrong(f"sample ten --seed 1{'0' * 30}", "seed must be from 0 to 9223372036854775807, and it is 1000"),
    wrong("sample ten --out folder", "cannot write folder ("),
    wrong("sample ten --out no/more.txt", "cannot write no/more.txt (No such file or directory)"),
    wrong("sample ten --out ''", "--out must be a file name, and it is '.'"),
    wrong("sample ten --out text.txt/x", "(Not a directory): choose another --out", posix=True),
    works("sample ten --out more.txt", "characters to more.txt"),
    wrong("sample ten --checkpoint first", "invalid choice 'first' for argument '--checkpoint'"),
]

ASSISTANTS = [
    wrong("chat nowhere", "there is no run in nowhere: train one with python -m babygpt.beyond.assistant"),
    wrong("chat two --say hi", "the model in two is babygpt.v2, which this chat cannot use"),
    wrong("chat ten --say ''", "say 1 to 65 characters: '' has 0"),
    wrong(f"chat ten --say {'a' * 66}", "has 66"),
    wrong("chat ten --say \u25a0", "'\u25a0' is a special token, which only the chat itself may use: leave it out"),
    wrong("chat ten --say \u2603", "the character '\u2603' is not in the vocabulary"),
    wrong("chat ten --say a --temperature -1", "temperature must be from 0 to 100, and it is -1"),
    wrong("chat ten --say a --seed -1", "seed must be from 0 to 9223372036854775807, and it is -1"),
    works("chat ten --say a --show-tokens"),
    wrong("assistant --scale 0", "scale must be from 0.001 to 100, and it is 0"),
    wrong("assistant --seed -1", "seed must be from 0 to 9223372036854775807, and it is -1"),
    wrong("assistant --out-dir denied/x", "cannot write to denied/x"),
]

PLAYGROUND = [
    wrong("playground nowhere", "there is no run in nowhere: best.pt is missing"),
    wrong("playground text.txt", "there is no run in text.txt: best.pt is missing"),
    wrong("playground ten nowhere", "there is no run in nowhere: best.pt is missing"),
    wrong("playground cut-5", f"cut-5/best.pt {NO_RUN}"),
    wrong("playground evil", f"evil/best.pt {NO_RUN}"),
    wrong("playground --port 0", "port must be from 1 to 65535, and it is 0"),
    wrong("playground --port 65536", "port must be from 1 to 65535, and it is 65536"),
    wrong("playground --port high", "Error parsing --port: invalid literal for int() with base 10: 'high'"),
    wrong("playground ten --prot 1", "Perhaps you meant: --port INT"),
]

INSIDE = [
    wrong("inside nowhere", "there is no run in nowhere: best.pt is missing"),
    wrong("inside v11", "there is no run in v11: best.pt is missing"),
    wrong("inside two", "the model in two is babygpt.v2, and none of its heads can be looked at alone"),
    wrong("inside v3", "the model in v3 is babygpt.v3, and none of its heads can be looked at alone"),
    wrong("inside cut-5", f"cut-5/best.pt {NO_RUN}"),
    wrong("inside ten --data emoji.txt", "is not in the vocabulary"),
    wrong("inside ten --data empty.txt", "empty.txt is empty"),
    wrong("inside ten --data one.txt", "one.txt is too short"),
    wrong("inside ten --chunks 1", "chunks must be from 2 to 10000, and it is 1"),
    wrong("inside", "Missing from python -m babygpt.beyond.inside"),
    works("inside ten --data text.txt", "uniform"),
]

SUMS = [
    wrong("arithmetic --digits 4", "digits must be 1 to 3, and it is 4"),
    wrong("arithmetic --digits 0", "must be from 1 to 10000000, and it is 0"),
    wrong("arithmetic --operation /", "invalid choice '/' for argument '--operation'"),
    wrong("arithmetic --steps", "steps are for products, and operation is '+'"),
    wrong("arithmetic --block-size 8", "sums of up to 2 digits needs a block_size of at least 9, and it is 8"),
    wrong("arithmetic --preset divide", "arithmetic has no preset 'divide': choose from add2, add3"),
    wrong("arithmetic --out-dir denied/x", "cannot write to denied/x"),
    wrong("calculate nowhere 1+1", "there is no run in nowhere: train one that calculates with"),
    wrong("calculate two 1+1", "the model in two is babygpt.v2, which continues texts"),
    wrong("calculate cut-5 1+1", f"cut-5/best.pt {NO_RUN}"),
    wrong("calculate", "Missing from python -m babygpt.beyond.calculate"),
]

TO = "--out-dir out --workers 1"
SHARDS = [
    wrong("shards", "Missing from python -m babygpt.beyond.shards"),
    wrong(f"shards missing.txt {TO}", "cannot read missing.txt (No such file or directory): give a text file"),
    wrong(f"shards folder {TO}", "cannot read folder ("),
    wrong(f"shards empty.txt bom-only.txt {TO}", "empty.txt and bom-only.txt is empty"),
    wrong(f"shards text.txt nul.txt {TO}", "nul.txt is not a text: it contains the character NUL"),
    wrong(f"shards text.txt late.bin {TO}", "late.bin is not UTF-8: byte 1068 is 0xff"),
    wrong(f"shards fifo {TO}", "cannot read fifo (not a regular file): give a text file", posix=True),
    wrong(f"shards text.txt {TO} --tokenizer words", "--tokenizer must be char, gpt2, or bpe and a number of merges"),
    wrong(f"shards text.txt {TO} --shard-tokens 0", "shard_tokens must be from 1 to 1000000000000, and it is 0"),
    wrong("shards text.txt --out-dir out --workers -1", "workers must be from 0 to 1000, and it is -1"),
    wrong("shards text.txt --out-dir two --workers 1", "two is not empty: choose another --out-dir, or remove it"),
    wrong("shards text.txt --out-dir denied/x --workers 1", "cannot write to denied/x (Permission denied): choose"),
    wrong("shards text.txt --out-dir text.txt --workers 1", "cannot write to text.txt ("),
    works("shards crlf.txt text.txt --out-dir new/er/shards --workers 1", "Wrote 1,922 characters for training"),
    wrong("gpt2 --data folder", "there are no shards in folder: shards.json is missing; make them with"),
    wrong("gpt2 --data ready --tokenizer gpt2", "the shards in ready were made with --tokenizer char, not with gpt2"),
    works("gpt2 --data ready", "learning ready (1,068 characters, 25 different)"),
    wrong(f"gpt2 --data {'x' * 300}", "xxx (File name too long): give a text file with --data", posix=True),
    wrong("v1 --data ready", "cannot read ready ("),
    wrong("gpt2 --sharded", "--sharded divides a model among several processes: start them with torchrun"),
    works("gpt2 --activation-checkpointing --dropout 0.2", "Trained 2 steps"),
]

SCALE = [
    wrong("scale --mfu 0", "mfu must be above 0 and at most 1, and it is 0.0"),
    wrong("scale --mfu nan", "mfu must be above 0 and at most 1, and it is nan"),
    wrong("scale --gpus 0", "gpus must be from 1 to 1000000000, and it is 0"),
    wrong("scale --tflops inf", "tflops must be above 0 and at most 1e9, and it is inf"),
    wrong("scale --price -1", "price must be from 0 to 1e9, and it is -1.0"),
    works("scale --gpus 8", "124,439,808"),
    wrong("data_parallel --processes 0", "processes must be from 1 to 64, and it is 0"),
    wrong("data_parallel --processes 3 --batch-size 2", "batch_size must be from 3 to 1000000, and it is 2"),
    wrong("data_parallel --steps 0", "steps must be from 1 to 1000000, and it is 0"),
]

if not torch.cuda.is_available():
    NUMBERS += [wrong(f"v{n} --device cuda", "the device 'cuda' is not there: this machine has cpu") for n in (1, 10)]
    SAMPLES += [wrong("sample ten --device cuda", "the device 'cuda' is not there: this machine has cpu")]

ROWS = [
    row
    for row in TEXTS + NUMBERS + FLAGS + RUNS + SAMPLES + ASSISTANTS + SUMS + PLAYGROUND + INSIDE + SHARDS + SCALE
    if os.name == "posix" or not row.posix
]


class Evil:
    """A pickle that creates a file when it is read."""

    def __reduce__(self):
        return open, ("created-by-a-checkpoint", "w")


def make_world(folder, slow=False):
    """Fill a folder with all that the rows name."""
    crlf = TEXT.replace("\n", "\r\n")
    files = {
        "empty.txt": b"",
        "bom-only.txt": "\ufeff".encode(),
        "one.txt": b"a",
        "80.txt": b"ab\n" * 26 + b"ab",
        "81.txt": b"ab\n" * 27,
        "text.txt": TEXT.encode(),
        "binary.bin": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        "late.bin": TEXT.encode() + b"\xff",
        "utf16.txt": TEXT.encode("utf-16"),
        "utf16-no-bom.txt": TEXT.encode("utf-16-le"),
        "utf32.txt": TEXT.encode("utf-32"),
        "latin1.txt": "caf\u00e9 au lait".encode("latin-1"),
        "half-character.txt": TEXT.encode() + "\u00e9".encode()[:1],
        "nul.txt": TEXT.encode() + b"\0",
        "bom.txt": TEXT.encode("utf-8-sig"),
        "crlf.txt": crlf.encode(),
        "cr.txt": crlf.replace("\n", "").encode(),
        "emoji.txt": "\U0001f600\U0001f40d".encode() * 100,
        "same.txt": b"a" * 200,
        "a name with blanks, ümläuts.txt": TEXT.encode(),
        "denied.txt": TEXT.encode(),
        "changed.txt": TEXT.encode(),
        "gone.txt": TEXT.encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "denied").mkdir()
    write_shards.write_shards([folder / "text.txt"], folder / "ready", workers=1)
    for run, flags in {
        "two": "v2 --data text.txt",
        "ten": "v10 --data text.txt",
        "changed": "v1 --data changed.txt",
        "gone": "v1 --data gone.txt",
    }.items():
        status, _, err = play(f"{flags} --out-dir {run}", folder)
        assert status == 0, err
    (folder / "changed.txt").write_bytes(TEXT[::-1].encode())
    (folder / "gone.txt").unlink()
    make_damaged_runs(folder)
    if os.name == "posix":
        os.mkfifo(folder / "fifo")
        (folder / "loop.txt").symlink_to("loop.txt")
    if slow:
        (folder / "line.txt").write_bytes(b"one long line " * (10**8 // 14) + b"the end."[: 10**8 % 14])


def make_damaged_runs(folder):
    """Copies of the run `two`, each spoiled in its own way."""
    for name in ("checkpoint.pt", "best.pt"):
        content = (folder / "two" / name).read_bytes()
        saved = torch.load(folder / "two" / name, weights_only=True)

        def put(run, spoiled, name=name):
            (folder / run).mkdir(exist_ok=True)
            (folder / run / name).write_bytes(spoiled)

        for n in range(10):
            put(f"cut-{n}", content[: len(content) * n // 10])
            at = len(content) * (2 * n + 1) // 20
            put(f"flipped-{n}", content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        put("prose", b"no checkpoint")
        for run in ("list", "evil", "format1", "format99", "other-module", "folder-for-file"):
            (folder / run).mkdir(exist_ok=True)
        torch.save([1, 2], folder / "list" / name)
        torch.save({"format": 1, "run_me": Evil()}, folder / "evil" / name)
        torch.save(saved | {"format": 1}, folder / "format1" / name)
        save_checkpoint(folder / "format99" / name, saved | {"format": 99})
        save_checkpoint(folder / "other-module" / name, saved | {"module": "os"})
        (folder / "folder-for-file" / name).mkdir()


def snapshot(folder):
    """What there is in a folder: its files with their content, and the names of all else."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and path.stat().st_size < 10**7 else ""
        for path in folder.rglob("*")
    }


def forbid(method):
    """A method of Path that is refused what the rows call denied: the bits would not stop an administrator."""

    def refused(path, *args, **kwargs):
        if path.name == "denied.txt" or "denied" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return method(path, *args, **kwargs)

    return refused


def play(command, folder):
    """Run a command line in a folder, in this process; return its exit status, output, and error messages."""
    name, *argv = shlex.split(command)
    if name.startswith("v"):
        argv = f"{QUICK} {SMALL if name == 'v10' else ''}".split() + argv
    if name == "gpt2":
        argv = f"{QUICK} {SMALL} --device cpu".split() + argv
    commands = {
        "babygpt": lambda argv: sys.exit(exit_status(lambda: __main__.main(argv))),
        "sample": sample.main,
        "expect": expect.main,
        "chat": chat.main,
        "assistant": stages.main,
        "playground": playground.main,
        "arithmetic": functools.partial(cli.main, SumCommand(ARITHMETIC)),
        "calculate": calculate.main,
        "inside": report.main,
        "shards": write_shards.main,
        "scale": scale.main,
        "data_parallel": data_parallel.main,
        "gpt2": functools.partial(cli.main, TokenCommand(GPT2)),
    }
    command = commands.get(name) or functools.partial(cli.main, int(name[1:]))
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(cli, "SAMPLE_TOKENS", 20),
        mock.patch.object(Path, "open", forbid(Path.open)),
        mock.patch.object(Path, "mkdir", forbid(Path.mkdir)),
    ):
        try:
            command(argv)
            status = 0
        except SystemExit as exit:
            status = exit.code or 0
        except BaseException:  # as the interpreter would
            traceback.print_exc()
            status = 1
    return status, *(stream.buffer.getvalue().decode("utf-8") for stream in (out, err))


def verdict(row, folder):
    """What is wrong with the response to a row; None if nothing is."""
    before = snapshot(folder)
    status, out, err = play(row.command, folder)
    if "Traceback" in err:
        return f"a traceback: {err}"
    if row.works:
        return None if (status, err) == (0, "") and row.says in out else f"status {status}, {out!r}, {err!r}"
    if status != 2:
        return f"status {status} instead of 2: {err!r}, {out!r}"
    sentence = err.startswith("babygpt: ") and err.count("\n") == row.lines and err.endswith("\n")
    if not sentence and not err.startswith("╭"):
        return f"neither one sentence nor tyro's box: {err!r}"
    if row.says not in (err if sentence else inside_box(err)):
        return f"another message: {err!r}"
    after = snapshot(folder)
    if before != after:
        return f"it changed {sorted(name for name in before | after if before.get(name) != after.get(name))}"
    return None


def inside_box(err):
    """The text in the box around a message of tyro's, in one line."""
    lines = [line.strip("│ ") for line in err.splitlines()[1:-1]]
    return " ".join(line for line in lines if line.strip("─"))


def play_all(slow=True):
    """Each row with its verdict. Rows that work may leave files behind, so they go last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, slow)
        rows = [row for row in ROWS if slow or not row.slow]
        return [(row, verdict(row, folder)) for row in sorted(rows, key=lambda row: row.works)]


def count(slow=True):
    """The counts over all rows: cases, error messages, odd input that works, tracebacks, and failures."""
    results = play_all(slow)
    failed = [(row, said) for row, said in results if said]
    return {
        "cases": len(results),
        "messages": sum(not row.works and not said for row, said in results),
        "work": sum(row.works and not said for row, said in results),
        "tracebacks": sum("a traceback" in said for _, said in failed),
        "failed": [f"{row.command[:100]}: {said}" for row, said in failed],
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.mark.parametrize("row", [row for row in ROWS if not row.slow and not row.works], ids=str)
def test_wrong_input_gets_one_message_and_status_2_and_leaves_nothing_behind(row, world):
    assert verdict(row, world) is None


@pytest.mark.parametrize("row", [row for row in ROWS if not row.slow and row.works], ids=str)
def test_unusual_input_works(row, world):
    assert verdict(row, world) is None


if __name__ == "__main__":
    counted = count()
    print(*counted["failed"], sep="\n", end="\n" if counted["failed"] else "")
    print(
        f"input table: {counted['cases']} cases, {counted['messages']} error messages, "
        f"{counted['work']} work, {counted['tracebacks']} tracebacks, {len(counted['failed'])} failed"
    )
    sys.exit(bool(counted["failed"]))
