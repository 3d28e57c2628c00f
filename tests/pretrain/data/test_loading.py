"""What a run sees is a function of its seed: not of workers, ranks, restarts, or unreadable files."""
import pickle

import mmengine.dataset.sampler as mmengine_sampler
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import ImgDataPreprocessor
from mmengine.runner import Runner
from PIL import Image

from mimtransfer.errors import UserError
from pretrain.aug_record import AugRecord, sample_seed
from pretrain.data import EpochSampler, ImageFolder

CROP = {"type": "mimtransfer.RandomResizedCropFlip", "size": 16}
WHOLE = {"type": "mimtransfer.ResizeWhole", "size": 8}


@pytest.fixture
def folder(tmp_path):
    """13 pictures of one colour each: image i is (i, 2 i, 255 - i)."""
    for i in range(13):
        Image.new("RGB", (20 + i, 30), (i, 2 * i, 255 - i)).save(tmp_path / f"{i:02}.png")
    return tmp_path


def textured(folder):
    for i in range(13):
        pixels = np.random.default_rng(i).integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


def epochs_of(folder, num_workers=0, persistent=False, epochs=(0, 1), batch_size=4, seed=5,
              collate="mimtransfer.stack_images", **dataset):
    """Build a loader as a run does; give its batches, epoch by epoch."""
    loader = Runner.build_dataloader(
        {
            "batch_size": batch_size,
            "num_workers": num_workers,
            "persistent_workers": persistent,
            "sampler": {"type": "mimtransfer.EpochSampler"},
            "collate_fn": {"type": collate},
            "dataset": {"type": "mimtransfer.ImageFolder", "root": str(folder), "transform": dict(CROP), **dataset},
        },
        seed=seed,
    )
    result = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        result.append(list(loader))
    return result


def flat(epochs):
    parts = ("inputs", "crop")
    return [tensor for batches in epochs for batch in batches
            for tensor in (*(batch[part] for part in parts if part in batch), *batch["record"])]


def equal(first, second):
    first, second = flat(first), flat(second)
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("num_workers, persistent, augment", [
    (1, False, "host"), (2, False, "host"), (2, True, "host"), (1, True, "device"),
])  # fmt: skip
def test_batches_do_not_depend_on_workers(folder, num_workers, persistent, augment):
    textured(folder)
    expected = epochs_of(folder, augment=augment, collate="default_collate")
    assert equal(expected, epochs_of(folder, num_workers, persistent, augment=augment))
    assert equal(expected, epochs_of(folder, augment=augment))


def test_batches_do_not_depend_on_what_was_read_before(folder):
    textured(folder)
    both = epochs_of(folder)
    assert equal(both[1:], epochs_of(folder, epochs=(1,)))
    assert not equal(both[:1], epochs_of(folder, epochs=(1,)))
    assert not equal(both, epochs_of(folder, seed=6))
    # Each epoch shows each image once, cropped anew.
    shown = [torch.cat([batch["record"].index for batch in batches]) for batches in both]
    boxes = [torch.cat([batch["record"].box for batch in batches]) for batches in both]
    assert [sorted(index.tolist()) for index in shown] == [list(range(13))] * 2
    assert (boxes[0][shown[0].argsort()] != boxes[1][shown[1].argsort()]).any(1).all()


def test_batch_is_what_methods_expect(folder):
    batch = epochs_of(folder, epochs=(0,))[0][0]
    record = batch["record"]
    assert isinstance(record, AugRecord)
    assert batch["inputs"].shape == (4, 3, 16, 16) and batch["inputs"].dtype == torch.uint8
    assert [field.dtype for field in record] == [torch.int64, torch.int64, torch.float32, torch.bool]
    assert [list(field.shape) for field in record] == [[4], [4], [4, 4], [4]]
    assert record.seed.tolist() == [sample_seed(5, 0, index) for index in record.index.tolist()]
    colours = torch.stack([record.index, 2 * record.index, 255 - record.index], 1)  # RGB, of the image that is named
    assert torch.equal(batch["inputs"].long(), colours[:, :, None, None].expand(-1, -1, 16, 16))
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    preprocessed = ImgDataPreprocessor(mean=mean.tolist(), std=std.tolist())(batch)
    assert isinstance(preprocessed["record"], AugRecord)
    torch.testing.assert_close(preprocessed["inputs"][:, :, 0, 0], (colours - mean) / std)


@pytest.mark.parametrize("size, round_up", [(12, True), (13, True), (13, False)])
def test_ranks_together_show_the_order_of_one_process(monkeypatch, size, round_up):
    def order(rank, world):
        monkeypatch.setattr(mmengine_sampler, "get_dist_info", lambda: (rank, world))
        sampler = EpochSampler(range(size), seed=3, round_up=round_up)
        sampler.set_epoch(7)
        items = list(sampler)
        assert len(items) == len(sampler)
        assert all(epoch == 7 for epoch, _ in items)
        return [index for _, index in items]

    alone = order(0, 1)
    ranks = [order(rank, 2) for rank in range(2)]
    together = [index for step in range(max(map(len, ranks))) for rank in ranks for index in rank[step : step + 1]]
    assert together[:size] == alone
    assert together[size:] == (alone[:1] if round_up and size % 2 else [])
    assert sorted(alone) == list(range(size)) != alone


def test_sampler_gives_its_seed_unless_the_config_did(folder):
    given = ImageFolder(WHOLE, str(folder), seed=9)
    open_to_it = ImageFolder(WHOLE, str(folder))
    EpochSampler(given, seed=4), EpochSampler(open_to_it, seed=4)
    assert given[2, 3]["record"].seed == sample_seed(9, 2, 3)
    assert open_to_it[2, 3]["record"].seed == sample_seed(4, 2, 3)


def test_a_plain_index_means_epoch_0(folder):
    dataset = ImageFolder(CROP, str(folder))
    first, second = dataset[3], dataset[0, 3]
    assert torch.equal(first["inputs"], second["inputs"])
    assert all(torch.equal(a, b) for a, b in zip(first["record"], second["record"]))
    assert len(list(dataset)) == 13  # IndexError ends an iteration
    with pytest.raises(IndexError, match="got image -1, expected 0 to 12"):
        dataset[-1]


def test_list_file_chooses_images_and_their_numbers(folder, tmp_path):
    list_file = tmp_path / "list.txt"
    list_file.write_text("07.png\n02.png\n")
    dataset = ImageFolder(WHOLE, str(folder), list_file=str(list_file))
    assert [item["inputs"][0, 0, 0].item() for item in dataset] == [7, 2]
    assert [item["record"].index.item() for item in dataset] == [0, 1]


def test_several_folders_follow_one_another(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    Image.new("RGB", (20, 20), (200, 0, 0)).save(other / "a.png")
    dataset = ImageFolder(WHOLE, [str(other), str(folder)])
    assert len(dataset) == 14
    assert [dataset[i]["inputs"][0, 0, 0].item() for i in (0, 1, 13)] == [200, 0, 12]
    assert dataset.name(13) == str(folder / "12.png")
    with pytest.raises(UserError, match="expected one root"):
        ImageFolder(WHOLE, [str(other), str(folder)], list_file="list.txt")


def test_image_folder_needs_a_place():
    with pytest.raises(UserError, match="neither `root` nor `list_file` is set"):
        ImageFolder(WHOLE)


def test_read_paths_survive_pickling(folder):  # spawned workers get a pickle
    loaded = pickle.loads(pickle.dumps(ImageFolder(CROP, str(folder))))
    assert torch.equal(loaded[1, 4]["inputs"], ImageFolder(CROP, str(folder))[1, 4]["inputs"])


@pytest.fixture
def log(tmp_path_factory):
    """Let mmengine log to a file, as a run does; give the path."""
    path = tmp_path_factory.mktemp("log") / "run.log"
    name = str(path)  # not yet taken
    MMLogger.get_instance(name, log_file=str(path))
    yield path
    MMLogger._instance_dict.pop(name)


def spoil(folder, *numbers):
    for number in numbers:
        (folder / f"{number:02}.png").write_bytes(b"not a picture")


def test_the_next_readable_image_takes_the_place_of_an_unreadable_one(folder):
    spoil(folder, 4, 5, 12)
    dataset = ImageFolder(CROP, str(folder), max_corrupt=3)
    for asked, shown in [(3, 3), (4, 6), (5, 6), (12, 0)]:
        item = dataset[1, asked]
        assert item["record"].index == shown
        assert (item["inputs"][0] == shown).all()
        assert item["record"].seed == sample_seed(0, 1, asked)  # so image 6 is not shown three times alike


@pytest.mark.parametrize("collate", ["pseudo_collate", "default_collate"])
def test_any_collate_function_may_stand_in_a_config(folder, collate):
    """Images of a batch are put into memory that is used again by `stack_images` alone."""
    textured(folder)

    def images(num_workers):
        epochs = epochs_of(folder, num_workers, batch_size=2, collate=collate)
        return [torch.stack(list(batch["inputs"])) for batches in epochs for batch in batches]

    expected = images(0)
    assert len(expected) == 14 and all(map(torch.equal, images(1), expected))


@pytest.mark.parametrize("num_workers, persistent", [(0, False), (2, False), (2, True)])
def test_unreadable_images_are_named_once_and_counted_once(folder, log, num_workers, persistent):
    spoil(folder, 2, 3, 9)
    # The copies of the workers count together: three unreadable images, three epochs, limit 3.
    seen = epochs_of(folder, num_workers, persistent, epochs=(0, 1, 2), max_corrupt=3)
    lines = [line for line in log.read_text().splitlines() if "cannot be read" in line]
    assert sorted(line.split(" cannot be read ")[0].split("/")[-1] for line in lines) == ["02.png", "03.png", "09.png"]
    assert all("(not a picture in a format that Pillow reads), the next one takes its place" in line for line in lines)
    assert "3 so far, limit max_corrupt=3" in "".join(lines)
    assert equal(seen, epochs_of(folder, epochs=(0, 1, 2), max_corrupt=3))


def test_too_many_unreadable_images_end_the_run(folder):
    spoil(folder, 2, 3)
    dataset = ImageFolder(WHOLE, str(folder), max_corrupt=1)
    with pytest.raises(UserError) as caught:
        dataset[2]
    assert str(caught.value) == (
        f"more than max_corrupt=1 images cannot be read, the last is {folder}/03.png (not a picture in a format that "
        "Pillow reads): repair or remove them, or raise max_corrupt of the data set"
    )
    with pytest.raises(UserError, match="more than max_corrupt=0 images cannot be read"):
        epochs_of(folder, num_workers=1, max_corrupt=0)
    with pytest.raises(UserError, match="got max_corrupt=-1, expected an int >= 0"):
        ImageFolder(WHOLE, str(folder), max_corrupt=-1)


def test_a_folder_without_a_readable_image_ends_the_run(folder):
    spoil(folder, *range(13))
    with pytest.raises(UserError, match=r"no image is readable, the last one tried is .*04.png"):
        ImageFolder(WHOLE, str(folder), max_corrupt=100)[5]


def test_a_file_that_disappears_counts_as_unreadable(folder, log):
    dataset = ImageFolder(WHOLE, str(folder))
    (folder / "03.png").unlink()
    assert dataset[3]["record"].index == 4
    assert "03.png cannot be read (No such file or directory)" in log.read_text()


@pytest.mark.parametrize("name", ["in1k", "folder", "cifar10", "cifar100", "stl10"])
def test_data_configs_name_parts_that_exist(name, folder):
    loader = Config.fromfile(f"configs/_base_/data/{name}.py").train_dataloader
    if loader.dataset.type == "ImageFolder":
        loader.dataset.root = str(folder)
        loader.update(batch_size=5, num_workers=0, persistent_workers=False, pin_memory=False)
        loader.sampler.type = "mimtransfer.EpochSampler"
        loader.dataset.type = "mimtransfer.ImageFolder"
        loader.dataset.transform.type = "mimtransfer." + loader.dataset.transform.type
        batches = list(Runner.build_dataloader(loader, seed=0))
        assert len(batches) == 2 and batches[0]["inputs"].shape == (5, 3, 224, 224)
    else:  # the archive is not there, and the error says where it belongs
        from mimtransfer.registry import DATASETS

        with pytest.raises(UserError, match=f"{loader.dataset.type}: data/{name}/.* does not exist: set download=True"):
            DATASETS.build(loader.dataset)


def test_a_subset_takes_evenly_spaced_images(folder):
    whole = ImageFolder(root=str(folder), transform=dict(WHOLE))
    subset = ImageFolder(root=str(folder), transform=dict(WHOLE), num_images=5)
    assert [subset.name(i) for i in range(len(subset))] == [whole.name(i) for i in (0, 2, 5, 7, 10)]
    with pytest.raises(UserError, match="got num_images=14, expected 1 to 13"):
        ImageFolder(root=str(folder), transform=dict(WHOLE), num_images=14)
