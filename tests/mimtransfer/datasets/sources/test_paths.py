"""Finding images: folders, links, lists, and what is said when there are none."""
import os
import random

import pytest
from mmengine.fileio import list_dir_or_file
from mmengine.logging import MMLogger
from PIL import Image

from mimtransfer.datasets.sources.paths import PathTable, find_images, read_list
from mimtransfer.datasets.tree import HIDDEN, LOOP, walk
from mimtransfer.errors import UserError
from pretrain.data.images import EXTENSIONS, ImageFolder


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_are_found_at_any_depth_in_the_order_of_their_bytes(tmp_path):
    names = ["b/z.JPEG", "b/a/deep/x.png", "a.jpg", "B/y.webp", "b-1/q.tif", "\u00e4/1.jpg"]
    random.Random(0).shuffle(names)
    touch(tmp_path, *names, "b/notes.txt", ".hidden.jpg", ".cache/c.jpg", "b/._a.jpg", "jpg")
    assert find_images(str(tmp_path), EXTENSIONS) == sorted(os.fsencode(name) for name in names)
    assert find_images(str(tmp_path), [".JPG", ".txt"]) == [b"a.jpg", b"b/notes.txt", "\u00e4/1.jpg".encode()]


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/sub/2.jpg", "root/own/3.jpg", "other.jpg")
    root = tmp_path / "root"
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "second-link").symlink_to(tmp_path / "elsewhere")
    (root / "own" / "loop").symlink_to(root)
    (tmp_path / "elsewhere" / "sub" / "loop").symlink_to(tmp_path / "elsewhere")
    (root / "4.jpg").symlink_to(tmp_path / "other.jpg")
    assert find_images(str(root), EXTENSIONS) == [b"4.jpg", b"link/1.jpg", b"link/sub/2.jpg", b"own/3.jpg"]


def test_missing_root(tmp_path):
    with pytest.raises(UserError, match=r"image folder .*/nowhere does not exist: set train_dataloader.dataset.root"):
        find_images(str(tmp_path / "nowhere"), EXTENSIONS)
    (tmp_path / "scenes").mkdir()
    with pytest.raises(UserError, match=r"to a folder; did you mean 'scenes'\?$"):
        find_images(str(tmp_path / "scene"), EXTENSIONS)


def test_root_that_is_a_file(tmp_path):
    touch(tmp_path, "list.txt")
    with pytest.raises(UserError, match=r"list.txt is a file: a list of paths belongs in .*list_file"):
        find_images(str(tmp_path / "list.txt"), EXTENSIONS)


def test_empty_folder_says_what_was_seen(tmp_path):
    with pytest.raises(UserError, match=r"no image in .*: 0 other files in 1 folders \(none\); images end in .jpg"):
        find_images(str(tmp_path), EXTENSIONS)
    touch(tmp_path, "a/1.mp4", "a/2.mp4", "a/3.TXT", "README")
    with pytest.raises(UserError) as caught:
        find_images(str(tmp_path), EXTENSIONS)
    assert "4 other files in 2 folders (2 .mp4, 1 .txt, 1 without extension)" in str(caught.value).replace(
        "1 without extension, 1 .txt", "1 .txt, 1 without extension"
    )
    assert "\n" not in str(caught.value)


def test_list_file_takes_relative_and_absolute_paths_in_its_order(tmp_path):
    touch(tmp_path, "root/b.jpg", "root/a/with space.png", "far.jpg")
    list_file = tmp_path / "list.txt"
    list_file.write_text(f"# a comment\n\nb.jpg\r\n  a/with space.png  \n{tmp_path}/far.jpg\nb.jpg")
    expected = [b"b.jpg", b"a/with space.png", os.fsencode(tmp_path / "far.jpg"), b"b.jpg"]
    assert read_list(str(list_file), str(tmp_path / "root")) == expected


def test_a_list_that_begins_with_a_mark_of_its_coding(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n")
    assert read_list(str(tmp_path / "list.txt"), str(tmp_path)) == [b"a.jpg", b"b.jpg"]


def test_list_file_with_missing_images(tmp_path):
    touch(tmp_path, "a.jpg")
    list_file = tmp_path / "list.txt"
    list_file.write_text("a.jpg\nb.jpg\nc.jpg\n")
    with pytest.raises(UserError) as caught:
        read_list(str(list_file), str(tmp_path))
    assert str(caught.value) == (
        f"list file {list_file}: 2 of 3 images do not exist, the first is {tmp_path}/b.jpg (line 2); "
        f"paths are absolute or relative to `root` ({tmp_path})"
    )


def test_list_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"list file .*none.txt cannot be read: No such file or directory"):
        read_list(str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(UserError, match=r"list file .*empty.txt names no image: expected one path a line"):
        read_list(str(tmp_path / "empty.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\x89PNG\x00\x01\n")
    with pytest.raises(UserError, match=r"list file .*binary.txt is no text file \(line 1\)"):
        read_list(str(tmp_path / "binary.txt"))


def test_path_table_gives_back_its_paths():
    paths = ["a.jpg", "", "\u00e4/\u4e2d.png", os.fsdecode(b"not-utf8-\xff.jpg")]
    table = PathTable([os.fsencode(path) for path in paths])
    assert len(table) == 4
    assert [table[i] for i in range(4)] == paths
    assert len(PathTable([])) == 0


@pytest.fixture
def said(monkeypatch):
    """Collect what is logged."""
    lines = []
    monkeypatch.setattr("mimtransfer.datasets.sources.paths.print_log", lambda line, **_: lines.append(line))
    return lines


def test_what_cannot_be_read_is_named_and_left_out(tmp_path, said, monkeypatch):
    """One link to itself ended the run, a pipe was listed as an image, and no folder without permission could stay."""
    touch(tmp_path, "a/1.jpg", "a/._1.jpg", "locked/2.jpg", ".ipynb_checkpoints/3.jpg", ".DS_Store")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    scan = os.scandir

    def scandir(path):
        if os.fsencode(path).rstrip(b"/").endswith(b"locked"):  # a test may run as root, who may read everything
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert find_images(str(tmp_path), EXTENSIONS) == [b"a/1.jpg"]
    (line,) = said
    assert "(7 in all)" in line and "\n" not in line
    tree = walk(tmp_path)
    assert {(os.fsdecode(path), reason) for path, reason in tree.left_out} == {
        ("a/._1.jpg", HIDDEN), (".ipynb_checkpoints", HIDDEN), (".DS_Store", HIDDEN), ("a/up", LOOP),
        ("a/self", "cannot be read: Too many levels of symbolic links"), ("a/lost.jpg", "a link to nothing"),
        ("a/pipe.jpg", "no regular file"), ("locked", "cannot be read: Permission denied"),
    }


def test_names_that_are_no_text_are_logged(tmp_path, said):
    """Python's logging printed `--- Logging error ---` and a traceback in place of the line."""
    os.mkfifo(os.fsencode(tmp_path) + b"/\xff.jpg")
    touch(tmp_path, "1.jpg")
    assert find_images(str(tmp_path), EXTENSIONS) == [b"1.jpg"]
    assert said[0].encode("utf-8").endswith(b"left out \\xff.jpg (no regular file)")


def test_an_image_with_such_a_name_is_named_when_it_breaks(tmp_path, capfd):
    log = tmp_path / "log.txt"
    MMLogger.get_instance(f"names {tmp_path}", log_file=str(log))
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(b"no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    images = ImageFolder(dict(type="ResizeWhole", size=8), root=str(tmp_path))
    assert {int(images[k]["record"].index) for k in range(2)} == {0}
    assert "Logging error" not in capfd.readouterr().err and "\\xff.jpg cannot be read" in log.read_text()


def test_the_tree_that_mmseg_lists(tmp_path):
    touch(tmp_path, "a/1.jpg", ".hidden/2.jpg", "a/.3.jpg", "b/4.jpg")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "d.jpg").symlink_to(tmp_path / "lost")
    listed = sorted(os.fsencode(path) for path in list_dir_or_file(str(tmp_path), list_dir=False, recursive=True))
    assert walk(tmp_path, as_mmseg=True).files == listed == [b".hidden/2.jpg", b"a/1.jpg", b"b/4.jpg", b"c/1.jpg"]
    assert walk(tmp_path).files == [b"a/1.jpg", b"b/4.jpg"]
