"""The text that the tests' sentencepiece model is trained on, made from a seed.

The words only have to give a unigram model with pieces of several lengths and scripts; what
they say does not matter.
"""

import random

ENGLISH = """a the of and in to over under through with from at on by its their slowly quickly
red green blue yellow white purple black golden silver bright dark soft warm cold tiny giant
panda cat dog bird fox rabbit horse whale dragon robot astronaut child woman man dancer
plays runs jumps sleeps sings paints walks drives flies swims watches holds opens closes
guitar forest river mountain city street ocean desert garden kitchen window moon sun star snow
rain storm wind fire light shadow camera scene background foreground cinematic realistic
detailed dramatic peaceful video frame motion close wide angle shot morning evening night
bamboo stool stream sunlight leaves atmosphere melody notes strum crowd festival lantern
bicycle train airplane boat bridge castle tower market coffee bread apple butterfly flower
moving left right up down across toward away slowly gently suddenly together alone""".split()

# Words whose letters the normaliser, the pieces or the unknown piece must deal with.
ACCENTED = """café crème brûlée à la façade élève naïve garçon über straße schön Köln Mädchen
niño mañana corazón señor São João coração Ålesund fjörð smørrebrød Łódź żółw český řeka
İstanbul şeker çiçek Ελλάδα θάλασσα привет мир река ночь""".split()

CJK = """一只 熊猫 在 竹林 里 弹 吉他 阳光 透过 树叶 红色 的 球 向 右 移动 夜晚 城市 海洋 猫 狗 山 水
日本語 の テキスト です 桜 が 咲く 東京 タワー 夜景 한국어 문장 입니다 고양이 바다 하늘""".split()

ENDINGS = [".", ",", "!", "?", ";", ":", " -", "...", '"', "'s", ")"]


def sentences(count=3000, seed=20241122):
    """`count` sentences; the same for the same seed on every machine."""
    rng = random.Random(seed)
    for _ in range(count):
        words = []
        for _ in range(rng.randint(4, 14)):
            pick = rng.random()
            if pick < 0.80:
                word = rng.choice(ENGLISH)
            elif pick < 0.90:
                word = rng.choice(ACCENTED)
            elif pick < 0.98:
                word = rng.choice(CJK)
            else:
                word = str(rng.randint(0, 2025))
            if rng.random() < 0.15:
                word = word.capitalize()
            if rng.random() < 0.12:
                word += rng.choice(ENDINGS)
            words.append(word)
        yield " ".join(words)
