"""One set of images as folder, list, tar shards, zip, parquet and Hugging Face data set: all read alike, or refused."""
import io
import os
import pickle
import shutil
import tarfile
import zipfile
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.sources.tar_index import index_tar
from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError

CLASSES = ("ant", "bee")


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {f"{CLASSES[number // 3]}/{number}.PNG": picture(number) for number in range(6)}


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Paths of the same six images in each kind of source."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import pyarrow
    import pyarrow.parquet

    root = tmp_path_factory.mktemp("sources")
    datasets.config.HF_DATASETS_CACHE = root / "cache"
    for name, content in FILES.items():
        path = root / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "list.txt").write_text("".join(f"folder/{name}\n" for name in FILES))
    (root / "web").mkdir()
    names = list(FILES)
    for shard in (0, 1):
        with tarfile.open(root / f"plain-{shard:03d}.tar", "w") as tar:
            for name in names[3 * shard : 3 * shard + 3]:
                add(tar, name, FILES[name])
        with tarfile.open(root / "web" / f"train-{shard:03d}.tar", "w") as tar:
            for key, name in list(enumerate(names))[3 * shard : 3 * shard + 3]:
                add(tar, f"{key:05d}.cls", str(key // 3).encode())
                add(tar, f"{key:05d}.json", b"{}")
                add(tar, f"{key:05d}.png", FILES[name])
    with zipfile.ZipFile(root / "all.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("readme.txt", "no image")
        for name in reversed(names):
            file.writestr(name, FILES[name])
    rows = {"image": [{"bytes": content, "path": None} for content in FILES.values()], "label": [0, 0, 0, 1, 1, 1]}
    table = datasets.Dataset.from_dict(rows, datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES))))
    datasets.disable_progress_bars()
    table.save_to_disk(str(root / "saved"), num_shards=2)
    datasets.DatasetDict(train=table, test=table.select([5, 0])).save_to_disk(str(root / "splits"))
    table.to_parquet(root / "rows.parquet")
    paths = pyarrow.table({"image": [f"folder/{name}" for name in names]})
    pyarrow.parquet.write_table(paths, root / "paths.parquet")
    return root


KINDS = {
    "folder": "folder", "list": "list.txt", "tar": "plain-*.tar", "braces": "plain-{000..001}.tar", "web": "web",
    "zip": "all.zip", "saved": "saved", "splits": "splits", "parquet": "rows.parquet", "paths": "paths.parquet",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_in_the_same_order(kind, sources):
    source = open_source(str(sources / KINDS[kind]))
    assert [source.read(index) for index in range(len(source))] == list(FILES.values())
    assert source.read(4) == FILES["bee/4.PNG"]  # not only in order
    assert str(sources) in source.name(0) and source.name(0) != source.name(1)
    copy = pickle.loads(pickle.dumps(source))  # as a spawned worker gets it
    assert copy.read(5) == FILES["bee/5.PNG"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "paths"])
def test_classes(kind, sources):
    source = open_source(str(sources / KINDS[kind]), with_classes=True)
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.classes == (("0", "1") if kind == "web" else CLASSES)
    assert open_source(str(sources / KINDS[kind])).labels is None


def _read_many(source, queue):
    queue.put([source.read(index % 6) for index in range(60)])


@pytest.mark.parametrize("kind", ["tar", "zip", "saved"])
def test_forked_workers_do_not_disturb_each_other(kind, sources):
    source = open_source(str(sources / KINDS[kind]))
    source.read(0)  # open in the parent
    context = get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_read_many, args=(source, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [[FILES[name] for name in FILES] * 10] * 3


def test_a_split(sources):
    assert open_source(str(sources / "splits"), split="test").read(0) == FILES["bee/5.PNG"]
    with pytest.raises(UserError, match=r"no split 'val', but train, test"):
        open_source(str(sources / "splits"), split="val")


def test_a_url_is_fetched_into_a_cache_once(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"file://{sources}/plain-{{000..001}}.tar"
    for _ in range(2):
        source = open_source(url)
        assert [source.read(index) for index in range(6)] == list(FILES.values())
    assert str(tmp_path) in source.name(0)
    with pytest.raises(UserError, match="cannot be fetched"):
        open_source("file:///nowhere/a.tar")


def damaged(root, kind):
    if kind == "cut.tar":
        (root / kind).write_bytes((root / "plain-000.tar").read_bytes()[:700])
    elif kind == "text.tar":
        (root / kind).write_text("no tar file " * 100)
    elif kind == "packed.tar":
        with tarfile.open(root / kind, "w:gz") as tar:
            add(tar, "1.png", FILES["ant/1.PNG"])
    elif kind == "empty.tar":
        tarfile.open(root / kind, "w").close()
    elif kind == "letters.tar":
        with tarfile.open(root / kind, "w") as tar:
            add(tar, "1.cls", b"ant")
            add(tar, "1.png", FILES["ant/1.PNG"])
    elif kind == "half.tar":
        with tarfile.open(root / kind, "w") as tar:
            add(tar, "1.cls", b"0")
            add(tar, "1.png", FILES["ant/1.PNG"])
            add(tar, "2.png", FILES["ant/1.PNG"])
    elif kind == "negative.tar":
        with tarfile.open(root / kind, "w") as tar:
            add(tar, "1.cls", b"-3")
            add(tar, "1.png", FILES["ant/1.PNG"])
    elif kind == "cut.zip":
        (root / kind).write_bytes((root / "all.zip").read_bytes()[:-30])
    elif kind == "empty.zip":
        zipfile.ZipFile(root / kind, "w").close()
    elif kind == "text.parquet":
        (root / kind).write_text("no parquet file")
    elif kind == "numbers.parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2], "label": [0, 1]}), root / kind)
    elif kind == "one.png":
        (root / kind).write_bytes(FILES["ant/1.PNG"])
    elif kind == "cut_saved":
        (root / kind).mkdir()
        for name in ("state.json", "dataset_info.json"):
            (root / kind / name).write_text("{")
    elif kind == "mixed":
        (root / kind).mkdir()
        for name in ("a.tar", "b.parquet"):
            (root / kind / name).write_text("")


@pytest.mark.parametrize(("kind", "line"), [
    ("cut.tar", "no whole tar file"), ("text.tar", "no whole tar file"), ("packed.tar", "must be unpacked first"),
    ("empty.tar", "no image in 1 tar files"), ("letters.tar", "holds no class number"),
    ("half.tar", "2.png has no .cls member"), ("negative.tar", "holds no class number"),
    ("cut.zip", "no whole zip file"), ("empty.zip", "no image in the zip file"),
    ("text.parquet", "cannot be read"), ("numbers.parquet", "expected one column of images, got none among x, label"),
    ("one.png", "of no kind that is read"), ("cut_saved", "cannot be read"), ("mixed", "several kinds"),
    ("nothing-*.tar", "does not exist"), ("plain-{000..009}.zip", "does not exist"),
])
def test_damage_is_one_line(kind, line, sources, tmp_path):
    for name in ("plain-000.tar", "all.zip"):
        shutil.copy(sources / name, tmp_path)
    damaged(tmp_path, kind)
    with pytest.raises(UserError, match=line) as error:
        open_source(str(tmp_path / kind), with_classes=True)
    assert "\n" not in str(error.value)


def test_members_that_cannot_be_read(sources, tmp_path):
    """A shard that became shorter, a path out of the folder, an empty cell, a broken zip member."""
    import pyarrow
    import pyarrow.parquet

    whole = (sources / "plain-000.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole)
    source = open_source(str(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(whole[: int(source.offsets[2]) + 5])
    assert source.read(1) == FILES["ant/1.PNG"]
    with pytest.raises(UnreadableImage, match="ends after 5 of its"):
        source.read(2)
    cells = ["../secret.png", "/etc/passwd", None, "gone.png"]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "b.parquet")
    source = open_source(str(tmp_path / "b.parquet"))
    for index, words in enumerate(["leads out", "leads out", "empty", "No such file"]):
        with pytest.raises(UnreadableImage, match=words):
            source.read(index)
    data = bytearray((sources / "all.zip").read_bytes())
    place = data.index(b"bee/5.PNG") + 20
    data[place : place + 20] = bytes(20)
    (tmp_path / "c.zip").write_bytes(data)
    source = open_source(str(tmp_path / "c.zip"))
    with pytest.raises(UnreadableImage):
        source.read(5)
    assert source.read(0) == FILES["ant/0.PNG"]


def test_a_tar_file_without_its_end_mark(tmp_path, monkeypatch):
    """Cut between two members it is a shorter tar file: read, and said."""
    lines = []
    monkeypatch.setattr("mimtransfer.datasets.sources.tar_index.print_log", lambda line, **_: lines.append(line))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(3):
            add(tar, f"{number}.png", FILES["ant/1.PNG"])
    whole = (tmp_path / "a.tar").read_bytes()
    assert len(open_source(str(tmp_path / "a.tar"))) == 3 and not lines
    places = index_tar(str(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(whole[: int(places.offsets[2]) - 512])
    assert len(open_source(str(tmp_path / "a.tar"))) == 2
    assert len(lines) == 1 and "ends without its end mark, after 2 images" in lines[0]


def test_what_is_no_image_is_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("a/._1.png", "a/1.png", "a/notes.txt", ".hidden.png"):
            add(tar, name, b"x")
        link = tarfile.TarInfo("a/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert index_tar(str(tmp_path / "a.tar")).names == [b"a/1.png"]


def test_links_in_a_tar_file_are_the_images_that_they_lead_to(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("mimtransfer.datasets.sources.tar_index.print_log", lambda line, **_: lines.append(line))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "./a/1.png", b"one")
        for number, target in enumerate(["./a/1.png", "../a/4.png", "3.png", "gone.png", "6.png"], start=2):
            link = tarfile.TarInfo(f"b/{number}.png")
            link.type, link.linkname = tarfile.LNKTYPE if number == 2 else tarfile.SYMTYPE, target
            tar.addfile(link)
        add(tar, "a/4.png", b"four")
    source = open_source(str(tmp_path / "a.tar"), with_classes=True)
    assert [source.read(number) for number in range(len(source))] == [b"one", b"one", b"four", b"four", b"four"]
    assert [source.paths[number] for number in range(5)] == ["a/1.png", "b/2.png", "b/3.png", "b/4.png", "a/4.png"]
    assert source.classes == ("a", "b") and source.labels.tolist() == [0, 1, 1, 1, 0]
    assert len(lines) == 1 and "left out b/5.png, b/6.png, links to nothing" in lines[0]


def test_hidden_folders_are_no_classes_in_any_archive(tmp_path):
    """Jupyter copies images into hidden folders; `tar -c .` writes names from `./` on."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("./1.png", "./.ipynb_checkpoints/1-checkpoint.png", "a/.x/2.png"):
            file.writestr(name, b"x")
            add(tar, name, b"x")
    for ending in ("zip", "tar"):
        source = open_source(str(tmp_path / f"a.{ending}"), with_classes=True)
        assert [source.paths[number] for number in range(len(source))] == ["1.png"] and source.labels is None


def test_folders_of_one_name_are_said(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("mimtransfer.datasets.sources.base.print_log", lambda line, **_: lines.append(line),
                        raising=False)
    for path in ("a/cat", "a/dog", "b/cat"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "1.png").write_bytes(b"x")
    assert open_source(str(tmp_path / "a"), with_classes=True).classes == ("cat", "dog") and not lines
    source = open_source(str(tmp_path), with_classes=True)
    assert source.classes == ("cat", "dog", "cat") and source.labels.tolist() == [0, 1, 2]
    assert lines == ["folders of one name in different places are different classes: cat"]


def test_what_is_stored_in_another_way_is_refused(tmp_path):
    """Sparse members of GNU tar and PAX, and encrypted ones of a zip file: their bytes are not those of the image."""
    holes = tarfile.TarInfo("a/1.ppm")
    holes.size, holes.pax_headers = 5, {"GNU.sparse.map": "0,5", "GNU.sparse.size": "900"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(holes, io.BytesIO(b"P6\n1 "))
        add(tar, "a/2.png", bytes(2000))
    with pytest.raises(UserError, match=r"a.tar stores a/1.ppm with holes: pack it without --sparse"):
        open_source(str(tmp_path / "a.tar"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/1.png", b"x")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[6] = data[data.index(b"PK\1\2") + 8] = 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"a.zip is encrypted \(a/1.png\): unpack it"):
        open_source(str(tmp_path / "a.zip"))


def test_images_beside_shards_are_not_passed_over(sources, tmp_path):
    """As ImageNet is unpacked: `n01440764.tar` beside the folder of its images."""
    folder = tmp_path / "both"
    shutil.copytree(sources / "web", folder)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "readme.txt").write_bytes(b"")
    assert len(open_source(str(folder))) == 6
    (folder / "deep" / "er" / "new.JPG").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds shards \(train-000.tar\) and images \(deep/er/new.JPG\).*/\*.tar"):
        open_source(str(folder))
