import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest

from selip_core.report import ReportTexts, render_page

SECTIONS = [
    "What was done",
    "Retrieval on held-out studies",
    "Sample studies",
    "Which reports are alike",
    "Over training",
    "The ten nearest reports",
    "To repeat it",
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Elements, addresses and text of a page; fails where tags are not balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def html(page):
    return render_page(page)


def test_has_every_section_in_order(html):
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert headings == SECTIONS


def test_tags_are_balanced_and_headings_do_not_skip(html):
    levels = [int(tag[1]) for tag in Outline(html).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_says_that_data_are_simulated_and_one_seed_proves_nothing(html):
    beginning = Outline(html).text.split("Retrieval on held-out")[0]
    assert "Simulated data" in beginning
    assert "one run with one seed, and it proves nothing" in beginning
    assert "No patient was examined" in beginning


def test_loads_nothing_and_runs_nothing(html):
    outline = Outline(html)
    assert not {"script", "link", "iframe", "object"} & set(outline.tags)
    addresses = [value for name, value in outline.attributes if name in ("src", "href", "srcset")]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?:|@import|url\((?!#)", html)


def test_every_picture_has_an_alternative(html):
    outline = Outline(html)
    assert outline.tags.count("img") == sum(name == "alt" for name, _ in outline.attributes)
    assert len(re.findall(r'<svg role="img" aria-label="[^"]+"', html)) == 2


def test_ids_are_unique(html):
    ids = [value for name, value in Outline(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_figures_stand_with_interval_chance_and_gallery(html):
    text = " ".join(Outline(html).text.split())
    assert "R@1 0.25 0.12–0.62 0.38 0.19–0.69 0.12 8.5" in text
    assert "37 queries" in text
    assert "AUC 0.25" in text


def test_the_difference_stands_first_with_an_interval_of_its_own(html):
    text = " ".join(Outline(html).text.split())
    assert "With similarity, less plain CLIP" in text
    assert "R@1 +0.12 0.00 to +0.25 −0.25 −0.38 to −0.12" in text
    assert text.index("less plain CLIP") < text.index("The figures")


def test_says_what_judges_each_figure(html):
    text = " ".join(Outline(html).text.split())
    for measure in ("R@kThe share", "nDCG@10Grades", "kind@1The share"):
        assert measure in text
    assert "No target reads the kind" in text


def test_the_true_report_is_marked_and_its_absence_told(html):
    text = " ".join(Outline(html).text.split())
    assert "0.83 ✓ the true report: A dark lesion in the insula." in text
    assert text.count("The true report is not among these.") == 1


def test_texts_are_escaped(page):
    texts = ReportTexts("T2", "<script>alert('x')</script>", "<b>粗</b>")
    sample = dataclasses.replace(page.samples[0], title="<i>7</i>", reports=[texts])
    hostile = dataclasses.replace(page, samples=[sample], reports=["a < b & c", "<img src=x>"])
    html = render_page(hostile)
    assert "<script" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "a &lt; b &amp; c" in html
    assert "&lt;img src=x&gt;" in html


def test_colours_follow_the_scheme(html):
    charts = "".join(re.findall(r"<svg role.*?</svg>", html, re.DOTALL))
    assert "var(--similarity)" in charts
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", charts)


def test_renders_where_nothing_normal_was_measured(page):
    arms = [
        dataclasses.replace(
            arm,
            retrieval={
                "pooled": {"abnormal": arm.retrieval["pooled"]["abnormal"]},
                "sequences": {},
            },
        )
        for arm in page.arms
    ]
    html = render_page(dataclasses.replace(page, arms=arms))
    assert "Normal studies, apart" not in html
    assert "R@10" in html


def test_same_content_gives_the_same_page(page, html):
    assert render_page(page) == html
