import pytest
import torch
from safetensors.torch import save_file

from lesionforge.errors import ModelError
from lesionforge.networks.segmentation.fcn8s import FCN8s
from lesionforge.networks.segmentation.vgg_weights import load_vgg16


def narrow(in_channels):
    return FCN8s(in_channels=in_channels, out_channels=2, width=1 / 32).eval()


@pytest.fixture
def classifier():
    """A narrow VGG-16 for colour images as torchvision keeps it: fully connected layers, a last layer of classes."""
    torch.manual_seed(1)
    state = {
        name: tensor.clone()
        for name, tensor in narrow(3).state_dict().items()
        if name.startswith(("features.", "classifier."))
    }
    for name in ("classifier.0.weight", "classifier.3.weight"):
        state[name] = state[name].flatten(1)
    return state | {"classifier.6.weight": torch.rand(10, 128), "classifier.6.bias": torch.rand(10)}


def keep(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["vgg16.pth", "vgg16.safetensors"])
@pytest.mark.parametrize("in_channels", [1, 2])
def test_what_it_makes_of_a_grey_image_stays(in_channels, name, classifier, tmp_path):
    """Fully connected layers answer at the centre of a 7×7 map as their convolutions do."""
    network = narrow(in_channels)
    load_vgg16(network, keep(classifier, tmp_path / name))
    channels = torch.rand(1, in_channels, 224, 224)
    colour, grey = narrow(3), channels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    colour.features.load_state_dict({k[9:]: v for k, v in classifier.items() if k.startswith("features.")})
    with torch.no_grad():
        pooled, expected = network.features(channels), colour.features(grey)
        assert torch.allclose(pooled, expected, rtol=1e-4, atol=1e-5)
        fc6 = classifier["classifier.0.weight"] @ expected.flatten() + classifier["classifier.0.bias"]
        fc7 = classifier["classifier.3.weight"] @ fc6.relu() + classifier["classifier.3.bias"]
        assert torch.allclose(network.classifier(pooled)[0, :, 3, 3], fc7.relu(), rtol=1e-3, atol=1e-4)


def test_nothing_but_the_encoder_is_touched(classifier, tmp_path):
    network = narrow(1)
    torch.nn.init.ones_(network.score_fc7.weight)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_vgg16(network, keep(classifier, tmp_path / "vgg16.pth"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) is not (name.startswith(("features", "class")) and "weight" in name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.28.weight": None}, "has no features.28.weight; give VGG-16"),
        ({"classifier.3.bias": None}, "has no classifier.3.bias"),
        ({"features.0.weight": "text"}, "has no features.0.weight"),
        ({"features.2.weight": torch.rand(4, 2, 3, 3)}, r"features.2.weight has the shape \(4, 2, 3, 3\)"),
        ({"features.0.weight": torch.rand(2, 3, 5, 5)}, r"features.0.weight has the shape \(2, 3, 5, 5\)"),
        ({"features.0.bias": torch.tensor(1.0)}, r"features.0.bias has the shape \(\)"),
        ({"classifier.0.weight": torch.rand(784, 128)}, r"classifier.0.weight has the shape \(784, 128\)"),
    ],
)
def test_a_file_that_does_not_fit_is_told_in_one_line(change, message, classifier, tmp_path):
    state = {name: tensor for name, tensor in (classifier | change).items() if tensor is not None}
    with pytest.raises(ModelError, match=message) as error:
        load_vgg16(narrow(1), keep(state, tmp_path / "vgg16.pth"))
    assert str(error.value).startswith(str(tmp_path / "vgg16.pth"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["vgg16.pth", "vgg16.safetensors"])
def test_a_file_that_is_missing_or_no_weights_is_told_in_one_line(name, tmp_path):
    with pytest.raises(ModelError, match="there is no such file"):
        load_vgg16(narrow(1), tmp_path / name)
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="holds no weights that can be read") as error:
        load_vgg16(narrow(1), tmp_path / name)
    assert "\n" not in str(error.value)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemError('code of the file ran')",)


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"features.0.weight": Malicious()}, tmp_path / "vgg16.pth")
    with pytest.raises(ModelError, match="holds no weights that can be read"):
        load_vgg16(narrow(1), tmp_path / "vgg16.pth")


@pytest.mark.parametrize("content", [torch.rand(3), [1, 2], {}])
def test_another_content_than_a_dictionary_of_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "vgg16.pth")
    with pytest.raises(ModelError, match=r"has no features\.0\.weight"):
        load_vgg16(narrow(1), tmp_path / "vgg16.pth")
