"""Sources behind a URL: a copy is fetched once, again when the file has changed, and never half."""
import http.server
import io
import os
import sys
import tarfile
import threading
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.errors import UserError


def shard(grey):
    """Return a tar file with one image of this grey level."""
    image, out = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(image, "PNG")
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("one.png")
        info.size = len(image.getvalue())
        tar.addfile(info, io.BytesIO(image.getvalue()))
    return out.getvalue()


def grey(url):
    """Return the grey level of the first image of a source."""
    return Image.open(io.BytesIO(open_source(url).read(0))).getpixel((0, 0))[0]


def refused(url):
    with pytest.raises(UserError) as error:
        open_source(url)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/mimtransfer"


@pytest.fixture
def said(monkeypatch):
    """Lines of the log."""
    lines = []
    monkeypatch.setattr("mimtransfer.datasets.sources.remote.print_log", lambda line, **_: lines.append(line))
    return lines


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, path -> content; `asked` counts the bodies that were sent, of `cut` files a half."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.cut = {}, [], set()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.01))
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path.partition("?")[0])
        self.server.asked.append(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path in self.server.cut else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    if server.thread.is_alive():
        server.stop()


def test_over_http(server, cache, said):
    server.files = {f"/{name}": shard(level) for name, level in (("a/1.tar", 10), ("b/1.tar", 20))}
    assert grey(f"{server.url}/a/1.tar") == 10 and len(said) == 1
    assert len(server.asked) == 2  # what it is, and the content
    assert grey(f"{server.url}/a/1.tar") == 10 and len(said) == 1 and len(server.asked) == 3
    assert grey(f"{server.url}/b/1.tar") == 20  # another file of the same name
    assert grey(f"{server.url}/a/1.tar") == 10 and len(said) == 2
    server.files["/a/1.tar"] = shard(30)
    assert grey(f"{server.url}/a/1.tar") == 30 and "which has changed since it was fetched" in said[-1]
    assert "HTTP Error 404" in refused(f"{server.url}/c/1.tar")
    server.stop()
    assert grey(f"{server.url}/a/1.tar") == 30
    assert "cannot be asked for changes" in said[-1] and "Connection refused" in said[-1]
    line = refused(f"{server.url}/c/1.tar")
    assert "cannot be fetched" in line and "Connection refused" in line and "copy it to this machine" in line


def test_parquet_over_http(server, cache, sourced):
    """With the name that a signed address has."""
    server.files["/rows.parquet"] = (sourced / "rows.parquet").read_bytes()
    source = open_source(f"{server.url}/rows.parquet?signature=a%2Fb")
    assert Image.open(io.BytesIO(source.read(1))).getpixel((0, 0)) == (50, 50, 50)


@pytest.fixture
def sourced(tmp_path, monkeypatch):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    contents = []
    for level in (40, 50):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (level,) * 3).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    pyarrow.parquet.write_table(pyarrow.table({"image": contents}), tmp_path / "rows.parquet")
    return tmp_path


def test_a_cut_download_is_no_copy(server, cache, said):
    server.files["/1.tar"] = shard(10)
    server.cut.add("/1.tar")
    size = len(server.files["/1.tar"])
    assert f"only {size // 2} of {size} bytes came" in refused(f"{server.url}/1.tar")
    assert not [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    server.cut.clear()
    assert grey(f"{server.url}/1.tar") == 10
    server.files["/1.tar"] = shard(20)
    server.cut.add("/1.tar")
    refused(f"{server.url}/1.tar")
    server.stop()
    assert grey(f"{server.url}/1.tar") == 10  # the whole old one is still there


def test_by_fsspec(cache, said):
    memory = fsspec.filesystem("memory")
    for number in range(2):
        memory.pipe(f"/shards/train-{number:03d}.tar", shard(number + 1))
    for url in ("memory://shards/train-{000..001}.tar", "memory://shards/train-*.tar"):
        source = open_source(url)
        assert len(source) == 2 and grey("memory://shards/train-001.tar") == 2
    assert len(said) == 2
    memory.pipe("/shards/train-001.tar", shard(9))
    assert grey("memory://shards/train-001.tar") == 9 and len(said) == 3
    assert "no such file" in refused("memory://shards/test-*.tar")
    assert "name its files by a pattern" in refused("memory://shards")
    memory.rm("/shards", recursive=True)
    assert grey("memory://shards/train-001.tar") == 9  # still here


def test_files_of_one_name(cache, tmp_path):
    for level in (10, 20):
        (tmp_path / str(level)).mkdir()
        (tmp_path / str(level) / "1.tar").write_bytes(shard(level))
    urls = [f"file://{tmp_path}/{level}/1.tar" for level in (10, 20)]
    assert [grey(url) for url in urls * 2] == [10, 20, 10, 20]
    Path(tmp_path, "10/1.tar").write_bytes(shard(30))
    assert grey(urls[0]) == 30


def test_ranks_that_start_together_fetch_once(server, cache, said):
    server.files["/1.tar"] = shard(10)
    found = []
    threads = [threading.Thread(target=lambda: found.append(grey(f"{server.url}/1.tar"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [10] * 4 and len(said) == 1


def test_what_is_missing_is_named(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refused("s3://bucket/train-{000..001}.tar").endswith("Install s3fs to access S3")
    assert "Protocol not known: nothing" in refused("nothing://bucket/1.tar")
