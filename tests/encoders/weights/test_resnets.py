"""MedicalNet, BrainIAC's ResNet-50, MONAI's own: every value arrives, with output to prove."""

import pytest
import torch
from torch import nn

from selip_core.encoders import ResNetEncoder
from selip_core.encoders.weights import WeightsError, load_weights


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def coarsest(network, x, maxpool):
    """What MONAI's ResNet makes of a volume before its pooling, behind our max pooling."""
    x = maxpool(network.act(network.bn1(network.conv1(x))))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
    return x


def small(depth, **options):
    return ResNetEncoder(depth, embed_dim=6, width=1 / 16, **options).eval()


def assert_same_output(encoder, network):
    network.conv1.stride = encoder.network.conv1.stride
    x = torch.randn(2, encoder.spec.in_channels, 16, 64, 64)
    with torch.no_grad():
        expected = coarsest(network, x, encoder.network.maxpool)
        torch.testing.assert_close(encoder.forward_features(x)[-1], expected)


@pytest.mark.parametrize("depth", [10, 50])
def test_medicalnet_gives_what_its_network_gives(save, monai_resnet, depth):
    network, encoder = monai_resnet(depth), small(depth)
    head = {"module.conv_seg.0.weight": torch.zeros(4, 4, 2, 2, 2)}
    report = load_weights(encoder, save(under("module.", network.state_dict()) | head))
    assert report.format == "medicalnet"
    assert (report.share, report.used_share, report.ignored) == (1.0, 1.0, 1)
    assert report.unmatched_file == report.unmatched_encoder == report.missing_buffers == ()
    assert encoder.spec.weights.licence == "MIT"
    assert "above 0" in encoder.spec.intensity
    assert_same_output(encoder, network)


@pytest.mark.parametrize("depth", [18, 34])
def test_shortcuts_without_parameters_become_identities(save, monai_resnet, depth):
    network, encoder = monai_resnet(depth, shortcut_type="A"), small(depth)
    report = load_weights(encoder, save(under("module.", network.state_dict())))
    assert 0.99 < report.share < 1
    assert report.unmatched_encoder == ()
    assert "identity" in report.adapted["network.layer2.0.downsample.0.weight"]
    assert_same_output(encoder, network)


@pytest.mark.parametrize(("depth", "kind"), [(10, "B"), (18, "A"), (50, "B")])
def test_with_medicalnets_stem_it_is_their_network(save, monai_resnet, depth, kind):
    network = monai_resnet(depth, shortcut_type=kind)
    encoder = small(depth, stem="medicalnet_strided")
    report = load_weights(encoder, save(under("module.", network.state_dict())))
    assert (report.share, report.used_share, report.adapted) == (1.0, 1.0, {})
    x = torch.randn(2, 1, 64, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.forward_features(x)[-1], coarsest(network, x, network.maxpool)
        )


def test_a_stem_of_another_kernel_is_refused_with_the_ones_that_fit(save, monai_resnet):
    encoder = small(10, stem="cubic")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    path = save(under("module.", monai_resnet(10).state_dict()))
    told = r"first layer, network\.conv1\.weight: its shape is \(4, 1, 7, 7, 7\) in the file and "
    with pytest.raises(WeightsError, match=told) as caught:
        load_weights(encoder, path)
    assert caught.value.report.share > 0.9
    assert "stems, 'paper', 'medicalnet', 'medicalnet_strided' have" in str(caught.value)
    assert '`resnet10` to `resnet200`, with `stem="medicalnet"`' in str(caught.value)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_file_without_a_first_layer_is_refused(save, monai_resnet):
    tensors = monai_resnet(10).state_dict()
    encoder = small(10)
    del tensors["conv1.weight"]
    with pytest.raises(WeightsError, match=r"network\.conv1\.weight: the file has none\."):
        load_weights(encoder, save(tensors), format="monai-resnet")


def test_a_stem_of_another_kernel_stays_random_if_that_is_asked_for(save, monai_resnet, caplog):
    path = save(monai_resnet(10).state_dict())
    report = load_weights(small(10, stem="cubic"), path, random_first_layer=True)
    assert report.unmatched_encoder == ("network.conv1.weight",)
    assert report.mismatched["network.conv1.weight"] == ((4, 1, 7, 7, 7), (4, 1, 3, 3, 3))
    assert "which stay random: network.conv1.weight" in caplog.text


@pytest.mark.parametrize("prefix", ["backbone.", "model.backbone.", "backbone.backbone."])
def test_brainiac_resnet_gives_what_its_network_gives(save, monai_resnet, prefix):
    network, encoder = monai_resnet(50, bias_downsample=True), small(50)
    heads = {"classifier.fc.weight": torch.zeros(1, 4), "backbone.fc.weight": torch.zeros(1, 4)}
    report = load_weights(encoder, save(under(prefix, network.state_dict()) | heads))
    assert (report.format, report.share, report.used_share) == ("brainiac", 1.0, 1.0)
    assert report.adapted["network.layer1.0.downsample.1.running_mean"].startswith("less the bias")
    assert "non-commercial" in report.source.licence
    assert encoder.spec.orientation == "RAS"
    assert_same_output(encoder, network)


def test_a_bias_before_a_norm_makes_no_difference_in_training_either(save, monai_resnet):
    network, encoder = monai_resnet(50, bias_downsample=True).train(), small(50).train()
    load_weights(encoder, save(network.state_dict()))
    network.conv1.stride = encoder.network.conv1.stride
    x = torch.randn(4, 1, 16, 64, 64)
    expected = coarsest(network, x, encoder.network.maxpool)
    torch.testing.assert_close(encoder.forward_features(x)[-1], expected, rtol=1e-3, atol=1e-4)


def test_monais_own_names_claim_no_source(save, monai_resnet):
    encoder = small(10)
    report = load_weights(encoder, save(monai_resnet(10).state_dict()))
    assert (report.format, report.source.licence) == ("monai-resnet", "not told by the file")
    assert "licence             not told by the file" in str(report)


@pytest.mark.parametrize(
    ("have", "want", "cause"),
    [
        (18, 50, "another width, kind of block or patch: network.layer1.0.conv1.weight has shape"),
        (10, 50, "another width"),
        (50, 101, "the encoder is deeper than the file's network"),
        (101, 50, "the file's network is deeper"),
        (34, 10, "the file's network is deeper"),
    ],
)
def test_a_wrong_depth_fails_and_leaves_the_encoder_as_it_was(
    save, monai_resnet, have, want, cause
):
    encoder = small(want)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    spec = encoder.spec
    path = save(under("module.", monai_resnet(have).state_dict()))
    with pytest.raises(WeightsError, match=cause) as caught:
        load_weights(encoder, path)
    assert min(caught.value.report.share, caught.value.report.used_share) < 0.9
    assert "must be at least 90.0 % (minimum_share), so nothing was loaded" in str(caught.value)
    assert encoder.spec is spec
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_an_encoder_of_fewer_stages_takes_those_it_has(save, monai_resnet):
    report = load_weights(small(10, stages=3), save(monai_resnet(10).state_dict()))
    assert (report.share, report.used_share) == (1.0, 1.0)
    assert {name.split(".")[0] for name in report.unmatched_file} == {"layer4"}
    told = f"of the stages that the encoder has; left out: {len(report.unmatched_file)} tensors"
    assert f"used of the file    100.0 % {told}" in str(report).splitlines()


def test_missing_running_statistics_are_refused(save, monai_resnet, caplog):
    tensors = monai_resnet(10).state_dict()
    del tensors["bn1.running_mean"]
    path, encoder = save(tensors), small(10)
    told = r"statistics that the file lacks: network\.bn1\.running_mean\n.*normalises otherwise"
    with pytest.raises(WeightsError, match=told) as caught:
        load_weights(encoder, path)
    assert caught.value.report.share == 1.0
    assert encoder.spec.weights is None
    report = load_weights(encoder, path, partial_layers=True)
    assert report.missing_buffers == ("network.bn1.running_mean",)
    assert "has no values for these running statistics: network.bn1.running_mean" in caplog.text


def test_counts_of_batches_which_older_files_lack_are_not_needed(save, monai_resnet):
    tensors = monai_resnet(10).state_dict()
    tensors = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert load_weights(small(10), save(tensors)).share == 1.0


def test_nothing_of_weights_that_others_replace_is_kept(save, monai_resnet):
    tensors, encoder = monai_resnet(10).state_dict(), small(10)
    first = save(under("module.", tensors), "first.safetensors", spacing="[4, 1, 1]")
    built = encoder.spec
    load_weights(encoder, first)
    assert encoder.spec.spacing == (4, 1, 1)
    load_weights(encoder, save(tensors))
    assert encoder.spec.spacing is None
    assert encoder.spec.intensity == built.intensity
    assert encoder.spec.weights.name == "monai-resnet"


def test_lower_precision_is_taken_as_it_is(save, monai_resnet):
    tensors = {
        k: v.bfloat16() if v.is_floating_point() else v
        for k, v in monai_resnet(10).state_dict().items()
    }
    encoder = small(10)
    load_weights(encoder, save(tensors))
    torch.testing.assert_close(encoder.network.conv1.weight.data, tensors["conv1.weight"].float())
    assert encoder.network.conv1.weight.dtype == torch.float32


def test_frozen_stages_and_parameters_stay_parameters(save, monai_resnet):
    encoder = small(10).freeze(2)
    load_weights(encoder, save(monai_resnet(10).state_dict()))
    assert isinstance(encoder.network.conv1.weight, nn.Parameter)
    assert [
        p.requires_grad for p in (encoder.network.conv1.weight, encoder.pooling.projection.weight)
    ] == [False, True]


@pytest.mark.parametrize(
    ("prefix", "depth", "stem", "right"),
    [
        ("module.", 10, "paper", "medicalnet"),
        ("module.", 10, "medicalnet_strided", "medicalnet"),
        ("module.", 10, "medicalnet", None),
        ("backbone.", 50, "paper", "medicalnet_strided"),
        ("backbone.", 50, "medicalnet_strided", None),
    ],
)
def test_a_stem_that_no_shape_shows_is_told(save, monai_resnet, caplog, prefix, depth, stem, right):
    encoder = small(depth, stem=stem)
    report = load_weights(encoder, save(under(prefix, monai_resnet(depth).state_dict())))
    assert report.share == 1.0
    assert encoder.spec.weights.name == report.format
    assert report.differing == ({"stem": right} if right else {})
    warned = f"was trained in is made with stem={right!r}"
    assert (warned in caplog.text) if right else caplog.text == ""
    assert f"trained with        stem '{right or stem}'" in str(report)


@pytest.mark.parametrize(("stages", "differs"), [(1, False), (2, False), (3, True)])
def test_stems_that_differ_in_later_stages_alone_are_the_same(
    save, monai_resnet, caplog, stages, differs
):
    encoder = small(10, stem="medicalnet_strided", stages=stages)
    report = load_weights(encoder, save(under("module.", monai_resnet(10).state_dict())))
    assert report.differing == ({"stem": "medicalnet"} if differs else {})
    assert ("was trained in another network" in caplog.text) == differs


def test_a_stem_that_nobody_knows_is_told_without_a_warning(save, monai_resnet, caplog):
    report = load_weights(small(10), save(monai_resnet(10).state_dict()))
    assert "trained with        stem not told by the file; the encoder has 'paper'" in str(report)
    assert caplog.text == ""
