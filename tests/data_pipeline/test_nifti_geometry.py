import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from selip_core.data import Preprocessing, read_volume
from selip_core.errors import DataError

SHAPE = (5, 6, 7)
AXES = ["RAS", "LPS", "LAS", "ASR", "SPL", "PIR", "IRA", "LSP"]
VOXELS = np.random.default_rng(0).random(SHAPE, dtype=np.float32)


def write(path, trailing=(), nifti2=False, order="<", **fields):
    """Write a file whose header has exactly these fields; repairs of nibabel are undone."""
    header_class = nibabel.Nifti2Header if nifti2 else nibabel.Nifti1Header
    image_class = nibabel.Nifti2Image if nifti2 else nibabel.Nifti1Image
    header = header_class(endianness=order)
    header.set_xyzt_units("mm")
    image = image_class(VOXELS.reshape(SHAPE + trailing), None, header)
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    header = header_class(bytes(content[: header_class.sizeof_hdr]), check=False)
    for name, value in fields.items():
        if name == "pixdim":
            header["pixdim"][: len(value)] = value
        elif name == "sform":
            header["srow_x"], header["srow_y"], header["srow_z"] = np.asarray(value)[:3]
        elif name == "qform":
            keep = int(header["qform_code"])
            header.set_qform(value, keep)
        else:
            header[name] = value
    content[: header_class.sizeof_hdr] = header.binaryblock
    path.write_bytes(content)
    return path


def affine_of(path, **options):
    return read_volume(path, "W", **options).affine.numpy()


def message_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_volume(path, "W", **options)
    return caught.value.problems[0].message


def oriented(axes, sizes, origin, turn=0.0):
    """An affine whose voxel axes run as ``axes``, turned about z by ``turn`` radians."""
    affine = inv_ornt_aff(axcodes2ornt(axes), (1, 1, 1))
    cos, sin = np.cos(turn), np.sin(turn)
    affine[:3, :3] = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]] @ affine[:3, :3] * sizes
    affine[:3, 3] = origin
    return affine


LENGTH = st.floats(0.25, 8.0, width=32)


@settings(max_examples=60)
@given(
    axes=st.sampled_from(AXES),
    sizes=st.tuples(LENGTH, LENGTH, LENGTH),
    origin=st.tuples(*[st.floats(-200, 200, width=32)] * 3),
    turn=st.floats(-3.2, 3.2),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any),
    pixdim=st.sampled_from([None, (1, 1, 1, 1), (0, 0, 0, 0), (1, -2, 1, 1), (0, 1, 1, 1)]),
    trailing=st.sampled_from([(), (1,), (1, 1)]),
    nifti2=st.booleans(),
    order=st.sampled_from("<>"),
)
def test_geometry_is_that_of_nibabel(
    tmp_path_factory, axes, sizes, origin, turn, codes, pixdim, trailing, nifti2, order
):
    """Over orientations, codes, pixdims, trailing axes and byte orders; else it is refused."""
    affine = oriented(axes, sizes, origin, turn)
    fields = {"qform": affine, "sform": affine}
    path = tmp_path_factory.getbasetemp() / "a.nii"
    sform_code, qform_code = codes
    fields |= {"sform_code": sform_code, "qform_code": qform_code}
    if pixdim is not None:  # after the qform, which sets it
        fields["pixdim"] = pixdim
    write(path, trailing, nifti2, order, **fields)
    oracle = nibabel.load(path).affine
    try:
        found = affine_of(path)
    except DataError:
        # Only a qform needs pixdim; where it is set and pixdim is not that of the affine, it is
        # no geometry, or disagrees with the sform.
        assert qform_code > 0
        assert pixdim is not None
    else:
        np.testing.assert_array_equal(found, oracle)
        np.testing.assert_allclose(found, affine, atol=0.01) if sform_code else None
        np.testing.assert_array_equal(read_volume(path, "W").numpy()[0], VOXELS)


LPS = oriented("LPS", (2, 2, 2), (60, 60, -40))


@pytest.mark.parametrize("trailing", [(), (1,)])
@pytest.mark.parametrize("pixdim", [(1, 2, 2, 2), (1, 1.999, 2, 2), (1, 1, 1, 1), (0, 0, 0, 0)])
def test_sform_alone_counts_whatever_pixdim_says(tmp_path, trailing, pixdim):
    path = write(tmp_path / "a.nii", trailing, sform_code=1, sform=LPS, pixdim=pixdim)
    np.testing.assert_array_equal(affine_of(path), LPS)


def test_left_stays_left_in_the_encoders_view(tmp_path):
    """Voxel 0 of the first axis lies at x = +60, so it must come out last: width grows to right."""
    path = write(tmp_path / "a.nii", (1,), sform_code=1, sform=LPS, pixdim=(1, 2, 2, 2, 1))
    image = Preprocessing((2, 2, 2), SHAPE[::-1], (0, 100))(path)[0].numpy()
    mirrored = VOXELS[::-1, ::-1].transpose(2, 1, 0)
    assert np.corrcoef(image.ravel(), mirrored.ravel())[0, 1] > 0.999


def test_qform_alone_counts(tmp_path):
    path = write(tmp_path / "a.nii", qform=LPS, qform_code=1)
    np.testing.assert_allclose(affine_of(path), LPS, atol=1e-6)


TURN = oriented("RAS", (1, 1, 1), (0, 0, 0), np.radians(40))
SHEAR = np.eye(4)
SHEAR[1, 2] = -np.tan(np.radians(20))
MOVED = np.eye(4)
MOVED[0, 3] = 0.51


@pytest.mark.parametrize(
    ("sform", "apart"),
    [
        # Corners lie at -0.5 and n - 0.5: the far one is (4.5, 5.5, 6.5), 9.63 from the origin.
        (np.diag([2.0, 2, 2, 1]), "9.63 mm apart, more than half a voxel (1 mm)"),
        (np.diag([-1.0, 1, 1, 1]), "9 mm apart, more than half a voxel (0.5 mm)"),
        (TURN, "4.86 mm apart"),  # 2 sin(20 degrees) times 7.106 from the axis
        (SHEAR, "2.37 mm apart"),  # tan(20 degrees) times 6.5
        (MOVED, "0.51 mm apart"),
    ],
)
def test_forms_that_disagree_are_refused_unless_one_is_chosen(tmp_path, sform, apart):
    path = write(tmp_path / "a.nii", qform=np.eye(4), sform=sform, qform_code=1, sform_code=1)
    message = message_of(path)
    assert "left and right are in doubt" in message
    assert apart in message
    assert 'geometry = "sform" or "qform"' in message
    np.testing.assert_allclose(affine_of(path, geometry="sform"), sform, atol=1e-6)
    np.testing.assert_array_equal(affine_of(path, geometry="qform"), np.eye(4))


def test_half_a_voxel_is_half_of_the_smallest_size(tmp_path):
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    moved = thick.copy()
    moved[2, 3] = 0.49
    path = write(tmp_path / "a.nii", qform=thick, sform=moved, qform_code=1, sform_code=1)
    np.testing.assert_allclose(affine_of(path), moved, atol=1e-6)
    moved[2, 3] = 0.51
    path = write(tmp_path / "a.nii", qform=thick, sform=moved, qform_code=1, sform_code=1)
    assert "0.51 mm apart, more than half a voxel (0.5 mm)" in message_of(path)


@pytest.mark.parametrize("seed", range(20))
def test_rounding_of_a_quaternion_near_half_a_turn_is_no_disagreement(seed):
    """A float32 quaternion near half a turn places a corner of a head 0.3 mm off."""
    from selip_core.data.nifti_geometry import affine_of as affine_of_header

    random = np.random.default_rng(seed)
    turn = np.pi + 10 ** random.uniform(-5, -2)
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 512))
    affine = oriented("RAS", (0.5, 0.5, 0.5), random.normal(size=3) * 100, turn)
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    np.testing.assert_array_equal(affine_of_header(header), header.get_sform())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "neither qform nor sform is set, so left and right are unknown"),
        ({"sform_code": 1}, "affine is singular: the sform"),
        ({"sform_code": 1, "sform": np.diag([1, 1, 0, 1])}, "affine is singular: the sform"),
        ({"sform_code": 1, "sform": SHEAR * [1, np.nan, 1, 1]}, "its sform is not finite"),
        ({"qform_code": 1, "pixdim": (1, 2, 2, 0)}, "three positive voxel sizes"),
        ({"qform_code": 1, "pixdim": (1, 2, -2, 2)}, "three positive voxel sizes"),
        ({"qform_code": 1, "pixdim": (1, 2, np.nan, 2)}, "three positive voxel sizes"),
        ({"qform_code": 1, "pixdim": (1, 2, np.inf, 2)}, "three positive voxel sizes"),
        ({"qform_code": 1, "pixdim": (0.5, 2, 2, 2)}, r"pixdim[0] must be 1 or -1"),
        ({"qform_code": 1, "pixdim": (np.nan, 2, 2, 2)}, r"pixdim[0] must be 1 or -1"),
        ({"qform_code": 1, "quatern_b": 1.5}, "quaternion is longer than 1"),
        ({"qform_code": 1, "quatern_b": np.nan}, "its qform is not finite"),
        ({"qform_code": 1, "qoffset_x": np.inf}, "its qform is not finite"),
        ({"sform_code": 9, "sform": LPS}, "sform_code must be 0 to 5, got 9"),
        ({"qform_code": -1, "sform_code": 1, "sform": LPS}, "qform_code must be 0 to 5, got -1"),
        ({"sform_code": 1, "sform": LPS, "xyzt_units": 1}, "in mm, got the unit metre"),
        ({"sform_code": 1, "sform": LPS, "xyzt_units": 3}, "in mm, got the unit micrometre"),
        ({"sform_code": 1, "sform": LPS, "xyzt_units": 6}, "in mm, got the unit of code 6"),
        (
            {"sform_code": 1, "sform": LPS, "qform_code": 1, "pixdim": (1, 2, 2, 0)},
            'choose its other form with geometry = "sform" if that is right',
        ),
        (
            {"sform_code": 1, "qform_code": 1, "pixdim": (1, 2, 2, 2)},
            'choose its other form with geometry = "qform" if that is right',
        ),
    ],
)
@pytest.mark.parametrize("nifti2", [False, True])
def test_headers_without_geometry_are_refused(tmp_path, fields, message, nifti2):
    assert message in message_of(write(tmp_path / "a.nii", nifti2=nifti2, **fields))


def test_pixdim_0_of_zero_is_taken_as_one(tmp_path):
    path = write(tmp_path / "a.nii", qform_code=1, pixdim=(0, 2, 2, 2))
    np.testing.assert_array_equal(affine_of(path), np.diag([2, 2, 2, 1]))


def test_choosing_a_form_that_is_not_set_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", sform_code=1, sform=LPS)
    np.testing.assert_array_equal(affine_of(path, geometry="sform"), LPS)
    message = message_of(path, geometry="qform")
    assert message.startswith('geometry = "qform" was chosen, but qform_code is 0')


def test_unknown_geometry(tmp_path):
    with pytest.raises(ValueError, match=r"geometry must be one of \('auto', 'sform', 'qform'\)"):
        read_volume(tmp_path / "a.nii", "W", geometry="header")  # type: ignore[arg-type]
