import pytest

from selip_core.errors import DataError
from selip_core.recipes import PretrainConfig, read_config
from selip_core.recipes.config_file import config_differences


def test_toml_and_json_agree(tmp_path):
    toml, json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('epochs = 3\n[objective]\ntarget = "syntax"\ngamma = 4.0\n')
    json.write_text('{"epochs": 3, "objective": {"target": "syntax", "gamma": 4.0}}')
    assert read_config(toml) == read_config(json)
    assert read_config(toml).objective.gamma == 4
    assert read_config(toml).optimizer == PretrainConfig().optimizer


def test_a_written_config_is_read_back(tmp_path):
    text = {"frozen": False, "lora": {"target_modules": ("q", "v")}, "chunking": {"overlap": 8}}
    config = PretrainConfig(seed=3, image_encoder={"options": {"width": 0.25}}, text_encoder=text)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    written = read_config(tmp_path / "config.json")
    assert config_differences(written, config) == []
    assert (written.text_encoder.lora.rank, written.text_encoder.chunking.overlap) == (8, 8)


def test_all_wrong_settings_are_told_with_their_place(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('epoch = 3\n[optimizer]\nwarmup = 2\n[objective]\ntarget = "secret"\n')
    with pytest.raises(DataError, match=r"cannot be used \(3 problems\)") as caught:
        read_config(path)
    message = str(caught.value)
    assert f"{path} epoch: unknown setting; did you mean 'epochs'?" in message
    assert f"{path} optimizer.warmup: Input should be less than 1" in message
    assert f"{path} objective.target: must be 'none'" in message
    assert "secret" not in message


def test_an_unknown_setting_of_a_section_is_looked_for_there(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[optimizer]\nwarm_up = 0.1\n[text_encoder]\nepochs = 3\n")
    with pytest.raises(DataError) as caught:
        read_config(path)
    assert "optimizer.warm_up: unknown setting; did you mean 'warmup'?" in str(caught.value)
    told = "text_encoder.epochs: unknown setting; there are name, pooling, max_length, frozen"
    assert told in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("a.toml", "= 3"), ("a.json", "{")])
def test_a_broken_file_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        read_config(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a \.toml or a \.json file, got a\.yaml"):
        read_config(tmp_path / "a.yaml")


def test_differences_name_the_setting():
    old, new = PretrainConfig(), PretrainConfig(seed=1, image_encoder={"options": {"width": 0.5}})
    assert config_differences(old, new) == [
        "image_encoder.options.width: None -> 0.5",
        "seed: 0 -> 1",
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("[objective]\ntarget = 'none'\nalign_weight = 0", "objective: the weights of .* are 0"),
        ("[objective]\nalign_weight = 0\nsimilarity_weight = 0", "nothing would be trained"),
        ("[objective]\ntarget = 'none'\nclamp_eps = 1e-3", "objective: clamp_eps clamps a simil"),
        ("[objective]\nclamp_eps = 2.0", r"objective\.clamp_eps: Input should be less than 1"),
        ("[data]\npercentiles = [99, 1]", r"data: percentiles must rise .*got \(99\.0, 1\.0\)"),
        ("[data]\nspacing = [4.0, 0.0, 4.0]", "data: spacing must"),
        ("[data]\nsize = [48, -1, 48]", "data: size must"),
        ("[data]\nsequences = []", r"data\.sequences: .*at least 1 item"),
        ("[optimizer]\nlearning_rate_text = inf", "optimizer.learning_rate_text: must be finite"),
        (
            "[image_encoder]\nfreeze_stages = 2",
            r"image_encoder\.freeze_stages: .* keeps .* without 'pretrained' they are random",
        ),
        ("[optimizer]\nlayer_decay = 0", r"optimizer\.layer_decay: Input should be greater than 0"),
        (
            "[text_encoder]\nlora = {rank = 8}",
            r"text_encoder\.lora: lora trains adapters .* set frozen to",
        ),
        (
            "[text_encoder]\nfrozen = false\nlora = {rank = 0}",
            r"text_encoder\.lora: rank must be a whole number of at least 1",
        ),
        ("[text_encoder]\nchunking = {overlap = -1}", r"text_encoder\.chunking: overlap must be"),
        (
            "[text_encoder]\nchunking = {overlaps = 3}",
            r"text_encoder\.chunking\.overlaps: unknown setting; did you mean 'overlap'\?",
        ),
        ("[text_encoder]\nlora = {x = 1}", "unknown setting; there are rank, alpha, dropout, targ"),
        ("seed = -3", "seed: Input should be greater than or equal to 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(tmp_path, settings, told):
    (tmp_path / "a.toml").write_text(settings)
    with pytest.raises(DataError, match=told) as caught:
        read_config(tmp_path / "a.toml")
    assert "Value error" not in str(caught.value)


def test_a_weight_of_zero_is_allowed_where_the_other_trains():
    assert PretrainConfig(objective={"align_weight": 0}).objective.align_weight == 0
    assert PretrainConfig(objective={"target": "none", "similarity_weight": 0})


ALL_WRONG = """
[image_encoder]
name = "resnet10"
pooling = "grid"
pooling_options = {grid = [2, 4], cells = 3}
options = {widht = 0.5, stages = "all"}
pretrained = "gone.safetensors"
[text_encoder]
name = "/gone/bert"
"""


def test_options_and_missing_sources_are_told_with_the_rest(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f"epoch = 3\n{ALL_WRONG}")
    with pytest.raises(DataError, match=r"cannot be used \(5 problems\)") as caught:
        read_config(path, sources=True)
    options = "widht: unknown; did you mean 'width'?; stages: Input should be a valid integer"
    cells = "grid: Input should be int | tuple[int, int, int]; cells: unknown; there are grid"
    message = str(caught.value)
    assert f"{path} epoch: unknown setting" in message
    assert f"{path} image_encoder.options: {options}" in message
    assert f"{path} image_encoder.pooling_options: {cells}" in message
    assert f"{path} image_encoder.pretrained: there is no file gone.safetensors" in message
    assert f"{path} text_encoder.name: there is no folder /gone/bert" in message


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            "name = 'resnet11'",
            r"image_encoder\.name: no image encoder is named 'resnet11'",
        ),
        ("pooling_options = {grid = 3}", r"pooling_options: grid: unknown; there are none"),
        ("revision = 'main'", r"image_encoder\.revision: .* name one as 'pretrained'"),
        ("pooling = 'gird'", r"image_encoder\.pooling: must be 'avg', 'gem'"),
    ],
)
def test_image_encoders_that_are_not_there_are_refused(tmp_path, settings, told):
    (tmp_path / "a.toml").write_text(f"[image_encoder]\n{settings}")
    with pytest.raises(DataError, match=told):
        read_config(tmp_path / "a.toml")


def test_a_wrong_name_makes_no_second_problem(tmp_path):
    (tmp_path / "a.toml").write_text(
        "[image_encoder]\nname = 'x'\noptions = {width = 1.0}\npooling = 'y'\n"
        "pooling_options = {grid = 3}\npretrained = ''\nrevision = 'main'\nfreeze_stages = 1\n"
    )
    with pytest.raises(DataError, match=r"\(3 problems\)"):
        read_config(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            "pooling = 'grid'\npooling_options = {grid = [0, 4, 4]}",
            "image_encoder: cannot be made:",
        ),
        (
            "pooling = 'gem'\npooling_options = {power = 0.5}",
            "image_encoder: cannot be made: power",
        ),
        ("name = 'vit_small'\noptions = {dropout = 2.0}", "image_encoder: cannot be made: dropout"),
        ("options = {width = 0.0}", "image_encoder: cannot be made: width must leave"),
        ("pooling = 'cls'", "image_encoder: cannot be made: pooling 'cls' needs"),
        (
            "pretrained = 'x.safetensors'\nfreeze_stages = 99",
            r"image_encoder\.freeze_stages: is not of this encoder: stages must .*from 0 to 5, got",
        ),
        (
            "name = 'vit_small'\n[data]\nsize = [48, 56, 3]",
            r"data\.size: does not suit image_encoder\.name: volumes must have shape",
        ),
    ],
)
def test_what_only_making_the_image_encoder_shows_is_told_with_the_rest(tmp_path, settings, told):
    path = tmp_path / "a.toml"
    path.write_text(f"epoch = 3\n[image_encoder]\n{settings}\n[text_encoder]\nname = ''\n")
    with pytest.raises(DataError, match=rf"a\.toml {told}") as caught:
        read_config(path)
    assert "epoch: unknown setting" in str(caught.value)
    assert "text_encoder.name: must not be empty" in str(caught.value)
    assert len(caught.value.problems) == 3


def test_wrong_data_say_nothing_of_sizes_that_nobody_chose(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[data]\nbatch_size = 1\n[image_encoder]\nname = 'vit_small'\n")
    with pytest.raises(DataError, match=r"\(1 problem\)"):
        read_config(path)


def test_settings_are_read_where_the_package_of_the_encoder_is_missing(tmp_path, monkeypatch):
    def create(*_, **__):
        raise ImportError("no such package")

    monkeypatch.setattr("selip_core.recipes.image_encoder.create_image_encoder", create)
    path = tmp_path / "a.toml"
    path.write_text("[image_encoder]\nname = 'vit_small'\n")
    assert read_config(path).image_encoder.name == "vit_small"
