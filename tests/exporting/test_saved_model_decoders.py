"""Every decoder exports to a SavedModel of TensorFlow's own ops, which says what the Keras engine says."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.engines.keras import KerasEngine
from captioner.exporting import saved_model
from captioner.image import tf_decode
from captioner.models import CELLS, DECODERS
from captioner.signature import captions_from
from tests.support.images import odd_images
from tests.support.models import small_models
from tests.support.models.exported_captions import FILES, same
from tests.support.models.v1_session import ops_of, session_of

pytestmark = pytest.mark.usefixtures("quick")
LARGE = odd_images.encoded(odd_images.drawn(50, 40), "PNG")
SPECS = [spec for spec in small_models.SPECS if spec in small_models.ROWS or "cell=" in spec]

# Every op that an export may hold. All are TensorFlow's own, and none looks anything up in a table.
_OPS = """
    Abs Add AddV2 All Any ArgMax AsString Assert AssignVariableOp BatchDatasetV2 BatchMatMulV2 BiasAdd
    BitwiseAnd BroadcastTo Case Cast ConcatV2 ConcatenateDataset Const Conv2D Cumprod Cumsum
    DatasetToSingleElement DecodeBmp DecodeImage DecodeJpeg DecodePng DecodeRaw DecodeWebP DisableCopyOnRead
    Einsum EnsureShape Equal Exp ExpandDims ExtractJpegShape Fill FloorDiv FloorMod GatherV2 Greater
    GreaterEqual Identity If IgnoreErrorsDataset IsFinite LeftShift Less LessEqual Log LogicalAnd LogicalNot
    LogicalOr MatMul Max Maximum Mean MergeV2Checkpoints Min Minimum Mul Neg NoOp NotEqual OneHot Pack Pad
    ParallelMapDatasetV2 PartitionedCall Placeholder PlaceholderWithDefault Pow Prod Range Rank
    ReadVariableOp RealDiv ReduceJoin Relu Reshape ResourceGather RestoreV2 ReverseV2 Roll Round Rsqrt
    SaveV2 ScaleAndTranslate Select SelectV2 Shape ShardedFilename Sigmoid Sign Size Slice Softmax Split
    SplitV Sqrt Square Squeeze StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
    StaticRegexFullMatch StopGradient StridedSlice StringJoin Sub Substr Sum Tanh TensorDataset
    TensorListConcatV2 TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem
    TensorListStack TensorScatterUpdate TensorSliceDataset Tile TopKV2 Transpose Unpack VarHandleOp Where
    While ZerosLike
"""
STOCK = set(_OPS.split())


def test_the_specs_cover_every_family_and_cell():
    text = " ".join(SPECS)
    assert all(f"{name}(" in text for name in DECODERS)
    assert all(f"cell={name!r}" in text or f"{name}(" in text for name in CELLS)


def png_reader(size, max_pixels):
    """`images.load_rows` of PNG files alone: a few operations in the place of thousands, which no decoder knows of."""

    def read(data):
        pixels = tf.map_fn(
            lambda encoded: tf_decode.resize(
                tf.ensure_shape(tf.io.decode_png(encoded, 3), (None, None, 3)), size
            ),
            data,
            fn_output_signature=tf.TensorSpec((*size, 3)),
        )
        return pixels, tf.fill([tf.size(data)], "")

    return tf.function(read, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@pytest.mark.parametrize(
    "spec",
    [s if s in small_models.ROWS else pytest.param(s, marks=pytest.mark.slow) for s in SPECS],
    ids=lambda spec: small_models.short(spec),
)
def test_every_decoder_runs_in_a_session(spec, tmp_path, monkeypatch):
    model, with_reader = small_models.build(spec), spec == SPECS[0]
    for variable in model.decoder.weights:
        variable.assign(variable * 2.0)
    monkeypatch.setattr(saved_model, "_check_export", lambda *_: None)  # done here, and compared
    if not with_reader:
        monkeypatch.setattr(saved_model, "_reader", png_reader)
    folder = saved_model.write(model, tmp_path, "beam(width=2, n_best=2)", max_pixels=1500)
    files = [FILES[0], b"no image", FILES[1]] if with_reader else FILES[:2]
    expected = KerasEngine(model).predict(files, "beam(width=2, n_best=2)")
    with session_of(folder) as (run, meta):
        captions = captions_from(run("explain", [*files, LARGE] if with_reader else files))
        assert ops_of(meta) <= STOCK, sorted(ops_of(meta) - STOCK)
    for one, other in zip(captions, expected, strict=not with_reader):
        same(one, other)
    if with_reader:
        large = captions[len(files)]
        assert large.error.startswith("50 x 40 pixels are more than 0.0015 megapixels: make it smaller")
    # Every variable is stored, and once.
    shapes = [shape for name, shape in tf.train.list_variables(str(folder / "variables/variables")) if shape]
    assert sorted(map(tuple, shapes)) == sorted(tuple(v.shape) for v in model.weights if v.shape)
    stored = sum(path.stat().st_size for path in (folder / "variables").glob("*.data-*"))
    assert stored < sum(4 * int(np.prod(v.shape)) for v in model.weights) + 20_000
