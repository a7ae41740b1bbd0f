"""Which objects a text names, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.errors import DataError
from secondsight.objects.lexicon import coco_lexicon, forms, read_lexicon
from secondsight.objects.mentions import find_mentions, finished_part, word_count

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
