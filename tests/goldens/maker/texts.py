"""Token ids by transformers' T5 tokenizer."""

import json

from transformers import T5Tokenizer

TEXTS = {
    "english": "A panda plays a guitar in the bamboo forest, close shot.",
    "capitals and digits": "Shot on 35mm at 24 FPS in 1999: SUNRISE over City 2049!",
    "unseen words": "Zygotic quixotry befuddles jackdaws; xylophones vamp",
    "accented": "Crème brûlée à la façade, Köln über straße, mañana corazón",
    "decomposed accents": "Cre\u0300me bru\u0302le\u0301e man\u0303ana",
    "chinese": "一只熊猫在竹林里弹吉他，阳光透过树叶。",
    "japanese": "東京タワーの夜景、桜が咲く",
    "halfwidth kana": "ﾄｳｷｮｳﾀﾜｰ",
    "korean": "고양이 바다 하늘",
    "conjoining jamo": "\u1100\u1169\u110b\u1163\u11bc\u110b\u1175",
    "greek and cyrillic": "Ελλάδα θάλασσα, привет мир",
    "right to left": "שלום עולם مرحبا بالعالم",
    "thai": "สวัสดีชาวโลก",
    "emoji": "a cat 😀 dances 💃🏽 with a family 👨‍👩‍👧‍👦 ❤️ 🇩🇪",
    "emoji alone": "😀",
    "ligatures": "ﬁre ﬂies oﬀ the ﬃne eﬄux ﬆar ĳ Ǆ",
    "compatibility": "㎏ ½ ™ ① Ⅳ ﹩ ㍿ x² H₂O …",
    "fullwidth": "Ａ　ｒｅｄ　ｂａｌｌ！",
    "tabs": "a\tred\t\tball",
    "newlines": "a red\nball\r\nmoves\n\nright",
    "leading and trailing spaces": "   a red ball   ",
    "many spaces": "a     red  ball",
    "unicode spaces": "a\u00a0red\u2003ball\u200bmoves\u3000right\ufeff",
    "control characters": "a\u0001red\u0007ball\u007f\u0085 soft\u00adhyphen",
    "empty": "",
    "space": " ",
    "spaces and tabs only": " \t  \n ",
    "meta symbol": "a▁red ▁ball ▁▁ up",
    "special tokens": "red</s>ball <pad> <unk> up",
    "sentinels": "a <extra_id_0> ball <extra_id_99>right<extra_id_100> <extra_id_ 3>",
    "special token pieces": "< /s> <s> </s <<pad>> </s>",
    "private use": "a \ue000 \U000f0000 ball",
    "combining only": "\u0301\u0302",
    "long word": "ball" * 90,
    "long run": "!" * 300,
    "long text": " ".join(
        f"scene {i}: a {colour} {thing} moves slowly toward the silver river,"
        for i, (colour, thing) in enumerate(
            (c, t)
            for c in ("red", "blue", "golden")
            for t in ("robot", "fox", "train", "熊猫", "boat")
        )
    ),
    "exactly full": "a b c d e f g h",
}

LENGTHS = (1, 2, 16, 226)


def make(pipelines, out):
    """Writes `tokens.json`: every text's ids, padded or cut to each length."""
    tokenizers = {
        family: T5Tokenizer.from_pretrained(pipelines / family / "tokenizer")
        for family in ("2b", "5b", "1.5-5b", "5b-sharded")
    }
    cases = []
    for name, text in TEXTS.items():
        for length in LENGTHS:
            ids = {
                family: tokenizer(
                    text, padding="max_length", max_length=length, truncation=True,
                    add_special_tokens=True,
                ).input_ids
                for family, tokenizer in tokenizers.items()
            }
            first = ids["2b"]
            assert all(other == first for other in ids.values()), (name, length)
            whole = len(tokenizers["2b"](text).input_ids)
            # Trailing padding is left out of the file.
            kept = len(first)
            while kept and first[kept - 1] == 0:
                kept -= 1
            cases.append(
                dict(name=name, text=text, max_length=length, truncated=whole > length,
                     ids=first[:kept])
            )
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    (out / "tokens.json").write_text("[\n" + lines + "\n]\n")
    print(f"tokens.json: {len(cases)} cases")
