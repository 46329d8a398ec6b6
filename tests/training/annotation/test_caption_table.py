"""The captions file of the page: edited captions change, everything else stays byte for byte."""

import threading

import pytest

from captioner.caption_files import read_rows
from captioner.errors import DataError
from training.annotation.caption_table import CaptionTable

TABLE = (
    '\ufeffimage,author,caption,split\r\na.jpg,"Ann, B.",a dog,test\r\n\r\nb.jpg,,"a ""big"" cat\nasleep",train\r\n'
    "d.jpg,Cy,,validation\r\nbroken row\r\n"
)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "captions.csv").write_bytes(TABLE.encode())
    return CaptionTable(tmp_path / "captions.csv")


def content(table):
    return table.path.read_bytes().decode()


def test_a_new_file_is_read_back(tmp_path):
    table = CaptionTable(tmp_path / "new" / "captions.csv")
    assert table.captions() == {}
    table.put("a.jpg", [])
    assert not table.path.exists()
    table.put("sub/b, c.jpg", ['a "red" ball, alone', "كرة حمراء"])
    assert [(row.image, row.captions) for row in read_rows(table.path).rows] == [
        ("sub/b, c.jpg", ['a "red" ball, alone']),
        ("sub/b, c.jpg", ["كرة حمراء"]),
    ]
    assert table.captions() == {"sub/b, c.jpg": ['a "red" ball, alone', "كرة حمراء"]}


def test_other_rows_columns_and_line_ends_stay(table):
    table.put("c.jpg", ["a fish", "one fish"])
    assert content(table) == TABLE + "c.jpg,,a fish,train\r\nc.jpg,,one fish,train\r\n"
    table.put("c.jpg", ["a red fish"])
    assert content(table) == TABLE + "c.jpg,,a red fish,train\r\n"
    table.put("c.jpg", [])
    assert content(table) == TABLE


def test_a_row_without_a_caption_is_filled(table):
    assert table.captions() == {"a.jpg": ["a dog"], "b.jpg": ['a "big" cat asleep']}
    table.put("d.jpg", ["a door", "a blue door"])
    filled = TABLE.replace("d.jpg,Cy,,validation", "d.jpg,Cy,a door,validation")
    assert content(table) == filled + "d.jpg,,a blue door,validation\r\n"


def test_the_same_captions_write_nothing(table):
    before = table.path.stat()
    table.put("b.jpg", ['a "big" cat asleep'])
    table.put("./a.jpg", ["a dog"])
    assert content(table) == TABLE and table.path.stat().st_ino == before.st_ino


def test_what_others_wrote_meanwhile_is_kept(table):
    text = TABLE + "e.jpg,,an egg,train"  # without a line end
    table.path.write_bytes(text.encode())
    table.put("c.jpg", ["a fish"])
    assert content(table) == text + "\r\nc.jpg,,a fish,train\r\n"


def test_names_in_another_unicode_form_are_the_same_image(tmp_path):
    table = CaptionTable(tmp_path / "captions.csv")
    table.path.write_text("image,caption\ncafe\u0301.jpg,\n", encoding="utf-8")
    table.put("caf\u00e9.jpg", ["a cup"])
    assert content(table) == "image,caption\ncafe\u0301.jpg,a cup\n"


def test_other_names_of_columns_and_tabs(tmp_path):
    path = tmp_path / "captions.tsv"
    path.write_text("text\tfile_name\nx, y\ta.jpg\n")
    table = CaptionTable(path)
    table.put("b.jpg", ["a, b"])
    assert path.read_text() == "text\tfile_name\nx, y\ta.jpg\na, b\tb.jpg\n"


def test_bytes_that_are_not_utf8_stay(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_bytes(b"image,caption\na.jpg,caf\xe9\n")
    CaptionTable(path).put("b.jpg", ["thé"])
    assert path.read_bytes() == b"image,caption\na.jpg,caf\xe9\n" + "b.jpg,thé\n".encode()


def test_threads_do_not_overwrite_each_other(tmp_path):
    table = CaptionTable(tmp_path / "captions.csv")
    threads = [threading.Thread(target=table.put, args=(f"{i}.jpg", [f"caption of {i}"])) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.captions() == {f"{i}.jpg": [f"caption of {i}"] for i in range(12)}
    assert [path.name for path in tmp_path.iterdir()] == ["captions.csv"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("captions.json", "[]", "ends in .csv or .tsv"),
        ("captions.csv", "photo,words\na,b\n", "expected the columns image, caption"),
        ("captions.csv", 'image,caption\na.jpg,"open\n', "not closed"),
    ],
)
def test_other_files_are_refused_and_stay(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        CaptionTable(path)
    assert path.read_text() == text


def test_a_file_broken_meanwhile_is_not_replaced(table):
    table.path.write_text('image,caption\na.jpg,"open\n')
    with pytest.raises(DataError, match="not closed"):
        table.put("b.jpg", ["a cat"])
    assert content(table) == 'image,caption\na.jpg,"open\n'


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    table = CaptionTable(tmp_path / "file" / "captions.csv")
    with pytest.raises(DataError, match="cannot write .*; name another file with --captions"):
        table.check_writable()
    CaptionTable(tmp_path / "captions.csv").check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
