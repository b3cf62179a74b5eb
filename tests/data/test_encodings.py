"""Encodings are detected from bytes alone, and everything comes out as UTF-8."""

import codecs
import io

import pytest

from core.data.files.encodings import BAD_BYTE, BAD_BYTE_HANDLER, UTF8, Encoding, Utf8Stream, judge, judge_all

KOREAN = "질문,대답\n안녕하세요?,네 안녕하세요.\n"
FRENCH = "été,garçon\nÀ bientôt !,où ça ?\n"


@pytest.mark.parametrize(("content", "codec", "words"), [
    (b"a,b\n1,2\n", "utf-8", "UTF-8"),
    (KOREAN.encode(), "utf-8", "UTF-8"),
    (codecs.BOM_UTF8 + b"a", "utf-8", "UTF-8 with a byte order mark"),
    (KOREAN.encode("utf-16"), "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE + KOREAN.encode("utf-16-be"), "utf-16-be", "UTF-16"),
    ("a,b\n1,2\n".encode("utf-16-le"), "utf-16-le", "UTF-16"),
    ("a,b\n1,2\n".encode("utf-16-be"), "utf-16-be", "UTF-16"),
    (KOREAN.encode("utf-16-le"), "utf-16-le", "UTF-16"),
    (KOREAN.encode("utf-16-be"), "utf-16-be", "UTF-16"),
    (KOREAN.encode("utf-32"), "utf-32-le", "UTF-32"),
    (KOREAN.encode("cp949"), "cp949", "CP949 (Korean)"),
    ("가".encode("cp949"), "cp949", "CP949 (Korean)"),
    # 똠 and 펲 are in no older Korean encoding.
    ("똠방각하 펲시콜라를 마셨다".encode("cp949"), "cp949", "CP949 (Korean)"),
    (FRENCH.encode("latin-1"), "cp1252", "Latin-1"),
    ("ét".encode("latin-1"), "cp1252", "Latin-1"),
    ("Át".encode("latin-1"), "cp1252", "Latin-1"),  # would be one rare Hangul syllable
    ("ÈÉ Át Át".encode("latin-1"), "cp1252", "Latin-1"),  # one common syllable among rare ones
    (b"a,b,c\n1,2,3\n4,5,\xa9", "cp1252", "Latin-1"),
    ("“quoted” – 5 €\n".encode("cp1252"), "cp1252", "Latin-1"),
    (b"\xff", "cp1252", "Latin-1"),
    (b"a,b,c\n\x00,2,3\n", "utf-8", "UTF-8"),  # one null byte does not make it UTF-16
    (b"\x00", "utf-8", "UTF-8"),
    ("é and è and ".encode() + b"\xff", "utf-8", "UTF-8"),  # mostly valid stays UTF-8
    ("한국어".encode()[:-1], "utf-8", "UTF-8"),
])  # fmt: skip
def test_the_encoding_of_a_whole_file(content, codec, words):
    assert judge(content, is_whole=True)[:2] == (codec, words)
    assert judge(content, is_whole=True).is_sure


def test_a_head_that_ends_in_the_middle_of_a_character():
    for text, codec in ((KOREAN * 9, "utf-8"), (KOREAN * 9, "cp949")):
        content = text.encode(codec)
        assert {judge(content[:cut], is_whole=False).codec for cut in range(40, len(content))} == {codec}


def test_a_head_of_ascii_is_not_sure():
    assert judge(b"a,b\n1,2\n", is_whole=False) == UTF8._replace(is_sure=False)
    assert judge(KOREAN.encode(), is_whole=False) == UTF8


@pytest.mark.parametrize("codec", ["utf-8", "cp949"])
def test_what_comes_late_in_a_file_decides(codec):
    content = b"plain,ascii\n" * 100_000 + KOREAN.encode(codec)
    blocks = [content[at : at + 1000] for at in range(0, len(content), 1000)]
    assert judge_all(blocks).codec == codec
    assert judge_all(blocks[:-1]) == UTF8


def read(content: bytes, encoding: Encoding, decide=None) -> str:
    stream = Utf8Stream(io.BytesIO(content), encoding, decide or (lambda: pytest.fail("nothing to decide")))
    with io.TextIOWrapper(io.BufferedReader(stream, 7), "utf-8", BAD_BYTE_HANDLER, "") as text:
        return text.read()


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949"])
def test_every_encoding_comes_out_as_it_was(codec):
    content = (KOREAN * 5000).encode(codec)
    assert read(content, judge(content, is_whole=True)) == KOREAN * 5000


def test_latin_1_has_all_256_characters():
    content = bytes(range(256))
    text = read(content, Encoding("cp1252", "Latin-1"))
    assert len(text) == 256
    assert text[0x80] == "€"
    assert text[0x81] == "\x81"
    assert text[0xE9] == "é"


@pytest.mark.parametrize(("content", "encoding", "text"), [
    (b"a\xffb\xc3", UTF8, f"a{BAD_BYTE}b{BAD_BYTE}"),
    ("한글".encode("cp949") + b"\xff\n", Encoding("cp949", ""), f"한글{BAD_BYTE * 3}\n"),
    ("ab".encode("utf-16-le") + b"c", Encoding("utf-16-le", ""), f"ab{BAD_BYTE * 3}"),
    (b"a\x00\x00\xd8b\x00", Encoding("utf-16-le", ""), f"a{BAD_BYTE * 3}b"),
    (b"", Encoding("utf-16-le", "", bom=2), ""),
])  # fmt: skip
def test_bytes_that_cannot_be_decoded_are_marked(content, encoding, text):
    assert read(content, encoding) == text


def test_ascii_passes_until_there_is_something_to_decide():
    asked = []

    def decide() -> Encoding:
        asked.append(True)
        return Encoding("cp949", "CP949 (Korean)")

    unsure = UTF8._replace(is_sure=False)
    assert read(b"a" * 100_000, unsure) == "a" * 100_000
    assert read(b"a" * 100_000 + KOREAN.encode("cp949"), unsure, decide) == "a" * 100_000 + KOREAN
    assert read(b"a" * 100_000 + KOREAN.encode(), unsure, lambda: UTF8) == "a" * 100_000 + KOREAN
    assert asked == [True]
