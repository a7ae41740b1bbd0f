"""Which objects a text names, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.errors import DataError
from secondsight.objects.lexicon import coco_lexicon, forms, read_lexicon
from secondsight.objects.mentions import (
    find_mentions,
    finished_part,
    first_sentences,
    first_words,
    sentence_count,
    word_count,
)

BUILT_IN = coco_lexicon()


def named(text: str) -> list[str]:
    return [mention.object for mention in find_mentions(text, BUILT_IN)]


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("A hot dog.", ["hot dog"]),
        ("A teddy bear.", ["teddy bear"]),
        ("A toilet seat.", []),
        ("A baby elephant.", ["elephant"]),
        ("A passenger jet.", ["airplane"]),
        ("A man in a bow tie.", ["person", "tie"]),
        ("Two puppies and three geese.", ["dog", "bird"]),
        ("Knives, mice, policemen, children.", ["knife", "mouse", "person", "person"]),
        ("Wine glasses beside pizzas.", ["wine glass", "pizza"]),
        ("It is hot, dog.", ["dog"]),
        ("A hot-dog.", ["hot dog"]),
        ("A man-made lake.", []),
        ("The dog's bowl.", ["dog", "bowl"]),
        ("The dogs\u2019 bowls.", ["dog", "bowl"]),
        ("A train station by the train tracks.", []),
        ("People playing baseball with a ball.", ["person", "sports ball"]),
        ("A tennis player.", ["person"]),
        ("HOT DOGS", ["hot dog"]),
        ("A baby polar bear.", ["bear"]),
        ("A baby deer.", []),
        ("", []),
        ("12 cats", ["cat"]),
    ],
)
def test_objects_named(text: str, objects: list[str]) -> None:
    assert named(text) == objects


@pytest.mark.parametrize(
    ("text", "fruits"),
    [
        ("An orange.", 1),
        ("An orange and a banana.", 1),
        ("Two oranges on an orange plate.", 1),
        ("An orange kite.", 0),
        ("The kite is orange.", 0),
        ("An orange and white cat.", 0),
        ("A red and orange umbrella.", 0),
        ("The orange is on the table.", 1),
    ],
)
def test_orange_the_colour_is_no_fruit(text: str, fruits: int) -> None:
    assert named(text).count("orange") == fruits


def test_spans_are_the_characters_of_the_mention() -> None:
    text = "Ein caf\u00e9: two teddy\nbears, the dog's hot-dog."
    found = find_mentions(text, BUILT_IN)
    assert [(m.text, m.object) for m in found] == [
        ("teddy\nbears", "teddy bear"),
        ("dog", "dog"),
        ("hot-dog", "hot dog"),
    ]
    assert all(text[m.start : m.end] == m.text for m in found)


@given(st.text())
def test_spans_are_in_order_and_within_any_text(text: str) -> None:
    end = 0
    for mention in find_mentions(text, BUILT_IN):
        assert end <= mention.start < mention.end <= len(text)
        assert text[mention.start : mention.end] == mention.text
        end = mention.end


def test_every_category_name_and_plural_names_its_category() -> None:
    assert len(BUILT_IN.objects) == 80
    for name in BUILT_IN.objects:
        for form in forms(tuple(name.split())):
            assert named("There are the " + " ".join(form) + " of Rome.") == [name]


def test_official_file_follows_the_official_rules(tmp_path) -> None:
    path = tmp_path / "synonyms.txt"
    path.write_text(
        "person, man, baby, passenger\nairplane, jet\ntrain\nelephant\nchair, seat\ntoilet\n"
        "tie, bow, bow tie\nhot dog\ndog\n"
    )
    official = read_lexicon(path)

    def objects(text: str) -> list[str]:
        return [mention.object for mention in find_mentions(text, official)]

    assert objects("A baby elephant, a passenger jet, a bow tie.") == [
        "elephant", "airplane", "tie",
    ]  # fmt: skip
    assert objects("Adult elephants on a train track") == ["elephant"]
    assert objects("A toilet seat.") == ["toilet"]
    assert objects("The seat of the toilet.") == ["toilet"]
    assert objects("A seat.") == ["chair"]
    assert objects("An orange cat, a hot dog and a bow.") == ["hot dog", "tie"]


def test_synonym_files_with_a_category_twice_or_none_are_errors(tmp_path) -> None:
    path = tmp_path / "s"
    path.write_text("cat, kitten\ncat\n")
    with pytest.raises(DataError, match="s:2: the category 'cat' stands here twice"):
        read_lexicon(path)
    path.write_text(",,\n")
    with pytest.raises(DataError, match="holds no category"):
        read_lexicon(path)


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("A cat. A dog sits on", "A cat."),
        ("A cat.", "A cat."),
        ("A cat sits on", ""),
        ('He said "no." Then', 'He said "no."'),
        ("3.5 dogs run! And", "3.5 dogs run!"),
    ],
)
def test_finished_part(text: str, finished: str) -> None:
    assert finished_part(text) == finished


def test_words_are_counted_without_punctuation() -> None:
    assert word_count("It's a well-made cat, isn't it? - Yes.") == 7


TEXT = 'A man-made lake. "Is it deep?" It isn\'t'


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, ""), (1, "A"), (2, "A man-made"), (3, "A man-made lake"), (7, TEXT[:-6]), (8, TEXT)],
)
def test_first_words(count: int, words: str) -> None:
    assert first_words(TEXT, count) == words


@pytest.mark.parametrize(
    ("count", "sentences"),
    [(0, ""), (1, "A man-made lake."), (2, 'A man-made lake. "Is it deep?"'), (3, TEXT), (9, TEXT)],
)
def test_first_sentences(count: int, sentences: str) -> None:
    assert first_sentences(TEXT, count) == sentences


@pytest.mark.parametrize(("text", "count"), [(TEXT, 3), ("", 0), ("No end", 1), ("One. Two.", 2)])
def test_sentence_count(text: str, count: int) -> None:
    assert sentence_count(text) == count


@given(st.text("ab -'.!? \n\u2019\"", max_size=40), st.integers(0, 12))
def test_a_cut_text_has_as_many_words_as_it_was_cut_to(text: str, count: int) -> None:
    assert text.startswith(first_words(text, count))
    assert word_count(first_words(text, count)) == min(count, word_count(text))
    assert sentence_count(first_sentences(text, count)) <= count
