import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg16
from transformers import Siglip2Config, Siglip2Model, Siglip2TextConfig, Siglip2VisionConfig, Siglip2VisionModel

from bar_model.errors import BadInput
from bar_model.presets import TOKENIZERS
from bar_model.tokenizer.decoder import DecoderConfig, SemanticConfig
from bar_model.tokenizer.discriminator import imagenet_normalized
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.loss import TokenizerLoss, TokenizerLossConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.pretrained.tokenizer_losses import (
    DinoSlots,
    FrozenNetworksConfig,
    load_convnext,
    load_dino,
    load_frozen_networks,
    load_lpips,
    load_siglip,
    load_vgg,
)
from pipeline.training.learners.tokenizer import TrainTokenizerConfig
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.train_tokenizer import prepare
from tests.harness.tokenizer_training import write_pictures

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
PIXELS_ONLY = TokenizerLossConfig(lpips=0.0, convnext=0.0, semantic=0.0, gram=0.0, adversarial=0.0)
TINY = TokenizerConfig(
    image_size=16,
    patch=4,
    bits=5,
    encoder=EncoderConfig(width=24, depth=2, heads=2, mlp_width=40, position_grid=4, frozen_embeddings=True),
    decoder=DecoderConfig(width=16, depth=3, heads=2, semantic=SemanticConfig(after_block=1, hidden_width=20)),
    balanced_start=False,
)
TOWER = Siglip2VisionConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, num_patches=16, patch_size=4
)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """VGG-16 without its classifier, which nothing here reads, and with random weights."""
    with torch.device("meta"):
        features = vgg16().get_submodule("features").to_empty(device="cpu")
    weights = {f"features.{name}": 0.02 * torch.randn(tensor.shape) for name, tensor in features.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(weights, path)
    return str(path)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine reaches or has downloaded before, these tests find no hub."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_a_loss_of_pixels_alone_wants_no_network(no_hub: None) -> None:
    networks = load_frozen_networks(FrozenNetworksConfig(), PIXELS_ONLY, TOKENIZERS["digits"](), CPU)
    assert all(getattr(networks, field.name) is None for field in dataclasses.fields(networks))
    TokenizerLoss(PIXELS_ONLY, networks)


def test_lpips_stands_on_the_same_vgg_as_the_gram_loss(vgg_file: str) -> None:
    vgg = load_vgg(vgg_file)
    lpips = load_lpips(vgg)
    images, others = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    distances = lpips(images, others)
    assert distances.shape == (2, 1, 1, 1)
    assert (distances > 0).all()
    assert (lpips(images, images) == 0).all()
    assert not any(tensor.is_meta for tensor in lpips.state_dict().values())
    first = lpips.get_submodule("net.slice1.0").get_parameter("weight")
    assert torch.equal(first, vgg.get_submodule("0").get_parameter("weight"))
    assert_frozen(vgg)
    assert_frozen(lpips)


def test_frozen_networks_feed_the_losses(vgg_file: str, tmp_path: Path) -> None:
    Siglip2VisionModel(TOWER).save_pretrained(tmp_path / "siglip")
    config = dataclasses.replace(PIXELS_ONLY, lpips=1.0, gram=10.0, semantic=0.7)
    sources = FrozenNetworksConfig(vgg=vgg_file, siglip=str(tmp_path / "siglip"))
    loss = TokenizerLoss(config, load_frozen_networks(sources, config, TINY, CPU))
    tokenizer = Tokenizer(TINY)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    loss_terms = loss.generator(tokenizer(images), images, step=0, num_steps=10)
    assert list(loss_terms.terms) == ["l1", "l2", "lpips", "semantic", "gram"]
    loss_terms.total.backward()
    assert tokenizer.encoder.tower.get_parameter("post_layernorm.weight").grad is not None


def test_a_training_goes_on_with_the_same_networks_alone(vgg_file: str, tmp_path: Path) -> None:
    Siglip2VisionModel(TOWER).save_pretrained(tmp_path / "siglip")
    config = dataclasses.replace(PIXELS_ONLY, lpips=1.0)
    training = TrainTokenizerConfig(
        source=write_pictures(tmp_path / "pictures", height=16, width=16),
        out=str(tmp_path / "out"),
        model=TINY,
        loss=config,
        steps=1,
        batch=1,
        optimization=OptimizationConfig(learning_rate=1e-3),
        networks=FrozenNetworksConfig(vgg=vgg_file, siglip=str(tmp_path / "siglip")),
    )
    before = prepare(training).recipe["networks"]
    assert before.keys() == {"vgg", "lpips", "siglip"}  # The last is what the encoder begins with.
    weights = torch.load(vgg_file)
    weights["features.0.bias"] += 1
    torch.save(weights, tmp_path / "other.pth")
    networks = dataclasses.replace(training.networks, vgg=str(tmp_path / "other.pth"))
    after = prepare(dataclasses.replace(training, networks=networks)).recipe["networks"]
    assert {name for name in before if before[name] != after[name]} == {"vgg", "lpips"}


def test_convnext_has_the_weights_of_its_file(tmp_path: Path) -> None:
    from torchvision.models import convnext_small

    expected = convnext_small().eval()
    torch.save(expected.state_dict(), tmp_path / "convnext.pth")
    convnext = load_convnext(str(tmp_path / "convnext.pth"))
    assert_frozen(convnext)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(convnext(images), expected(images))


def test_dino_gives_five_depths_of_slots(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("vit_small_patch8_224.dino").state_dict(), tmp_path / "dino.pth")
    dino = load_dino(str(tmp_path / "dino.pth"))
    assert_frozen(dino)
    images = imagenet_normalized(torch.rand(1, 3, 224, 224))
    features = DinoSlots(dino)(images)
    assert [tuple(each.shape) for each in features] == [(1, 785, 384)] * 5
    x = features[0]
    for depth in range(3):
        x = dino.get_submodule(f"blocks.{depth}")(x)
    torch.testing.assert_close(features[1], x)


@pytest.mark.parametrize("complete", [False, True], ids=["vision tower alone", "with its text tower"])
def test_siglip_is_the_start_of_the_tokenizers_encoder(tmp_path: Path, complete: bool) -> None:
    text = Siglip2TextConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40)
    config = Siglip2Config(vision_config=TOWER.to_dict(), text_config=text.to_dict())
    whole = Siglip2Model(config).eval() if complete else Siglip2VisionModel(TOWER).eval()
    whole.save_pretrained(tmp_path)
    tower = whole.get_submodule("vision_model") if complete else whole

    siglip = load_siglip(str(tmp_path), TINY)
    assert_frozen(siglip)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    expected = tower(patches, pixel_attention_mask=None, spatial_shapes=torch.tensor([[4, 4]])).last_hidden_state
    torch.testing.assert_close(siglip(images), expected)

    tokenizer = Tokenizer(TINY)
    tokenizer.encoder.load_state_dict(siglip.state_dict())
    torch.testing.assert_close(tokenizer.encoder(images), expected)


@pytest.mark.parametrize(
    ("field", "load"),
    [
        ("vgg", load_vgg),
        ("convnext", load_convnext),
        ("dino", load_dino),
        ("siglip", lambda source: load_siglip(source, TINY)),
    ],
)
def test_where_no_weights_can_be_had_one_line_says_which_and_from_where(no_hub: None, field: str, load) -> None:
    for source in (None, "/no/such/file.pth"):
        with pytest.raises(BadInput) as refused:
            load(source)
        message = str(refused.value)
        assert "\n" not in message
        assert f"networks.{field}" in message
        assert "download " in message


def test_weights_of_another_network_are_refused(vgg_file: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another network's"):
        load_convnext(vgg_file)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadInput, match="no vgg weights"):
        load_vgg(str(tmp_path / "text.pth"))
    Siglip2VisionModel(TOWER).save_pretrained(tmp_path / "siglip")
    with pytest.raises(BadInput, match="another network's"):
        load_siglip(str(tmp_path / "siglip"), TOKENIZERS["bar-fsq-16"]())


def assert_frozen(network: nn.Module) -> None:
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
