"""Finding images: folders, links, lists, and what is said when there are none."""
import os
import random

import pytest

from mimtransfer.errors import UserError
from pretrain.data.images import EXTENSIONS
from pretrain.data.paths import PathTable, find_images, read_list


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
