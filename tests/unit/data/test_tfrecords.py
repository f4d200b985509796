"""Records of TFRecord files by position."""

import numpy as np
import pytest

from keras_prelu.data.tfrecords import Part, TFRecords
from keras_prelu.errors import DataError

RECORDS = [bytes([row]) * (row * 7 % 40) for row in range(60)]  # one of them is empty


@pytest.fixture
def files(tmp_path):
    """Two files as TensorFlow writes them."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("google_crc32c")
    paths = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"]
    for path, records in zip(paths, (RECORDS[:20], RECORDS[20:]), strict=True):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
    return paths


def test_records_by_position(files):
    records = TFRecords(
        [Part(path=files[0], skip=0, count=20), Part(path=files[1], skip=0, count=40)]
    )
    assert len(records) == 60
    order = np.random.default_rng(0).permutation(60).tolist()
    assert records.read(order) == [RECORDS[row] for row in order]


def test_parts_of_files(files):
    records = TFRecords(
        [Part(path=files[1], skip=30, count=10), Part(path=files[0], skip=5, count=2)]
    )
    assert records.read(range(12)) == [*RECORDS[50:60], *RECORDS[5:7]]
    assert TFRecords([Part(path=files[0], skip=0, count=0)]).read([]) == []


@pytest.mark.parametrize("where", ["length", "record", "checksum"])
def test_a_changed_byte_is_told(files, where):
    content = bytearray(files[0].read_bytes())
    start = sum(len(record) + 16 for record in RECORDS[:3])
    content[start + {"length": 4, "record": 12, "checksum": 12 + len(RECORDS[3])}[where]] ^= 1
    files[0].write_bytes(content)
    part = Part(path=files[0], skip=0, count=20)
    with pytest.raises(DataError, match=r"a.tfrecord' (is damaged|has 4 records)"):
        TFRecords([part]).read([3])


def test_files_that_are_too_short(files):
    with pytest.raises(DataError, match=r"a.tfrecord' has 20 records, fewer than the 21"):
        TFRecords([Part(path=files[0], skip=1, count=20)])
    files[0].write_bytes(files[0].read_bytes()[:-2])
    with pytest.raises(DataError, match=r"a.tfrecord' is damaged: it ends within a record"):
        TFRecords([Part(path=files[0], skip=0, count=20)])
